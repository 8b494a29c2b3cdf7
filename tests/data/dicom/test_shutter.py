"""The display shutter against its definition in PS3.3 C.7.6.11, pixel by pixel."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import RAMP, bytes_of, flags, read, write
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from imbal_jax.data.dicom.radiograph import read_radiograph

ROWS, COLUMNS = np.mgrid[1:65, 1:65]  # places count from 1
RECTANGLE = {
    "ShutterLeftVerticalEdge": 11,
    "ShutterRightVerticalEdge": 50,
    "ShutterUpperHorizontalEdge": 5,
    "ShutterLowerHorizontalEdge": 60,
}
IN_RECTANGLE = (COLUMNS >= 11) & (COLUMNS <= 50) & (ROWS >= 5) & (ROWS <= 60)
CIRCLE = {"CenterOfCircularShutter": [30, 35], "RadiusOfCircularShutter": 25}
IN_CIRCLE = (ROWS - 30) ** 2 + (COLUMNS - 35) ** 2 <= 25**2
POLYGON = {"VerticesOfThePolygonalShutter": [5, 30, 60, 60, 40, 30, 60, 5]}  # an arrow head, not convex


def in_polygon(rows: np.ndarray, columns: np.ndarray, vertices: list[int]) -> np.ndarray:
    """Even-odd rule: a ray along the row crosses the border an odd number of times."""
    points = np.array(vertices).reshape(-1, 2)
    inside = np.zeros(rows.shape, bool)
    for (row0, column0), (row1, column1) in zip(points, np.roll(points, -1, 0), strict=True):
        if row0 == row1:
            continue
        crosses = (rows >= min(row0, row1)) & (rows < max(row0, row1))
        at = column0 + (rows - row0) * (column1 - column0) / (row1 - row0)
        inside ^= crosses & (columns < at)
    return inside


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("shape", "elements", "visible"),
    [
        ("RECTANGULAR", RECTANGLE, IN_RECTANGLE),
        ("CIRCULAR", CIRCLE, IN_CIRCLE),
        (["RECTANGULAR", "CIRCULAR"], RECTANGLE | CIRCLE, IN_RECTANGLE & IN_CIRCLE),
    ],
)
@pytest.mark.parametrize("grey", [None, 0, 0x8000, 0xFFFF])
def test_what_a_shutter_covers_is_its_grey_and_sets_no_percentile(
    shape, elements: dict, visible: np.ndarray, grey: int | None, polarity: str, tmp_path: Path
) -> None:
    pixels = RAMP + np.uint16(1000)
    pixels[~visible] = 60000
    more = {} if grey is None else {"ShutterPresentationValue": grey}
    path = write(
        tmp_path / "a.dcm", pixels, ShutterShape=shape, PhotometricInterpretation=polarity, **elements, **more
    )
    picture = read(path, voi="percentile")
    expected = bytes_of(pixels, *np.percentile(pixels[visible], (0.5, 99.5)))
    expected = np.where(visible, 255 - expected if polarity == "MONOCHROME1" else expected, 0)
    expected[~visible] = (grey or 0) / 65535 * 255
    np.testing.assert_allclose(picture, expected, atol=1)
    assert "shutter-unused" not in flags(path)


def test_a_polygon_leaves_its_inside_visible(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP + np.uint16(1000), ShutterShape="POLYGONAL", **POLYGON)
    seen = read(path, voi="none") > 0
    vertices = POLYGON["VerticesOfThePolygonalShutter"]
    # A pixel through which the border runs may count either way.
    shifted = [
        in_polygon(ROWS + row, COLUMNS + column, vertices) for row in (-1, 0, 1) for column in (-1, 0, 1)
    ]
    surely, perhaps = np.all(shifted, 0), np.any(shifted, 0)
    seen[RAMP == 0] |= surely[RAMP == 0]
    assert seen[surely].mean() > 0.999  # the darkest visible pixel is black
    assert not seen[~perhaps].any()
    assert surely.sum() > 500


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_bitmap_covers_the_pixels_that_it_marks(syntax: str, tmp_path: Path) -> None:
    covered = (ROWS + COLUMNS) % 5 == 0
    path = write(tmp_path / "a.dcm", RAMP + np.uint16(1000), syntax=syntax)
    file = pydicom.dcmread(path)
    file.ShutterShape, file.ShutterOverlayGroup = "BITMAP", 0x6002
    data = np.packbits(covered, bitorder="little").tobytes()
    if syntax == ExplicitVRBigEndian:
        data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
    for place, vr, value in (
        (0x10, "US", 64),
        (0x11, "US", 64),
        (0x40, "CS", "G"),
        (0x50, "SS", [1, 1]),
        (0x100, "US", 1),
        (0x102, "US", 0),
        (0x3000, "OW", data),
    ):
        file.add_new(0x60020000 + place, vr, value)
    file.save_as(path)
    np.testing.assert_allclose(
        read(path, voi="none"), np.where(covered, 0, bytes_of(RAMP, *visible_range(covered))), atol=1
    )


def visible_range(covered: np.ndarray) -> tuple[int, int]:
    return int(RAMP[~covered].min()), int(RAMP[~covered].max())


def test_a_shutter_of_a_frame_and_padding_beside_it_are_both_covered(tmp_path: Path) -> None:
    item = Dataset()
    item.ShutterShape = "RECTANGULAR"
    for keyword, value in RECTANGLE.items():
        setattr(item, keyword, value)
    group = Dataset()
    group.FrameDisplayShutterSequence = Sequence([item])
    pixels = RAMP.copy()
    pixels[30:34] = 0x8000
    path = write(
        tmp_path / "a.dcm",
        pixels,
        BitsStored=12,
        HighBit=11,
        PixelPaddingValue=0x8000,
        PhotometricInterpretation="MONOCHROME1",
        SharedFunctionalGroupsSequence=Sequence([group]),
    )
    visible = IN_RECTANGLE & (pixels < 4096)
    expected = 255 - bytes_of(RAMP, RAMP[visible].min(), RAMP[visible].max())
    np.testing.assert_allclose(read(path, voi="none"), np.where(visible, expected, 0), atol=1)


@pytest.mark.parametrize(
    "elements",
    [
        {"ShutterShape": "RECTANGULAR"},
        {"ShutterShape": "RECTANGULAR", **RECTANGLE, "ShutterRightVerticalEdge": 5},
        {"ShutterShape": "RECTANGULAR", **dict.fromkeys(RECTANGLE, 0)},
        {"ShutterShape": "RECTANGULAR", **dict.fromkeys(RECTANGLE, 1000)},
        {"ShutterShape": "CIRCULAR", **CIRCLE, "RadiusOfCircularShutter": 0},
        {"ShutterShape": "CIRCULAR", "RadiusOfCircularShutter": 5},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2, 3, 4]},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2**31 - 1, 3, 4, 5, 6]},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2] * 2000},
        {"ShutterShape": "BITMAP"},
        {"ShutterShape": "TRIANGULAR"},
    ],
)
def test_a_shutter_that_cannot_be_applied_is_flagged(elements: dict, tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=3000, **elements)
    assert "shutter-unused" in flags(path)
    np.testing.assert_allclose(read(path), bytes_of(RAMP, 499.5, 3498.5), atol=1)


def test_a_shutter_over_nothing_changes_nothing(tmp_path: Path) -> None:
    edges = dict(zip(RECTANGLE, (-5, 70, 1, 64), strict=True))
    plain = read_radiograph(write(tmp_path / "a.dcm", RAMP), size=20)
    path = write(tmp_path / "b.dcm", RAMP, ShutterShape="RECTANGULAR", **edges)
    np.testing.assert_array_equal(read_radiograph(path, size=20), plain)
    assert "shutter-unused" not in flags(path)
