"""Reads values of a DICOM header as plain numbers and words, also where they are malformed."""

import io
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian

from imbal_jax.data.dicom.bounded_file import BoundedFile
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.tables.cells import patient_name

# Functional groups of enhanced multi-frame files (PS3.3 C.7.6.16), and the attributes at the root that an item of
# each replaces: a frame's own window is not mixed with the root's VOI LUT.
FRAME_GROUPS = {
    "PixelValueTransformationSequence": ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    "PixelMeasuresSequence": ("PixelSpacing",),
    "FrameDisplayShutterSequence": ("ShutterShape", "ShutterPresentationValue"),
}


def attribute(file: pydicom.Dataset, keyword: str) -> Any:
    """The value, or None where it is absent or cannot be parsed; ``items`` is for sequences."""
    try:
        return file.get(keyword)
    except Exception:
        return None


def items(file: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    """The items of a sequence; none where it is absent or empty.

    Raises ReadError where it cannot be parsed or has too many elements. pydicom would parse a sequence of any
    length whole on the first access: a megabyte of empty items becomes 40 MB of objects.
    """
    element = file.get_item(Tag(keyword)) if keyword in file else None
    if element is None or not element.value:
        return []
    if not isinstance(element, RawDataElement):
        if not isinstance(element.value, Sequence):
            raise ReadError("bad-header")
        return list(element.value)
    stream = BoundedFile(io.BytesIO(element.value), len(element.value))
    try:
        return list(
            read_sequence(
                stream, element.is_implicit_VR, element.is_little_endian, len(element.value), "iso8859"
            )
        )
    except Exception:
        reason = "too-large" if stream.spent else "bad-header"
    raise ReadError(reason)


def number(file: pydicom.Dataset, keyword: str, default: float, index: int = 0) -> float:
    """The value at ``index`` (several windows: the first counts); ``default`` if absent, NaN if no number."""
    try:
        value: Any = file.get(keyword)
        if value is None:
            return default
        if not np.isscalar(value) or isinstance(value, str):
            value = np.atleast_1d(value)[index]
        return float(value)
    except Exception:
        return float("nan")


def numbers(file: pydicom.Dataset, keyword: str) -> list[float] | None:
    """All values; None where it is absent, empty or holds anything but finite numbers."""
    try:
        stored: Any = file.get(keyword)
        values = [float(value) for value in np.atleast_1d(stored)]
    except Exception:
        return None
    return values if values and np.isfinite(values).all() else None


def word(file: pydicom.Dataset, keyword: str) -> str:
    """A code string with single spaces, "" where it is absent; several joined, so that they are none of the known."""
    value = attribute(file, keyword)
    values = [value] if value is None or isinstance(value, str) or not np.iterable(value) else list(value)
    return "\\".join(" ".join(str(one or "").upper().split()) for one in values)


def syntax_of(file: pydicom.Dataset) -> UID | None:
    """The transfer syntax; None where it is absent or none that pydicom knows."""
    syntax = attribute(getattr(file, "file_meta", None) or pydicom.Dataset(), "TransferSyntaxUID")
    return syntax if isinstance(syntax, UID) and syntax.is_transfer_syntax else None


def is_big_endian(file: pydicom.Dataset) -> bool:
    return syntax_of(file) == ExplicitVRBigEndian


def frame_header(file: pydicom.Dataset, frame: int) -> pydicom.Dataset:
    """The header as it holds for one frame: its own functional groups before the shared ones before the root.

    ReadError where there are functional groups but none for this frame, or they cannot be parsed.
    """
    shared = items(file, "SharedFunctionalGroupsSequence")
    own = items(file, "PerFrameFunctionalGroupsSequence")
    if not shared and not own:
        return file
    if own and frame >= len(own):
        raise ReadError("bad-header")
    header = Dataset()
    tags = list(file.keys())  # iterating over the file itself would parse every element
    header.update({tag: file.get_item(tag) for tag in tags if tag.group < 0x5000})
    header.file_meta = file.file_meta
    for groups in (shared[:1], own[frame : frame + 1]):
        for group in groups:
            for keyword, replaced in FRAME_GROUPS.items():
                for item in items(group, keyword)[:1]:
                    for name in replaced if any(name in item for name in replaced) else ():
                        if name in header:
                            del header[name]
                    header.update({tag: item.get_item(tag) for tag in list(item.keys())})
    return header


def patient_of(file: pydicom.Dataset) -> str:
    """PatientID, else StudyInstanceUID (one study is one patient), else ""."""
    for keyword in ("PatientID", "StudyInstanceUID"):
        if value := patient_name(str(attribute(file, keyword) or "")):
            return f"{keyword} {value}"
    return ""


def pixel_aspect(file: pydicom.Dataset) -> float:
    """Height over width of a pixel; 1 where the header does not say, or says zero, as real chest files do."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        height, width = number(file, keyword, np.nan), number(file, keyword, np.nan, index=1)
        if height > 0 and width > 0 and 0.1 < height / width < 10:
            return height / width
    return 1.0
