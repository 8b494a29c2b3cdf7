"""Splits by patient that keep the proportion of every class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from imbal_jax.console import percent
from imbal_jax.data.labels import has_class
from imbal_jax.data.splits.assignment import assign
from imbal_jax.errors import InputError
from imbal_jax.metrics.clusters import patient_numbers

CLASS_SHARES_OFF = "class shares off by"
"""Column of ``SplitSummary.rows`` that holds its ``ratio_errors``."""


def split_by_group(
    labels: np.ndarray, groups: np.ndarray, fractions: Mapping[str, float], *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Split the items into named parts, no patient in two of them, each class in the same proportion.

    labels: int [N], a class; or [N, L] with 1, 0 or -1 (unknown), many labels.
    groups: int or str [N], the patient of each item; one that is missing (NaN, None, "") is a patient of its own.
    fractions: the share of each part, e.g. {"train": 0.64, "validation": 0.16, "test": 0.2}; they sum to 1.

    A class is in every part if at least as many patients have it as there are parts, unless their other classes
    prevent it; ``split_summary`` shows where it is missing. Returns sorted int64 indices for each name, the same for
    the same ``seed``, patients and labels, whatever the order of the items. ``assignment.assign`` documents the
    objective.

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

    Arguments as in ``split_by_group``. Raises InputError for a k that is no whole number or below 2, and for
    fewer patients than folds.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise InputError(f"{k!r} folds: give a whole number of at least 2")
    if k < 2:
        raise InputError(f"{k} folds: give at least 2")
    fold_of_item = _place(labels, groups, np.full(k, 1 / k), seed)
    return [(np.flatnonzero(fold_of_item != fold), np.flatnonzero(fold_of_item == fold)) for fold in range(k)]


def complete_split(
    labels: np.ndarray,
    groups: np.ndarray,
    given: Mapping[str, np.ndarray],
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """A source's own split, checked by patient, with the parts that it lacks split off its ``train``.

    given: name -> indices, as the source publishes them. fractions: as for ``split_by_group``; a part that is not
    given gets its fraction relative to train and the other missing ones. Returns the parts in the order of
    ``fractions``, and behind them those that are given and have no fraction.

    Raises InputError, with the numbers, where a patient or an item is in two of the given parts, and where no
    train part is given.
    """
    if "train" not in given:
        raise InputError(
            f"the source's own split ({', '.join(given) or 'of other parts'}) has no train part: set --data.split "
            "patient to make one"
        )
    if sharing := shared_patients(groups, given):
        raise InputError(
            f"the source's own split {sharing}: set --data.split patient to split by patient instead"
        )
    missing = {name: share for name, share in fractions.items() if name not in given or name == "train"}
    parts = {name: np.sort(np.asarray(indices)) for name, indices in given.items()}
    if len(missing) > 1:
        whole, total = parts["train"], sum(missing.values())
        shares = {name: share / total for name, share in missing.items()}
        split = split_by_group(labels[whole], groups[whole], shares, seed=seed)
        parts |= {name: whole[indices] for name, indices in split.items()}
    return {name: parts[name] for name in (*fractions, *(name for name in parts if name not in fractions))}


def shared_patients(groups: np.ndarray, parts: Mapping[str, np.ndarray]) -> str:
    """Which two of the parts, name -> indices, hold one patient, with the numbers; "" where none does."""
    patient = patients_of(groups, len(groups))
    for one, other in combinations(parts, 2):
        shared = np.intersect1d(patient[parts[one]], patient[parts[other]])
        if len(shared):
            patients = len(np.unique(patient[np.concatenate([parts[one], parts[other]])]))
            return f"shares {len(shared):,} of {patients:,} patients between {one} and {other}"
    return ""


@dataclass(frozen=True)
class SplitSummary:
    """What each part of a split holds. S parts, C classes.

    images, patients: int [S]. class_images, class_patients: int [S, C], those that have the class.
    holders: int [C], the patients of any part who have the class.
    ratio_errors: float [S], the mean over the classes of |n_sc / N_s - n_c / N|, the share of the part's images
        that have the class against the share in all parts together.
    missing: the (class, part) pairs without an example: a per-class score is undefined there.
    shared_patients: how many patients are in more than one part; 0 for ``split_by_group``.
    """

    parts: tuple[str, ...]
    classes: tuple[str, ...]
    images: np.ndarray
    patients: np.ndarray
    class_images: np.ndarray
    class_patients: np.ndarray
    holders: np.ndarray
    ratio_errors: np.ndarray
    missing: tuple[tuple[str, str], ...]
    shared_patients: int

    @property
    def ratio_error(self) -> float:
        """The mean of ``ratio_errors``."""
        return float(self.ratio_errors.mean())

    def rows(self) -> list[dict[str, object]]:
        """One row a part for a table: its name, images and patients, its error, and the images of each class."""
        return [
            {
                "split": part,
                "images": int(self.images[s]),
                "patients": int(self.patients[s]),
                CLASS_SHARES_OFF: float(self.ratio_errors[s]),
                **{name: int(n) for name, n in zip(self.classes, self.class_images[s], strict=True)},
            }
            for s, part in enumerate(self.parts)
        ]

    def lacking(self, name: str, part: str) -> str:
        """A line on a pair of ``missing``: how many patients have the class, and how many parts were asked for."""
        holders = int(self.holders[self.classes.index(name)])
        whose = "1 patient has it" if holders == 1 else f"{holders} patients have it"
        return f"the {part} split has no example of {name}: {whose}, {len(self.parts)} splits are asked"


def row_line(row: Mapping[str, object], classes: Sequence[str] = ()) -> str:
    """A row of the table as one line: names and figures, of ``classes`` their share of the images too."""

    def shown(value: object) -> str:
        number = isinstance(value, int | float)
        return f"{value:,}" if isinstance(value, int) else f"{value:.2g}" if number else str(value)

    def share(key: str, value: object) -> str:
        images = row.get("images")
        if key not in classes or not isinstance(value, int) or not isinstance(images, int) or not images:
            return ""
        return f" ({percent(value / images)})"

    return "  ".join(f"{key} {shown(value)}{share(key, value)}" for key, value in row.items())


def split_summary(
    labels: np.ndarray, groups: np.ndarray, splits: Mapping[str, np.ndarray], classes: Sequence[str]
) -> SplitSummary:
    """Count the images and patients of each class in each part of ``splits`` (name -> indices)."""
    has = has_class(labels, len(classes))
    patient = patients_of(groups, len(labels))
    number = int(patient.max(initial=-1)) + 1
    member = np.zeros((len(splits), number), bool)
    patient_has = np.zeros((len(splits), number, len(classes)), bool)
    class_images = np.zeros((len(splits), len(classes)), np.int64)
    for part, indices in enumerate(splits.values()):
        member[part, patient[indices]] = True
        class_images[part] = has[indices].sum(0)
        np.logical_or.at(patient_has[part], patient[indices], has[indices])
    images = np.array([len(indices) for indices in splits.values()])
    in_all = class_images.sum(0) / max(images.sum(), 1)
    ratio_errors = np.abs(class_images / np.maximum(images, 1)[:, None] - in_all).mean(1)
    parts = tuple(splits)
    return SplitSummary(
        parts=parts,
        classes=tuple(classes),
        images=images,
        patients=member.sum(1),
        class_images=class_images,
        class_patients=patient_has.sum(1),
        holders=patient_has.any(0).sum(0),
        ratio_errors=ratio_errors,
        missing=tuple((classes[c], parts[s]) for s, c in np.argwhere(class_images == 0)),
        shared_patients=int((member.sum(0) > 1).sum()),
    )


def patients_of(groups: np.ndarray, count: int) -> np.ndarray:
    """int [N], a number for each patient; a group that is missing is a patient of its own."""
    if groups is None:
        raise InputError(
            "groups are None: give the patient of every item, or np.arange(N) where each is its own"
        )
    if len(groups) != count:
        raise InputError(f"{len(groups)} groups for {count} labels: give the patient of every item")
    return patient_numbers(groups, np.ones(count, bool), missing="own")


def _place(labels: np.ndarray, groups: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """int [N]: the part of each item."""
    has = has_class(labels)
    patient = patients_of(groups, len(has))
    number = int(patient.max(initial=-1)) + 1
    if number < len(shares):
        raise InputError(
            f"{number} patients cannot fill {len(shares)} splits: add patients or ask for fewer splits"
        )
    counts = np.zeros((number, has.shape[1] + 1))
    np.add.at(counts, patient, np.concatenate([has, np.ones((len(has), 1), bool)], 1))
    return assign(counts, shares, seed)[patient]
