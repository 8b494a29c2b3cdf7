"""Two processes of two devices that hold a quarter of the state each train, save and resume as one process does."""

import shutil
import subprocess
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from made_once import made_once
from process_runs import check_same_run, parameters
from small_runs import COMMAND, QUIET, WHOLE, small, write_pictures, written
from two_processes import environment

from imbal_jax import train
from imbal_jax.config import Config, Model, Train
from imbal_jax.engine.fully_sharded import SMALL

pytestmark = pytest.mark.skipif(not COMMAND.is_file(), reason="imbal-jax is not installed here")
RUN = Path("w", "stratified", "seed0")
FIRST, LAST = "20", "60"
"""Checkpoints: of the first evaluation, which is the best, and of the end."""


def config(pictures: Path, devices: int | None = None, *, parts: bool = True) -> Config:
    options = Train(
        epochs=WHOLE,
        batch_size=8,
        evaluations=3,
        steps_per_dispatch=4,
        devices=devices,
        backend="jit",
        shard_parameters=parts,
    )
    return small(pictures, model=Model(name="cnn", options={"width": 32, "stages": 2}), train=options)


def launched(*words: object) -> str:
    """What ``imbal-jax launch --processes 2 -- WORDS`` prints."""
    done = subprocess.run(
        [*map(str, (COMMAND, "launch", "--processes", 2, "--", *words))],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "pictures_of_sharded_processes", write_pictures)


@pytest.fixture(scope="module")
def by_two(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir ``w`` of a run of two processes, with its config and what it printed; nobody may change it."""

    def run(folder: Path) -> None:
        path = written(config(pictures), folder / "c.py")
        (folder / "said.txt").write_text(launched("train", path, "--workdir", folder / "w"))

    return made_once(tmp_path_factory, "sharded_by_two", run)


@pytest.fixture(scope="module")
def alone(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of one device that holds the state whole."""

    def run(folder: Path) -> None:
        train.fit(config(pictures, 1, parts=False), folder / "w", console=QUIET)

    return made_once(tmp_path_factory, "whole_by_one", run)


def stopped(folder: Path, copy: Path) -> Path:
    """A copy of a folder with a run as it was when the checkpoint ``FIRST`` had been saved."""
    shutil.copytree(folder / "w", copy / "w")
    for path in (copy / RUN / "checkpoints").glob("[0-9]*"):
        if path.name != FIRST:
            shutil.rmtree(path)
    for name in ("result.json", "test_scores.npz", "deployment.json"):
        (copy / RUN / name).unlink()
    return copy / "w"


def test_the_run_is_that_of_one_device_that_holds_the_state_whole(by_two: Path, alone: Path) -> None:
    check_same_run(by_two / RUN, alone / RUN)


def test_the_run_is_that_of_four_devices_of_one_process(by_two: Path, pictures: Path, tmp_path: Path) -> None:
    train.fit(config(pictures, 4), tmp_path / "w", console=QUIET)
    check_same_run(by_two / RUN, tmp_path / RUN)


def test_it_selects_and_reports(by_two: Path) -> None:
    said = (by_two / "said.txt").read_text()
    assert f"best at step {FIRST}" in said
    assert "Results on the test set" in said
    assert (by_two / "w" / "report.html").stat().st_size > 10_000


def test_each_process_writes_its_parts_of_the_large_arrays(by_two: Path) -> None:
    state = by_two / RUN / "checkpoints" / LAST / "state"
    stored = ocp.PyTreeCheckpointer().metadata(state).item_metadata.tree
    for collection in ("params", "ema_params"):
        for name, leaf in jax.tree.leaves_with_path(stored[collection]):
            cut = "data" in leaf.sharding.partition_spec
            assert cut == (int(np.prod(leaf.shape)) >= SMALL), name
    written_by = [
        sum(path.stat().st_size for path in (state / f"ocdbt.process_{process}").rglob("*"))
        for process in (0, 1)
    ]
    of_parameters = sum(leaf.nbytes for leaf in parameters(by_two / RUN)[LAST].values())
    # half of each: parameters, their average and two moments
    assert min(written_by) == pytest.approx(2 * of_parameters, rel=0.3)


@pytest.mark.parametrize(("devices", "parts"), [(1, False), (4, True)])
def test_one_process_goes_on_with_it(
    by_two: Path, pictures: Path, tmp_path: Path, devices: int, parts: bool
) -> None:
    train.fit(config(pictures, devices, parts=parts), stopped(by_two, tmp_path), console=QUIET)
    check_same_run(by_two / RUN, tmp_path / RUN)


@pytest.mark.slow
def test_two_processes_go_on_with_a_whole_state_of_one(by_two: Path, alone: Path, tmp_path: Path) -> None:
    said = launched("train", by_two / "c.py", "--workdir", stopped(alone, tmp_path))
    assert f"Resumed at step {FIRST}." in said
    check_same_run(by_two / RUN, tmp_path / RUN)


def test_two_processes_evaluate_it(by_two: Path, tmp_path: Path) -> None:
    shutil.copytree(by_two / "w", tmp_path / "w")
    with np.load(by_two / RUN / "test_scores.npz") as scores:
        before = scores["scores"]
    said = launched("evaluate", tmp_path / "w", "--deploy.points", "sensitivity >= 0.5")
    assert "Results on the test set" in said
    with np.load(tmp_path / RUN / "test_scores.npz") as scores:
        np.testing.assert_allclose(scores["scores"], before, atol=1e-6)
