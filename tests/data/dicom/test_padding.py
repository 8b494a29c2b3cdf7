"""Padding is black, in whatever bits and sign it is written, and decides on nothing."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import RAMP, bytes_of, read, reason_of, write
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

TWELVE = {"BitsStored": 12, "HighBit": 11}
POLARITIES = ("MONOCHROME1", "MONOCHROME2")


def films(kind: type, padding: int, vr: str, folder: Path, *, syntax: str = ExplicitVRLittleEndian, **more):
    """A film of 12 bits whose first 20 columns are padding, in both polarities."""
    pixels = RAMP.astype(kind) - (2048 if np.dtype(kind).kind == "i" else 0)
    pixels[:, :20] = np.array(padding).astype(np.int64).astype(kind)
    for polarity in POLARITIES:
        path = folder / f"{polarity}.dcm"
        write(path, pixels, PhotometricInterpretation=polarity, syntax=syntax, **TWELVE, **more)
        file = pydicom.dcmread(path)
        file.add_new(0x00280120, vr, padding % 65536 if vr == "US" else (padding + 32768) % 65536 - 32768)
        file.save_as(path)
        yield polarity, path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("kind", "padding", "vr"),
    [
        (np.uint16, 0x8000, "US"),
        (np.uint16, 0xFFFF, "US"),
        (np.uint16, 0xFFFF, "SS"),
        (np.uint16, 63536, "SS"),
        (np.uint16, 0x1000, "US"),
        (np.uint16, 0, "US"),
        (np.uint16, 4095, "US"),
        (np.int16, -32768, "SS"),
        (np.int16, -32768, "US"),
        (np.int16, -2048, "SS"),
        (np.int16, 32767, "SS"),
        (np.int16, -2000, "US"),
    ],
)
def test_padding_is_black_in_both_polarities_and_sets_no_percentile(
    kind: type, padding: int, vr: str, syntax: str, tmp_path: Path
) -> None:
    for polarity, path in films(kind, padding, vr, tmp_path, syntax=syntax):
        for voi, share in (("percentile", (0.5, 99.5)), ("none", (0, 100))):
            picture = read(path, voi=voi)
            assert not picture[:, :20].any()
            visible = RAMP[:, 20:].astype(float)
            # A value of the picture that is the padding value is padding too.
            own = (padding + 2048 if np.dtype(kind).kind == "i" else padding) == RAMP[:, 20:]
            expected = bytes_of(visible, *np.percentile(visible[~own], share))
            expected = np.where(own, 0, 255 - expected if polarity == "MONOCHROME1" else expected)
            np.testing.assert_allclose(picture[:, 20:], expected, atol=1)


def test_padding_outside_the_bits_of_a_compressed_file_is_black(tmp_path: Path) -> None:
    for _, path in films(np.uint16, 0x8000, "US", tmp_path):
        plain = read(path, voi="none")
        file = pydicom.dcmread(path)
        file.BitsStored, file.HighBit = 16, 15
        file.compress(RLELossless, generate_instance_uid=False)
        file.BitsStored, file.HighBit = 12, 11
        file.save_as(path)
        np.testing.assert_array_equal(read(path, voi="none"), plain)


def test_a_negative_value_written_with_the_stored_bits_only_is_padding(tmp_path: Path) -> None:
    for _, path in films(np.int16, -2048, "SS", tmp_path):
        file = pydicom.dcmread(path)
        for value in (0x0800, 0xF800):
            file["PixelPaddingValue"] = pydicom.DataElement(0x00280120, "US", value)
            file.save_as(path)
            assert not read(path, voi="none")[:, :20].any()


@pytest.mark.parametrize(("first", "last"), [(0xF000, 0xFFFF), (0xFFFF, 0xF000), (0x8000, 0x8000)])
def test_a_range_of_padding_outside_the_bits_is_black(first: int, last: int, tmp_path: Path) -> None:
    pixels = RAMP.copy()
    pixels[:, :10], pixels[:, 10:20] = first, last
    path = write(tmp_path / "a.dcm", pixels, PixelPaddingValue=first, PixelPaddingRangeLimit=last, **TWELVE)
    picture = read(path, voi="none")
    assert not picture[:, :20].any()
    np.testing.assert_allclose(picture[:, 20:], bytes_of(RAMP[:, 20:], 20, 4095), atol=1)


@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_range_of_padding_around_0_is_signed_where_the_pixels_are(
    vr: str, turned: bool, tmp_path: Path
) -> None:
    signed = RAMP.astype(np.int16) - 2048
    path = write(tmp_path / "a.dcm", signed, **TWELVE)
    file = pydicom.dcmread(path)
    limits = [100, -2048] if turned else [-2048, 100]
    for tag, limit in zip((0x00280120, 0x00280121), limits, strict=True):
        file.add_new(tag, vr, limit % 65536 if vr == "US" else limit)
    file.save_as(path)
    seen = signed > 100
    expected = np.where(seen, bytes_of(signed, signed[seen].min(), signed[seen].max()), 0)
    np.testing.assert_allclose(read(path, voi="none"), expected, atol=1)


def test_overlay_bits_beside_padding_are_still_ignored(tmp_path: Path) -> None:
    pixels = RAMP | np.uint16(0x4000)
    pixels[:, :20] = 0x8000
    path = write(tmp_path / "a.dcm", pixels, PixelPaddingValue=0x8000, **TWELVE)
    picture = read(path, voi="none")
    assert not picture[:, :20].any()
    np.testing.assert_allclose(picture[:, 20:], bytes_of(RAMP[:, 20:], 20, 4095), atol=1)


@pytest.mark.parametrize("place", [(1, 1), (298, 299), (150, 150)])
def test_a_single_padded_pixel_outside_the_bits_of_a_large_picture_is_black(
    tmp_path: Path, place: tuple[int, int]
) -> None:
    pixels = np.tile(RAMP, (5, 5))[:300, :300] | np.uint16(1)
    pixels[place] = 0xFFFF
    window = {"WindowCenter": 2000, "WindowWidth": 1500}
    more = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0xFFFF, **TWELVE, **window}
    from imbal_jax.data.dicom.radiograph import read_radiograph

    picture = read_radiograph(write(tmp_path / "a.dcm", pixels, **more), size=300)
    expected = 255 - bytes_of(pixels & 4095, 1249.5, 2748.5)
    expected[place] = 0
    np.testing.assert_allclose(picture, expected, atol=1)


@pytest.mark.parametrize("polarity", POLARITIES)
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(
    ("first", "last"), [(-1000.0, None), (1e6, None), (1e6, 1e30), (float("nan"), None), (float("inf"), None)]
)
def test_floating_point_padding_is_black(
    first: float, last: float | None, double: bool, polarity: str, tmp_path: Path
) -> None:
    name = "DoubleFloatPixel" if double else "FloatPixel"
    kind = np.float64 if double else np.float32
    pixels = (RAMP / 4096).astype(kind)
    pixels[:, :10], pixels[:, 10:20] = first, first if last is None else kind(last) / 2
    path = write(tmp_path / "a.dcm", RAMP, PhotometricInterpretation=polarity)
    file = pydicom.dcmread(path)
    del file.PixelData, file.BitsStored, file.HighBit, file.PixelRepresentation
    file.BitsAllocated = 64 if double else 32
    setattr(file, f"{name}Data", pixels.tobytes())
    setattr(file, f"{name}PaddingValue", first)
    if last is not None:
        setattr(file, f"{name}PaddingRangeLimit", last)
    file.save_as(path)
    picture = read(path, voi="none")
    assert not picture[:, :20].any()
    expected = bytes_of(RAMP[:, 20:], 20, 4095)
    np.testing.assert_allclose(
        picture[:, 20:], 255 - expected if polarity == "MONOCHROME1" else expected, atol=1
    )
    if not np.isfinite(first):
        delattr(file, f"{name}PaddingValue")
        file.save_as(path)
        assert reason_of(path) == "non-finite"
