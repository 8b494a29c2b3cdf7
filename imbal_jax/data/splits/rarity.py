"""Draws that make classes rarer, by whole patients: a long tail, a common-to-rare ratio, a prevalence.

Patients are put into one random order, and each class keeps its first items in that order. With the same seed, a
smaller draw is therefore a subset of a larger one. Only the last patient of a class may lose items, so that counts
are exact. The order spreads the patients of each class (of several: the rarest) evenly, so that a draw keeps the
proportions of the classes, and no class is lost before the others.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from imbal_jax.data.labels import has_class, is_many
from imbal_jax.data.splits.patient_split import patients_of
from imbal_jax.errors import InputError


def draw_imbalance(
    labels: np.ndarray, groups: np.ndarray, *, ratio: float, rare: Sequence[int], seed: int = 0
) -> np.ndarray:
    """Keep every item of the common classes, and as many of the rare ones as make rare : common 1 : ratio.

    labels: int [N], a class; or [N, L] with 1, 0 or -1 (unknown), many labels. groups: [N], the patient of each.
    ratio: common items for each rare item. An item is rare if it has one of the ``rare`` classes or labels. Of
        one label, the rare classes keep their proportions among themselves, and at least one item each; of many
        labels, the rare items come in the order above.

    Returns sorted int64 indices; the draw of a larger ratio is a part of the draw of a smaller one. Raises
    InputError where the data are already rarer than asked.
    """
    if not 0 < ratio < np.inf:
        raise InputError(f"imbalance ratio {ratio} must be positive: 100 is one rare item for 100 common")
    has = _fitting(labels, groups)
    rare = [c for c in rare if c < has.shape[1] and has[:, c].any()]
    is_rare = has[:, rare].any(1)
    common, there = int((~is_rare).sum()), int(is_rare.sum())
    if not common or not there:
        raise InputError(
            f"no item of the {'common' if not common else 'rare'} classes: give rare classes that some items have, "
            "and some have not"
        )
    many = is_many(labels)
    wanted = max(round(common / ratio), 1 if many else len(rare))
    if wanted > there:
        raise InputError(
            f"imbalance 1:{ratio:g} is asked, but the data have {common} common and {there} rare items, "
            f"1:{common / there:.4g}: ask for a ratio of at least that"
        )
    order = _by_patient(has, groups, seed)
    quotas = np.array([wanted]) if many else _shares(has[:, rare].sum(0), wanted)
    return _first(np.expand_dims(is_rare, 1) if many else has[:, rare], quotas, order)


def draw_prevalence(
    labels: np.ndarray, groups: np.ndarray, prevalence: Mapping[int, float], *, seed: int = 0
) -> np.ndarray:
    """The largest draw in which class c has the share ``prevalence[c]`` of the items, for each c given.

    labels, groups: as above. prevalence: class or label -> share; of one label they sum to less than 1, or to 1
        where all classes are given. Classes that are not given keep their proportions. Of many labels, an item
        stays only where each of its labels given allows it: where these go together, some come out rarer than
        asked, never more common.

    Returns sorted int64 indices; of one class, a draw that is further from the data's own share is a part of a
    draw that is nearer. Raises InputError for a share out of range, a class without items, and a share of less
    than one item.
    """
    has = _fitting(labels, groups)
    shares = np.array(list(prevalence.values()), np.float64)
    total = np.inf if is_many(labels) else 1.0
    if len(shares) == 0 or (shares <= 0).any() or (shares >= 1).any() or shares.sum() > total + 1e-9:
        given = ", ".join(f"{share:g}" for share in shares)
        raise InputError(
            f"prevalences ({given}): give shares between 0 and 1, of one label with a sum of at most 1"
        )
    named = has[:, list(prevalence)]
    rest = ~named.any(1)
    absent = [c for c, count in zip(prevalence, named.sum(0), strict=True) if not count]
    if absent:
        raise InputError(f"class {absent[0]} has no item: no prevalence of it can be drawn")
    # The classes that are not given are one more class, of what is left
    columns, order = np.concatenate([named, np.expand_dims(rest, 1)], 1), _by_patient(has, groups, seed)
    size = min(len(has), int(np.min(named.sum(0) / shares) + 1e-9))
    while True:
        quotas = np.floor(shares * size + 0.5).astype(np.int64)
        kept = _first(columns, np.append(quotas, 0), order)
        if len(kept) + rest.sum() >= size:
            break
        size = len(kept) + int(rest.sum())
    if not quotas.all():
        c = int(quotas.argmin())
        raise InputError(
            f"a prevalence of {shares[c]:g} is {shares[c] * size:.2g} of {size:,} items: ask for "
            f"{1 / max(size, 1):.2g} or more"
        )
    return _first(columns, np.append(quotas, size - len(kept)), order)


def draw_profile(
    labels: np.ndarray,
    target_counts: Sequence[int] | np.ndarray,
    groups: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> np.ndarray:
    """Sorted int64 indices of a random draw that holds ``target_counts[c]`` items of each class c.

    labels, groups: as above; without groups, each item is a patient of its own. Of many labels, an item stays only
    where each of its labels allows it: a label that goes with rarer ones comes out below its target, never above;
    items without a label stay. A smaller target is a part of a larger one. Raises InputError where a class has
    too few items.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    target = np.asarray(target_counts)
    has = _fitting(labels, groups, len(target))
    counts = has.sum(0)
    short = np.flatnonzero(target > counts)
    if len(short):
        c = int(short[0])
        raise InputError(f"class {c} has {counts[c]} items, the profile asks {target[c]}: ask for fewer")
    return _first(has, target, _by_patient(has, groups, seed))


def exponential_profile(counts: Sequence[int] | np.ndarray, imbalance: float) -> np.ndarray:
    """int64 [C]: n_i = floor(n_max imbalance^(-i / (C - 1))), the long tail of Cui et al. and Cao et al. 2019.

    counts: items there are of each class; n_max is the largest. imbalance: n_max / n_min, at least 1.
    i is the place of a class by size, the largest first; classes of equal size stay in their order.
    Raises InputError where a class has fewer items than its place in the profile asks.
    """
    counts = _checked(counts, imbalance)
    exponents = np.arange(len(counts)) / max(len(counts) - 1, 1)
    return _fits(counts, counts.max() * imbalance**-exponents)


def step_profile(
    counts: Sequence[int] | np.ndarray, imbalance: float, *, rare_share: float = 0.5
) -> np.ndarray:
    """int64 [C]: the smallest ``rare_share`` of the classes have n_max / imbalance items, the others n_max.

    The step imbalance of Buda et al. 2018 (section 3.2) and Cao et al. 2019. n_max is here the size of the smallest
    class that is not to be rare. Arguments and order as above.
    """
    counts = _checked(counts, imbalance)
    if not 0 <= rare_share <= 1:
        raise InputError(f"rare_share is {rare_share}: give a fraction of the classes, from 0 to 1")
    common = len(counts) - round(rare_share * len(counts))
    largest = np.sort(counts)[::-1][max(common - 1, 0)]
    is_rare = np.arange(len(counts)) >= common
    return _fits(counts, largest * np.where(is_rare, 1 / imbalance, 1.0))


def _by_patient(has: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """The items in the order in which they are kept, each patient's together."""
    patient = patients_of(groups, len(has))
    patients = int(patient.max()) + 1
    totals = has.sum(0)
    rarity = np.where(has, totals.astype(np.int32), np.int32(len(has) + 1))
    stratum_of_item = np.where(has.any(1), rarity.argmin(1), has.shape[1])
    rarest = np.lexsort((rarity.min(1), patient))  # of each patient, the item of the rarest class first
    stratum = stratum_of_item[rarest[np.searchsorted(patient[rarest], np.arange(patients))]]
    shuffled = np.random.default_rng(seed).permutation(patients)
    turn = np.empty(patients)
    for s in np.unique(stratum):
        members = shuffled[stratum[shuffled] == s]
        turn[members] = np.arange(len(members)) / len(members)
    place = np.empty(patients, np.int64)
    place[shuffled[np.argsort(turn[shuffled], kind="stable")]] = np.arange(patients)
    return np.argsort(place[patient], kind="stable")


def _first(has: np.ndarray, quotas: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Sorted indices of the items that are, in ``order``, among the first ``quotas`` of each class they have."""
    ordered = has[order]
    return np.sort(order[(~ordered | (np.cumsum(ordered, 0, dtype=np.int32) <= quotas)).all(1)])


def _fitting(labels: np.ndarray, groups: np.ndarray, num_classes: int | None = None) -> np.ndarray:
    """bool [N, C]: which item has which class, for labels and groups that fit each other."""
    if len(labels) != len(groups) or np.ndim(groups) != 1:
        raise InputError(
            f"labels {list(np.shape(labels))} and groups {list(np.shape(groups))}: expected one of each per item"
        )
    if len(labels) == 0:
        raise InputError("there are no items to draw from")
    return has_class(labels, num_classes)


def _shares(counts: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers in proportion to ``counts``, at least 1 each, that sum to ``total``.

    By Webster's divisors: unlike with largest remainders, no class loses an item when the total grows.
    """
    turns = [np.append(-1.0, (np.arange(1, n) + 0.5) / n) for n in counts]
    owner = np.repeat(np.arange(len(counts)), counts)
    first = owner[np.argsort(np.concatenate(turns), kind="stable")[:total]]
    return np.bincount(first, minlength=len(counts))


def _checked(counts: Sequence[int] | np.ndarray, imbalance: float) -> np.ndarray:
    if imbalance < 1:
        raise InputError(
            f"imbalance {imbalance} must be at least 1: it is the largest class over the smallest"
        )
    return np.asarray(counts, np.int64)


def _fits(counts: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """The profile, which falls, given to the classes by their size."""
    by_size = np.argsort(-counts, kind="stable")
    target = np.empty(len(counts), np.int64)
    target[by_size] = np.floor(profile + 1e-6)  # 5000 * 100^-1 may come out as 49.999...
    short = np.flatnonzero(target > counts)
    if len(short):
        c = int(short[0])
        raise InputError(
            f"class {c} has {counts[c]} items, the profile asks {target[c]}: it is rarer than that already, ask for "
            "a larger imbalance"
        )
    return target
