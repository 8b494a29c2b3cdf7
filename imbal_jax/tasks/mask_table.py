"""What is kept of predicted masks, and the table of metrics that follows: of all pixels, by image and by case.

Probabilities are kept as codes of 16 bits, a monotone map that resolves both tails: rare pixels are ranked among
probabilities of one in a thousand. A threshold is a code, so that what is chosen is what is called.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from imbal_jax.metrics import Interval

Table = dict[str, dict[str, float]]
"""Class, and "macro" -> metric -> value."""

CODES = 2**16
LARGEST_LOGIT = 16.0
"""Log odds beyond which probabilities share a code: 1.1e-7 from 0 or 1."""

EDGE = 1.2e-7  # nearest to 1 that a float32 tells from it

AT_ONCE = 2**24
"""Pixels that are looked at together."""


def encode(probabilities: Any, module: ModuleType = np) -> Any:
    """uint16: the log odds between -16 and 16, in steps of 0.0005; NaN becomes 0. module: numpy or jax.numpy."""
    probabilities = module.clip(probabilities, EDGE, 1 - EDGE)
    logits = module.log(probabilities) - module.log1p(-probabilities)
    scaled = (module.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT) / LARGEST_LOGIT + 1) * ((CODES - 1) / 2)
    return module.round(module.nan_to_num(scaled)).astype(module.uint16)


def decode(codes: Any) -> np.ndarray:
    """float64, the probability of a code."""
    logits = (np.asarray(codes, np.float64) * (2 / (CODES - 1)) - 1) * LARGEST_LOGIT
    return 1 / (1 + np.exp(-logits))


def truth_of(labels: np.ndarray, finding: int, background: int) -> np.ndarray:
    """int8, shaped like an image's mask: 1, 0, or below 0 where it is not known."""
    if not background:
        return labels[..., finding]
    return np.where(labels >= 0, labels == finding + background, -1).astype(np.int8)


def pixel_counts(labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 [N, C], the pixels of each class in each image; and int64 [N, 1] or [N, L], those that are known."""
    if labels.ndim == 4:
        return (labels == 1).sum(axis=(1, 2)), (labels >= 0).sum(axis=(1, 2))
    counts = np.stack([np.count_nonzero(labels == c, axis=(1, 2)) for c in range(classes)], axis=1)
    return counts, counts.sum(axis=1, keepdims=True)


def known_pixels(labels: np.ndarray) -> np.ndarray:
    """int64 [L], of overlapping labels: the pixels at which each is known."""
    return (labels >= 0).sum(axis=(0, 1, 2))


def histogram(labels: np.ndarray, kept: np.ndarray, finding: int, background: int) -> np.ndarray:
    """int64 [2, 65536]: how many pixels without and with the finding have each code."""
    found = np.zeros((2, CODES), np.int64)
    step = max(1, AT_ONCE // max(1, int(np.prod(labels.shape[1:3]))))
    for start in range(0, len(labels), step):
        truth = truth_of(labels[start : start + step], finding, background)
        codes = kept[start : start + step, ..., finding]
        for value in (0, 1):
            found[value] += np.bincount(codes[truth == value], minlength=CODES)
    return found


def best_thresholds(labels: np.ndarray, kept: np.ndarray, background: int) -> tuple[float, ...]:
    """Of each finding the threshold at which the Dice of the pixels of all images together is highest.

    Halfway between two codes, so that rounding moves no pixel across it; 0.5 where the labels hold no such pixel.
    """
    chosen = []
    for finding in range(kept.shape[-1]):
        without, having = histogram(labels, kept, finding, background)
        if not having.sum():
            chosen.append(0.5)
            continue
        hits, alarms = (np.cumsum(of[::-1])[::-1] for of in (having, without))
        dice = 2 * hits / np.maximum(hits + alarms + having.sum(), 1)
        best = int(np.argmax(dice))
        lower = np.flatnonzero((without + having)[:best])  # the next code that any pixel has
        chosen.append(float(decode((best + (lower[-1] if lower.size else best)) / 2)))
    return tuple(chosen)


def called(kept: np.ndarray, thresholds: Sequence[float], background: int) -> np.ndarray:
    """bool [..., findings]: what each pixel is called. kept: codes.

    Of classes that exclude each other, the one whose probability is the largest multiple of its threshold, where it
    reaches it.
    """
    limits = np.array([np.ceil(_code_of(threshold)) for threshold in thresholds])
    reached = kept >= limits
    if not background or kept.shape[-1] == 1:
        return reached
    multiple = np.where(reached, decode(kept) / np.asarray(thresholds), 0)
    first = multiple.argmax(axis=-1)
    return reached & (first[..., None] == np.arange(kept.shape[-1]))


def _code_of(probability: float) -> float:
    """Where a probability lies between the codes."""
    logit = np.log(probability) - np.log1p(-probability)
    return float((np.clip(logit / LARGEST_LOGIT, -1, 1) + 1) * ((CODES - 1) / 2))


def counts_of(
    labels: np.ndarray, kept: np.ndarray, thresholds: Sequence[float], background: int
) -> np.ndarray:
    """int64 [N, findings, 4]: true positives, false positives, false negatives, true negatives of each image."""
    counts = np.zeros((len(labels), kept.shape[-1], 4), np.int64)
    for image, (label, codes) in enumerate(zip(labels, kept, strict=True)):
        found = called(codes, thresholds, background)
        for finding in range(kept.shape[-1]):
            truth, is_called = truth_of(label, finding, background), found[..., finding]
            positive, negative = truth == 1, truth == 0
            hits, alarms = (positive & is_called).sum(), (negative & is_called).sum()
            counts[image, finding] = hits, alarms, positive.sum() - hits, negative.sum() - alarms
    return counts


def mask_table(
    labels: np.ndarray,
    kept: np.ndarray,
    findings: Sequence[str],
    thresholds: Sequence[float],
    background: int,
) -> Table:
    """A row a finding, and ``macro``, their mean.

    labels: [N, H, W], or [N, H, W, L]. kept: codes [N, H, W, findings].
    Of the pixels of all images together: iou, dice, sensitivity, specificity, precision at the thresholds, auroc and
    average_precision of all thresholds. dice_by_image, iou_by_image: means over the images that hold the finding.
    """
    counts = counts_of(labels, kept, thresholds, background)
    table: Table = {}
    for place, name in enumerate(findings):
        own = counts[:, place]
        having = own[:, 0] + own[:, 2] > 0
        auroc, precision = ranks(*histogram(labels, kept, place, background))
        each = rates(own[having].T)
        table[name] = {
            **{key: float(value) for key, value in rates(own.sum(axis=0)).items()},
            "auroc": auroc,
            "average_precision": precision,
            "iou_by_image": _mean(each["iou"]),
            "dice_by_image": _mean(each["dice"]),
        }
    keys = list(table[findings[0]])
    table["macro"] = {key: _mean(np.array([table[name][key] for name in findings])) for key in keys}
    return table


@dataclass(frozen=True, eq=False)
class MaskScores:
    """The predicted masks of some images beside the true ones.

    labels: [N, H, W], or [N, H, W, L]. kept: codes [N, H, W, findings]. thresholds: at which a pixel is called.
    background: how many of the first classes are no finding. counts: int64 [N, findings, 4], as ``counts_of``.
    """

    findings: tuple[str, ...]
    labels: np.ndarray
    kept: np.ndarray
    thresholds: tuple[float, ...]
    background: int

    @cached_property
    def counts(self) -> np.ndarray:
        return counts_of(self.labels, self.kept, self.thresholds, self.background)

    def called(self, image: int, finding: int) -> np.ndarray:
        """bool [H, W]: what is called the finding in an image."""
        return called(self.kept[image], self.thresholds, self.background)[..., finding]

    def truth(self, image: int, finding: int) -> np.ndarray:
        """int8 [H, W]: 1, 0, or below 0 where it is not known."""
        return truth_of(self.labels[image], finding, self.background)

    def of_cases(self, groups: np.ndarray) -> np.ndarray:
        """int64 [G, findings, 4]: the counts of all images of a case together."""
        _, cases = np.unique(groups, return_inverse=True)
        sums = np.zeros((int(cases.max()) + 1, *self.counts.shape[1:]), np.int64)
        np.add.at(sums, cases, self.counts)
        return sums


def intervals(
    counts: np.ndarray, *, samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals of the ``rates`` of all pixels together, by resampling the cases.

    counts: int64 [G, 4] of one finding, a row a case. NaN with fewer than two cases.
    """
    if len(counts) < 2:
        return dict.fromkeys(rates(counts.sum(axis=0)), Interval(np.nan, np.nan))
    drawn = np.random.default_rng(seed).multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), samples
    )
    values = rates((drawn @ counts).T)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    found = {}
    for name, of in values.items():
        finite = of[np.isfinite(of)]
        low, high = np.quantile(finite, tails) if finite.size else (np.nan, np.nan)
        found[name] = Interval(float(low), float(high))
    return found


def rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    """iou, dice, sensitivity, specificity and precision of counts [4, ...]; NaN where undefined."""
    hits, alarms, misses, rest = counts.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "iou": hits / (hits + alarms + misses),
            "dice": 2 * hits / (2 * hits + alarms + misses),
            "sensitivity": hits / (hits + misses),
            "specificity": rest / (rest + alarms),
            "precision": hits / (hits + alarms),
        }


def ranks(without: np.ndarray, having: np.ndarray) -> tuple[float, float]:
    """AUROC and average precision from the histograms of a finding; pixels of one code are tied."""
    positives, negatives = having.sum(), without.sum()
    if not positives or not negatives:
        return float("nan"), float("nan")
    below = np.cumsum(without) - without
    auroc = float((having * (below + without / 2)).sum() / (positives * negatives))
    hits, alarms = np.cumsum(having[::-1]), np.cumsum(without[::-1])
    precision = hits / np.maximum(hits + alarms, 1)
    return auroc, float((precision * having[::-1]).sum() / positives)


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")
