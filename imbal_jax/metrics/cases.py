"""Labels and scores, checked where they arrive, and taken apart class by class."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.averages import average_of, check_average

UNKNOWN = (-1, -2)  # uncertain and missing, as in losses.targets_and_mask


class Cases(NamedTuple):
    labels: np.ndarray  # [N] without excluded cases; [N, L] with -1 for excluded entries
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


def check_cases(labels: ArrayLike, scores: ArrayLike, mask: ArrayLike | None) -> Cases:
    """The cases of one of the three problems that the package's docstring lists; ValueError for others."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    one_label = labels.ndim == 1 and scores.ndim == 2
    if labels.ndim not in (1, 2) or (scores.shape[:1] if one_label else scores.shape) != labels.shape:
        raise ValueError(
            f"labels {list(labels.shape)} do not fit scores {list(scores.shape)}: "
            "expected [N] with [N], [N] with [N, C], or [N, L] with [N, L]"
        )
    if one_label and scores.shape[1] < 2:
        raise ValueError(
            f"scores {list(scores.shape)} for one label need two classes or more: pass scores[:, 0]"
        )
    labels = whole_numbers(labels)
    classes = scores.shape[1] if one_label else 2
    if labels.size and (labels.min() < min(UNKNOWN) or labels.max() >= classes):
        wrong = labels.min() if labels.min() < min(UNKNOWN) else labels.max()
        raise ValueError(
            f"label {wrong} is out of range: expected 0 to {classes - 1}, or -1 or -2 to exclude"
        )
    known = (labels >= 0) & check_mask(mask, labels)
    kept = known if labels.ndim == 1 else np.ones(len(labels), bool)
    if not known.all():
        if labels.ndim == 1:
            labels, scores = labels[known], scores[known]
        else:
            labels = np.where(known, labels, -1)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    missing = np.isnan(scores)
    if labels.ndim == 2:
        missing &= known
    if missing.any():
        raise ValueError(f"{missing.sum()} of {missing.size} scores are NaN: mask them or mend the model")
    return Cases(labels, scores, kept)


def check_mask(mask: ArrayLike | None, labels: np.ndarray) -> np.ndarray | bool:
    """The mask as bool, True for none; ValueError unless it has the shape of the labels."""
    if mask is None:
        return True
    mask = np.asarray(mask)
    if mask.shape != labels.shape:
        raise ValueError(f"mask {list(mask.shape)} must have the shape of the labels {list(labels.shape)}")
    return mask.astype(bool)


def whole_numbers(labels: np.ndarray) -> np.ndarray:
    """Labels of a signed integer dtype; ValueError where one is no whole number."""
    if labels.dtype.kind == "i":
        return labels
    if labels.dtype.kind not in "bu":
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
