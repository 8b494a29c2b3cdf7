"""CIFAR-10: the bench on which long-tailed methods are compared."""

import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.geometry import Geometry
from imbal_jax.data.pictures import decode_channels
from imbal_jax.data.resize import Fit
from imbal_jax.errors import InputError

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

_ARCHIVE = "cifar-10-binary.tar.gz"
_ROW = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
_HELD_OUT = 100  # images of each class


def read_cifar10(
    folder: Path, size: int, *, fit: Fit | None = None, channels: int | None = None, bits: int = 8
) -> tuple[Dataset, dict[str, np.ndarray]] | None:
    """The 50,000 training and 10,000 test images of CIFAR-10 (Krizhevsky 2009), or None where they are not.

    folder: holds cifar-10-binary.tar.gz, or the condensed train.npz and test.npz (JPEG quality 75: results are
    near those on the original, not equal). size: 32, 16 or 8. fit: the images are squares, so that all fits agree;
        it is kept for pictures that are scored later, "pad" by default. channels: 3 by default.

    Returns images uint8 [60000, size, size, channels] and a split. Published long-tailed protocols have no
    validation set; here 100 images of each class are taken out of the test set for it, so that the training images
    are the published ones and the other 9,000 test images decide nothing. Raises InputError for another size, a
    damaged archive.
    """
    if size not in (8, 16, 32):
        raise InputError(
            f"CIFAR-10 images are of 32 pixels, {size} are asked: set --data.image-size 32, 16 or 8"
        )
    if (folder / _ARCHIVE).is_file():
        images, labels = _binary(folder / _ARCHIVE)
    elif (folder / "train.npz").is_file() and (folder / "test.npz").is_file():
        parts = [_condensed(folder / name) for name in ("train.npz", "test.npz")]
        images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    else:
        return None
    test = np.arange(50_000, 60_000)
    shuffled = np.random.default_rng(0).permutation(test)
    held = np.concatenate([shuffled[labels[shuffled] == c][:_HELD_OUT] for c in range(10)])
    split = {"train": np.arange(50_000), "validation": np.sort(held), "test": np.setdiff1d(test, held)}
    geometry = Geometry(size, fit or "pad", channels or 3, bits)
    labels = labels.astype(np.int32)
    notes = (
        () if geometry.channels == 3 else ("60,000 colour pictures made grey: --data.channels 3 keeps them",)
    )
    images, groups = geometry.arrays(images), np.arange(len(labels))
    data = Dataset(images, labels, groups, CIFAR10_CLASSES, notes, geometry)
    return data, split


def _binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    try:
        with tarfile.open(path, "r:gz") as archive:
            parts = [archive.extractfile(f"cifar-10-batches-bin/{name}").read() for name in names]
        rows = np.frombuffer(b"".join(parts), np.uint8).reshape(60_000, _ROW)
    except (tarfile.TarError, EOFError, OSError, KeyError, AttributeError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({str(error).splitlines()[0]}): fetch it again") from error
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, 0].copy()


def _condensed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as arrays:
        data, ends, labels = arrays["jpeg"], arrays["offsets"], arrays["labels"]
        images = [
            decode_channels(data[a:b].tobytes(), 3, np.dtype(np.uint8), (32, 32)) for a, b in pairwise(ends)
        ]
    return np.stack(images), labels
