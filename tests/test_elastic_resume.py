"""A run goes on with other devices and processes than it was saved with, and ends as if it had not been stopped."""

import io
import itertools
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from made_once import made_once
from process_runs import METRICS, RUN, check_same_run, config_of, pictures_of_processes, run_by_two
from rich.console import Console
from small_runs import COMMAND, QUIET, StopHere, stopped_after, written
from two_processes import as_two, begun_as_two, ended, wait_for_lines

from imbal_jax import train
from imbal_jax.config import Config

pytestmark = pytest.mark.skipif(not COMMAND.is_file(), reason="imbal-jax is not installed here")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures_of_processes(tmp_path_factory)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_by_two(tmp_path_factory)


def stop_at_the_second_evaluation(asked: Config, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of this process that leaves the checkpoint of its first evaluation."""
    with monkeypatch.context() as patched:
        stopped_after(1, patched)
        with pytest.raises(StopHere):
            train.fit(asked, workdir, console=QUIET)


def goes_on_alone(asked: Config, workdir: Path) -> None:
    said = io.StringIO()
    train.fit(asked, workdir, console=Console(file=said, width=200))
    assert "Resumed at step" in said.getvalue()


def left_by_two(factory: pytest.TempPathFactory, pictures: Path, devices: int, resident: bool) -> Path:
    """The workdir of a run by two processes that was stopped by a signal; copy it. devices: of each."""

    def run(folder: Path) -> None:
        path = written(config_of(pictures, resident=resident), folder / "c.py")
        pair = begun_as_two("train", path, "--workdir", folder / "w", devices=devices)
        wait_for_lines(folder / "w" / METRICS, 8, pair)
        pair[0].send_signal(signal.SIGTERM)
        assert [process.status for process in ended(pair)] == [143, 143]

    return made_once(factory, f"left_by_two_of_{devices}_{resident}", run) / "w"


IN_TWO = [
    pytest.param(*case, marks=() if case == (1, 2, True) else pytest.mark.slow)
    for case in itertools.product((1, 2, 4), (1, 2), (True, False))
]


@pytest.mark.parametrize(("saved", "each", "resident"), IN_TWO)
def test_a_run_of_one_process_goes_on_in_two(
    by_two: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    saved: int,
    each: int,
    resident: bool,
) -> None:
    """saved: devices of the one process. each: those of each of the two."""
    workdir, asked = tmp_path / "w", config_of(pictures, resident=resident)
    alone = replace(asked, train=replace(asked.train, devices=saved))
    stop_at_the_second_evaluation(alone, workdir, monkeypatch)
    path = written(asked, tmp_path / "c.py")
    first, _ = as_two("train", path, "--workdir", workdir, devices=each)
    assert "Resumed at step 20." in first.out
    check_same_run(workdir / RUN, by_two / "w" / RUN)


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("resumed", [1, 2, 4])
def test_a_run_of_two_processes_goes_on_in_one(
    by_two: Path,
    pictures: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    each: int,
    resumed: int,
    resident: bool,
) -> None:
    workdir = tmp_path / "w"
    shutil.copytree(left_by_two(tmp_path_factory, pictures, each, resident), workdir)
    goes_on_alone(config_of(pictures, devices=resumed, resident=resident), workdir)
    check_same_run(workdir / RUN, by_two / "w" / RUN)


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(("saved", "resumed"), [(1, 2), (2, 1)])
def test_a_run_of_two_processes_goes_on_with_another_number_of_devices(
    by_two: Path,
    pictures: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    saved: int,
    resumed: int,
    resident: bool,
) -> None:
    """saved, resumed: devices of each process."""
    workdir, path = tmp_path / "w", written(config_of(pictures, resident=resident), tmp_path / "c.py")
    shutil.copytree(left_by_two(tmp_path_factory, pictures, saved, resident), workdir)
    first, _ = as_two("train", path, "--workdir", workdir, devices=resumed)
    assert "Resumed at step" in first.out
    check_same_run(workdir / RUN, by_two / "w" / RUN)


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(("saved", "resumed"), [(1, 2), (1, 4), (2, 1), (2, 4), (4, 1), (4, 2)])
def test_a_run_goes_on_with_another_number_of_devices(
    by_two: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    saved: int,
    resumed: int,
    resident: bool,
) -> None:
    stop_at_the_second_evaluation(
        config_of(pictures, devices=saved, resident=resident), tmp_path, monkeypatch
    )
    goes_on_alone(config_of(pictures, devices=resumed, resident=resident), tmp_path)
    check_same_run(tmp_path / RUN, by_two / "w" / RUN)
