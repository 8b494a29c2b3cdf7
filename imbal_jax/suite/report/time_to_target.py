"""Figure: performance profile of the time to a target (Dolan and Moré, 2002)."""

import math

import numpy as np

from imbal_jax.suite.conclusions.overall import Profile
from imbal_jax.suite.definition import Line
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.looks import Look, keyed, looks, rest_look
from imbal_jax.suite.report.view import View

WIDEST = 16.0  # times the fastest, at which the figure ends


def time_of(line: Line, unit: str) -> float:
    """Steps or seconds until the target was reached; infinite where it was missed. unit: "steps", "seconds"."""
    reached = line.get("to_target")
    value = None if line["outcome"] != "done" or not reached else reached.get(unit)
    return math.inf if value is None else float(value)


def time_to_target(evidence: Evidence) -> Drawing | None:
    """None where no method reached the target in half of its runs in any condition."""
    view = evidence.main
    drawn = [profile for profile in view.table.profiles if profile.reached]
    if not drawn:
        return None
    shown = looks(view)
    missed = len(view.places) - drawn[0].reached
    nobody = f" In {missed:,} of them no method reached it in half of its runs." if missed else ""
    target = f" Target on validation images: {evidence.target}." if evidence.target else ""
    return Drawing(
        name="target",
        heading="Time to the target",
        read="The height of a line at 2 is the share of data conditions in which the method reaches the target "
        "within twice the time of the fastest method there; at 1, how often it is the fastest. Higher is better. The "
        f"time in a condition is the median over the seeds, where a run that misses it counts as infinite.{target}",
        panels=tuple(_panel(view, profile, shown) for profile in drawn),
        key=tuple(look for look in keyed(view, shown) if look.name != view.rival),
        runs=len(view.lines),
        command=evidence.command("target"),
        notes=(
            f"{len(view.places):,} data conditions.{nobody} Lines end below 100 % where a method misses.",
        ),
        columns=2,
    )


def _panel(view: View, profile: Profile, shown: dict[str, Look]) -> Panel:
    title = f"In {'training steps' if profile.unit == 'steps' else 'seconds of training'}"
    figure, axes = axes_of("times the fastest method", "conditions (%)", title)
    grid = np.geomspace(1, WIDEST, 400)
    shares = 100 * profile.shares(grid)
    for i in reversed(range(len(profile.methods))):
        look = shown.get(profile.methods[i])
        style = look.line(zorder=3) if look else rest_look().line(linewidth=0.6, alpha=0.25, zorder=1)
        axes.step(*_corners(grid, shares[i]), where="post", **style)
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    axes.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.set(xlim=(0.97, WIDEST), ylim=(0, 102))
    best = int(np.argmax(profile.scores))
    about = f"{title}: {_said(profile.methods[best], shares[best])}"
    if view.reference in profile.methods and profile.methods[best] != view.reference:
        about += f"; {_said(view.reference, shares[profile.methods.index(view.reference)])}"
    return Panel(figure, f"{about}.")


def _corners(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points at which a step function changes, and both ends."""
    kept = np.unique([0, *(np.flatnonzero(np.diff(y)) + 1), len(y) - 1])
    return x[kept], y[kept]


def _said(method: str, shares: np.ndarray) -> str:
    return (
        f"{method} is the fastest in {shares[0]:.0f} % of the conditions and reaches it in {shares[-1]:.0f} %"
    )
