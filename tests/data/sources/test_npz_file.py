"""NPZ files as other programs write them: MedMNIST, Keras, scikit-learn, one's own."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from small_runs import small

from imbal_jax.config import Data
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.load import load
from imbal_jax.data.read import read as read_set
from imbal_jax.data.sources.npz_file import npz_path, npz_set
from imbal_jax.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (24, 12, 12)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (24, 12, 12, 3)).astype(np.uint8)
LABELS = np.arange(24) % 3


def save(folder: Path, **arrays: np.ndarray) -> Data:
    np.savez(folder / "set.npz", **arrays)
    return Data(source="npz", dir=folder / "set.npz", image_size=12)


def read(options: Data):
    return npz_set(options, AskedGeometry(size=options.image_size))


def test_the_arrays_come_back_whole_with_classes_patients_and_split(tmp_path: Path) -> None:
    patients = np.repeat([f"p{n}" for n in range(8)], 3)
    split = np.repeat(["train", "valid", "test"], [12, 6, 6])
    names = np.array(["well", "rare", "ill"])
    data, given = read(
        save(tmp_path, images=GREY, labels=LABELS, patient_id=patients, split=split, classes=names)
    )
    np.testing.assert_array_equal(data.images[..., 0], GREY)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.classes == ("well", "rare", "ill")
    np.testing.assert_array_equal(
        np.equal.outer(data.groups, data.groups), np.equal.outer(patients, patients)
    )
    assert given is not None
    assert {part: rows.tolist() for part, rows in given.items()} == {
        "train": list(range(12)),
        "validation": list(range(12, 18)),
        "test": list(range(18, 24)),
    }


@pytest.mark.parametrize(
    "names",
    [
        (
            "train_images",
            "train_labels",
            "val_images",
            "val_labels",
            "test_images",
            "test_labels",
        ),  # MedMNIST
        ("x_train", "y_train", "x_valid", "y_valid", "x_test", "y_test"),  # Keras
        ("X-train", "y-train", "X-dev", "y-dev", "X-test", "y-test"),
    ],
)
def test_parts_by_the_names_of_the_arrays_are_the_split(tmp_path: Path, names: tuple[str, ...]) -> None:
    parts = [slice(0, 12), slice(12, 18), slice(18, 24)]
    values = [array for part in parts for array in (COLOUR[part], LABELS[part, None])]
    data, given = read(save(tmp_path, **dict(zip(names, values, strict=True))))
    np.testing.assert_array_equal(data.images, COLOUR)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert given is not None
    assert [len(rows) for rows in given.values()] == [12, 6, 6]
    assert data.geometry is not None
    assert data.geometry.channels == 3


def test_one_hot_labels_are_one_label_and_others_many(tmp_path: Path) -> None:
    one, _ = read(save(tmp_path, x=GREY, y=np.eye(3, dtype=int)[LABELS]))
    np.testing.assert_array_equal(one.labels, LABELS)
    several = RNG.integers(0, 2, (24, 3))
    several[0] = 1
    many, _ = read(save(tmp_path, x=GREY, y=several, classes=np.array(["a", "b", "c"])))
    np.testing.assert_array_equal(many.labels, several)
    assert many.classes == ("a", "b", "c")


def test_texts_are_classes_with_the_normal_one_first(tmp_path: Path) -> None:
    words = np.array(["virus", "Normal", "bacteria"])[LABELS]
    data, _ = read(save(tmp_path, images=GREY, labels=words))
    assert data.classes == ("Normal", "bacteria", "virus")
    np.testing.assert_array_equal(np.array(data.classes)[data.labels], words)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_of_0_to_1_keep_16_bits(tmp_path: Path, dtype: type) -> None:
    data, _ = read(save(tmp_path, images=(GREY / 255).astype(dtype), labels=LABELS))
    np.testing.assert_allclose(data.images[..., 0] / 255, GREY / 255, atol=0.5 / 255)


def test_channels_first_are_moved_last(tmp_path: Path) -> None:
    data, _ = read(save(tmp_path, images=COLOUR.transpose(0, 3, 1, 2), labels=LABELS))
    np.testing.assert_array_equal(data.images, COLOUR)


def test_a_set_of_scikit_learn_is_trained_on_through_load(tmp_path: Path) -> None:
    digits = load_digits()
    np.savez(tmp_path / "digits.npz", images=digits.images.astype(int), target=digits.target)
    config = small(tmp_path, data=Data(source="npz", dir=tmp_path, image_size=8))
    splits = load(config, tmp_path / "work", say=lambda line: None)
    assert sum(map(len, (splits.train, splits.validation, splits.test))) == len(digits.target)
    assert splits.train.images.dtype == np.uint8
    assert splits.classes == tuple(map(str, range(10)))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": GREY}, "no array of labels"),
        ({"labels": LABELS}, "no array of images"),
        ({"images": GREY, "labels": LABELS[:5]}, "5 labels for 24 images"),
        ({"images": GREY, "labels": LABELS, "groups": np.arange(3)}, "3 patient for 24 images"),
        ({"images": GREY[:, 0], "labels": LABELS}, r"images are uint8 \[24, 12\]"),
        ({"images": GREY.astype(np.float32), "labels": LABELS}, "from 0 to 255"),
        ({"images": GREY.astype(int) - 1, "labels": LABELS}, "from -1 to 254"),
        ({"images": GREY, "labels": LABELS + 1, "classes": np.array(["a", "b", "c"])}, "count from 0"),
        ({"images": GREY, "train_images": GREY, "labels": LABELS}, "images and one of train|other parts"),
        ({"train_images": GREY, "test_images": GREY, "train_labels": LABELS}, "other parts"),
        ({"images": GREY, "labels": GREY % 2}, r"labels are uint8 \[24, 12, 12\], .* call the array masks"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(tmp_path: Path, arrays: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        read(save(tmp_path, **arrays))
    assert "\n" not in str(error.value)


def test_a_file_that_is_damaged_or_missing_is_said(tmp_path: Path) -> None:
    options = save(tmp_path, images=GREY, labels=LABELS)
    path = tmp_path / "set.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="is damaged"):
        read(options)
    with pytest.raises(InputError, match="no NPZ file: give the file"):
        npz_path(tmp_path / "nowhere")


def masked(count=8, size=12):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (count, size, size - 4), np.uint8)
    masks = np.zeros(images.shape, np.uint8)
    for place in range(count):
        masks[place, place % 3 : place % 3 + 4, 2:5] = 255
    images[masks > 0] += 120
    return images, masks


@pytest.mark.parametrize("kind", ["white", "bool", "channel", "float"])
def test_masks_beside_images_are_fitted_with_them(tmp_path, kind):
    images, masks = masked()
    given = {
        "white": masks,
        "bool": masks > 0,
        "channel": (masks > 0).astype(np.int64)[..., None],
        "float": (masks > 0) * 1.0,
    }[kind]
    np.savez(tmp_path / "set.npz", images=images, masks=given, patient=np.arange(8) // 2)
    data, _ = read_set(
        Data(source="npz", dir=tmp_path / "set.npz", image_size=24), tmp_path, lambda line: None
    )
    assert data.labels.dtype == np.int8
    assert data.classes == ("background", "foreground")
    assert len(np.unique(data.groups)) == 4
    assert (data.labels[:, :, :4] == -1).all()
    assert (data.labels[:, :, 20:] == -1).all()
    inside = data.labels[:, :, 4:20]
    np.testing.assert_array_equal(inside, np.repeat(np.repeat(masks > 0, 2, 1), 2, 2))


def test_labels_come_before_masks_unless_masks_are_asked_for(tmp_path):
    images, masks = masked()
    path = tmp_path / "set.npz"
    np.savez(path, x_train=images, y_train=np.arange(8) % 2, masks_train=masks // 255 * 2)
    said = []

    def read(**options):
        return read_set(Data(source="npz", dir=path, image_size=12, **options), tmp_path, said.append)[0]

    assert read().labels.shape == (8,)
    assert "arrays not used: masks_train" in said
    data = read(masks="beside", classes=("skin", "scar"))
    assert data.classes == ("skin", "scar")
    assert (data.labels == 1).sum() == (masks > 0).sum()
    assert "values of the masks: 0 skin, 2 scar" in said
    with pytest.raises(InputError, match=r"data\.masks is 'gt', allowed for an NPZ file"):
        read(masks="gt")
    np.savez(path, images=images, masks=masks[:, :5])
    with pytest.raises(InputError, match=r"masks are uint8 \[8, 5, 8\], expected whole numbers \[N, 12, 8\]"):
        read()
    np.savez(path, images=images, masks=np.stack([masks, 255 - masks], -1), classes=["vein", "rest"])
    both = read()
    assert both.labels.shape == (8, 12, 12, 2)
    assert both.classes == ("vein", "rest")
    np.testing.assert_array_equal(both.labels[:, :, 2:10, 0], masks > 0)
