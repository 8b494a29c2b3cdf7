"""What a viewer shows for each stored value: modality LUT -> VOI -> polarity (PS3.3 C.11, PS3.4 N.2).

The order is the content: an inversion before the window, or a window on values that were not rescaled, gives a
picture that looks plausible and is wrong. All of it is a function of the stored value alone, so it is computed
once a level, in float64, and not once a pixel.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, apply_voi

from imbal_jax.data.header import attribute, number, word
from imbal_jax.data.refusal import ReadError
from imbal_jax.data.resize import BeyondLevelsError

Voi = Literal["header", "percentile", "none"]
VOI = ("header", "percentile", "none")

PERCENTILES = (0.5, 99.5)
CONSTANT = 0.99  # a share of pixels of one value that leaves no picture
SATURATED = 0.98  # a share of pixels at plain black or white that leaves no picture
# Rows and columns that percentiles are taken of: enough for a 0.5th to lie between the 0.45th and the 0.55th.
COUNTED = 512
FEW = 12  # bits
SAMPLED = 128  # rows and columns that are looked at for these shares


@dataclass(frozen=True)
class Levels:
    """A picture and the stored values in it.

    stored: the picture [rows, columns]. levels: of at most 16 bits every whole number from 0, or the smallest
    stored value, to the largest that there is or, of few bits, that there may be; beyond, where levels are as many
    as pixels, the pixels themselves. sampled: how often each level occurs in every n-th row and column.
    """

    stored: np.ndarray
    levels: np.ndarray
    sampled: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each level occurs in at least ``COUNTED`` rows and columns, if there are as many."""
        if not is_narrow(self.stored):
            return np.ones(len(self.levels), np.uint8)
        step = max(1, min(self.stored.shape) // COUNTED)
        return self.occurrences(self.stored[::step, ::step])

    def occurrences(self, values: np.ndarray) -> np.ndarray:
        counts = np.bincount(values.ravel().astype(np.int64) - self.levels[0], minlength=len(self.levels))
        if len(counts) > len(self.levels):
            raise BeyondLevelsError
        return counts


def is_narrow(stored: np.ndarray) -> bool:
    """Whether a table of all possible values is small."""
    return stored.dtype.kind in "iu" and stored.itemsize <= 2


def split_levels(stored: np.ndarray, bits: int) -> Levels:
    """The levels of a picture whose values, as far as the header is right, have so many bits."""
    step = max(1, min(stored.shape) // SAMPLED)
    if is_narrow(stored):
        sample = stored[::step, ::step]
        # Unsigned values begin near 0, and few bits have few values: looking for the smallest and the largest would
        # take longer than the levels do that are not there. Whoever goes through all pixels then finds larger ones.
        signed = stored.dtype.kind == "i"
        few = not signed and bits <= FEW and int(sample.max()) < 2**bits
        last = 2**bits - 1 if few else int(stored.max())
        levels = np.arange(int(stored.min()) if signed else 0, last + 1)
        picture = Levels(stored, levels, levels)
        return replace(picture, sampled=picture.occurrences(sample))
    sampled = np.zeros(stored.shape, np.uint8)
    sampled[::step, ::step] = 1
    return Levels(stored, stored.ravel(), sampled.ravel())


def displayed(header: pydicom.Dataset, picture: Levels, voi: Voi) -> tuple[np.ndarray, bool]:
    """What each level is shown as, float64 in [0, 1]; and whether the header's VOI transform made it."""
    padding = padded(header, picture.levels)
    values = modality_values(header, picture.levels)
    sampled = np.where(padding, 0, picture.sampled)
    if not commonest(picture, sampled) < CONSTANT * sampled.sum(dtype=np.int64):
        raise ReadError("constant")
    if half_empty(picture.stored):
        raise ReadError("half-empty")

    shown = header_voi(header, values, sampled) if voi == "header" else None
    windowed = shown is not None
    if shown is None:
        counts = np.where(padding, 0, picture.counts)
        share = (0, 100) if voi == "none" else PERCENTILES
        low, high = percentiles(values, counts, share)
        if not low < high:
            raise ReadError("constant")
        shown = ramp(values, low, high)
        if saturated(shown, sampled):
            raise ReadError("saturated")
    # MONOCHROME1 and the shape INVERSE say the same thing: where both stand, invert once. Always last, and
    # about the range of the output, since the window is stated in values that run the other way.
    if (
        word(header, "PhotometricInterpretation") == "MONOCHROME1"
        or word(header, "PresentationLUTShape") == "INVERSE"
    ):
        shown = 1 - shown
    shown[padding] = 0
    return shown, windowed


def half_empty(stored: np.ndarray) -> bool:
    """Whether a file whose end was never written was filled up: one value to the end, from the middle or above."""
    rows, columns = stored.shape
    step = max(1, columns // SAMPLED)
    last = stored[-1, -1]
    return bool(
        rows >= 8
        and (stored[-1] == last).all()
        and (stored[rows // 2 :, ::step] == last).all()
        and (stored[rows // 2 :] == last).all()
        and not (stored[0] == last).all()
    )


def commonest(picture: Levels, sampled: np.ndarray) -> int:
    """How often the value occurs that occurs most."""
    if is_narrow(picture.stored):
        return int(sampled.max())
    values = picture.levels[sampled > 0]
    return int(np.unique(values, return_counts=True)[1].max()) if len(values) else 0


def padded(header: pydicom.Dataset, levels: np.ndarray) -> np.ndarray:
    """Which levels stand for "no image" (PS3.3 C.7.5.1.1.2)."""
    first = number(header, "PixelPaddingValue", np.nan)
    if not np.isfinite(first):
        return np.zeros(levels.shape, bool)
    last = number(header, "PixelPaddingRangeLimit", first)
    low, high = sorted((first, last if np.isfinite(last) else first))
    bits = number(header, "BitsAllocated", 16)
    if number(header, "PixelRepresentation", 0) == 1 and low >= 2 ** (bits - 1):
        # A negative value that was written with the unsigned representation.
        low, high = sorted(value - 2.0**bits for value in (low, high))
    return (levels >= low) & (levels <= high)


def modality_values(header: pydicom.Dataset, levels: np.ndarray) -> np.ndarray:
    """Modality LUT, or slope and intercept; float64."""
    if attribute(header, "ModalityLUTSequence"):
        values = None
        with suppress(Exception):  # raised below, outside: a chained exception would carry pydicom's text
            values = np.asarray(apply_modality_lut(levels, header), np.float64)
        if values is None:
            raise ReadError("bad-header")
        return values
    slope, intercept = number(header, "RescaleSlope", 1.0), number(header, "RescaleIntercept", 0.0)
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope != 0):
        raise ReadError("bad-header")
    return levels.astype(np.float64) * slope + intercept


def header_voi(header: pydicom.Dataset, values: np.ndarray, sampled: np.ndarray) -> np.ndarray | None:
    """The header's VOI transform, in [0, 1]; None where there is none that shows anything.

    Windows, PS3.3 C.11.2.1.2 and C.11.2.1.3, x a value, c the center, w the width:
        LINEAR        (x - (c - 1/2)) / (w - 1) + 1/2, clipped; w >= 1
        LINEAR_EXACT  (x - c) / w + 1/2, clipped; w > 0
        SIGMOID       1 / (1 + exp(-4 (x - c) / w)); w > 0
    """
    if attribute(header, "VOILUTSequence"):
        shown = lookup(header, values)
        if shown is not None and not saturated(shown, sampled):
            return shown
    center, width = number(header, "WindowCenter", np.nan), number(header, "WindowWidth", np.nan)
    function = word(header, "VOILUTFunction") or "LINEAR"
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if not (np.isfinite(center) and np.isfinite(width) and width > 0):
        return None
    if function == "SIGMOID":
        # exp overflows beyond 709; the sigmoid is 0 or 1 long before.
        shown = 1 / (1 + np.exp(np.clip((values - center) * (-4 / width), -700, 700)))
    elif function in ("LINEAR", "LINEAR_EXACT"):
        shown = ramp(values, center - width / 2, center + width / 2)
    else:
        return None
    # A window beside all values shows black or white; neither is a picture.
    return None if saturated(shown, sampled) else shown


def lookup(header: pydicom.Dataset, values: np.ndarray) -> np.ndarray | None:
    """The first VOI LUT, scaled by its own smallest and largest entry; None where it is malformed."""
    try:
        entries, first = (int(value) for value in header.VOILUTSequence[0].LUTDescriptor[:2])
        out = apply_voi(np.rint(values).astype(np.int64), header, index=0)
        # An entry count of 0 stands for 65536 (PS3.3 C.11.1.1.1).
        table = apply_voi(first + np.arange(entries or 65536), header, index=0)
        low, high = float(table.min()), float(table.max())
        return ramp(np.asarray(out, np.float64), low, high) if low < high else None
    except Exception:
        return None


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at ``low``, 1 at ``high``, clipped."""
    with np.errstate(over="ignore"):  # a window far narrower than float64 resolves clips to 0 and 1
        return np.clip((values - low) / (high - low), 0, 1)


def saturated(shown: np.ndarray, counts: np.ndarray) -> bool:
    """Whether nearly all pixels are plain black or white, or all are one grey."""
    extreme = (shown < 1e-3) | (shown > 1 - 1e-3)
    present = shown[counts > 0]
    share = counts[extreme].sum(dtype=np.int64) / counts.sum(dtype=np.int64)
    return bool(share >= SATURATED or present.min() == present.max())


def percentiles(values: np.ndarray, counts: np.ndarray, share: tuple[float, float]) -> tuple[float, float]:
    """As numpy.percentile gives them of each value repeated ``counts`` times."""
    order = np.argsort(values, kind="stable")
    values, last = values[order], np.cumsum(counts[order], dtype=np.int64) - 1
    if last[-1] < 0:
        return 0.0, 0.0
    results = []
    for percent in share:
        place = percent / 100 * last[-1]
        below, above = (
            float(values[np.searchsorted(last, whole)]) for whole in (np.floor(place), np.ceil(place))
        )
        results.append(below + (above - below) * (place - np.floor(place)))
    return results[0], results[1]
