"""What decisions are made from: scores, priors and labels, checked where they arrive, as numpy on the host.

Every function returns its values as an array, or raises ValueError naming the first that is wrong.
"""

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.cases import refuse_signs


def check(name: str, values: np.ndarray, allowed: np.ndarray, expected: str) -> None:
    """ValueError unless every value is ``allowed`` and finite; ``expected`` says what it should be."""
    allowed = allowed & np.isfinite(values)
    if not allowed.all():
        at = np.unravel_index(int(np.argmin(allowed)), allowed.shape)
        where = f"[{', '.join(map(str, at))}]" if at else ""
        value = np.broadcast_to(values, allowed.shape)[at]
        raise ValueError(f"{name}{where} is {value:g}, expected {expected}")


def positive(name: str, values: ArrayLike, *shapes: tuple[int, ...]) -> np.ndarray:
    """Values above 0 of one of the ``shapes``, float64."""
    values = np.asarray(values, np.float64)
    if values.shape not in shapes:
        expected = " or ".join(str(list(shape)) if shape else "a number" for shape in dict.fromkeys(shapes))
        raise ValueError(f"{name} has shape {list(values.shape)}, expected {expected}")
    check(name, values, values > 0, "a finite number above zero")
    return values


def distribution(name: str, values: ArrayLike, num_classes: int) -> np.ndarray:
    """Priors above 0, one a class, float64 [C]; their sum must be 1 within 0.01, and is made 1."""
    values = positive(name, values, (num_classes,))
    if abs(values.sum() - 1) > 0.01:
        raise ValueError(f"the sum of {name} is {values.sum():g}, expected 1: divide counts by their total")
    return values / values.sum()


def prevalences(name: str, values: ArrayLike, shape: tuple[int, ...] = ()) -> np.ndarray:
    """A prevalence in (0, 1), a number or one a label, float64."""
    values = positive(name, values, (), shape)
    check(name, values, values < 1, "a number between 0 and 1")
    return values


def sigmoid_scores(scores: ArrayLike) -> np.ndarray:
    """Probabilities float64 [N] or [N, L], each by itself."""
    scores = np.asarray(scores, np.float64)
    if scores.ndim not in (1, 2):
        raise ValueError(f"scores have shape {list(scores.shape)}, expected [N] or [N, L]")
    check("scores", scores, (scores >= 0) & (scores <= 1), "a probability from 0 to 1")
    return scores


def softmax_scores(scores: ArrayLike) -> np.ndarray:
    """Probabilities float64 [N, C], C of 2 or more; a row must sum to 1 within 0.01."""
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"scores have shape {list(scores.shape)}, expected [N, C] with C of 2 or more")
    scores = sigmoid_scores(scores)
    wrong = np.abs(scores.sum(axis=1) - 1) > 0.01  # bfloat16 rounds each by up to 0.4 %
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"scores of row {row} sum to {scores[row].sum():.4g}, expected 1: "
            "for independent sigmoids take the functions of prevalence"
        )
    return scores


def one_finding(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the positives and of the negatives, in the dtype they came in.

    labels: [N], 1 positive, 0 negative, -1 or -2 unknown and left out, with its score; with -1 and 1 there is a 0.
    scores: [N], larger for more suspicious; finite.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"labels {list(labels.shape)} do not fit scores {list(scores.shape)}: expected [N] with [N]"
        )
    check("labels", labels, np.isin(labels, (-2, -1, 0, 1)), "1, 0, or -1 for unknown")
    refuse_signs(labels)
    known = np.flatnonzero(labels >= 0)
    finite = np.isfinite(scores[known])
    if not finite.all():
        at = known[np.argmin(finite)]
        raise ValueError(f"scores[{at}] is {scores[at]:g}, expected a finite number")
    return scores[labels == 1], scores[labels == 0]


def one_label(labels: ArrayLike, scores: ArrayLike, name: str = "scores") -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 [N] and scores float64 [N, C], without the cases whose label is -1.

    labels: [N], 0 to C - 1, or -1 or -2 for unknown. scores: [N, C], C of 2 or more, finite; ``name`` in messages.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.ndim != 1 or scores.ndim != 2 or len(scores) != len(labels) or scores.shape[1] < 2:
        raise ValueError(
            f"labels {list(labels.shape)} do not fit {name} {list(scores.shape)}: "
            "expected [N] with [N, C], C of 2 or more"
        )
    last = scores.shape[1] - 1
    whole = (labels >= -2) & (labels <= last) & (labels == np.rint(labels))
    check("labels", labels, whole, f"0 to {last}, or -1 for unknown")
    if last == 1:
        refuse_signs(labels)
    known = labels >= 0
    labels, scores = labels[known].astype(np.int64), scores[known]
    check(name, scores, np.isfinite(scores), "a finite number")
    return labels, scores


def one_against_rest(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """int8 [M, C], 1, 0 or -1, of labels [M] or [M, C]."""
    labels = np.asarray(labels)
    if labels.ndim == 2:
        return np.where(labels < 0, -1, labels == 1).astype(np.int8)
    truth = (labels[:, None] == np.arange(num_classes)).astype(np.int8)
    truth[labels < 0] = -1
    return truth
