"""Dice or IoU at every threshold of the binned scores, and the threshold where it is best."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from imbal_jax.metrics.averages import ratio
from imbal_jax.metrics.codes import decode
from imbal_jax.metrics.mask_counts import MASK_METRICS, IgnoreEmpty


class BestThreshold(NamedTuple):
    """Of each class [K]."""

    threshold: np.ndarray  # float32, a probability: positive at or above it
    value: np.ndarray  # float64, of the metric there


def threshold_curve(
    histograms: Iterable[np.ndarray],
    metric: Literal["dice", "iou"] = "dice",
    *,
    pooled: bool = True,
    ignore_empty: IgnoreEmpty = True,
) -> np.ndarray:
    """The metric where every pixel with a code of b or above is decided positive, float64 [K, 65536].

    Args:
      histograms: [K, 2, 65536] of ``pixel_histogram``, one an image or a case, read once; one is held at a time.
      metric: "dice" or "iou" (or another of ``MASK_METRICS``).
      pooled: of all pixels together; else the mean over the images or cases where it is defined.
      ignore_empty: as in ``dice``.

    Raises:
      ValueError: no histogram; an unknown metric.
    """
    if metric not in MASK_METRICS:
        raise ValueError(f"metric is {metric!r}, expected one of {', '.join(MASK_METRICS)}")
    total: np.ndarray | None = None
    for histogram in histograms:
        added = histogram
        if not pooled:
            values = MASK_METRICS[metric](_tables(histogram), ignore_empty)
            added = np.stack([np.nan_to_num(values), ~np.isnan(values)])
        total = added.copy() if total is None else total + added
    if total is None:
        raise ValueError("no histograms to choose a threshold from")
    return MASK_METRICS[metric](_tables(total), ignore_empty) if pooled else ratio(*total)


def best_threshold(curve: np.ndarray) -> BestThreshold:
    """Where a curve [K, 65536] of ``threshold_curve`` is highest: the middle of the first run of equal bins.

    No pixel lies between the thresholds of a run. NaN of a class whose curve is.

    >>> curve = np.zeros((1, 65536))
    >>> curve[0, 32768] = 0.9
    >>> print(*best_threshold(curve))
    [0.5] [0.9]
    """
    threshold, value = np.full(len(curve), np.nan, np.float32), np.full(len(curve), np.nan)
    for k, of_class in enumerate(curve):
        if not np.isnan(of_class).all():
            value[k] = np.nanmax(of_class)
            first = int(np.argmax(of_class == value[k]))
            run = int(np.argmin(np.append(of_class[first:] == value[k], False)))
            threshold[k] = decode(first + (run - 1) // 2)
    return BestThreshold(threshold, value)


def _tables(histogram: np.ndarray) -> np.ndarray:
    """Decision tables [K, 65536, 2, 2] at each code."""
    called = np.cumsum(histogram[..., ::-1], axis=-1)[..., ::-1]
    return np.stack([called[..., :1] - called, called], axis=-1).transpose(0, 2, 1, 3)
