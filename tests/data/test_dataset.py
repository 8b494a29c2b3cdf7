"""A data set that cannot be used is refused with the item, the value and the remedy."""

from dataclasses import replace

import numpy as np
import pytest

from imbal_jax.data.dataset import Dataset, check_dataset
from imbal_jax.errors import InputError

GOOD = Dataset(
    images=np.zeros((4, 8, 8, 1), np.uint8),
    labels=np.array([0, 1, 0, 1], np.int32),
    groups=np.arange(4),
    classes=("normal", "nodule"),
)
MANY = replace(GOOD, labels=np.array([[1, 0], [0, 1], [-1, 0], [0, 0]], np.int8))


def test_a_good_one_comes_back_unchanged() -> None:
    assert check_dataset(GOOD) is GOOD
    assert check_dataset(MANY) is MANY
    assert MANY.many_labels
    assert GOOD.take(np.array([3, 1])).labels.tolist() == [1, 1]


def nan_pixels() -> np.ndarray:
    images = np.zeros((4, 8, 8, 1), np.float32)
    images[2, 0, 0, 0] = np.nan
    return images


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            replace(GOOD, labels=np.array([0, 1, 2, 0])),
            "label 2 of item 2 is outside 0..1 (2 classes: normal, nodule)",
        ),
        (replace(GOOD, labels=np.array([0, 1, -1, 0])), "label -1 of item 2 is outside 0..1"),
        (replace(GOOD, labels=np.zeros(4, np.int32)), "no example of class nodule"),
        (replace(MANY, labels=np.array([[1, 0]] * 4)), "no example of class nodule"),
        (replace(MANY, labels=MANY.labels * 3), "labels of item 0 are [3, 0], allowed are 1, 0, -1"),
        (replace(MANY, labels=np.array([[1, -1]] * 4)), "labels hold -1 and 1 and no 0"),
        (replace(MANY, classes=("one",)), "labels have 2 columns, 1 label names"),
        (replace(GOOD, images=nan_pixels()), "1 of 4 images hold NaN or infinite pixels"),
        (replace(GOOD, images=np.zeros((4, 8, 8, 1), np.int32)), "images are int32, expected uint8"),
        (replace(GOOD, images=np.zeros((4, 8, 8), np.uint8)), "images have shape [4, 8, 8]"),
        (replace(GOOD, images=GOOD.images[:3]), "4 labels for 3 images"),
        (replace(GOOD, groups=np.arange(3)), "3 groups for 4 images"),
        (replace(GOOD, images=GOOD.images[:0]), "holds no image"),
    ],
)
def test_what_is_wrong_is_named(data: Dataset, said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_dataset(data)
    assert said in str(caught.value)


IMAGES = np.zeros((4, 8, 8), np.uint8)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint64", "int8", "bool", ">i4"])
def test_labels_of_any_whole_dtype_are_read(dtype: str) -> None:
    data = Dataset.from_arrays(IMAGES, np.array([0, 1, 1, 0]).astype(dtype))
    assert data.labels.tolist() == [0, 1, 1, 0]
    assert data.classes == ("0", "1")


@pytest.mark.parametrize(
    ("images", "labels", "classes", "said"),
    [
        (IMAGES, [0, 1, 0, 2**40], None, "is no index of a class"),
        (IMAGES.astype(object), [0, 1, 0, 1], None, "images are object"),
        ([IMAGES[0], IMAGES[0, :4]], [0, 1], None, "images are no array"),
        (None, [0, 1], None, r"images have shape \[\]"),
        (np.zeros((4, 3, 8, 8), np.uint8), [0, 1, 0, 1], None, "channels come last"),
        (np.zeros((4, 8, 0, 1), np.uint8), [0, 1, 0, 1], None, "no pixel"),
        (IMAGES, np.zeros((4, 0), int), None, "there is no class"),
        (IMAGES, [0, 1, 0, 1], "ab", "give a list of names"),
        (IMAGES, [0, 1, 0, 1], ["a", " "], "empty name"),
        (IMAGES, [0, 1, 0, 1], ["a", "b\nc"], "control character"),
        (IMAGES, [0, 1, 0, 1], ["a", "\x1b[31m"], "control character"),
        (IMAGES, [0, 1, 0, 1], ["\u00e9", "e\u0301"], "two classes have the same name"),
        (IMAGES, [0, 1, 0, 1], ["macro", "b"], "called macro"),
    ],
)
def test_arrays_that_cannot_be_right_are_one_line(
    images: object, labels: object, classes: object, said: str
) -> None:
    with pytest.raises(InputError, match=said) as raised:
        Dataset.from_arrays(images, labels, classes=classes)
    assert "\n" not in str(raised.value)


def test_exclusive_columns_are_told_and_big_endian_pixels_are_read() -> None:
    data = Dataset.from_arrays(IMAGES.astype(">u2"), np.eye(2, dtype=int)[[0, 1, 1, 0]])
    assert data.images.dtype == np.uint16
    assert "labels.argmax" in data.notes[0]
