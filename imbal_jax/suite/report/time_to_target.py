"""Figure: performance profile of the time to a target (Dolan and Moré, 2002)."""

import math

import numpy as np

from imbal_jax.report.html import figures
from imbal_jax.suite.definition import Line
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.looks import Look, keyed, looks, rest_look
from imbal_jax.suite.report.view import View
from imbal_jax.suite.statistics import ratios_to_fastest

WIDEST = 16.0  # times the fastest, at which the figure ends


def time_of(line: Line, unit: str) -> float:
    """Steps or seconds until the target was reached; infinite where it was missed. unit: "steps", "seconds"."""
    reached = line.get("to_target")
    value = None if line["outcome"] != "done" or not reached else reached.get(unit)
    return math.inf if value is None else float(value)


def times(view: View, unit: str) -> np.ndarray:
    """float64 [methods, problems]: a problem is a cell, a draw and a seed that every method has run."""
    columns = []
    for place in view.places:
        runs = {method: view.runs(method, place.cell) for method in view.methods}
        for pair in sorted(set.intersection(*(set(units) for units in runs.values()))):
            columns.append([time_of(runs[method][pair], unit) for method in view.methods])
    return np.array(columns, float).reshape(-1, len(view.methods)).T


def time_to_target(evidence: Evidence) -> Drawing | None:
    """None where no run reached the target."""
    view = evidence.main
    steps, seconds = (ratios_to_fastest(times(view, unit)) for unit in ("steps", "seconds"))
    if not np.isfinite(steps).any():
        return None
    shown = looks(view)
    unsolved = int((~np.isfinite(steps)).all(axis=0).sum())
    missed = f" {unsolved:,} of them were solved by no method." if unsolved else ""
    target = f" Target: {evidence.target}." if evidence.target else ""
    return Drawing(
        name="target",
        heading="Time to the target",
        read="The height of a line at 2 is the share of training problems in which the method reached the target within "
        f"twice the time of the fastest method there; at 1, how often it was the fastest. Higher is better.{target}",
        panels=(_panel(view, "steps", steps, shown), _panel(view, "seconds", seconds, shown)),
        key=keyed(view, shown),
        runs=len(view.lines),
        command=evidence.command("target"),
        notes=(
            f"{steps.shape[1]:,} problems (a condition and a seed).{missed} A run that misses the target, diverges or "
            "fails never counts as solved: lines need not end at 100 %.",
        ),
        columns=2,
    )


def _panel(view: View, unit: str, ratios: np.ndarray, shown: dict[str, Look]) -> Panel:
    title = f"In {'training steps' if unit == 'steps' else 'seconds of training'}"
    figure, axes = axes_of("times the fastest method", "problems solved (%)", title)
    for i in reversed(range(len(view.methods))):
        values = np.sort(ratios[i])
        at = np.unique([1.0, *values[values <= WIDEST], WIDEST])
        look = shown.get(view.methods[i])
        style = look.line(zorder=3) if look else rest_look().line(linewidth=0.6, alpha=0.45, zorder=1)
        heights = [100 * np.mean(values <= factor + 1e-12) for factor in at]
        axes.step(at, heights, where="post", **style)
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    axes.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.set(xlim=(1, WIDEST), ylim=(0, 102))
    best = int(np.argmax((ratios <= 1).mean(axis=1)))
    about = (
        f"{title}, {view.methods[best]} is fastest most often, in {_share(ratios[best], 1)} of the problems"
    )
    if view.reference in view.methods:
        own = ratios[view.methods.index(view.reference)]
        about += (
            f"; {view.reference} is fastest in {_share(own, 1)} and within four times in {_share(own, 4)}"
        )
    return Panel(figure, f"{about}.")


def _share(values: np.ndarray, factor: float) -> str:
    return f"{figures(100 * float(np.mean(values <= factor)), 0)} %"
