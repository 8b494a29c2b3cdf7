"""Figure: difference to the reference, method by condition; what was not shown to differ is hatched."""

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from imbal_jax.report.html import listed
from imbal_jax.report.plots import INK, MUTED, PAGE
from imbal_jax.suite.conclusions.comparison import (
    BETTER,
    DESCRIPTIVE,
    FEWEST_PAIRS,
    NO_DIFFERENCE,
    NOT_SHOWN,
    REFERENCE,
    WORSE,
    Comparison,
)
from imbal_jax.suite.conclusions.runs import Place
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of, tall
from imbal_jax.suite.report.evidence import MOST_ROWS, Evidence
from imbal_jax.suite.report.looks import Look
from imbal_jax.suite.report.metric_words import named, sentence
from imbal_jax.suite.report.view import VERDICTS, View, label, ratio_text

HATCHES = {NO_DIFFERENCE: "....", NOT_SHOWN: "////"}
BLUE, ORANGE = "#0a0001", "#0a0002"
WORST = 4  # rows of the last methods where not all are shown
STRONG = 0.05  # difference of the strongest colour
FEW = 12  # rows below which panels stand three abreast
SIGNS = {NO_DIFFERENCE: "dots", NOT_SHOWN: "stripes"}


def differences(evidence: Evidence, view: View, name: str = "differences") -> Drawing | None:
    """A panel a set. None where nothing can be compared."""
    methods = [m for m in view.methods if any(_known(view, m, place) for place in view.places)]
    if not methods:
        return None
    left = len(methods) - MOST_ROWS if name == "differences" else 0
    methods = methods[:-WORST][: MOST_ROWS - WORST] + methods[-WORST:] if left > 0 else methods
    found = [each for m in methods for place in view.places if (each := _known(view, m, place))]
    counts = {verdict: sum(each.verdict == verdict for each in found) for verdict in VERDICTS}
    which = "" if view is evidence.main else f" ({view.name})"
    return Drawing(
        name=name,
        heading=f"Difference to {view.reference}, method by condition{which}",
        read=f"{sentence(named(view.primary))} less that of {view.reference}, in hundredths, mean over the seeds; "
        f"the strongest colour begins at ±{100 * STRONG:.0f}. Methods are sorted by their mean difference. "
        f"{_meanings(counts)}",
        panels=tuple(_panel(view, each, methods) for each in view.sets),
        key=_key(view.reference, counts),
        runs=len(view.done),
        command=evidence.command(name),
        notes=(_counted(counts, len(methods) * len(view.places)) + _left_out(left),),
        columns=3 if len(methods) <= FEW else 2,
    )


MEANINGS = {
    NO_DIFFERENCE: "No difference: equal for practical purposes (within ±1 hundredth) with a probability of 95 %.",
    NOT_SHOWN: "Not shown: these runs do not decide it, which is not the same as no difference.",
    DESCRIPTIVE: f"Pale: fewer than {FEWEST_PAIRS} seeds, so that no test can decide.",
}


def _known(view: View, method: str, place: Place) -> Comparison | None:
    """The comparison where the method has a pair with the reference."""
    found = view.comparisons.get((method, place.cell))
    return found if found and found.verdict != REFERENCE and found.pairs else None


def _meanings(counts: dict[str, int]) -> str:
    return " ".join(text for verdict, text in MEANINGS.items() if counts[verdict])


def _key(reference: str, counts: dict[str, int]) -> tuple[Look, ...]:
    shown = counts[DESCRIPTIVE] < sum(counts.values())
    said = "" if shown else " in these runs"
    colours = (
        Look(f"better than {reference}{said}", BLUE, sign="box"),
        Look(f"worse{said}", ORANGE, sign="box"),
    )
    return colours + tuple(
        Look(verdict, MUTED, sign=sign) for verdict, sign in SIGNS.items() if counts[verdict]
    )


def _left_out(left: int) -> str:
    return f" {left} methods between the best and the {WORST} last are in the tables." if left > 0 else ""


def _counted(counts: dict[str, int], cells: int) -> str:
    compared = sum(counts.values())
    parts = [f"{count} {verdict}" for verdict, count in counts.items() if count]
    empty = f" ×: {cells - compared} without a pair of runs." if cells > compared else ""
    return f"{compared} comparisons: {listed(parts)}.{empty}"


def _panel(view: View, name: str, methods: list[str]) -> Panel:
    places = [place for place in view.places if place.set == name]
    longest = max(map(len, methods))
    width = max(2.9, 0.4 + 0.075 * longest + 0.52 * len(places))
    figure, axes = axes_of("", "", name, width=width, height=tall(len(methods), row=0.25) + 0.1)
    for i, method in enumerate(methods):
        for j, place in enumerate(places):
            _draw(axes, i, j, _known(view, method, place))
    axes.set_yticks(range(len(methods)), methods)
    axes.set_xticks(range(len(places)), [_short(place) for place in places])
    axes.xaxis.tick_top()
    axes.tick_params(labelsize=8.5)
    axes.grid(visible=False)
    axes.set(xlim=(-0.5, len(places) - 0.5), ylim=(len(methods) - 0.5, -0.5))
    return Panel(figure, f"{name}: {_said(view, places, methods)}")


def _short(place: Place) -> str:
    """Ratio, and below it the number of positives."""
    count = "" if place.positives is None else f"\n{place.positives:,} pos."
    return ratio_text(place.ratio) + count


def _draw(axes: Axes, i: int, j: int, found: Comparison | None) -> None:
    corner = (j - 0.48, i - 0.46)
    if found is None:
        axes.text(j, i, "×", ha="center", va="center", color=MUTED, fontsize=8)
        return
    value = found.difference.value
    hatch = HATCHES.get(found.verdict)
    strength = 0.7 * min(abs(value) / STRONG, 1) + 0.15
    if found.verdict == DESCRIPTIVE:
        strength = 0.5 * strength + 0.05  # drawn in tenths
    if hatch:
        patch = Rectangle(
            corner, 0.96, 0.92, fill=False, edgecolor=MUTED, hatch=hatch, alpha=0.6, linewidth=0
        )
    else:
        colour = BLUE if value > 0 else ORANGE
        patch = Rectangle(corner, 0.96, 0.92, facecolor=colour, alpha=strength, linewidth=0)
    axes.add_patch(patch)
    text = f"{100 * value:+.1f}".replace("-", "−")
    shade = PAGE if strength > 0.7 and not hatch else INK
    back = (
        {"boxstyle": "square,pad=0.1", "facecolor": PAGE, "edgecolor": "none", "alpha": 0.85}
        if hatch
        else None
    )
    axes.text(j, i, text, ha="center", va="center", color=shade, fontsize=8, bbox=back)


def _said(view: View, places: list[Place], methods: list[str]) -> str:
    """Of each condition the methods shown to be better, and how many are worse."""
    parts = []
    for place in places:
        known = [found for method in methods if (found := _known(view, method, place))]
        better = [each.method for each in known if each.verdict == BETTER]
        worse = sum(each.verdict == WORSE for each in known)
        first = ", ".join(better[:3]) or "none"
        more = f" and {len(better) - 3} others" if len(better) > 3 else ""
        parts.append(f"{label(place)}: shown to be better {first}{more}, worse {worse or 'none'}")
    return "; ".join(parts) + "."
