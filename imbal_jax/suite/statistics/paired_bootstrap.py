"""Hierarchical paired bootstrap of the mean over seeds and patients."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from imbal_jax.suite.statistics.patients import Patients, patient_shifts

SAMPLES = 4000
_HALVINGS = 14  # of the logarithm of the p-value: to 0.1 %


class Estimate(NamedTuple):
    """A mean with its interval; the p-value is two-sided, of a mean of 0. NaN where fewer than 2 runs tell it."""

    value: float
    low: float
    high: float
    p_value: float


def hierarchical_bootstrap(
    values: ArrayLike,
    patients: Sequence[Patients | None] = (),
    *,
    confidence: float = 0.95,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Estimate:
    """The mean over cells of the mean over runs: seeds are resampled, then patients (Davison and Hinkley 1997, 3.8).

    A percentile interval is too narrow with few runs: for n values it is that of the normal quantile z and the
    standard deviation with divisor n. The spread over the runs is widened by sqrt(n / (n - 1)) t / z, with t of
    n - 1 degrees of freedom (the expanded percentile interval of Hesterberg, American Statistician 69, 2015); that of
    the patients is not. The p-value is the level at which the interval just includes 0, at least 2 / (samples + 1).

    Args:
      values: [U] of one cell, or [C, U]; for a comparison the paired differences. NaN where a run is missing. Runs
        are resampled together in all cells: run u has the same seed, and often the same patients, in each.
      patients: for each cell the replicates of its runs that are not NaN, or None where there are none.
      confidence: coverage of the interval.
      samples: bootstrap replicates. seed: of their generator; equal seeds give equal resamples.
    """
    table = np.atleast_2d(np.asarray(values, np.float64))
    known = ~np.isnan(table)
    counts = known.sum(axis=1)
    if not counts.size or counts.min() == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    means = np.where(known, table, 0).sum(axis=1) / counts
    value, fewest = float(means.mean()), int(counts.min())
    if fewest < 2:
        return Estimate(value, np.nan, np.nan, np.nan)
    spread = _resampled_means(table, known, means, _times_drawn(table.shape[1], samples, seed)) - value
    rng, shifts = np.random.default_rng([seed, 1]), np.zeros(samples)
    for of_cell in patients:
        if of_cell is not None:
            shifts += patient_shifts(of_cell, samples, rng) / len(table)

    def interval(level: float) -> np.ndarray:
        wide = np.sqrt(fewest / (fewest - 1)) * stdtrit(fewest - 1, level / 2) / ndtri(level / 2)
        return value + np.quantile(wide * spread + shifts, [level / 2, 1 - level / 2])

    low, high = interval(1 - confidence)
    return Estimate(value, float(low), float(high), _p_value(interval, 2 / (samples + 1)))


@lru_cache(maxsize=8)
def _times_drawn(runs: int, samples: int, seed: int) -> np.ndarray:
    """How often each run is drawn in each replicate, [samples, runs]."""
    drawn = np.random.default_rng(seed).multinomial(runs, np.full(runs, 1 / runs), samples)
    return drawn.astype(np.float64)


def _resampled_means(
    table: np.ndarray, known: np.ndarray, means: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Means over the cells of the runs drawn, [samples]; a cell of which none is drawn keeps its mean."""
    held = times @ known.T.astype(np.float64)
    sums = times @ np.where(known, table, 0).T
    return np.where(held > 0, sums / np.maximum(held, 1), means).mean(axis=1)


def _p_value(interval: Callable[[float], np.ndarray], least: float) -> float:
    """The level at which the interval begins to leave out 0, by bisection; ``least`` if it always does."""

    def leaves_out(level: float) -> bool:
        low, high = interval(level)
        return low > 0 or high < 0

    if leaves_out(least):
        return least
    inside, outside = np.log(least), 0.0
    if not leaves_out(1 - 1e-9):
        return 1.0
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if leaves_out(np.exp(middle)) else (middle, outside)
    return float(np.exp(outside))
