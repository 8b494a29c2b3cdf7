"""Reads condensed copies of public sets, NPZ files whose arrays are checked before they are used."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from imbal_jax.data.sources.archives import AGAIN
from imbal_jax.files import DamagedError, read_npz

Expected = Mapping[str, tuple[type[np.generic], tuple[int | str | None, ...]]]
"""Name -> kind of number, and the shape, in which None is any length and one letter the same length everywhere."""

JPEGS: Expected = {"jpeg": (np.uint8, (None,)), "offsets": (np.integer, (None,))}
"""JPEG files one after the other, file i from offsets[i] to offsets[i + 1]."""


def read_condensed(path: Path, expected: Expected) -> dict[str, np.ndarray]:
    """The arrays of an NPZ file; DamagedError for another dtype, another shape, and lengths that do not agree."""
    arrays = read_npz(path, expected, AGAIN)
    lengths: dict[str, int] = {}
    for name, (kind, shape) in expected.items():
        array = arrays[name]
        fits = array.ndim == len(shape) and np.issubdtype(array.dtype, kind)
        for length, wanted in zip(array.shape, shape, strict=False):
            wanted = lengths.setdefault(wanted, length) if isinstance(wanted, str) else wanted
            fits = fits and wanted in (None, length)
        if not fits:
            sides = ", ".join("any" if side is None else str(lengths.get(str(side), side)) for side in shape)
            raise DamagedError(
                f"{path} is damaged ({name} is {array.dtype} {list(array.shape)}, expected {kind.__name__} [{sides}])"
                f": {AGAIN}"
            )
    return arrays


def jpegs(path: Path, arrays: Mapping[str, np.ndarray]) -> list[bytes]:
    """The pictures of ``JPEGS``, one for each of ``labels``; DamagedError where the offsets do not fit."""
    data, ends = arrays["jpeg"], arrays["offsets"].astype(np.int64)
    if (
        len(ends) != len(arrays["labels"]) + 1
        or ends[0] != 0
        or ends[-1] != len(data)
        or (np.diff(ends) <= 0).any()
    ):
        raise DamagedError(
            f"{path} is damaged (offsets do not divide jpeg into {len(arrays['labels'])}): {AGAIN}"
        )
    return [data[start:end].tobytes() for start, end in pairwise(ends)]


def check_labels(path: Path, labels: np.ndarray, classes: Sequence[str], *, many: bool = False) -> None:
    """DamagedError for a label that is no class, or with ``many`` neither 0 nor 1."""
    most = 1 if many else len(classes) - 1
    if len(labels) == 0:
        raise DamagedError(f"{path} is damaged (no images): {AGAIN}")
    if labels.min() < 0 or labels.max() > most:
        raise DamagedError(
            f"{path} has labels from {labels.min()} to {labels.max()}: there are {len(classes)} classes: {AGAIN}"
        )
