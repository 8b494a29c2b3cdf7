"""Figure: accuracy against cost, both beside plain training in the same condition and seed."""

import math
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from imbal_jax.report.html import figures
from imbal_jax.report.plots import MUTED
from imbal_jax.suite.conclusions.comparison import top
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.looks import keyed, looks, rest_look
from imbal_jax.suite.report.metric_words import named
from imbal_jax.suite.report.view import View


class Cost(NamedTuple):
    """One method beside the reference. seconds, memory: median ratios. front: no method is better in both."""

    method: str
    seconds: float
    memory: float
    gain: float
    front: bool


def costs(view: View) -> list[Cost]:
    """Of every method with a known time and gain, cheapest first."""
    found = []
    for method in view.methods:
        seconds, memory = (_ratio(view, method, name) for name in ("seconds", "peak_memory_mib"))
        gain = view.gain(method)
        if math.isfinite(seconds) and math.isfinite(gain):
            found.append(Cost(method, seconds, memory, gain, front=False))
    found.sort(key=lambda cost: (cost.seconds, -cost.gain))
    return [cost._replace(front=not any(_beats(other, cost) for other in found)) for cost in found]


def _beats(one: Cost, other: Cost) -> bool:
    """Whether ``one`` is at least as cheap and as good, and better in one of them."""
    no_worse = one.seconds <= other.seconds and one.gain >= other.gain
    return no_worse and (one.seconds < other.seconds or one.gain > other.gain)


def _ratio(view: View, method: str, name: str) -> float:
    """Median over the pairs of equal cell, draw and seed; NaN where no pair is known."""
    ratios = []
    for place in view.places:
        own, other = view.runs(method, place.cell), view.runs(view.reference, place.cell)
        for unit in own.keys() & other.keys():
            times = [top(run, name) for run in (own[unit], other[unit])]
            ratios.append(times[0] / times[1] if times[1] else math.nan)
    ratios = [ratio for ratio in ratios if math.isfinite(ratio)]
    return float(np.median(ratios)) if ratios else math.nan


def accuracy_against_cost(evidence: Evidence) -> Drawing | None:
    view = evidence.main
    found = costs(view)
    if len(found) < 2:
        return None
    shown = looks(view)
    figure, axes = axes_of(
        f"training time, times that of {view.reference}",
        f"{named(view.primary)} less that of {view.reference}",
        width=4.2,
        height=3.2,
    )
    front = [cost for cost in found if cost.front]
    axes.step(
        [cost.seconds for cost in front],
        [cost.gain for cost in front],
        where="post",
        color=MUTED,
        linewidth=1,
        zorder=2,
    )
    for cost in found:
        look = shown.get(cost.method)
        style = look.dot(markersize=8) if look else rest_look().dot(markersize=5, alpha=0.7)
        axes.plot(cost.seconds, cost.gain, **style)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    low, high = (pick(cost.seconds for cost in found) for pick in (min, max))
    if high > 4 * low:
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.3g}")
    axes.margins(0.08)
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, 0.9), max(right, 1.1))
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(5))
    said = "; ".join(f"{c.method} {figures(c.gain)} at {figures(c.seconds, 2)} times" for c in front)
    return Drawing(
        name="cost",
        heading="Accuracy against cost",
        read=f"Up is more accurate, left is cheaper than {view.reference}. The grey steps join the methods that no "
        "other method beats in both (the Pareto front).",
        panels=(Panel(figure, f"On the front: {said}."),),
        key=keyed(view, shown, "dot"),
        runs=len(view.done),
        command=evidence.command("cost"),
        notes=(
            "Time: seconds of training without compilation, median of the ratios to the run with the same condition, "
            "draw and seed. Difference: mean over the conditions.",
        ),
    )
