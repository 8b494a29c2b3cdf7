"""Section with ROC and precision-recall curves, bands and operating points."""

from html import escape

import numpy as np
from matplotlib.axes import Axes

from imbal_jax.console import percent
from imbal_jax.report.curves import GRID, bands, corners, cumulative
from imbal_jax.report.html import bracket, legend, method
from imbal_jax.report.plots import MUTED, dot, draw, fill, line, svg, thinned
from imbal_jax.report.study import Study

CURVE_CLASSES = 12  # rarest first; the tables hold every class
BANDS = 3  # methods; the bands of more would hide each other


def score_curves(study: Study) -> str:
    drawable, undefined = drawable_classes(study)
    drawn = drawable[:CURVE_CLASSES]
    text = ""
    if drawn:
        text = (
            f"<p>Each class against all others. The marker is the decision ({_rule(study)}). {_bands(study)}</p>"
            f"{legend(study.runs)}{''.join(_class_curves(study, k) for k in drawn)}"
        )
    if len(drawn) < len(drawable):
        text += (
            f"<p class=muted>The {len(drawn)} rarest classes are drawn; the tables hold the other "
            f"{len(drawable) - len(drawn)}.</p>"
        )
    if undefined:
        names = ", ".join(escape(study.classes[k]) for k in undefined)
        text += f"<p class=muted>Undefined, with no positive or no negative test image: {names}.</p>"
    return text


def drawable_classes(study: Study) -> tuple[list[int], list[int]]:
    """The shown classes with positives and negatives, rarest first; and the others."""
    counts = {k: study.decided[0].counts(k) for k in study.shown}
    both = [k for k, c in counts.items() if c.positives and c.negatives]
    return both, [k for k in study.shown if k not in both]


def _rule(study: Study) -> str:
    if any(decided.at_points for decided in study.decided):
        return "the operating point, chosen on validation"
    aside = (
        ""
        if not study.decided[0].exclusive or len(study.classes) < 3
        else ", which need not lie on the curve"
    )
    return study.rule + aside


def _bands(study: Study) -> str:
    of = "" if len(study.runs) <= BANDS else f" of {method(study.runs, study.winner)}"
    return f"Bands{of}: pointwise 95&nbsp;% intervals of a bootstrap of patients, stratified by class."


def _class_curves(study: Study, k: int) -> str:
    runs = study.runs
    counts = study.decided[0].counts(k)
    roc, roc_axes = draw("1 − specificity (false positive rate)", "sensitivity", square=True)
    recall, recall_axes = draw("sensitivity (recall)", "precision (PPV)", square=True)
    roc_axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
    recall_axes.axhline(counts.prevalence, color=MUTED, linewidth=0.8, linestyle=":")
    areas = []
    for i in range(len(runs)):
        _draw_run(study, i, k, roc_axes, recall_axes)
        areas.append(f"<span>{method(runs, i)} {bracket(*study.aurocs[i][k])}</span>")
    name = study.classes[k]
    chance = percent(counts.prevalence)
    return (
        f"<h3>{escape(name)} <small>{counts.positives:,} positives ({chance})</small></h3>"
        f'<p class="legend"><span>AUROC</span>{"".join(areas)}</p>'
        f'<div class="grid">{svg(roc, "ROC; dotted: guessing", name)}'
        f"{svg(recall, f'Precision-recall; dotted: guessing ({chance})', name)}</div>"
    )


def _draw_run(study: Study, i: int, k: int, roc: Axes, recall: Axes) -> None:
    runs, decided = study.runs, study.decided[i]
    known = decided.truth[:, k] >= 0
    hits, alarms = cumulative(decided.truth[known, k] == 1, decided.scores[known, k])
    P, N = hits[-1], alarms[-1]
    at = corners(hits, alarms)
    roc.plot(*thinned(alarms[at] / N, hits[at] / P), **line(runs, i))
    # the staircase whose area is the average precision: a step where a positive is gained
    gained = 1 + np.flatnonzero(np.diff(hits))
    found, precision = hits[gained] / P, hits[gained] / (hits + alarms)[gained]
    steps = thinned(np.append(0, found), np.append(precision[0], precision))
    recall.plot(*steps, **line(runs, i), drawstyle="steps-pre")
    if len(runs) <= BANDS or i == study.winner:
        band = bands(study.cohort, k, decided.scores[study.cohort.kept, k])
        roc.fill_between(GRID, *band.sensitivity, **fill(runs, i))
        recall.fill_between(GRID, *band.precision, **fill(runs, i))
    here = decided.counts(k)
    called = here.found + here.false_alarms
    roc.plot(here.false_alarms / N, here.found / P, **dot(runs, i))
    if called:
        recall.plot(here.found / P, here.found / called, **dot(runs, i))
