"""The ledger of a suite, OUT/ledger.jsonl: one JSON object a line for each run, only ever appended to.

A ledger may be written by many processes, and those of several folders may be joined with ``cat``.
"""

import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.errors import InputError
from imbal_jax.files import cannot_write, opened, present
from imbal_jax.suite.definition import Line

FILE = "ledger.jsonl"
TORN = "ledger.torn"
OUTCOMES = ("done", "diverged", "failed")


@dataclass(frozen=True)
class Ledger:
    """What a ledger holds.

    lines: the runs, in the order they were written. damaged: numbers of lines, from 1, that are no run. torn: the
    last line was cut off, as a killed writer leaves it. end: the place, in bytes, behind the last whole line.
    """

    path: Path
    lines: tuple[Line, ...] = ()
    damaged: tuple[int, ...] = ()
    torn: bool = False
    end: int = 0

    def notes(self) -> list[str]:
        """What is wrong with the file, a line each; empty for a whole one."""
        said: list[str] = []
        if self.damaged:
            which = ", ".join(map(str, self.damaged[:5])) + (", ..." if len(self.damaged) > 5 else "")
            said.append(
                f"{self.path}: {len(self.damaged)} damaged lines (line {which}) stay there and are not used: "
                "restore them from a copy, or the same command runs them again"
            )
        if self.torn:
            said.append(
                f"{self.path}: its last line is cut off, as a killed process leaves it: the same command runs it "
                f"again and moves what is there of the line to {TORN}"
            )
        return said


def read_ledger(out: Path) -> Ledger:
    """The ledger of a folder, empty where there is none; InputError where it cannot be read."""
    path = Path(out) / FILE
    if not present(path):
        return Ledger(path)
    with opened(path) as stream:
        with suppress(OSError):  # a file system without locks, or one that can only be read
            fcntl.lockf(stream, fcntl.LOCK_SH)
        data = stream.read()
    *whole, rest = data.split(b"\n")
    end = len(data) - len(rest)
    numbered = list(enumerate(whole, start=1))
    if parsed(rest) is not None:  # only the line break is missing
        numbered.append((len(whole) + 1, rest))
        rest = b""
    lines = [(number, parsed(data)) for number, data in numbered if data.strip()]
    return Ledger(
        path,
        tuple(line for _, line in lines if line is not None),
        tuple(number for number, line in lines if line is None),
        bool(rest.strip()),
        end,
    )


class Tail:
    """The lines that any process appends to a ledger behind ``place``, a ``Ledger.end``; None: from now on."""

    def __init__(self, out: Path, place: int | None = None) -> None:
        self._path = Path(out) / FILE
        self._place = read_ledger(out).end if place is None else place

    def new(self) -> list[Line]:
        """The whole lines since the last call."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._place)
                data = stream.read()
        except FileNotFoundError:
            return []
        data = data[: data.rfind(b"\n") + 1]
        self._place += len(data)
        return [line for each in data.splitlines() if (line := parsed(each)) is not None]


def append_line(out: Path, line: Line) -> str:
    """Append a run to the ledger of a folder, which is made where it is absent; the line is on disk on return.

    Numbers that are not finite become null. What a killed writer left of a line is moved to ``ledger.torn``; returns
    what to say about it, usually "". Raises InputError where the ledger cannot be written, and Stopped where the disk
    is full; it then is as it was.
    """
    path = Path(out) / FILE
    if parsed(data := (json.dumps(plain(line), allow_nan=False) + "\n").encode()) is None:
        raise ValueError(
            f"a line of a ledger has a key and an outcome of {', '.join(OUTCOMES)}: {data[:200]!r}"
        )
    try:
        with _locked(path) as handle:
            said = _repair(path, handle)
            size = os.fstat(handle).st_size
            try:
                _write(handle, data)
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise
    except OSError as error:
        raise cannot_write(path, error) from None
    return said


def parsed(data: bytes) -> Line | None:
    """The run of a line of a ledger; None where it is none."""
    try:
        line = json.loads(data.decode("utf-8"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    right = isinstance(line, dict) and isinstance(line.get("key"), str) and line.get("outcome") in OUTCOMES
    return line if right else None


def plain(value: Any) -> Any:
    """``value`` as JSON values: arrays as lists, numbers that are not finite as None, paths as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray) or type(value).__module__.startswith("jax"):
        return plain(np.asarray(value).tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The open ledger, which no other process reads or writes in the meantime."""
    fresh = not path.parent.is_dir()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_fifo():
        raise InputError(f"cannot write {path}: it is no ordinary file; name another --out")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX)
        yield handle
        if fresh:
            _sync_folder(path.parent)
    finally:
        os.close(handle)  # ends the lock


def _repair(path: Path, handle: int) -> str:
    """Give the last line its end: a whole one a line break, half of one goes to ``ledger.torn``."""
    size = os.fstat(handle).st_size
    if size == 0 or os.pread(handle, 1, size - 1) == b"\n":
        return ""
    start = _last_line(handle, size)
    rest = os.pread(handle, size - start, start)
    if parsed(rest) is not None:
        _write(handle, b"\n")
        return ""
    aside = os.open(path.with_name(TORN), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        _write(aside, rest + b"\n")
        os.fsync(aside)
    finally:
        os.close(aside)
    os.ftruncate(handle, start)
    return f"{path}: half a line, as a killed process leaves it, was moved to {TORN}: its run is run again"


def _last_line(handle: int, size: int) -> int:
    """Where the last line begins."""
    end = size
    while end > 0:
        begin = max(0, end - 65536)
        place = os.pread(handle, end - begin, begin).rfind(b"\n")
        if place >= 0:
            return begin + place + 1
        end = begin
    return 0


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every file system knows it
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
