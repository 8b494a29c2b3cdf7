"""What a viewer shows for each stored value: modality LUT -> VOI -> polarity (PS3.3 C.11, PS3.4 N.2).

The order is the content: an inversion before the window, or a window on values that were not rescaled, gives a
picture that looks plausible and is wrong. All of it is a function of the stored value alone, so it is computed
once a level, in float64, and not once a pixel.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pydicom

from imbal_jax.data.dicom.header import attribute, is_big_endian, items, number, word
from imbal_jax.data.dicom.lut import MalformedLutError, read_lut
from imbal_jax.data.dicom.padding import padding_values
from imbal_jax.data.images.geometry import Voi
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.images.resize import BeyondLevelsError

PERCENTILES = (0.5, 99.5)
CONSTANT = 0.99  # a share of pixels of one value that leaves no picture
DIM = 4  # a VOI LUT or window that shows less than this part of the greys is flagged
ONE_GREY = 1 / 256  # of the greys
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
    as pixels, the pixels themselves. hidden: bool [rows, columns], pixels that are not part of the picture and are
    counted nowhere: behind a shutter, or padding that is no level; None without any. cut: whether bits were left out
    that are neither stored, by the header, nor padding, nor an overlay.
    """

    stored: np.ndarray
    levels: np.ndarray
    hidden: np.ndarray | None = None
    cut: bool = False

    @cached_property
    def sampled(self) -> np.ndarray:
        """How often each level occurs in every n-th row and column."""
        return self.tally(SAMPLED)

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each level occurs in at least ``COUNTED`` rows and columns, if there are as many."""
        return self.tally(COUNTED if is_narrow(self.stored) else max(self.stored.shape))

    def tally(self, lines: int) -> np.ndarray:
        step = max(1, min(self.stored.shape) // lines)
        if self.hidden is not None and self.hidden[::step, ::step].all():
            step = 1
        if not is_narrow(self.stored):
            seen = np.zeros(self.stored.shape, np.uint8)
            seen[::step, ::step] = 1 if self.hidden is None else ~self.hidden[::step, ::step]
            return seen.ravel()
        values = self.stored[::step, ::step]
        return self.occurrences(values if self.hidden is None else values[~self.hidden[::step, ::step]])

    def occurrences(self, values: np.ndarray) -> np.ndarray:
        counts = np.bincount(values.ravel().astype(np.int64) - self.levels[0], minlength=len(self.levels))
        if len(counts) > len(self.levels):
            raise BeyondLevelsError
        return counts


def is_narrow(stored: np.ndarray) -> bool:
    """Whether a table of all possible values is small."""
    return stored.dtype.kind in "iu" and stored.itemsize <= 2


def split_levels(stored: np.ndarray, bits: int, hidden: np.ndarray | None = None) -> Levels:
    """The levels of a picture whose values, as far as the header is right, have so many bits."""
    if not is_narrow(stored):
        return Levels(stored, stored.ravel(), hidden)
    step = max(1, min(stored.shape) // SAMPLED)
    sample = stored[::step, ::step]
    # Unsigned values begin near 0, and few bits have few values: looking for the smallest and the largest would
    # take longer than the levels do that are not there. Whoever goes through all pixels then finds larger ones.
    signed = stored.dtype.kind == "i"
    few = not signed and bits <= FEW and int(sample.max()) < 2**bits
    last = 2**bits - 1 if few else int(stored.max())
    return Levels(stored, np.arange(int(stored.min()) if signed else 0, last + 1), hidden)


@dataclass(frozen=True)
class Shown:
    """levels: what each level is shown as, float64 in [0, 1]. windowed: whether the header's VOI transform made it.
    flags: what the header says that was not followed, keys of FLAGS."""

    levels: np.ndarray
    windowed: bool
    flags: frozenset[str]


@dataclass(frozen=True)
class Values:
    """The modality's output for each level, float64, and the smallest and the largest that there may be."""

    levels: np.ndarray
    low: float
    high: float
    flags: frozenset[str] = field(default_factory=frozenset)


def displayed(header: pydicom.Dataset, picture: Levels, voi: Voi) -> Shown:
    """What a viewer shows for each level; ReadError where it is no picture."""
    padding = padding_values(header, picture.levels)
    values = modality_values(header, picture)
    sampled = np.where(padding, 0, picture.sampled)
    if not sampled.any():  # the few visible pixels lie between the sampled rows and columns
        sampled = np.where(padding, 0, picture.counts)
    if not commonest(picture, sampled) < CONSTANT * sampled.sum(dtype=np.int64):
        raise ReadError("constant")
    if half_empty(picture):
        raise ReadError("half-empty")

    shown, flags = header_voi(header, values, sampled) if voi == "header" else (None, frozenset())
    windowed = shown is not None
    if shown is None:
        counts = np.where(padding, 0, picture.counts)
        share = (0, 100) if voi == "none" else PERCENTILES
        low, high = percentiles(values.levels, counts, share)
        if not low < high:
            raise ReadError("constant")
        shown = ramp(values.levels, low, high)
        if saturated(shown, sampled):
            raise ReadError("saturated")
    inverted, contradictions = inversion(header)
    # Always last, and about the range of the output, since the window is stated in values that run the other way.
    if inverted:
        shown = 1 - shown
    shown[padding] = 0
    return Shown(shown, windowed, flags | contradictions | values.flags)


def inversion(header: pydicom.Dataset) -> tuple[bool, frozenset[str]]:
    """Whether large values are dark, and flags for what was ignored.

    MONOCHROME1 and the shape INVERSE say the same thing: where both stand, invert once. Where they contradict each
    other the shape counts, as in dcmtk and dcm4che (PS3.3 C.8.11.3.1.2 allows neither combination).
    """
    dark = word(header, "PhotometricInterpretation") == "MONOCHROME1"
    shape = word(header, "PresentationLUTShape")
    flags = set()
    if "PresentationLUTSequence" in header or shape not in ("", "IDENTITY", "INVERSE"):
        flags.add("presentation-lut-unused")
    if shape in ("IDENTITY", "INVERSE"):
        if dark != (shape == "INVERSE"):
            flags.add("contradictory-polarity")
        dark = shape == "INVERSE"
    return dark, frozenset(flags)


def half_empty(picture: Levels) -> bool:
    """Whether a file whose end was never written was filled up: one value to the end, from the middle or above."""
    stored = picture.stored
    rows, columns = stored.shape
    if picture.hidden is not None and picture.hidden[rows // 2 :].all():
        return False
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
    """The count of the most frequent value."""
    if is_narrow(picture.stored):
        return int(sampled.max())
    values = picture.levels[sampled > 0]
    return int(np.unique(values, return_counts=True)[1].max()) if len(values) else 0


def modality_values(header: pydicom.Dataset, picture: Levels) -> Values:
    """Modality LUT, or slope and intercept; ReadError where one of them is present and invalid."""
    low, high = stored_range(header, picture)
    slope, intercept = number(header, "RescaleSlope", 1.0), number(header, "RescaleIntercept", 0.0)
    tables = items(header, "ModalityLUTSequence")
    if tables:
        lut = None
        with suppress(MalformedLutError):  # raised below, outside: nothing is to be chained to it
            lut = read_lut(tables[0], is_big_endian(header))
        if lut is None or len(tables) > 1:
            raise ReadError("bad-header")
        rescaled = (slope, intercept) != (1.0, 0.0)
        return Values(
            lut(picture.levels, low, high).astype(np.float64),
            0.0,
            float(lut.last),
            frozenset({"contradictory-modality"} if rescaled else ()),
        )
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope != 0):
        raise ReadError("bad-header")
    ends = low * slope + intercept, high * slope + intercept
    return Values(picture.levels.astype(np.float64) * slope + intercept, min(ends), max(ends))


def stored_range(header: pydicom.Dataset, picture: Levels) -> tuple[float, float]:
    """The smallest and the largest stored value that the header allows."""
    if picture.stored.dtype.kind == "f":
        return float(picture.stored.min()), float(picture.stored.max())
    bits = int(number(header, "BitsStored", 8 * picture.stored.itemsize))
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if is_signed(header) else (0.0, 2.0**bits - 1)


def is_signed(header: pydicom.Dataset) -> bool:
    return number(header, "PixelRepresentation", 0) == 1


def header_voi(
    header: pydicom.Dataset, values: Values, sampled: np.ndarray
) -> tuple[np.ndarray | None, frozenset[str]]:
    """The header's VOI transform, in [0, 1], None where there is none that shows anything; and flags.

    A VOI LUT counts before a window, as both are alternative views (PS3.3 C.11.2.1.1), and of several the first.
    """
    tables, malformed = [], False
    if "VOILUTSequence" in header:
        with suppress(ReadError):
            tables = items(header, "VOILUTSequence")
        malformed = not tables
    flags = set()
    if len(tables) + max(windows(header, "WindowCenter"), windows(header, "WindowWidth")) > 1:
        flags.add("several-views")
    shown = None
    if tables:
        with suppress(MalformedLutError):
            lut = read_lut(tables[0], is_big_endian(header))
            # The range of the output is 0 to 2^bits - 1, whatever the entries' own smallest and largest.
            shown = lut(values.levels, values.low, values.high) / lut.last
        if shown is not None and saturated(shown, sampled):
            shown = None
        if shown is not None and np.ptp(shown[sampled > 0]) < 1 / DIM:
            flags.add("voi-lut-dim")
        malformed = shown is None
    if malformed:
        flags = flags - {"voi-lut-dim"} | {"voi-lut-unused"}
    if shown is None:
        shown = through_window(header, values.levels)
        # A window outside all values shows only black or only white.
        if shown is not None and saturated(shown, sampled):
            shown = None
        if shown is not None and np.ptp(shown[sampled > 0]) < 1 / DIM:
            flags.add("window-dim")
    return shown, frozenset(flags)


def windows(header: pydicom.Dataset, keyword: str) -> int:
    """How many values a window's attribute has."""
    value = attribute(header, keyword)
    return 0 if value is None or value == "" else np.size(value)


def through_window(header: pydicom.Dataset, values: np.ndarray) -> np.ndarray | None:
    """Values through the header's first window, in [0, 1]; None where it is none.

    PS3.3 C.11.2.1.2 and C.11.2.1.3, x a value, c the center, w the width:
        LINEAR        (x - (c - 1/2)) / (w - 1) + 1/2, clipped; for w = 1 a step, 0 to c - 1/2 and then 1; w >= 1
        LINEAR_EXACT  (x - c) / w + 1/2, clipped; w > 0
        SIGMOID       1 / (1 + exp(-4 (x - c) / w)); w > 0
    """
    center, width = number(header, "WindowCenter", np.nan), number(header, "WindowWidth", np.nan)
    if not (np.isfinite(center) and np.isfinite(width) and width > 0):
        return None
    match word(header, "VOILUTFunction") or "LINEAR":
        case "LINEAR" if width == 1:
            return (values > center - 0.5).astype(np.float64)
        case "LINEAR" if width > 1:
            return ramp(values, center - width / 2, center + width / 2 - 1)
        case "LINEAR_EXACT":
            return ramp(values, center - width / 2, center + width / 2)
        case "SIGMOID":
            # exp overflows beyond 709; the sigmoid is 0 or 1 long before.
            return 1 / (1 + np.exp(np.clip((values - center) * (-4 / width), -700, 700)))
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
    return bool(share >= SATURATED or np.ptp(present) < ONE_GREY)


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
