"""Figure: recall, loss and gradient norm of the rarest and the most frequent class while training."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from imbal_jax.report.html import figures
from imbal_jax.report.plots import INK, MUTED, thinned
from imbal_jax.suite.conclusions.runs import Place
from imbal_jax.suite.definition import Line
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.looks import Look, looks
from imbal_jax.suite.report.view import View, label

CURVES = (
    ("recall", "validation recall"),
    ("loss", "training loss"),
    ("gradient_norm", "gradient norm"),
)
DRAWN = 3  # methods, the reference among them


class Drop(NamedTuple):
    """The initial drop of the recall of the rarest class, of the mean curve.

    at_first: the highest value before ``lowest``, which is that of step ``step``. regained: the step at which
    ``at_first`` is reached again, infinite where never.
    """

    at_first: float
    lowest: float
    step: int
    regained: float


def rare_and_common(line: Line) -> tuple[str, str]:
    """The classes with the fewest and with the most training images."""
    counts, classes = line["counts"]["train"], line["classes"]
    order = sorted(range(len(classes)), key=lambda k: counts[k])
    negative = line.get("negative_class")
    rare = next((classes[k] for k in order if classes[k] != negative), classes[order[0]])
    common = next((classes[k] for k in reversed(order) if classes[k] != rare), rare)
    return rare, common


def mean_curve(lines: Sequence[Line], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps [T], mean [T] and standard deviation [T] over the runs, at the steps that all of them evaluated."""
    known = [line for line in lines if name in (line.get("curve") or {})]
    if not known:
        return np.array([]), np.array([]), np.array([])
    tables = [dict(zip(line["curve"]["step"], line["curve"][name], strict=True)) for line in known]
    steps = sorted(set.intersection(*(set(table) for table in tables)))
    values = np.array([[_number(table[step]) for step in steps] for table in tables], float)
    return np.array(steps), values.mean(0), values.std(0, ddof=1 if len(known) > 1 else 0)


def initial_drop(steps: np.ndarray, recall: np.ndarray) -> Drop | None:
    """The deepest fall below an earlier value in the first half of training; None where there is none."""
    if len(recall) < 2:
        return None
    highest = np.fmax.accumulate(recall)
    falls = np.where(2 * steps <= steps[-1], highest - recall, 0)
    if not np.isfinite(falls).any() or np.nanmax(falls) <= 0:
        return None
    low = int(np.nanargmax(falls))
    back = np.flatnonzero(recall[low:] >= highest[low])
    regained = float(steps[low + back[0]]) if back.size else math.inf
    return Drop(float(highest[low]), float(recall[low]), int(steps[low]), regained)


def class_curves(evidence: Evidence) -> Drawing | None:
    """Of the rarest condition with curves; None where no run recorded any."""
    view = evidence.main
    place = hardest(view)
    if place is None:
        return None
    chosen = [look for look in looks(view).values() if look.name != view.rival][:DRAWN]
    lines = {look.name: view.finished(look.name, place.cell) for look in chosen}
    first = next(line for group in lines.values() for line in group if line.get("curve"))
    rare, common = rare_and_common(first)
    images = first["counts"]["train"][first["classes"].index(rare)]
    panels = tuple(
        panel for name, label in CURVES if (panel := _panel(name, label, (rare, common), chosen, lines))
    )
    if not panels:
        return None
    key = tuple(Look(f"{look.name}, {rare}", look.colour) for look in chosen)
    faint = Look(f"{common} (frequent class, same colours)", INK, "2 3")
    runs = sum(len(group) for group in lines.values())
    return Drawing(
        name="classes",
        heading="How the rare class is learned",
        read=f"{place.set}, {label(place)}: the condition with the highest ratio. Solid lines: {rare}, the rarest "
        f"class ({images:,} training images); dotted: {common}. At first a network trained on unbalanced data often "
        "turns to the frequent class, and the recall of the rare one falls before it rises: the large marker is the "
        "lowest point of that fall.",
        panels=panels,
        key=(*key, faint),
        runs=runs,
        command=evidence.command("classes"),
        notes=(
            "Means over the seeds; bands are one standard deviation. Recall: share of the class called right on "
            "validation images. Gradient norm: length of the class's own gradient.",
        ),
    )


def hardest(view: View) -> Place | None:
    """The condition of the highest ratio, then the fewest positives, in which the reference recorded recalls."""
    ready = [
        place
        for place in view.places
        if any(_has_recall(line) for line in view.finished(view.reference, place.cell))
    ]
    return max(ready, key=lambda p: (p.ratio, -(p.positives or 0)), default=None)


def _has_recall(line: Line) -> bool:
    return any(name.startswith("recall/") for name in line.get("curve") or {})


def _panel(
    name: str, label: str, classes: tuple[str, str], chosen: list[Look], lines: dict[str, list[Line]]
) -> Panel | None:
    figure, axes = axes_of("training step", "", label.capitalize())
    said, lowest, longest = [], math.inf, 0.0
    for look in reversed(chosen):
        for which, part in enumerate(classes):
            steps, values, spread = mean_curve(lines[look.name], f"{name}/{part}")
            if not len(steps):
                continue
            x, y = thinned(steps, values)
            lowest, longest = min(lowest, max(float(steps[0]), 1.0)), max(longest, float(steps[-1]))
            style = look.line(linestyle="-") if which == 0 else look.line(linestyle=":", linewidth=1.1)
            axes.plot(x, y, **style, zorder=4 if which == 0 else 2)
            if which == 0:
                axes.fill_between(steps, values - spread, values + spread, **look.band())
                said.append(f"{look.name} ends at {figures(float(values[-1]))}")
            if which == 0 and name == "recall" and (drop := initial_drop(steps, values)):
                axes.plot(drop.step, drop.lowest, **look.dot(markersize=8))
                said[-1] += f" after a fall from {figures(drop.at_first)} to {figures(drop.lowest)}"
    if not said:
        return None
    if longest > 8 * lowest:
        axes.set_xscale("log")
        axes.set_xlabel("training step (logarithmic)", color=INK)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if longest < 200 * lowest else (1,)))
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0 if name != "recall" else -0.02)
    axes.axhline(0, color=MUTED, linewidth=0.5)
    return Panel(figure, f"{label.capitalize()} of {classes[0]}: {'; '.join(reversed(said))}.")


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
