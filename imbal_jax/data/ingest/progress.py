"""Progress of a long loop: a bar on a terminal, otherwise a plain line now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from imbal_jax.console import PLAIN_LINE_SECONDS, duration, say


class Advance(Protocol):
    def __call__(self, count: int = 1) -> None: ...


class Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {self.unit}/s")


@contextmanager
def progress(console: Console, what: str, unit: str, total: int) -> Iterator[Advance]:
    """Shows ``what`` with the rate and the time left; the yielded function counts what is done."""
    if console.is_terminal and not console.is_dumb_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            Rate(unit),
        )
        left = TextColumn("left:"), TimeRemainingColumn()
        with Progress(
            *columns, *left, console=console, refresh_per_second=4, speed_estimate_period=60
        ) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count=1: bar.advance(task, count)
        return

    done, began, said = 0, monotonic(), monotonic()

    def advance(count: int = 1) -> None:
        nonlocal done, said
        done += count
        now = monotonic()
        if now - said >= PLAIN_LINE_SECONDS:
            said = now
            rate = done / (now - began)
            left = duration((total - done) / rate)
            say(console, f"{what}: {done:,} of {total:,}, {rate:,.1f} {unit}/s, {left} left")

    yield advance
    seconds = max(monotonic() - began, 1e-9)
    if done:
        say(console, f"{what}: {done:,} in {duration(seconds)}, {done / seconds:,.1f} {unit}/s")
