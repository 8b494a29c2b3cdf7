"""Figure: difference to the reference, method by condition; what was not shown to differ is hatched."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from imbal_jax.report.html import listed
from imbal_jax.report.plots import INK, MUTED, PAGE
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of, tall
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.looks import Look
from imbal_jax.suite.report.metric_words import named, sentence
from imbal_jax.suite.report.view import Place, View, ratio_text

BETTER, WORSE, EQUAL, OPEN = "better", "worse", "no difference", "not shown"
HATCHES = {EQUAL: "....", OPEN: "////"}
BLUE, ORANGE = "#0a0001", "#0a0002"
STRONG = 0.05  # difference of the strongest colour
FEW = 12  # rows below which numbers are large


class Cell(NamedTuple):
    """Difference to the reference, and what is concluded: ``BETTER``, ``WORSE``, ``EQUAL`` or ``OPEN``."""

    difference: float
    verdict: str


Verdicts = Mapping[tuple[str, str], Cell]
"""Of a method in a cell; one without runs is absent."""


def differences(
    evidence: Evidence, view: View, verdicts: Verdicts, name: str = "differences"
) -> Drawing | None:
    """A panel a set. None where nothing can be compared."""
    methods = [
        m for m in view.methods if m != view.reference and any((m, p.cell) in verdicts for p in view.places)
    ]
    if not methods:
        return None
    panels = tuple(_panel(view, each, methods, verdicts) for each in view.sets)
    which = "" if view is evidence.main else f", {view.stage}"
    return Drawing(
        name=name,
        heading=f"Difference to {view.reference}, method by condition{which}",
        read=f"{sentence(named(view.primary))} less that of {view.reference}, in hundredths, mean over the seeds. "
        f"Colours: shown to be better or worse; the strongest begins at ±{100 * STRONG:.0f}. No difference (dotted): "
        "the two are equal for practical purposes. Not shown (striped): these runs do not decide it. Methods are "
        "sorted by their mean difference.",
        panels=panels,
        key=(
            Look(f"better than {view.reference}", BLUE, sign="box"),
            Look(f"worse than {view.reference}", ORANGE, sign="box"),
            Look("no difference", MUTED, sign="dots"),
            Look("not shown", MUTED, sign="stripes"),
        ),
        runs=len(view.done),
        command=evidence.command(name),
        notes=(_counts(view, methods, verdicts),),
        columns=3 if len(methods) <= FEW else 2,
    )


def _counts(view: View, methods: list[str], verdicts: Verdicts) -> str:
    found = [verdicts[m, p.cell].verdict for m in methods for p in view.places if (m, p.cell) in verdicts]
    parts = [f"{found.count(verdict)} {verdict}" for verdict in (BETTER, WORSE, EQUAL, OPEN)]
    empty = len(methods) * len(view.places) - len(found)
    return f"{len(found)} comparisons: {listed(parts)}." + (
        f" {empty} have no pair of runs: ×." if empty else ""
    )


def _panel(view: View, name: str, methods: list[str], verdicts: Verdicts) -> Panel:
    places = [place for place in view.places if place.set == name]
    longest = max(map(len, methods))
    width = max(2.9, 0.4 + 0.075 * longest + 0.52 * len(places))
    figure, axes = axes_of("", "", name, width=width, height=tall(len(methods), row=0.25) + 0.1)
    for i, method in enumerate(methods):
        for j, place in enumerate(places):
            _draw(axes, i, j, verdicts.get((method, place.cell)))
    axes.set_yticks(range(len(methods)), methods)
    axes.set_xticks(range(len(places)), [_short(place) for place in places])
    axes.xaxis.tick_top()
    axes.tick_params(labelsize=8.5)
    axes.grid(visible=False)
    axes.set(xlim=(-0.5, len(places) - 0.5), ylim=(len(methods) - 0.5, -0.5))
    return Panel(figure, f"{name}: {_said(places, methods, verdicts)}")


def _short(place: Place) -> str:
    """Ratio, and below it the number of positives."""
    count = "" if place.positives is None else f"\n{place.positives:,} pos."
    return ratio_text(place.ratio) + count


def _draw(axes: Axes, i: int, j: int, cell: Cell | None) -> None:
    corner = (j - 0.48, i - 0.46)
    if cell is None or not math.isfinite(cell.difference):
        axes.text(j, i, "×", ha="center", va="center", color=MUTED, fontsize=8)
        return
    hatch = HATCHES.get(cell.verdict)
    strength = 0.7 * min(abs(cell.difference) / STRONG, 1) + 0.15
    if hatch:
        axes.add_patch(
            Rectangle(corner, 0.96, 0.92, fill=False, edgecolor=MUTED, hatch=hatch, alpha=0.6, linewidth=0)
        )
    else:
        colour = BLUE if cell.verdict == BETTER else ORANGE
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=colour, alpha=strength, linewidth=0))
    text = f"{100 * cell.difference:+.1f}".replace("-", "−")
    shade = PAGE if strength > 0.5 and not hatch else INK
    back = (
        {"boxstyle": "square,pad=0.1", "facecolor": PAGE, "edgecolor": "none", "alpha": 0.85}
        if hatch
        else None
    )
    axes.text(j, i, text, ha="center", va="center", color=shade, fontsize=8, bbox=back)


def _said(places: list[Place], methods: list[str], verdicts: Verdicts) -> str:
    parts = []
    for place in places:
        known = {m: verdicts[m, place.cell] for m in methods if (m, place.cell) in verdicts}
        better = [m for m, cell in known.items() if cell.verdict == BETTER]
        worse = sum(cell.verdict == WORSE for cell in known.values())
        first = ", ".join(better[:3]) or "none"
        parts.append(
            f"{place.label}: better {first}{' and others' if len(better) > 3 else ''}, {worse} worse"
        )
    return "; ".join(parts) + "."
