"""Patients: cases are grouped, resampled and counted by patient."""

import re
import unicodedata
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

# Spellings of missing values, in lower case: the list of pandas.read_csv, and NaT.
MISSING_WORDS = frozenset(
    (
        "", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan", "<na>", "n/a", "na",
        "null", "nan", "none", "nat",
    )
)  # fmt: skip


def missing_groups(groups: ArrayLike) -> np.ndarray:
    """bool, the shape of the groups: those that name no patient: NaN, None, NaT, pandas.NA, "", "nan", "None", ..."""
    given = np.asarray(groups)
    if given.dtype.kind in "iub":
        return np.zeros(given.shape, bool)
    if given.dtype.kind in "fcmM":
        return np.isnat(given) if given.dtype.kind in "mM" else np.isnan(given)
    flat = [_names_nobody(group) for group in given.ravel().tolist()]
    return np.array(flat, bool).reshape(given.shape)


def _names_nobody(group: object) -> bool:
    if isinstance(group, bytes):
        group = group.decode("utf-8", "replace")
    if isinstance(group, str):
        return group.strip().casefold() in MISSING_WORDS
    # pandas.NA is unlike everything and has no truth value, NaN and NaT are unlike themselves
    return group is None or str(group) == "<NA>" or bool(group != group)


def _one_spelling(group: object) -> str:
    text = group.decode("utf-8", "replace") if isinstance(group, bytes) else str(group)
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    return text.split(".")[0] if re.fullmatch(r"-?\d+\.0+", text, re.ASCII) else text


def patient_numbers(
    groups: ArrayLike | None, kept: np.ndarray, *, missing: Literal["refuse", "own"] = "refuse"
) -> np.ndarray:
    """Numbers 0 to G - 1, int [kept cases]; a number of its own for each case where ``groups`` is None.

    1, 1.0, "1", " 1" and "1.0" are one patient, and so are the normal forms of one name: a column of a frame holds
    them side by side. missing: whether a group that names no patient (``missing_groups``) is refused, or counts as
    a patient of its own.
    Raises ValueError where ``groups`` are not one a case, or where one that counts is missing and is refused.
    """
    if groups is None:
        return np.arange(np.count_nonzero(kept))
    owners = np.asarray(groups)
    if owners.shape != kept.shape:
        raise ValueError(f"groups {list(owners.shape)} must be one a case, {list(kept.shape)}")
    owners = owners[kept]
    nameless = missing_groups(owners)
    if nameless.any() and missing == "refuse":
        raise ValueError(f"{nameless.sum()} of {owners.size} groups are missing: give every case its patient")
    named = owners[~nameless]
    if owners.dtype == object:  # numbers and words do not sort together
        named = np.array([_one_spelling(group) for group in named.tolist()], str)
    elif owners.dtype.kind in "US":
        spelled, place = np.unique(named, return_inverse=True)
        named = np.array([_one_spelling(group) for group in spelled.tolist()], str)[place]
    named = np.unique(named, return_inverse=True)[1]
    numbers = np.empty(owners.shape, np.int64)
    numbers[~nameless] = named
    numbers[nameless] = named.max(initial=-1) + 1 + np.arange(nameless.sum())
    return numbers


def strata_of(holds: np.ndarray) -> list[np.ndarray]:
    """The patients [G] in strata that are resampled apart, so that no class is lost.

    holds: bool [G, K], whether a patient has a case of a class. A patient belongs to the class, of those
    that he holds, that the fewest patients hold; those who hold none make the last stratum.
    """
    patients, classes = holds.shape
    rarity = np.where(holds, holds.sum(axis=0), patients + 1)
    stratum = np.where(holds.any(axis=1), rarity.argmin(axis=1), classes) if classes else np.zeros(patients)
    return [np.flatnonzero(stratum == s) for s in np.unique(stratum)]


def classes_held(labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """bool [G, K] of labels [N] (K classes), [N, L] (K labels) or [N, *space] (one: anything above 0)."""
    number = int(patients.max(initial=-1)) + 1
    if labels.ndim == 1:
        classes, label = np.unique(labels, return_inverse=True)
        holds = np.zeros((number, classes.size), bool)
        holds[patients, label] = True
        return holds
    found = labels == 1 if labels.ndim == 2 else (labels > 0).reshape(len(labels), -1)
    positive = found if labels.ndim == 2 else found.any(axis=1, keepdims=True)
    holds = np.zeros((number, positive.shape[1]), bool)
    np.logical_or.at(holds, patients, positive)
    return holds
