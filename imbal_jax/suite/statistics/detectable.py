"""What difference a number of seeds could have shown."""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct, t

from imbal_jax.suite.statistics.signed_rank import attainable_level

EFFICIENCY = 3 / np.pi  # of the signed-rank test beside the t test, for normal differences (Pitman)


def detectable_difference(
    deviation: float, pairs: int, *, patients: float = 0.0, level: float = 0.05, power: float = 0.8
) -> float:
    """The true difference that the signed-rank test finds with probability ``power``.

    The power of a t test with ``pairs`` times 3 / pi differences, at the level that the exact test attains.

    Args:
      deviation: standard deviation of the paired differences over seeds. patients: that of their mean over resampled
        patients, which no number of seeds makes smaller.
      level: of the two-sided test, after correction for several tests.

    inf where no outcome of so few pairs is significant; NaN where the deviation is.
    """
    if np.isnan(deviation):
        return np.nan
    attained = attainable_level(pairs, level)
    if attained == 0:
        return np.inf
    error = float(np.hypot(deviation / np.sqrt(pairs * EFFICIENCY), patients))
    if error == 0:
        return 0.0
    critical = t.isf(attained / 2, pairs - 1)

    def lacking(shift: float) -> float:  # the chance of significance on the wrong side is neglected
        return float(nct.sf(critical, pairs - 1, shift)) - power

    return error * float(brentq(lacking, 0.0, 2 * critical + 5))
