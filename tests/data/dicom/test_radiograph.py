import pickle
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import MARKER, RAMP, attempt, bytes_of, flags, read, reason_of, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from imbal_jax.data.dicom import decoding
from imbal_jax.data.dicom import radiograph as dicom
from imbal_jax.data.dicom.radiograph import read_radiograph
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.images.resize import fit_square
from imbal_jax.errors import InputError

# The order of the transforms


def test_a_linear_window_is_the_standards_formula(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=1001)
    np.testing.assert_array_equal(read(path), bytes_of(RAMP, 2000 - 0.5 - 500, 2000 - 0.5 + 500))


def test_a_window_agrees_with_pydicom(tmp_path: Path) -> None:
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        path = write(
            tmp_path / f"{function}.dcm",
            RAMP,
            BitsStored=12,
            HighBit=11,
            WindowCenter=1500,
            WindowWidth=900,
            VOILUTFunction=function,
            RescaleSlope=2,
            RescaleIntercept=-1024,
            RescaleType="US",
        )
        file = pydicom.dcmread(path)
        theirs = pydicom.pixels.apply_voi_lut(pydicom.pixels.apply_modality_lut(file.pixel_array, file), file)
        low, high = -1024, 4095 * 2 - 1024  # the output range that pydicom uses
        assert np.abs(read(path) - (theirs - low) / (high - low) * 255).max() <= 0.51


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.dcm", RAMP, RescaleSlope=0.5, RescaleIntercept=-100, WindowCenter=400.5, WindowWidth=401
    )
    np.testing.assert_allclose(read(path), bytes_of(RAMP * 0.5 - 100, 200, 600), atol=1)


@pytest.mark.parametrize("shape", [None, "INVERSE"])
def test_both_polarities_show_the_same_picture_inverted_once(tmp_path: Path, shape: str | None) -> None:
    more = {} if shape is None else {"PresentationLUTShape": shape}
    window = {"WindowCenter": 1700.5, "WindowWidth": 1201}
    plain = read(write(tmp_path / "2.dcm", RAMP, **window))
    turned = {"WindowCenter": 4096 - 1700.5, "WindowWidth": 1201, "PhotometricInterpretation": "MONOCHROME1"}
    np.testing.assert_allclose(read(write(tmp_path / "1.dcm", 4095 - RAMP, **turned, **more)), plain, atol=1)
    assert np.ptp(plain) == 255


def test_the_shape_inverse_alone_inverts(tmp_path: Path) -> None:
    plain = read(write(tmp_path / "a.dcm", RAMP), voi="none")
    inverse = read(write(tmp_path / "b.dcm", RAMP, PresentationLUTShape="INVERSE"), voi="none")
    np.testing.assert_allclose(inverse, 255 - plain, atol=1)


def test_a_negative_slope_and_monochrome1_cancel(tmp_path: Path) -> None:
    turned = write(
        tmp_path / "a.dcm",
        RAMP,
        RescaleSlope=-1,
        RescaleIntercept=4095,
        PhotometricInterpretation="MONOCHROME1",
    )
    np.testing.assert_allclose(read(turned, voi="none"), bytes_of(RAMP, 0, 4095), atol=1)


def lut(entries: np.ndarray, first: int, keyword: str) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, 16]
    item.LUTData = entries.astype(np.uint16).tolist()
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    if keyword == "modality":
        item.ModalityLUTType = "US"
    return Sequence([item])


def test_a_voi_lut_is_preferred_to_a_window_and_scaled_by_its_declared_range(tmp_path: Path) -> None:
    table = np.linspace(0, 240, 256) ** 2  # 0..57600 of 0..65535
    path = write(
        tmp_path / "a.dcm",
        RAMP,
        VOILUTSequence=lut(table, 1000, "voi"),
        WindowCenter=10,
        WindowWidth=20,
    )
    expected = np.rint(table.astype(int)[np.clip(RAMP.astype(int) - 1000, 0, 255)] / 65535 * 255)
    np.testing.assert_allclose(read(path), expected, atol=1)


def test_a_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    table = 5000 - np.arange(4096)
    path = write(
        tmp_path / "a.dcm",
        RAMP,
        ModalityLUTSequence=lut(table, 0, "modality"),
        WindowCenter=3000.5,
        WindowWidth=1001,
    )
    np.testing.assert_allclose(read(path), bytes_of(5000 - RAMP.astype(int), 2500, 3500), atol=1)


def test_a_malformed_voi_lut_gives_way_to_the_window(tmp_path: Path) -> None:
    broken = lut(np.array([7, 7, 7]), 0, "voi")
    path = write(tmp_path / "a.dcm", RAMP, VOILUTSequence=broken, WindowCenter=2000, WindowWidth=1001)
    np.testing.assert_array_equal(read(path), bytes_of(RAMP, 1499.5, 2499.5))


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowWidth": 0},
        {"WindowWidth": 1},
        {"WindowWidth": -5},
        {"WindowWidth": ""},
        {"WindowCenter": 90000, "WindowWidth": 10},
        {"WindowCenter": None, "WindowWidth": None},
    ],
)
def test_an_unusable_window_falls_back_to_percentiles(tmp_path: Path, window: dict) -> None:
    if window:
        window = {"WindowCenter": 2000, **window}
    path = write(tmp_path / "a.dcm", RAMP, **window)
    np.testing.assert_allclose(read(path), bytes_of(RAMP, *np.percentile(RAMP, (0.5, 99.5))), atol=1)
    with dicom.quiet():
        assert not dicom.load_radiograph(path, size=64).windowed


def test_of_several_windows_the_first_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP, WindowCenter=[2000, 100], WindowWidth=[1001, 11])
    np.testing.assert_array_equal(read(path), bytes_of(RAMP, 1499.5, 2499.5))


def test_voi_policies_ignore_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=101)
    np.testing.assert_allclose(read(path, voi="none"), bytes_of(RAMP, 0, 4095), atol=1)
    np.testing.assert_allclose(
        read(path, voi="percentile"), bytes_of(RAMP, *np.percentile(RAMP, (0.5, 99.5))), atol=1
    )
    with pytest.raises(InputError, match=r"voi='window' is not one of header, percentile, none"):
        read(path, voi="window")


def test_sixteen_bits_resolve_what_eight_do_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=1001)
    fine = read_radiograph(path, size=64, bits=16)
    assert fine.dtype == np.uint16
    np.testing.assert_allclose(fine, np.clip((RAMP - 1499.5) / 1000, 0, 1) * 65535, atol=0.51)
    assert len(np.unique(fine)) == 1002  # 1500..2499 and both ends
    with pytest.raises(InputError, match="bits=12 is neither 8 nor 16"):
        read_radiograph(path, size=64, bits=12)


# Frames


def test_a_frame_of_several_is_read_when_asked_for_and_the_same_in_every_compression() -> None:
    names = [
        f"emri_small{kind}.dcm"
        for kind in ("", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_ls_lossless")
    ]
    plain, *others = (get_testdata_file(name, download=False) for name in names)
    stored = pydicom.dcmread(plain).pixel_array
    for frame in (0, 3, 9):
        picture = read_radiograph(plain, size=64, frame=frame, voi="none")
        expected = bytes_of(stored[frame], stored[frame].min(), stored[frame].max())
        np.testing.assert_allclose(picture, expected, atol=1)
        for other in others:
            np.testing.assert_array_equal(read_radiograph(other, size=64, frame=frame, voi="none"), picture)
    for frame, reason in ((None, "multi-frame"), (10, "no-such-frame")):
        with pytest.raises(ReadError) as refusal:
            read_radiograph(plain, size=64, frame=frame)
        assert refusal.value.reason == reason
    with pytest.raises(InputError, match="frame=-1: frames count from 0"):
        read_radiograph(plain, size=64, frame=-1)


def test_a_frames_own_window_and_rescaling_count_before_the_shared_before_the_roots(tmp_path: Path) -> None:
    def group(**items: dict) -> Dataset:
        result = Dataset()
        for keyword, values in items.items():
            item = Dataset()
            for name, value in values.items():
                setattr(item, name, value)
            setattr(result, keyword, Sequence([item]))
        return result

    own = {"FrameVOILUTSequence": {"WindowCenter": 300.5, "WindowWidth": 201}}
    shared = {
        "FrameVOILUTSequence": {"WindowCenter": 800.5, "WindowWidth": 401},
        "PixelValueTransformationSequence": {"RescaleSlope": 0.5, "RescaleIntercept": -100},
    }
    path = write(
        tmp_path / "a.dcm",
        np.stack([RAMP, RAMP]),
        NumberOfFrames=2,
        WindowCenter=10,
        WindowWidth=20,
        SharedFunctionalGroupsSequence=Sequence([group(**shared)]),
        PerFrameFunctionalGroupsSequence=Sequence([group(), group(**own)]),
    )
    values = RAMP * 0.5 - 100
    np.testing.assert_allclose(read(path, frame=0), bytes_of(values, 600, 1000), atol=1)
    np.testing.assert_allclose(read(path, frame=1), bytes_of(values, 200, 400), atol=1)


# Flags


@pytest.mark.parametrize(
    ("elements", "flag"),
    [
        ({}, None),
        ({"BurnedInAnnotation": None}, "burned-in-unknown"),
        ({"Modality": "MR"}, "not-radiography"),
        ({"BodyPartExamined": "KNEE"}, "not-chest"),
        ({"BodyPartExamined": None}, "body-part-unknown"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"LossyImageCompression": "01"}, "lossy"),
        ({"WindowWidth": 0}, "unwindowed"),
    ],
)
def test_what_the_header_leaves_open_is_flagged(tmp_path: Path, elements: dict, flag: str | None) -> None:
    good = {"BurnedInAnnotation": "NO", "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
    path = write(tmp_path / "a.dcm", RAMP, **{"WindowCenter": 2000, "WindowWidth": 3000, **good, **elements})
    assert flags(path) == ((flag,) if flag else ())


def test_enlargement_and_excess_bytes_are_flagged(tmp_path: Path) -> None:
    assert "enlarged" in flags(write(tmp_path / "a.dcm", RAMP), size=65)
    assert "enlarged" not in flags(write(tmp_path / "a.dcm", RAMP), size=64)
    assert "excess-pixels" in flags(write(tmp_path / "a.dcm", RAMP, Rows=63))
    assert "excess-pixels" not in flags(write(tmp_path / "a.dcm", RAMP))


# Stored values


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.uint32])
def test_bits_and_byte_order_do_not_matter(tmp_path: Path, kind: type) -> None:
    pixels = (RAMP // 16).astype(kind)
    if kind is np.int16:
        pixels -= 100
    if kind is np.uint32:
        pixels += 2**30  # float32 would lose the picture
    expected = bytes_of(pixels, pixels.min(), pixels.max())
    for syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian):
        np.testing.assert_allclose(
            read(write(tmp_path / "a.dcm", pixels, syntax=syntax), voi="none"), expected, atol=1
        )


def test_garbage_above_the_stored_bits_is_ignored(tmp_path: Path) -> None:
    dirty = RAMP | np.uint16(0xA000)
    path = write(tmp_path / "a.dcm", dirty, BitsStored=12, HighBit=11)
    np.testing.assert_allclose(read(path, voi="none"), bytes_of(RAMP, 0, 4095), atol=1)


def test_bits_that_are_cut_are_flagged_unless_they_are_an_overlay_or_a_sign(tmp_path: Path) -> None:
    bits = {"BitsStored": 12, "HighBit": 11}
    assert "bits-cut" not in flags(write(tmp_path / "a.dcm", RAMP, **bits))
    path = write(tmp_path / "a.dcm", RAMP | np.uint16(0x2000), **bits)
    assert "bits-cut" in flags(path)
    file = pydicom.dcmread(path)
    file.add_new(0x60000100, "US", 16)
    file.add_new(0x60000102, "US", 13)
    file.save_as(path)
    assert "bits-cut" not in flags(path)
    assert "bits-cut" in flags(write(tmp_path / "a.dcm", RAMP, BitsStored=10, HighBit=9))  # a sawtooth
    signed = RAMP.astype(np.int16) - 2048
    for words in (signed, signed & 0x0FFF):  # the sign carried on, and not
        assert "bits-cut" not in flags(write(tmp_path / "a.dcm", words, **bits))
    assert "bits-cut" in flags(write(tmp_path / "a.dcm", signed & 0x2FFF, **bits))


@pytest.mark.parametrize(
    "window", [{}, {"WindowCenter": 2000, "WindowWidth": 1001}, {"VOILUTFunction": "SIGMOID"}]
)
@pytest.mark.parametrize("place", [(1, 1), (298, 299), (150, 150)])
def test_garbage_in_a_single_pixel_of_a_large_picture_is_found(
    tmp_path: Path, window: dict, place: tuple[int, int]
) -> None:
    pixels = np.tile(RAMP, (5, 5))[:300, :300].copy()
    window = {"WindowCenter": 2000, "WindowWidth": 1500, **window} if window else {}
    bits = {"BitsStored": 12, "HighBit": 11, **window}
    clean = read_radiograph(write(tmp_path / "a.dcm", pixels, **bits), size=300, bits=16)
    pixels[place] |= 0x8000
    dirty = write(tmp_path / "b.dcm", pixels, **bits)
    np.testing.assert_array_equal(read_radiograph(dirty, size=300, bits=16), clean)
    # A compressed picture has no room for anything else.
    file = pydicom.dcmread(dirty)
    file.BitsStored, file.HighBit = 16, 15
    file.compress(RLELossless, generate_instance_uid=False)
    file.BitsStored, file.HighBit = 12, 11
    file.save_as(dirty)
    assert reason_of(dirty) == "contradiction"


def test_a_compressed_file_shows_the_same_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=1001)
    plain = read(path)
    file = pydicom.dcmread(path)
    file.compress(RLELossless, generate_instance_uid=False)
    file.save_as(path)
    np.testing.assert_array_equal(read(path), plain)


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_counts_in_no_percentile(tmp_path: Path, polarity: str) -> None:
    pixels = RAMP + np.uint16(1000)
    pixels[:, :20] = 65535
    pixels[:, 20:30] = 65000
    path = write(
        tmp_path / "a.dcm",
        pixels,
        PhotometricInterpretation=polarity,
        PixelPaddingValue=65000,
        PixelPaddingRangeLimit=65535,
    )
    picture = read(path, voi="percentile")
    assert not picture[:, :30].any()
    expected = bytes_of(pixels[:, 30:], *np.percentile(pixels[:, 30:], (0.5, 99.5)))
    np.testing.assert_allclose(
        picture[:, 30:], 255 - expected if polarity == "MONOCHROME1" else expected, atol=1
    )


# Geometry


def test_the_picture_keeps_its_proportions_on_black() -> None:
    square = fit_square(np.ones((40, 80), np.float32), 32)
    np.testing.assert_array_equal(square[8:24], 255)
    assert not square[:8].any()
    assert not square[24:].any()


def test_the_pixel_spacing_gives_the_proportions_unless_it_is_zero(tmp_path: Path) -> None:
    rows = {}
    for name, spacing in {"tall": [0.4, 0.2], "wide": [0.2, 0.4], "none": ["0.000", "0.000"]}.items():
        picture = read(
            write(tmp_path / f"{name}.dcm", RAMP + np.uint16(500), PixelSpacing=spacing), voi="none"
        )
        rows[name] = int((picture > 0).any(axis=1).sum()), int((picture > 0).any(axis=0).sum())
    assert rows == {"tall": (64, 32), "wide": (32, 64), "none": (64, 64)}


def test_shrinking_averages_so_that_a_single_bright_pixel_is_not_lost() -> None:
    shown = np.zeros((256, 256), np.float32)
    shown[100:108, 50:58] = (
        1  # 64 pixels: 4 of the small picture's 64 x 64 in each direction would be 16 x 16
    )
    small = fit_square(shown, 64).astype(float)
    assert small.sum() / 255 == pytest.approx(shown.sum() / 16, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.floats(0.1, 10))
def test_any_shape_fits_the_square_without_leaving_its_range(
    rows: int, columns: int, size: int, aspect: float
) -> None:
    square = fit_square(np.full((rows, columns), 0.6, np.float32), size, aspect)
    assert square.shape == (size, size)
    assert set(np.unique(square)) <= {0, 153}
    assert (square == 153).any()


# Refusals


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"PhotometricInterpretation": ""}, "bad-header"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for-processing"),
        ({"BurnedInAnnotation": "YES"}, "burned-in-text"),
        ({"NumberOfFrames": 2}, "multi-frame"),
        ({"Rows": 0}, "bad-header"),
        ({"Rows": 20000, "Columns": 20000}, "too-large"),
        ({"Rows": 128}, "undecodable"),
        ({"BitsAllocated": 13}, "bad-header"),
        ({"BitsStored": 17}, "bad-header"),
        ({"BitsStored": 12, "HighBit": 15}, "bad-header"),
        ({"SamplesPerPixel": 3}, "bad-header"),
        ({"Rows": 40000, "Columns": 1}, "too-large"),
        ({"NumberOfFrames": 20000}, "too-large"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "Rows": 3000, "Columns": 3000}, "too-large"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "bad-header"),
        ({"RescaleSlope": "1e500", "RescaleIntercept": 0}, "bad-header"),
    ],
)
def test_a_header_that_promises_no_radiograph_is_refused(tmp_path: Path, elements: dict, reason: str) -> None:
    assert reason_of(write(tmp_path / f"{MARKER}.dcm", RAMP, **elements)) == reason


def test_constant_pixels_are_refused(tmp_path: Path) -> None:
    assert reason_of(write(tmp_path / "a.dcm", np.full((8, 8), 7, np.uint16))) == "constant"
    padded = np.full((8, 8), 9, np.uint16)
    assert reason_of(write(tmp_path / "b.dcm", padded, PixelPaddingValue=9)) == "constant"


def test_pixels_of_almost_one_value_are_refused(tmp_path: Path) -> None:
    pixels = np.full((64, 64), 9, np.uint16)
    pixels[60, :40] = 1000  # 1 of 100 pixels
    assert reason_of(write(tmp_path / "a.dcm", pixels)) == "constant"
    pixels[1:5] = RAMP[1:5]
    assert isinstance(attempt(write(tmp_path / "b.dcm", pixels), 64), np.ndarray)


def test_plain_black_and_white_is_refused(tmp_path: Path) -> None:
    mask = (RAMP // 8 % 2).astype(np.uint16)
    assert reason_of(write(tmp_path / "a.dcm", mask)) == "saturated"
    # Through its window the picture is black and white; through the percentiles it is not.
    assert flags(write(tmp_path / "b.dcm", RAMP, WindowCenter=2000, WindowWidth=11))[0] == "unwindowed"


def test_a_file_whose_second_half_was_never_written_is_refused(tmp_path: Path) -> None:
    pixels = RAMP.copy()
    pixels[40:] = 0
    assert isinstance(attempt(write(tmp_path / "a.dcm", pixels), 64), np.ndarray)
    pixels[30:] = 0
    assert reason_of(write(tmp_path / "b.dcm", pixels)) == "half-empty"
    pixels[0] = 0  # bars above and below: made so
    assert isinstance(attempt(write(tmp_path / "c.dcm", pixels), 64), np.ndarray)


def test_nan_pixels_are_refused(tmp_path: Path) -> None:
    pixels = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    path = write(tmp_path / "a.dcm", pixels)
    for value, reason in ((0.5, None), (np.nan, "non-finite"), (np.inf, "non-finite")):
        pixels[3, 3] = value
        file = pydicom.dcmread(path)
        if "PixelData" in file:
            del file.PixelData
        file.FloatPixelData = pixels.tobytes()
        file.save_as(path)
        if reason is None:
            assert np.ptp(read_radiograph(path, size=8)) == 255
        else:
            assert reason_of(path) == reason


def test_files_that_are_no_images_are_refused(tmp_path: Path) -> None:
    text = tmp_path / f"{MARKER}.txt"
    text.write_text(MARKER * 100)
    assert reason_of(text) == "not-an-image"
    empty = tmp_path / "empty.dcm"
    empty.write_bytes(b"")
    assert reason_of(empty) == "not-an-image"
    assert reason_of(tmp_path / f"no-{MARKER}.dcm") == "missing"
    assert reason_of(tmp_path) == "missing"
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png")
    assert reason_of(tmp_path / "a.png") == "not-an-image"


def test_a_file_cut_anywhere_is_refused_with_a_reason_and_no_name(tmp_path: Path) -> None:
    whole = write(tmp_path / f"{MARKER}.dcm", RAMP).read_bytes()
    reasons = set()
    for length in (1, 100, 131, 140, 200, 300, 420, 600, len(whole) - 5000, len(whole) - 2):
        path = tmp_path / f"{MARKER}-{length}.dcm"
        path.write_bytes(whole[:length])
        reasons.add(reason_of(path))
    assert reasons <= {"not-an-image", "bad-header", "no-pixels", "truncated"}
    assert len(reasons) >= 3


def test_a_missing_decoder_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.dcm", RAMP)
    file = pydicom.dcmread(path)
    file.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xf7"])
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = JPEGLSLossless
    file.save_as(path)

    class Absent:
        available_plugins = ()

    monkeypatch.setattr(decoding, "get_decoder", lambda syntax: Absent)
    with pytest.raises(ReadError, match="pip install pyjpegls"):
        read_radiograph(path, size=8)
    assert reason_of(path) == "no-decoder"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(132, 700), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_headers_are_read_or_refused_and_never_crash(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.dcm"
    if not whole.exists():
        write(whole, RAMP, WindowCenter=2000, WindowWidth=1001, RescaleSlope=1, RescaleIntercept=0)
    content = bytearray(whole.read_bytes())
    for place, value in damage:
        content[place] = value
    broken = folder / "broken.dcm"
    broken.write_bytes(content)
    result = attempt(broken, size=16)
    if isinstance(result, ReadError):
        assert MARKER not in str(result)
    else:
        assert result.shape == (16, 16)


def test_big_endian_and_compressed_versions_of_one_image_agree() -> None:
    little = read_radiograph(get_testdata_file("MR_small.dcm", download=False), size=64)
    for name in ("MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR_small_implicit.dcm", "MR_small_expb.dcm"):
        np.testing.assert_array_equal(
            read_radiograph(get_testdata_file(name, download=False), size=64), little
        )


def test_a_refusal_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ReadError("colour", "convert it")))
    assert (error.reason, str(error)) == ("colour", "colour: not a grey image (convert it)")
