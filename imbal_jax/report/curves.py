"""ROC and precision-recall curves of one class, with bootstrap bands."""

from typing import NamedTuple

import numpy as np

from imbal_jax.metrics import Interval
from imbal_jax.report.resampling import Cohort, percentile_interval

GRID = np.linspace(0, 1, 101)  # false positive rates, and recalls
SAMPLES = 500  # bootstrap replicates at most; pointwise bands need fewer than tables


class Bands(NamedTuple):
    """Pointwise 95 % bands on ``GRID``: sensitivity at a false positive rate, and precision at a recall."""

    sensitivity: Interval
    precision: Interval


def cumulative(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each distinct threshold, from none called to all."""
    order, last = _ranked(score)
    hits = np.concatenate([[0], np.cumsum(positive[order])[last]])
    return hits, np.concatenate([[0], last + 1]) - hits


def _ranked(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of descending scores, and where in it each distinct score ends."""
    order = np.argsort(-score, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)


def corners(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """The points at which the ROC curve turns, and both ends: between them it is straight."""
    across, up = np.diff(alarms), np.diff(hits)
    turns = across[1:] * up[:-1] != across[:-1] * up[1:]
    return np.concatenate([[0], 1 + np.flatnonzero(turns), [len(hits) - 1]])


def bands(cohort: Cohort, k: int, scores: np.ndarray) -> Bands:
    """Of class ``k``; scores: [N] of the images of the cohort. Patients are resampled within their strata."""
    known = cohort.truth[:, k] >= 0
    positive, patients = cohort.truth[known, k] == 1, cohort.patients[known]
    order, last = _ranked(scores[known])
    owner, gained = patients[order], positive[order].astype(np.int32)

    def evaluate(counts: np.ndarray) -> np.ndarray:
        drawn = np.take(counts, owner, axis=1)
        called = np.cumsum(drawn, axis=1, dtype=np.int32)[:, last]
        hits = np.cumsum(drawn * gained, axis=1, dtype=np.int32)[:, last]
        return np.stack([_on_grid(h, c - h) for h, c in zip(hits, called, strict=True)])

    values = cohort.replicates(evaluate, most=SAMPLES)
    return Bands(*(percentile_interval(values[:, axis]) for axis in (0, 1)))


def _on_grid(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """Sensitivity and precision on ``GRID``, float64 [2, 101], of counts at falling thresholds."""
    positives, negatives = hits[-1], alarms[-1]
    if not (positives and negatives):
        return np.full((2, GRID.size), np.nan)
    # The curve is straight between its points; where it rises without a false alarm, its upper end counts
    x, y = np.append(0, alarms), np.append(0, hits)
    wanted = GRID * negatives
    left = np.searchsorted(x, wanted, side="right") - 1
    right = np.minimum(left + 1, x.size - 1)
    share = (wanted - x[left]) / np.maximum(x[right] - x[left], 1)
    sensitivity = (y[left] + share * (y[right] - y[left])) / positives
    # The staircase of the average precision: at a recall, the first threshold that reaches it
    at = np.searchsorted(hits, np.maximum(np.ceil(GRID * positives - 1e-9), 1))
    return np.stack([sensitivity, hits[at] / (hits[at] + alarms[at])])
