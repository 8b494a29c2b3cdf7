"""Figure: the metric against the imbalance ratio, a panel a set."""

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes

from imbal_jax.report.html import figures, listed
from imbal_jax.report.plots import INK, MUTED
from imbal_jax.suite.report.drawing import Drawing, Panel, axes_of
from imbal_jax.suite.report.evidence import Evidence
from imbal_jax.suite.report.looks import Look, looks, rest_look
from imbal_jax.suite.report.metric_words import meaning, named
from imbal_jax.suite.report.view import Place, View, mean, ratio_text

BANDS = 3  # methods with a band, the reference among them; more would hide each other
SHAPES = "osD^v"  # of the numbers of positives

Interval = Callable[[View, str, str], tuple[float, float]]
"""95 % interval of the mean of a method in a cell."""


def metric_against_ratio(evidence: Evidence, interval: Interval) -> Drawing:
    view = evidence.main
    shown = looks(view)
    panels = tuple(_panel(view, name, shown, interval) for name in view.sets)
    key = [*shown.values(), *([rest_look()] if len(shown) < len(view.methods) else [])]
    counts = sorted({place.positives for place in view.places if place.positives is not None})
    notes = [f"Bands: 95 % intervals over seeds and test patients, of {listed(list(shown)[:BANDS])}."]
    if len(counts) > 1:
        shapes = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle", "v": "triangle upside down"}
        told = [f"{count:,}: {shapes[SHAPES[i % len(SHAPES)]]}" for i, count in enumerate(counts)]
        notes.append(f"Number of positive training images: {', '.join(told)}; lines join equal numbers.")
    if _has_rival(view):
        key.append(_rival(view))
        notes.append(
            f"{view.reference} + logit adjustment: the same trained networks of {view.reference}, their "
            "probabilities moved to equal priors afterwards, without training again."
        )
    if any(_ceiling(view, place) for place in view.places):
        key.append(CEILING)
        notes.append("Best possible: the ideal observer, who knows how the images were generated (Bayes ceiling).")
    return Drawing(
        name="ratio",
        heading=f"{named(view.primary).capitalize()} against the imbalance ratio",
        read=f"Higher is better. {meaning(view.primary).capitalize()}. 1:100 means 100 negative training images for "
        "one positive.",
        panels=panels,
        key=tuple(key),
        runs=len(view.done),
        command=evidence.command("ratio"),
        notes=tuple(notes),
    )


CEILING = Look("best possible", INK, "2 3", "")


def _rival(view: View) -> Look:
    return Look(f"{view.reference} + logit adjustment", INK, "6 3", "o")


def _has_rival(view: View) -> bool:
    return any(view.values(view.reference, place.cell, view.primary, "post_hoc") for place in view.places)


def _ceiling(view: View, place: Place) -> float:
    """Mean of the Bayes values over all runs of a cell; 0 where it has none."""
    values = [v for m in view.methods for v in view.values(m, place.cell, view.primary, "bayes").values()]
    return mean(values) if values else 0.0


def _panel(view: View, name: str, shown: dict[str, Look], interval: Interval) -> Panel:
    figure, axes = axes_of("negatives for one positive", named(view.primary), name)
    places = [place for place in view.places if place.set == name]
    counts = sorted({place.positives or 0 for p in [view] for place in p.places})
    banded = list(shown)[:BANDS]
    for count in sorted({place.positives or 0 for place in places}):
        chain = [place for place in places if (place.positives or 0) == count]
        shape = SHAPES[counts.index(count) % len(SHAPES)]
        for method in reversed(view.methods):
            look = shown.get(method)
            means = [view.mean(method, place.cell, view.primary) for place in chain]
            if look is None:
                style = rest_look().line(linewidth=0.6, alpha=0.45)
                axes.plot([p.ratio for p in chain], means, **style, marker=shape, markersize=2)
                continue
            if method in banded:
                _band(axes, [(p.ratio, *interval(view, method, p.cell)) for p in chain], look)
            axes.plot([p.ratio for p in chain], means, **look.line(), zorder=4)
            axes.plot([p.ratio for p in chain], means, **look.dot(marker=shape, markersize=5.5))
        _others(axes, view, chain, shape)
    ratios = sorted({place.ratio for place in places})
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(ratios, [ratio_text(ratio) for ratio in ratios])
    if len(ratios) == 1:
        axes.set_xlim(ratios[0] / 3, ratios[0] * 3)
    return Panel(figure, _about(view, name, places))


def _others(axes: Axes, view: View, chain: list[Place], shape: str) -> None:
    """The rival and the ceiling."""
    ratios = [place.ratio for place in chain]
    rival = [view.mean(view.reference, place.cell, view.primary, "post_hoc") for place in chain]
    if np.isfinite(rival).any():
        axes.plot(ratios, rival, **_rival(view).line(linewidth=1.2), marker=shape, markersize=3.5, zorder=4)
    best = [_ceiling(view, place) or math.nan for place in chain]
    if np.isfinite(best).any():
        axes.plot(ratios, best, **CEILING.line(linewidth=1.2), marker="_", markersize=9)


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
            parts.append(f"{place.label}: {view.reference} {own}, highest {best} {figures(known[best])}")
    return f"{named(view.primary).capitalize()} on {name}: {'; '.join(parts) or 'no finished run'}."
