"""Masks as run lengths in text, and as polygons."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from imbal_jax.data.masks.mask_error import MaskError

RunLengths = Literal["columns", "rows", "relative"]
NOTHING = ("", "-1", "nan", "none", "null")
"""Texts that stand for a mask without a pixel."""


def decode_run_lengths(text: str, height: int, width: int, kind: RunLengths) -> np.ndarray:
    """bool [height, width] of ``start length start length ...``; without numbers, or -1: no pixel.

    kind: "columns", pixels are numbered from 1, down each column and then along the row (most Kaggle contests);
        "rows", along each row and then down; "relative", down the columns, and each start is counted from the end of
        the run before, the first from the first pixel, which is 0 (SIIM-ACR Pneumothorax Segmentation, 2019).
    Raises MaskError for text that is none, and for runs that go back or beyond the picture.
    """
    flat = np.zeros(height * width, bool)
    if text.strip().lower() not in NOTHING:
        try:
            numbers = np.array([int(word) for word in text.split()], np.int64)
        except (ValueError, OverflowError):
            raise MaskError("is no text of run lengths: start length start length ...") from None
        starts, lengths = numbers[::2], numbers[1::2]
        if len(starts) != len(lengths) or (lengths < 0).any() or (starts < 0).any():
            raise MaskError("is no text of run lengths: start length start length ...")
        if kind == "relative":
            ends = np.cumsum(starts + lengths)
            starts = ends - lengths
        else:
            starts = starts - 1
            ends = starts + lengths
        if (starts < 0).any() or (starts[1:] < ends[:-1]).any() or (len(ends) and ends[-1] > len(flat)):
            raise MaskError(
                f"has runs that go back or beyond {height} x {width} pixels: are they of another kind than "
                f"--data.run-lengths {kind}"
            )
        for start, end in zip(starts, ends, strict=True):
            flat[start:end] = True
    return flat.reshape(height, width) if kind == "rows" else flat.reshape(width, height).T


def from_counts(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    """bool [height, width] of COCO's counts down the columns: of pixels outside, inside, outside, ...

    Raises MaskError where they are not as many as the picture has.
    """
    lengths = np.asarray(counts, np.int64)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise MaskError(f"has counts of {int(lengths.sum())} pixels, its picture {height * width}")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T


def counts_of_text(text: str) -> list[int]:
    """The counts of COCO's compressed form: 5 bits a character, the lowest first, from the third on as differences.

    Of a character less 48, 32 says that more follow and 16, in the last, that the number is negative; from the fourth
    number on it is the difference to the last but one (COCO API, maskApi.c).
    """
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise MaskError("is no compressed run length of COCO")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = shift = 0
    if shift:
        raise MaskError("is no compressed run length of COCO: it ends in a number")
    return counts


def fill_polygon(corners: Sequence[float], height: int, width: int) -> np.ndarray:
    """bool [height, width] of the pixels whose middle is inside the polygon x1, y1, x2, y2, ... (even-odd rule).

    Coordinates are in pixels, from the upper left corner of the picture; the middle of the first pixel is at
    (0.5, 0.5). Raises MaskError for fewer than three corners and for numbers that are not finite.
    """
    points = np.asarray(corners, np.float64)
    if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not np.isfinite(points).all():
        raise MaskError("has a polygon of fewer than three corners")
    x, y = points[::2], points[1::2]
    # Where each edge crosses a row's middle, the pixels to the right change sides.
    changes = np.zeros((height, width + 1), np.int32)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        low, high = sorted((y0, y1))
        rows = np.arange(max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5))))
        if not len(rows):
            continue
        at = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(at - 0.5), 0, width).astype(int)
        changes[rows, columns] += 1
    return (np.cumsum(changes, axis=1)[:, :width] % 2).astype(bool)
