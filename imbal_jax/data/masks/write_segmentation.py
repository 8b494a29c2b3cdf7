"""Writes masks as DICOM segmentation objects, through highdicom (``pip install imbal-jax[seg]``)."""

import io
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom

from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.errors import InputError
from imbal_jax.files import write_bytes

MAKER = "imbal-jax"


def need_highdicom() -> None:
    """InputError where highdicom is not installed."""
    if find_spec("highdicom") is None:
        raise InputError("DICOM segmentations are written by highdicom: pip install 'imbal-jax[seg]'")


def write_segmentation(
    path: Path, mask: np.ndarray, classes: Sequence[str], picture: Path, *, background: int = 0
) -> None:
    """Write a DICOM segmentation (BINARY) of the radiograph in ``picture``, whose patient and study it keeps.

    mask: whole numbers [Rows, Columns] of the radiograph, the class of each pixel; -1 is in no segment. classes: each
    but ``background`` becomes a segment, numbered from 1, called by its name, of the general type "morphologically
    abnormal structure" (SNOMED CT 49755003), made by an automatic algorithm. Raises InputError where highdicom is not
    installed, for a mask of another size, and for a file that is no single radiograph; DICOM PS3.3 A.51.
    """
    need_highdicom()
    import highdicom as hd
    from pydicom.sr.codedict import codes

    mask = np.asarray(mask)
    names = [name for place, name in enumerate(classes) if place != background]
    if mask.ndim != 2 or mask.dtype.kind not in "biu":
        raise InputError(f"a mask to write is {mask.dtype} {list(mask.shape)}, expected whole numbers [h, w]")
    refused, content = "", io.BytesIO()
    structure = codes.SCT.MorphologicallyAbnormalStructure
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = pydicom.dcmread(picture)
            if (source.Rows, source.Columns) != mask.shape:
                rows, columns = mask.shape
                refused = (
                    f"the mask has {rows} x {columns} pixels, its radiograph {source.Rows} x {source.Columns}"
                )
            else:
                made_by = hd.AlgorithmIdentificationSequence(
                    MAKER, codes.DCM.ArtificialIntelligence, "1", source=MAKER
                )
                segments = [
                    hd.seg.SegmentDescription(
                        number,
                        name,
                        structure,
                        structure,
                        hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                        made_by,
                    )
                    for number, name in enumerate(names, start=1)
                ]
                others = [place for place in range(len(classes)) if place != background]
                frames = np.stack([mask == place for place in others], -1)
                made = hd.seg.Segmentation(
                    [source],
                    frames[None],
                    hd.seg.SegmentationTypeValues.BINARY,
                    segments,
                    hd.UID(),
                    1000,
                    hd.UID(),
                    1,
                    MAKER,
                    MAKER,
                    "1",
                    "0",
                    omit_empty_frames=False,
                )
                made.save_as(content)
    except Exception:  # raised outside: the text may quote the header
        refused = refused or (
            "no segmentation can be made of this DICOM file: it needs one frame with patient, study and series"
        )
    if refused:
        raise InputError(refused)
    write_bytes(path, content.getvalue())
