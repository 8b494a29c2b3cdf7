"""Ranking metrics: functions of the order of the scores alone."""

from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.averages import ratio
from imbal_jax.metrics.cases import average_over_columns, check_cases


class Ranking(NamedTuple):
    """Counts at each distinct score of a positive, ascending: [..., V]; leading axes are replicates."""

    positives: np.ndarray
    below: np.ndarray  # negatives below it
    level: np.ndarray  # negatives level with it
    negatives: int | np.ndarray  # all of them, [...]


def auroc(
    labels: ArrayLike, scores: ArrayLike, *, mask: ArrayLike | None = None, average: str = "macro"
) -> float | np.ndarray:
    """Area under the ROC curve: P(s+ > s-) + P(s+ = s-) / 2 (Hanley and McNeil 1982).

    Mann-Whitney U with midranks over the number of pairs; NaN without a positive or without a negative.
    """
    return _averaged(auroc_of, labels, scores, mask, average)


def average_precision(
    labels: ArrayLike, scores: ArrayLike, *, mask: ArrayLike | None = None, average: str = "macro"
) -> float | np.ndarray:
    """sum_i (R_i - R_{i-1}) P_i over the distinct scores, no interpolation; NaN without a positive."""
    return _averaged(average_precision_of, labels, scores, mask, average)


def partial_auroc(
    labels: ArrayLike,
    scores: ArrayLike,
    max_fpr: float = 0.1,
    *,
    standardized: bool = True,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """Area A under the ROC curve from a false positive rate of 0 to one of f, ``max_fpr`` in (0, 1].

    Standardized (McClish 1989) it is 1/2 for scores that know nothing and 1 for perfect ones:
    (1 + (A - f^2 / 2) / (f - f^2 / 2)) / 2. Otherwise A itself, 0 to f. The curve is straight across ties;
    ``max_fpr=1`` is the AUROC. NaN without a positive or without a negative.
    """
    _check_rate("max_fpr", max_fpr)
    if max_fpr == 0:
        raise ValueError("max_fpr is 0: no area is left, expected a rate above 0 and at most 1")
    return _averaged(
        lambda ranking: partial_auroc_of(ranking, max_fpr, standardized=standardized),
        labels,
        scores,
        mask,
        average,
    )


def sensitivity_at_specificity(
    labels: ArrayLike,
    scores: ArrayLike,
    specificity: float = 0.9,
    *,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """The largest sensitivity of a threshold whose specificity is at least ``specificity``.

    0 where only calling nobody positive is that specific; NaN without a positive or without a negative.
    """
    _check_rate("specificity", specificity)
    return _averaged(
        lambda ranking: sensitivity_at_specificity_of(ranking, specificity), labels, scores, mask, average
    )


def specificity_at_sensitivity(
    labels: ArrayLike,
    scores: ArrayLike,
    sensitivity: float = 0.9,
    *,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """The largest specificity of a threshold whose sensitivity is at least ``sensitivity``.

    NaN without a positive or without a negative.
    """
    _check_rate("sensitivity", sensitivity)
    return _averaged(
        lambda ranking: specificity_at_sensitivity_of(ranking, sensitivity), labels, scores, mask, average
    )


def _averaged(
    formula: Callable[[Ranking], np.ndarray],
    labels: ArrayLike,
    scores: ArrayLike,
    mask: ArrayLike | None,
    average: str,
) -> float | np.ndarray:
    return average_over_columns(
        lambda positive, negative: float(formula(rank(positive, negative))),
        check_cases(labels, scores, mask),
        average,
    )


def _check_rate(name: str, value: float) -> None:
    if not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}, expected a rate from 0 to 1")


def rank(positive: np.ndarray, negative: np.ndarray) -> Ranking:
    """The ranking of the scores of positives [P] among those of negatives [N]."""
    values, count = np.unique(positive, return_counts=True)
    if not values.size:
        return Ranking(count, count, count, negative.size)
    # Only negatives between the lowest and the highest positive need sorting: few, if the model is good.
    contested = negative >= values[0]
    base = negative.size - np.count_nonzero(contested)
    contested &= negative <= values[-1]
    contested = np.sort(negative[contested])
    below = np.searchsorted(contested, values, side="left")
    level = np.searchsorted(contested, values, side="right") - below
    return Ranking(count, base + below, level, negative.size)


# Formulas over rankings, one value a replicate


def auroc_of(ranking: Ranking) -> np.ndarray:
    count, below, level, negatives = ranking
    wins = (count * (2 * below + level)).sum(axis=-1)
    return ratio(wins, 2 * count.sum(axis=-1) * negatives)


def average_precision_of(ranking: Ranking) -> np.ndarray:
    count, below, _, negatives = ranking
    found = _found(count)
    called = found + np.expand_dims(negatives, -1) - below
    precision = found / np.maximum(called, 1)
    return ratio((count * precision).sum(axis=-1), count.sum(axis=-1))


def partial_auroc_of(ranking: Ranking, max_fpr: float = 0.1, *, standardized: bool = True) -> np.ndarray:
    count, below, level, negatives = ranking
    # A positive lifts the curve by 1 / P: at once, or over the run of the negatives that are level with it
    left = max_fpr * np.expand_dims(negatives, -1) - (np.expand_dims(negatives, -1) - below - level)
    run = np.clip(left, 0, level)
    area = (count * (run**2 / (2 * np.maximum(level, 1)) + np.maximum(left - level, 0))).sum(axis=-1)
    area = ratio(area, count.sum(axis=-1) * negatives)
    if not standardized:
        return area
    chance = max_fpr**2 / 2
    return (1 + (area - chance) / (max_fpr - chance)) / 2


def sensitivity_at_specificity_of(ranking: Ranking, specificity: float = 0.9) -> np.ndarray:
    count, below, _, negatives = ranking
    reached = ratio(below, np.expand_dims(negatives, -1)) >= specificity
    best = np.where(reached, _found(count), 0).max(axis=-1, initial=0)
    return ratio(best, count.sum(axis=-1) * (np.asarray(negatives) > 0))


def specificity_at_sensitivity_of(ranking: Ranking, sensitivity: float = 0.9) -> np.ndarray:
    count, below, _, negatives = ranking
    reached = ratio(_found(count), count.sum(axis=-1, keepdims=True)) >= sensitivity
    best = np.where(reached, below, 0).max(axis=-1, initial=0)
    if sensitivity == 0:
        best = negatives  # a threshold above every score
    return ratio(best, (count.sum(axis=-1) > 0) * np.asarray(negatives))


def _found(count: np.ndarray) -> np.ndarray:
    """Positives at or above each score."""
    return np.cumsum(count[..., ::-1], axis=-1)[..., ::-1]


RANKING_FORMULAS: dict[Callable[..., float | np.ndarray], Callable[..., np.ndarray]] = {
    auroc: auroc_of,
    average_precision: average_precision_of,
    partial_auroc: partial_auroc_of,
    sensitivity_at_specificity: sensitivity_at_specificity_of,
    specificity_at_sensitivity: specificity_at_sensitivity_of,
}
