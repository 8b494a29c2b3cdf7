"""Checks of probabilities, priors and prevalences, as NumPy arrays on the host.

Every function returns its values as an array, or raises ValueError naming the first that is wrong.
"""

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.labels import check


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
