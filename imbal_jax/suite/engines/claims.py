"""Claims on runs, so that two commands in one folder do not run the same one at the same time."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "claims.lock"


class Claims:
    """Claims of one process; they end with it, however it ends.

    A claim is the lock of a byte of OUT/claims.lock, which stays empty: its place is a hash of the run's key. Where
    the file system has no locks, every claim is granted.
    """

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(out / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    @contextmanager
    def hold(self, key: str) -> Iterator[bool]:
        """Whether the run is ours while the block lasts; False where another process has it."""
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7])
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except BlockingIOError:
            yield False
            return
        except OSError:
            yield True
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._handle, fcntl.LOCK_UN, 1, place)
