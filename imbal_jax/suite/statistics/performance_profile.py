"""Performance profiles of the time to a target (Dolan and More, Mathematical Programming 91, 2002)."""

import numpy as np
from numpy.typing import ArrayLike

LIMIT = 4.0  # AlgoPerf's r_max (Dahl et al. 2023, arXiv 2306.07179, section 4.3)


def ratios_to_fastest(times: ArrayLike) -> np.ndarray:
    """Times [M, C] of M methods in C cells, each divided by the least of its cell; inf where the target is missed.

    NaN (not run) and inf (missed) are both inf; so is every method of a cell in which none reached the target.
    """
    times = np.asarray(times, np.float64)
    times = np.where(np.isnan(times), np.inf, times)
    least = times.min(axis=0, initial=np.inf)
    reached = np.isfinite(times)
    return np.where(reached, np.where(reached, times, 1) / np.where(np.isfinite(least), least, 1), np.inf)


def performance_profile(times: ArrayLike, factors: ArrayLike) -> np.ndarray:
    """Share of the cells in which a method takes at most a factor [T] of the least time, float64 [M, T].

    times: [M, C] as for ``ratios_to_fastest``. NaN where there is no cell.
    """
    ratios = ratios_to_fastest(times)
    within = ratios[:, :, None] <= np.asarray(factors, np.float64)
    return within.mean(axis=1) if ratios.shape[1] else np.full((len(ratios), np.size(factors)), np.nan)


def integrated_score(times: ArrayLike, limit: float = LIMIT) -> np.ndarray:
    """Area under the profile from 1 to ``limit``, divided by its width, float64 [M], as AlgoPerf scores.

    1 for a method that is the fastest in every cell; 0 for one that always takes more than ``limit`` times the least.
    The profile is a step function, so that a cell adds (limit - ratio) / (limit - 1), at least 0.
    """
    ratios = ratios_to_fastest(times)
    gains = np.clip(limit - ratios, 0, None) / (limit - 1)
    return gains.mean(axis=1) if ratios.shape[1] else np.full(len(ratios), np.nan)


def median_of_minima(times: ArrayLike) -> float:
    """AlgoPerf's time of a tuned method: of each study the least over its trials, of these the median.

    times: [studies, trials], inf or NaN where a trial missed the target. inf where half of the studies or more did.
    """
    times = np.asarray(times, np.float64)
    return float(np.median(np.where(np.isnan(times), np.inf, times).min(axis=1)))
