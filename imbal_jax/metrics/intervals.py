"""Confidence intervals of rates such as sensitivity, specificity and predictive values.

``confidence`` is the share of repeated studies whose interval covers the truth, 0.95 by default. The
intervals are two-sided; the bound of a one-sided interval of 95 % is that of a two-sided one of 90 %.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri

from imbal_jax.metrics.averages import plain


class Interval(NamedTuple):
    low: float | np.ndarray
    high: float | np.ndarray


def wilson(successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95) -> Interval:
    """Wilson's interval (JASA 1927) of a rate of k ``successes`` in n ``trials``; covers about as promised.

        (k + z^2 / 2 -+ z sqrt(k (n - k) / n + z^2 / 4)) / (n + z^2),   z the (1 + confidence) / 2 quantile

    Whole numbers of shapes that broadcast. Returns floats or arrays float64, NaN where n is 0. Raises
    ValueError unless 0 <= k <= n.

    >>> low, high = wilson(0, 10)
    >>> print(low, high)
    0.0 0.278
    """
    k, n = _check_counts(successes, trials)
    z = normal_quantile(confidence)
    half = z * np.sqrt(k * (n - k) / np.maximum(n, 1) + z**2 / 4)
    low, high = ((k + z**2 / 2 + sign * half) / (n + z**2) for sign in (-1, 1))
    # Exactly 0 and 1 at the ends, where the formula rounds
    return _interval(np.where(k == 0, 0, low), np.where(k == n, 1, high), n)


def clopper_pearson(successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95) -> Interval:
    """Clopper and Pearson's interval (Biometrika 1934) of a rate: covers at least as promised.

    Quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k); 0 at k = 0 and 1 at k = n. Arguments, result and
    errors as ``wilson``.

    >>> low, high = clopper_pearson(0, 10)
    >>> print(low, high)  # 1 - 0.025 ** (1 / 10)
    0.0 0.308
    """
    k, n = _check_counts(successes, trials)
    tail = (1 - check_confidence(confidence)) / 2
    missed = n - k
    low = np.where(k > 0, betaincinv(np.maximum(k, 1), missed + 1, tail), 0.0)
    high = np.where(missed > 0, 1 - betaincinv(np.maximum(missed, 1), k + 1, tail), 1.0)
    return _interval(low, high, n)


def _check_counts(successes: ArrayLike, trials: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    wrong = ~((k >= 0) & (k <= n) & (k == np.rint(k)) & (n == np.rint(n)) & (n < np.inf))
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"{k.flat[at]:g} successes in {n.flat[at]:g} trials: expected whole numbers, 0 <= successes <= trials"
        )
    return k, n


def _interval(low: np.ndarray, high: np.ndarray, trials: np.ndarray) -> Interval:
    return Interval(*(plain(np.where(trials > 0, bound, np.nan)) for bound in (low, high)))


def check_confidence(confidence: float) -> float:
    """ValueError unless it is a share between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence:g}, expected a share between 0 and 1, such as 0.95")
    return float(confidence)


def normal_quantile(confidence: float) -> float:
    """Standard deviations on either side of the mean that hold the share ``confidence``."""
    return float(ndtri((1 + check_confidence(confidence)) / 2))
