"""One radiograph from one DICOM file, the way a viewer would show it.

Stored values -> modality LUT -> VOI -> polarity -> 0..255 (PS3.3 C.11, PS3.4 N.2). The order is the content:
an inversion before the window, or a window on values that were not rescaled, gives a picture that looks
plausible and is wrong.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from PIL import Image
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi, get_decoder, pixel_array

from imbal_jax.errors import InputError

Voi = Literal["header", "percentile", "none"]
VOI = ("header", "percentile", "none")

# Decompressing first and looking afterwards is how a small file takes a machine down. The largest digital
# radiographs are about 18 megapixels.
PIXEL_LIMIT = 100_000_000
PERCENTILES = (0.5, 99.5)

# Every reason a file is refused for, in words that hold nothing of the file.
REASONS = {
    "missing": "there is no such file, or it may not be read",
    "not-an-image": "neither a DICOM file nor a picture",
    "no-pixels": "a DICOM file without pixels, or cut off before them",
    "bad-header": "rows, columns, bits or another attribute that describes the pixels is absent or nonsense",
    "multi-frame": "more than one frame: export the frame that is the radiograph",
    "colour": "not a grey image",
    "for-processing": "raw detector values (presentation intent FOR PROCESSING): export for presentation",
    "burned-in-text": "the header says that text is burned into the pixels, which may name the patient",
    "too-large": f"more than {PIXEL_LIMIT // 1_000_000} megapixels",
    "no-decoder": "no decoder for this compression is installed",
    "undecodable": "the pixels cannot be decoded: fewer than the header promises, or damaged",
    "non-finite": "NaN or infinite pixels",
    "constant": "every pixel is the same",
}

# Who decodes what, by the middle of the transfer syntax's name. pylibjpeg-libjpeg is under the GPL, so that
# installing it is the user's choice.
DECODERS = {
    "JPEG-LS": "pyjpegls",
    "JPEG 2000": "pylibjpeg pylibjpeg-openjpeg",
    "High-Throughput": "pylibjpeg pylibjpeg-openjpeg",
    "JPEG": "pylibjpeg pylibjpeg-libjpeg",
    "RLE": "pylibjpeg pylibjpeg-rle",
}


class ReadError(InputError):
    """A file that is refused; ``reason`` is a key of REASONS.

    The text never holds a file name or a header value: patients' names travel in both, and error texts end up
    in logs.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}: {REASONS[reason]}" + (f" ({remedy})" if remedy else ""))
        self.reason, self.remedy = reason, remedy

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # so that worker processes can hand it back
        return ReadError, (self.reason, self.remedy)


@dataclass(frozen=True)
class Radiograph:
    """A picture uint8 [size, size], black where it was padded, and how it was made.

    windowed: the header's own VOI transform was used; False where it was unusable or not asked for.
    patient: what tells this patient from another (PatientID, else StudyInstanceUID); "" unknown.
        An identifier.
    """

    pixels: np.ndarray
    windowed: bool
    patient: str


def read_radiograph(path: str | Path, *, size: int, voi: Voi = "header") -> np.ndarray:
    """Read one DICOM file as uint8 [size, size]: bright is dense, whatever the file's polarity.

    size: pixels of the square result; the picture keeps its proportions and is padded with black.
    voi: "header" takes the file's VOI LUT, else its window, else percentiles; "percentile" scales the
        0.5th to the 99.5th percentile to 0..255; "none" the smallest to the largest value.
    Raises ReadError with a reason for whatever is not one grey image ready for display.
    """
    with quiet():
        return load_radiograph(path, size=size, voi=voi).pixels


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


def load_radiograph(path: str | Path, *, size: int, voi: Voi = "header") -> Radiograph:
    """``read_radiograph`` with its particulars; call it inside ``quiet()``."""
    if voi not in VOI:
        raise InputError(f"voi={voi!r} is not one of {', '.join(VOI)}")
    if size < 1:
        raise InputError(f"size={size}: a picture needs at least one pixel")
    file = open_dicom(path)
    check_header(file)
    pixels, windowed = displayed(file, stored_values(file), voi)
    return Radiograph(fit_square(pixels, size, pixel_aspect(file)), windowed, patient_of(file))


def open_dicom(path: str | Path, *, pixels: bool = True) -> pydicom.Dataset:
    """The parsed file, or ReadError. ``force`` is never used: it makes a data set of any file."""
    file, reason = None, ""
    # Raised outside the except blocks: a chained exception would carry pydicom's text, and with it the name.
    try:
        file = pydicom.dcmread(path, stop_before_pixels=not pixels)
    except InvalidDicomError:
        reason = "not-an-image"
    except OSError:
        reason = "missing"
    except Exception:
        reason = "bad-header"
    if file is None:
        raise ReadError(reason)
    return file


def check_header(file: pydicom.Dataset) -> None:
    """Refuse by the header alone, before anything is decoded."""
    if not any(keyword in file for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ReadError("no-pixels")
    # NumberOfFrames may be absent, or present and empty, in a single-frame file.
    frames = number(file, "NumberOfFrames", 1) if attribute(file, "NumberOfFrames") not in (None, "") else 1
    rows, columns = number(file, "Rows", np.nan), number(file, "Columns", np.nan)
    if not (np.isfinite(frames) and rows >= 1 and columns >= 1):
        raise ReadError("bad-header")
    if frames > 1:
        raise ReadError("multi-frame")
    if word(file, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise ReadError("colour" if word(file, "PhotometricInterpretation") else "bad-header")
    if word(file, "PresentationIntentType") == "FOR PROCESSING":
        raise ReadError("for-processing")
    if word(file, "BurnedInAnnotation") == "YES":
        raise ReadError("burned-in-text")
    if rows * columns > PIXEL_LIMIT:
        raise ReadError("too-large")


def stored_values(file: pydicom.Dataset) -> np.ndarray:
    """The stored values [rows, columns] in native byte order."""
    values, reason, remedy = None, "", ""
    try:
        syntax = file.file_meta.TransferSyntaxUID
        if syntax.is_compressed:
            packages = next((package for key, package in DECODERS.items() if key in syntax.name), "")
            remedy = f"pip install {packages}" if packages else ""
        if syntax.is_compressed and not get_decoder(syntax).is_available:
            reason = "no-decoder"
        else:
            values = pixel_array(file)
    except NotImplementedError:
        reason = "no-decoder"
    except Exception:
        reason = "undecodable"
        # A decoder may be there and still lack the variant: Pillow reads JPEG of 8 bits and not of 12.
        remedy = f"if the file is whole: {remedy}" if remedy else ""
    if values is None:
        raise ReadError(reason, remedy)
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim != 2:
        raise ReadError("bad-header")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ReadError("non-finite")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def displayed(file: pydicom.Dataset, stored: np.ndarray, voi: Voi) -> tuple[np.ndarray, bool]:
    """Display values float32 [rows, columns] in [0, 1], and whether the header's VOI transform made them."""
    padding = padded(file, stored)
    values = modality_values(file, stored)
    seen = values if padding is None else values[~padding]
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    if not low < high:
        raise ReadError("constant")

    shown = header_voi(file, values, seen) if voi == "header" else None
    windowed = shown is not None
    if shown is None:
        if voi != "none":
            bounds = np.percentile(seen, PERCENTILES)
            # Nearly constant, as a test object on black: keep the few pixels that differ.
            low, high = map(float, bounds) if bounds[0] < bounds[1] else (low, high)
        shown = ramp(values, low, high)
    # MONOCHROME1 and the shape INVERSE say the same thing: where both stand, invert once. Always last, and
    # about the range of the output, since the window is stated in values that run the other way.
    if (
        word(file, "PhotometricInterpretation") == "MONOCHROME1"
        or word(file, "PresentationLUTShape") == "INVERSE"
    ):
        np.subtract(np.float32(1), shown, out=shown)
    if padding is not None:
        shown[padding] = 0
    return shown, windowed


def padded(file: pydicom.Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Where pixels stand for "no image" (PS3.3 C.7.5.1.1.2); None where the file declares no padding."""
    first = number(file, "PixelPaddingValue", np.nan)
    if not np.isfinite(first):
        return None
    last = number(file, "PixelPaddingRangeLimit", first)
    low, high = sorted((first, last if np.isfinite(last) else first))
    if stored.dtype.kind == "i" and low >= 2 ** (8 * stored.itemsize - 1):
        # A negative value that was written with the unsigned representation.
        low, high = sorted(value - 2.0 ** (8 * stored.itemsize) for value in (low, high))
    where = (stored >= low) & (stored <= high)
    return where if where.any() else None


def modality_values(file: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Modality LUT or slope and intercept. Floats: 32 bits where the stored values fit, else 64."""
    if attribute(file, "ModalityLUTSequence"):
        values = None
        with suppress(Exception):  # raised below, outside, for the same reason as in open_dicom
            values = apply_modality_lut(stored, file)
        if values is None:
            raise ReadError("bad-header")
        return values
    slope, intercept = number(file, "RescaleSlope", 1.0), number(file, "RescaleIntercept", 0.0)
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope != 0):
        raise ReadError("bad-header")
    kind = np.float32 if stored.itemsize <= 2 or stored.dtype == np.float32 else np.float64
    if (slope, intercept) == (1.0, 0.0):
        return stored
    return stored.astype(kind) * kind(slope) + kind(intercept)


def header_voi(file: pydicom.Dataset, values: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """The header's VOI transform as float32 in [0, 1]; None where there is none that shows anything.

    Windows, PS3.3 C.11.2.1.2 and C.11.2.1.3, x a value, c the center, w the width:
        LINEAR        (x - (c - 1/2)) / (w - 1) + 1/2, clipped; w >= 1
        LINEAR_EXACT  (x - c) / w + 1/2, clipped; w > 0
        SIGMOID       1 / (1 + exp(-4 (x - c) / w)); w > 0
    """
    if attribute(file, "VOILUTSequence"):
        shown = lookup(file, values)
        if shown is not None:
            return shown
    center, width = number(file, "WindowCenter", np.nan), number(file, "WindowWidth", np.nan)
    function = word(file, "VOILUTFunction") or "LINEAR"
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if not (np.isfinite(center) and np.isfinite(width) and width > 0):
        return None
    low, high = center - width / 2, center + width / 2
    # A window beside all values shows black or white; neither is a picture.
    if not np.any((seen > low) & (seen < high)):
        return None
    if function == "SIGMOID":
        # exp overflows float32 beyond 88; the sigmoid is 0 or 1 long before.
        power = np.clip((values.astype(np.float32) - np.float32(center)) * np.float32(-4 / width), -80, 80)
        return 1 / (1 + np.exp(power))
    return ramp(values, low, high)


def lookup(file: pydicom.Dataset, values: np.ndarray) -> np.ndarray | None:
    """The first VOI LUT, scaled by its own smallest and largest entry; None where it is malformed."""
    try:
        entries, first = (int(value) for value in file.VOILUTSequence[0].LUTDescriptor[:2])
        whole = values if values.dtype.kind in "iu" else np.rint(values).astype(np.int64)
        out = apply_voi(whole, file, index=0)
        # An entry count of 0 stands for 65536 (PS3.3 C.11.1.1.1).
        table = apply_voi(first + np.arange(entries or 65536), file, index=0)
    except Exception:
        return None
    low, high = float(table.min()), float(table.max())
    return ramp(out, low, high) if low < high and out.min() < out.max() else None


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Float32: 0 at ``low``, 1 at ``high``, clipped."""
    kind = np.float64 if values.dtype.itemsize > 4 or values.dtype in (np.int32, np.uint32) else np.float32
    out = values.astype(kind)
    out -= kind(low)
    out *= kind(1 / (high - low))
    return np.clip(out, 0, 1, out=out).astype(np.float32, copy=False)


def fit_square(shown: np.ndarray, size: int, aspect: float = 1.0) -> np.ndarray:
    """uint8 [size, size] of float32 [rows, columns] in [0, 1], centred on black, proportions kept.

    aspect: height of a pixel over its width.

    The filter is Hamming on float values: it averages over every source pixel when it shrinks, so a small
    nodule cannot fall between samples; unlike Lanczos it has no negative lobes, which would ring beside a
    metal marker and leave 0..1; unlike a box it does not shift detail when the ratio is not whole.
    """
    rows, columns = shown.shape
    tall, wide = rows * max(aspect, 1.0), columns * max(1 / aspect, 1.0)
    longest = max(tall, wide)
    height, width = max(1, round(size * tall / longest)), max(1, round(size * wide / longest))
    if (rows, columns) != (height, width):
        picture = Image.fromarray(shown).resize((width, height), Image.Resampling.HAMMING)
        shown = np.asarray(picture)
    square = np.zeros((size, size), np.uint8)
    top, start = (size - height) // 2, (size - width) // 2
    square[top : top + height, start : start + width] = np.rint(np.clip(shown, 0, 1) * 255)
    return square


def pixel_aspect(file: pydicom.Dataset) -> float:
    """Height over width of a pixel; 1 where the header does not say, or says zero, as real chest files do."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        height, width = number(file, keyword, np.nan), number(file, keyword, np.nan, index=1)
        if height > 0 and width > 0 and 0.1 < height / width < 10:
            return height / width
    return 1.0


def patient_of(file: pydicom.Dataset) -> str:
    """PatientID, else StudyInstanceUID (one study is one patient), else ""."""
    for keyword in ("PatientID", "StudyInstanceUID"):
        value = str(attribute(file, keyword) or "").strip()
        if value:
            return f"{keyword} {value}"
    return ""


def attribute(file: pydicom.Dataset, keyword: str) -> object:
    """The value, or None where it is absent or cannot be parsed."""
    try:
        return file.get(keyword)
    except Exception:
        return None


def number(file: pydicom.Dataset, keyword: str, default: float, index: int = 0) -> float:
    """The value at ``index`` (several windows: the first counts); ``default`` if absent, NaN if no number."""
    try:
        value = file.get(keyword)
        if value is None:
            return default
        return float(
            value if np.isscalar(value) and not isinstance(value, str) else np.atleast_1d(value)[index]
        )
    except Exception:
        return float("nan")


def word(file: pydicom.Dataset, keyword: str) -> str:
    """A code string, "" where it is absent."""
    return str(attribute(file, keyword) or "").strip().upper()
