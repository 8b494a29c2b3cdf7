"""The interquartile mean of all runs, and its interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import trim_mean

from imbal_jax.suite.statistics.paired_bootstrap import Estimate


def interquartile_mean(
    cells: Sequence[ArrayLike], *, confidence: float = 0.95, samples: int = 2000, seed: int = 0
) -> Estimate:
    """The mean of the middle half of the runs of all cells (Agarwal et al., NeurIPS 2021, section 4.3).

    cells: values [U_c] of each cell, one a run; NaN is left out. The percentile interval is that of a bootstrap
    stratified by cell: runs are resampled within each. It tells the chance in the seeds, not that in the cells. NaN
    where a cell has no value, no interval where one has a single value. There is no p-value (NaN).
    """
    known = [np.asarray(cell, np.float64) for cell in cells]
    known = [cell[~np.isnan(cell)] for cell in known]
    if not known or min(map(len, known)) == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    value = float(trim_mean(np.concatenate(known), 0.25))
    if min(map(len, known)) < 2:
        return Estimate(value, np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    resampled = np.concatenate(
        [cell[rng.integers(0, len(cell), (samples, len(cell)))] for cell in known], axis=1
    )
    means = trim_mean(resampled, 0.25, axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), np.nan)
