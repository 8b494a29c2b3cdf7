"""Labels: one class per case or many labels, and each class against the rest.

Every function returns its values as an array on the host, or raises ValueError naming the first that is wrong.
"""

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.cases import refuse_signs

THRESHOLD = 0.5  # decision threshold of each label where there is no operating point


def is_exclusive(labels: ArrayLike) -> bool:
    """Whether a case has exactly one class, labels [N], and not a label for each, [N, L]."""
    return np.ndim(labels) == 1


def one_against_rest(labels: ArrayLike, num_classes: int) -> np.ndarray:
    """int8 [N, C], 1, 0 or -1, of labels [N] or [N, C]."""
    given = np.asarray(labels)
    if not is_exclusive(given):
        return np.where(given < 0, -1, given == 1).astype(np.int8)
    truth = (given[:, None] == np.arange(num_classes)).astype(np.int8)
    truth[given < 0] = -1
    return truth


def images_by_patient(labels: ArrayLike, groups: ArrayLike | None, num_classes: int) -> list[np.ndarray]:
    """For each class int [P], how many of its images each of the P patients has that have one at all.

    labels: [N] or [N, C]. groups: [N], the patient of each image; None: each image is of its own.
    """
    truth = one_against_rest(labels, num_classes)
    patients = np.arange(len(truth)) if groups is None else np.asarray(groups)
    return [np.unique(patients[column == 1], return_counts=True)[1] for column in truth.T]


def decided_by_default(labels: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """bool [N, C], what each case is called without operating points, of scores [N, C].

    The class of the highest score where a case has exactly one; else each of a score of ``THRESHOLD`` or more.
    ``classification_summary`` decides so too.
    """
    values = np.asarray(scores)
    if is_exclusive(labels):
        return values.argmax(axis=1)[:, None] == np.arange(values.shape[1])
    return values >= THRESHOLD


def classes_apart(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Each class against the rest, checked: 1, 0 or below 0 for unknown, [N, C], and the scores [N, C].

    labels: [N], 0 to C - 1, or -1 or -2; or [N, C], 1, 0, -1 or -2. scores: [N, C].
    """
    given, values = np.asarray(labels), np.asarray(scores)
    if not is_exclusive(given):
        refuse_signs(given)
        return given, values
    known_cases(given, values)
    return one_against_rest(given, values.shape[1]), values.astype(np.float64)


def one_finding(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the positives and of the negatives, in the dtype they came in.

    labels: [N], 1 positive, 0 negative, -1 or -2 unknown and left out, with its score; with -1 and 1 there is a 0.
    scores: [N], larger for more suspicious; finite.
    """
    given, values = np.asarray(labels), np.asarray(scores)
    if given.ndim != 1 or values.shape != given.shape:
        raise ValueError(
            f"labels {list(given.shape)} do not fit scores {list(values.shape)}: expected [N] with [N]"
        )
    check("labels", given, np.isin(given, (-2, -1, 0, 1)), "1, 0, or -1 for unknown")
    refuse_signs(given)
    known = np.flatnonzero(given >= 0)
    finite = np.isfinite(values[known])
    if not finite.all():
        at = known[np.argmin(finite)]
        raise ValueError(f"scores[{at}] is {values[at]:g}, expected a finite number")
    return values[given == 1], values[given == 0]


def known_cases(labels: ArrayLike, scores: ArrayLike, name: str = "scores") -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 [N] and scores float64 [N, C], without the cases whose label is -1.

    labels: [N], 0 to C - 1, or -1 or -2 for unknown. scores: [N, C], C of 2 or more, finite; ``name`` in messages.
    """
    given, values = np.asarray(labels), np.asarray(scores, np.float64)
    if given.ndim != 1 or values.ndim != 2 or len(values) != len(given) or values.shape[1] < 2:
        raise ValueError(
            f"labels {list(given.shape)} do not fit {name} {list(values.shape)}: "
            "expected [N] with [N, C], C of 2 or more"
        )
    last = values.shape[1] - 1
    whole = (given >= -2) & (given <= last) & (given == np.rint(given))
    check("labels", given, whole, f"0 to {last}, or -1 for unknown")
    if last == 1:
        refuse_signs(given)
    known = given >= 0
    values = values[known]
    check(name, values, np.isfinite(values), "a finite number")
    return given[known].astype(np.int64), values


def check(name: str, values: np.ndarray, allowed: np.ndarray, expected: str) -> None:
    """ValueError unless every value is ``allowed`` and finite; ``expected`` says what it should be."""
    allowed = allowed & np.isfinite(values)
    if not allowed.all():
        at = np.unravel_index(int(np.argmin(allowed)), allowed.shape)
        where = f"[{', '.join(map(str, at))}]" if at else ""
        value = np.broadcast_to(values, allowed.shape)[at]
        raise ValueError(f"{name}{where} is {value:g}, expected {expected}")
