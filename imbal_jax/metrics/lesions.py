"""Detection of lesions: connected components that are hit, false positives an image, and the FROC curve.

A true lesion is a component of the truth, a detection a component of the pixels at or above the threshold. A lesion
is hit where the share of its pixels that are decided reaches ``overlap``, or any pixel is. A detection is a false
positive where it touches no lesion. Ignored pixels belong to neither.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import generate_binary_structure, label

from imbal_jax.metrics.averages import ratio
from imbal_jax.metrics.codes import encode

FROC_RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # false positives an image, as in LUNA16 (Setio et al. 2017)


class Froc(NamedTuple):
    """Counts of N images at T thresholds, ascending; sums over images, and over resampled ones, give the curve."""

    thresholds: np.ndarray  # [T]
    lesions: np.ndarray  # int64 [N]
    hits: np.ndarray  # int64 [N, T]
    false_positives: np.ndarray  # int64 [N, T]

    @property
    def sensitivity(self) -> np.ndarray:
        """float64 [T], lesions hit of all images over lesions; NaN without a lesion."""
        return ratio(self.hits.sum(axis=0), self.lesions.sum())

    @property
    def false_positives_per_image(self) -> np.ndarray:
        """float64 [T]."""
        return ratio(self.false_positives.sum(axis=0), len(self.lesions))


def froc(
    images: Iterable[tuple[ArrayLike, ArrayLike]],
    thresholds: ArrayLike,
    *,
    overlap: float = 0.0,
    connectivity: int | None = None,
) -> Froc:
    """Lesions hit and false positives of each image at each threshold (Bunch et al. 1978), for one class.

    Args:
      images: pairs (truth, scores), both [*space]: truth 1 or 0, or -1 or -2 to ignore a pixel; scores
        probabilities or uint16 codes.
      thresholds: probabilities [T], sorted here.
      overlap: share of the pixels of a lesion that have to be decided, 0 to 1; 0 is any pixel.
      connectivity: which neighbours connect: 1, those along the axes, up to the number of axes, all diagonals
        too (the default).

    Raises:
      ValueError: shapes that do not fit; an overlap or a connectivity out of range; no threshold.
    """
    levels = np.sort(np.asarray(thresholds, np.float64).ravel())
    if not levels.size or np.isnan(levels).any():
        raise ValueError("thresholds are empty or NaN, expected numbers")
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is {overlap!r}, expected a share from 0 to 1")
    counts = [_of_image(truth, scores, levels, overlap, connectivity) for truth, scores in images]
    lesions = np.array([count for count, _ in counts], np.int64)
    detected = np.array([table for _, table in counts], np.int64).reshape(len(counts), 2, levels.size)
    return Froc(levels, lesions, detected[:, 0], detected[:, 1])


def lesion_sensitivity(curve: Froc, rates: Sequence[float] = FROC_RATES) -> np.ndarray:
    """float64 [len(rates)]: the highest sensitivity of a threshold with at most so many false positives an image.

    0 where no threshold has so few; NaN without a lesion. Their mean is the score of LUNA16, which interpolates.
    """
    rate, sensitivity = curve.false_positives_per_image, curve.sensitivity
    allowed = rate <= np.asarray(rates, np.float64)[:, None]
    best = np.where(allowed, sensitivity, 0).max(axis=1, initial=0)
    return best if curve.lesions.sum() else np.full(len(best), np.nan)


def froc_score(curve: Froc, rates: Sequence[float] = FROC_RATES) -> float:
    """The mean of the sensitivities at ``rates`` false positives an image, linear between the points of the curve.

    The curve begins at 0 false positives and sensitivity 0, a threshold above every score, and stays at its last
    point beyond it. Where several thresholds have as many false positives, the most sensitive counts.
    """
    rate, sensitivity = np.append(curve.false_positives_per_image, 0), np.append(curve.sensitivity, 0)
    if not curve.lesions.sum():
        return np.nan
    at, place = np.unique(rate, return_inverse=True)
    best = np.zeros(at.size)
    np.maximum.at(best, place, sensitivity)
    # Components grow together at low thresholds: a point with fewer false positives and more hits takes over.
    return float(np.interp(np.asarray(rates, np.float64), at, np.maximum.accumulate(best)).mean())


def components(mask: np.ndarray, connectivity: int | None = None) -> tuple[np.ndarray, int]:
    """Connected components of a mask bool [*space]: numbers 1 to n, 0 outside; and n."""
    reach = mask.ndim if connectivity is None else connectivity
    if reach not in range(1, mask.ndim + 1):
        raise ValueError(f"connectivity is {connectivity!r}, expected 1 to {mask.ndim}")
    numbered, count = label(mask, generate_binary_structure(mask.ndim, reach))
    return numbered, int(count)


def _of_image(
    truth: ArrayLike, scores: ArrayLike, levels: np.ndarray, overlap: float, connectivity: int | None
) -> tuple[int, np.ndarray]:
    """Lesions, and hits and false positives int64 [2, T]."""
    true, values = np.asarray(truth), np.asarray(scores)
    if true.shape != values.shape or not true.ndim:
        raise ValueError(
            f"truth {list(true.shape)} does not fit scores {list(values.shape)}: expected both [*space]"
        )
    bounds = encode(np.clip(levels, 0, 1)) if values.dtype == np.uint16 else levels
    known = true >= 0
    lesions, count = components(true == 1, connectivity)
    sizes = np.bincount(lesions.ravel(), minlength=count + 1)[1:]
    needed = np.maximum(
        np.ceil(overlap * sizes * (1 - 1e-12)), 1
    )  # 0.3 of 10 pixels are 3, not 3.0000000000000004
    counted = np.zeros((2, levels.size), np.int64)
    for t, bound in enumerate(bounds):
        decided = known & (values >= bound)
        if not decided.any():
            break  # nor is at any higher threshold
        found = np.bincount(lesions[decided], minlength=count + 1)[1:]
        numbered, detections = components(decided, connectivity)
        touching = np.unique(numbered[decided & (lesions > 0)]).size
        counted[:, t] = np.count_nonzero(found >= needed), detections - touching
    return count, counted
