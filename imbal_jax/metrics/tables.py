"""Decision tables [..., 2, 2] and confusion matrices [..., C, C], and the formulas on them."""

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.averages import ratio
from imbal_jax.metrics.cases import Cases


def count_decisions(truth: np.ndarray, decided: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts int64 [C, C]: rows the truth, columns the decision."""
    cells = np.bincount(truth.astype(np.int64) * num_classes + decided, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def confusion(cases: Cases, threshold: ArrayLike) -> np.ndarray:
    """[C, C] for one label, [2, 2] for a binary problem, [L, 2, 2] for many labels."""
    labels, scores, _ = cases
    if cases.is_one_label:
        return count_decisions(labels, scores.argmax(axis=1), scores.shape[1])
    threshold = np.asarray(threshold, np.float64)
    if threshold.shape not in ((), scores.shape[1:]):
        raise ValueError(f"threshold {list(threshold.shape)} must be one number, or one per label")
    if np.isnan(threshold).any():
        raise ValueError("threshold is NaN, which calls nothing positive: expected a number")
    decided = scores >= threshold
    if cases.is_binary:
        return count_decisions(labels, decided, 2)
    known = labels >= 0
    found = [
        count_decisions(labels[known[:, c], c], decided[known[:, c], c], 2) for c in range(labels.shape[1])
    ]
    return np.array(found, np.int64).reshape(-1, 2, 2)


def tables_of(cases: Cases, threshold: ArrayLike) -> np.ndarray:
    """One 2 x 2 table a class, int64 [K, 2, 2]: a class against the rest where there is one label."""
    counts = confusion(cases, threshold)
    if cases.is_binary:
        return counts[None]
    return one_against_rest(counts) if cases.is_one_label else counts


def one_against_rest(matrix: np.ndarray) -> np.ndarray:
    hit = np.diagonal(matrix)
    missed, false_alarm = matrix.sum(axis=1) - hit, matrix.sum(axis=0) - hit
    rest = matrix.sum() - hit - missed - false_alarm
    return np.stack([rest, false_alarm, missed, hit], axis=-1).reshape(-1, 2, 2)


# Formulas


def sensitivity(tables: np.ndarray) -> np.ndarray:
    return ratio(tables[..., 1, 1], tables[..., 1, :].sum(axis=-1))


def specificity(tables: np.ndarray) -> np.ndarray:
    return ratio(tables[..., 0, 0], tables[..., 0, :].sum(axis=-1))


def precision(tables: np.ndarray) -> np.ndarray:
    return ratio(tables[..., 1, 1], tables[..., :, 1].sum(axis=-1))


def f_beta(tables: np.ndarray, beta: float) -> np.ndarray:
    hit, missed, false_alarm = tables[..., 1, 1], tables[..., 1, 0], tables[..., 0, 1]
    return ratio((1 + beta**2) * hit, (1 + beta**2) * hit + beta**2 * missed + false_alarm)


def recalls_and_present(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall [..., C] (0 for an absent class) and the number of classes present, NaN below two."""
    support = matrices.sum(axis=-1)
    present = (support > 0).sum(axis=-1).astype(np.float64)
    hit = np.diagonal(matrices, axis1=-2, axis2=-1)
    return hit / np.maximum(support, 1), np.where(present >= 2, present, np.nan)


def balanced_accuracy(matrices: np.ndarray) -> np.ndarray:
    recalls, present = recalls_and_present(matrices)
    return recalls.sum(axis=-1) / present


def geometric_mean(matrices: np.ndarray) -> np.ndarray:
    recalls, present = recalls_and_present(matrices)
    recalls = np.where(matrices.sum(axis=-1) > 0, recalls, 1.0)
    # The root before the product: the recalls of a thousand classes would underflow.
    roots = recalls ** (1 / present[..., None])
    return np.where(np.isnan(present), np.nan, roots.prod(axis=-1))


def matthews(matrices: np.ndarray) -> np.ndarray:
    truth, decided = matrices.sum(axis=-1), matrices.sum(axis=-2)
    total, hit = truth.sum(axis=-1), np.diagonal(matrices, axis1=-2, axis2=-1).sum(axis=-1)
    covariance = hit * total - (truth * decided).sum(axis=-1)
    spread = [np.sqrt((total**2 - (side**2).sum(axis=-1)).astype(np.float64)) for side in (truth, decided)]
    return np.clip(ratio(covariance, spread[0] * spread[1]), -1.0, 1.0)  # the roots round: -1 - 2e-16
