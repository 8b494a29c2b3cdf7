"""A metric over all imbalance ratios as one number."""

import numpy as np
from numpy.typing import ArrayLike


def area_over_log_ratio(ratios: ArrayLike, values: ArrayLike) -> float:
    """Area under the values [C] over log10 of the ratios [C], divided by its width: a mean over the logarithm.

    Linear between ratios (trapezoids); values of equal ratios are averaged first. NaN where fewer than two ratios
    have a value, or where any value is NaN.
    """
    places, which = np.unique(np.log10(np.asarray(ratios, np.float64)), return_inverse=True)
    heights = np.bincount(which, np.asarray(values, np.float64)) / np.bincount(which)
    if len(places) < 2:
        return np.nan
    return float(np.trapezoid(heights, places) / (places[-1] - places[0]))
