"""Pixels of an image: each class against the rest, and histograms of their scores.

labels and scores of an image, or of several that are stacked along an axis of space:

====================  =============  ==================================================================
labels                scores         the classes
====================  =============  ==================================================================
int [*space]          [*space, K]    one class a pixel, 0 to K - 1; of K = 1, 1 is positive and 0 is not
int [*space, K]       [*space, K]    classes that overlap, 1 or 0 each
====================  =============  ==================================================================

Scores are probabilities, or the uint16 codes of ``codes.encode``. A label of -1 or -2 excludes a pixel (of one class,
where they overlap); its score is not looked at.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.cases import UNKNOWN, whole_numbers
from imbal_jax.metrics.codes import BINS, encode


def class_pixels(labels: ArrayLike, scores: ArrayLike) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The scores of the negatives and of the positives, class by class: K pairs of [pixels].

    Raises ValueError for shapes that do not fit, labels that are out of range, and scores that are NaN.
    """
    truth, values = np.asarray(labels), np.asarray(scores)
    overlapping = truth.ndim == values.ndim
    if values.ndim < 2 or truth.shape != (values.shape if overlapping else values.shape[:-1]):
        raise ValueError(
            f"labels {list(truth.shape)} do not fit scores {list(values.shape)}: expected [*space] or "
            "[*space, K] with [*space, K]"
        )
    truth = whole_numbers(truth)
    classes = values.shape[-1]
    low, high = truth.min(initial=0), truth.max(initial=0)
    limit = 2 if overlapping else max(classes, 2)
    if low < min(UNKNOWN) or high >= limit:
        raise ValueError(
            f"label {low if low < min(UNKNOWN) else high} is out of range: expected 0 to {limit - 1}, or -1 or -2 to "
            "exclude"
        )
    for k in range(classes):
        of_class = truth[..., k] if overlapping else truth
        positive = of_class == (1 if overlapping or classes == 1 else k)
        sides = [values[..., k][side] for side in ((of_class >= 0) & ~positive, positive)]
        if values.dtype.kind == "f" and any(np.isnan(side).any() for side in sides):
            raise ValueError("scores of known pixels are NaN: exclude them or fix the model")
        yield sides[0], sides[1]


def pixel_histogram(labels: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Histogram int64 [K, 2, 65536] of the codes of an image or of a case; those of several are added up.

    ``[k, 1, b]`` counts the pixels of class k in bin b, ``[k, 0, b]`` the known pixels that are not of it.

    Raises:
      ValueError: shapes or labels that do not fit; a probability outside 0 to 1.
    """
    return np.array(
        [
            [np.bincount(as_codes(side), minlength=BINS) for side in sides]
            for sides in class_pixels(labels, scores)
        ],
        np.int64,
    ).reshape(-1, 2, BINS)


def as_codes(scores: np.ndarray) -> np.ndarray:
    """Codes as they are, probabilities encoded."""
    return scores if scores.dtype == np.uint16 else encode(scores)
