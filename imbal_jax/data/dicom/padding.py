"""Finds padding pixels, which stand for "no image" (PS3.3 C.7.5.1.1.2), integer and floating point.

Padding often lies outside the bits stored (0x8000 or 0xFFFF with 12 bits), so it is found before other bits are cut
off. It is written as signed or unsigned whatever the pixels are, so integers are compared as words.
"""

import numpy as np
import pydicom

from imbal_jax.data.dicom.header import attribute, number

FLOAT_PADDING = ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit")
DOUBLE_PADDING = ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit")


def padding_words(header: pydicom.Dataset, words: np.ndarray) -> np.ndarray | None:
    """Which of the words, as they lie in the file with all bits allocated, are padding; None without padding."""
    limits = padding_range(header)
    if limits is None:
        return None
    return between(words.view(f"u{words.itemsize}"), *limits)


def padding_values(header: pydicom.Dataset, values: np.ndarray) -> np.ndarray:
    """Which stored values are padding: bool, of the shape of ``values``, which are integers or floats."""
    none = np.zeros(values.shape, bool)
    if values.dtype.kind == "f":
        return float_padding(header, values)
    limits = padding_range(header)
    if limits is None:
        return none
    allocated = int(number(header, "BitsAllocated", 16))
    found = between(values.astype(np.int64).view(np.uint64) & np.uint64(2**allocated - 1), *limits, allocated)
    # A negative value of 12 bits may be written with these 12 bits; no pixel of 12 signed bits is that large.
    stored = int(number(header, "BitsStored", allocated))
    low, high = limits
    if number(header, "PixelRepresentation", 0) == 1 and 2 ** (stored - 1) <= low <= high < 2**stored:
        found |= (values >= low - 2**stored) & (values <= high - 2**stored)
    return found


def padding_range(header: pydicom.Dataset) -> tuple[int, int] | None:
    """The smallest and the largest padding value, signed where the pixels are."""
    first = number(header, "PixelPaddingValue", np.nan)
    if not np.isfinite(first):
        return None
    last = number(header, "PixelPaddingRangeLimit", first)
    limits = int(first), int(last if np.isfinite(last) else first)
    if number(header, "PixelRepresentation", 0) == 1:  # whatever they were written as
        signed = [limit - 2**16 if 2**15 <= limit < 2**16 else limit for limit in limits]
        return min(signed), max(signed)
    return min(limits), max(limits)


def between(words: np.ndarray, low: int, high: int, bits: int | None = None) -> np.ndarray:
    """Whether unsigned words are from ``low`` to ``high``, counted on from 2^bits - 1 to 0."""
    size = 2 ** (bits or 8 * words.itemsize)
    if high - low >= size:
        return np.ones(words.shape, bool)
    kind = words.dtype.type
    return (words - kind(low % size)) & kind(size - 1) <= kind(high - low)


def float_padding(header: pydicom.Dataset, values: np.ndarray) -> np.ndarray:
    for value_keyword, limit_keyword in (FLOAT_PADDING, DOUBLE_PADDING, ("PixelPaddingValue", None)):
        first = attribute(header, value_keyword)
        if not isinstance(first, int | float):
            continue
        if np.isnan(first):
            return np.isnan(values)
        last = number(header, limit_keyword, first) if limit_keyword else first
        low, high = sorted((float(first), last if not np.isnan(last) else float(first)))
        return (values >= low) & (values <= high)
    return np.zeros(values.shape, bool)
