"""Kills and signals at any moment, of one process and of two: nothing saved is lost, and the run ends the same."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_once import made_once
from small_runs import COMMAND, small, write_pictures, written
from two_processes import environment

from imbal_jax.config import Train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMMAND.is_file(), reason="imbal-jax is not installed here"),
]
RUN = Path("stratified", "seed0")
KILLS = 25
"""Of one process and of two each."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, and the workdirs of its run by one process of two devices and by two of one."""

    def run(folder: Path) -> None:
        pictures = write_pictures(folder / "pictures")
        options = Train(
            epochs=20, batch_size=8, evaluations=10, steps_per_dispatch=4, save_minutes=0.1, devices=2
        )
        written(small(pictures, train=options), folder / "c.py")
        for processes in (1, 2):
            started = begin(folder / "c.py", folder / str(processes), processes)
            assert ended(started)[0] == 0

    return made_once(tmp_path_factory, "undisturbed_by_signals", run)


def begin(config: Path, workdir: Path, processes: int) -> subprocess.Popen[str]:
    words = ["train", str(config), "--workdir", str(workdir)]
    launch = ["launch", "--processes", str(processes), "--"] if processes > 1 else []
    return subprocess.Popen(
        [str(COMMAND), *launch, *words],
        env=environment(2 // processes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(started: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = started.communicate(timeout=600)
    return started.returncode, out + err


def children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait(started: subprocess.Popen[str], moment: Callable[[], bool]) -> bool:
    """Whether the moment came before the end."""
    while started.poll() is None:
        if moment():
            return True
        time.sleep(0.002)
    return False


def check_same_bits(one: Path, other: Path) -> None:
    assert (one / RUN / "metrics.jsonl").read_bytes() == (other / RUN / "metrics.jsonl").read_bytes()
    with np.load(one / RUN / "test_scores.npz") as left, np.load(other / RUN / "test_scores.npz") as right:
        np.testing.assert_array_equal(left["scores"], right["scores"])


def checkpoints(workdir: Path) -> list[int]:
    folder = workdir / RUN / "checkpoints"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def evaluations(workdir: Path) -> list[int]:
    path = workdir / RUN / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    whole = [json.loads(line) for line in lines if line.endswith("}")]
    return [record["step"] for record in whole if record["kind"] == "validation"]


@pytest.mark.parametrize("processes", [1, 2])
def test_no_kill_loses_a_saved_step_or_leaves_a_folder_that_does_not_load(
    undisturbed: Path, tmp_path: Path, processes: int
) -> None:
    chance, workdir, killed, reached = random.Random(processes), tmp_path / "w", 0, 0
    while killed < KILLS:
        started = begin(undisturbed / "c.py", workdir, processes)
        metrics = workdir / RUN / "metrics.jsonl"
        before = metrics.stat().st_size if metrics.is_file() else 0
        wait(started, lambda at=before, file=metrics: file.is_file() and file.stat().st_size != at)
        time.sleep(chance.uniform(0, 2))
        victims = children(started.pid) if processes > 1 and started.poll() is None else [started.pid]
        if started.poll() is None:
            os.kill(chance.choice(victims), signal.SIGKILL)
        status, said = ended(started)
        if status == 0:  # it had ended: from the beginning, in a new folder
            check_same_bits(workdir, undisturbed / str(processes))
            workdir, reached = tmp_path / str(killed), 0
            continue
        killed += 1
        assert "damaged" not in said, said
        kept, seen = checkpoints(workdir), evaluations(workdir)
        assert max(kept, default=0) >= reached, "a checkpoint was lost"
        reached = max(kept, default=0)
        assert reached >= max(seen[:-1], default=0), "the evaluation before the last was saved"
    status, said = ended(begin(undisturbed / "c.py", workdir, processes))
    assert status == 0, said
    check_same_bits(workdir, undisturbed / str(processes))


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("moment", ["saving", "twice", "report"])
def test_sigterm_at_bad_moments_leaves_a_run_that_goes_on(
    undisturbed: Path, tmp_path: Path, moment: str, processes: int
) -> None:
    run = tmp_path / RUN

    def now() -> bool:
        if moment == "saving":
            return any("tmp" in path.name for path in (run / "checkpoints").glob("*"))
        if moment == "report":
            return (run / "result.json").is_file()
        return bool(checkpoints(tmp_path))

    started = begin(undisturbed / "c.py", tmp_path, processes)
    assert wait(started, now), ended(started)
    started.send_signal(signal.SIGTERM)
    if moment == "twice":
        time.sleep(0.05)
        started.send_signal(signal.SIGTERM)
    status, said = ended(started)
    # a second one may come after the end; a shell gives 143 for both
    assert status in ((143, -signal.SIGTERM) if moment == "twice" else (143,)), said
    if moment == "report":
        assert (
            said.count("stopped by SIGTERM; all runs are finished; the same command writes the report") == 1
        )
    else:
        assert said.count("stopped by SIGTERM at step") == 1
        assert not [path for path in (run / "checkpoints").iterdir() if "tmp" in path.name]
    status, said = ended(begin(undisturbed / "c.py", tmp_path, processes))
    assert status == 0, said
    assert ("finished before" if moment == "report" else "Resumed at step") in said
    assert (tmp_path / "report.html").is_file()
    check_same_bits(tmp_path, undisturbed / str(processes))
