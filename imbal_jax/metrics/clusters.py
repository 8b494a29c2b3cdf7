"""Whose a case is: patients are drawn and counted, not their images."""

import numpy as np
from numpy.typing import ArrayLike


def patient_numbers(groups: ArrayLike | None, kept: np.ndarray) -> np.ndarray:
    """Numbers 0 to G - 1, int [kept cases]; a number of its own for each case where ``groups`` is None.

    Raises ValueError where ``groups`` are not one a case, or one that counts is missing (None or NaN).
    """
    if groups is None:
        return np.arange(np.count_nonzero(kept))
    groups = np.asarray(groups)
    if groups.shape != kept.shape:
        raise ValueError(f"groups {list(groups.shape)} must be one a case, {list(kept.shape)}")
    groups = groups[kept]
    nameless = groups != groups  # NaN
    if groups.dtype == object:
        nameless |= np.array([group is None for group in groups], bool)
    if nameless.any():
        raise ValueError(f"{nameless.sum()} of {groups.size} groups are missing: give every case its patient")
    return np.unique(groups, return_inverse=True)[1]


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
    positive = labels == 1 if labels.ndim == 2 else (labels > 0).reshape(len(labels), -1).any(axis=1)[:, None]
    holds = np.zeros((number, positive.shape[1]), bool)
    np.logical_or.at(holds, patients, positive)
    return holds
