"""What is kept of predicted masks, and the table of metrics that follows: of all pixels, by image and by case.

Probabilities are kept as codes of 16 bits (``metrics.codes``), which resolve both tails: rare pixels are ranked among
probabilities of one in a thousand.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from imbal_jax import metrics
from imbal_jax.metrics import Interval
from imbal_jax.metrics.codes import decode, encode
from imbal_jax.metrics.mask_counts import MASK_METRICS, tables_by_case
from imbal_jax.metrics.pixel_ranking import binned_auroc, binned_average_precision

Table = dict[str, dict[str, float]]
"""Class, and "macro" -> metric -> value."""

AT_A_HALF = 0.5


def truth_of(labels: np.ndarray, findings: int, background: int) -> np.ndarray:
    """int8 [..., findings]: 1, 0, or below 0 where it is not known. labels: [...], or [..., L] of such as overlap."""
    if not background:
        return labels
    truth = (labels[..., None] == np.arange(background, background + findings)).astype(np.int8)
    truth[labels < 0] = -1
    return truth


def pixel_counts(labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 [N, C], the pixels of each class in each image; and int64 [N, 1] or [N, L], those that are known."""
    if labels.ndim == 4:
        return (labels == 1).sum(axis=(1, 2)), (labels >= 0).sum(axis=(1, 2))
    counts = np.stack([np.count_nonzero(labels == c, axis=(1, 2)) for c in range(classes)], axis=1)
    return counts, counts.sum(axis=1, keepdims=True)


def known_pixels(labels: np.ndarray) -> np.ndarray:
    """int64 [L], of overlapping labels: the pixels at which each is known."""
    return (labels >= 0).sum(axis=(0, 1, 2))


def histogram(labels: np.ndarray, kept: np.ndarray, background: int) -> np.ndarray:
    """int64 [findings, 2, 65536]: how many pixels without and with each finding have each code."""
    total = np.zeros((kept.shape[-1], 2, metrics.codes.BINS), np.int64)
    for truth, codes in _images(labels, kept, background):
        total += metrics.pixel_histogram(truth, codes)
    return total


def best_thresholds(labels: np.ndarray, kept: np.ndarray, background: int) -> tuple[float, ...]:
    """Of each finding the threshold at which the Dice of the pixels of all images together is highest.

    In the middle between the pixels that it divides; 0.5 where the labels hold no such pixel.
    """
    total = histogram(labels, kept, background)
    chosen = metrics.best_threshold(metrics.threshold_curve([total], "dice")).threshold
    held = total[:, 1].sum(axis=-1) > 0
    return tuple(
        float(t) if has and np.isfinite(t) else AT_A_HALF for t, has in zip(chosen, held, strict=True)
    )


def called(kept: np.ndarray, thresholds: Sequence[float], background: int) -> np.ndarray:
    """bool [..., findings]: what each pixel is called. kept: codes [..., findings].

    Of classes that exclude each other, the one whose probability is the largest multiple of its threshold, where it
    reaches it.
    """
    limits = np.asarray(thresholds, np.float64)
    reached = kept >= encode(limits)
    if not background or kept.shape[-1] == 1:
        return reached
    multiple = np.where(reached, decode(kept) / limits, 0)
    first = multiple.argmax(axis=-1)
    return reached & (first[..., None] == np.arange(kept.shape[-1]))


@dataclass(frozen=True, eq=False)
class MaskScores:
    """The predicted masks of some images beside the true ones.

    labels: [N, H, W], or [N, H, W, L]. kept: codes [N, H, W, findings]. thresholds: at which a pixel is called.
    background: how many of the first classes are no finding.
    """

    findings: tuple[str, ...]
    labels: np.ndarray
    kept: np.ndarray
    thresholds: tuple[float, ...]
    background: int

    @cached_property
    def tables(self) -> np.ndarray:
        """int64 [N, findings, 2, 2], as ``metrics.mask_tables``: the truth in rows, what is called in columns."""
        found = [
            metrics.mask_tables(
                truth[None], called(codes, self.thresholds, self.background)[None].astype(np.float32)
            )
            for truth, codes in _images(self.labels, self.kept, self.background)
        ]
        return np.concatenate(found)

    def called(self, image: int, finding: int) -> np.ndarray:
        """bool [H, W]: what is called the finding in an image."""
        return called(self.kept[image], self.thresholds, self.background)[..., finding]

    def truth(self, image: int, finding: int) -> np.ndarray:
        """int8 [H, W]: 1, 0, or below 0 where it is not known."""
        return truth_of(self.labels[image], len(self.findings), self.background)[..., finding]

    @cached_property
    def ranks(self) -> tuple[metrics.Bounded, metrics.Bounded]:
        """AUROC and average precision of the pixels of all images, with what the codes leave open."""
        total = histogram(self.labels, self.kept, self.background)
        return binned_auroc(total), binned_average_precision(total)

    @cached_property
    def table(self) -> Table:
        """A row a finding, and ``macro``, their mean.

        Of the pixels of all images together: iou, dice, sensitivity, specificity, precision at the thresholds; auroc
        and average_precision of all thresholds. iou_by_image, dice_by_image: means over the images that hold the
        finding.
        """
        auroc, precision = self.ranks
        columns = {name: metrics.mask_metric(self.tables, name, pooled=True) for name in MASK_METRICS}
        columns |= {"auroc": auroc.value, "average_precision": precision.value}
        columns |= {f"{name}_by_image": metrics.mask_metric(self.tables, name) for name in ("iou", "dice")}
        return _table(self.findings, columns)

    def surfaces(self, tolerance: float = 2.0) -> Table:
        """Means over the images that hold the finding: surface_dice at ``tolerance`` pixels, and hausdorff_95,
        pixels, of those in which it is called at all."""
        distance = np.full((len(self.labels), len(self.findings)), np.nan)
        share = distance.copy()
        for image in range(len(self.labels)):
            for place in range(len(self.findings)):
                truth = self.truth(image, place)
                if not (truth == 1).any():
                    continue
                of = metrics.surface_metrics(truth, self.called(image, place), tolerance=tolerance)
                distance[image, place] = of.hausdorff if np.isfinite(of.hausdorff) else np.nan
                share[image, place] = of.surface_dice
        means = {"hausdorff_95": distance, "surface_dice": share}
        columns = {name: np.array([_mean(column) for column in values.T]) for name, values in means.items()}
        return _table(self.findings, columns)

    def of_cases(self, groups: np.ndarray) -> np.ndarray:
        """int64 [G, findings, 2, 2]: the tables of all images of a case together."""
        return tables_by_case(self.tables, groups)


def intervals(tables: np.ndarray) -> list[dict[str, Interval]]:
    """Of each finding, the 95 % intervals of ``MASK_METRICS`` of all pixels together, by resampling the cases.

    tables: int64 [G, findings, 2, 2], of cases. NaN with fewer than two cases.
    """
    found: list[dict[str, Interval]] = [{} for _ in range(tables.shape[1])]
    for name in MASK_METRICS:
        bounds = np.full((2, len(found)), np.nan)
        if len(tables) > 1:
            bounds = np.asarray(metrics.mask_interval(tables, name, pooled=True))
        for place, of in enumerate(found):
            of[name] = Interval(*map(float, bounds[:, place]))
    return found


def _images(labels: np.ndarray, kept: np.ndarray, background: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image by image, the truth int8 [H, W, findings] and the codes."""
    for label, codes in zip(labels, kept, strict=True):
        yield truth_of(label, kept.shape[-1], background), codes


def _table(findings: Sequence[str], columns: dict[str, np.ndarray]) -> Table:
    table = {
        name: {key: float(values[place]) for key, values in columns.items()}
        for place, name in enumerate(findings)
    }
    table["macro"] = {key: _mean(np.asarray(values)) for key, values in columns.items()}
    return table


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")
