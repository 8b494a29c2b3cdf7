"""Progress over a whole grid: a bar on a terminal, a line for each run in a log file; how much time is left."""

import math
from collections import Counter
from collections.abc import Iterable
from time import monotonic
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from imbal_jax.console import duration, number, say
from imbal_jax.suite.definition import Line, SuiteAddress

UNLIKELY = "failed"
"""The outcome that is printed with its reason, also above a bar."""


class GridProgress:
    """Counts the runs of a grid by their outcome, from entering the ``with`` block to leaving it.

    total: the runs that can be run, done ones included. done: the lines that are there. left: how many of the others
    this command runs; the rest are other shards'. workers: how many run at a time. primary: the metric that is shown.
    """

    def __init__(
        self, console: Console, done: Iterable[Line], *, total: int, left: int, workers: int, primary: str
    ) -> None:
        lines = list(done)
        self.console, self.total, self.left, self.workers, self.primary = (
            console,
            total,
            left,
            workers,
            primary,
        )
        self.outcomes = Counter(line["outcome"] for line in lines)
        self._before = [float(line["total_seconds"]) for line in lines if line.get("total_seconds")]
        self._here = 0
        self._began = monotonic()
        self._live: Progress | None = None

    def __enter__(self) -> Self:
        self._began = monotonic()
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Progress(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}", markup=False),
                TimeElapsedColumn(),
                console=self.console,
                refresh_per_second=2,
            )
            self._bar = self._live.add_task(
                "", total=self.total, completed=self.outcomes.total(), status=self.status()
            )
            self._live.start()
        else:
            say(self.console, f"{self.outcomes.total()}/{self.total} runs: {self.status()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def took(self, address: SuiteAddress, line: Line) -> None:
        """Counts a run of this command, and shows it."""
        self.outcomes[line["outcome"]] += 1
        self.left -= 1
        self._here += 1
        shown = f"{address.key}: {outcome_text(line, self.primary)}"
        if self._live is not None:
            self._live.update(self._bar, completed=self.outcomes.total(), status=self.status())
            if line["outcome"] == UNLIKELY:
                say(self.console, shown)
        else:
            left = self.seconds_left()
            end = f", {duration(left)} left" if self.left and math.isfinite(left) else ""
            say(self.console, f"{self.outcomes.total()}/{self.total}  {shown}{end}")

    def elsewhere(self, line: Line, *, ours: bool) -> None:
        """Counts a run that another command has finished. ours: this command would have run it."""
        self.outcomes[line["outcome"]] += 1
        self.left -= ours
        if self._live is not None:
            self._live.update(self._bar, completed=self.outcomes.total(), status=self.status())

    def status(self) -> str:
        """``12 done, 1 diverged, 0 failed, 131 left, 1:05:00 to go``."""
        counts = self.outcomes
        text = f"{counts['done']} done, {counts['diverged']} diverged, {counts['failed']} failed, "
        text += f"{max(self.total - counts.total(), 0)} left"
        seconds = self.seconds_left()
        return text + (f", {duration(seconds)} to go" if self.left and math.isfinite(seconds) else "")

    def seconds_left(self) -> float:
        """Seconds to the last run of this command; NaN while unknown.

        By the pace of this command, until there is one by the mean seconds of the lines that were there.
        """
        if self._here:
            runs = self._here + (self.workers - 1) / 2  # those under way are half done, on average
            return (monotonic() - self._began) / runs * self.left
        if self._before:
            return sum(self._before) / len(self._before) * self.left / self.workers
        return math.nan


def outcome_text(line: Line, primary: str) -> str:
    """``done in 0:26, balanced_accuracy 0.812``, or the outcome and its reason."""
    text = str(line["outcome"])
    seconds = line.get("total_seconds")
    if isinstance(seconds, int | float):
        text += f" in {duration(seconds)}"
    metrics: Any = line.get("metrics") or {}
    if isinstance(metrics.get(primary), int | float):
        text += f", {primary} {number(metrics[primary])}"
    return text + (f": {line['reason']}" if line.get("reason") else "")
