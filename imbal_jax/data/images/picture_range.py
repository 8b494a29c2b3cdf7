"""Finds which stored value of a picture is white, and which range of values it uses."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from imbal_jax.data.images.picture_integrity import png_chunks

PERCENTILES = (0.5, 99.5)
USED = 0.25  # of the range: with less, an 8-bit copy would have 64 grey levels or fewer
COUNTED = 512  # rows and columns that percentiles are taken from
# Text and arrows drawn in 16-bit white into a picture of fewer bits: at most this share of the pixels, and no value
# between the largest of the other pixels, which has 9 bits or more, and this many times that value.
MARKS, BRIGHTER, FILM = 0.1, 4, 256


def white_level(data: bytes, tags: Mapping[int, Any], pixels: np.ndarray) -> float | None:
    """What is white in 16 bits: what the file says where no value is beyond it, else 65535; None: to be guessed."""
    most = int(pixels.max())
    said: int | None = None
    if data.startswith(b"\x89PNG"):
        said = next(
            (2 ** max(content) - 1 for name, content in png_chunks(data) if name == b"sBIT" and len(content)),
            None,
        )
    elif tags:
        bits = int(np.max(tags.get(258, 16)))
        if bits < 16:
            return 2**bits - 1
        said = int(np.max(tags.get(281, 65535)))
    if said is not None and 0 < said < 65535 and most <= said and not _widened(pixels, said):
        return said
    if fills(pixels, 65535):
        return 65535
    # An 8-bit picture made of 16 bits, by repeating the byte or by a shift, may be dark.
    return 65535 if not (pixels % 257).any() or not (pixels % 256).any() else None


def _widened(pixels: np.ndarray, said: int) -> bool:
    """Whether 14 or 15 bits were shifted to 16, as PNG asks for, in a picture too dark to reach beyond ``said``."""
    bits = said.bit_length()
    return bits >= 14 and not (pixels & (1 << 16 - bits) - 1).any()


def fills(pixels: np.ndarray, top: float) -> bool:
    """Whether the picture uses the range from 0 to ``top``: not a small part of it, nor that with marks beyond."""
    if top == 255 and pixels.dtype.kind == "f" and bool((abs(pixels - np.rint(pixels)) < 1e-3).all()):
        return True  # 8-bit levels, which may be dark
    return percentiles(pixels)[1] >= USED * top


def percentiles(pixels: np.ndarray) -> tuple[float, float]:
    """PERCENTILES of the picture; where it has ``MARKS`` that would count, without them."""
    step = max(1, min(pixels.shape[:2]) // COUNTED)
    values = pixels[::step, ::step].ravel()
    low, high = np.percentile(values, PERCENTILES)
    if values.dtype == np.uint16 and high >= USED * 65535:
        values = np.sort(values)
        few = values[int((1 - MARKS) * len(values)) :].astype(np.int64)
        gaps = (few[:-1] >= FILM) & (few[:-1] < USED * 65535) & (few[1:] >= BRIGHTER * few[:-1])
        if gaps.any():
            low, high = np.percentile(values[: len(values) - len(few) + 1 + int(gaps.argmax())], PERCENTILES)
    return float(low), float(high)
