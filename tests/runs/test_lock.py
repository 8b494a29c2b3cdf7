"""One process at a time works in a workdir."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from imbal_jax.errors import InputError
from imbal_jax.runs.lock import FILE, locked

HOLD = "import sys, time; from pathlib import Path; from imbal_jax.runs.lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"


def holder(workdir: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(workdir)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_by_pid_and_host_until_the_first_is_killed(tmp_path: Path) -> None:
    first = holder(tmp_path)
    try:
        with pytest.raises(
            InputError, match=f"in use by process {first.pid} on {socket.gethostname()}: "
        ) as error:
            locked(tmp_path).__enter__()
        assert "\n" not in str(error.value)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert json.loads((tmp_path / FILE).read_text())["pid"] == first.pid, "what a killed process leaves"
    with locked(tmp_path):
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()
    assert not (tmp_path / FILE).exists()


def test_one_process_does_not_work_twice_in_a_workdir(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        with (
            pytest.raises(InputError, match=f"in use by process {os.getpid()}"),
            locked(tmp_path / "new" / ".." / "new"),
        ):
            pass
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path / "new"):
        pass


def test_a_lock_of_another_host_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"pid": 1, "host": "elsewhere"}')
    with (
        pytest.raises(InputError, match=r"in use by process 1 on elsewhere: .*delete .*lock\.json"),
        locked(tmp_path),
    ):
        pass


@pytest.mark.parametrize(("job", "start", "taken"), [("7", "1", True), ("7", "0", False), ("8", "1", False)])
def test_a_job_that_slurm_queued_again_takes_over_what_its_earlier_start_left_on_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, start: str, taken: bool
) -> None:
    (tmp_path / FILE).write_text('{"pid": 1, "host": "elsewhere", "job": "7", "start": 0}')
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", start)
    refused = pytest.raises(InputError, match="in use by process 1 on elsewhere")
    with nullcontext() if taken else refused, locked(tmp_path):
        left = json.loads((tmp_path / FILE).read_text())
        assert (left["job"], left["start"]) == (job, int(start))


def test_the_lock_is_given_back_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass
