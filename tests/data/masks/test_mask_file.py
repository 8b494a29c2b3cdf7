"""Mask files as they are stored, DICOM segmentations among them, and the files that are written."""

import io

import numpy as np
import pydicom
import pytest
from dicom_files import write
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from imbal_jax.data.folders.image_file import upright_size
from imbal_jax.data.images.pictures import open_picture
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.mask_file import picture_size, read_mask
from imbal_jax.data.masks.write import write_mask_png
from imbal_jax.errors import InputError

LABELS = np.random.default_rng(0).integers(0, 3, (5, 7)).astype(np.uint8)


def segmentation(frames, numbers=(1, 2), **changes):
    """A DICOM segmentation of bits, packed by hand: the first pixel in the lowest bit."""
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
    file.Modality, file.SegmentationType = "SEG", "BINARY"
    file.NumberOfFrames, file.Rows, file.Columns = len(frames), *frames[0].shape
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated = file.BitsStored = 1
    file.HighBit = 0
    groups = []
    for number in numbers:
        named, group = Dataset(), Dataset()
        named.ReferencedSegmentNumber = number
        group.SegmentIdentificationSequence = [named]
        groups.append(group)
    file.PerFrameFunctionalGroupsSequence = groups
    packed = np.packbits(np.stack(frames).ravel().astype(bool), bitorder="little").tobytes()
    file.PixelData = packed + b"\0" * (len(packed) % 2)
    file["PixelData"].VR = "OB"
    for name, value in changes.items():
        setattr(file, name, value)
    out = io.BytesIO()
    pydicom.dcmwrite(out, file, enforce_file_format=True)
    return out.getvalue()


def test_a_dicom_segmentation_has_the_numbers_of_its_segments() -> None:
    stored = read_mask(segmentation([LABELS == 1, LABELS == 2]))
    np.testing.assert_array_equal(stored, LABELS)
    one = read_mask(segmentation([LABELS == 2], (300,)))
    np.testing.assert_array_equal(one, np.where(LABELS == 2, 300, 0))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (segmentation([LABELS == 1, LABELS >= 1]), "segments that share a pixel"),
        (segmentation([LABELS == 1, LABELS == 2], (1, 1)), "several frames of a segment"),
        (segmentation([LABELS == 1, LABELS == 2], SegmentationType="FRACTIONAL"), "not BINARY"),
        (
            segmentation([LABELS == 1, LABELS == 2], SOPClassUID="1.2.840.10008.5.1.4.1.1.2"),
            "no segmentation",
        ),
        (b"nothing", "is no PNG, TIFF"),
        (b"", "is no PNG, TIFF"),
        (b"\x93NUMPY", "damaged NPY"),
    ],
)
def test_what_is_no_mask_is_refused(data, said) -> None:
    with pytest.raises(MaskError, match=said):
        read_mask(data)


def test_16_bits_and_arrays_keep_their_values(tmp_path) -> None:
    many = LABELS.astype(np.uint16) * 300
    Image.fromarray(many).save(tmp_path / "m.png")
    Image.fromarray(many).save(tmp_path / "m.tif")
    np.savez(tmp_path / "m.npz", mask=many[..., None])
    np.save(tmp_path / "m.npy", many.astype(np.float32))
    for ending in ("png", "tif", "npz", "npy"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"m.{ending}"), many)
    np.savez(tmp_path / "two.npz", a=many, b=many)
    with pytest.raises(MaskError, match="holds 2 arrays"):
        read_mask(tmp_path / "two.npz")


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (20, 30)), (3, (20, 30)), (6, (30, 20)), (8, (30, 20))]
)
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_the_size_of_a_picture_is_that_of_the_upright_one(tmp_path, orientation, size, ending) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"p.{ending}"
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert picture_size(path) == (*size, orientation)
    assert upright_size(path) == (*size, orientation, 1.0)
    assert open_picture(path).values.shape == size


def test_the_size_of_a_radiograph_is_that_of_its_header(tmp_path) -> None:
    write(tmp_path / "r.dcm", np.arange(600, dtype=np.uint16).reshape(20, 30), PixelAspectRatio=[3, 1])
    assert upright_size(tmp_path / "r.dcm") == (20, 30, 1, 3.0)
    (tmp_path / "r.dcm").write_bytes(b"none")
    with pytest.raises(ReadError, match="not-an-image"):
        upright_size(tmp_path / "r.dcm")


def test_a_written_mask_is_read_back_and_one_class_is_white(tmp_path) -> None:
    mask = LABELS.astype(np.int8)
    mask[0, 0] = -1
    write_mask_png(tmp_path / "new" / "m.png", mask, ("background", "a", "b"))
    expected = np.where(mask < 0, 0, mask)
    with Image.open(tmp_path / "new" / "m.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "m.png"), expected)
    for names in (("background", "lesion"), ("lesion",)):
        write_mask_png(tmp_path / "m.png", mask == 1, names)
        with Image.open(tmp_path / "m.png") as image:
            np.testing.assert_array_equal(np.asarray(image), np.where(mask == 1, 255, 0))
    names = tuple(map(str, range(400)))
    write_mask_png(tmp_path / "m.png", np.full((3, 4), 399), names)
    assert read_mask(tmp_path / "m.png").tolist() == [[399] * 4] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.png", "new"]
    with pytest.raises(InputError, match=r"holds 2, expected 0\.\.1"):
        write_mask_png(tmp_path / "m.png", mask, ("background", "lesion"))
    with pytest.raises(InputError, match=r"float64 \[2, 2\], expected whole numbers"):
        write_mask_png(tmp_path / "m.png", np.zeros((2, 2)), ("background", "lesion"))
