"""What difference a number of seeds could have shown."""

from functools import lru_cache

import numpy as np

from imbal_jax.suite.statistics.signed_rank import attainable_level, critical_rank_sum

_STUDIES = 5000  # simulated: a power of 0.8 is known to 0.006
_HALVINGS = 16


def detectable_difference(
    deviation: float, pairs: int, *, patients: float = 0.0, level: float = 0.05, power: float = 0.8
) -> float:
    """The true difference that the exact signed-rank test finds with probability ``power``, if normal.

    Args:
      deviation: standard deviation of the paired differences over seeds. patients: that of their mean over resampled
        patients, which no number of seeds makes smaller.
      level: of the two-sided test, after correction for several tests.

    inf where no outcome of so few pairs is significant; NaN where the deviation is.
    """
    if np.isnan(deviation):
        return np.nan
    if attainable_level(pairs, level) == 0:
        return np.inf
    error = np.hypot(deviation / np.sqrt(pairs), patients)
    return float(error * _detectable_errors(pairs, critical_rank_sum(pairs, level), power))


@lru_cache(maxsize=256)
def _detectable_errors(pairs: int, critical: int, power: float) -> float:
    """The detectable difference in standard errors of the mean, by simulated studies of deviation 1."""
    noise = np.random.default_rng(0).normal(0, 1, (_STUDIES, pairs))

    def found(errors: float) -> float:
        differences = noise + errors / np.sqrt(pairs)
        ranks = np.abs(differences).argsort(axis=1).argsort(axis=1) + 1
        return float(((ranks * (differences < 0)).sum(axis=1) <= critical).mean())

    low, high = 0.0, 1.0
    while found(high) < power:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) < power else (low, middle)
    return high
