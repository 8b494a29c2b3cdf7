"""Quotas: how many items of each pool a batch holds, as whole counts."""

from collections.abc import Callable

import numpy as np


def proportions(name: str, given: np.ndarray | None, sizes: np.ndarray) -> np.ndarray:
    if given is None:
        shares: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "balanced": np.ones_like,
            "sqrt": np.sqrt,
            "reversed": np.reciprocal,
        }
        present = sizes > 0
        proportions = np.zeros(len(sizes))
        proportions[present] = shares[name](sizes[present].astype(np.float64))
        return proportions / proportions.sum()
    if not (np.isfinite(given).all() and (given >= 0).all() and given.sum() > 0):
        raise ValueError(f"proportions {given.tolist()}: expected zero or more, and not all zero")
    return given.astype(np.float64) / given.sum()


def given_counts(given: np.ndarray, sizes: np.ndarray, batch_size: int) -> np.ndarray:
    if (given < 0).any() or given.sum() != batch_size:
        raise ValueError(f"counts {given.tolist()} must be zero or more and sum to batch_size {batch_size}")
    _refuse_empty(given, sizes)
    return given.astype(np.int64)


def quotas(proportions: np.ndarray, sizes: np.ndarray, batch_size: int) -> np.ndarray:
    """Whole counts that sum to batch_size, at least one for each positive proportion."""
    _refuse_empty(proportions, sizes)
    wanted = proportions > 0
    if wanted.sum() > batch_size:
        raise ValueError(
            f"batch_size {batch_size} cannot hold one item of each of {wanted.sum()} classes: "
            "enlarge it, or use natural or repeat_factor"
        )
    counts = largest_remainder(proportions, batch_size)
    counts[wanted & (counts == 0)] = 1
    for _ in range(counts.sum() - batch_size):
        counts[np.argmax(counts)] -= 1
    return counts


def largest_remainder(proportions: np.ndarray, total: int) -> np.ndarray:
    exact = proportions * total
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _refuse_empty(quota: np.ndarray, sizes: np.ndarray) -> None:
    empty = (quota > 0) & (sizes == 0)
    if empty.any():
        raise ValueError(f"class {np.argmax(empty)} has no item but a quota of {quota[np.argmax(empty)]:g}")
