"""Values of a DICOM header as plain numbers and words, whatever nonsense stands there."""

from contextlib import suppress

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from imbal_jax.data.cells import patient_name

# Where an enhanced multi-frame file keeps what a single-frame file keeps at its root (PS3.3 C.7.6.16).
FRAME_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")


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


def frame_header(file: pydicom.Dataset, frame: int) -> pydicom.Dataset:
    """The header as it holds for one frame: its own functional groups before the shared ones before the root."""
    shared = attribute(file, "SharedFunctionalGroupsSequence")
    own = attribute(file, "PerFrameFunctionalGroupsSequence")
    if not shared and not own:
        return file
    header = Dataset()
    tags = list(file.keys())  # iterating over the file itself would parse every element
    header.update({tag: file.get_item(tag) for tag in tags if tag.group < 0x5000})
    for groups, index in ((shared, 0), (own, frame)):
        with suppress(Exception):  # damaged groups count as absent
            for keyword in FRAME_GROUPS:
                items = attribute(groups[index], keyword)
                if items:
                    header.update(items[0])
    return header


def patient_of(file: pydicom.Dataset) -> str:
    """PatientID, else StudyInstanceUID (one study is one patient), else ""."""
    for keyword in ("PatientID", "StudyInstanceUID"):
        if value := patient_name(str(attribute(file, keyword) or "")):
            return f"{keyword} {value}"
    return ""


def pixel_aspect(file: pydicom.Dataset) -> float:
    """Height over width of a pixel; 1 where the header does not say, or says zero, as real chest files do."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        height, width = number(file, keyword, np.nan), number(file, keyword, np.nan, index=1)
        if height > 0 and width > 0 and 0.1 < height / width < 10:
            return height / width
    return 1.0
