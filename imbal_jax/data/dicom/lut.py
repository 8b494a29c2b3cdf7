"""Reads lookup tables of a DICOM header: modality LUT and VOI LUT (PS3.3 C.11.1.1.1 and C.11.2.1.1).

The table is read from the bytes as they lie in the file, because a decoded header no longer says what matters: the
byte order of a table inside a functional group, whether 8-bit entries are packed two to a word, and whether the
first mapped value was written as unsigned although the values that it maps are signed.

Where this differs from dcmtk 3.6.7 (dcm2pnm), all within the standard:
    an entry e of b bits is shown as e / (2^b - 1), dcmtk as e / 2^b: at most 1/256 of the range for 8 bits
    a value between two entries takes the nearest one, dcmtk the one below
    a negative first value in a file of unsigned values is taken as it stands, dcmtk reads it as unsigned
    a table that breaks its own descriptor is not used, dcmtk clips, shortens or re-measures it
"""

from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

DESCRIPTOR, DATA = Tag("LUTDescriptor"), Tag("LUTData")
WORD = 2**16
DEPTHS = range(8, 17)  # bits an entry; a modality LUT has 8 or 16 by the standard, but files have 12 too


class MalformedLutError(ValueError):
    """The descriptor and the data do not make a table, or it maps everything to one value."""


@dataclass(frozen=True)
class Lut:
    """entries: int64 [n]. first: the value that entry 0 stands for, as a 16-bit word. bits: of an entry's range.

    explicit: whether the file says if ``first`` is signed; and then ``signed``.
    """

    entries: np.ndarray
    first: int
    bits: int
    explicit: bool
    signed: bool

    @property
    def last(self) -> int:
        """The largest value that an entry can have."""
        return 2**self.bits - 1

    def first_value(self, low: float, high: float) -> int:
        """``first`` as a number, for values that may lie between ``low`` and ``high``.

        The word 0xFC00 is 64512 or -1024. The descriptor's value representation follows the pixels' and is wrong
        wherever rescaling changes the sign, and implicit files have none; so it decides only where both readings
        cover as many of the possible values.
        """
        if self.first < WORD // 2:
            return self.first
        covered = [
            min(high, first + len(self.entries) - 1) - max(low, first)
            for first in (self.first, self.first - WORD)
        ]
        if max(covered) < 0 or covered[0] == covered[1]:
            signed = self.signed if self.explicit else low < 0
        else:
            signed = covered[1] > covered[0]
        return self.first - WORD if signed else self.first

    def __call__(self, values: np.ndarray, low: float, high: float) -> np.ndarray:
        """The entry of each value, int64; values before the first and after the last entry take these."""
        place = np.rint(values) - float(self.first_value(low, high))
        return self.entries[np.clip(place, 0, len(self.entries) - 1).astype(np.int64)]


def read_lut(item: pydicom.Dataset, big_endian: bool) -> Lut:
    """The table of one item of a Modality LUT or VOI LUT sequence, or MalformedLutError.

    big_endian: of the file, for values that pydicom has decoded to bytes already.
    """
    try:
        return _read(item, big_endian)
    except MalformedLutError:
        raise
    except Exception as error:
        raise MalformedLutError(type(error).__name__) from None


def _read(item: pydicom.Dataset, big_endian: bool) -> Lut:
    descriptor, vr, explicit = _words(item, DESCRIPTOR, big_endian)
    if len(descriptor) != 3:
        raise MalformedLutError("the descriptor has three values")
    count, first, bits = (int(value) for value in descriptor)
    count = count or WORD
    if bits not in DEPTHS:
        raise MalformedLutError("an entry has 8 to 16 bits")
    words, data_vr, _ = _words(item, DATA, big_endian)
    if len(words) > count + 1:  # one more may be there to fill up
        raise MalformedLutError("more entries than the descriptor says")
    if len(words) >= count:
        entries = words[:count]
    elif bits == 8 and 2 * len(words) >= count:
        # Two to a word, the first in the lower half; bytes that were written as bytes are in order already.
        halves = [words & 0xFF, words >> 8]
        if data_vr in ("OB", "UN") and _byte_order(item, DATA, big_endian):
            halves.reverse()
        entries = np.stack(halves, -1).ravel()[:count]
    else:
        raise MalformedLutError("fewer entries than the descriptor says")
    if entries.max() >= 2**bits:
        raise MalformedLutError("an entry is beyond the bits that the descriptor says")
    if entries.min() == entries.max():
        raise MalformedLutError("all entries are equal")
    return Lut(entries, first, bits, explicit, vr == "SS")


def _byte_order(item: pydicom.Dataset, tag: int, big_endian: bool) -> bool:
    element = item.get_item(tag)
    return not element.is_little_endian if isinstance(element, RawDataElement) else big_endian


def _words(item: pydicom.Dataset, tag: int, big_endian: bool) -> tuple[np.ndarray, str, bool]:
    """An element's 16-bit words as int64, its value representation, and whether the file states that."""
    element = item.get_item(tag)
    if element is None or element.value is None:
        raise MalformedLutError("without descriptor or data")
    explicit = not (isinstance(element, RawDataElement) and element.is_implicit_VR)
    vr, value = str(element.VR or ""), element.value
    if isinstance(value, bytes):
        order = ">" if _byte_order(item, tag, big_endian) else "<"
        return np.frombuffer(value + b"\0" * (len(value) % 2), f"{order}u2").astype(np.int64), vr, explicit
    return np.atleast_1d(np.asarray(value, np.int64)) % WORD, vr, explicit
