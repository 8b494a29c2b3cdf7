"""The small run that two processes of two devices are compared by, and how two runs are compared."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from made_once import made_once
from small_runs import WHOLE, small, write_pictures, written
from two_processes import as_two

from imbal_jax.config import Config, Train

OPTIONS = Train(epochs=WHOLE, batch_size=8, evaluations=3, steps_per_dispatch=4)
RUN = Path("stratified", "seed0")
METRICS = RUN / "metrics.jsonl"


def config_of(pictures: Path, **changes: object) -> Config:
    """The config of the run, on all devices that there are. changes: of ``Train``."""
    return small(pictures, train=replace(OPTIONS, **changes))


def pictures_of_processes(factory: pytest.TempPathFactory) -> Path:
    return made_once(factory, "pictures_of_processes", write_pictures)


def run_by_two(factory: pytest.TempPathFactory) -> Path:
    """The workdir ``w`` of the run by two processes, with its config and what they printed; nobody may change it."""
    pictures = pictures_of_processes(factory)

    def run(folder: Path) -> None:
        path = written(config_of(pictures), folder / "c.py")
        first, second = as_two("train", path, "--workdir", folder / "w")
        (folder / "said.json").write_text(json.dumps([first.out, second.out]))

    return made_once(factory, "by_two", run)


def parameters(run: Path) -> dict[str, dict[str, np.ndarray]]:
    """Of each checkpoint of a run, the parameters by their names."""
    found = {}
    for path in sorted((run / "checkpoints").glob("[0-9]*")):
        reader = ocp.PyTreeCheckpointer()
        stored = reader.metadata(path / "state").item_metadata.tree
        plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), stored)
        state = reader.restore(path / "state", restore_args=plain)
        leaves = jax.tree_util.tree_flatten_with_path(state["params"])[0]
        found[path.name] = {jax.tree_util.keystr(name): leaf for name, leaf in leaves}
    return found


def check_same_run(one: Path, other: Path) -> None:
    """Parameters equal to 1e-5, scores to 1e-5, and every count of cases and calls to the bit."""
    first, second = parameters(one), parameters(other)
    assert first.keys() == second.keys() != set()
    for step, leaves in first.items():
        for name, leaf in leaves.items():
            np.testing.assert_allclose(leaf, second[step][name], atol=1e-5, err_msg=f"{step} {name}")
    with np.load(one / "test_scores.npz") as left, np.load(other / "test_scores.npz") as right:
        for name in ("labels", "groups", "digests", "validation_labels", "mean", "deviation"):
            np.testing.assert_array_equal(left[name], right[name])
        for name in ("outputs", "validation_outputs", "scores"):
            np.testing.assert_allclose(left[name], right[name], atol=1e-5)
            calls = [np.bincount(scores[name].argmax(axis=1), minlength=2) for scores in (left, right)]
            np.testing.assert_array_equal(*calls)
    results = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    assert results[0]["best_step"] == results[1]["best_step"]
    points = [json.loads((run / "deployment.json").read_text())["points"] for run in (one, other)]
    for here, there in zip(*points, strict=True):
        np.testing.assert_allclose(here["sensitivity"], there["sensitivity"])
        np.testing.assert_allclose(here["threshold"], there["threshold"], atol=1e-4)
