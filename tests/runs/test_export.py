"""The exported program, run where this package is not."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_runs import BRIEF, QUIET, small, write_pictures

from imbal_jax.config import Deploy
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS
from imbal_jax.runs.address import find_run
from imbal_jax.runs.export import export_run
from imbal_jax.runs.restore import restore_deployed
from imbal_jax.train import fit

ELSEWHERE = """
import sys
import jax.export
import numpy as np
model = jax.export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
out = model.call(np.load("images.npy"))
assert not [name for name in sys.modules if name.startswith(("imbal_jax", "flax", "optax"))]
np.savez("out.npz", **{name: np.asarray(value) for name, value in out.items()})
"""


def run_elsewhere(folder: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    np.save(folder / "images.npy", images)
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=folder, check=True)
    with np.load(folder / "out.npz") as read:
        return dict(read)


def agrees(run: Path, folder: Path, number: int) -> None:
    """The program gives what the restored run gives, for a batch that is no multiple of anything."""
    mesh = make_mesh(1)
    deployed = restore_deployed(find_run(run), mesh)
    export_run(deployed, folder)
    inputs = deployed.deployment.inputs
    images = np.random.default_rng(0).integers(0, 256, (number, *inputs.shape)).astype(inputs.dtype)
    out = run_elsewhere(folder, images)
    expected = deployed.deployment.probabilities(deployed.predict(mesh, 8)(images))
    np.testing.assert_allclose(out["probabilities"], expected, atol=1e-5)
    thresholds = np.array([point.threshold for point in deployed.deployment.points])
    clear = (np.abs(expected - thresholds) > 1e-5).all(axis=1)
    assert clear.sum() > number / 2
    np.testing.assert_array_equal(out["called"][clear], deployed.deployment.called(expected)[clear])


@pytest.mark.parametrize("method", ["ce", "crt"])
def test_the_program_gives_the_same_without_the_training_code(
    method: str, finished_runs: Path, tmp_path: Path
) -> None:
    agrees(finished_runs / method, tmp_path, 7)
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["classes"] == ["normal", "bright"]
    assert described["takes"]["images"] == ["batch", 16, 16, 1]
    assert described["points"][1]["rule"] == "youden"


def test_many_labels_mirrored_scores_and_vectors_of_scales_are_exported_too(tmp_path: Path) -> None:
    config = small(write_pictures(tmp_path / "in", many_labels=True), methods=(METHODS["weighted_ce"],))
    config = replace(
        config,
        data=replace(config.data, negative_class=None, deployment_priors=(0.05, 0.3)),
        train=replace(config.train, epochs=BRIEF, evaluations=1, mirror_scores=True),
        deploy=Deploy(points=("max f1",)),
    )
    fit(config, tmp_path / "run", console=QUIET)
    agrees(tmp_path / "run", tmp_path, 5)


def test_a_folder_that_cannot_be_written_is_named(finished_runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    deployed = restore_deployed(find_run(finished_runs / "ce"), make_mesh(1))
    with pytest.raises(InputError, match=r"cannot write .*file"):
        export_run(deployed, tmp_path / "file")
