"""Checks of the labels of a data set and of the names of its classes."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from imbal_jax.data.labels import MISSING, UNCERTAIN, is_many
from imbal_jax.errors import InputError

MOST_CLASSES = 65536  # without names, a larger label is taken for an identifier and refused


def many_labels(
    labels: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Labels [N, L] as int8, their names, and notes; InputError for a value that is no label."""
    allowed = (labels >= MISSING) & (labels <= 1)
    if not allowed.all():
        raise InputError(
            f"a label of many is {labels[~allowed].flat[0]}, allowed are 1, 0, -1 (uncertain) and -2 (missing)"
        )
    names = names or tuple(map(str, range(labels.shape[1])))
    labels = labels.astype(np.int8)
    if labels.shape[1] > 1 and (labels >= 0).all() and (labels.sum(axis=1) == 1).all():
        note = (
            "labels [N, L] are many labels an image, though each image has just one 1: if the classes exclude each "
            "other, give labels.argmax(axis=1)"
        )
        return labels, names, (note,)
    return labels, names, ()


def one_label(
    labels: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Labels [N], or masks, as int32, the names of the classes, and no notes.

    InputError for a value that is no class.
    """
    if len(labels) and set(np.unique(labels).tolist()) == {-1, 1}:
        raise InputError("labels are -1 and 1, classes count from 0: give (labels + 1) // 2")
    highest = int(labels.max()) if len(labels) else -1
    if highest >= max(len(names), MOST_CLASSES):
        raise InputError(f"label {highest} is no index of a class: count the classes from 0")
    return labels.astype(np.int32), names or tuple(map(str, range(highest + 1))), ()


def check_names(classes: Sequence[str]) -> None:
    """Raise InputError if there is no name, or one is empty, duplicate, "macro" or has control characters."""
    if not classes:
        raise InputError("there is no class: give labels of two classes or more")
    for number, name in enumerate(classes, start=1):
        if not name.strip():
            raise InputError(f"class {number} of {len(classes)} has an empty name: name it")
        if name == "macro":
            raise InputError(
                "a class is called macro, the name of the mean over the classes in results: rename it"
            )
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
            raise InputError(
                f"the name of class {number} of {len(classes)} holds a line break, a tab or another control "
                "character: rename it"
            )
    if len({unicodedata.normalize("NFC", name.strip()) for name in classes}) < len(classes):
        raise InputError("two classes have the same name: give each its own")


def check_values(labels: np.ndarray, classes: Sequence[str]) -> None:
    """Raise InputError for the first label that is not one of ``classes``, or not 1, 0, -1 or -2."""
    width = len(classes)
    if is_many(labels):
        if labels.shape[1] != width:
            raise InputError(f"labels have {labels.shape[1]} columns, {width} label names were given")
        allowed = np.isin(labels, (MISSING, UNCERTAIN, 0, 1))
        if not allowed.all():
            row = int(np.argmin(allowed.all(axis=1)))
            raise InputError(
                f"labels of item {row} are {labels[row].tolist()}, "
                "allowed are 1, 0, -1 (uncertain) and -2 (missing)"
            )
        if {*np.unique(labels).tolist()} == {-1, 1}:
            raise InputError(
                "labels hold -1 and 1 and no 0, and -1 is uncertain here: if it is no, pass (labels + 1) // 2"
            )
        return
    outside = (labels < 0) | (labels >= width)
    if outside.any():
        item = int(np.argwhere(outside)[0, 0])
        raise InputError(
            f"label {int(labels[outside][0])} of item {item} is outside 0..{width - 1} ({width} classes: "
            f"{', '.join(classes)})"
        )
