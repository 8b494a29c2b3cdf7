"""Figure and table: runs that diverged, failed, missed the target, or ended worse than they had been."""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from imbal_jax.report.html import figures
from imbal_jax.report.plots import MUTED
from imbal_jax.suite.definition import Line
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of, tall
from imbal_jax.suite.report.evidence import MOST_ROWS, Evidence
from imbal_jax.suite.report.looks import Look, looks, rest_look
from imbal_jax.suite.report.time_to_target import time_of
from imbal_jax.suite.report.view import View


class Tally(NamedTuple):
    """Runs of a method. missed: done, but the target was not reached. skipped: runs with a step left out."""

    method: str
    runs: int
    diverged: int
    failed: int
    missed: int
    skipped: int
    unlearned: tuple[float, ...]

    @property
    def trouble(self) -> float:
        """Share of the runs without a usable network, then without the target."""
        return (self.diverged + self.failed + self.missed * 1e-3) / max(self.runs, 1)


def tallies(view: View) -> list[Tally]:
    """In the order of ``view.trained``."""
    return [
        _tally(method, [line for line in view.lines if line["method"] == method]) for method in view.trained
    ]


def _tally(method: str, lines: list[Line]) -> Tally:
    done = [line for line in lines if line["outcome"] == "done"]
    outcomes = Counter(line["outcome"] for line in lines)
    lost = [float(line["unlearned"]) for line in done if line.get("unlearned") is not None]
    return Tally(
        method,
        len(lines),
        outcomes["diverged"],
        outcomes["failed"],
        sum(1 for line in done if not math.isfinite(time_of(line, "steps"))),
        sum(1 for line in done if line.get("skipped")),
        tuple(lost),
    )


def reasons(view: View) -> list[tuple[str, str, int]]:
    """Method, reason and number of runs that diverged or failed, most frequent first."""
    count = Counter(
        (line["method"], line["reason"] or line["outcome"])
        for line in view.lines
        if line["outcome"] != "done"
    )
    return [(method, reason, number) for (method, reason), number in count.most_common()]


def failures(evidence: Evidence) -> Drawing:
    view = evidence.main
    rows = _rows(view)
    shown = looks(view)
    panels = (_outcomes(rows), *([_unlearning(rows, shown)] if any(row.unlearned for row in rows) else []))
    left = len(view.trained) - len(rows)
    notes = ["Un-learning: the best validation value of the criterion less the final one; the dot is the median over "
             "the runs, the line reaches from the 10th to the 90th percentile."]  # fmt: skip
    if left:
        notes.append(f"{len(rows)} methods with the most trouble are shown; the table has all.")
    return Drawing(
        name="failures",
        heading="Failures and un-learning",
        read="Runs in trouble: the share that ended without a usable network, or never reached the target. Un-"
        "learning: how much of its best validation value a run had lost at its end.",
        panels=panels,
        key=(DIVERGED, FAILED, MISSED),
        runs=len(view.lines),
        command=evidence.command("failures"),
        notes=tuple(notes),
        columns=2,
    )


DIVERGED = Look("diverged: the loss was not finite", "#0a0002", sign="box")
FAILED = Look("failed for another reason", "#0a0004", sign="box")
MISSED = Look("ended without reaching the target", MUTED, sign="box")


def _rows(view: View) -> list[Tally]:
    found = tallies(view)
    if len(found) <= MOST_ROWS:
        return found
    first = [row for row in found if row.method == view.reference]
    others = sorted((row for row in found if row.method != view.reference), key=lambda row: -row.trouble)
    return first + others[: MOST_ROWS - len(first)]


def _outcomes(rows: list[Tally]) -> Panel:
    figure, axes = axes_of("runs (%)", "", "Runs in trouble", height=tall(len(rows)))
    left = np.zeros(len(rows))
    for name, look in (("diverged", DIVERGED), ("failed", FAILED), ("missed", MISSED)):
        width = np.array([100 * getattr(row, name) / max(row.runs, 1) for row in rows])
        axes.barh(
            range(len(rows)),
            width,
            left=left,
            color=look.colour,
            height=0.6,
            alpha=0.55 if look is MISSED else 1,
        )
        left += width
    _names(axes, rows)
    axes.set_xlim(0, max(10.0, float(left.max(initial=0)) * 1.08))
    broken = [f"{r.method} {r.diverged + r.failed} of {r.runs}" for r in rows if r.diverged + r.failed]
    about = f"Diverged or failed: {'; '.join(broken[:8])}." if broken else "No run diverged or failed."
    return Panel(figure, about)


def _unlearning(rows: list[Tally], shown: dict[str, Look]) -> Panel:
    figure, axes = axes_of("best less final validation value", "", "Un-learning", height=tall(len(rows)))
    middle = [float(np.median(row.unlearned)) if row.unlearned else math.nan for row in rows]
    for i, row in enumerate(rows):
        if row.unlearned:
            look = shown.get(row.method) or rest_look()
            axes.plot(np.percentile(row.unlearned, [10, 90]), [i, i], color=look.colour, linewidth=1.2)
            axes.plot(middle[i], i, **look.dot(marker="o"))
    _names(axes, rows)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    worst = int(np.nanargmax(middle))
    return Panel(figure, f"Un-learning: highest median {figures(middle[worst])}, of {rows[worst].method}.")


def _names(axes: Axes, rows: list[Tally]) -> None:
    axes.set_yticks(range(len(rows)), [row.method for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
