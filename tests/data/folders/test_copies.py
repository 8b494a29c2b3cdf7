"""One picture under several files: one rule for folders and for ingest, which is told."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from picture_folders import radiograph, table
from PIL import Image
from rich.console import Console

from imbal_jax.data.folders.copies import Copy, settle_copies
from imbal_jax.data.folders.labelled_folder import read_folder
from imbal_jax.data.ingest.ingest import ingest
from imbal_jax.data.ingest.options import IngestOptions
from imbal_jax.errors import InputError

MARKER = "ZZMARKERZZ"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures of twelve patients."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 255, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def rows(folder: Path, *more: str) -> None:
    lines = [f"{i}.png,p{i},{'ill' if i % 3 == 0 else 'well'}" for i in range(12)]
    table(folder, "\n".join(["file,patient,label", *lines, *more]) + "\n")


def ingested(folder: Path, out: Path) -> tuple[int, dict[str, int], str]:
    said = Console(record=True, file=io.StringIO(), width=300)
    options = IngestOptions(folder=folder, labels=Path("labels.csv"), out=out, size=16, workers=1)
    summary = ingest(options, said)
    return summary.records, summary.refused, said.export_text()


@pytest.mark.parametrize(
    ("row", "reason", "left"),
    [
        (f"{MARKER}.png,p0,ill", "duplicate", 12),  # the same patient and label
        (f"{MARKER}.png,p0,well", "conflicting", 11),  # another label
        (f"{MARKER}.png,{MARKER},ill", "conflicting", 11),  # another patient
    ],
)
def test_a_copy_is_kept_once_or_contradicts_and_both_are_left_out(
    pictures: Path, tmp_path: Path, row: str, reason: str, left: int
) -> None:
    shutil.copy(pictures / "0.png", pictures / f"{MARKER}.png")
    rows(pictures, row)
    data, summary = read_folder(pictures, size=16, left_out=tmp_path / "left_out.csv")
    assert len(data) == left
    assert summary.copies == {reason: 13 - left}
    assert any(reason in note for note in data.notes)
    listed = list(csv.DictReader(io.StringIO((tmp_path / "left_out.csv").read_text())))
    assert {line["reason"] for line in listed} == {reason}
    assert "14" in {line["row"] for line in listed} or reason == "duplicate"
    records, refused, said = ingested(pictures, tmp_path / "set")
    assert (records, refused) == (left, {reason: 13 - left})
    for text in (str(summary), said.replace(str(tmp_path), ""), (tmp_path / "left_out.csv").read_text()):
        assert MARKER not in text


def test_the_same_picture_in_other_bytes_contradicts_too(pictures: Path, tmp_path: Path) -> None:
    Image.open(pictures / "0.png").save(pictures / "again.png", compress_level=0)
    assert (pictures / "again.png").read_bytes() != (pictures / "0.png").read_bytes()
    rows(pictures, "again.png,p0,well")
    data, summary = read_folder(pictures, size=16)
    assert (len(data), summary.copies) == (11, {"conflicting": 2})
    assert ingested(pictures, tmp_path / "set")[:2] == (11, {"conflicting": 2})


def test_one_picture_without_a_patient_is_one_patient(pictures: Path) -> None:
    Image.open(pictures / "0.png").save(pictures / "again.png", compress_level=0)
    table(pictures, "file,label\n0.png,ill\nagain.png,ill\n1.png,well\n")
    data, summary = read_folder(pictures, size=16)
    assert summary.copies == {}
    assert data.groups[0] == data.groups[2]  # 0.png, 1.png, again.png
    assert data.groups[0] != data.groups[1]


def test_one_row_does_not_label_two_pictures_of_one_instance(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for i in range(12):
        radiograph(folder / f"{i}.dcm", patient=f"p{i}", uid=f"1.2.{i}", seed=i)
    radiograph(folder / "other.dcm", patient="p0", uid="1.2.0", seed=99)
    lines = [f"1.2.{i},{'ill' if i % 3 == 0 else 'well'}" for i in range(12)]
    table(folder, "\n".join(["file,label", *lines]) + "\n")
    data, summary = read_folder(folder, size=16)
    assert (len(data), summary.copies) == (11, {"conflicting": 2})
    assert ingested(folder, tmp_path / "set")[:2] == (11, {"conflicting": 2})
    shutil.copy(folder / "0.dcm", folder / "other.dcm")
    assert read_folder(folder, size=16)[1].copies == {"duplicate": 1}


def test_all_files_contradicting_each_other_are_refused_in_a_line(pictures: Path) -> None:
    shutil.copy(pictures / "0.png", pictures / "1.png")
    table(pictures, "file,label\n0.png,ill\n1.png,well\n")
    with pytest.raises(InputError, match=r"no image is left of 2 labelled files .* 2 conflicting"):
        read_folder(pictures, size=16)


def test_known_patients_count_before_unknown_ones() -> None:
    files = [Copy("a", (1,), None, 2), Copy("a", (1,), "p", 3), Copy("b", (0,), None, 4)]
    assert settle_copies(files, lambda k: "same") == {0: "duplicate"}
    assert settle_copies([*files, Copy("a", (1,), "q", 5)], lambda k: k) == dict.fromkeys(
        (0, 1, 3), "conflicting"
    )
