"""One radiograph from one DICOM file, the way a viewer would show it, or the reason why not.

The header is checked before a byte of the picture is decoded: a small file must not take the machine down, and
nothing that is not surely one grey picture may pass for one.
"""

import io
import logging
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    RLELossless,
)

from imbal_jax.data.codestream import read_codestream
from imbal_jax.data.greyscale import VOI, Voi, displayed, split_levels
from imbal_jax.data.header import attribute, frame_header, number, patient_of, pixel_aspect, word
from imbal_jax.data.refusal import (
    DECODED_LIMIT,
    FILE_LIMIT,
    FLAGS,
    FRAME_LIMIT,
    INFLATED_LIMIT,
    PIXEL_LIMIT,
    REASONS,
    SIDE_LIMIT,
    ReadError,
)
from imbal_jax.data.resize import fit_levels, fit_square
from imbal_jax.errors import InputError

__all__ = [
    "FLAGS",
    "PIXEL_LIMIT",
    "REASONS",
    "VOI",
    "Radiograph",
    "ReadError",
    "Voi",
    "attribute",
    "fit_square",
    "load_radiograph",
    "open_dicom",
    "quiet",
    "read_radiograph",
    "render",
]

# Who decodes what, by the middle of the transfer syntax's name. pylibjpeg-libjpeg is under the GPL, so that
# installing it is the user's choice.
DECODERS = {
    "JPEG-LS": "pyjpegls",
    "JPEG 2000": "pylibjpeg pylibjpeg-openjpeg",
    "High-Throughput": "pylibjpeg pylibjpeg-openjpeg",
    "JPEG": "'imbal-jax[gpl-decoders]'",
    "RLE": "pylibjpeg pylibjpeg-rle",
}
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
UNDEFINED = 2**32 - 1  # a length that is not said beforehand
# JPEG 2000 with the general syntax may be lossless too; it is for the header to say so, and many do not.
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
RADIOGRAPHY = ("CR", "DX", "RG", "MG")
CHEST = ("CHEST", "THORAX", "LUNG", "RIB", "TORAX", "PECHO", "PORT CHEST")
LATERAL = ("LL", "RL", "LAT", "LATERAL", "LLD", "RLD")


@dataclass(frozen=True)
class Radiograph:
    """A picture uint8 or uint16 [size, size], black where it was padded, and how it was made.

    windowed: the header's own VOI transform was used; False where it was unusable or not asked for.
    patient: what tells this patient from another (PatientID, else StudyInstanceUID); "" unknown.
        An identifier.
    flags: keys of FLAGS, in their order.
    """

    pixels: np.ndarray
    windowed: bool
    patient: str
    flags: tuple[str, ...] = ()


def read_radiograph(
    path: str | Path, *, size: int, voi: Voi = "header", bits: int = 8, frame: int | None = None
) -> np.ndarray:
    """Read one DICOM file as uint8 or uint16 [size, size]: bright is dense, whatever the file's polarity.

    size: pixels of the square result; the picture keeps its proportions and is padded with black.
    voi: "header" takes the file's VOI LUT, else its window, else percentiles; "percentile" scales the
        0.5th to the 99.5th percentile to 0..255; "none" the smallest to the largest value.
    bits: 8, or 16 for 0..65535.
    frame: which frame, from 0, of a file with several; without it such a file is refused.
    Raises ReadError with a reason for whatever is not one grey image ready for display.
    """
    with quiet():
        return load_radiograph(path, size=size, voi=voi, bits=bits, frame=frame).pixels


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom and Pillow, whose warnings quote header values. Enter it around threads, not in them."""
    logger = logging.getLogger("pydicom")
    disabled = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = disabled


def load_radiograph(
    path: str | Path, *, size: int, voi: Voi = "header", bits: int = 8, frame: int | None = None
) -> Radiograph:
    """``read_radiograph`` with its particulars; call it inside ``quiet()``."""
    return render(open_dicom(path), size=size, voi=voi, bits=bits, frame=frame)


def render(
    file: pydicom.Dataset, *, size: int, voi: Voi = "header", bits: int = 8, frame: int | None = None
) -> Radiograph:
    """The radiograph of a file that ``open_dicom`` has opened."""
    if voi not in VOI:
        raise InputError(f"voi={voi!r} is not one of {', '.join(VOI)}")
    if size < 1:
        raise InputError(f"size={size}: a picture needs at least one pixel")
    if bits not in (8, 16):
        raise InputError(f"bits={bits} is neither 8 nor 16")
    if frame is not None and frame < 0:
        raise InputError(f"frame={frame}: frames count from 0")
    check_header(file, frame)
    header = frame_header(file, frame or 0)
    stored, excess = stored_values(file, frame or 0)
    picture = split_levels(stored)
    shown, windowed = displayed(header, picture, voi)
    pixels = fit_levels(stored, picture.levels, shown, size, pixel_aspect(header), bits)
    found = {
        "unwindowed": voi == "header" and not windowed,
        "enlarged": max(stored.shape) < size,
        "excess-pixels": excess,
        **header_flags(header, syntax_of(file)),
    }
    return Radiograph(pixels, windowed, patient_of(file), tuple(flag for flag in FLAGS if found.get(flag)))


# The file


class BoundedFile(io.BufferedReader):
    """A file of which nobody can ask more than there is, or inflate more than may be."""

    def __init__(self, raw: io.RawIOBase, length: int) -> None:
        super().__init__(raw, 2**16)
        self.length = length

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            # The one place where pydicom asks for everything: a deflated file, which it then inflates at once.
            content = super().read()
            check_inflated(content)
            return content
        # Python sets aside as many bytes as are asked for, and a damaged header asks for 4 GiB.
        return super().read(min(size, self.length))


class TooLarge(Exception):
    """Raised out of pydicom's reading, and not beyond this module."""


def check_inflated(content: bytes) -> None:
    """Inflate in pieces and keep none: the size is not known beforehand."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    while content and not inflater.eof:
        total += len(inflater.decompress(content, 2**20))
        content = inflater.unconsumed_tail
        if total > INFLATED_LIMIT:
            raise TooLarge


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
    except OSError:
        reason = "missing"
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
    rows, columns = number(file, "Rows", np.nan), number(file, "Columns", np.nan)
    allocated, used = number(file, "BitsAllocated", np.nan), number(file, "BitsStored", np.nan)
    if word(file, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise ReadError("colour" if word(file, "PhotometricInterpretation") else "bad-header")
    if not (np.isfinite(frames) and frames >= 1 and rows >= 1 and columns >= 1):
        raise ReadError("bad-header")
    if (
        allocated not in (1, 8, 16, 32, 64)
        or number(file, "SamplesPerPixel", 1) != 1
        or number(file, "PixelRepresentation", 0) not in (0, 1)
        # Absent for float pixels. pydicom takes the lowest bits whatever HighBit says.
        or ("PixelData" in file and not 1 <= used <= allocated)
        or ("PixelData" in file and number(file, "HighBit", used - 1) != used - 1)
        or syntax_of(file) is None
    ):
        raise ReadError("bad-header")
    if (
        max(rows, columns) > SIDE_LIMIT
        or rows * columns > PIXEL_LIMIT
        or frames > FRAME_LIMIT
        or rows * columns * allocated / 8 > DECODED_LIMIT
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


# Stored values


def syntax_of(file: pydicom.Dataset) -> UID | None:
    """The transfer syntax; None where it is absent or none that pydicom knows."""
    syntax = attribute(getattr(file, "file_meta", None) or pydicom.Dataset(), "TransferSyntaxUID")
    return syntax if isinstance(syntax, UID) and syntax.is_transfer_syntax else None


def stored_values(file: pydicom.Dataset, frame: int) -> tuple[np.ndarray, bool]:
    """The stored values [rows, columns] in native byte order, and whether there are more bytes than pixels."""
    syntax = syntax_of(file)
    values, reason, remedy = None, "", ""
    excess = False
    if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        packages = next((package for key, package in DECODERS.items() if key in syntax.name), "")
        remedy = f"pip install {packages}" if packages else ""
    try:
        if remedy:
            reason = check_compressed(file, frame) if get_decoder(syntax).is_available else "no-decoder"
        else:
            excess = excess_bytes(file)
            values = native_values(file, frame)
        if not reason and values is None:
            values = pixel_array(file, index=frame)
    except NotImplementedError:
        reason = "no-decoder"
    except Exception:
        reason = "undecodable"
        # A decoder may be there and still lack the variant: Pillow reads JPEG of 8 bits and not of 12.
        remedy = f"if the file is whole: {remedy}" if remedy else ""
    if reason:
        raise ReadError(reason, remedy if reason in ("no-decoder", "undecodable") else "")
    if values.ndim != 2:
        raise ReadError("bad-header")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ReadError("non-finite")
    return values.astype(values.dtype.newbyteorder("="), copy=False), excess


def native_values(file: pydicom.Dataset, frame: int) -> np.ndarray | None:
    """Uncompressed little-endian values without a copy; None where pydicom has to unpack them."""
    allocated, used, signed = file.BitsAllocated, file.get("BitsStored"), file.get("PixelRepresentation", 0)
    if syntax_of(file) == ExplicitVRBigEndian or allocated < 8 or "PixelData" not in file:
        return None
    kind = np.dtype(f"<{'i' if signed else 'u'}{allocated // 8}")
    pixels = file.Rows * file.Columns
    values = np.frombuffer(file.PixelData, kind, pixels, frame * pixels * kind.itemsize)
    values = values.reshape(file.Rows, file.Columns)
    if used < allocated:
        low, high = (-(2 ** (used - 1)), 2 ** (used - 1) - 1) if signed else (0, 2**used - 1)
        if values.min() < low or values.max() > high:
            # Something else, once overlays, lies in the bits that are not the picture's.
            shift = allocated - used
            values = values << shift >> shift
    return values


def expected_bytes(file: pydicom.Dataset) -> int:
    """Of all frames, uncompressed."""
    frames = int(attribute(file, "NumberOfFrames") or 1)
    return -(-file.Rows * file.Columns * frames * file.BitsAllocated // 8)


def excess_bytes(file: pydicom.Dataset) -> bool:
    """Whether there are more bytes than pixels, beyond the one that makes their number even."""
    return "PixelData" in file and len(file.PixelData) > expected_bytes(file) + 1


def check_compressed(file: pydicom.Dataset, frame: int) -> str:
    """The reason not to give this frame to a decoder, or ""."""
    offsets = None
    if "ExtendedOffsetTable" in file:
        offsets = (file.ExtendedOffsetTable, file.ExtendedOffsetTableLengths)
    content = get_frame(
        file.PixelData,
        frame,
        extended_offsets=offsets,
        number_of_frames=int(attribute(file, "NumberOfFrames") or 1),
    )
    if syntax_of(file) == RLELossless:
        return ""
    codestream = read_codestream(content)
    if codestream is None:
        return "undecodable"
    if (codestream.rows, codestream.columns, codestream.samples) != (file.Rows, file.Columns, 1):
        return "contradiction"
    if codestream.bits > file.BitsAllocated:
        return "contradiction"
    return "" if codestream.ended else "truncated"


# What is said of a picture


def header_flags(header: pydicom.Dataset, syntax: UID) -> dict[str, bool]:
    body = word(header, "BodyPartExamined")
    return {
        "burned-in-unknown": word(header, "BurnedInAnnotation") != "NO",
        "not-radiography": word(header, "Modality") not in RADIOGRAPHY,
        "not-chest": bool(body) and not any(part in body for part in CHEST),
        "body-part-unknown": not body,
        "lateral": word(header, "ViewPosition") in LATERAL,
        "lossy": word(header, "LossyImageCompression") == "01" or syntax in LOSSY,
    }
