"""Make a set rarer: long-tailed class sizes, and draws of a common-to-rare ratio by whole patients."""

from collections.abc import Sequence

import numpy as np

from imbal_jax.errors import InputError


def draw_imbalance(
    labels: np.ndarray, groups: np.ndarray, *, ratio: float, rare: Sequence[int], seed: int = 0
) -> np.ndarray:
    """Keep every item of the common classes, and so many of the rare ones that rare : common is 1 : ratio.

    labels: int [N], a class. groups: [N], the patient of each item.
    ratio: items of all common classes together for each item of all ``rare`` classes together. The rare
        classes keep their proportions among themselves, and at least one item each.

    Rare items come patient by patient, in one random order for all rare classes; only the last patient of a
    class may lose items, so that the count is exact. With the same ``seed`` the draw of a larger ratio is a
    part of the draw of a smaller one. Returns sorted int64 indices. Raises InputError where the data are
    already rarer than asked.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if labels.ndim != 1 or len(labels) != len(groups):
        raise InputError(
            f"labels {list(labels.shape)} and groups {list(groups.shape)}: expected one of each an item"
        )
    if not 0 < ratio < np.inf:
        raise InputError(f"imbalance ratio {ratio} must be positive: 100 is one rare item for 100 common")
    is_rare = np.isin(labels, rare)
    common = int((~is_rare).sum())
    present = np.unique(labels[is_rare])
    counts = np.array([(labels == c).sum() for c in present])
    wanted = max(round(common / ratio), len(present))
    if not common or not len(present):
        raise InputError(
            f"no item of the {'common' if not common else 'rare'} classes: rare classes are {list(rare)}"
        )
    if wanted > counts.sum():
        raise InputError(
            f"imbalance 1:{ratio:g} is asked, but the data have {common} common and {counts.sum()} rare items, "
            f"1:{common / counts.sum():.4g}: ask for a ratio of at least that"
        )
    _, patient = np.unique(groups, return_inverse=True)
    turn = np.random.default_rng(seed).permutation(patient.max() + 1)[patient]
    by_patient = np.argsort(turn, kind="stable")
    kept = [np.flatnonzero(~is_rare)]
    for c, quota in zip(present, _shares(counts, wanted), strict=True):
        kept.append(by_patient[labels[by_patient] == c][:quota])
    return np.sort(np.concatenate(kept))


def exponential_profile(counts: Sequence[int] | np.ndarray, imbalance: float) -> np.ndarray:
    """int64 [C]: n_c = floor(n_max imbalance^(-c / (C - 1))), the long tail of Cui et al. and Cao et al. 2019.

    counts: items there are of each class; n_max is the largest. imbalance: n_max / n_min, at least 1.
    Raises InputError where a class has fewer items than its place in the profile asks.
    """
    counts = _checked(counts, imbalance)
    exponents = np.arange(len(counts)) / max(len(counts) - 1, 1)
    return _fits(counts, counts.max() * imbalance**-exponents)


def step_profile(
    counts: Sequence[int] | np.ndarray, imbalance: float, *, rare_share: float = 0.5
) -> np.ndarray:
    """int64 [C]: the last ``rare_share`` of the classes have n_max / imbalance items, the others n_max.

    The step imbalance of Buda et al. 2018 (section 3.2) and Cao et al. 2019. Arguments as above.
    """
    counts = _checked(counts, imbalance)
    if not 0 <= rare_share <= 1:
        raise InputError(f"rare_share is {rare_share}: give a fraction of the classes, from 0 to 1")
    common = len(counts) - round(rare_share * len(counts))
    is_rare = np.arange(len(counts)) >= common
    return _fits(counts, counts.max() * np.where(is_rare, 1 / imbalance, 1.0))


def draw_profile(
    labels: np.ndarray, target_counts: Sequence[int] | np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """Sorted int64 indices of a random draw that holds ``target_counts[c]`` items of each class c.

    labels: int [N]. With the same ``seed`` a smaller target is a part of a larger one. Raises InputError where
    a class has too few items.
    """
    labels, target = np.asarray(labels), np.asarray(target_counts)
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = []
    for c, n in enumerate(target):
        of_class = order[labels[order] == c]
        if n > len(of_class):
            raise InputError(f"class {c} has {len(of_class)} items, the profile asks {n}: ask for fewer")
        kept.append(of_class[:n])
    return np.sort(np.concatenate(kept))


def _shares(counts: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers in proportion to ``counts``, at least 1 each, that sum to ``total`` (largest remainder)."""
    exact = counts * total / counts.sum()
    shares = np.maximum(np.floor(exact).astype(np.int64), 1)
    while shares.sum() > total:
        shares[np.argmax(shares)] -= 1
    while shares.sum() < total:
        shares[np.argmax(np.where(shares < counts, exact - shares, -np.inf))] += 1
    return shares


def _checked(counts: Sequence[int] | np.ndarray, imbalance: float) -> np.ndarray:
    if imbalance < 1:
        raise InputError(
            f"imbalance {imbalance} must be at least 1: it is the largest class over the smallest"
        )
    return np.asarray(counts, np.int64)


def _fits(counts: np.ndarray, profile: np.ndarray) -> np.ndarray:
    target = np.floor(profile + 1e-6).astype(np.int64)  # 5000 * 100^-1 may come out as 49.999...
    short = np.flatnonzero(target > counts)
    if len(short):
        c = int(short[0])
        raise InputError(
            f"class {c} has {counts[c]} items, the profile asks {target[c]}: order the classes by size"
        )
    return target
