"""CIFAR-10, the usual benchmark of long-tailed methods (Krizhevsky 2009)."""

from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.images.pictures import decode_channels
from imbal_jax.data.sources.archives import AGAIN, tar_files
from imbal_jax.data.sources.npz_copies import JPEGS, check_labels, jpegs, read_condensed
from imbal_jax.data.sources.public_set import File, Loaded, PublicSet, Split, grey_notes
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

_ARCHIVE = "cifar-10-binary.tar.gz"
_ROW = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
_HELD_OUT = 100  # images of each class


def read_cifar10(folder: Path, asked: AskedGeometry) -> tuple[Dataset, Split] | None:
    """The 50,000 training and 10,000 test images of CIFAR-10 (Krizhevsky 2009), or None where there are none.

    folder: holds cifar-10-binary.tar.gz, or the condensed train.npz and test.npz (JPEG quality 75: results are
        near those on the original, not equal).
    asked: size 32, 16 or 8. All fits agree on square images; the fit is kept for pictures that are scored later,
        "pad" by default. 3 channels by default.

    Returns images uint8 [60000, size, size, channels] and a split. Published long-tailed protocols have no
    validation set; here 100 images of each class are taken out of the test set for it, so that the training images
    are the published ones and the other 9,000 test images decide nothing. Raises InputError for another size, a
    damaged archive.
    """
    if asked.size not in (8, 16, 32):
        raise InputError(
            f"CIFAR-10 images are of 32 pixels, {asked.size} are asked: set --data.image-size 32, 16 or 8"
        )
    if (folder / _ARCHIVE).is_file():
        images, labels = _binary(folder / _ARCHIVE)
    elif (folder / "train.npz").is_file() and (folder / "test.npz").is_file():
        parts = [_condensed(folder / name) for name in ("train.npz", "test.npz")]
        images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        if [len(part) for _, part in parts] != [50_000, 10_000]:
            raise InputError(
                f"train.npz and test.npz in {folder} do not hold 50,000 and 10,000 images: {AGAIN}"
            )
    else:
        return None
    test = np.arange(50_000, 60_000)
    shuffled = np.random.default_rng(0).permutation(test)
    held = np.concatenate([shuffled[labels[shuffled] == c][:_HELD_OUT] for c in range(10)])
    split = {"train": np.arange(50_000), "validation": np.sort(held), "test": np.setdiff1d(test, held)}
    geometry = asked.geometry(channels=3)
    notes = () if geometry.channels == 3 else grey_notes(60_000)
    images, groups = geometry.arrays(images), np.arange(len(labels))
    data = Dataset(images, labels.astype(np.int32), groups, CIFAR10_CLASSES, notes, geometry)
    return data, split


def read_cifar10_set(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Loaded:
    """``read_cifar10``, after a download where the files are missing."""
    found = read_cifar10(folder, asked)
    if found is None:
        source.fetch(folder, download)
        found = read_cifar10(folder, asked)
    if found is None:
        raise InputError(f"no images in {folder}: {source.placement}")
    return found


def _binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    parts = {Path(name).name: data for name, data in tar_files(path, lambda name: Path(name).name in names)}
    if any(len(parts.get(name, b"")) != 10_000 * _ROW for name in names):
        raise InputError(f"{path} does not hold 10,000 images in each of {', '.join(names)}: {AGAIN}")
    rows = np.frombuffer(b"".join(parts[name] for name in names), np.uint8).reshape(60_000, _ROW)
    images, labels = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0].copy()
    check_labels(path, labels, CIFAR10_CLASSES)
    return np.ascontiguousarray(images), labels


def _condensed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    arrays = read_condensed(path, {**JPEGS, "labels": (np.integer, ("N",))})
    check_labels(path, arrays["labels"], CIFAR10_CLASSES)
    images = []
    for data in jpegs(path, arrays):
        try:
            images.append(decode_channels(data, 3, np.dtype(np.uint8), (32, 32)))
        except ValueError as error:
            raise DamagedError(f"{path} holds a picture that cannot be decoded ({error}): {AGAIN}") from None
    return np.stack(images), arrays["labels"]


CIFAR10 = PublicSet(
    name="cifar10",
    read=read_cifar10_set,
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none stated",
    citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    placement="place cifar-10-binary.tar.gz (170 MB) from https://www.cs.toronto.edu/~kriz/cifar.html there",
    files=(
        File(
            "cifar-10-binary.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",  # as the site states it
        ),
    ),
    prepared={
        "train.npz": "3f8743ce242504238dd3e283dd3906c479b37ba595f0952dc8f33c9467dc6cd4",
        "test.npz": "95e2e82dd7fb09f8a7cd79a85f21c3f16d9c4dafaeb6e26e85193169d9e5b5c7",
    },
)
