"""AUROC and average precision of the pixels of a whole set, image by image, in bounded memory.

Images and histograms are those of ``metrics.pixels``. What the bins of a histogram leave open, the order of the
pixels within one, bounds the result.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from imbal_jax.metrics.averages import ratio
from imbal_jax.metrics.codes import BINS
from imbal_jax.metrics.pixels import as_codes, class_pixels
from imbal_jax.metrics.ranking import Ranking, auroc_of, average_precision_of, rank

Images = Iterable[tuple[ArrayLike, ArrayLike]]
_EXACT_LIMIT = 10**7  # pixels whose scores are held and sorted: 40 MB a class in float32


class Bounded(NamedTuple):
    """A metric float64 [K] of the binned scores, and what it may be of the scores themselves."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


class PixelRanking(NamedTuple):
    auroc: Bounded
    average_precision: Bounded
    pixels: int  # known ones, of the class that has most
    exact: bool  # from the scores, not from their bins: low and high are the value


def rank_pixels(images: Images, *, exact_up_to: int = _EXACT_LIMIT) -> PixelRanking:
    """AUROC and average precision of each class from the pixels of all images.

    Up to ``exact_up_to`` pixels the scores are held and sorted, ties counted exactly, as ``auroc`` and
    ``average_precision`` do; beyond, only histograms are kept, and ``low`` and ``high`` bound the exact values. Codes
    (uint16) are always binned: their bounds are those of the probabilities that were encoded.

    Args:
      images: pairs (labels, scores), read once; all with as many classes.
      exact_up_to: known pixels of the class that has most.

    Returns:
      float64 [K] each. NaN without a positive (or, of the AUROC, without a negative).

    Raises:
      ValueError: no image; shapes or labels that do not fit; a probability outside 0 to 1; classes that change.
    """
    total: np.ndarray | None = None
    held: list[list[tuple[np.ndarray, np.ndarray]]] | None = []
    for labels, scores in images:
        sides = list(class_pixels(labels, scores))
        if total is None:
            total = np.zeros((len(sides), 2, BINS), np.int64)
        elif len(total) != len(sides):
            raise ValueError(f"an image has {len(sides)} classes, those before it {len(total)}")
        for k, side in np.ndindex(total.shape[:2]):
            total[k, side] += np.bincount(as_codes(sides[k][side]), minlength=BINS)
        if np.asarray(scores).dtype == np.uint16 or total.sum(axis=(1, 2)).max(initial=0) > exact_up_to:
            held = None
        elif held is not None:
            held.append(sides)
    if total is None:
        raise ValueError("no images to rank the pixels of")
    pixels = int(total.sum(axis=(1, 2)).max(initial=0))
    if held is None:
        return PixelRanking(binned_auroc(total), binned_average_precision(total), pixels, False)
    rankings = [
        rank(*(np.concatenate([image[k][side] for image in held]) for side in (1, 0)))
        for k in range(len(total))
    ]
    areas, precisions = (np.array([of(one) for one in rankings]) for of in (auroc_of, average_precision_of))
    return PixelRanking(Bounded(*[areas] * 3), Bounded(*[precisions] * 3), pixels, True)


def binned_auroc(histogram: np.ndarray) -> Bounded:
    """AUROC of histograms [..., 2, bins]: pairs in one bin count 1/2, and in truth between 0 and 1.

    So it is off by at most half the share of the pairs of a positive and a negative that fall in one bin.
    """
    ranking = _ranking(histogram)
    pairs = ranking.positives.sum(axis=-1) * np.asarray(ranking.negatives)
    tied = ratio((ranking.positives.astype(np.float64) * ranking.level).sum(axis=-1), 2 * pairs)
    value = auroc_of(ranking)
    return Bounded(value, value - tied, value + tied)


def binned_average_precision(histogram: np.ndarray) -> Bounded:
    """Average precision of histograms [..., 2, bins], the pixels of a bin taken as ties.

    low: the negatives of each bin above its positives, and these one by one: sum_i (F + i) / (F + i + B + n) over its
    p positives, with F positives and B negatives in the bins above and n negatives in it. high: its positives above
    its negatives, and tied: p (F + p) / (F + p + B). No order within the bins, with ties or without, is beyond them.
    """
    count, below, level, negatives = _ranking(histogram)
    found = np.cumsum(count[..., ::-1], axis=-1)[..., ::-1]  # F + p
    called = np.expand_dims(negatives, -1) - below  # B + n
    worst = _one_by_one(count, found - count, called)
    above = found + called - level
    best = count * ratio(found, np.where(count > 0, above, np.inf))
    support = count.sum(axis=-1)
    value = average_precision_of(_ranking(histogram))
    return Bounded(value, ratio(worst.sum(axis=-1), support), ratio(best.sum(axis=-1), support))


def _one_by_one(count: np.ndarray, found: np.ndarray, called: np.ndarray) -> np.ndarray:
    """sum of (F + i) / (F + i + M) for i from 1 to p, at most 1e-12 below it: p - M sum 1 / (F + M + i)."""
    start = (found + called).astype(np.float64)
    # Beyond 10^4 the digamma function cancels: there the integral, from below, is closer.
    harmonic = np.where(
        start < 1e4,
        digamma(start + count + 1) - digamma(start + 1),
        np.log1p(count / (start + 0.5)),
    )
    return count - called * harmonic


def _ranking(histogram: np.ndarray) -> Ranking:
    """Every bin as a distinct score."""
    negative, positive = histogram[..., 0, :], histogram[..., 1, :]
    return Ranking(positive, np.cumsum(negative, axis=-1) - negative, negative, negative.sum(axis=-1))
