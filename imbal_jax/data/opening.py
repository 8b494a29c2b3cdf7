"""A DICOM file opened, and refused by its header alone: before a byte of the picture is decoded.

A small file must not take the machine down, and nothing that is not surely one grey picture may pass for one.
"""

import errno
import io
import os
import zlib
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from imbal_jax.data.header import attribute, number, word
from imbal_jax.data.refusal import (
    DECODED_LIMIT,
    FILE_LIMIT,
    FRAME_LIMIT,
    INFLATED_LIMIT,
    PIXEL_LIMIT,
    SIDE_LIMIT,
    WIDE_LIMIT,
    ReadError,
)

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
UNDEFINED = 2**32 - 1  # a length that is not said beforehand


class BoundedFile(io.BufferedReader):
    """A file of which nobody can ask more than there is, or inflate more than may be."""

    def __init__(self, raw: io.RawIOBase, length: int) -> None:
        super().__init__(raw, 2**16)
        self.length = length

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            # The one place where pydicom asks for everything: a deflated file, which it then inflates at once.
            return stored_blocks(inflate(super().read()))
        # Python sets aside as many bytes as are asked for, and a damaged header asks for 4 GiB.
        return super().read(min(size, self.length))


class TooLarge(Exception):
    """Raised through pydicom's reading, and not beyond this module."""


class Cut(Exception):
    """As TooLarge, of a deflated file without its end."""


def inflate(content: bytes) -> bytes:
    """In pieces, since the size is not known beforehand."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pieces, total = [], 0
    while content and not inflater.eof:
        pieces.append(inflater.decompress(content, 2**20))
        content = inflater.unconsumed_tail
        total += len(pieces[-1])
        if total > INFLATED_LIMIT:
            raise TooLarge
    if not inflater.eof:
        raise Cut
    return b"".join(pieces)


def stored_blocks(content: bytes) -> bytes:
    """Deflated without compression, for pydicom to inflate: ten times as fast as to inflate the file twice."""
    deflater = zlib.compressobj(0, wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


def open_dicom(path: str | Path, *, pixels: bool = True) -> pydicom.Dataset:
    """The parsed file, or ReadError. ``force`` is never used: it makes a data set of any file."""
    file, reason = None, ""
    # Raised outside the except blocks: a chained exception would carry pydicom's text, and with it the name.
    try:
        with open(path, "rb", buffering=0) as raw:
            length = os.fstat(raw.fileno()).st_size
            if length > FILE_LIMIT:
                reason = "too-large"
            else:
                file = pydicom.dcmread(BoundedFile(raw, length), stop_before_pixels=not pixels)
                reason = "truncated" if pixels and is_cut(file) else ""
    except InvalidDicomError:
        reason = "not-an-image"
    except TooLarge:
        reason = "too-large"
    except Cut:
        reason = "truncated"
    except OSError as error:
        # A damaged length sends pydicom before the start of the file or, reported without errno, past its end.
        reason = "bad-header" if error.errno in (None, errno.EINVAL) else "missing"
    except Exception:
        reason = "bad-header"
    if reason:
        raise ReadError(reason)
    return file


def is_cut(file: pydicom.Dataset) -> bool:
    """Whether the last element has fewer bytes than it says; pydicom passes over that."""
    tags = list(file.keys())
    last = file.get_item(tags[-1]) if tags else None
    return (
        isinstance(last, RawDataElement) and last.length != UNDEFINED and len(last.value or b"") < last.length
    )


def check_header(file: pydicom.Dataset, frame: int | None) -> None:
    """Refuse by the header alone, before anything is decoded."""
    if not any(keyword in file for keyword in PIXELS):
        raise ReadError("no-pixels")
    # NumberOfFrames may be absent, or present and empty, in a single-frame file.
    frames = number(file, "NumberOfFrames", 1) if attribute(file, "NumberOfFrames") not in (None, "") else 1
    polarity = word(file, "PhotometricInterpretation")
    if polarity not in ("MONOCHROME1", "MONOCHROME2"):
        raise ReadError("colour" if polarity else "bad-header")
    # pydicom takes the lowest bits whatever HighBit says. Float pixels have no bits stored.
    needed = ["Rows", "Columns", "BitsAllocated"]
    if "PixelData" in file:
        needed += ["BitsStored", "PixelRepresentation"]
    values = {keyword: attribute(file, keyword) for keyword in needed}
    if not (all(isinstance(value, int) for value in values.values()) and np.isfinite(frames) and frames >= 1):
        raise ReadError("bad-header")
    rows, columns, allocated = values["Rows"], values["Columns"], values["BitsAllocated"]
    used = values.get("BitsStored", allocated)
    if (
        min(rows, columns) < 1
        or allocated not in (1, 8, 16, 32, 64)
        or not 1 <= used <= allocated
        or ("PixelData" in file and number(file, "HighBit", used - 1) != used - 1)
        or values.get("PixelRepresentation", 0) not in (0, 1)
        or number(file, "SamplesPerPixel", 1) != 1
        or syntax_of(file) is None
    ):
        raise ReadError("bad-header")
    if (
        max(rows, columns) > SIDE_LIMIT
        or rows * columns > PIXEL_LIMIT
        or frames > FRAME_LIMIT
        or rows * columns * allocated / 8 > (DECODED_LIMIT if allocated <= 16 else WIDE_LIMIT)
    ):
        raise ReadError("too-large")
    if frames > 1 and frame is None:
        raise ReadError("multi-frame")
    if frame is not None and frame >= frames:
        raise ReadError("no-such-frame")
    if word(file, "PresentationIntentType") == "FOR PROCESSING":
        raise ReadError("for-processing")
    if word(file, "BurnedInAnnotation") == "YES":
        raise ReadError("burned-in-text")


def syntax_of(file: pydicom.Dataset) -> UID | None:
    """The transfer syntax; None where it is absent or none that pydicom knows."""
    syntax = attribute(getattr(file, "file_meta", None) or pydicom.Dataset(), "TransferSyntaxUID")
    return syntax if isinstance(syntax, UID) and syntax.is_transfer_syntax else None
