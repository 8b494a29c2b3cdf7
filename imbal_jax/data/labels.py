"""Label arrays: one class an image, many labels an image, or masks of either.

One label:   int32 [N], the index of the class.
Many labels: int8 [N, L], one column a label, holding 1, 0, ``UNCERTAIN`` or ``MISSING``.
Masks:       int8 [N, H, W] (int16 beyond 127 classes), the class of each pixel, ``IGNORED`` where none counts.
Overlapping: int8 [N, H, W, L], as many labels, of each pixel.

Splits, draws and counts take an image by the classes that occur in its mask (``image_labels``).

Code above this module asks these functions, not the number of dimensions.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imbal_jax.errors import InputError

UNCERTAIN = -1  # many labels: the reader could not decide
MISSING = -2  # many labels: nobody has said
IGNORED = -1  # masks: a pixel that counts neither in training nor in a score

_STRETCH = 2**22  # pixels of masks that are looked at together


@dataclass(frozen=True)
class LabelLayout:
    """The names of the classes, or of the labels where an image has many, and the arrays that follow from that.

    side: of square masks, pixels, whose pixels have a class or many labels; 0 where images have.
    """

    classes: tuple[str, ...]
    many: bool
    side: int = 0

    @classmethod
    def of(cls, labels: np.ndarray, classes: tuple[str, ...]) -> "LabelLayout":
        """The layout of the labels of a data set; masks are square."""
        if is_mask(labels):
            return cls(classes, is_overlapping(labels), labels.shape[1])
        return cls(classes, is_many(labels))

    @property
    def dtype(self) -> np.dtype:
        if self.side and not self.many:
            return mask_dtype(len(self.classes))
        return np.dtype(np.int8 if self.many else np.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's labels."""
        labels = (len(self.classes),) if self.many else ()
        return (self.side, self.side, *labels) if self.side else labels

    @property
    def name(self) -> str:
        """The name of the labels among the features of a record."""
        return "mask" if self.side else "labels" if self.many else "label"

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest value that a label may have."""
        lowest = IGNORED if self.side else 0
        return (MISSING, 1) if self.many else (lowest, len(self.classes) - 1)

    def value(self, row: Sequence[int] | np.ndarray) -> np.ndarray | int:
        """One image's labels as a record holds them. row: one class index, a value for each label, or a mask."""
        if self.side:
            return np.asarray(row, self.dtype)
        return np.array(row, self.dtype) if self.many else row[0]

    def array(self, rows: Sequence[Sequence[int] | np.ndarray] | np.ndarray) -> np.ndarray:
        """int32 [N] or int8 [N, L], or masks. rows: for each image as ``value``."""
        labels = np.array(rows, self.dtype)
        return labels if self.many or self.side else labels[:, 0]


def is_many(labels: np.ndarray) -> bool:
    """Whether an image has many labels, [N, L], rather than one class, [N]."""
    return np.ndim(labels) == 2


def is_mask(labels: np.ndarray) -> bool:
    """Whether pixels have labels, [N, H, W] or [N, H, W, L], and not whole images."""
    return np.ndim(labels) >= 3


def is_overlapping(labels: np.ndarray) -> bool:
    """Whether a pixel has many labels, [N, H, W, L], rather than one class."""
    return np.ndim(labels) == 4


def mask_dtype(num_classes: int) -> np.dtype:
    """The type of masks of one class a pixel: int8, beyond 127 classes int16."""
    return np.dtype(np.int8 if num_classes <= 127 else np.int16)


def stretches(labels: np.ndarray, pixels: int = _STRETCH) -> Iterator[slice]:
    """Images that are looked at together, so that what is computed of masks stays small: of so many pixels."""
    step = max(1, pixels // max(1, math.prod(labels.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(labels), step))


def mask_values(masks: np.ndarray) -> np.ndarray:
    """The different values of whole numbers [N, ...], sorted."""
    if not masks.size:
        return np.zeros(0, masks.dtype)
    if masks.dtype == bool:
        return np.unique(masks)
    low, high = int(masks.min()), int(masks.max())
    if high - low >= 2**16:
        return np.unique(masks)
    found = np.zeros(high - low + 1, bool)
    for part in stretches(masks):
        found |= np.bincount(masks[part].ravel().astype(np.int32) - low, minlength=len(found)) > 0
    return np.flatnonzero(found) + low


def image_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """What is known of whole images, int8 [N, C] of masks; other labels, [N] and [N, L], as they are.

    Masks [N, H, W]: 1 where a class occurs, else 0. Overlapping [N, H, W, L]: the highest of the values, so that a
    label is 1 where a pixel has it and 0 where none has it and of some it is known.
    """
    if is_overlapping(labels):
        return labels.max(axis=(1, 2), initial=MISSING).astype(np.int8)
    if not is_mask(labels):
        return labels
    found = np.zeros((len(labels), num_classes), np.int8)
    for part in stretches(labels):
        masks = labels[part]
        masks = masks.reshape(len(masks), math.prod(masks.shape[1:]))
        if masks.size:
            for c in range(max(0, int(masks.min())), min(num_classes - 1, int(masks.max())) + 1):
                found[part, c] = (masks == c).any(axis=1)
    return found


def occurrence(masks: np.ndarray, num_classes: int) -> np.ndarray:
    """bool [N, C] of masks, [N, L] of such as overlap: whether any pixel of an image is of the class."""
    return image_labels(masks, num_classes) == 1


def has_class(labels: np.ndarray, num_classes: int | None = None) -> np.ndarray:
    """bool [N, C]: which image has which class. Raises InputError for values that are no labels."""
    labels = np.asarray(labels)
    if labels.ndim == 2:
        if not np.isin(labels, (MISSING, UNCERTAIN, 0, 1)).all():
            raise InputError("a label of many is none of 1, 0, -1 (uncertain) and -2 (missing)")
        return labels == 1
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise InputError(
            f"labels are {labels.dtype} of shape {labels.shape}, expected integers [N] or [N, L]"
        )
    if len(labels) and labels.min() < 0:
        item = int(labels.argmin())
        raise InputError(f"label {labels[item]} of item {item} is negative: one-label classes count from 0")
    width = num_classes or int(labels.max(initial=0)) + 1
    return labels[:, None] == np.arange(width)


def image_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [C]: the images that have each class."""
    if is_many(labels):
        return (labels == 1).sum(axis=0)
    return np.bincount(labels, minlength=num_classes)


def known_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [C]: the images for which it is known whether they have the class."""
    if is_many(labels):
        return (labels >= 0).sum(axis=0)
    return np.full(num_classes, len(labels))
