"""Classes that are added to the splits of a data set from a folder of their own."""

from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image
from prepared import prepare

from imbal_jax.config import Config, Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.stream import slices
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.load import enrolled, load
from imbal_jax.data.sources.further_classes import ImagesJoined, read_further_classes, with_further
from imbal_jax.errors import InputError

GEOMETRY = Geometry(8)
KNOWN = ("normal", "sick")


def write(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(crc32(str(folder).encode()))
    for k in range(number):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{k}.png")


def read(where: Path, known: tuple[str, ...] = KNOWN) -> dict[str, Dataset]:
    return read_further_classes(where, known, GEOMETRY, where.parent / "cache", lambda _: None)


@pytest.mark.parametrize("index", [3, 4, slice(1, 6), [5, 0, 4, 4], np.arange(7) % 2 == 0, slice(0, 0)])
def test_joined_images_are_their_concatenation(index: object) -> None:
    first, second = np.arange(4 * 2).reshape(4, 2, 1, 1), 100 + np.arange(3 * 2).reshape(3, 2, 1, 1)
    whole = np.concatenate([first, second])
    joined = ImagesJoined(first, second, np.arange(7))
    assert (joined.shape, joined.dtype, joined.ndim, len(joined)) == (whole.shape, whole.dtype, 4, 7)
    np.testing.assert_array_equal(joined[index], whole[index])
    if not isinstance(index, int):
        chosen = joined.select(index)
        np.testing.assert_array_equal(chosen[:], whole[index])
        np.testing.assert_array_equal(chosen.select(slice(None, None, -1))[:], whole[index][::-1])


def test_one_class_in_its_folder_is_all_for_training(tmp_path: Path) -> None:
    write(tmp_path / "new" / "rare", 4)
    parts = read(tmp_path / "new")
    assert {name: len(part) for name, part in parts.items()} == {"train": 4, "validation": 0, "test": 0}
    assert parts["train"].classes == ("normal", "sick", "rare")
    assert parts["train"].labels.tolist() == [2] * 4


def test_parts_hold_out_images_and_known_classes_are_left_out(tmp_path: Path) -> None:
    for part, name, number in (
        ("train", "rare", 4),
        ("train", "sick", 2),
        ("test", "rare", 3),
        ("test", "odd", 1),
    ):
        write(tmp_path / "new" / part / name, number)
    with pytest.raises(InputError, match="has no image of odd to keep, all are held out"):
        read(tmp_path / "new")
    parts = read(tmp_path / "new", (*KNOWN, "odd"))
    assert parts["train"].labels.tolist() == [3] * 4
    assert parts["test"].labels.tolist() == [3] * 3


def test_patients_get_names_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "new" / "rare", 3)
    further = read(tmp_path / "new")
    images = np.zeros((5, 8, 8, 1), np.uint8)
    own = Dataset(images, np.array([0, 1, 0, 1, 0], np.int32), np.arange(5), KNOWN, geometry=GEOMETRY)
    whole = {
        "train": own.take(np.arange(3)),
        "validation": own.take(np.array([3])),
        "test": own.take(np.array([4])),
    }
    for named in (lambda groups: groups, lambda groups: np.array([f"p{k}" for k in groups])):
        parts = with_further({n: replace(p, groups=named(p.groups)) for n, p in whole.items()}, further)
        assert len(set(map(str, np.concatenate([part.groups for part in parts.values()])))) == 8
        assert parts["train"].labels.tolist() == [0, 1, 0, 2, 2, 2]
        assert parts["test"].labels.tolist() == [0]
        assert all(part.classes == ("normal", "sick", "rare") for part in parts.values())
        np.testing.assert_array_equal(parts["train"].images[3:], further["train"].images)


def test_what_cannot_be_added_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "new" / "files", 4)
    table = tmp_path / "new" / "labels.csv"
    with pytest.raises(InputError, match="nothing is known of how the training images were made"):
        read_further_classes(tmp_path / "new", KNOWN, None, tmp_path, lambda _: None)
    table.write_text("file,a,b\nfiles/0.png,1,1\nfiles/1.png,0,1\n")
    with pytest.raises(InputError, match="has many labels an image"):
        read(tmp_path / "new")
    table.write_text("file,label,patient,split\nfiles/0.png,rare,p,train\nfiles/1.png,rare,p,test\n")
    with pytest.raises(InputError, match="shares 1 of 1 patients between train and test"):
        read(tmp_path / "new")
    table.write_text("file,label\nfiles/0.png,sick\n")
    with pytest.raises(InputError, match="no further class: its images are of sick, which the run knows"):
        read(tmp_path / "new")


def test_images_on_disk_stay_there_and_are_read_with_those_of_the_folder(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8)
    labels, patients = np.arange(30) % 2, np.array([f"p{k}" for k in range(30)])
    parts = {"train": np.arange(18), "validation": np.arange(18, 24), "test": np.arange(24, 30)}
    prepare(tmp_path / "records", images, labels, patients, parts)
    config = Config(name="disk", data=Data(source="records", dir=tmp_path / "records"))
    own = load(config, tmp_path, lambda _: None)
    assert not isinstance(own.train.images, np.ndarray)
    known = {name: replace(getattr(own, name), geometry=GEOMETRY) for name in parts}
    write(tmp_path / "new" / "train" / "rare", 4)
    write(tmp_path / "new" / "test" / "rare", 2)
    splits = enrolled(replace(own, **known), tmp_path / "new", tmp_path, lambda _: None)
    assert splits.classes == ("normal", "nodule", "rare")
    for part, number in (("train", 4), ("validation", 0), ("test", 2)):
        data, before = getattr(splits, part), getattr(own, part)
        assert (data.labels == 2).sum() == number
        whole = np.concatenate(list(slices(data.images, 5)))
        np.testing.assert_array_equal(whole[: len(before)], before.images[:])
        assert len(whole) == len(before) + number
    chosen = splits.train.take(np.array([21, 0, 19]))
    np.testing.assert_array_equal(chosen.images[1], own.train.images[0])
    assert chosen.labels.tolist() == [2, int(own.train.labels[0]), 2]
    assert [row["rare"] for row in splits.table] == [4, 0, 2]
