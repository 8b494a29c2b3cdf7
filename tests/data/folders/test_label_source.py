"""Folders as people have them: classes as folders, tables of other names and kinds, read by whole runs."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_runs import QUIET

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.folders.labelled_folder import read_folder
from imbal_jax.data.ingest.ingest import ingest
from imbal_jax.data.ingest.options import IngestOptions
from imbal_jax.data.records.record_set import open_records
from imbal_jax.errors import InputError


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((12, 12), shade, np.uint8)
    pixels[:, ::2] = 0
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three classes in folders, by part; each picture has a shade of its own."""
    root = tmp_path / "set"
    names = [
        f"{part}/{label}" for part in ("train", "val", "test") for label in ("NORMAL", "bacteria", "virus")
    ]
    for number, name in enumerate(names * 2):
        picture(root / name / f"{number}.png", 100 + number)
    return root


def test_folders_of_classes_are_labels_and_folders_of_parts_the_split(folders: Path) -> None:
    (folders / "README.md").write_text("about")
    data, summary = read_folder(folders, size=12)
    assert data.classes == ("NORMAL", "bacteria", "virus")
    shades = data.images.max(axis=(1, 2, 3)).astype(int) - 100
    np.testing.assert_array_equal(data.labels, shades % 3)
    assert summary.splits is not None
    part = {int(i): name for name, indices in summary.splits.items() for i in indices}
    words = np.array(["train", "validation", "test"])[shades % 9 // 3]
    assert [part[i] for i in range(len(data))] == words.tolist()
    assert "labels by the folders that hold the files" in data.notes
    again = Dataset.from_folder(folders, size=12, labels_file="folders")
    np.testing.assert_array_equal(again.labels, data.labels)


def test_what_is_left_out_of_folders_has_a_reason_and_no_row(folders: Path) -> None:
    picture(folders / "beside.png", 90)
    (folders / "train" / "virus" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    left = folders.parent / "left_out.csv"
    read_folder(folders, size=12, labels_file="folders", left_out=left)
    rows = list(csv.DictReader(left.read_text().splitlines()))
    assert sorted((row["row"], row["reason"]) for row in rows) == [("", "truncated"), ("", "unlabelled")]


def test_without_being_asked_folders_count_only_where_they_hold_every_image(folders: Path) -> None:
    picture(folders / "beside.png", 90)
    with pytest.raises(
        InputError, match=r"no table .*, and 1 of 19 images lie in no folder of a class: write a table"
    ):
        read_folder(folders, size=12)


@pytest.mark.parametrize("kind", ["parquet", "csv", "tsv", "csv.gz"])
def test_the_only_table_of_a_folder_is_found_whatever_its_name_and_kind(tmp_path: Path, kind: str) -> None:
    for number in range(6):
        picture(tmp_path / "images" / f"{number}.png", 100 + number)
    frame = pd.DataFrame({"image_path": [f"{n}.png" for n in range(6)], "target": [0, 1] * 3})
    path = tmp_path / f"metadata.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    data, _ = read_folder(tmp_path, size=12)
    shades = data.images.max(axis=(1, 2, 3)).astype(int) - 100
    np.testing.assert_array_equal(data.labels, shades % 2)
    assert f"labels by metadata.{kind}" in data.notes


def test_of_several_tables_the_one_that_names_files_is_taken_and_two_are_refused(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / f"{number}.png", 100 + number)
    (tmp_path / "a.csv").write_text("file,label\n0.png,x\n1.png,y\n2.png,x\n3.png,y\n")
    (tmp_path / "doctors.csv").write_text("doctor,age\nq,40\n")
    data, _ = read_folder(tmp_path, size=12)
    assert data.labels.tolist() == [0, 1, 0, 1]
    (tmp_path / "b.csv").write_text("file,label\n0.png,y\n")
    with pytest.raises(InputError, match=r"several tables name files .*--data.labels-file a.csv"):
        read_folder(tmp_path, size=12)
    assert read_folder(tmp_path, size=12, labels_file="b.csv")[1].read == 1


def test_folders_become_records_with_the_same_pixels_and_labels(folders: Path) -> None:
    out = folders.parent / "records"
    ingest(IngestOptions(folder=folders, labels=Path("folders"), out=out, size=12, workers=1), QUIET)
    records = open_records(out)
    data, _ = read_folder(folders, size=12)
    assert records.classes == data.classes
    order = np.argsort(data.images.max(axis=(1, 2, 3)))
    other = np.argsort(records.images[:].max(axis=(1, 2, 3)))
    np.testing.assert_array_equal(records.images[:][other], data.images[order])
    np.testing.assert_array_equal(records.labels[other], data.labels[order])
    assert {name: len(rows) for name, rows in records.splits.items()} == {
        "train": 6,
        "validation": 6,
        "test": 6,
    }
