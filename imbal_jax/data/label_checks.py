"""Checks of the labels of a data set and of the names of its classes."""

import unicodedata
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from imbal_jax.data.labels import (
    IGNORED,
    MISSING,
    UNCERTAIN,
    is_many,
    is_mask,
    is_overlapping,
    mask_dtype,
    mask_values,
)
from imbal_jax.errors import InputError

MOST_CLASSES = 65536  # without names, a larger label is taken for an identifier and refused
MOST_MASK_CLASSES = 2**15  # the most that int16 can count


Checked = tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]
"""Labels in the type that a data set keeps, the names of the classes, and notes."""


def checked_labels(labels: np.ndarray, names: tuple[str, ...]) -> Checked:
    """Labels of any kind, as their values say; names: () numbers the classes. InputError for a value that is none."""
    if is_overlapping(labels):
        return overlapping_labels(labels, names)
    if is_mask(labels):
        return mask_labels(labels, names)
    return (many_labels if is_many(labels) else one_label)(labels, names)


def many_labels(labels: np.ndarray, names: tuple[str, ...]) -> Checked:
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


def one_label(labels: np.ndarray, names: tuple[str, ...]) -> Checked:
    """Labels [N] as int32, the names of the classes, and no notes; InputError for a value that is no class."""
    if len(labels) and set(np.unique(labels).tolist()) == {-1, 1}:
        raise InputError("labels are -1 and 1, classes count from 0: give (labels + 1) // 2")
    highest = int(labels.max()) if len(labels) else -1
    if highest >= max(len(names), MOST_CLASSES):
        raise InputError(f"label {highest} is no index of a class: count the classes from 0")
    return labels.astype(np.int32), names or tuple(map(str, range(highest + 1))), ()


def mask_labels(masks: np.ndarray, names: tuple[str, ...]) -> Checked:
    """Masks [N, H, W] of one class a pixel as ``mask_dtype``, the names of the classes, and notes.

    True and 255, where 0 is the only other value but -1, are class 1. InputError for a value that is no class.
    """
    notes: tuple[str, ...] = ()
    if masks.dtype == bool:
        return masks.view(np.int8), names or ("0", "1"), ()
    low, high = (int(masks.min()), int(masks.max())) if masks.size else (0, 0)
    white = high == 255 and low >= IGNORED and len(names) <= 255 and set(mask_values(masks)) <= {-1, 0, 255}
    if white:
        high, notes = 1, ("the masks hold 0 and 255: 255 is class 1",)
    if high >= max(len(names), MOST_MASK_CLASSES):
        raise InputError(f"the masks hold {high}, which is no index of a class: count the classes from 0")
    names = names or tuple(map(str, range(high + 1)))
    if low < IGNORED or high >= len(names):
        _refuse_pixel(masks, names)
    if white:
        return np.where(masks == 255, 1, masks).astype(np.int8), names, notes
    return masks.astype(mask_dtype(len(names)), copy=False), names, notes


def overlapping_labels(masks: np.ndarray, names: tuple[str, ...]) -> Checked:
    """Masks [N, H, W, L] of many labels a pixel as int8, their names, and notes; InputError for another value."""
    names = names or tuple(map(str, range(masks.shape[-1])))
    low, high = (int(masks.min()), int(masks.max())) if masks.size else (0, 0)
    if high == 255 and set(mask_values(masks)) <= {-2, -1, 0, 255}:
        return (
            np.where(masks == 255, 1, masks).astype(np.int8),
            names,
            ("the masks hold 0 and 255: 255 is 1",),
        )
    if low < MISSING or high > 1:
        _refuse_pixel(masks, names)
    return masks.astype(np.int8, copy=False), names, ()


def _refuse_pixel(masks: np.ndarray, names: Sequence[str]) -> NoReturn:
    """InputError, naming the first image, for masks of which a pixel is out of range."""
    overlapping = is_overlapping(masks)
    low, high = (MISSING, 1) if overlapping else (IGNORED, len(names) - 1)
    item = next(k for k, mask in enumerate(masks) if int(mask.min()) < low or int(mask.max()) > high)
    worst = next(
        value for value in (int(masks[item].min()), int(masks[item].max())) if not low <= value <= high
    )
    allowed = (
        "allowed are 1, 0, -1 (uncertain, ignored) and -2 (missing)"
        if overlapping
        else f"allowed are 0..{high} ({len(names)} classes: {', '.join(names)}) and -1 (ignored)"
    )
    raise InputError(f"the mask of item {item} holds {worst}, {allowed}")


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
    """Raise InputError for the first label that is not one of ``classes``, or not 1, 0, -1 or -2.

    Of masks -1 is allowed too.
    """
    width = len(classes)
    if is_mask(labels):
        if labels.dtype.kind != "i":
            raise InputError(
                f"masks are {labels.dtype}, expected int8, where -1 is ignored: Dataset.from_arrays"
            )
        if is_overlapping(labels) and labels.shape[-1] != width:
            raise InputError(f"masks have {labels.shape[-1]} labels a pixel, {width} label names were given")
        low, high = (MISSING, 1) if is_overlapping(labels) else (IGNORED, width - 1)
        if labels.size and (int(labels.min()) < low or int(labels.max()) > high):
            _refuse_pixel(labels, classes)
        return
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
