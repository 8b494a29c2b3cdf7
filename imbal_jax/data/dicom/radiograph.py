"""Reads a radiograph from a DICOM file as a viewer would show it, or refuses it with a reason."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from imbal_jax.data.dicom.decoding import own_bits, stored_values
from imbal_jax.data.dicom.dicom_file import check_header, open_dicom
from imbal_jax.data.dicom.greyscale import Levels, Shown, displayed, is_narrow
from imbal_jax.data.dicom.header import attribute, frame_header, patient_of, pixel_aspect, syntax_of, word
from imbal_jax.data.dicom.shutter import Shutter, display_shutter
from imbal_jax.data.images.geometry import VOI, Voi
from imbal_jax.data.images.memory_budget import PIXELS, need, one_file
from imbal_jax.data.images.refusal import FLAGS, PIXEL_LIMIT, REASONS, ReadError
from imbal_jax.data.images.resize import FITS, BeyondLevelsError, Fit, fit_levels, fit_square, look_up_picture
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

# JPEG 2000 with the general syntax may also be lossless; the header should say so, and many do not.
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
RADIOGRAPHY = ("CR", "DX", "RG", "MG")
# Bytes per pixel while a frame is decoded and fitted: up to 16 bits, and beyond.
DECODED, WIDE = 12, 80
CHEST = ("CHEST", "THORAX", "LUNG", "RIB", "TORAX", "PECHO")
LATERAL = ("LL", "RL", "LAT", "LATERAL", "LLD", "RLD")


@dataclass(frozen=True)
class Radiograph:
    """A picture uint8 or uint16 [size, size], black where it was padded, and how it was made.

    windowed: the header's own VOI transform was used; False where it was unusable or not asked for.
    patient: an identifier of the patient, PatientID or else StudyInstanceUID; "" unknown.
    flags: keys of FLAGS, in their order.
    """

    pixels: np.ndarray
    windowed: bool
    patient: str
    flags: tuple[str, ...] = ()


def read_radiograph(
    path: str | Path,
    *,
    size: int,
    voi: Voi = "header",
    bits: int = 8,
    frame: int | None = None,
    fit: Fit = "pad",
) -> np.ndarray:
    """Read one DICOM file as uint8 or uint16 [size, size]: bright is dense, whatever the file's polarity.

    size: pixels of the square result. fit: "pad" keeps the picture's proportions, on black; "squeeze" and "crop" as
        in ``geometry.Geometry``. A pixel's height and width are the header's.
    voi: "header" takes the file's VOI LUT, else its window, else percentiles; "percentile" scales the
        0.5th to the 99.5th percentile to 0..255; "none" the smallest to the largest value.
    bits: 8, or 16 for 0..65535.
    frame: which frame, from 0, of a file with several; without it such a file is refused.
    Raises ReadError with a reason for whatever is not one grey image ready for display.
    """
    with quiet():
        return load_radiograph(path, size=size, voi=voi, bits=bits, frame=frame, fit=fit).pixels


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
    path: str | Path,
    *,
    size: int,
    voi: Voi = "header",
    bits: int = 8,
    frame: int | None = None,
    fit: Fit = "pad",
) -> Radiograph:
    """``read_radiograph`` with patient and flags; call it inside ``quiet()``."""
    with one_file():
        return render(open_dicom(path), size=size, voi=voi, bits=bits, frame=frame, fit=fit)


def render(
    file: pydicom.Dataset,
    *,
    size: int,
    voi: Voi = "header",
    bits: int = 8,
    frame: int | None = None,
    fit: Fit = "pad",
) -> Radiograph:
    """The radiograph of a file that ``open_dicom`` has opened."""
    if voi not in VOI:
        raise InputError(f"voi={voi!r} is not one of {', '.join(VOI)}")
    if size < 1:
        raise InputError(f"size={size}: a picture needs at least one pixel")
    if bits not in (8, 16):
        raise InputError(f"bits={bits} is neither 8 nor 16")
    if fit not in FITS:
        raise InputError(f"fit={fit!r} is not one of {', '.join(FITS)}")
    if frame is not None and frame < 0:
        raise InputError(f"frame={frame}: frames count from 0")
    check_header(file, frame)
    need(PIXELS, file.Rows * file.Columns * (DECODED if file.BitsAllocated <= 16 else WIDE))
    header = frame_header(file, frame or 0)
    picture, excess = stored_values(file, frame or 0)
    shutter = display_shutter(file, header)
    square = None
    with suppress(BeyondLevelsError):  # and not in the except block, or the refusal would be chained to it
        square = shown_square(header, picture, shutter, size, voi, bits, fit)
    if square is None:
        picture = own_bits(file, picture)
        square = shown_square(header, picture, shutter, size, voi, bits, fit)
    pixels, shown = square
    found = {
        "unwindowed": voi == "header" and not shown.windowed,
        "shutter-unused": not shutter.usable,
        **dict.fromkeys(shown.flags, True),
        "enlarged": max(picture.stored.shape) < size,
        "excess-pixels": excess,
        "bits-cut": picture.cut,
        **header_flags(header, syntax_of(file)),
    }
    return Radiograph(
        pixels, shown.windowed, patient_of(file), tuple(flag for flag in FLAGS if found.get(flag))
    )


def shown_square(
    header: pydicom.Dataset, picture: Levels, shutter: Shutter, size: int, voi: Voi, bits: int, fit: Fit
) -> tuple[np.ndarray, Shown]:
    if shutter.hidden is not None:
        hidden = shutter.hidden if picture.hidden is None else shutter.hidden | picture.hidden
        picture = replace(picture, hidden=hidden)
    shown = displayed(header, picture, voi)
    aspect = pixel_aspect(header)
    if is_narrow(picture.stored) and picture.hidden is None:
        return fit_levels(picture.stored, picture.levels, shown.levels, size, aspect, bits, fit), shown
    if is_narrow(picture.stored):
        pixels = look_up_picture(picture.stored, picture.levels, shown.levels)
    else:
        pixels = shown.levels.reshape(picture.stored.shape)
    if picture.hidden is not None:
        pixels[picture.hidden] = 0
        if shutter.hidden is not None:
            pixels[shutter.hidden] = shutter.grey
    return fit_square(pixels, size, aspect, bits, fit), shown


# Flags


def header_flags(header: pydicom.Dataset, syntax: UID | None) -> dict[str, bool]:
    body = word(header, "BodyPartExamined")
    return {
        "burned-in-unknown": word(header, "BurnedInAnnotation") != "NO",
        "not-radiography": word(header, "Modality") not in RADIOGRAPHY,
        "not-chest": bool(body) and not any(part in body for part in CHEST),
        "body-part-unknown": not body,
        "lateral": word(header, "ViewPosition") in LATERAL,
        "orientation": turned(header),
        "lossy": word(header, "LossyImageCompression") == "01" or syntax in LOSSY,
    }


def turned(header: pydicom.Dataset) -> bool:
    """Whether rows run to the patient's right, head or feet, or columns not to the feet (PS3.3 C.7.6.1.1.1)."""
    value = attribute(header, "PatientOrientation")
    if value is None or isinstance(value, str) or len(value) != 2:
        return False
    rows, columns = (str(direction).strip().upper()[:1] for direction in value)
    return bool(rows and columns) and (rows in "RHF" or columns != "F")
