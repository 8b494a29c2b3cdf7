"""A command as two processes of two simulated devices each, which talk over gloo."""

import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from small_runs import COMMAND


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def environment(devices: int = 2) -> dict[str, str]:
    flag = "--xla_force_host_platform_device_count"
    flags = re.sub(rf"{flag}=\d+", "", os.environ.get("XLA_FLAGS", ""))
    gloo = {"JAX_PLATFORMS": "cpu", "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"}
    return {**os.environ, **gloo, "XLA_FLAGS": f"{flags} {flag}={devices}"}


def begun_as_two(
    *words: object, command: tuple[object, ...] = (COMMAND,), devices: int = 2
) -> list[subprocess.Popen[str]]:
    """``imbal-jax WORDS`` as processes 0 and 1 of 2. devices: of each."""
    place = ("--coordinator", f"localhost:{free_port()}", "--processes", "2", "--process")
    return [
        subprocess.Popen(
            [*map(str, (*command, *words, *place)), str(process)],
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in (0, 1)
    ]


def ended(processes: list[subprocess.Popen[str]], seconds: float = 240) -> list[Ended]:
    """How each of them ended and what it said; none is left running."""
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [Ended(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def as_two(*words: object, devices: int = 2) -> list[Ended]:
    """``imbal-jax WORDS`` as two processes, to their good end. devices: of each."""
    both = ended(begun_as_two(*words, devices=devices))
    assert [process.status for process in both] == [0, 0], both[0].err + both[1].err
    return both


def wait_for_lines(path: Path, lines: int, processes: list[subprocess.Popen[str]]) -> None:
    """Until the file has so many lines or a process has ended."""
    while all(process.poll() is None for process in processes):
        if path.is_file() and path.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.005)
