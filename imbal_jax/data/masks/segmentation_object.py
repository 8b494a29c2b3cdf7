"""Reads DICOM segmentation objects (SEG, binary, uncompressed bits or one frame a segment)."""

import io

import numpy as np
import pydicom

from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.errors import InputError

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
"""SOP Class UID of Segmentation Storage (DICOM PS3.4, annex B.5)."""


def segmentation(data: bytes) -> np.ndarray:
    """uint8 or uint16 [h, w], the number of the segment of each pixel, 0 where there is none.

    One frame a segment at most, BINARY. Raises InputError, without a name of the file, for other objects, for
    several frames of a segment (a volume) and for segments that share a pixel.
    """
    refused, frames, numbers = "", np.zeros((0, 0, 0), bool), []
    try:
        with quiet():
            dataset = pydicom.dcmread(io.BytesIO(data))
            if dataset.get("SOPClassUID") != SEGMENTATION:
                refused = "is a DICOM file and no segmentation"
            elif dataset.get("SegmentationType") != "BINARY":
                refused = "is a DICOM segmentation that is not BINARY"
            else:
                frames = np.asarray(dataset.pixel_array) > 0
                frames = frames[None] if frames.ndim == 2 else frames
                groups = dataset.get("PerFrameFunctionalGroupsSequence") or [
                    dataset.SharedFunctionalGroupsSequence[0]
                ]
                shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
                for group in groups:
                    sequence = group.get("SegmentIdentificationSequence") or shared.get(
                        "SegmentIdentificationSequence"
                    )
                    numbers.append(int(sequence[0].ReferencedSegmentNumber))
    except InputError:
        raise
    except Exception:
        refused = "is a DICOM segmentation that cannot be read"
    if not refused and len(numbers) != len(frames):
        refused = f"has {len(frames)} frames and {len(numbers)} functional groups"
    if not refused and len(set(numbers)) < len(numbers):
        refused = "has several frames of a segment: a volume has no single picture"
    if not refused and (frames.sum(axis=0, dtype=np.int32) > 1).any():
        refused = "has segments that share a pixel"
    if refused:
        raise MaskError(refused)
    out = np.zeros(frames.shape[1:], np.uint8 if max(numbers, default=0) < 256 else np.uint16)
    for number, frame in zip(numbers, frames, strict=True):
        out[frame] = number
    return out
