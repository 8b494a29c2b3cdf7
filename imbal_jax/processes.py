"""Commands that run as several processes: how they begin, find one another, and end together."""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from imbal_jax.errors import InputError, Terminated

OPTIONS = {"--distributed": 0, "--coordinator": 1, "--process": 1, "--processes": 1}
"""Options of every command of ``COMMANDS``, and how many words follow each."""
COMMANDS = ("train", "evaluate", "predict")

SEVERED = ("Gloo", "NCCL", "UNAVAILABLE", "Connection", "coordination service", "heartbeat")
"""In the messages of errors that a process sees when another one is gone."""

_joined = False  # JAX is not imported to find out


def join(words: Sequence[str]) -> list[str]:
    """The words without ``OPTIONS``; where they are given, this process joins the others first.

    Raises InputError for options that are incomplete, and as ``hosts.start``.
    """
    global _joined
    given, rest = _taken(words)
    if not given or {"-h", "--help"} & {*rest}:
        return rest
    if "--distributed" not in given and "--coordinator" not in given:
        raise InputError(f"{', '.join(given)} without --coordinator HOST:PORT: give it, or --distributed")
    coordinator, process, processes = (
        given.get(name) for name in ("--coordinator", "--process", "--processes")
    )
    if coordinator is not None:
        if None in (process, processes):
            raise InputError("--coordinator needs --process I and --processes N: I from 0, below N")
        if not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdecimal():
            raise InputError(f"--coordinator is {coordinator!r}, expected HOST:PORT of process 0")
    number, count = _whole("--process", process, 0), _whole("--processes", processes, 1)
    if number is not None and count is not None and number >= count:
        raise InputError(f"--process is {number}: of {count} processes it is 0 to {count - 1}")
    from imbal_jax.engine import hosts

    hosts.start(coordinator, number, count)
    _joined = True
    return rest


def count() -> int:
    """How many processes have joined."""
    if not _joined:
        return 1
    from imbal_jax.engine import hosts

    return hosts.count()


def leave(status: int, message: str) -> int:
    """Print the message and return the status; of several processes, end together."""
    if status == Terminated.status and threading.current_thread() is threading.main_thread():
        for each in (signal.SIGTERM, signal.SIGUSR1):  # a second one changes nothing any more
            signal.signal(each, signal.SIG_IGN)
    if count() > 1:
        from imbal_jax.engine import failures, hosts

        if status not in (0, Terminated.status):
            failures.fail(status, message)
        failures.finish()
        if not hosts.is_first():
            return status
    if message:
        print(f"imbal-jax: {message}", file=sys.stderr)
    return status


def fail(error: BaseException) -> None:
    """End all processes where ``error`` is one of the program, or of a connection; returns where this is the only."""
    if count() == 1:
        return
    from imbal_jax.engine import failures

    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if any(word in str(error) for word in SEVERED):
        cause = failures.cause()
        failures.fail(
            1,
            cause
            or f"another process has ended or cannot be reached ({text[:200]}); what was saved is whole: start all "
            "processes again with the same command to continue",
        )
    traceback.print_exception(error)
    failures.fail(1, f"{type(error).__name__}: {text}")


def _taken(words: Sequence[str]) -> tuple[Mapping[str, str], list[str]]:
    given: dict[str, str] = {}
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if name not in OPTIONS:
            rest.append(word)
            continue
        if name in given:
            raise InputError(f"{name} is given twice")
        if OPTIONS[name] and not equals:
            if not left or left[0].startswith("--"):
                raise InputError(f"{name} needs a value")
            value = left.pop(0)
        if equals and not OPTIONS[name]:
            raise InputError(f"{name} takes no value")
        given[name] = value
    return given, rest


def _whole(name: str, text: str | None, least: int) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"{name} is {text!r}, expected a whole number from {least}")
    return int(text)


FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
GRACE_SECONDS = 50.0
"""How long processes whose neighbour has failed take to say why and end, before they are killed."""


def launch(words: Sequence[str]) -> int:
    """``launch --processes N -- COMMAND ...``: a command as N processes of this machine; returns the exit status.

    Each has a share of the GPUs where they divide. Signals are passed on. The status is that of the first process
    that failed, 0 where none did.
    """
    count, command = _to_launch(words)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = ("--coordinator", f"localhost:{free.getsockname()[1]}", "--processes", str(count))
    running: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        for process in running:
            if process.poll() is None:
                process.send_signal(number)

    before = {each: signal.signal(each, forward) for each in FORWARDED}
    try:
        for process in range(count):
            started = subprocess.Popen(
                [sys.executable, "-m", "imbal_jax", *command, *place, "--process", str(process)],
                env={**os.environ, **_own_gpus(process, count)},
                process_group=0,  # a key of the terminal reaches it once, through here
            )
            running.append(started)
        return _together(running)
    finally:
        for started in running:
            started.kill()
            started.wait()
        for each, handler in before.items():
            signal.signal(each, handler)


def _to_launch(words: Sequence[str]) -> tuple[int, list[str]]:
    """How many processes, and the words of the command; InputError for others than ``launch`` takes."""
    place = list(words).index("--") if "--" in words else len(words)
    given, rest = _taken(words[:place])
    command = list(words[place + 1 :])
    count = _whole("--processes", given.get("--processes"), 1)
    if rest or count is None or set(given) != {"--processes"} or not command:
        raise InputError("launch needs --processes N -- COMMAND ..., as launch --processes 2 -- train CONFIG")
    if command[0] not in COMMANDS:
        raise InputError(f"launch is for {', '.join(COMMANDS)}, not for {command[0]!r}")
    if _taken(command)[0]:
        raise InputError(f"launch gives {', '.join(_taken(command)[0])} itself: leave it out behind --")
    return count, command


def _own_gpus(process: int, count: int) -> dict[str, str]:
    """The variable that shows a process its share of the machine's NVIDIA GPUs; none where they do not divide."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    gpus = sorted(gpus, key=int) if shown is None else [each for each in shown.split(",") if each]
    if not gpus or len(gpus) % count:
        return {}
    share = len(gpus) // count
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[process * share : (process + 1) * share])}


def _together(running: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for all; once one has failed, for the others no longer than ``GRACE_SECONDS``."""
    failed, until = 0, math.inf
    while True:
        statuses = [process.poll() for process in running]  # of all, also behind one that still runs
        failed = failed or next(filter(None, statuses), 0)
        if None not in statuses or time.monotonic() >= until:
            break
        if failed and until == math.inf:
            until = time.monotonic() + GRACE_SECONDS
        time.sleep(0.1)
    if None in statuses:
        print(
            f"imbal-jax: process {statuses.index(failed)} has ended with status {failed}; process "
            f"{statuses.index(None)}, which may have waited for it, did not end within {GRACE_SECONDS:g} seconds "
            "and is killed",
            file=sys.stderr,
        )
    return 128 - failed if failed < 0 else failed
