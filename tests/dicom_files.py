"""DICOM files that are written here, and what the reader makes of them."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)

from imbal_jax.data.dicom import radiograph as dicom
from imbal_jax.data.dicom.radiograph import read_radiograph
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.errors import InputError

MARKER = "ZZMARKERZZ"


RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def write(
    path: Path, pixels: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **elements: object
) -> Path:
    """A DICOM file whose every free text holds MARKER."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = Dataset()
    file.SOPClassUID = ComputedRadiographyImageStorage
    file.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    file.PatientName = f"{MARKER}^NAME"
    file.PatientID = f"{MARKER}-ID"
    file.Modality = "CR"
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME2"
    file.Rows, file.Columns = pixels.shape[-2:]
    file.BitsAllocated = file.BitsStored = 8 * pixels.dtype.itemsize
    file.HighBit = file.BitsAllocated - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    file.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    file["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    for keyword, value in elements.items():
        setattr(file, keyword, value)
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.save_as(path, enforce_file_format=True)
    return path


def bytes_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Independent of the module, in float64: 0..255 from low to high."""
    return np.rint(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255)


def read(path: Path, **options: object) -> np.ndarray:
    return read_radiograph(path, size=64, **options).astype(int)


def flags(path: Path, size: int = 64) -> tuple[str, ...]:
    with dicom.quiet():
        return dicom.load_radiograph(path, size=size).flags


def attempt(path: Path, size: int) -> np.ndarray | ReadError:
    try:
        return read_radiograph(path, size=size)
    except ReadError as error:
        return error


def reason_of(path: Path) -> str:
    """The reason of the refusal, having made sure that nothing in the exception names anybody."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ReadError) as refusal:
            read_radiograph(path, size=16)
    error = refusal.value
    told = " ".join(map(repr, (error, str(error), error.args, error.__cause__, error.__context__, caught)))
    assert MARKER not in told
    assert path.name not in told
    assert not caught
    assert isinstance(error, InputError)
    return error.reason
