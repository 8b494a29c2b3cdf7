"""Calibration errors: the distance between probabilities and frequencies.

A finding of one case in a thousand is calibrated almost perfectly by a model that calls everything negative:
the negatives decide. Look at the classes one by one, at bins of equal mass, and at ``brier`` among positives.
"""

from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.averages import check_average
from imbal_jax.metrics.cases import Cases, average_over_columns, check_cases

BINNINGS = ("equal_width", "equal_mass")
AMONG = ("all", "positives", "negatives")
_ROUNDING = 1e-6  # a float32 softmax or sigmoid may exceed 1 by this


def expected_calibration_error(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    bins: int = 15,
    binning: str = "equal_width",
    class_wise: bool = False,
    prevalence: float | None = None,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """sum_b (n_b / N) |mean outcome of bin b - mean probability of bin b| (Naeini et al., AAAI 2015).

    Of one label, the probability is that of the class decided for and the outcome whether it is right, which
    gives one number whatever the average (Guo et al., ICML 2017); ``class_wise``, like a binary problem
    and of many labels, it is that of each class and the outcome is that class (Kull et al., NeurIPS 2019).

    Args:
      labels, scores: as in the package's docstring; the scores are probabilities.
      bins: how many; 15 as in Guo et al.
      binning: "equal_width", (0, 1/b], (1/b, 2/b], ... with 0 in the first; or "equal_mass", by rank, equal
        scores together at their middle rank (Nguyen and O'Connor, EMNLP 2015).
      prevalence: of the positives where the probabilities are to hold, above 0 and below 1: positives and negatives
        are weighed to have it. None: that of the cases. For a binary problem, or for each of many labels.

    Returns:
      A float, or float64 [K] for average "none"; NaN without a case.

    Raises:
      ValueError: scores that are no probabilities; less than one bin; an unknown binning.
    """
    if not isinstance(bins, Real) or not float(bins).is_integer() or bins < 1:
        raise ValueError(f"bins is {bins!r}, expected a whole number of 1 or more")
    if binning not in BINNINGS:
        raise ValueError(f"unknown binning {binning!r}: expected one of {', '.join(BINNINGS)}")
    cases = _probabilities(labels, scores, mask)
    _check_prevalence(prevalence, cases, class_wise)
    if cases.is_one_label and not class_wise:
        check_average(average)
        right = cases.scores.argmax(axis=1) == cases.labels
        return _calibration_error(cases.scores.max(axis=1), right, int(bins), binning)
    return average_over_columns(
        lambda *sides: _calibration_error(*_with_outcome(*sides), int(bins), binning, prevalence),
        cases,
        average,
    )


def brier(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    class_wise: bool = False,
    among: str = "all",
    prevalence: float | None = None,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """Mean of (p - y)^2, y the outcome, 0 or 1, and p its probability (Brier 1950).

    Of one label, the mean over the cases of the sum over the C classes, 0 to 2, as Brier has it, which gives
    one number whatever the average; ``class_wise``, like a binary problem and of many labels, the mean of
    each class. ``among`` "positives" or "negatives" leaves out the others of each class (the stratified Brier
    score of Wallace and Dahabreh, ICDM 2012). With a ``prevalence`` q, q times the mean of the positives and 1 - q
    times that of the negatives, as where the positives are q of the cases. NaN without a case. Raises
    ValueError where scores are no probabilities.
    """
    if among not in AMONG:
        raise ValueError(f"among is {among!r}: expected one of {', '.join(AMONG)}")
    cases = _probabilities(labels, scores, mask)
    if cases.is_one_label and not class_wise:
        check_average(average)
        if among != "all":
            raise ValueError(f"among={among!r} needs class_wise=True: a case of one label has both sides")
        _check_prevalence(prevalence, cases, class_wise)
        outcome = np.arange(cases.scores.shape[1]) == cases.labels[:, None]
        return _mean(((cases.scores - outcome) ** 2).sum(axis=1))
    _check_prevalence(prevalence, cases, class_wise)
    if prevalence is not None and among == "all":
        q = prevalence
        return average_over_columns(
            lambda positive, negative: q * _mean((1 - positive) ** 2) + (1 - q) * _mean(negative**2),
            cases,
            average,
        )
    kept = {"all": slice(0, 2), "positives": slice(0, 1), "negatives": slice(1, 2)}[among]
    return average_over_columns(
        lambda positive, negative: _mean(np.concatenate([(1 - positive) ** 2, negative**2][kept])),
        cases,
        average,
    )


def _probabilities(labels: ArrayLike, scores: ArrayLike, mask: ArrayLike | None) -> Cases:
    cases = check_cases(labels, scores, mask)
    p = cases.scores.astype(np.float64)
    judged = p[cases.labels >= 0] if cases.labels.ndim == 2 else p
    wrong = (judged < 0) | (judged > 1 + _ROUNDING)
    if wrong.any():
        raise ValueError(
            f"scores run from {judged.min():g} to {judged.max():g}: expected probabilities from 0 to 1, "
            "such as the softmax or sigmoid of logits"
        )
    if cases.is_one_label:
        off = np.abs(p.sum(axis=1) - 1)
        if (off > 0.01).any():  # bfloat16 rounds each by up to 0.4 %
            total = p[off.argmax()].sum()
            raise ValueError(f"scores of a case sum to {total:.4g}: the probabilities of one label sum to 1")
    return cases._replace(scores=np.minimum(p, 1))


def _with_outcome(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([positive, negative]), np.repeat([True, False], [positive.size, negative.size])


def _check_prevalence(prevalence: float | None, cases: Cases, class_wise: bool) -> None:
    if prevalence is None:
        return
    if cases.is_one_label and not class_wise:
        raise ValueError("a prevalence needs class_wise=True: a case of one label has no positive side")
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence is {prevalence:g}, expected a share above 0 and below 1")


def _calibration_error(
    p: np.ndarray, outcome: np.ndarray, bins: int, binning: str, prevalence: float | None = None
) -> float:
    if not p.size:
        return np.nan
    if prevalence is not None:
        return _weighed_error(p, outcome, bins, binning, prevalence)
    if binning == "equal_width":
        in_bin = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], p)
    else:
        _, value, count = np.unique(p, return_inverse=True, return_counts=True)
        twice_middle = 2 * np.cumsum(count) - count
        in_bin = (bins * twice_middle // (2 * p.size))[value]
    gaps = np.bincount(in_bin, weights=outcome - p, minlength=bins)
    return float(np.abs(gaps).sum() / p.size)


def _weighed_error(p: np.ndarray, outcome: np.ndarray, bins: int, binning: str, prevalence: float) -> float:
    positives = int(outcome.sum())
    if positives in (0, p.size):
        return np.nan
    weights = np.where(outcome, prevalence / positives, (1 - prevalence) / (p.size - positives))
    if binning == "equal_width":
        in_bin = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], p)
    else:
        _, value = np.unique(p, return_inverse=True)
        mass = np.bincount(value, weights)
        middle = np.cumsum(mass) - mass / 2
        in_bin = np.minimum((bins * middle).astype(int), bins - 1)[value]
    gaps = np.bincount(in_bin, weights=weights * (outcome - p), minlength=bins)
    return float(np.abs(gaps).sum())


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan
