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
