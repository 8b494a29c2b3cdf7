"""Stopping between two dispatches: signals that ask for it, and how long a dispatch may take."""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Self

from imbal_jax.engine import hosts
from imbal_jax.errors import Terminated

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Signals that schedulers send before they reclaim a machine."""

DISPATCH_SECONDS = 10.0
"""Longest dispatch. A dispatch cannot be interrupted, so slow steps get fewer steps per dispatch."""


class _Interrupted(BaseException):
    """As KeyboardInterrupt, not to be caught by what catches every Exception."""


class StopRequest:
    """Notes ``signals`` while its ``with`` block runs, so that work ends at the next safe moment.

    Outside the main thread, where handlers cannot be installed, nothing is noted.
    """

    def __init__(self, signals: Sequence[signal.Signals] = SIGNALS) -> None:
        self._signals = signals
        self.received: signal.Signals | None = None
        self._agreed = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._note) for each in self._signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each, before in self._before.items():
            signal.signal(each, before)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)

    @contextmanager
    def at_once(self, remedy: str) -> Iterator[None]:
        """A signal, or an earlier one, ends the block where it is: Terminated, whose message ends with ``remedy``."""
        if self.received:
            raise Terminated(f"stopped by {self.name}; {remedy}")

        def interrupt(number: int, frame: FrameType | None) -> None:
            for each in self._before:
                signal.signal(each, self._note)  # a second one changes nothing
            self._note(number, frame)
            raise _Interrupted

        for each in self._before:
            signal.signal(each, interrupt)
        try:
            yield
        except _Interrupted:
            raise Terminated(f"stopped by {self.name}; {remedy}") from None
        finally:
            for each in self._before:
                signal.signal(each, self._note)

    @property
    def name(self) -> str:
        """The signal that this process received, "" if none."""
        return self.received.name if self.received else ""

    @property
    def reason(self) -> str:
        """The message that names the signal, "" if none was received."""
        return f"stopped by {self._agreed or self.name}" if self else ""

    def asked(self) -> bool:
        """Whether any process received a signal: one answer in all of them, which ask at the same moments."""
        self.agree(hosts.flagged(self.name))
        return bool(self)

    def agree(self, name: str) -> None:
        """Take the signal that all processes act on, "" for none yet."""
        self._agreed = name

    def __bool__(self) -> bool:
        return bool(self._agreed) if hosts.count() > 1 else self.received is not None


class Pace:
    """How many steps the next dispatch takes, and whether it is time to save.

    most: steps of a dispatch where they are fast. save_minutes: between two saves; 0 is never.
    """

    def __init__(self, most: int, save_minutes: float) -> None:
        self._most = most
        self._save_seconds = 60 * save_minutes
        self._saved = time.monotonic()
        self._step_seconds = 0.0
        self._seen = 0

    @property
    def steps(self) -> int:
        """Steps in the next dispatch."""
        if self._step_seconds * self._most <= DISPATCH_SECONDS:
            return self._most
        return max(1, int(DISPATCH_SECONDS / self._step_seconds))

    def took(self, steps: int, seconds: float) -> None:
        """Record the steps and the seconds of a dispatch. The first is not counted: it includes compilation."""
        self._seen += 1
        if self._seen > 1:
            each = seconds / steps
            self._step_seconds = min(self._step_seconds or each, each)

    @property
    def save_due(self) -> bool:
        """Whether the last save is too long ago."""
        return 0 < self._save_seconds <= time.monotonic() - self._saved

    def saved(self) -> None:
        """Record that the state was saved now."""
        self._saved = time.monotonic()


class Turn(NamedTuple):
    """steps: of the next dispatch. ends: whether to stop or to save before it."""

    steps: int
    ends: bool


def next_turn(pace: Pace, stop: StopRequest) -> Turn:
    """What comes next by the clock of the first process and the signals of all."""
    hosts.announce(stop.name)

    def decided() -> list[Any]:
        return [pace.steps, pace.save_due, hosts.heard(stop.name)]

    steps, save_due, name = hosts.from_first(decided)
    stop.agree(name)
    return Turn(steps, bool(stop) or save_due)
