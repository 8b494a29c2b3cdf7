"""The clock of a run: seconds spent on it, over all its restarts."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imbal_jax.engine import hosts
from imbal_jax.files import DamagedError, present, read_json, write_json


class Clock:
    """Counts seconds from its creation; ``save`` keeps the sum for the next start.

    folder: the run's. fresh: whether the run begins at its first step, which sets the clock to 0. The first of
    several processes keeps it.
    """

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self._path = folder / "clock.json"
        self._before = 0.0
        if hosts.is_first() and not fresh and present(self._path):
            remedy = "delete it, and only the time that the run took is lost"
            seconds = read_json(self._path, remedy).get("seconds")
            if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise DamagedError(f"{self._path} is damaged (no number of seconds): {remedy}")
            self._before = float(seconds)
        self._began = time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The seconds in the ``with`` block are not counted."""
        at = time.monotonic()
        yield
        self._began += time.monotonic() - at

    def save(self) -> None:
        if hosts.is_first():
            write_json(self._path, {"seconds": round(self.seconds(), 1)})
