"""Figure: how far predicted probabilities are from observed shares, at the true prevalence."""

import math

import numpy as np
from matplotlib.ticker import MaxNLocator

from imbal_jax.report.html import figures
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of, tall
from imbal_jax.suite.report.evidence import MOST_ROWS, Evidence
from imbal_jax.suite.report.looks import Look, looks, rest_look
from imbal_jax.suite.report.metric_words import MEANINGS, named, sentence
from imbal_jax.suite.report.view import View, mean

MEASURES = ("calibration_error", "brier")


def calibration(evidence: Evidence) -> Drawing | None:
    """None where no run was measured."""
    view = evidence.main
    shown = looks(view)
    panels = tuple(panel for name in MEASURES if (panel := _panel(view, name, shown)))
    if not panels:
        return None
    left = len(view.methods) - MOST_ROWS
    notes = [
        "Means over the conditions (dot), and the lowest and highest condition (line), each the mean of its seeds."
    ]
    if left > 0:
        notes.append(f"{left} methods more are in the table.")
    words = "; ".join(f"{named(name)}: {MEANINGS[name]}" for name in MEASURES)
    return Drawing(
        name="calibration",
        heading="Calibration at the true prevalence",
        read=f"Lower is better. {sentence(words)}. Balanced training promises too many positives unless "
        "its probabilities are corrected.",
        panels=panels,
        key=(),
        runs=len(view.done),
        command=evidence.command("calibration"),
        notes=tuple(notes),
        columns=2,
    )


def _panel(view: View, name: str, shown: dict[str, Look]) -> Panel | None:
    methods = [m for m in view.methods if any(view.values(m, p.cell, name) for p in view.places)][:MOST_ROWS]
    per_cell = [[view.mean(method, place.cell, name) for place in view.places] for method in methods]
    known = [[value for value in row if math.isfinite(value)] for row in per_cell]
    if not any(known):
        return None
    figure, axes = axes_of(named(name), "", sentence(named(name)), height=tall(len(methods)))
    for i, (method, row) in enumerate(zip(methods, known, strict=True)):
        if row:
            look = shown.get(method) or rest_look()
            axes.plot([min(row), max(row)], [i, i], color=look.colour, linewidth=1.2)
            axes.plot(np.mean(row), i, **look.dot(marker="o"))
    axes.set_yticks(range(len(methods)), list(methods))
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    means = {method: mean(row) for method, row in zip(methods, known, strict=True) if row}
    low, high = (pick(means, key=means.__getitem__) for pick in (min, max))
    said = f"lowest {low} {figures(means[low])}, highest {high} {figures(means[high])}"
    return Panel(figure, f"{sentence(named(name))}: {said}.")
