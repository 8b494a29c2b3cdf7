"""Table of operating points at the end of a run: rates of each threshold on the test images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from rich.table import Table
from rich.text import Text

from imbal_jax.console import UNDEFINED, WIDE, number, percent
from imbal_jax.decisions.operating_point import decide, predictive_values
from imbal_jax.metrics.labels import one_against_rest
from imbal_jax.report import RunResult
from imbal_jax.report.resampling import rate_interval
from imbal_jax.report.seeds import seed_places
from imbal_jax.report.use import Use, use_of

HEADINGS = ("threshold", "sensitivity", "specificity", "PPV", "calls per 1,000")
SHORT = ("from", "sens.", "spec.", "PPV", "per 1,000")
EXPLAINED = "an image is called a class where its calibrated probability is the threshold or more; chosen by"
CONFIDENCE = "with confidence: a one-sided lower bound on validation, by patient"
SEEDS = "of several seeds the mean ± standard deviation over them (the means of their interval bounds)"
JOINT = 0.975  # confidence at which both intervals cover in 95 of 100 studies (Bonferroni)
BOUNDS = len("(0.00–1.00)")  # width of an interval, which may be wrapped to a second line


def points_table(
    results: Sequence[RunResult], classes: Sequence[str], negative_class: str | None, width: int = WIDE
) -> Table:
    """One row a class, but the negative one, and method; rates with two-sided 95 % intervals, by patient.

    Several seeds of one method are one row, their mean.

    width: of the console, characters; on a narrow one the headings are short. The results have operating points.
    Raises ValueError where one has none.
    """
    table = Table(
        title="Operating points, chosen on validation: rates on the test set (two-sided 95 % intervals, by patient)",
        padding=(0, 1) if width >= WIDE else 0,
    )
    table.add_column("class", overflow="fold")
    table.add_column("method", overflow="fold")
    rates = HEADINGS[1:4] if width >= WIDE else SHORT[1:4]
    for heading in HEADINGS if width >= WIDE else SHORT:
        table.add_column(heading, justify="right", min_width=BOUNDS if heading in rates else None)
    rules: dict[str, list[str]] = {}
    values = [point_values(result, classes, negative_class) for result in results]
    methods = seed_places(results)
    for name in values[0] if values else ():
        for method, places in methods.items():
            of_seeds = [values[i][name] for i in places]
            for one in of_seeds:
                rules.setdefault(one.rule, []).append(name)
            label = f"{method}, {len(places)} seeds" if len(places) > 1 else method
            table.add_row(Text(name), Text(label), *_cells(of_seeds))
        table.add_section()
    asked = [f"{rule}: {', '.join(dict.fromkeys(names))}" for rule, names in rules.items()]
    lines = [f"{EXPLAINED}:", *asked] if len(rules) > 1 else [f"{EXPLAINED} {rule}" for rule in rules]
    if any("confidence" in rule for rule in rules):
        lines.append(CONFIDENCE)
    if len(methods) < len(results):
        lines.append(SEEDS)
    elsewhere: dict[str, list[str]] = {}
    for name, value in (values[0] if values else {}).items():
        if not value.use.own:
            elsewhere.setdefault(value.use.source, []).append(f"{name} {percent(value.use.prevalence)}")
    for source, names in elsewhere.items():
        lines.append(
            f"PPV and calls per 1,000 images at the prevalence that {source}, not the test set's: {', '.join(names)}"
        )
    table.caption = Text("\n".join(lines)) if lines else None
    return table


def threshold_text(threshold: float) -> str:
    return "nobody" if threshold > 1 else f"{threshold:.3g}"


class Rate(NamedTuple):
    """A share of cases and its 95 % interval by patient; NaN where there is no such case."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PointValues:
    """What the threshold of one class is worth on the test images. called: per 1,000.

    ppv, called: at the prevalence of ``use``; where that is not the test set's, by Bayes' rule.
    """

    threshold: float
    rule: str
    sensitivity: Rate
    specificity: Rate
    ppv: Rate
    called: float
    use: Use


def point_values(
    result: RunResult, classes: Sequence[str], negative_class: str | None
) -> dict[str, PointValues]:
    """Of every class but the negative one, in their order. ValueError where the result has no operating points."""
    if result.points is None:
        raise ValueError(f"{result.method} has no operating points")
    truths = one_against_rest(result.labels, len(classes))
    negative = (
        None
        if negative_class is None or negative_class not in classes
        else list(classes).index(negative_class)
    )
    calls = decide(result.scores, result.points, negative)
    groups = (
        np.arange(len(truths)) if result.groups is None else np.unique(result.groups, return_inverse=True)[1]
    )
    found = {}
    for c, (name, point) in enumerate(zip(classes, result.points, strict=True)):
        if c == negative:
            continue
        truth, called = truths[:, c], calls[:, c]
        known = truth >= 0
        rates = [(truth == 1, called), (truth == 0, ~called), (known & called, truth == 1)]
        use = use_of(result, c, len(classes))
        sensitivity, specificity, ppv = (_rate(right[among], groups[among]) for among, right in rates)
        per_1000 = float(1000 * called[known].mean()) if known.any() else math.nan
        if not use.own:
            found_of, spared_of = (_rate(right[among], groups[among], JOINT) for among, right in rates[:2])
            ppv, per_1000 = _in_use(found_of, spared_of, use.prevalence)
        found[name] = PointValues(
            point.threshold, point.rule, sensitivity, specificity, ppv, called=per_1000, use=use
        )
    return found


def _rate(right: np.ndarray, groups: np.ndarray, confidence: float = 0.95) -> Rate:
    if not right.size:
        return Rate(math.nan, math.nan, math.nan)
    return Rate(float(right.mean()), *map(float, rate_interval(right, groups, confidence)))


def _in_use(sensitivity: Rate, specificity: Rate, prevalence: float) -> tuple[Rate, float]:
    """PPV, and calls per 1,000 images, at another prevalence; undefined where a rate is."""
    if not math.isfinite(sensitivity.value + specificity.value):
        return Rate(math.nan, math.nan, math.nan), math.nan
    ppv = [float(v) for v in predictive_values(sensitivity, specificity, prevalence).ppv]
    called = sensitivity.value * prevalence + (1 - specificity.value) * (1 - prevalence)
    return Rate(*ppv), 1000 * called


def _cells(of_seeds: Sequence[PointValues]) -> list[str]:
    """Threshold, rates and calls of one run, or the range of the thresholds and the means of several."""
    thresholds = sorted(values.threshold for values in of_seeds)
    texts = dict.fromkeys(map(threshold_text, (thresholds[0], thresholds[-1])))
    rates = [[getattr(values, name) for values in of_seeds] for name in ("sensitivity", "specificity", "ppv")]
    called = float(np.mean([values.called for values in of_seeds]))
    return [" to ".join(texts), *map(_rate_text, rates), number(called, 0)]


def _rate_text(rates: Sequence[Rate]) -> str:
    mean = Rate(*np.mean(rates, axis=0).tolist())
    if not math.isfinite(mean.value):
        return UNDEFINED
    spread = f" ± {number(float(np.std([r.value for r in rates], ddof=1)), 2)}" if len(rates) > 1 else ""
    return f"{number(mean.value, 2)}{spread} ({_bound(mean.low)}–{_bound(mean.high)})"


def _bound(value: float) -> str:
    return number(value, 2) if math.isfinite(value) else UNDEFINED
