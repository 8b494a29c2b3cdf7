"""Figure: the metric against the imbalance ratio, a panel a set."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from imbal_jax.report.html import figures, listed
from imbal_jax.report.plots import MUTED
from imbal_jax.suite.conclusions.comparison import FEWEST_PAIRS
from imbal_jax.suite.conclusions.runs import Place
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.looks import Look, keyed, looks, rest_look
from imbal_jax.suite.report.metric_words import meaning, named, sentence
from imbal_jax.suite.report.view import View, label, mean, ratio_text

BEST = 3  # methods in colour beside the reference; more would hide each other
BANDS = 2  # methods with a band: the reference and the best
DASHED = ("", "6 3", "2 3", "8 3 2 3")  # of the numbers of positives, the largest first


def metric_against_ratio(evidence: Evidence) -> Drawing | None:
    """None where no run was measured."""
    view = evidence.main
    if not any(math.isfinite(view.mean(m, p.cell, view.primary)) for m in view.methods for p in view.places):
        return None
    shown = looks(view, BEST)
    key = [replace(look, dash="") for look in keyed(view, shown, "marked")]
    counts = counts_of(view)
    banded = list(shown)[:BANDS]
    few = any(each.seeds < FEWEST_PAIRS for each in view.table.comparisons if each.method in banded)
    range_of_few = (
        f"; with fewer than {FEWEST_PAIRS} seeds, from the lowest to the highest of them" if few else ""
    )
    notes = [
        f"Bands of {listed(banded)}: 95 % intervals of the mean over seeds and test patients{range_of_few}."
    ]
    if len(shown) < len(view.methods):
        notes.append(f"Colours: the methods with the highest mean difference to {view.reference}.")
    notes += rival_note(view)
    if any(_ceiling(view, place) for place in view.places):
        key.append(CEILING)
        notes.append("Best possible: the ideal observer, who knows how the images were made (Bayes ceiling).")
    if len(counts) > 1:
        key += [Look(f"{count:,} positives", MUTED, DASHED[i % 4]) for i, count in enumerate(counts)]
        notes.append("Positives: rare images in training; lines join conditions with equally many.")
    limits = _limits(view, banded)
    return Drawing(
        name="ratio",
        heading=f"{sentence(named(view.primary))} against the imbalance ratio",
        read=f"Higher is better. {sentence(meaning(view.primary))}. 1:100 means 100 negative training images for "
        "one positive.",
        panels=tuple(_panel(view, name, shown, limits) for name in view.sets),
        key=tuple(key),
        runs=len(view.done),
        command=evidence.command("ratio"),
        notes=tuple(notes),
    )


CEILING = Look("best possible", MUTED, "2 3", "_", "marked")


def rival_note(view: View) -> list[str]:
    """What the rival is, where there is one."""
    if view.rival not in view.methods:
        return []
    return [
        f"{view.rival}: the trained networks of {view.reference} with post-hoc logit adjustment, which moves their "
        "probabilities to equal priors without training again."
    ]


def counts_of(view: View) -> list[int]:
    """Numbers of positives, the largest first; 0 stands for those of the whole set."""
    return sorted({place.positives or 0 for place in view.places}, reverse=True)


def _limits(view: View, banded: Sequence[str]) -> tuple[float, float]:
    """Of the vertical axis, common to the panels."""
    values = [view.mean(m, p.cell, view.primary) for m in view.methods for p in view.places]
    values += [_ceiling(view, place) or math.nan for place in view.places]
    values += [end for m in banded for p in view.places for end in band_of(view, m, p)[1:]]
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    room = 0.08 * (max(known) - min(known)) + 0.01
    return min(known) - room, max(known) + room


def _has_rival(view: View) -> bool:
    return any(view.values(view.reference, place.cell, view.primary, "post_hoc") for place in view.places)


def _ceiling(view: View, place: Place) -> float:
    """Mean of the Bayes values over all runs of a cell; 0 where it has none."""
    values = [v for m in view.methods for v in view.values(m, place.cell, view.primary, "bayes")]
    return mean(values) if values else 0.0


def _panel(view: View, name: str, shown: dict[str, Look], limits: tuple[float, float]) -> Panel:
    figure, axes = axes_of("negatives for one positive", named(view.primary), name, height=3.3)
    places = [place for place in view.places if place.set == name]
    for i, count in enumerate(counts_of(view)):
        chain = [place for place in places if (place.positives or 0) == count]
        ratios, dash = [place.ratio for place in chain], DASHED[i % 4]
        for method in reversed(view.methods):
            means = [view.mean(method, place.cell, view.primary) for place in chain]
            look = replace(shown.get(method) or rest_look(), dash=dash)
            if method not in shown:
                axes.plot(ratios, means, **look.line(linewidth=0.6, alpha=0.45), marker=".", markersize=3)
                continue
            if method in list(shown)[:BANDS]:
                _band(axes, [band_of(view, method, place) for place in chain], look)
            _marked(axes, ratios, means, look)
        best = [_ceiling(view, place) or math.nan for place in chain]
        if np.isfinite(best).any():
            axes.plot(ratios, best, **CEILING.line(linewidth=1.2), marker="_", markersize=9)
    ratios = sorted({place.ratio for place in places})
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(ratios, [ratio_text(ratio) for ratio in ratios])
    if len(ratios) == 1:
        axes.set_xlim(ratios[0] / 3, ratios[0] * 3)
    axes.set_ylim(*limits)
    return Panel(figure, _about(view, name, places))


def _marked(axes: Axes, ratios: list[float], values: list[float], look: Look) -> None:
    axes.plot(ratios, values, **look.line(), zorder=4)
    axes.plot(ratios, values, **look.dot())


def band_of(view: View, method: str, place: Place) -> tuple[float, float, float]:
    """Ratio, low and high end of the band."""
    found = view.comparisons.get((method, place.cell))
    if found is None or not found.seeds:
        return place.ratio, math.nan, math.nan
    if found.seeds < FEWEST_PAIRS:
        values = view.values(method, place.cell, view.primary)
        return place.ratio, min(values), max(values)
    return place.ratio, found.mean.low, found.mean.high


def _band(axes: Axes, bounds: list[tuple[float, float, float]], look: Look) -> None:
    """A band, and where a chain is a single point, an error bar."""
    known = [b for b in bounds if all(map(math.isfinite, b))]
    if len(known) > 1:
        ratios, low, high = zip(*known, strict=True)
        axes.fill_between(ratios, low, high, **look.band())
    elif known:
        ratio, bottom, top = known[0]
        axes.plot([ratio, ratio], [bottom, top], color=look.colour, linewidth=1, alpha=0.6)


def _about(view: View, name: str, places: list[Place]) -> str:
    """The reference and the best method of each condition, in words."""
    parts = []
    for place in places:
        means = {method: view.mean(method, place.cell, view.primary) for method in view.methods}
        known = {method: value for method, value in means.items() if math.isfinite(value)}
        if known:
            best = max(known, key=known.__getitem__)
            own = figures(means.get(view.reference, math.nan))
            parts.append(f"{label(place)}: {view.reference} {own}, highest {best} {figures(known[best])}")
    return f"{sentence(named(view.primary))} on {name}: {'; '.join(parts) or 'no finished run'}."
