"""Section with ROC and precision-recall curves, bands and operating points."""

from html import escape

import numpy as np
from matplotlib.axes import Axes

from imbal_jax.console import UNDEFINED, percent
from imbal_jax.metrics import auroc
from imbal_jax.metrics.labels import one_against_rest
from imbal_jax.report.curves import GRID, bands, corners, cumulative
from imbal_jax.report.decisions import probabilities
from imbal_jax.report.html import bracket, counted, figures, fold, method, table
from imbal_jax.report.plots import MUTED, dot, draw, fill, line, precision_axis, svg, thinned
from imbal_jax.report.result import RunResult
from imbal_jax.report.study import Study

CURVE_CLASSES = 12  # rarest first; the tables hold every class
SHOWN = 2  # classes, the rarest; the others are folded
RARE = 0.05  # prevalence; below it most precisions lie in the lowest part of a linear axis
BANDS = 3  # methods; the bands of more would hide each other


def score_curves(study: Study) -> str:
    drawable, undefined = drawable_classes(study)
    drawn = drawable[:CURVE_CLASSES]
    text = ""
    if drawn:
        text = (
            f"<p>Each class against all others. The marker is the decision ({_rule(study)}). {_bands(study)}"
            f"{GENERALISES if _validated(study) else ''}</p>"
            f"{''.join(_class_curves(study, k) for k in drawn[:SHOWN])}"
        )
        rest = drawn[SHOWN:]
        more = f"Curves of {counted(len(rest), 'more frequent class')}"
        text += fold(more, "".join(_class_curves(study, k) for k in rest))
    if len(drawn) < len(drawable):
        text += (
            f"<p class=muted>The {len(drawn)} rarest classes are drawn; the tables hold the other "
            f"{len(drawable) - len(drawn)}.</p>"
        )
    if undefined:
        names = ", ".join(escape(study.classes[k]) for k in undefined)
        text += f"<p class=muted>Undefined, with no positive or no negative test image: {names}.</p>"
    return text


GENERALISES = " A model that generalises has the same AUROC on validation and on test images."


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
    return f"Bands{of}: pointwise 95&nbsp;% intervals of a bootstrap of {study.grouped_by}s, stratified by class."


def _class_curves(study: Study, k: int) -> str:
    runs = study.runs
    counts = study.decided[0].counts(k)
    chance = percent(counts.prevalence)
    roc, roc_axes = draw("1 − specificity (share of false alarms)", "sensitivity", square=True)
    recall, recall_axes = draw("sensitivity (share of cases found)", "precision (PPV)", square=True)
    roc_axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
    recall_axes.axhline(counts.prevalence, color=MUTED, linewidth=1, linestyle=":")
    areas = []
    for i in range(len(runs)):
        _draw_run(study, i, k, roc_axes, recall_axes)
        area = bracket(*study.aurocs[i][k])
        precision = figures(study.value(i, "average_precision", study.classes[k]))
        areas.append([method(runs, i), *_validation_area(runs[i], study, k), area, precision])
    rare = counts.prevalence < RARE
    if rare:
        low = counts.prevalence / 3
        precision_axis(recall_axes, low)
    recall_axes.annotate(
        f"prevalence {chance}",
        (0.99, counts.prevalence),
        xytext=(0, -3),
        textcoords="offset points",
        ha="right",
        va="top",
        color=MUTED,
    )
    name = study.classes[k]
    headings = ["", *(["AUROC, validation"] if _validated(study) else []), "AUROC, test", "average precision"]
    scale = ", on a logarithmic scale" if rare else ""
    return (
        f'<div class="curves"><div><h3>{escape(name)} <small>{counts.positives:,} positives ({chance})</small></h3>'
        f"{table(headings, areas, kind='')}</div>"
        f"{svg(roc, 'ROC; dotted: guessing', name)}"
        f"{svg(recall, f'Precision-recall{scale}; dotted: guessing', name)}"
        "</div>"
    )


def _validated(study: Study) -> bool:
    return any(run.validation_scores is not None for run in study.runs)


def _validation_area(run: RunResult, study: Study, k: int) -> list[str]:
    """The cell of the AUROC on validation; none where no run has it."""
    if not _validated(study):
        return []
    if run.validation_labels is None or run.validation_scores is None:
        return [UNDEFINED]
    truth = one_against_rest(run.validation_labels, len(study.classes))
    areas = np.asarray(auroc(truth, probabilities(run.validation_scores), average="none"))
    return [figures(float(areas[k]))]


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
    if here.found or (called and here.prevalence >= RARE):  # a logarithmic axis has no 0
        recall.plot(here.found / P, here.found / called, **dot(runs, i))
