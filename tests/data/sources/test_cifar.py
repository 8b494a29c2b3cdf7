"""CIFAR-10 from its archive and from the condensed copy; the long tail drawn from it."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from imbal_jax.config import Config, Data
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.load import load
from imbal_jax.data.sources import cifar
from imbal_jax.data.sources.cifar import read_cifar10
from imbal_jax.errors import InputError

LABELS = np.tile(np.arange(10, dtype=np.uint8), 6000)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive as published, in which an image's red, green, blue are its label, its number / 256, and 7."""
    folder = tmp_path_factory.mktemp("cifar")
    rows = np.zeros((60_000, 3073), np.uint8)
    rows[:, 0] = LABELS
    rows[:, 1:1025] = LABELS[:, None] * 20
    rows[:, 1025:2049] = (np.arange(60_000) // 256)[:, None]
    rows[:, 2049:] = 7
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as tar:
        for part, name in enumerate(names):
            data = rows[part * 10_000 : (part + 1) * 10_000].tobytes()
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return folder


def test_the_archive_is_read_in_its_order_with_planes_as_channels(archive):
    data, split = read_cifar10(archive, AskedGeometry(size=32))
    assert data.images.shape == (60_000, 32, 32, 3)
    np.testing.assert_array_equal(data.labels, LABELS)
    np.testing.assert_array_equal(data.images[:, 3, 4, 0], LABELS * 20)
    np.testing.assert_array_equal(data.images[:, 30, 0, 1], np.arange(60_000) // 256)
    assert (data.images[..., 2] == 7).all()
    np.testing.assert_array_equal(split["train"], np.arange(50_000))


def test_smaller_images_are_means_of_blocks(archive):
    whole = read_cifar10(archive, AskedGeometry(size=32))[0].images[::999].astype(float)
    for size, block in ((16, 2), (8, 4)):
        data, split = read_cifar10(archive, AskedGeometry(size=size))
        assert data.images.shape == (60_000, size, size, 3)
        assert data.images.dtype == np.uint8
        means = whole.reshape(-1, size, block, size, block, 3).mean(axis=(2, 4))
        np.testing.assert_allclose(data.images[::999], means, atol=0.5)
        np.testing.assert_array_equal(split["train"], np.arange(50_000))


def test_validation_is_a_balanced_part_of_the_test_set_and_the_same_every_time(archive):
    data, split = read_cifar10(archive, AskedGeometry(size=32))
    assert np.bincount(data.labels[split["validation"]]).tolist() == [100] * 10
    assert np.bincount(data.labels[split["test"]]).tolist() == [900] * 10
    both = np.concatenate([split["validation"], split["test"]])
    np.testing.assert_array_equal(np.sort(both), np.arange(50_000, 60_000))
    np.testing.assert_array_equal(read_cifar10(archive, AskedGeometry(size=32))[1]["test"], split["test"])


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("exponential", [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),  # Cao et al. 2019
        ("step", [5000] * 5 + [50] * 5),
    ],
)
def test_the_long_tail_has_the_published_counts_and_leaves_the_test_set_alone(
    archive, tmp_path, profile, expected
):
    data = Data(source="cifar10", dir=archive, image_size=32, long_tail=100.0, profile=profile)
    splits = load(Config(name="cifar", data=data), tmp_path, lambda _: None)
    assert np.bincount(splits.train.labels).tolist() == expected
    assert len(splits.test) == 9000


def test_another_size_a_damaged_archive_and_two_draws_are_refused(archive, tmp_path):
    with pytest.raises(InputError, match="32 pixels, 64 are asked"):
        read_cifar10(archive, AskedGeometry(size=64))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"\x1f\x8b not an archive")
    with pytest.raises(InputError, match=r"cifar-10-binary.tar.gz is damaged .* fetch it again"):
        read_cifar10(tmp_path, AskedGeometry(size=32))
    data = Data(source="cifar10", dir=archive, image_size=32, long_tail=100.0, imbalance=10.0)
    with pytest.raises(InputError, match=r"data\.imbalance and data\.long-tail are given: give one of them"):
        load(Config(name="cifar", data=data), tmp_path, lambda _: None)
    with pytest.raises(InputError, match=r"place cifar-10-binary.tar.gz .* or turn download on"):
        load(Config(name="c", data=Data(source="cifar10", dir=tmp_path / "none", image_size=32)), tmp_path)


def test_the_condensed_copy_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "_HELD_OUT", 0)
    encoded = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 100, 50)).save(encoded, "JPEG", quality=95)
    one = np.frombuffer(encoded.getvalue(), np.uint8)
    for name, count in (("train.npz", 3), ("test.npz", 2)):
        ends = np.arange(count + 1) * len(one)
        np.savez(
            tmp_path / name, jpeg=np.tile(one, count), offsets=ends, labels=np.arange(count, dtype=np.uint8)
        )
    images, labels = cifar._condensed(tmp_path / "train.npz")
    assert images.shape == (3, 32, 32, 3)
    assert np.abs(images[1, 16, 16].astype(int) - [200, 100, 50]).max() <= 3
    assert labels.tolist() == [0, 1, 2]
