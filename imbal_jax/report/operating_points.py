"""Section on operating points: thresholds chosen on validation, and their rates on the test set."""

import math
from html import escape

import numpy as np

from imbal_jax.console import UNDEFINED
from imbal_jax.decisions.operating_point import OperatingPoint
from imbal_jax.decisions.threshold_rules import AtLeast, parse_rule
from imbal_jax.errors import InputError
from imbal_jax.metrics import Interval, auroc, wilson
from imbal_jax.metrics.labels import one_against_rest
from imbal_jax.report.decisions import probabilities
from imbal_jax.report.html import Html, bracket, by_method, figures, table
from imbal_jax.report.per_class import rates
from imbal_jax.report.resampling import rate_interval
from imbal_jax.report.result import RunResult
from imbal_jax.report.study import Study


def operating_points(study: Study) -> str:
    """Empty where no run has points or validation scores."""
    parts, missed = "", []
    for i, run in enumerate(study.runs):
        if run.points is None and run.validation_scores is None:
            continue
        areas = _validation_areas(run, len(study.classes))
        rows = [_row(study, i, k, areas) for k in study.shown]
        parts += by_method(study.runs, i) + table(_headings(run, areas is not None), rows)
        missed += [name for k in study.shown if (name := _out_of_reach(study, i, k))]
    if not parts:
        return ""
    text = (
        "<p>Thresholds were chosen on validation images by the rule under each name; their rates on test images, "
        "which were not used for that, show what to expect. A model that generalises has the same AUROC on both.</p>"
        if any(run.points for run in study.runs)
        else "<p>A model that generalises has the same AUROC on validation and on test images.</p>"
    )
    if missed:
        text += (
            f"<aside><b>Not kept on test</b>: {'; '.join(missed)}. The whole interval lies below what the rule asks: "
            "choose the threshold on more positives, or with a confidence.</aside>"
        )
    rules = [point.rule for run in study.runs for point in run.points or ()]
    sure = CONFIDENCE if any("confidence" in rule for rule in rules) else ""
    return text + parts + (VALIDATION if rules else "") + sure


VALIDATION = (
    "<p class=muted>Intervals are two-sided 95 % ones, by patient. Those of validation take the threshold as given, "
    "though it was chosen there: they are too short and biased upwards.</p>"
)
CONFIDENCE = (
    "<p class=muted>A rule <i>with confidence</i> asks that of a one-sided lower bound, by patient: at 95 % "
    "confidence, 19 in 20 thresholds chosen so keep the rate on new patients.</p>"
)


def _headings(run: RunResult, with_areas: bool) -> list[str]:
    rates_of = [
        f"{rate}, {part}" for rate in ("sensitivity", "specificity") for part in ("validation", "test")
    ]
    points = ["threshold", *rates_of, "called per\N{NO-BREAK SPACE}1,000"] if run.points is not None else []
    return ["class", *points, *(["AUROC, validation", "AUROC, test"] if with_areas else [])]


def _row(study: Study, i: int, k: int, areas: np.ndarray | None) -> list[str]:
    run, cells = study.runs[i], [study.classes[k]]
    if run.points is not None:
        point, here, counts = run.points[k], rates(study, i, k), study.decided[i].counts(k)
        on = f"{_rule(point)}, on {point.n_positive:,} positive{'' if point.n_positive == 1 else 's'}"
        if point.positive_patients is not None:
            on += f" of {point.positive_patients:,} patient{'' if point.positive_patients == 1 else 's'}"
        seen = _on_validation(run, k, point, len(study.classes))
        cells = [Html(f"{escape(study.classes[k])}<br><small>{on}</small>")]
        cells += [
            figures(point.threshold),
            bracket(point.sensitivity, seen["sensitivity"]),
            bracket(*here["sensitivity"]),
            bracket(point.specificity, seen["specificity"]),
            bracket(*here["specificity"]),
            figures(1000 * (counts.found + counts.false_alarms) / counts.known)
            if counts.known
            else UNDEFINED,
        ]
    if areas is not None:
        cells += [figures(areas[k]), bracket(*study.aurocs[i][k])]
    return cells


def _on_validation(run: RunResult, k: int, point: OperatingPoint, classes: int) -> dict[str, Interval]:
    """Two-sided intervals of the rates that the threshold reached on validation, by patient where that is known."""
    found = {}
    for rate, cases in (("sensitivity", point.n_positive), ("specificity", point.n_negative)):
        value = getattr(point, rate)
        found[rate] = Interval(math.nan, math.nan)
        if math.isfinite(value):
            found[rate] = wilson(round(value * cases), cases)
        if run.validation_labels is None or run.validation_scores is None or run.validation_groups is None:
            continue
        if not math.isfinite(value):
            continue
        truth = one_against_rest(run.validation_labels, classes)[:, k]
        among = truth == (rate == "sensitivity")
        right = point.decide(probabilities(run.validation_scores)[among, k]) == (rate == "sensitivity")
        of = np.unique(np.asarray(run.validation_groups)[among], return_inverse=True)[1]
        found[rate] = rate_interval(right, of)
    return found


def _validation_areas(run: RunResult, classes: int) -> np.ndarray | None:
    if run.validation_labels is None or run.validation_scores is None:
        return None
    truth = one_against_rest(run.validation_labels, classes)
    return np.asarray(auroc(truth, probabilities(run.validation_scores), average="none"))


def _out_of_reach(study: Study, i: int, k: int) -> str:
    """A line on the class where the rate on test contradicts the rule, else empty."""
    points = study.runs[i].points
    target = None if points is None else _target(points[k])
    if points is None or target is None:
        return ""
    value, interval = rates(study, i, k)[target.rate]
    if not interval.high < target.target:  # NaN included
        return ""
    of = f" of {study.runs[i].method}" if len(study.runs) > 1 else ""
    return f"{escape(study.classes[k] + of)}, {target.rate} {bracket(value, interval)} for {_rule(points[k])}"


def _rule(point: OperatingPoint) -> str:
    return escape(point.rule.replace(">=", "≥"))


def _target(point: OperatingPoint) -> AtLeast | None:
    try:
        rule = parse_rule(point.rule)
    except InputError:  # a threshold may have been set by hand, with any words
        return None
    return rule if isinstance(rule, AtLeast) else None
