import numpy as np
import pytest

from imbal_jax.data.medmnist import MEDMNIST, read_medmnist
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


def test_each_set_has_a_checksum_of_each_size_and_no_two_the_same():
    sums = [md5 for med in MEDMNIST.values() for md5 in med.md5]
    assert all(len(bytes.fromhex(md5)) == 16 for md5 in sums)
    assert len(set(sums)) == len(sums) == 4 * 12
    assert all(len(set(med.classes)) == len(med.classes) for med in MEDMNIST.values())
