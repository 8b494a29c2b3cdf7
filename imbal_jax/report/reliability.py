"""Section on calibration: reliability diagrams and errors, before and after correction."""

from collections.abc import Sequence
from html import escape

import numpy as np

from imbal_jax.console import percent
from imbal_jax.metrics import brier, expected_calibration_error
from imbal_jax.report.decisions import probabilities
from imbal_jax.report.html import Html, figures, first_shown, fold, legend, method
from imbal_jax.report.plots import MUTED, dot, draw, line, svg
from imbal_jax.report.ranking import drawable_classes
from imbal_jax.report.resampling import rate_interval
from imbal_jax.report.study import Study

DIAGRAM_CLASSES = 6
SHOWN = 3  # classes in the table, the rarest; the others are folded
PARTS, FEW_PARTS = 10, 5
FEW = 50  # positives; with fewer, bins are larger
SMALLEST_BIN = 25  # images; a frequency from fewer is too uncertain to plot


def calibration(study: Study) -> str:
    drawable, _ = drawable_classes(study)
    drawn = drawable[:DIAGRAM_CLASSES]
    if not drawn:
        return "<p>Undefined: no class has positive and negative test images.</p>"
    corrected = any(run.raw_scores is not None for run in study.runs)
    diagrams = "".join(_diagrams(study, k, corrected) for k in drawn)
    rest = (
        f"<p class=muted>The {len(drawn)} rarest classes are drawn.</p>" if len(drawable) > len(drawn) else ""
    )
    if not corrected:
        diagrams = f'<div class="grid three">{diagrams}</div>'
    diagrams = fold("Reliability diagrams", f"{DIAGRAMS}{legend(study.runs)}{diagrams}{rest}")
    done = [f"{escape(run.method)} {escape(run.calibration)}" for run in study.runs if run.calibration]
    how = f" Calibration: {'; '.join(done)}." if done else ""
    return (
        "<p>Of images given a probability of 10&nbsp;%, 10&nbsp;% should have the finding, and the mean probability "
        f"should be the prevalence.{' Before → after calibration.' if corrected else ''}{how}"
        f"{_weighed(study, drawable)}</p>{_errors(study, drawable)}{fold('What the errors mean', ERRORS)}"
        f"{diagrams}"
    )


ERRORS = (
    "<p>Each class against all others. Calibration error: of 15 bins of equal mass (Nguyen and O'Connor, EMNLP "
    "2015), 0 at best; of a rare class it is small whatever the model does. So compare the mean probability with the "
    "prevalence, and see the Brier score among positives (Wallace and Dahabreh, ICDM 2012), which is 0 at best and 1 "
    "where every positive is given a probability of 0.</p>"
)
DIAGRAMS = (
    "<p>Points should be on the dotted line. Below it the probabilities are too high. Each point is a tenth of the "
    f"images by rising probability (a fifth where there are fewer than {FEW} positives), the last one halved "
    f"again and again down to {SMALLEST_BIN}; bars are 95&nbsp;% intervals. The axes differ between the diagrams: "
    "each ends where its probabilities do.</p>"
)


def _weighed(study: Study, classes: Sequence[int]) -> str:
    uses = {k: study.use(k) for k in classes}
    named = [
        f"{escape(study.classes[k])} {percent(use.prevalence)}" for k, use in uses.items() if not use.own
    ]
    if not named:
        return ""
    source = next(use.source for use in uses.values() if not use.own)
    return (
        f" Positives and negatives are weighed to the prevalence that {escape(source)}, at which the probabilities "
        f"are meant to hold, and not counted at the test set's own: {', '.join(named)}."
    )


def reliability(
    positive: np.ndarray, scores: np.ndarray, patients: np.ndarray, prevalence: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability [B], frequency [B] and its interval [2, B], of the bins that hold images.

    prevalence: positives and negatives are weighed to have it; None: that of the images.
    """
    parts = FEW_PARTS if positive.sum() < FEW else PARTS
    shares = [*np.arange(1, parts) / parts]
    while (1 - shares[-1]) / 2 * len(scores) >= SMALLEST_BIN:
        shares.append(1 - (1 - shares[-1]) / 2)
    edges = np.unique(np.quantile(scores, shares, method="lower"))
    in_bin = np.searchsorted(edges, scores, side="left")  # equal scores are in one bin
    bins = [in_bin == b for b in np.unique(in_bin)]
    predicted = np.array([scores[b].mean() for b in bins])
    observed = np.array([positive[b].mean() for b in bins])
    intervals = np.array([rate_interval(positive[b], patients[b]) for b in bins]).T
    if prevalence is None:
        return predicted, observed, intervals
    seen = positive.mean()
    odds = prevalence * (1 - seen) / ((1 - prevalence) * seen)
    weights = np.where(positive, odds, 1.0)
    predicted = np.array([np.average(scores[b], weights=weights[b]) for b in bins])
    return predicted, *(f * odds / (f * odds + 1 - f) for f in (observed, intervals))


def _diagrams(study: Study, k: int, corrected: bool) -> str:
    name = study.classes[k]
    after = [decided.scores[:, k] for decided in study.decided]
    if not corrected:
        return f"<div><h3>{escape(name)}</h3>{_diagram(study, k, after, 'Reliability')}</div>"
    raw = [run.raw_scores for run in study.runs]
    before = [None if scores is None else probabilities(scores)[:, k] for scores in raw]
    return (
        f'<h3>{escape(name)}</h3><div class="grid">{_diagram(study, k, before, "Before calibration")}'
        f"{_diagram(study, k, after, 'After calibration')}</div>"
    )


def _diagram(study: Study, k: int, scores: Sequence[np.ndarray | None], caption: str) -> str:
    """scores: of each run, [M] or None."""
    cohort = study.cohort
    known = cohort.truth[:, k] >= 0
    positive, patients = cohort.truth[known, k] == 1, cohort.patients[known]
    use = study.use(k)
    figure, axes = draw("predicted probability", "observed frequency")
    top = 0.0
    for i, column in enumerate(scores):
        if column is None:
            continue
        predicted, observed, (low, high) = reliability(
            positive, column[cohort.kept][known], patients, None if use.own else use.prevalence
        )
        style = line(study.runs, i)
        axes.plot(predicted, observed, **{**dot(study.runs, i), "markersize": 5, "clip_on": True})
        axes.plot(predicted, observed, **{**style, "linewidth": 0.8, "alpha": 0.5})
        axes.vlines(predicted, low, high, color=style["color"], linewidth=1, alpha=0.6)
        top = max(top, predicted.max(), observed.max())
    top = min(1.02, 1.25 * top) or 1.02
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=":")
    axes.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top))
    axes.locator_params(nbins=5)
    return svg(figure, caption, study.classes[k])


def _errors(study: Study, classes: list[int]) -> str:
    headings = ["method", "mean probability", "calibration error", "Brier score", "Brier, positives"]
    groups = []
    for k in classes:
        truth, use = study.decided[0].truth[:, k], study.use(k)
        at = None if use.own else use.prevalence
        rows = []
        for i, decided in enumerate(study.decided):
            raw = study.runs[i].raw_scores
            after = _numbers(truth, decided.scores[:, k], at)
            before = _numbers(truth, probabilities(raw)[:, k], at) if raw is not None else [""] * len(after)
            cells = [f"{b} → {a}" if b else a for b, a in zip(before, after, strict=True)]
            rows.append([method(study.runs, i), *cells])
        name = Html(f"{escape(study.classes[k])} <small>prevalence {percent(use.prevalence)}</small>")
        groups.append((name, rows))
    return first_shown(headings, groups, SHOWN, "Calibration of")


def _numbers(truth: np.ndarray, scores: np.ndarray, prevalence: float | None) -> list[str]:
    """prevalence: positives and negatives are weighed to have it; None: that of the images."""
    mean = float(scores[truth >= 0].mean())
    if prevalence is not None:
        mean = float(prevalence * scores[truth == 1].mean() + (1 - prevalence) * scores[truth == 0].mean())
    return [
        percent(mean),
        figures(
            float(expected_calibration_error(truth, scores, binning="equal_mass", prevalence=prevalence))
        ),
        figures(float(brier(truth, scores, prevalence=prevalence))),
        figures(float(brier(truth, scores, among="positives"))),
    ]
