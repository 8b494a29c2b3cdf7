"""Run lengths of contests and of COCO, and polygons."""

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.run_lengths import counts_of_text, decode_run_lengths, fill_polygon, from_counts


def test_run_lengths_by_hand() -> None:
    """A picture of 3 x 4; down the columns its pixels are 1..3, 4..6, 7..9, 10..12."""
    expected = np.zeros((3, 4), bool)
    expected[1:, 0] = expected[0, 1] = True  # pixels 2, 3, 4
    expected[1, 2] = True  # pixel 8
    np.testing.assert_array_equal(decode_run_lengths("2 3 8 1", 3, 4, "columns"), expected)
    # from 0, and from the end of the run before: 1 pixel passed over, then 3 more
    np.testing.assert_array_equal(decode_run_lengths("1 3 3 1", 3, 4, "relative"), expected)
    rows = np.zeros((3, 4), bool)
    rows[0, 1:] = rows[1, 3] = True
    np.testing.assert_array_equal(decode_run_lengths("2 3 8 1", 3, 4, "rows"), rows)
    for nothing in ("-1", " -1 ", "", "nan"):
        assert not decode_run_lengths(nothing, 3, 4, "relative").any()


@pytest.mark.parametrize("text", ["2", "a b", "0 3", "5 2 3 1", "12 2", "3 -1"])
def test_what_is_no_run_length_is_refused(text) -> None:
    with pytest.raises(MaskError, match=r"run lengths|runs that go back or beyond 3 x 4"):
        decode_run_lengths(text, 3, 4, "columns")


def test_counts_of_coco() -> None:
    """Texts and counts as pycocotools 2.0.11 gave them for masks of 9 x 10 and 300 x 400."""
    assert counts_of_text("m0450000000>M^O") == [29, 4, 5, 4, 5, 4, 5, 4, 5, 4, 19, 1, 1]
    assert counts_of_text("01Vok06nYTO2N2O000000000001N2NZih1m2jPTO") == [
        0,
        1,
        28646,
        7,
        292,
        9,
        290,
        11,
        289,
        11,
        289,
        11,
        289,
        11,
        289,
        11,
        289,
        11,
        289,
        11,
        290,
        9,
        292,
        7,
        58446,
        100,
        29800,
    ]
    mask = from_counts([2, 3, 4, 1, 2], 3, 4)
    np.testing.assert_array_equal(mask.T.ravel().nonzero()[0], [2, 3, 4, 9])
    with pytest.raises(MaskError, match="counts of 10 pixels, its picture 12"):
        from_counts([2, 8], 3, 4)
    with pytest.raises(MaskError, match="no compressed run length"):
        counts_of_text("61\x7f")


def test_a_polygon_holds_the_pixels_whose_middle_it_holds() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:30, :40]
    middles = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], -1)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
        corners = np.stack([20 + 25 * np.cos(angles), 15 + 11 * np.sin(angles)], -1) + rng.normal(
            0, 0.3, (7, 2)
        )
        expected = Polygon(np.vstack([corners, corners[:1]])).contains_points(middles).reshape(30, 40)
        np.testing.assert_array_equal(fill_polygon(corners.ravel().tolist(), 30, 40), expected)
    square = fill_polygon([2, 3, 6, 3, 6, 5, 2, 5], 30, 40)
    assert square.sum() == 8
    assert square[3:5, 2:6].all()
    with pytest.raises(MaskError, match="fewer than three corners"):
        fill_polygon([1, 2, 3, 4], 5, 5)
