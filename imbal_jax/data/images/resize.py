"""Fits a picture of any size to a square, anti-aliased: padded with black, squeezed, or its central square.

In two steps: where the picture is at least twice too large, whole blocks of pixels are averaged, and a Hamming filter
in float64 does the rest. Every source pixel counts, so a small nodule cannot fall between samples. Unlike Lanczos,
the filter has no negative lobes, which would ring beside a metal marker and leave 0..1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from imbal_jax.data.images.refusal import ReadError

Fit = Literal["pad", "squeeze", "crop", "square"]
FITS = ("pad", "squeeze", "crop", "square")

BAND = 2**18  # bytes processed at once, so that they stay in the cache
# The filter must still shrink the blocks twofold: with less, the frequency response of the blocks becomes visible.
GAP = 2.0
GROUP = 8  # lines of the result that are made by one matrix product: small, as most of their weights are 0


@dataclass(frozen=True)
class Layout:
    """The picture's size within the square, and the blocks that are averaged first."""

    height: int
    width: int
    block_rows: int
    block_columns: int


def lay_out(rows: int, columns: int, size: int, aspect: float, fit: Fit = "pad") -> Layout:
    """aspect: height of a pixel over its width. Raises ReadError for an oblong picture where ``fit`` is "square"."""
    height = width = size
    if fit in ("pad", "square"):
        tall, wide = extent(rows, columns, aspect)
        longest = max(tall, wide)
        height, width = max(1, round(size * tall / longest)), max(1, round(size * wide / longest))
        if fit == "square" and height != width:
            raise ReadError("not-square")
    return Layout(height, width, max(1, int(rows / height / GAP)), max(1, int(columns / width / GAP)))


def extent(rows: int, columns: int, aspect: float) -> tuple[float, float]:
    """Height and width in the shorter side of a pixel."""
    return rows * max(aspect, 1.0), columns * max(1 / aspect, 1.0)


def central_square(picture: np.ndarray, aspect: float) -> np.ndarray:
    """The square in the middle of [rows, columns], to the nearest pixel."""
    top, left, rows, columns = central_part(picture.shape[0], picture.shape[1], aspect)
    return np.ascontiguousarray(picture[top : top + rows, left : left + columns])


def central_part(rows: int, columns: int, aspect: float) -> tuple[int, int, int, int]:
    """Top, left, rows and columns of the square in the middle, to the nearest pixel."""
    sides = extent(rows, columns, aspect)
    high, wide = (
        max(1, round(n * min(sides) / side)) for n, side in zip((rows, columns), sides, strict=True)
    )
    return (rows - high) // 2, (columns - wide) // 2, high, wide


def fit_square(
    shown: np.ndarray, size: int, aspect: float = 1.0, bits: int = 8, fit: Fit = "pad"
) -> np.ndarray:
    """uint8 or uint16 [size, size] of float32 [rows, columns] in [0, 1].

    aspect: height of a pixel over its width. bits: 8 or 16. fit: as in ``geometry.Geometry``.
    """
    if fit == "crop":
        shown = central_square(shown, aspect)
    layout = lay_out(shown.shape[0], shown.shape[1], size, aspect, fit)
    return place(average_blocks(shown, layout, FLOAT), shown.shape, layout, size, bits)


def fit_squares(shown: np.ndarray, size: int, bits: int = 8, fit: Fit = "pad") -> np.ndarray:
    """``fit_square`` of each picture [N, rows, columns], all at once where blocks do not cross their borders."""
    layout = lay_out(shown.shape[1], shown.shape[2], size, 1.0, fit)
    if fit == "crop" or shown.shape[1] % layout.block_rows:
        return np.stack([fit_square(picture, size, 1.0, bits, fit) for picture in shown])
    blocks = average_blocks(shown.reshape(-1, shown.shape[2]), layout, FLOAT)
    return place(blocks.reshape(len(shown), -1, blocks.shape[1]), shown.shape[1:], layout, size, bits)


class BeyondLevelsError(ValueError):
    """A stored value is above the last level."""


def fit_levels(
    stored: np.ndarray,
    levels: np.ndarray,
    shown: np.ndarray,
    size: int,
    aspect: float = 1.0,
    bits: int = 8,
    fit: Fit = "pad",
) -> np.ndarray:
    """``fit_square`` of the picture in which every stored value ``levels[i]`` is shown as ``shown[i]``.

    stored: of at most 16 bits. levels: consecutive whole numbers, of which no stored value is below the first.
    Raises BeyondLevelsError if one is above the last.
    """
    if fit == "crop":
        if int(stored.max()) > int(levels[-1]):  # one that is cut off counts too
            raise BeyondLevelsError
        stored = central_square(stored, aspect)
    layout = lay_out(stored.shape[0], stored.shape[1], size, aspect, fit)
    line = straight(levels, shown)
    last = int(levels[-1])
    if line is None:
        summing = replace(FLOAT, prepare=look_up(levels, shown, stored.dtype), last=last)
        return place(average_blocks(stored, layout, summing), stored.shape, layout, size, bits)

    # Averaging commutes with a linear map: clip the stored values, average them, then apply the map.
    low, high, falling = line
    slope, start = (-1 if falling else 1) / (high - low), float(falling)
    first = int(levels[0])
    if low <= first and last <= high:  # nothing to clip
        start += slope * (first - low)
        low, high = float(first), float(last)
    summing = replace(FLOAT, prepare=clip_float(low, high), last=last)
    # Doubled, the ends of a window of odd width are whole, which lie halfway between two values.
    for times in (1, 2):
        span = times * (high - low)
        if (times * low).is_integer() and span.is_integer() and layout.block_rows * span < 2**16:
            if times == 2 and max(abs(first), abs(last)) >= 2**14:
                break
            summing = whole_numbers(stored.dtype, first, last, times, int(times * low), int(times * high))
            summing = replace(summing, lanes=layout.block_rows * layout.block_columns * span < 2**16)
            slope /= times
            break
    blocks = average_blocks(stored, layout, summing)
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
    # Windows end on whole numbers or halves; rounding errors must not hide it.
    low, high = (round(2 * end) / 2 if abs(2 * end - round(2 * end)) < 1e-6 else end for end in ends)
    line = np.clip((levels - low) / (high - low), 0, 1)
    if slope < 0:
        line = 1 - line
    return (float(low), float(high), bool(slope < 0)) if np.abs(line - shown).max() < 1e-6 else None


@dataclass(frozen=True)
class Summing:
    """How a band of stored values is summed: prepared (None: as it is) as ``work``, summed as ``sums``, less base.

    unclipped: a band of which no value is above this needs no preparation.
    last: the largest value there may be; None does not look.
    lanes: whether the sum over a whole block, not only down its rows, is below 2**16.
    """

    prepare: Callable[[np.ndarray, np.ndarray], object] | None
    work: type
    sums: type
    base: int = 0
    unclipped: float = -np.inf
    last: int | None = None
    lanes: bool = False


FLOAT = Summing(None, np.float32, np.float32)


def whole_numbers(kind: np.dtype, first: int, last: int, times: int, low: int, high: int) -> Summing:
    """``times`` a stored value, between low and high, in 16 bits.

    Sums wrap, and come right when ``low`` is taken off each: no true sum is beyond 16 bits.
    """
    if times == 2:

        def double(band: np.ndarray, out: np.ndarray) -> None:
            band = band.view(np.int16) if kind.itemsize == 2 else band.astype(np.int16)
            np.add(band, band, out=out)
            np.clip(out, np.int16(max(low, -(2**15))), np.int16(min(high, 2**15 - 1)), out=out)

        return Summing(double, np.int16, np.uint16, low, last=last)
    limits = np.iinfo(kind)
    least, most = kind.type(max(low, limits.min)), kind.type(min(high, limits.max))

    def clip(band: np.ndarray, out: np.ndarray) -> None:
        np.clip(band, least, most, out=out)

    return Summing(clip, kind.type, np.uint16, low, unclipped=high if low <= first else -np.inf, last=last)


def clip_float(low: float, high: float) -> Callable[[np.ndarray, np.ndarray], None]:
    """What is left is counted from ``low``, where float32 resolves a narrow window far from 0 too."""
    base = float(np.floor(low))

    def clip(band: np.ndarray, out: np.ndarray) -> None:
        np.copyto(out, band, casting="unsafe")
        out -= np.float32(base)
        np.clip(out, np.float32(low - base), np.float32(high - base), out=out)
        out -= np.float32(low - base)

    return clip


def look_up(
    levels: np.ndarray, shown: np.ndarray, kind: np.dtype
) -> Callable[[np.ndarray, np.ndarray], None]:
    unsigned = np.dtype(f"u{kind.itemsize}")
    table = np.zeros(2 ** (8 * kind.itemsize), np.float32)
    table[levels % len(table)] = shown

    def look(band: np.ndarray, out: np.ndarray) -> None:
        # mode="clip" changes no index here; it spares numpy a buffered copy.
        np.take(table, band.view(unsigned), out=out, mode="clip")

    return look


def look_up_picture(stored: np.ndarray, levels: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """float32 [rows, columns]: what every pixel is shown as, for a picture of which not every pixel is."""
    if int(stored.max()) > int(levels[-1]):
        raise BeyondLevelsError
    look = look_up(levels, shown, stored.dtype)
    out = np.empty(stored.shape, np.float32)
    height = max(1, BAND // (stored.shape[1] * stored.itemsize))
    for top in range(0, len(stored), height):
        look(stored[top : top + height], out[top : top + height])
    return out


def average_blocks(stored: np.ndarray, layout: Layout, summing: Summing) -> np.ndarray:
    """Means, less the base, of blocks of pixels; the last row and column may be of smaller blocks."""
    rows, columns = stored.shape
    high = layout.block_rows
    means = np.empty((-(-rows // high), -(-columns // layout.block_columns)))
    height = max(1, BAND // (columns * stored.itemsize) // high) * high
    prepared = np.empty((min(height, rows), columns), summing.work)
    for top in range(0, rows, height):
        work = band = stored[top : top + height]
        # Looked for here, where the band is in the cache, and not beforehand.
        most = np.inf if summing.last is None else int(band.max())
        if summing.last is not None and most > summing.last:
            raise BeyondLevelsError
        if summing.prepare is not None and most > summing.unclipped:
            work = prepared[: len(band)]
            summing.prepare(band, work)
        if work.itemsize == 2:
            work = work.view(np.uint16)
        for start, count, tall in spans(len(band), high):
            lines = work[start : start + count * tall].reshape(count, tall, columns)
            sums = lines.sum(axis=1, dtype=summing.sums) if tall > 1 else lines[:, 0].astype(summing.sums)
            if summing.base:
                sums -= summing.sums(tall * summing.base % 2**16)
            at = (top + start) // high
            average_columns(sums, layout.block_columns, tall, means[at : at + count], summing.lanes)
    return means


def average_columns(sums: np.ndarray, wide: int, tall: int, out: np.ndarray, lanes: bool) -> None:
    """Means of ``wide`` neighbours in a row of sums over ``tall`` rows; the last of a row may be of fewer.

    lanes: whether ``wide`` sums together are below 2**16, and the sums uint16.
    """
    if wide == 1:
        np.multiply(sums, 1 / tall, out=out)
        return
    whole = sums.shape[1] - sums.shape[1] % wide
    if lanes and wide == 4 and whole == sums.shape[1]:
        # Four 16-bit numbers in one of 64 bits: the product's highest 16 bits are their sum.
        product = sums.view("<u8") * np.uint64(0x0001_0001_0001_0001)
        np.multiply(product.view("<u2")[:, 3::4], 1 / (4 * tall), out=out)
        return
    inside = out[:, : whole // wide]
    sums = sums.astype(np.float32, copy=False)
    np.add(sums[:, 0:whole:wide], sums[:, 1:whole:wide], out=inside)
    for line in range(2, wide):
        inside += sums[:, line:whole:wide]
    inside *= 1 / (wide * tall)
    if whole < sums.shape[1]:
        out[:, -1] = sums[:, whole:].sum(axis=1) / (tall * (sums.shape[1] - whole))


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
    """The blocks [..., rows, columns] shrunk to their size in the square, as slope * blocks + start, on black."""
    height, width = layout.height, layout.width
    if blocks.shape[-2] != height:
        blocks = shrink(blocks, shape[0] / layout.block_rows, height)
    if blocks.shape[-1] != width:
        across = shrink(blocks.swapaxes(-1, -2), shape[1] / layout.block_columns, width)
        blocks = across.swapaxes(-1, -2)
    most = 2**bits - 1
    whole = np.rint(np.clip(blocks * (slope * most) + start * most, 0, most))
    square = np.zeros((*blocks.shape[:-2], size, size), np.uint16 if bits == 16 else np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[..., top : top + height, left : left + width] = whole
    return square


def shrink(lines: np.ndarray, length: float, size: int) -> np.ndarray:
    """``lines`` [..., n, m], of which the first ``length`` are picture, resampled to [..., size, m]."""
    out = np.empty((*lines.shape[:-2], size, lines.shape[-1]))
    for first, last, begin, end, weights in hamming(lines.shape[-2], length, size):
        np.matmul(weights, lines[..., begin:end, :], out=out[..., first:last, :])
    return out


@lru_cache(maxsize=64)
def hamming(lines: int, length: float, size: int) -> list[tuple[int, int, int, int, np.ndarray]]:
    """The filter as small dense matrices: (first and last line of the result, begin and end in the source, weights).

    sinc(x) (0.54 + 0.46 cos(pi x)) for |x| < 1, x in lines of the result when shrinking, else of the source.
    """
    scale = length / size
    groups = []
    for first in range(0, size, GROUP):
        last = min(first + GROUP, size)
        centers = (np.arange(first, last) + 0.5) * scale
        reach = max(scale, 1.0)
        begin = max(0, int(centers[0] - reach))
        end = min(lines, int(centers[-1] + reach) + 1)
        x = (np.arange(begin, end) + 0.5 - centers[:, None]) / reach
        weights = np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0)
        groups.append((first, last, begin, end, weights / weights.sum(axis=1, keepdims=True)))
    return groups
