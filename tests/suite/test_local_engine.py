"""Runs in worker processes: what is lost where one ends, is stopped or killed, and what is not."""

import json
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from suite_files import write_suite

from imbal_jax.errors import Stopped
from imbal_jax.suite.command import benchmark
from imbal_jax.suite.definition import SuiteAddress
from imbal_jax.suite.engines import local
from imbal_jax.suite.ledger import read_ledger
from imbal_jax.suite.options import BenchmarkOptions

TESTS = str(Path(__file__).parents[1])
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from imbal_jax.cli import main
from imbal_jax.suite import command
command.benchmark.__kwdefaults__["run"] = sys.argv[2]
sys.exit(main(["benchmark", *sys.argv[3:]]))
"""


def run(suite: Path, out: Path, how: str, **options: Any) -> str:
    """What the command prints in this process."""
    console = Console(file=StringIO(), width=200)
    given = BenchmarkOptions(suite=str(suite), out=out, **options)
    benchmark(given, run=f"suite_runs:{how}", console=console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def start(suite: Path, out: Path, how: str, *words: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, TESTS, f"suite_runs:{how}", str(suite), "--out", str(out), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def tries(out: Path) -> list[dict[str, Any]]:
    path = out / "tries.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Whether a process that is no child of ours has ended."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_run_that_ends_its_process_twice_or_raises_fails_alone_and_the_grid_goes_on(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, methods=("ce", "focal", "crt", "weighted_ce"), draws=(0,))
    suite.write_text(suite.read_text().replace("cells=CELLS", "cells=CELLS[:1]"))
    said = run(suite, tmp_path / "out", "troubled", workers=1)
    lines = {line["method"]: line for line in read_ledger(tmp_path / "out").lines}
    assert {name: line["outcome"] for name, line in lines.items()} == {
        "ce": "done",
        "focal": "failed",
        "crt": "failed",
        "weighted_ce": "diverged",
    }
    assert lines["focal"]["reason"] == "its process ended 2 times, the last with SIGKILL"
    assert lines["crt"]["reason"] == "ValueError: no features for the head"
    assert lines["weighted_ce"]["metrics"] == {"auroc": None}
    assert "4 of 4 runs: 1 done, 1 diverged, 2 failed" in said
    assert "failed: screen/phantom-10/0/crt/default/0: ValueError: no features for the head" in said
    at = tries(tmp_path / "out")
    assert [each["key"].split("/")[3] for each in at] == ["ce", "focal", "crt", "weighted_ce", "focal"]
    assert at[0]["pid"] == at[1]["pid"] != at[2]["pid"], "runs after one another in one process"
    again = run(suite, tmp_path / "out", "troubled", workers=1)
    assert "4 of 4 runs" in again
    assert len(tries(tmp_path / "out")) == 5, "a failed run has its line"
    repeated = run(suite, tmp_path / "out", "quick", workers=1, rerun="screen/phantom-10/0/ce/default/0")
    assert "screen/phantom-10/0/ce/default/0 agrees: " in repeated


def test_a_command_that_is_killed_or_stopped_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, out = write_suite(tmp_path, draws=(0, 1, 2)), tmp_path / "out"
    monkeypatch.setenv("RUN_SECONDS", "0.7")
    done = 0
    for sent, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)):
        command = start(suite, out, "quick", "--workers", "1")
        wait_for(lambda before=done: len(read_ledger(out).lines) >= before + 2)
        command.send_signal(sent)
        said, _ = command.communicate(timeout=60)
        assert command.returncode == status, said
        assert "Traceback" not in said
        done = len(read_ledger(out).lines)
        worker = tries(out)[-1]["pid"]
        wait_for(lambda pid=worker: gone(pid), 20)
        assert len(read_ledger(out).lines) == done < 12, "nothing is written after the command has ended"
    assert "imbal-jax: interrupted; run the same command to resume" in said
    monkeypatch.setenv("RUN_SECONDS", "0")
    assert "12 of 12 runs: 12 done" in run(suite, out, "quick", workers=1)
    keys = [line["key"] for line in read_ledger(out).lines]
    assert len(keys) == len(set(keys)) == 12


def test_two_commands_in_one_folder_share_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite, out = write_suite(tmp_path, draws=(0, 1, 2, 3)), tmp_path / "out"
    monkeypatch.setenv("RUN_SECONDS", "0.4")
    both = [start(suite, out, "quick", "--workers", "1") for _ in range(2)]
    for command in both:
        said, _ = command.communicate(timeout=240)
        assert command.returncode == 0, said
    keys = [line["key"] for line in read_ledger(out).lines]
    assert sorted(keys) == sorted(set(keys))
    assert len(keys) == len(tries(out)) == 16, "no run is done twice"
    assert len({each["pid"] for each in tries(out)}) == 2


def test_processes_that_all_end_stop_the_command_and_mark_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "DEATHS", 2)
    suite = write_suite(tmp_path, draws=(0,))
    with pytest.raises(Stopped, match=r"2 processes in a row ended .* SIGKILL: too little memory .*logs"):
        run(suite, tmp_path / "out", "always_killed", workers=1)
    assert read_ledger(tmp_path / "out").lines == ()


def test_a_worker_that_cannot_be_started_is_said_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such interpreter\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(local.sys, "executable", str(broken))
    with pytest.raises(
        Stopped, match=r"cannot be started \(exit status 3\): no such interpreter \(.*worker0.log"
    ):
        run(write_suite(tmp_path), tmp_path / "out", "quick", workers=1)


def address(cell: str, draw: int, method: str) -> SuiteAddress:
    return SuiteAddress("screen", cell, draw, method, "default", draw)


def test_a_process_takes_first_what_shares_its_data_then_what_it_has_compiled() -> None:
    first = [address(cell, 0, method) for cell in ("a", "b") for method in ("ce", "focal")]
    second = [address(cell, 1, method) for cell in ("a", "b") for method in ("ce", "focal")]
    waiting = [*first, *second]
    assert local.next_run(waiting, None, set(), set()) == first[0]
    assert local.next_run(waiting, None, set(), {"a"}) == first[2], "another process is at cell a"
    assert local.next_run(waiting[1:], first[2], {("b", "ce", "default")}, set()) == first[2]
    held = {("b", "ce", "default"), ("b", "focal", "default")}
    assert local.next_run(second, first[3], held, {"a"}) == second[2], (
        "the next draw of the cell it has compiled"
    )
    assert local.next_run([first[1], *second], first[3], held, set()) == first[1], (
        "replicates one after another"
    )


def test_each_of_as_many_workers_as_cores_has_one_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from imbal_jax.suite.engines import devices

    monkeypatch.setattr(devices, "usable_cores", lambda: 8)
    monkeypatch.setattr(devices, "gpus", list)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    share = devices.environment(3, 8, tmp_path, "host")
    assert share["PJRT_NPROC"] == share["OMP_NUM_THREADS"] == "1"
    assert share["XLA_FLAGS"] == "--xla_dump_to=x --xla_cpu_multi_thread_eigen=false"
    assert share["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "compiled" / "host")
    assert devices.environment(0, 2, tmp_path, "host")["PJRT_NPROC"] == "4"
    monkeypatch.setattr(devices, "gpus", lambda: ["2", "5"])
    shares = [devices.environment(index, 4, tmp_path, "host") for index in range(4)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["2", "5", "2", "5"]
    assert shares[0]["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.450"


def test_a_run_that_fails_while_the_command_is_stopped_gets_no_line() -> None:
    got: list[dict[str, Any]] = []
    job: Any = None
    pool = local._Pool(job, [], lambda _, line: got.append(line), 1, "worker")
    for ending, outcome in ((False, "failed"), (True, "failed"), (True, "diverged")):
        pool.ending = ending
        worker: Any = SimpleNamespace(address=address("a", 0, "ce"))
        pool.answered(worker, {"outcome": outcome, "ending": ending})
        assert worker.address is None
    assert got == [{"outcome": "failed", "ending": False}, {"outcome": "diverged", "ending": True}]
