import numpy as np
import pytest

from imbal_jax.data.sources.npz_copies import JPEGS, check_labels, jpegs, read_condensed
from imbal_jax.files import DamagedError

EXPECTED = {"images": (np.uint8, ("N", 4, 4)), "labels": (np.integer, ("N",))}
WHOLE = {"images": np.arange(48, dtype=np.uint8).reshape(3, 4, 4), "labels": np.array([0, 1, 2])}


def test_whole_arrays_come_back(tmp_path):
    np.savez(tmp_path / "a.npz", **WHOLE)
    arrays = read_condensed(tmp_path / "a.npz", EXPECTED)
    np.testing.assert_array_equal(arrays["images"], WHOLE["images"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": WHOLE["images"].astype(float)}, r"images is float64 \[3, 4, 4\], expected uint8"),
        ({"images": WHOLE["images"][:, :2]}, r"images is uint8 \[3, 2, 4\], expected uint8 \[3, 4, 4\]"),
        ({"images": WHOLE["images"][0]}, r"images is uint8 \[4, 4\]"),
        ({"labels": np.arange(2)}, r"labels is int64 \[2\], expected integer \[3\]"),
        ({"labels": np.array(["a", "b", "c"])}, r"labels is <U1 \[3\]"),
        ({"labels": np.array([1, None, 2])}, "is damaged"),
    ],
)
def test_another_dtype_shape_or_length_is_refused(change, said, tmp_path):
    np.savez(tmp_path / "a.npz", **{**WHOLE, **change})
    with pytest.raises(DamagedError, match=f"{said}.*remove it and fetch it again"):
        read_condensed(tmp_path / "a.npz", EXPECTED)


def test_a_lacking_array_and_a_foreign_file_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", labels=WHOLE["labels"])
    with pytest.raises(DamagedError, match="no array images"):
        read_condensed(tmp_path / "a.npz", EXPECTED)
    (tmp_path / "a.npz").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(DamagedError, match="is damaged"):
        read_condensed(tmp_path / "a.npz", EXPECTED)


@pytest.mark.parametrize("offsets", [[0, 2], [0, 2, 5], [1, 2, 4], [0, 5, 4], [0, 0, 4], [0, -1, 4], []])
def test_offsets_that_do_not_divide_the_pictures_are_refused(offsets, tmp_path):
    arrays = {"jpeg": np.arange(4, dtype=np.uint8), "labels": np.array([0, 1])}
    assert jpegs(tmp_path, {**arrays, "offsets": np.array([0, 1, 4])}) == [b"\0", b"\1\2\3"]
    with pytest.raises(DamagedError, match="offsets do not divide jpeg into 2"):
        jpegs(tmp_path, {**arrays, "offsets": np.array(offsets, np.int64)})
    assert set(JPEGS) == {"jpeg", "offsets"}


@pytest.mark.parametrize(
    ("labels", "many"), [([0, 3], False), ([-1, 0], False), ([[0, 2]], True), ([], False)]
)
def test_labels_that_are_no_class_are_refused(labels, many, tmp_path):
    with pytest.raises(DamagedError):
        check_labels(tmp_path, np.array(labels, int), ("a", "b", "c"), many=many)
