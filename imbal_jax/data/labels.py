"""Label arrays: one class an image, or many labels an image.

One label:   int32 [N], the index of the class.
Many labels: int8 [N, L], one column a label, holding 1, 0, ``UNCERTAIN`` or ``MISSING``.
Masks:       int [N, H, W], the class of each pixel. Splits, draws and counts take an image by the classes that
             occur in its mask (``image_labels``).

Code above this module asks these functions, not the number of dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imbal_jax.errors import InputError

UNCERTAIN = -1  # many labels: the reader could not decide
MISSING = -2  # many labels: nobody has said


@dataclass(frozen=True)
class LabelLayout:
    """The names of the classes, or of the labels where an image has many, and the arrays that follow from that."""

    classes: tuple[str, ...]
    many: bool

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.int8 if self.many else np.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's labels."""
        return (len(self.classes),) if self.many else ()

    @property
    def name(self) -> str:
        """The name of the labels among the features of a record."""
        return "labels" if self.many else "label"

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest value that a label may have."""
        return (MISSING, 1) if self.many else (0, len(self.classes) - 1)

    def value(self, row: Sequence[int]) -> np.ndarray | int:
        """One image's labels as a record holds them. row: one class index, or a value for each label."""
        return np.array(row, self.dtype) if self.many else row[0]

    def array(self, rows: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
        """int32 [N] or int8 [N, L]. rows: for each image one class index, or a value for each label."""
        labels = np.array(rows, self.dtype)
        return labels if self.many else labels[:, 0]


def is_many(labels: np.ndarray) -> bool:
    """Whether an image has many labels, [N, L], rather than one class, [N]."""
    return np.ndim(labels) == 2


def image_labels(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """What is known of whole images: labels [N], [N, L] as they are; of masks int8 [N, C], 1 where a class occurs."""
    if np.ndim(labels) <= 2:
        return labels
    flat = labels.reshape(len(labels), -1)
    occurs = [(flat == c).any(axis=1) for c in range(num_classes)]
    return np.stack(occurs, axis=1).astype(np.int8)


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
