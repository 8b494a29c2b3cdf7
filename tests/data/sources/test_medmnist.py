import numpy as np
import pytest

from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.sources.medmnist import MEDMNIST, read_medmnist
from imbal_jax.errors import InputError


def published(path, shape, columns, most):
    labels = np.arange(5 * columns).reshape(5, columns) % (most + 1)
    arrays = {}
    for part in ("train", "val", "test"):
        arrays |= {
            f"{part}_images": np.zeros((5, *shape), np.uint8),
            f"{part}_labels": labels.astype(np.uint8),
        }
    np.savez(path, **arrays)
    return path


def test_colour_and_grey_have_their_channels(tmp_path):
    colour, _ = read_medmnist(published(tmp_path / "a.npz", (28, 28, 3), 1, 4), "pathmnist")
    grey, splits = read_medmnist(published(tmp_path / "b.npz", (28, 28), 14, 1), "chestmnist")
    assert colour.images.shape == (15, 28, 28, 3)
    assert colour.labels.dtype == np.int32
    assert grey.images.shape == (15, 28, 28, 1)
    assert grey.labels.shape == (15, 14)
    assert [part.tolist() for part in splits.values()] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12, 13, 14],
    ]


def test_a_file_of_another_set_is_refused_by_its_labels(tmp_path):
    with pytest.raises(InputError, match=r"labels \[5, 1\] from 0 to [34]: pneumoniamnist has 2 classes"):
        read_medmnist(published(tmp_path / "a.npz", (28, 28), 1, 4), "pneumoniamnist")
    with pytest.raises(InputError, match=r"labels \[5, 14\] from 0 to 1: octmnist has 4 classes"):
        read_medmnist(published(tmp_path / "b.npz", (28, 28), 14, 1), "octmnist")
    (tmp_path / "c.npz").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"c.npz is damaged .* fetch it again"):
        read_medmnist(tmp_path / "c.npz", "octmnist")


@pytest.mark.parametrize(
    "change",
    [
        {"val_images": np.zeros((5, 28, 28), np.float32)},
        {"val_images": np.zeros((5, 28, 27), np.uint8)},
        {"val_images": np.zeros((4, 28, 28), np.uint8)},
        {"test_labels": np.zeros(5, np.uint8)},
        {"test_labels": np.zeros((5, 1))},
        {"train_labels": np.full((5, 1), -1)},
        {"train_labels": np.array([["a"]] * 5)},
        {"train_images": np.array([None] * 5)},
        {"train_images": np.zeros((0, 28, 28), np.uint8), "train_labels": np.zeros((0, 1), np.uint8)},
        {"train_images": np.ones((5, 28, 28), np.uint8)},
        {f"{part}_images": np.zeros((5, 64, 64), np.uint8) for part in ("train", "val", "test")},
    ],
)
def test_wrong_dtypes_shapes_and_lengths_are_refused_in_one_line(change, tmp_path):
    path = published(tmp_path / "a.npz", (28, 28), 1, 1)
    with np.load(path) as arrays:
        whole = dict(arrays)
    read_medmnist(path, "pneumoniamnist", AskedGeometry(size=28))
    np.savez(path, **{**whole, **change})
    with pytest.raises(InputError, match="remove it and fetch it again") as caught:
        read_medmnist(path, "pneumoniamnist", AskedGeometry(size=28))
    assert "\n" not in str(caught.value)


def test_each_set_has_a_checksum_of_each_size_and_no_two_the_same():
    sums = [md5 for med in MEDMNIST.values() for md5 in med.md5]
    assert all(len(bytes.fromhex(md5)) == 16 for md5 in sums)
    assert len(set(sums)) == len(sums) == 4 * 12
    assert all(len(set(med.classes)) == len(med.classes) for med in MEDMNIST.values())
