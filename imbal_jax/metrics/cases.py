"""Labels and scores: checked, and split class by class."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.errors import text_labels
from imbal_jax.metrics.averages import average_of, check_average

UNKNOWN = (-1, -2)  # uncertain and missing, as in losses.targets_and_mask


class Cases(NamedTuple):
    labels: np.ndarray  # [N] or [N, L], -1 where an entry is excluded; no case of which nothing is known
    scores: np.ndarray  # float32 or float64, [N], [N, C] or [N, L]
    kept: np.ndarray  # bool, one for each case that was given: those that are here

    @property
    def is_one_label(self) -> bool:
        return self.labels.ndim == 1 and self.scores.ndim == 2

    @property
    def is_binary(self) -> bool:
        return self.scores.ndim == 1


class Column(NamedTuple):
    """A class against the rest."""

    scores: np.ndarray  # [N]
    positive: np.ndarray  # bool [N]
    negative: np.ndarray  # bool [N]; a case that is neither is excluded


def check_cases(
    labels: ArrayLike, scores: ArrayLike, mask: ArrayLike | None, *, excluded: bool = False
) -> Cases:
    """The cases of one of the three problems that the package's docstring lists; ValueError for others.

    excluded: the labels come from ``known_labels``: a -1 among them is no negative.
    """
    truth, values = np.asarray(labels), np.asarray(scores)
    one_label = truth.ndim == 1 and values.ndim == 2
    if truth.ndim not in (1, 2) or (values.shape[:1] if one_label else values.shape) != truth.shape:
        raise ValueError(
            f"labels {list(truth.shape)} do not fit scores {list(values.shape)}: "
            "expected [N] with [N], [N] with [N, C], or [N, L] with [N, L]"
        )
    if one_label and values.shape[1] < 2:
        raise ValueError(
            f"scores {list(values.shape)} for one label need two classes or more: pass scores[:, 0]"
        )
    num_classes = values.shape[1] if one_label else 2
    truth = known_labels(truth, mask, num_classes, excluded=excluded)
    kept = has_known(truth)
    if not kept.all():
        truth, values = truth[kept], values[kept]
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    missing = np.isnan(values)
    if truth.ndim == 2:
        missing &= truth >= 0
    if missing.any():
        raise ValueError(f"{missing.sum()} of {missing.size} scores are NaN: mask them or fix the model")
    return Cases(truth, values, kept)


def known_labels(
    labels: np.ndarray, mask: ArrayLike | None, num_classes: int | float = np.inf, *, excluded: bool = False
) -> np.ndarray:
    """Signed integers, -1 where a label is excluded; what ``mask`` excludes is not looked at.

    Raises ValueError for a mask of another shape, for labels that are no whole number or out of range and, unless
    ``excluded``, for those of two classes that hold -1 and 1 and no 0.
    """
    if mask is None:
        labels = given = whole_numbers(labels)
    elif np.shape(mask) != labels.shape:
        raise ValueError(
            f"mask {list(np.shape(mask))} must have the shape of the labels {list(labels.shape)}"
        )
    else:
        kept = np.asarray(mask, bool)
        given, labels = whole_numbers(labels[kept]), np.full(labels.shape, -1, np.int64)
        labels[kept] = given
    if not excluded and (num_classes == 2 or num_classes == np.inf):
        refuse_signs(given)
    low, high = labels.min(initial=0), labels.max(initial=0)
    if low < min(UNKNOWN) or high >= num_classes:
        allowed = f"0 to {num_classes - 1}" if num_classes < np.inf else "0 or above"
        raise ValueError(
            f"label {low if low < min(UNKNOWN) else high} is out of range: expected {allowed}, "
            "or -1 or -2 to exclude"
        )
    return np.maximum(labels, -1) if low < -1 else labels


def refuse_signs(labels: np.ndarray) -> None:
    """ValueError for -1 and 1 without a 0, as libsvm and others label two classes: here -1 is unknown."""
    if (labels == -1).any() and (labels == 1).any() and labels.max() == 1 and not (labels == 0).any():
        raise ValueError(
            "labels hold -1 and 1 and no 0, and -1 is unknown here: if it is the negative class, pass "
            "(labels + 1) // 2 or labels == 1"
        )


def has_known(labels: np.ndarray) -> np.ndarray:
    """bool [N], whether anything of a case is known, of labels [N, ...]."""
    return np.asarray((labels >= 0).any(axis=tuple(range(1, labels.ndim))))


def whole_numbers(labels: np.ndarray) -> np.ndarray:
    """Labels of a signed integer dtype; ValueError where one is no whole number."""
    if labels.dtype.kind == "i":
        return labels
    if labels.dtype.kind not in "bu":
        if labels.dtype.kind in "USMmOV":
            raise ValueError(text_labels(labels, "whole numbers"))
        labels = labels.astype(np.float64)
        if not (np.isfinite(labels) & (labels == np.rint(labels))).all():
            raise ValueError("labels must be whole numbers: soft labels have no confusion matrix")
    return labels.astype(np.int64)


def columns(cases: Cases) -> Iterator[Column]:
    """Each class against the rest; the one column of a binary problem."""
    labels, scores, _ = cases
    if cases.is_binary:
        yield Column(scores, labels == 1, labels == 0)
        return
    for c in range(scores.shape[1]):
        if cases.is_one_label:
            yield Column(scores[:, c], labels == c, labels != c)
        else:
            yield Column(scores[:, c], labels[:, c] == 1, labels[:, c] == 0)


def sides(cases: Cases) -> list[tuple[np.ndarray, np.ndarray]]:
    """The scores of the positives and of the negatives, class by class."""
    return [(column.scores[column.positive], column.scores[column.negative]) for column in columns(cases)]


def average_over_columns(
    formula: Callable[[np.ndarray, np.ndarray], float], cases: Cases, average: str
) -> float | np.ndarray:
    """The average over the classes of ``formula(scores of positives, scores of negatives)``."""
    check_average(average)
    pairs = sides(cases)
    if cases.is_binary:
        return formula(*pairs[0])
    if average == "micro":
        pooled = [np.concatenate(side) if side else np.zeros(0) for side in zip(*pairs, strict=True)]
        return formula(*(pooled or [np.zeros(0)] * 2))
    values = np.array([formula(*pair) for pair in pairs], np.float64)
    return average_of(values, np.array([positive.size for positive, _ in pairs]), average)
