"""Opens a DICOM file, and refuses it by its header before anything is decoded.

A small file must not exhaust the machine, and only a file that is certainly one grey picture passes.
"""

import errno
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from imbal_jax.data.dicom.bounded_file import BoundedFile, CutError, DeflatedError, TooLargeError, inflate
from imbal_jax.data.dicom.header import attribute, number, syntax_of, word
from imbal_jax.data.images.memory_budget import FILES, need
from imbal_jax.data.images.refusal import (
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
PIXEL_TAGS = tuple(Tag(keyword) for keyword in PIXELS)
UNDEFINED = 2**32 - 1  # a length that is not said beforehand
PREAMBLE = 132  # bytes
# First bytes of file meta information without a preamble: group length, version, SOP class or transfer syntax.
META_STARTS = (b"\2\0\0\0UL", b"\2\0\1\0OB", b"\2\0\2\0UI", b"\2\0\x10\0UI")
# First element of a data set without either, in group 8: group length, character set, image type, date, SOP class.
FIRST_ELEMENTS = (0x0, 0x1, 0x5, 0x8, 0x12, 0x13, 0x14, 0x16, 0x18, 0x20, 0x21)
FIRST_VRS = (b"UL", b"CS", b"DA", b"TM", b"UI")
LONGEST_FIRST = 256  # bytes


def open_dicom(path: str | Path, *, pixels: bool = True) -> pydicom.Dataset:
    """The parsed file, or ReadError. Only a file that begins like DICOM is parsed."""
    file, stream, reason = None, None, ""
    # Raised outside the except blocks: a chained exception would carry pydicom's text, and with it the name.
    try:
        with open(path, "rb", buffering=0) as raw:
            length = os.fstat(raw.fileno()).st_size
            if length > FILE_LIMIT:
                reason = "too-large"
            else:
                stream = BoundedFile(raw, length)
                start = stream.peek(PREAMBLE)[:PREAMBLE]
                reason = unreadable(start)
                if not reason:
                    need(FILES, length if pixels else 0)
                    file = parse(stream, force=not has_preamble(start), pixels=pixels)
                    reason = "truncated" if pixels and is_cut(file) else ""
    except TooLargeError:
        reason = "too-large"
    except CutError:
        reason = "truncated"
    except OSError as error:
        # A damaged length sends pydicom before the start of the file or, reported without errno, past its end.
        reason = "bad-header" if error.errno in (None, errno.EINVAL) else "missing"
    except Exception:
        reason = "bad-header"
    if stream is not None and stream.spent:
        reason = "too-large"
    if reason or file is None:
        raise ReadError(reason)
    return file


def has_preamble(start: bytes) -> bool:
    return start[128:132] == b"DICM"


def unreadable(start: bytes) -> str:
    """The reason why a file that begins like this is not read, or "".

    A file without preamble is read where it begins with its meta information, which says how the rest is encoded.
    """
    if has_preamble(start) or start[:6] in META_STARTS:
        return ""
    group, element = start[:2], start[2:4]
    for order in ("little", "big"):
        if (
            int.from_bytes(group, order) == 8
            and int.from_bytes(element, order) in FIRST_ELEMENTS
            and (start[4:6] in FIRST_VRS or int.from_bytes(start[4:8], order) <= LONGEST_FIRST)
            and len(start) == PREAMBLE
        ):
            return "no-preamble"
    return "not-an-image"


def parse(stream: BoundedFile, *, force: bool, pixels: bool) -> pydicom.Dataset:
    """The data set in the stream. A deflated part is inflated within limits and then read like any other."""
    with suppress(DeflatedError):
        return pydicom.dcmread(stream, force=force, stop_before_pixels=not pixels)
    start = stream.tell()
    need(FILES, FILES.limit)  # one file at a time, as its inflated size is not known
    inflated = inflate(stream, INFLATED_LIMIT)
    stream.seek(0)
    head = stream.read(start)
    meta = pydicom.dcmread(io.BytesIO(head), force=force)
    content = BoundedFile(io.BytesIO(inflated), len(inflated))
    try:
        read = read_dataset(content, False, True, stop_when=None if pixels else at_pixels)
    finally:
        stream.spent = content.spent
    file = FileDataset(io.BytesIO(), read, meta.preamble, meta.file_meta, False, True)
    file.set_original_encoding(False, True)
    return file


def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag in PIXEL_TAGS


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
    values: dict[str, Any] = {keyword: attribute(file, keyword) for keyword in needed}
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
    if is_for_processing(file):
        raise ReadError("for-processing")
    if word(file, "BurnedInAnnotation") == "YES":
        raise ReadError("burned-in-text")


def is_for_processing(file: pydicom.Dataset) -> bool:
    """Whether anything in the header says that these are raw detector values, even if something else denies it.

    The intent is often stripped; the SOP class is named in the data set and again in the meta information.
    """
    classes = (
        attribute(file, "SOPClassUID"),
        attribute(getattr(file, "file_meta", None) or pydicom.Dataset(), "MediaStorageSOPClassUID"),
    )
    return "PROCESSING" in word(file, "PresentationIntentType") or any(
        isinstance(uid, UID) and "for processing" in uid.name.lower() for uid in classes
    )
