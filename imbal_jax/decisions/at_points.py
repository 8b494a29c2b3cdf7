"""Rates at the operating points that an evaluation itself would choose, for a criterion to read.

A network that calls nobody at the usual threshold may still rank well. What it is worth is what it does at the
threshold that will be used, and that is chosen on validation by a rule (``threshold_rules``): so it is chosen at
every evaluation, on the scores as they are.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.decisions.criterion import AT_POINTS, Criterion, classes_read
from imbal_jax.decisions.operating_point import OperatingPoint, choose_threshold
from imbal_jax.decisions.threshold_rules import Rule
from imbal_jax.errors import InputError
from imbal_jax.metrics import macro_mean
from imbal_jax.metrics.labels import one_against_rest

RATES = ("sensitivity", "specificity", "f_score", "balanced_accuracy")


def rates_at_points(
    criterion: Criterion,
    rules: Sequence[Rule],
    labels: ArrayLike,
    scores: ArrayLike,
    classes: Sequence[str],
    *,
    negative_class: str | None = None,
    groups: ArrayLike | None = None,
) -> dict[str, float]:
    """The rates at operating points that ``criterion`` reads, by name; none where it reads none.

    rules: of each class. labels: [N] or [N, C]. scores: [N, C]. groups: [N], the patient of each image. A macro rate
    is the mean over the classes but ``negative_class``, and a class without a positive or a negative is undefined.
    Where no threshold satisfies the rule, nobody is called. InputError for a class that is not among ``classes``.
    """
    asked = [name for name in criterion.names if name.endswith(AT_POINTS)]
    if not asked:
        return {}
    truth, scores = one_against_rest(labels, len(classes)), np.asarray(scores)
    patients = None if groups is None else np.asarray(groups)
    rates = [_rates(truth[:, c], scores[:, c], rule, patients) for c, rule in enumerate(rules)]
    found = {}
    for name in asked:
        rate, _, cls = name.removesuffix(AT_POINTS).partition("/")
        chosen = classes_read(name, cls, classes, negative_class)
        found[name] = macro_mean([rates[c][rate] for c in chosen])[0]
    return found


def _rates(truth: np.ndarray, scores: np.ndarray, rule: Rule, groups: np.ndarray | None) -> dict[str, float]:
    known = truth >= 0
    truth, scores = truth[known], scores[known]
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if not positives or not negatives:
        return dict.fromkeys(RATES, math.nan)
    try:
        point = choose_threshold(truth, scores, rule, None if groups is None else groups[known])
    except InputError:
        point = OperatingPoint(math.inf, str(rule), 0.0, 1.0, positives, negatives)
    hits = point.sensitivity * positives
    alarms = (1 - point.specificity) * negatives
    return {
        "sensitivity": point.sensitivity,
        "specificity": point.specificity,
        "f_score": 2 * hits / (positives + hits + alarms),
        "balanced_accuracy": (point.sensitivity + point.specificity) / 2,
    }
