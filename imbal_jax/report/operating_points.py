"""Section on operating points: thresholds chosen on validation, and their rates there and on test."""

import math
from html import escape

import numpy as np

from imbal_jax.console import UNDEFINED
from imbal_jax.decisions.operating_point import OperatingPoint
from imbal_jax.decisions.threshold_rules import AtLeast, parse_rule
from imbal_jax.errors import InputError
from imbal_jax.metrics import Interval, wilson
from imbal_jax.metrics.labels import one_against_rest
from imbal_jax.report.decisions import probabilities
from imbal_jax.report.html import Html, bracket, counted, figures, first_shown, method
from imbal_jax.report.rates import rates
from imbal_jax.report.resampling import rate_interval
from imbal_jax.report.result import RunResult
from imbal_jax.report.rule_words import rule_in_words
from imbal_jax.report.study import Study


def operating_points(study: Study) -> str:
    """Empty where no run has points."""
    runs = range(len(study.runs))
    if not any(run.points for run in study.runs):
        return ""
    groups = [(_heading(study, k), [_row(study, i, k) for i in runs]) for k in study.shown]
    missed = [name for i in runs for k in study.shown if (name := _out_of_reach(study, i, k))]
    text = _explained(study)
    if missed:
        text += (
            f"<aside><b>Not kept on test</b>: {'; '.join(missed)}. The whole interval lies below what the rule asks: "
            "choose the threshold on more positives, or with a confidence.</aside>"
        )
    sure = _of_confidence(study.grouped_by) if any("confidence" in rule for rule in _rules(study)) else ""
    points = first_shown(HEADINGS, groups, SHOWN, "Operating points of")
    return f"{text}{points}{_of_validation(study.grouped_by)}{sure}"


HEADINGS = [
    "method",
    "threshold",
    *(f"{rate}, {part}" for rate in ("sensitivity", "specificity") for part in ("validation", "test")),
    "images called per\N{NO-BREAK SPACE}1,000, test",
]
SHOWN = 3  # classes, the rarest; the others are folded


def _of_validation(grouped_by: str) -> str:
    return (
        f"<p class=muted>Intervals are two-sided 95 % ones, by {grouped_by}. Those of validation take the threshold "
        "as given, though it was chosen there: they are too short and biased upwards.</p>"
    )


def _of_confidence(grouped_by: str) -> str:
    return (
        f"<p class=muted>A rule <i>with confidence</i> asks that of a one-sided lower bound, by {grouped_by}: at "
        f"95 % confidence, 19 in 20 thresholds chosen so keep the rate on new {grouped_by}s.</p>"
    )


def _rules(study: Study) -> list[str]:
    """The rules of the shown classes, each once."""
    return list(dict.fromkeys(run.points[k].rule for run in study.runs if run.points for k in study.shown))


def _explained(study: Study) -> str:
    """What a threshold is, and which rule chose it."""
    rules = _rules(study)
    chosen = escape(rule_in_words(rules[0])) if len(rules) == 1 else "what the rule under its class asks for"
    calibrated = "calibrated " if any(run.raw_scores is not None for run in study.runs) else ""
    return (
        f"<p>An image is called a class where its {calibrated}probability of the class is the threshold or "
        "more. For a rare class thresholds are low. They were chosen on validation, for "
        f"{chosen}. The rates on test images show what to expect.</p>"
    )


def _heading(study: Study, k: int) -> Html:
    """The class, the rule, and on how many validation cases it chose."""
    lines = []
    for point in (run.points[k] for run in study.runs if run.points):
        on = f"{_rule(point)}, on {point.n_positive:,} positive{'' if point.n_positive == 1 else 's'}"
        if point.positive_patients is not None:
            on += f" of {counted(point.positive_patients, study.grouped_by)}"
        lines.append(on)
    small = f" <small>{'; '.join(dict.fromkeys(lines))}</small>" if lines else ""
    return Html(f"{escape(study.classes[k])}{small}")


def _row(study: Study, i: int, k: int) -> list[str]:
    run, name = study.runs[i], method(study.runs, i)
    if run.points is None:
        return [name, *[UNDEFINED] * (len(HEADINGS) - 1)]
    point, here, counts = run.points[k], rates(study, i, k), study.decided[i].counts(k)
    seen = _on_validation(run, k, point, len(study.classes))
    called = 1000 * (counts.found + counts.false_alarms) / counts.known if counts.known else math.nan
    return [
        name,
        figures(point.threshold),
        bracket(point.sensitivity, seen["sensitivity"]),
        bracket(*here["sensitivity"]),
        bracket(point.specificity, seen["specificity"]),
        bracket(*here["specificity"]),
        figures(called),
    ]


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
