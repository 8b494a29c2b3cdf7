"""Two processes of two devices train, evaluate and predict as one process does, and end together."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from process_runs import METRICS, check_same_run, config_of, pictures_of_processes, run_by_two
from small_runs import COMMAND, QUIET, written
from two_processes import as_two, begun_as_two, ended, environment, wait_for_lines

from imbal_jax import processes, train
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS

GLOO = re.compile(
    r"\[Gloo\] Rank |\d+| is connected to | peer ranks\.| Expected number of connected peer ranks is : |\s"
)
"""What the collectives print of themselves: piece by piece, since their threads write in between each other."""

pytestmark = pytest.mark.skipif(not COMMAND.is_file(), reason="imbal-jax is not installed here")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures_of_processes(tmp_path_factory)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_by_two(tmp_path_factory)


@pytest.mark.parametrize("devices", [1, 4])
def test_two_processes_train_as_one(by_two: Path, pictures: Path, tmp_path: Path, devices: int) -> None:
    alone = tmp_path / "alone"
    train.fit(config_of(pictures, devices=devices), alone, console=QUIET)
    check_same_run(by_two / "w" / "stratified" / "seed0", alone / "stratified" / "seed0")


def test_the_first_process_writes_and_prints_and_the_second_does_not(by_two: Path) -> None:
    first, second = json.loads((by_two / "said.json").read_text())
    assert "Results on the test set" in first
    assert "step 20  validation" in first
    assert not GLOO.sub("", second), second
    run = by_two / "w" / "stratified" / "seed0"
    assert len(list((run / "tensorboard").iterdir())) == 1
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [each["kind"] for each in records].count("train") == 15, "each dispatch once"
    assert [each["kind"] for each in records].count("validation") == 3
    left = {path.name for path in (by_two / "w").iterdir()}
    assert {"config.json", "report.html", "results.json", "splits.json"} <= left
    assert "lock.json" not in left
    assert not [path for path in (by_two / "w").rglob("*") if "partial" in path.name or "tmp" in path.name]


def test_evaluate_and_predict_of_two_processes_give_what_one_gives(
    by_two: Path, pictures: Path, tmp_path: Path
) -> None:
    workdir, alone, together = tmp_path / "w", tmp_path / "alone.csv", tmp_path / "together.csv"
    shutil.copytree(by_two / "w", workdir)
    before = np.load(workdir / "stratified" / "seed0" / "test_scores.npz")["scores"]
    first, second = as_two("evaluate", workdir, "--deploy.points", "sensitivity >= 0.5")
    assert "Results on the test set" in first.out
    assert "Results" not in second.out
    deployed = json.loads((workdir / "stratified" / "seed0" / "deployment.json").read_text())
    assert "sensitivity >= 0.5" in deployed["points"][1]["rule"]
    after = np.load(workdir / "stratified" / "seed0" / "test_scores.npz")["scores"]
    np.testing.assert_allclose(after, before, atol=1e-6)

    (pictures_here := tmp_path / "pictures").mkdir()
    for path in sorted(pictures.glob("1*.png")):
        shutil.copy(path, pictures_here)
    (pictures_here / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    first, second = as_two(
        "predict", workdir, pictures_here, "--out", together, "--names", tmp_path / "names.csv"
    )
    from imbal_jax.runs.predict import predict

    key = together.with_suffix(".key")
    found = predict(workdir, pictures_here, alone, key_file=key, names=tmp_path / "n.csv", console=QUIET)
    one, two = (list(csv.reader(path.read_text().splitlines())) for path in (alone, together))
    assert [row[0] for row in one] == [row[0] for row in two], "in the same order"
    assert len(one) == found.scored + 1 == 23
    assert [row[2:] for row in one] == [row[2:] for row in two]
    np.testing.assert_allclose(*[[float(row[1]) for row in rows[1:]] for rows in (one, two)], atol=1e-5)
    assert (tmp_path / "names.csv").read_bytes() == (tmp_path / "n.csv").read_bytes()
    assert (tmp_path / "names.csv").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "alone.unreadable.csv").read_bytes() == (
        tmp_path / "together.unreadable.csv"
    ).read_bytes()
    assert not list(tmp_path.glob("*.part*"))
    assert f"22 images, called bright {found.called['bright']}" in first.out


def check_same_bits(one: Path, other: Path) -> None:
    assert (one / METRICS).read_bytes() == (other / METRICS).read_bytes()
    first, second = (
        np.load(workdir / "stratified" / "seed0" / "test_scores.npz") for workdir in (one, other)
    )
    np.testing.assert_array_equal(first["scores"], second["scores"])
    digests = [
        sorted(path.read_text() for path in workdir.glob("stratified/seed0/checkpoints/*/digest/metadata"))
        for workdir in (one, other)
    ]
    assert digests[0] == digests[1] != []


@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_ends_the_other_within_a_minute_and_the_restart_continues_exactly(
    by_two: Path, tmp_path: Path, killed: int
) -> None:
    words = ("train", by_two / "c.py", "--workdir", tmp_path)
    pair = begun_as_two(*words)
    wait_for_lines(tmp_path / METRICS, 8, pair)
    pair[killed].send_signal(signal.SIGKILL)
    began = time.monotonic()
    both = ended(pair)
    assert time.monotonic() - began < 60
    assert both[killed].status == -signal.SIGKILL, "it ended before it could be killed"
    left = both[1 - killed]
    assert left.status not in (0, 2, 143)
    assert f"imbal-jax: process {killed} has ended (it was killed, or its machine is lost)" in left.err
    as_two(*words)
    check_same_bits(tmp_path, by_two / "w")


def test_sigterm_to_one_process_stops_both_at_one_step_and_streamed_training_goes_on_there(
    pictures: Path, tmp_path: Path
) -> None:
    """With a second stage, of which both processes read the first."""
    asked = replace(config_of(pictures, resident=False), methods=(METHODS["crt"],))
    path, workdir = written(asked, tmp_path / "c.py"), tmp_path / "w"
    pair = begun_as_two("train", path, "--workdir", workdir)
    wait_for_lines(workdir / "ce" / "seed0" / "metrics.jsonl", 2, pair)
    pair[1].send_signal(signal.SIGTERM)
    both = ended(pair)
    assert [process.status for process in both] == [143, 143], both[0].err + both[1].err
    assert "stopped by SIGTERM at step" in both[0].err
    first, _ = as_two("train", path, "--workdir", workdir)
    assert "Resumed at step" in first.out
    alone = tmp_path / "alone"
    four = replace(asked, train=replace(asked.train, devices=4))
    train.fit(four, alone, console=QUIET)
    for method in ("ce", "crt"):
        check_same_run(workdir / method / "seed0", alone / method / "seed0")


def test_a_mistake_is_one_line_and_the_launcher_ends_with_its_status(pictures: Path, tmp_path: Path) -> None:
    path = written(config_of(pictures), tmp_path / "c.py")
    words = ["launch", "--processes", "2", "--", "train", path, "--workdir", tmp_path / "w"]
    done = subprocess.run(
        [*map(str, (COMMAND, *words)), "--data.dir", "/nowhere"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "imbal-jax: no folder /nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path / "w") == [], "nothing is claimed, and the lock is gone"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "launch needs --processes N -- COMMAND"),
        (["--processes", "2", "train", "c.py"], "launch needs --processes N -- COMMAND"),
        (["--processes", "2", "--"], "launch needs --processes N -- COMMAND"),
        (
            ["--processes", "2", "--", "export", "w"],
            "launch is for train, evaluate, predict, not for 'export'",
        ),
        (["--processes", "2", "--", "train", "c.py", "--distributed"], "launch gives --distributed itself"),
    ],
)
def test_what_cannot_be_launched_is_named(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        processes.launch(words)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_fails_ends_one_that_waits_for_it_for_ever(
    failing: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one does that was killed before it had joined the others."""
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)
    running = [
        subprocess.Popen([sys.executable, "-c", text])
        for text in sorted(("import time; time.sleep(600)", "raise SystemExit(3)"), reverse=failing == 0)
    ]
    try:
        assert processes._together(running) == 3
        assert running[1 - failing].poll() is None
    finally:
        for process in running:
            process.kill()
            process.wait()
    said = f"process {failing} has ended with status 3; process {1 - failing}, which may have waited for it"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shown", "count", "own"),
    [
        ("0,1,2,3", 2, ["0,1", "2,3"]),
        ("5,7", 2, ["5", "7"]),
        ("0,1,2", 2, [None, None]),
        ("", 2, [None, None]),
    ],
)
def test_launched_processes_share_the_gpus_where_they_divide(
    shown: str, count: int, own: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    shares = [processes._own_gpus(process, count).get("CUDA_VISIBLE_DEVICES") for process in range(count)]
    assert shares == own


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--process", "0"], "--process without --coordinator HOST:PORT: give it, or --distributed"),
        (["--coordinator", "here:1"], "--coordinator needs --process I and --processes N"),
        (["--coordinator", "here", "--process", "0", "--processes", "2"], "expected HOST:PORT of process 0"),
        (
            ["--coordinator=here:1", "--process=2", "--processes=2"],
            "--process is 2: of 2 processes it is 0 to 1",
        ),
        (
            ["--coordinator", "here:1", "--process", "x", "--processes", "2"],
            "--process is 'x', expected a whole",
        ),
        (["--coordinator", "here:1", "--process", "0", "--processes", "0"], "a whole number from 1"),
        (["--coordinator"], "--coordinator needs a value"),
        (["--distributed", "--distributed"], "--distributed is given twice"),
        (["--distributed=yes"], "--distributed takes no value"),
    ],
)
def test_incomplete_options_are_named_before_anything_starts(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        processes.join(["c.py", *words])


def test_other_words_are_left_to_the_command_and_help_starts_nothing() -> None:
    assert processes.join(["c.py", "--workdir", "w"]) == ["c.py", "--workdir", "w"]
    assert processes.join(["--help", "--distributed"]) == ["--help"]
    assert processes.count() == 1
