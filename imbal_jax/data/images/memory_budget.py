"""Limits the memory that all reader threads of a process use together.

Otherwise sixteen threads that each decode a picture of a gigabyte would exhaust a machine. A thread states what it is
about to allocate, and waits until there is room.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from imbal_jax.data.images.refusal import FILE_LIMIT, ReadError

LIMIT = 2 * 2**30  # bytes of all threads together


class Budget:
    """Bytes that threads take and give back. Waiting threads are served in order, so a large one does not starve."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._changed, self._turn = threading.Condition(), threading.Lock()

    def take(self, count: int) -> None:
        """Waits until ``count`` bytes are free; ReadError("too-large") where they never can be."""
        if count > self.limit:
            raise ReadError("too-large")
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self.used + count <= self.limit)
            self.used += count

    def give(self, count: int) -> None:
        with self._changed:
            self.used -= count
            self._changed.notify_all()


# Two, always taken in this order, so that no two threads can wait for each other.
FILES = Budget(FILE_LIMIT)  # bytes of files as they are stored
PIXELS = Budget(LIMIT - FILE_LIMIT)  # what is decoded from them

_held = threading.local()


@contextmanager
def one_file() -> Iterator[None]:
    """Gives back at its end what ``need`` took in this thread. A scope inside another belongs to the outer one."""
    if getattr(_held, "claims", None) is not None:
        yield
        return
    _held.claims = {}
    try:
        yield
    finally:
        for budget, count in _held.claims.items():
            budget.give(count)
        _held.claims = None


def need(budget: Budget, count: int) -> None:
    """Take ``count`` bytes until the thread's ``one_file`` ends; a second call raises what was taken to ``count``.

    Does nothing outside ``one_file``. Raises ReadError("too-large") for more than the budget.
    """
    claims = getattr(_held, "claims", None)
    if claims is None or count <= claims.get(budget, 0):
        return
    budget.give(
        claims.pop(budget, 0)
    )  # give back before waiting, or two threads could wait for each other forever
    budget.take(count)
    claims[budget] = count
