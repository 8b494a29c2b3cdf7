"""Class counts, priors and weights from labels: plain numpy, computed once."""

from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.errors import text_labels

SCHEMES = ("none", "inverse", "sqrt_inverse", "effective", "median_frequency")


@overload
def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray: ...
@overload
def class_counts(labels: ArrayLike, num_classes: int) -> np.ndarray | jax.Array: ...
def class_counts(labels: ArrayLike, num_classes: int) -> np.ndarray | jax.Array:
    """How many items each class has: n_c.

    labels: int [N], class indices in [0, num_classes); or multi-hot [N, num_classes] with entries 1
        (positive), 0 (negative), -1 (uncertain) and -2 (missing); only 1 is counted.
    Returns int64 [num_classes]. Of a traced JAX array, int32 [num_classes] and no check of the values: an
        index out of range is then not counted.
    Raises ValueError on a label out of range, an entry other than 1, 0, -1, -2, or another shape or type.
    """
    if isinstance(labels, jax.core.Tracer):
        if labels.ndim == 1:
            inside = (labels >= 0) & (labels < num_classes)
            return jnp.bincount(jnp.where(inside, labels, num_classes), length=num_classes)
        return jnp.sum(labels == 1, axis=0)
    labels = np.asarray(labels)
    if labels.dtype.kind in "USMmOV":
        raise ValueError(text_labels(labels, "integer class indices [N] or numbers [N, C]"))
    if labels.ndim == 2:
        if labels.shape[1] != num_classes:
            raise ValueError(f"multi-hot labels have {labels.shape[1]} columns, expected {num_classes}")
        positive = labels == 1
        allowed = positive | (labels == 0) | (labels == -1) | (labels == -2)
        if not allowed.all():
            item, column = np.argwhere(~allowed)[0]
            raise ValueError(
                f"multi-hot label {labels[item, column]} of item {item}, class {column}: "
                "allowed are 1, 0, -1, -2"
            )
        return positive.sum(axis=0, dtype=np.int64)
    if labels.ndim != 1:
        raise ValueError(f"labels have shape {labels.shape}, expected [N] or [N, {num_classes}]")
    if labels.size == 0:
        return np.zeros(num_classes, np.int64)
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype}, expected integer class indices")
    for extreme in (labels.min(), labels.max()):
        if not 0 <= extreme < num_classes:
            raise ValueError(f"label {extreme} is outside 0..{num_classes - 1}, the {num_classes} classes")
    return np.bincount(labels, minlength=num_classes)


def class_priors(counts: ArrayLike) -> np.ndarray | jax.Array:
    """The prior of each class: pi_c = n_c / sum_k n_k.

    counts: [C], non-negative. Returns float64 [C], zero where the count is zero (a traced JAX array gives
    float32 and is not checked). Raises ValueError when a count is negative or all are zero.
    """
    if isinstance(counts, jax.core.Tracer):
        counts = counts.astype(jnp.float32)
        return counts / counts.sum()
    counts = _checked(counts)
    if not counts.sum() > 0:
        raise ValueError(f"counts {counts.tolist()} sum to zero: there is no item to take a prior from")
    return counts / counts.sum()


def class_weights(
    counts: ArrayLike, scheme: str = "inverse", *, beta: float = 0.9999, power: float = 1.0
) -> np.ndarray:
    """A weight for each class, larger where the class is rarer. With N = sum n_c and C classes:

    none              w_c = 1
    inverse           w_c = (N / (C n_c))^power
    sqrt_inverse      w_c = (N / (C n_c))^(power / 2)
    effective         w_c proportional to (1 / E_c)^power, E_c = (1 - beta^n_c) / (1 - beta), summing to C
                      (Cui et al., CVPR 2019, proposition 1)
    median_frequency  w_c = (median_k f_k / f_c)^power (Eigen and Fergus, ICCV 2015). Counts alone say
                      f_c = n_c / N, which is right for images of one class each; in segmentation, f_c is the
                      pixels of c over the pixels of the images that hold c: pass those f as counts.

    counts: [C]. beta in [0, 1): 0 is unweighted, towards 1 it is the inverse count.
    Returns float64 [C]. Raises ValueError on an unknown scheme, a beta outside [0, 1), a negative count, and
    on a count of zero unless the scheme is none.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown weight scheme {scheme!r}, allowed are {', '.join(SCHEMES)}")
    counts = _checked(counts)
    if scheme == "none":
        return np.ones_like(counts)
    _refuse_empty(counts, "weight")
    balanced = counts.sum() / (len(counts) * counts)
    if scheme == "inverse":
        return balanced**power
    if scheme == "sqrt_inverse":
        return balanced ** (power / 2)
    if scheme == "median_frequency":
        return (np.median(counts) / counts) ** power
    if not 0 <= beta < 1:
        raise ValueError(f"beta {beta} is outside [0, 1)")
    # 1 - beta^n by expm1 keeps its digits when beta is within 1e-9 of one.
    effective = -np.expm1(counts * np.log(beta)) / (1 - beta) if beta > 0 else np.ones_like(counts)
    weights = effective**-power
    return weights * (len(counts) / weights.sum())


def positive_weights(counts: ArrayLike, total: ArrayLike, power: float = 1.0) -> np.ndarray:
    """The weight of the positives of each label: ((total - n_c) / n_c)^power, negatives over positives.

    counts: [C], the positives of each label. total: the items, a number, or [C] where each label has its own
    number of known entries. Returns float64 [C] (zero for a label that is always positive).
    Raises ValueError on a count that is zero, negative, or more than its total.
    """
    counts = _checked(counts)
    _refuse_empty(counts, "positive weight")
    totals = np.broadcast_to(np.asarray(total, np.float64), counts.shape)
    if (counts > totals).any():
        label = int(np.argmax(counts > totals))
        raise ValueError(f"label {label} has {counts[label]:g} positives of a total of {totals[label]:g}")
    return ((totals - counts) / counts) ** power


def _checked(counts: ArrayLike) -> np.ndarray:
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or counts.size == 0:
        raise ValueError(f"counts have shape {counts.shape}, expected [C], one count a class")
    bad = ~(np.isfinite(counts) & (counts >= 0))
    if bad.any():
        raise ValueError(f"count {counts[bad][0]} of class {np.argmax(bad)}: expected zero or more")
    return counts


def _refuse_empty(counts: np.ndarray, asked: str) -> None:
    if (counts == 0).any():
        empty = np.flatnonzero(counts == 0).tolist()
        raise ValueError(f"no {asked} for class {', '.join(map(str, empty))}: its count is zero")
