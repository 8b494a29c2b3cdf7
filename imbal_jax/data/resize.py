"""A picture of any size as a square: anti-aliased, proportions kept, centred on black.

Two steps. While it is at least twice too large, whole blocks of pixels are averaged; what is left is done by a
Hamming filter on float values. Every source pixel counts, so a small nodule cannot fall between samples; and
the filter has, unlike Lanczos, no negative lobes, which would ring beside a metal marker and leave 0..1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

BAND = 64  # rows that are worked on at once, so that they stay in the cache
# The filter must still shrink the blocks twofold: less, and the blocks' own frequency response would show.
GAP = 2.0

Prepare = Callable[[np.ndarray, np.ndarray], object]


@dataclass(frozen=True)
class Layout:
    """The picture's size within the square, and the blocks that are averaged first."""

    height: int
    width: int
    block_rows: int
    block_columns: int


def lay_out(rows: int, columns: int, size: int, aspect: float) -> Layout:
    """aspect: height of a pixel over its width."""
    tall, wide = rows * max(aspect, 1.0), columns * max(1 / aspect, 1.0)
    longest = max(tall, wide)
    height, width = max(1, round(size * tall / longest)), max(1, round(size * wide / longest))
    return Layout(height, width, max(1, int(rows / height / GAP)), max(1, int(columns / width / GAP)))


def fit_square(shown: np.ndarray, size: int, aspect: float = 1.0, bits: int = 8) -> np.ndarray:
    """uint8 or uint16 [size, size] of float32 [rows, columns] in [0, 1].

    aspect: height of a pixel over its width. bits: 8 or 16.
    """
    layout = lay_out(*shown.shape, size, aspect)
    return place(average_blocks(shown, layout, np.float32, copy), shown.shape, layout, size, bits)


def fit_levels(
    stored: np.ndarray, levels: np.ndarray, shown: np.ndarray, size: int, aspect: float = 1.0, bits: int = 8
) -> np.ndarray:
    """``fit_square`` of the picture in which every stored value ``levels[i]`` is shown as ``shown[i]``."""
    layout = lay_out(*stored.shape, size, aspect)
    narrow = stored.dtype.kind in "iu" and stored.itemsize <= 2
    line = straight(levels, shown) if narrow else None
    if line is not None:
        low, high, falling = line
        # An average goes through a straight line: clip the stored values, average them, then draw the line.
        whole = low.is_integer() and high.is_integer() and layout.block_rows * (high - low) < 2**16
        blocks = average_blocks(
            stored,
            layout,
            # Sums wrap, and come right when ``low`` is taken off each: no true sum is beyond 16 bits.
            np.uint16 if whole else np.float32,
            clip_whole(stored.dtype, low, high) if whole else clip_float(low, high),
            base=int(low) if whole else 0,
        )
        if not whole:
            blocks -= np.float32(low)
        blocks *= np.float32((-1 if falling else 1) / (high - low))
        if falling:
            blocks += 1
    else:
        look = look_up(levels, shown, stored.dtype) if narrow else search(levels, shown)
        blocks = average_blocks(stored, layout, np.float32, look)
    return place(blocks, stored.shape, layout, size, bits)


def straight(levels: np.ndarray, shown: np.ndarray) -> tuple[float, float, bool] | None:
    """(low, high, falling) if ``shown`` is 0 to 1 (falling: 1 to 0) from low to high and clipped beyond."""
    inner = np.flatnonzero((shown > 0) & (shown < 1))
    if len(inner) < 2 or inner[-1] - inner[0] != len(inner) - 1:
        return None
    first, last = inner[0], inner[-1]
    slope = (shown[last] - shown[first]) / (levels[last] - levels[first])
    if slope == 0:
        return None
    ends = sorted(float(levels[first] + (end - shown[first]) / slope) for end in (0, 1))
    low, high = (round(end) if abs(end - round(end)) < 1e-6 else end for end in ends)
    line = np.clip((levels - low) / (high - low), 0, 1)
    if slope < 0:
        line = 1 - line
    return (float(low), float(high), bool(slope < 0)) if np.abs(line - shown).max() < 1e-6 else None


# What is done to a band of stored values before it is averaged


def copy(band: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, band)


def clip_whole(kind: np.dtype, low: float, high: float) -> Prepare:
    limits = np.iinfo(kind)
    low, high = kind.type(max(low, limits.min)), kind.type(min(high, limits.max))

    def clip(band: np.ndarray, out: np.ndarray) -> None:
        if kind.itemsize == 2:
            np.clip(band, low, high, out=out.view(kind))
        else:
            np.clip(band, low, high, out=out, casting="unsafe")

    return clip


def clip_float(low: float, high: float) -> Prepare:
    def clip(band: np.ndarray, out: np.ndarray) -> None:
        np.copyto(out, band, casting="unsafe")
        np.maximum(out, np.float32(low), out=out)
        np.minimum(out, np.float32(high), out=out)

    return clip


def look_up(levels: np.ndarray, shown: np.ndarray, kind: np.dtype) -> Prepare:
    unsigned = np.dtype(f"u{kind.itemsize}")
    table = np.zeros(2 ** (8 * kind.itemsize), np.float32)
    table[levels % len(table)] = shown

    def look(band: np.ndarray, out: np.ndarray) -> None:
        # mode="clip" changes no index here; it spares numpy a buffered copy.
        np.take(table, band.view(unsigned), out=out, mode="clip")

    return look


def search(levels: np.ndarray, shown: np.ndarray) -> Prepare:
    table = shown.astype(np.float32)

    def look(band: np.ndarray, out: np.ndarray) -> None:
        np.take(table, np.searchsorted(levels, band), out=out, mode="clip")

    return look


def average_blocks(
    stored: np.ndarray, layout: Layout, kind: type, prepare: Prepare, base: int = 0
) -> np.ndarray:
    """float32 means, less ``base``, of blocks of pixels; the last row and column may be of smaller blocks."""
    rows, columns = stored.shape
    high, wide = layout.block_rows, layout.block_columns
    means = np.empty((-(-rows // high), -(-columns // wide)), np.float32)
    height = max(1, BAND // high) * high
    prepared = np.empty((height, columns), kind)
    whole = columns - columns % wide
    for top in range(0, rows, height):
        band = stored[top : top + height]
        work = prepared[: len(band)]
        prepare(band, work)
        for start, count, tall in spans(len(band), high):
            lines = work[start : start + count * tall].reshape(count, tall, columns)
            sums = lines[:, 0]
            if tall > 1:
                sums = sums + lines[:, 1]
                for line in range(2, tall):
                    sums += lines[:, line]
            if base:
                sums = sums - kind(tall * base % 2**16)
            at = (top + start) // high
            out = means[at : at + count]
            if wide == 1:
                np.multiply(sums, np.float32(1 / tall), out=out)
                continue
            inside = out[:, : whole // wide]
            sums = sums.astype(np.float32, copy=False)
            np.add(sums[:, 0:whole:wide], sums[:, 1:whole:wide], out=inside)
            for line in range(2, wide):
                inside += sums[:, line:whole:wide]
            inside *= np.float32(1 / (wide * tall))
            if whole < columns:
                out[:, -1] = sums[:, whole:].sum(axis=1) / np.float32(tall * (columns - whole))
    return means


def spans(rows: int, high: int) -> list[tuple[int, int, int]]:
    """(first row, blocks, rows a block): the whole blocks, then what is left over."""
    count, left = divmod(rows, high)
    return [span for span in ((0, count, high), (count * high, 1, left)) if span[1] and span[2]]


def place(blocks: np.ndarray, shape: tuple[int, int], layout: Layout, size: int, bits: int) -> np.ndarray:
    """The blocks shrunk to their size in the square, as integers, on black."""
    height, width = layout.height, layout.width
    if blocks.shape != (height, width):
        box = (0, 0, shape[1] / layout.block_columns, shape[0] / layout.block_rows)
        blocks = np.asarray(
            Image.fromarray(blocks).resize((width, height), Image.Resampling.HAMMING, box=box)
        )
    square = np.zeros((size, size), np.uint16 if bits == 16 else np.uint8)
    top, start = (size - height) // 2, (size - width) // 2
    square[top : top + height, start : start + width] = np.rint(np.clip(blocks, 0, 1) * (2**bits - 1))
    return square
