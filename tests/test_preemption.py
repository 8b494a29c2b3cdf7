"""Kills and signals at any moment, of one process and of two: nothing saved is lost, and the run ends the same."""

import json
import math
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_once import made_once
from process_runs import METRICS, RUN
from small_runs import COMMAND, small, write_pictures, written
from two_processes import environment

from imbal_jax.config import Model, Train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMMAND.is_file(), reason="imbal-jax is not installed here"),
]
CHECKPOINTS = RUN / "checkpoints"
KILLS = 25
"""Of one process and of two each."""

STARTING_SECONDS, TRAINING_SECONDS = 6.0, 8.0
"""Until a kill, at most: from the start, or from the first step."""

SAVE_SECONDS = 2.0
SLACK_SECONDS = 3.0
"""What a dispatch, an evaluation and its records take on a loaded machine, beyond ``--train.save-minutes``."""


@pytest.fixture(scope="module", params=[1, 2])
def processes(request: pytest.FixtureRequest) -> int:
    """One of two devices, or two of one."""
    return request.param


def undisturbed_run(
    factory: pytest.TempPathFactory, name: str, processes: int, options: Train, width: int = 4
) -> Path:
    """A folder with a config, and the workdir ``w`` of its run; nobody may change it."""

    def run(folder: Path) -> None:
        pictures = write_pictures(folder / "pictures")
        model = Model(name="cnn", options={"width": width, "stages": 2})
        written(small(pictures, train=replace(options, devices=2), model=model), folder / "c.py")
        status, said = ended(begin(folder / "c.py", folder / "w", processes))
        assert status == 0, said

    return made_once(factory, f"undisturbed_by_{name}_{processes}", run)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, processes: int) -> Path:
    options = Train(epochs=20, batch_size=8, evaluations=10, steps_per_dispatch=4)
    return undisturbed_run(tmp_path_factory, "signals", processes, options)


@pytest.fixture(scope="module")
def undisturbed_by_kills(tmp_path_factory: pytest.TempPathFactory, processes: int) -> Path:
    """Two evaluations, so that most of what a kill leaves was saved between them; a step of two takes longer."""
    options = Train(
        epochs=3000 // processes * 64 / 76,
        batch_size=64,
        evaluations=2,
        steps_per_dispatch=8,
        save_minutes=SAVE_SECONDS / 60,
    )
    return undisturbed_run(tmp_path_factory, "kills", processes, options, width=16)


def begin(config: Path, workdir: Path, processes: int) -> subprocess.Popen[str]:
    words = ["train", str(config), "--workdir", str(workdir)]
    launch = ["launch", "--processes", str(processes), "--"] if processes > 1 else []
    return subprocess.Popen(
        [str(COMMAND), *launch, *words],
        env={**environment(2 // processes), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
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
    assert (one / METRICS).read_bytes() == (other / METRICS).read_bytes()
    with np.load(one / RUN / "test_scores.npz") as left, np.load(other / RUN / "test_scores.npz") as right:
        np.testing.assert_array_equal(left["scores"], right["scores"])


def checkpoints(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / CHECKPOINTS).glob("*") if path.name.isdecimal())


def unfinished(workdir: Path) -> list[str]:
    """What is being saved, or what a killed save has left."""
    return [path.name for path in (workdir / CHECKPOINTS).glob("*") if "tmp" in path.name]


def written_at(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def newest(metrics: Path) -> int:
    """The step of the last whole record."""
    lines = metrics.read_bytes().split(b"\n")[-2:-1] if metrics.is_file() else []
    return json.loads(lines[0])["step"] if lines else 0


def evaluations(workdir: Path) -> list[int]:
    path = workdir / METRICS
    lines = path.read_text().splitlines() if path.is_file() else []
    whole = [json.loads(line) for line in lines if line.endswith("}")]
    return [record["step"] for record in whole if record["kind"] == "validation"]


def killed_at_random(
    config: Path, workdir: Path, processes: int, chance: random.Random
) -> tuple[float, int, str]:
    """Go on with a run and kill one of its processes; when it took its first step, the status and what was said.

    A fifth of the kills come earlier, while it imports, compiles or restores; these begin at infinity.
    """
    metrics, reached, began = workdir / METRICS, max(checkpoints(workdir), default=0), math.inf
    before = written_at(metrics)
    started = begin(config, workdir, processes)
    if chance.random() < 1 / 5:
        time.sleep(chance.uniform(0, STARTING_SECONDS))
    elif wait(started, lambda: written_at(metrics) != before and newest(metrics) > reached):
        began = time.time()
        time.sleep(chance.uniform(0, TRAINING_SECONDS))
    victims = [started.pid] if processes == 1 else []
    while started.poll() is None and not victims:
        victims = children(started.pid)
    if started.poll() is None:
        os.kill(chance.choice(victims), signal.SIGKILL)
    return began, *ended(started)


def test_no_kill_loses_more_than_save_minutes_or_leaves_a_folder_that_does_not_load(
    undisturbed_by_kills: Path, tmp_path: Path, processes: int
) -> None:
    config, whole = undisturbed_by_kills / "c.py", undisturbed_by_kills / "w"
    chance, workdir, killed, reached = random.Random(processes), tmp_path / "w", 0, 0
    lost = []
    while killed < KILLS:
        began, status, said = killed_at_random(config, workdir, processes, chance)
        assert "damaged" not in said, said
        assert f"Resumed at step {reached}." in said or "Resumed" not in said
        if status == 0:  # it had ended: from the beginning, in a new folder
            check_same_bits(workdir, whole)
            workdir, reached = tmp_path / str(killed), 0
            continue
        killed += 1
        kept = max(checkpoints(workdir), default=0)
        assert kept >= reached, "a checkpoint was lost"
        reached = kept
        assert reached >= max(evaluations(workdir)[:-1], default=0), (
            "the evaluation before the last was saved"
        )
        if began < math.inf and newest(workdir / METRICS) > reached:
            saved = written_at(workdir / CHECKPOINTS / str(reached))
            lost.append(written_at(workdir / METRICS) - max(saved, began))
    print(
        f"{KILLS} kills of {processes}: {len(lost)} with steps to repeat, at most {max(lost):.1f} s of them"
    )
    assert max(lost) < SAVE_SECONDS + SLACK_SECONDS, sorted(lost)
    status, said = ended(begin(config, workdir, processes))
    assert status == 0, said
    assert f"Resumed at step {reached}." in said or "finished before" in said or not reached
    assert unfinished(workdir) == []
    check_same_bits(workdir, whole)


@pytest.mark.parametrize("moment", ["saving", "twice", "report"])
def test_sigterm_at_bad_moments_leaves_a_run_that_goes_on(
    undisturbed: Path, tmp_path: Path, moment: str, processes: int
) -> None:
    run = tmp_path / RUN

    def now() -> bool:
        if moment == "saving":
            return bool(unfinished(tmp_path))
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
        assert unfinished(tmp_path) == []
    status, said = ended(begin(undisturbed / "c.py", tmp_path, processes))
    assert status == 0, said
    assert ("finished before" if moment == "report" else "Resumed at step") in said
    assert (tmp_path / "report.html").is_file()
    check_same_bits(tmp_path, undisturbed / "w")
