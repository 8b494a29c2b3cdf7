"""Averages over classes that skip undefined values and report how many they cover."""

import numpy as np
from numpy.typing import ArrayLike

AVERAGES = ("macro", "weighted", "micro", "none")


def macro_mean(values: ArrayLike) -> tuple[float, int]:
    """Mean of the defined (not NaN) values, and how many they are; (NaN, 0) if there is none."""
    values = np.asarray(values, np.float64)
    defined = values[~np.isnan(values)]
    return (float(defined.mean()), int(defined.size)) if defined.size else (np.nan, 0)


def check_average(average: str) -> None:
    """ValueError unless ``average`` is one of ``AVERAGES``."""
    if average not in AVERAGES:
        raise ValueError(f"unknown average {average!r}: expected one of {', '.join(AVERAGES)}")


def average_of(values: np.ndarray, support: np.ndarray, average: str) -> float | np.ndarray:
    """The "macro", "weighted" (by ``support``) or "none" average of values [..., K] that are defined (not NaN)."""
    if average == "none":
        return values
    weights = np.where(np.isnan(values), 0, support if average == "weighted" else 1)
    return plain(ratio((weights * np.nan_to_num(values)).sum(axis=-1), weights.sum(axis=-1)))


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> np.ndarray:
    """float64; NaN where the denominator is not above 0."""
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def plain(values: np.ndarray) -> float | np.ndarray:
    """A float for an array without axes."""
    return float(values) if np.ndim(values) == 0 else values
