"""The user's own split is kept: a column of the table, or folders called train, validation and test."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imbal_jax.config import Config, Data
from imbal_jax.data.load import load
from imbal_jax.errors import InputError

SIZE = 16


@pytest.fixture
def folder(tmp_path: Path):
    def make(names, text):
        for i, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(i).integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
            Image.fromarray(noise).save(path)
        (tmp_path / "labels.csv").write_text(text)
        return tmp_path

    return make


def loaded(where, said=None, **options):
    data = Data(source="folder", dir=where, image_size=SIZE, **options)
    lines = [] if said is None else said
    splits = load(Config(name="t", data=data), where, lines.append)
    return {part: getattr(splits, part).images for part in ("train", "validation", "test")}


def picture(i):
    return np.random.default_rng(i).integers(0, 255, (SIZE, SIZE), dtype=np.uint8)


def members(images):
    known = {picture(i).tobytes(): i for i in range(100)}
    return {part: sorted(known[image.tobytes()] for image in these) for part, these in images.items()}


WORDS = ("train", "Training", "TRAIN", "val", "valid", "dev", "test", "Testing", "test")


@pytest.mark.parametrize(
    "heading", ["split", "Split", "fold", "subset", "set", "data_split", "dataset", "phase"]
)
def test_a_column_of_the_table_is_the_split(folder, heading):
    lines = [f"{i}.png,{i},{i % 2},{WORDS[i // 3]}\n" for i in range(27)]
    where = folder([f"{i}.png" for i in range(27)], f"file,patient,label,{heading}\n" + "".join(lines))
    said = []
    expected = {"train": list(range(9)), "validation": list(range(9, 18)), "test": list(range(18, 27))}
    assert members(loaded(where, said)) == expected
    assert f"split by column {heading}: train 9, validation 9, test 9 images" in "\n".join(said)
    assert members(loaded(where, split="patient")) != expected


def test_folders_are_the_split_and_a_part_that_lacks_is_split_off_train_by_patient(folder):
    names = [f"{'train' if i < 30 else 'Test'}/{'ab'[i % 2]}/{i}.png" for i in range(40)]
    text = "file,patient,label\n" + "".join(f"{name},{i // 2},{i % 2}\n" for i, name in enumerate(names))
    found = members(loaded(folder(names, text)))
    assert found["test"] == list(range(30, 40))
    assert sorted(found["train"] + found["validation"]) == list(range(30))
    assert found["validation"]
    assert not {i // 2 for i in found["train"]} & {i // 2 for i in found["validation"]}


def test_a_patient_in_two_parts_is_refused_with_the_option(folder):
    lines = [f"{i}.png,{i // 2},{i % 2},{'train' if i % 4 else 'test'}\n" for i in range(16)]
    where = folder([f"{i}.png" for i in range(16)], "file,patient,label,split\n" + "".join(lines))
    with pytest.raises(
        InputError, match=r"shares 4 of 8 patients between train and test: set --data.split patient"
    ):
        loaded(where)
    assert len(loaded(where, split="patient")["train"])


@pytest.mark.parametrize(
    ("word", "says"), [("", "nothing"), ("nan", "nothing"), ("0", "something other than")]
)
def test_a_cell_that_names_no_part_is_refused_by_row_unless_the_split_is_made_here(folder, word, says):
    lines = [f"{i}.png,{i % 2},{'train' if i < 8 else 'test'}\n" for i in range(16)]
    lines[5] = f"5.png,1,{word}\n"
    where = folder([f"{i}.png" for i in range(16)], "file,label,split\n" + "".join(lines))
    with pytest.raises(InputError, match=f"row 7, column 'split' says {says}"):
        loaded(where)
    assert len(loaded(where, split="patient")["train"])


def test_images_beside_the_folders_of_a_split_are_not_dealt_out(folder):
    names = [f"{('train/', 'test/', '')[i % 3]}{i}.png" for i in range(18)]
    where = folder(names, "file,label\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(names)))
    with pytest.raises(InputError, match="12 images lie in folders called test or train and 6 do not"):
        loaded(where)


@pytest.mark.parametrize("heading", ["is_train", "IsTest", "in_training_set"])
def test_a_column_of_yes_and_no_for_a_part_is_not_passed_over(folder, heading):
    lines = [f"{i}.png,{i},{i % 2},{i // 9 == 0:d}\n" for i in range(27)]
    where = folder([f"{i}.png" for i in range(27)], f"file,patient,label,{heading}\n" + "".join(lines))
    with pytest.raises(
        InputError, match=f"column '{heading}' says something other than.*--data.split patient"
    ):
        loaded(where)
    assert sum(map(len, loaded(where, split="patient").values())) == 27


def test_folders_by_longer_names_are_the_split_and_a_column_that_differs_is_said(folder):
    names = [f"{('train_set', 'Validation Images', 'test2017')[i // 9]}/{i}.png" for i in range(27)]
    where = folder(names, "file,patient,label\n" + "".join(f"{n},{i},{i % 2}\n" for i, n in enumerate(names)))
    assert members(loaded(where))["test"] == list(range(18, 27))
    lines = [f"{n},{i},{i % 2},{('test', 'val', 'train')[i // 9]}\n" for i, n in enumerate(names)]
    where.joinpath("labels.csv").write_text("file,patient,label,split\n" + "".join(lines))
    said = []
    assert members(loaded(where, said))["train"] == list(range(18, 27))
    assert any(line.startswith("18 images lie in a folder that is called as another part") for line in said)


def test_numbered_folds_are_no_split_and_no_label(folder):
    lines = [f"{i}.png,{i},{i % 2},{(i // 2) % 2},{i % 3 == 0:d}\n" for i in range(40)]
    where = folder([f"{i}.png" for i in range(40)], "file,patient,mass,fold,edema\n" + "".join(lines))
    said = []
    assert sum(map(len, loaded(where, said).values())) == 40
    assert "labels: mass 20, edema 14" in "\n".join(said)
    assert "column fold names no train, validation and test" in "\n".join(said)
