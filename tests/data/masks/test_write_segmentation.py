"""DICOM segmentations are written through highdicom, and read back; skipped without the extra ``seg``."""

import sys

import numpy as np
import pydicom
import pytest
from dicom_files import write
from pydicom.uid import generate_uid

from imbal_jax.data.masks.mask_file import read_mask
from imbal_jax.data.masks.write_segmentation import write_segmentation
from imbal_jax.errors import InputError

MASK = np.random.default_rng(0).integers(-1, 3, (24, 32)).astype(np.int8)
NAMES = ("background", "nodule", "effusion")


@pytest.fixture
def radiograph(tmp_path):
    """With what a study and a series need; the names are those that the standard asks for."""
    about = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientBirthDate": "",
        "PatientSex": "O",
        "StudyID": "1",
        "StudyDate": "20200101",
        "StudyTime": "000000",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
    }
    return write(tmp_path / "picture.dcm", np.arange(24 * 32, dtype=np.uint16).reshape(24, 32), **about)


def test_a_segmentation_has_a_segment_a_class_and_the_study_of_its_radiograph(tmp_path, radiograph) -> None:
    pytest.importorskip("highdicom")
    write_segmentation(tmp_path / "m.dcm", MASK, NAMES, radiograph)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.dcm"), np.maximum(MASK, 0))
    made, source = pydicom.dcmread(tmp_path / "m.dcm"), pydicom.dcmread(radiograph)
    assert [one.SegmentLabel for one in made.SegmentSequence] == ["nodule", "effusion"]
    assert made.StudyInstanceUID == source.StudyInstanceUID
    assert made.PatientID == source.PatientID
    write_segmentation(tmp_path / "m.dcm", np.zeros_like(MASK), NAMES, radiograph)
    assert not read_mask(tmp_path / "m.dcm").any()
    with pytest.raises(InputError, match="the mask has 12 x 32 pixels, its radiograph 24 x 32"):
        write_segmentation(tmp_path / "m.dcm", MASK[::2], NAMES, radiograph)


def test_without_highdicom_the_extra_is_named(tmp_path, radiograph, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match=r"pip install 'imbal-jax\[seg\]'"):
        write_segmentation(tmp_path / "m.dcm", MASK, NAMES, radiograph)
