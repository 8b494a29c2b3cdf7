"""Pools: the items that batches draw from, one pool per class, with repeats and resampling."""

import numpy as np
from jax.typing import ArrayLike

from imbal_jax.priors import class_counts


def pools(labels: np.ndarray, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    """The items of each pool, pool after pool, and the pool sizes."""
    if labels.ndim == 2:
        class_counts(labels, labels.shape[1])  # raises on a wrong entry
        positive = labels == 1
        pools = [np.flatnonzero(column) for column in positive.T]
        if not positive.any(axis=1).all():
            pools.append(np.flatnonzero(~positive.any(axis=1)))
        return np.concatenate(pools).astype(np.int32), np.array([len(pool) for pool in pools])
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype}, expected integer class indices")
    sizes = class_counts(labels, at_least or max(int(labels.max()), 0) + 1)
    if len(sizes) <= 8:
        return np.concatenate(
            [np.flatnonzero(labels == c).astype(np.int32) for c in range(len(sizes))]
        ), sizes
    # numpy's stable sort of 8 and 16 bit integers is a radix sort
    narrow = labels.astype(np.min_scalar_type(len(sizes)))
    return np.argsort(narrow, kind="stable").astype(np.int32), sizes


def repeated(labels: np.ndarray, threshold: float, seed: int) -> np.ndarray:
    if not threshold > 0:
        raise ValueError(f"repeat_threshold {threshold} is not above zero")
    if labels.ndim == 1:
        counts = pools(labels, 0)[1]
        factors = np.maximum(1, np.sqrt(threshold * len(labels) / np.maximum(counts, 1)))[labels]
    else:
        counts = class_counts(labels, labels.shape[1])
        of_class = np.maximum(1, np.sqrt(threshold * len(labels) / np.maximum(counts, 1)))
        factors = np.where(labels == 1, of_class, 1.0).max(axis=1)
    chance = np.random.default_rng(seed).random(len(labels))
    return np.repeat(np.arange(len(labels), dtype=np.int32), np.floor(factors + chance).astype(np.int64))


def resample(labels: ArrayLike, scheme: str, seed: int = 0) -> np.ndarray:
    """A list of items in which every class is as large as the smallest ("under") or the largest ("over").

    under: n_min items of each class, a random subset. over: each class whole floor(n_max / n_c) times, and a
    random subset for the rest. labels: int [N]; classes without items are left out.
    Returns int32 [M], in random order. Raises ValueError on another scheme or labels that are not int [N].
    """
    if scheme not in ("under", "over"):
        raise ValueError(f"unknown resampling scheme {scheme!r}, allowed are under, over")
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"labels have shape {labels.shape}, expected [N] with N at least 1")
    random = np.random.default_rng(seed)
    order, sizes = pools(labels, 0)
    present = [pool for pool in np.split(order, np.cumsum(sizes)[:-1]) if len(pool)]
    target = min(map(len, present)) if scheme == "under" else max(map(len, present))
    parts = []
    for pool in present:
        copies, rest = divmod(target, len(pool))
        parts += [np.tile(pool, copies), random.choice(pool, rest, replace=False)]
    return random.permutation(np.concatenate(parts)).astype(np.int32)
