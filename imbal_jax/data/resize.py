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
    """``fit_square`` of the picture in which every stored value ``levels[i]`` is shown as ``shown[i]``.

    stored: of at most 16 bits. levels: consecutive whole numbers.
    """
    layout = lay_out(*stored.shape, size, aspect)
    line = straight(levels, shown)
    if line is None:
        blocks = average_blocks(stored, layout, np.float32, look_up(levels, shown, stored.dtype))
        return place(blocks, stored.shape, layout, size, bits)

    # An average goes through a straight line: clip the stored values, average them, then draw the line.
    low, high, falling = line
    slope, start = (-1 if falling else 1) / (high - low), float(falling)
    first, last = int(levels[0]), int(levels[-1])
    if low <= first and last <= high:  # nothing to clip
        start += slope * (first - low)
        low, high = first, last
    if float(low).is_integer() and float(high).is_integer() and layout.block_rows * (high - low) < 2**16:
        # Sums wrap, and come right when ``low`` is taken off each: no true sum is beyond 16 bits.
        prepare = clip_whole(stored.dtype, int(low), int(high)) if low > first or high < last else None
        lanes = layout.block_rows * layout.block_columns * (high - low) < 2**16
        blocks = average_blocks(stored, layout, np.uint16, prepare, base=int(low), lanes=lanes)
    else:
        blocks = average_blocks(stored, layout, np.float32, clip_float(low, high))
    return place(blocks, stored.shape, layout, size, bits, slope, start)


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


def clip_whole(kind: np.dtype, low: int, high: int) -> Prepare:
    limits = np.iinfo(kind)
    low, high = kind.type(max(low, limits.min)), kind.type(min(high, limits.max))

    def clip(band: np.ndarray, out: np.ndarray) -> None:
        if kind.itemsize == 2:
            np.clip(band, low, high, out=out.view(kind))
        else:
            np.clip(band, low, high, out=out, casting="unsafe")

    return clip


def clip_float(low: float, high: float) -> Prepare:
    """What is left is counted from ``low``, where float32 resolves a narrow window far from 0 too."""
    base = float(np.floor(low))

    def clip(band: np.ndarray, out: np.ndarray) -> None:
        np.subtract(band, np.float32(base), out=out, dtype=np.float32)
        np.clip(out, np.float32(low - base), np.float32(high - base), out=out)
        out -= np.float32(low - base)

    return clip


def look_up(levels: np.ndarray, shown: np.ndarray, kind: np.dtype) -> Prepare:
    unsigned = np.dtype(f"u{kind.itemsize}")
    table = np.zeros(2 ** (8 * kind.itemsize), np.float32)
    table[levels % len(table)] = shown

    def look(band: np.ndarray, out: np.ndarray) -> None:
        # mode="clip" changes no index here; it spares numpy a buffered copy.
        np.take(table, band.view(unsigned), out=out, mode="clip")

    return look


def average_blocks(
    stored: np.ndarray,
    layout: Layout,
    kind: type,
    prepare: Prepare | None,
    *,
    base: int = 0,
    lanes: bool = False,
) -> np.ndarray:
    """float32 means, less ``base``, of blocks of pixels; the last row and column may be of smaller blocks."""
    rows, columns = stored.shape
    high = layout.block_rows
    means = np.empty((-(-rows // high), -(-columns // layout.block_columns)), np.float32)
    height = max(1, BAND // high) * high
    prepared = np.empty((height, columns), kind)
    for top in range(0, rows, height):
        band = stored[top : top + height]
        work = band
        if prepare is not None:
            work = prepared[: len(band)]
            prepare(band, work)
        for start, count, tall in spans(len(band), high):
            lines = work[start : start + count * tall].reshape(count, tall, columns)
            sums = lines.sum(axis=1, dtype=kind) if tall > 1 else lines[:, 0].astype(kind, copy=False)
            if base:
                sums = sums - kind(tall * base % 2**16)
            at = (top + start) // high
            average_columns(sums, layout.block_columns, tall, means[at : at + count], lanes)
    return means


def average_columns(sums: np.ndarray, wide: int, tall: int, out: np.ndarray, lanes: bool) -> None:
    """Means of ``wide`` neighbours in a row of sums over ``tall`` rows; the last of a row may be of fewer.

    lanes: whether ``wide`` sums together are below 2**16, and the sums uint16.
    """
    if wide == 1:
        np.multiply(sums, np.float32(1 / tall), out=out)
        return
    whole = sums.shape[1] - sums.shape[1] % wide
    if lanes and wide == 4 and whole == sums.shape[1]:
        # Four 16-bit numbers in one of 64 bits: the product's highest 16 bits are their sum.
        product = np.ascontiguousarray(sums).view("<u8") * np.uint64(0x0001_0001_0001_0001)
        np.multiply(product.view("<u2")[:, 3::4], np.float32(1 / (4 * tall)), out=out)
        return
    inside = out[:, : whole // wide]
    sums = sums.astype(np.float32, copy=False)
    np.add(sums[:, 0:whole:wide], sums[:, 1:whole:wide], out=inside)
    for line in range(2, wide):
        inside += sums[:, line:whole:wide]
    inside *= np.float32(1 / (wide * tall))
    if whole < sums.shape[1]:
        out[:, -1] = sums[:, whole:].sum(axis=1) / np.float32(tall * (sums.shape[1] - whole))


def spans(rows: int, high: int) -> list[tuple[int, int, int]]:
    """(first row, blocks, rows a block): the whole blocks, then what is left over."""
    count, left = divmod(rows, high)
    return [span for span in ((0, count, high), (count * high, 1, left)) if span[1] and span[2]]


def place(
    blocks: np.ndarray,
    shape: tuple[int, int],
    layout: Layout,
    size: int,
    bits: int,
    slope: float = 1.0,
    start: float = 0.0,
) -> np.ndarray:
    """The blocks shrunk to their size in the square, as slope * blocks + start in integers, on black."""
    height, width = layout.height, layout.width
    if blocks.shape != (height, width):
        box = (0, 0, shape[1] / layout.block_columns, shape[0] / layout.block_rows)
        blocks = np.asarray(
            Image.fromarray(blocks).resize((width, height), Image.Resampling.HAMMING, box=box)
        )
    most = 2**bits - 1
    # In float64 where it is dear to be exact and cheap: at up to 16 bits, of the small picture.
    whole = np.rint(np.clip(blocks * np.float64(slope * most) + start * most, 0, most))
    square = np.zeros((size, size), np.uint16 if bits == 16 else np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = whole
    return square
