"""One data set: images in memory or on disk, their labels, and the patient each is of."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from imbal_jax.data.geometry import Geometry
from imbal_jax.errors import InputError

UNCERTAIN = -1  # of many labels: the reader could not tell
MISSING = -2  # of many labels: nobody said


class ImagesOnDisk(Protocol):
    """Images [N, H, W, C] that are read when they are indexed, such as ``records.RecordImages``."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def ndim(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> np.ndarray: ...
    def select(self, indices: Any) -> "ImagesOnDisk":
        """The images at ``indices``, not read."""
        ...


Images = np.ndarray | ImagesOnDisk


@dataclass(frozen=True)
class Dataset:
    """Images with their labels and patients.

    images: uint8 or uint16 [N, H, W, channels], whose whole range stands for 0 to 1; in memory, or on disk.
    labels: int32 [N], a class index; or int8 [N, L], one column a label with 1, 0, -1 (uncertain) or -2 (missing).
    groups: int [N] or str [N], the patient of each image: no patient is ever in two splits.
    classes: the C class names, or the L label names.
    notes: what was said while it was read, a line each: flags, rows and files left out, how patients were told apart.
    geometry: how the pictures became these arrays; None where nothing is known of it.
    """

    images: Images
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    geometry: Geometry | None = None

    @property
    def many_labels(self) -> bool:
        return self.labels.ndim == 2

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> "Dataset":
        """The items at ``indices``, in that order; of images on disk a view, nothing is read."""
        in_memory = isinstance(self.images, np.ndarray)
        images = self.images[indices] if in_memory else self.images.select(indices)
        return replace(self, images=images, labels=self.labels[indices], groups=self.groups[indices])


def check_dataset(data: Dataset) -> Dataset:
    """Return ``data`` unchanged, or raise InputError naming the first thing wrong with it."""
    check_labels(data)
    if data.many_labels:
        present = (data.labels == 1).any(axis=0)
    else:
        present = np.bincount(data.labels, minlength=len(data.classes)) > 0
    if not present.all():
        missing = ", ".join(name for name, has in zip(data.classes, present, strict=True) if not has)
        raise InputError(f"no example of class {missing}: remove the class or add images")
    return data


def check_labels(data: Dataset) -> Dataset:
    """The same, but some classes may have no example."""
    count = len(data.images)
    if count == 0:
        raise InputError("the data set holds no image")
    if data.images.ndim != 4:
        raise InputError(f"images have shape {data.images.shape}, expected [N, height, width, channels]")
    if data.images.dtype not in (np.uint8, np.uint16):
        bad = int(np.count_nonzero(~np.isfinite(data.images).reshape(count, -1).all(axis=1)))
        if bad:
            raise InputError(f"{bad} of {count} images hold NaN or infinite pixels: remove or repair them")
        raise InputError(
            f"images are {data.images.dtype}, expected uint8 or uint16: scale them to 0..255 first"
        )
    for name, values in (("labels", data.labels), ("groups", data.groups)):
        if len(values) != count:
            raise InputError(f"{len(values)} {name} for {count} images")
    width = len(data.classes)
    if data.many_labels:
        if data.labels.shape[1] != width:
            raise InputError(f"labels have {data.labels.shape[1]} columns, {width} label names were given")
        allowed = np.isin(data.labels, (MISSING, UNCERTAIN, 0, 1))
        if not allowed.all():
            row = int(np.argmin(allowed.all(axis=1)))
            raise InputError(
                f"labels of item {row} are {data.labels[row].tolist()}, "
                "allowed are 1, 0, -1 (uncertain) and -2 (missing)"
            )
    else:
        outside = (data.labels < 0) | (data.labels >= width)
        if outside.any():
            item = int(np.argmax(outside))
            raise InputError(
                f"label {int(data.labels[item])} of item {item} is outside 0..{width - 1} ({width} classes: "
                f"{', '.join(data.classes)})"
            )
    return data
