"""Labels of pixels: what a data set accepts, and what is known of whole images."""

import tracemalloc

import numpy as np
import pytest

from imbal_jax.data.dataset import Dataset, check_labels
from imbal_jax.data.labels import image_labels, is_mask, is_overlapping, mask_values
from imbal_jax.errors import InputError

IMAGES = np.zeros((6, 5, 4, 3), np.uint8)


def masks(kind=np.int32):
    values = np.zeros((6, 5, 4), kind)
    values[:2, 1, 2] = 1
    values[1, 0] = 2
    return values


def test_classes_of_pixels_are_kept_in_8_bits_and_known_by_image() -> None:
    given = masks()
    given[3] = -1
    data = Dataset.from_arrays(IMAGES, given, classes=("background", "vein", "artery"))
    assert is_mask(data.labels)
    assert not is_overlapping(data.labels)
    assert data.labels.dtype == np.int8
    np.testing.assert_array_equal(data.labels, given)
    expected = [[1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(data.image_labels, expected)
    part = data.take(np.array([1, 3]))
    np.testing.assert_array_equal(part.image_labels, [expected[1], expected[3]])


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize(("kind", "white"), [(np.uint8, 255), (bool, True), (np.int64, 255), (np.uint8, 1)])
def test_white_and_true_are_class_1(kind, white, channel) -> None:
    given = np.zeros((6, 5, 4), kind)
    given[0, 1] = white
    data = Dataset.from_arrays(IMAGES, given[..., None] if channel else given)
    assert data.labels.dtype == np.int8
    np.testing.assert_array_equal(data.labels, given != 0)
    assert data.classes == ("0", "1")
    assert any("255 is class 1" in note for note in data.notes) == (white == 255)


def test_beyond_127_classes_16_bits() -> None:
    given = masks()
    given[4, 4, 3] = 127
    names = tuple(f"c{i}" for i in range(128))
    assert image_labels(given, 128)[4].nonzero()[0].tolist() == [0, 127]
    data = Dataset(IMAGES, given.astype(np.int16), np.arange(6), names)
    assert check_labels(data) is data
    scattered = np.random.default_rng(0).integers(-1, 300, (6, 5, 4))
    np.testing.assert_array_equal(mask_values(scattered), np.unique(scattered))


def test_labels_that_overlap_are_known_by_their_highest_pixel() -> None:
    given = np.zeros((6, 5, 4, 2), np.int64)
    given[0, 0, 0] = 1
    given[1, 0, 0, 1] = 1
    given[2, ..., 0] = -2
    given[3, ..., 1] = -1
    data = Dataset.from_arrays(IMAGES, given, classes=("plaque", "stent"))
    assert data.labels.dtype == np.int8
    assert is_overlapping(data.labels)
    np.testing.assert_array_equal(data.image_labels, [[1, 1], [0, 1], [-2, 0], [0, -1], [0, 0], [0, 0]])
    alone = Dataset.from_arrays(IMAGES, given[..., :1], classes=("plaque",))
    assert alone.labels.shape == (6, 5, 4, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda m: m.__setitem__((2, 0, 0), 3),
            r"the mask of item 2 holds 3, allowed are 0\.\.2 \(3 classes",
        ),
        (lambda m: m.__setitem__((4, 0, 0), -2), "the mask of item 4 holds -2"),
    ],
)
def test_a_pixel_out_of_range_is_named_by_its_image(change, said) -> None:
    given = masks(np.int8)
    change(given)
    with pytest.raises(InputError, match=said):
        Dataset.from_arrays(IMAGES, given, classes=("a", "b", "c"))
    with pytest.raises(InputError, match=said):
        check_labels(Dataset(IMAGES, given, np.arange(6), ("a", "b", "c")))


def test_masks_of_another_size_type_or_number_of_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[N, H, W\] or \[N, H, W, labels\] as the images are"):
        Dataset.from_arrays(IMAGES, masks()[:, :4])
    with pytest.raises(InputError, match="masks are 4 x 4 pixels, the images 5 x 4"):
        check_labels(Dataset(IMAGES, masks(np.int8)[:, :4], np.arange(6), ("a", "b", "c")))
    with pytest.raises(InputError, match="masks are uint8, expected int8"):
        check_labels(Dataset(IMAGES, masks(np.uint8), np.arange(6), ("a", "b", "c")))
    with pytest.raises(InputError, match="masks have 2 labels a pixel, 3 label names"):
        check_labels(Dataset(IMAGES, np.zeros((6, 5, 4, 2), np.int8), np.arange(6), ("a", "b", "c")))
    with pytest.raises(InputError, match="all pixels are of one class, skin"):
        Dataset.from_arrays(IMAGES, np.zeros((6, 5, 4), np.uint8), classes=("skin",))
    with pytest.raises(InputError, match="no index of a class"):
        Dataset.from_arrays(IMAGES, masks() * 40_000)


def test_a_large_set_of_masks_is_checked_without_a_copy_of_its_own_size() -> None:
    given = np.zeros((60, 1000, 1000), np.int8)
    given[7, 3] = 1
    images = np.zeros((60, 1000, 1000, 1), np.uint8)
    tracemalloc.start()
    data = Dataset.from_arrays(images, given, np.arange(60), ("background", "lesion"))
    assert data.image_labels[:, 1].nonzero()[0].tolist() == [7]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.shares_memory(data.labels, given)
    assert peak < given.nbytes / 2
