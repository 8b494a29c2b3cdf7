"""Overlap of a segmentation with the truth, image by image or pooled."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.averages import average_of, check_average, macro_mean
from imbal_jax.metrics.cases import check_cases, known_labels
from imbal_jax.metrics.tables import tables_of


def dice(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    spatial: int = 0,
    pooled: bool = False,
    ignore_empty: bool | Literal["both"] = True,
    first: Literal["images", "classes", "pairs"] = "images",
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """2 TP / (2 TP + FP + FN) (Dice 1945), of each image, averaged over the images where it is defined.

    Args:
      labels, scores, threshold, mask: as in the package's docstring, the cases being pixels, with ``spatial``
        axes after the first: labels [N, *space] with scores [N, *space] (a class or none) or
        [N, *space, C] (one class a pixel), or both [N, *space, L] (classes that overlap).
      spatial: axes of an image: 2, or 3 of a volume. 0 for pixels in a row, of one image.
      pooled: count the pixels of all images together, as if they were one.
      ignore_empty: an image without the class is left out of its mean (True; MONAI's ignore_empty=True). Or
        it counts as 1 where no pixel is decided for the class, and as 0 where one is (False; MONAI's
        ignore_empty=False). Or it is left out where none is decided, and counts as 0 where one is ("both":
        only what is empty in both is left out; torchmetrics.segmentation.MeanIoU).
      first: the mean over the images of each class, then over the classes ("images"); or, with average
        "macro", over the classes of each image, then over the images where one is defined ("classes"; MONAI's
        reduction="mean"), or once over all pairs of an image and a class ("pairs"; torchmetrics' MeanIoU). They
        differ where values are left out.
      average: over the classes, of the means over the images. Of one class a pixel, all C count:
        ``macro_mean(dice(..., average="none")[1:])`` leaves the background out.

    Returns:
      A float, or float64 [K] for average "none"; NaN without the class.

    Raises:
      ValueError: shapes that do not fit ``spatial``; an unknown ``ignore_empty`` or ``first``; ``first``
        "classes" or "pairs" with average "weighted" or "none"; as the other metrics.
    """
    return _overlap(
        dice,
        labels,
        scores,
        spatial,
        pooled,
        ignore_empty,
        first,
        threshold=threshold,
        mask=mask,
        average=average,
    )


def iou(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    spatial: int = 0,
    pooled: bool = False,
    ignore_empty: bool | Literal["both"] = True,
    first: Literal["images", "classes", "pairs"] = "images",
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """TP / (TP + FP + FN), intersection over union (Jaccard 1912); arguments and averages as ``dice``."""
    return _overlap(
        iou,
        labels,
        scores,
        spatial,
        pooled,
        ignore_empty,
        first,
        threshold=threshold,
        mask=mask,
        average=average,
    )


OVERLAP_WEIGHTS = {dice: 2, iou: 1}  # weight of the true positives


def _overlap(
    metric: Callable[..., float | np.ndarray],
    labels: ArrayLike,
    scores: ArrayLike,
    spatial: int,
    pooled: bool,
    ignore_empty: bool | Literal["both"],
    first: Literal["images", "classes", "pairs"],
    *,
    threshold: ArrayLike,
    mask: ArrayLike | None,
    average: str,
) -> float | np.ndarray:
    check_average(average)
    if ignore_empty not in (True, False, "both"):
        raise ValueError(f"ignore_empty is {ignore_empty!r}, expected True, False or 'both'")
    if first not in ("images", "classes", "pairs"):
        raise ValueError(f"first is {first!r}, expected 'images', 'classes' or 'pairs'")
    if first != "images" and average in ("weighted", "none"):
        raise ValueError(f"first={first!r} averages the classes equally: average {average!r} does not")
    tables, binary = tables_of_images(labels, scores, spatial, threshold, mask)
    average = "micro" if binary else average
    return overlap_of(tables, OVERLAP_WEIGHTS[metric], pooled, ignore_empty, first, average)


def overlap_of(
    tables: np.ndarray,
    weight: int,
    pooled: bool,
    ignore_empty: bool | Literal["both"],
    first: Literal["images", "classes", "pairs"],
    average: str,
) -> float | np.ndarray:
    """weight TP / (weight TP + FP + FN) of tables [images, K, 2, 2]; "micro" adds the K classes up first."""
    if pooled:
        tables = tables.sum(axis=0, keepdims=True)
    if average == "micro":
        tables = tables.sum(axis=1, keepdims=True)
    values = overlap_values(tables, weight, ignore_empty)
    if first == "classes":
        return macro_mean([macro_mean(image)[0] for image in values])[0]
    if first == "pairs":
        return macro_mean(values)[0]
    # one class after the other: an image left out of a mean, such as padding, does not change its last bit
    values = np.array([macro_mean(image)[0] for image in values.T])
    support = tables[..., 1, :].sum(axis=(0, -1))
    return float(values[0]) if average == "micro" else average_of(values, support, average)


def overlap_values(tables: np.ndarray, weight: int, ignore_empty: bool | Literal["both"]) -> np.ndarray:
    """weight TP / (weight TP + FP + FN) of each table [..., 2, 2]; NaN where ``ignore_empty`` leaves it out."""
    hit, missed, false_alarm = tables[..., 1, 1], tables[..., 1, 0], tables[..., 0, 1]
    union = weight * hit + missed + false_alarm
    values = np.where(union > 0, weight * hit / np.maximum(union, 1), 1.0)
    undefined = tables.sum(axis=(-2, -1)) == 0
    if ignore_empty:
        undefined |= union == 0 if ignore_empty == "both" else hit + missed == 0
    return np.where(undefined, np.nan, values)


def tables_of_images(
    labels: ArrayLike, scores: ArrayLike, spatial: int, threshold: ArrayLike, mask: ArrayLike | None
) -> tuple[np.ndarray, bool]:
    """Counts int64 [images, K, 2, 2], and whether K is the one class of a binary problem."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    if spatial == 0:
        labels, scores = labels[None], scores[None]
        mask = None if mask is None else np.asarray(mask)[None]
    pixels = max(spatial, 1) + 1  # axes up to the last of space
    if (
        spatial < 0
        or labels.ndim not in (pixels, pixels + 1)
        or labels.shape[:pixels] != scores.shape[:pixels]
    ):
        raise ValueError(
            f"labels {list(np.shape(labels))} do not fit scores {list(np.shape(scores))} with "
            f"spatial={spatial}: expected [N, *space] with [N, *space] or [N, *space, C], or both "
            "[N, *space, L]"
        )
    labels = known_labels(labels, mask)
    size = math.prod(labels.shape[1:pixels])
    flat = [array.reshape(len(array), size, *array.shape[pixels:]) for array in (labels, scores)]
    images = [check_cases(truth, image, None, excluded=True) for truth, image in zip(*flat, strict=True)]
    if not images:  # as one without a pixel
        truth, image = (array.reshape(0, *array.shape[2:]) for array in flat)
        images = [check_cases(truth, image, None)]
    return np.array([tables_of(image, threshold) for image in images]), images[0].is_binary
