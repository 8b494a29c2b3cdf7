"""Figure: performance profile of the time to a target (Dolan and Moré, 2002)."""

import math

import numpy as np

from imbal_jax.report.html import figures
from imbal_jax.report.plots import INK
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.looks import looks, rest_look
from imbal_jax.suite.report.view import Line, View

WIDEST = 16.0  # times the fastest, at which the figure ends


def time_of(line: Line, unit: str) -> float:
    """Steps or seconds until the target was reached; infinite where it was missed. unit: "steps", "seconds"."""
    reached = line.get("to_target")
    value = None if line["outcome"] != "done" or not reached else reached.get(unit)
    return math.inf if value is None else float(value)


def factors(view: View, unit: str) -> tuple[dict[str, np.ndarray], int]:
    """Times over the shortest of any method, of each method, float64 [problems], and how many problems nobody solved.

    A problem is a cell, a draw and a seed that every method has run. Misses are infinite; a problem that no method
    solved is left out.
    """
    kept: dict[str, list[float]] = {method: [] for method in view.methods}
    unsolved = 0
    for place in view.places:
        runs = {method: view.runs(method, place.cell) for method in view.methods}
        shared = set.intersection(*(set(units) for units in runs.values()))
        for pair in sorted(shared):
            times = {method: time_of(runs[method][pair], unit) for method in view.methods}
            best = min(times.values())
            if not math.isfinite(best):
                unsolved += 1
                continue
            for method, time in times.items():
                kept[method].append(time / max(best, 1e-9))
    return {method: np.array(values) for method, values in kept.items()}, unsolved


def time_to_target(evidence: Evidence) -> Drawing | None:
    """None where no run reached the target."""
    view = evidence.main
    measured = [(unit, *factors(view, unit)) for unit in ("steps", "seconds")]
    problems = max((len(values) for _, found, _ in measured for values in found.values()), default=0)
    if not problems:
        return None
    shown = looks(view)
    panels = tuple(_panel(view, unit, found, shown) for unit, found, _ in measured)
    unsolved = measured[0][2]
    missed = f" {unsolved:,} more were solved by none and are left out." if unsolved else ""
    target = f" Target: {evidence.target}." if evidence.target else ""
    return Drawing(
        name="target",
        heading="Time to the target",
        read="The height of a line at 2 is the share of training problems in which the method reached the target within "
        f"twice the time of the fastest method there; at 1, how often it was the fastest. Higher is better.{target}",
        panels=panels,
        key=(*shown.values(), *([rest_look()] if len(shown) < len(view.methods) else [])),
        runs=len(view.lines),
        command=evidence.command("target"),
        notes=(
            f"{problems:,} problems (a condition and a seed).{missed} A run that misses the target, diverges or fails "
            "never counts as reached: lines need not end at 100 %.",
        ),
        columns=2,
    )


def _panel(view: View, unit: str, found: dict[str, np.ndarray], shown: dict) -> Panel:
    title = f"In {'training steps' if unit == 'steps' else 'seconds of training'}"
    figure, axes = axes_of("times the fastest method", "problems solved (%)", title)
    for method in reversed(view.methods):
        values = np.sort(found[method])
        reached = values[values <= WIDEST]
        heights = 100 * np.arange(1, len(reached) + 1) / max(len(values), 1)
        look = shown.get(method)
        style = look.line() if look else rest_look().line(linewidth=0.6, alpha=0.45)
        start = 100 * np.mean(values <= 1 + 1e-12)
        x, y = np.append(reached, WIDEST), np.append(heights, heights[-1] if len(heights) else 0)
        axes.step(np.append(1, x), np.append(start, y), where="post", **style, zorder=3 if look else 1)
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    axes.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.set(xlim=(1, WIDEST), ylim=(0, 102))
    axes.spines["left"].set(visible=True, color=INK, linewidth=0.6)
    best = max(view.methods, key=lambda m: np.mean(found[m] <= 1 + 1e-12) if len(found[m]) else -1)
    own = found.get(view.reference, np.array([]))
    about = f"{title}, {best} is fastest most often, in {_share(found[best], 1)} of the problems"
    if own.size:
        about += f"; {view.reference} is fastest in {_share(own, 1)} and within four times in {_share(own, 4)}"
    return Panel(figure, f"{about}.")


def _share(values: np.ndarray, factor: float) -> str:
    return f"{figures(100 * float(np.mean(values <= factor + 1e-12)), 0)} %"
