"""Splits that keep every patient whole and every class in its proportion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imbal_jax.errors import InputError

SWEEPS = 3  # passes of improvement after the first placement


def split_by_group(
    labels: np.ndarray, groups: np.ndarray, fractions: Mapping[str, float], *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Split the items into named parts, no patient in two of them, each class in the same proportion.

    labels: int [N], a class; or [N, L] with 1, 0 or -1 (unknown), many labels.
    groups: int or str [N], the patient of each item.
    fractions: the share of each part, e.g. {"train": 0.64, "validation": 0.16, "test": 0.2}; they sum to 1.

    A class gets into every part if at least as many patients have it as there are parts and no rarer class
    of theirs wants them elsewhere; ``split_summary`` tells where it did not. Returns sorted int64 indices for
    each name, the same for the same ``seed``.

    Patients are placed one at a time, those with the rarest class first and, among these, those with many
    items first, each where it leaves the least sum over parts s and classes c of
    (n_sc - f_s n_c)^2 / (f_s n_c^2), n being counts of items and f the fractions (after Sechidis et al.
    2011, Algorithm 1, which places items rather than patients). Then each is taken out and placed again,
    three times over.

    Raises InputError for fewer patients than parts, and for fractions that are not positive or do not sum
    to 1.
    """
    shares = np.array(list(fractions.values()), np.float64)
    if len(shares) == 0 or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        given = ", ".join(f"{name} {value:g}" for name, value in fractions.items())
        raise InputError(
            f"split fractions ({given}) sum to {shares.sum():g}: give positive numbers that sum to 1"
        )
    part_of_item = _place(labels, groups, shares, seed)
    return {name: np.flatnonzero(part_of_item == part) for part, name in enumerate(fractions)}


def k_folds(
    labels: np.ndarray, groups: np.ndarray, k: int, *, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (train, held out) of sorted int64 indices, k of them; each item is held out exactly once.

    Arguments as in ``split_by_group``. Raises InputError for k < 2 and for fewer patients than folds.
    """
    if k < 2:
        raise InputError(f"{k} folds: give at least 2")
    fold_of_item = _place(labels, groups, np.full(k, 1 / k), seed)
    return [(np.flatnonzero(fold_of_item != fold), np.flatnonzero(fold_of_item == fold)) for fold in range(k)]


@dataclass(frozen=True)
class SplitSummary:
    """What each part of a split holds. S parts, C classes.

    images, patients: int [S]. class_images, class_patients: int [S, C], those that have the class.
    missing: the (class, part) pairs without an example: a per-class score is undefined there.
    shared_patients: how many patients are in more than one part; 0 for ``split_by_group``.
    """

    parts: tuple[str, ...]
    classes: tuple[str, ...]
    images: np.ndarray
    patients: np.ndarray
    class_images: np.ndarray
    class_patients: np.ndarray
    missing: tuple[tuple[str, str], ...]
    shared_patients: int

    def rows(self) -> list[dict[str, object]]:
        """One row a part for a table: its name, its images and patients, and the images of each class."""
        return [
            {
                "split": part,
                "images": int(self.images[s]),
                "patients": int(self.patients[s]),
                **{name: int(n) for name, n in zip(self.classes, self.class_images[s], strict=True)},
            }
            for s, part in enumerate(self.parts)
        ]


def split_summary(
    labels: np.ndarray, groups: np.ndarray, splits: Mapping[str, np.ndarray], classes: Sequence[str]
) -> SplitSummary:
    """Count the images and patients of each class in each part of ``splits`` (name -> indices)."""
    has = _has_class(labels, len(classes))
    names, patient = np.unique(np.asarray(groups), return_inverse=True)
    member = np.zeros((len(splits), len(names)), bool)
    class_images = np.zeros((len(splits), len(classes)), np.int64)
    class_patients = np.zeros_like(class_images)
    for part, indices in enumerate(splits.values()):
        member[part, patient[indices]] = True
        class_images[part] = has[indices].sum(0)
        per_patient = np.zeros((len(names), len(classes)), bool)
        np.logical_or.at(per_patient, patient[indices], has[indices])
        class_patients[part] = per_patient.sum(0)
    parts = tuple(splits)
    missing = tuple((classes[c], parts[s]) for s, c in np.argwhere(class_images == 0))
    return SplitSummary(
        parts=parts,
        classes=tuple(classes),
        images=np.array([len(indices) for indices in splits.values()]),
        patients=member.sum(1),
        class_images=class_images,
        class_patients=class_patients,
        missing=missing,
        shared_patients=int((member.sum(0) > 1).sum()),
    )


def _has_class(labels: np.ndarray, num_classes: int | None = None) -> np.ndarray:
    """bool [N, C]: which item has which class."""
    labels = np.asarray(labels)
    if labels.ndim == 2:
        return labels == 1
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise InputError(
            f"labels are {labels.dtype} of shape {labels.shape}, expected integers [N] or [N, L]"
        )
    if len(labels) and labels.min() < 0:
        item = int(labels.argmin())
        raise InputError(f"label {labels[item]} of item {item} is negative: one-label classes count from 0")
    width = num_classes or int(labels.max(initial=0)) + 1
    return labels[:, None] == np.arange(width)


def _place(labels: np.ndarray, groups: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """int [N]: the part of each item."""
    has = _has_class(labels)
    if len(groups) != len(has):
        raise InputError(f"{len(groups)} groups for {len(has)} labels: give the patient of every item")
    names, patient = np.unique(np.asarray(groups), return_inverse=True)
    parts = len(shares)
    if len(names) < parts:
        raise InputError(
            f"{len(names)} patients cannot fill {parts} splits: add patients or ask for fewer splits"
        )

    # Items of each patient by class; the last column counts all items, so that parts get their size too.
    counts = np.zeros((len(names), has.shape[1] + 1))
    np.add.at(counts, patient, np.concatenate([has, np.ones((len(has), 1), bool)], 1))
    totals = counts.sum(0)
    weights = np.where(totals > 0, 1 / np.maximum(totals, 1) ** 2, 0.0)
    excess = -shares[:, None] * totals  # items beyond the fair share, by part and class
    holders = np.zeros((parts, len(totals)), np.int64)  # patients who have the class
    unplaced = (counts > 0).sum(0)
    part_of_patient = np.full(len(names), -1)
    order = _order(counts, totals, seed)
    for who in np.tile(order, 1 + SWEEPS):  # place everybody; then take each out and place again
        items, classes = counts[who], np.flatnonzero(counts[who])
        if (part := part_of_patient[who]) >= 0:
            excess[part] -= items
            holders[part, classes] -= 1
            unplaced[classes] += 1
        cost = (weights * items * (2 * excess + items)).sum(1) / shares
        for c in classes[unplaced[classes] <= parts]:
            # The last patients who have class c go where nobody has it, if there is such a part.
            empty = holders[:, c] == 0
            if unplaced[c] <= empty.sum() and np.isfinite(cost[empty]).any():
                cost[~empty] = np.inf
        part = part_of_patient[who] = cost.argmin()
        excess[part] += items
        holders[part, classes] += 1
        unplaced[classes] -= 1
    return part_of_patient[patient]


def _order(counts: np.ndarray, totals: np.ndarray, seed: int) -> np.ndarray:
    """Patients with the rarest class first; then by size, halving; then at random.

    Sizes are compared by their power of two: an exact order would always put the same largest patients in
    the largest part, whatever the seed.
    """
    rarest = np.where(counts > 0, totals, np.inf).min(1)
    size = np.floor(np.log2(counts[:, -1]))
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    return shuffled[np.lexsort((-size[shuffled], rarest[shuffled]))]
