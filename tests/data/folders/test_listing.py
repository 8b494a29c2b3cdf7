"""What is below a folder is an image, or is counted; links are followed once and end nothing."""

import os
from pathlib import Path

import pytest

from imbal_jax.data.folders.listing import PASSED, list_files

DICOM = bytes(128) + b"DICM" + bytes(8)


def touch(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "elsewhere"
    touch(inside / "a" / "1.dcm")
    touch(outside / "b" / "2.dcm")
    (inside / "z").symlink_to(outside)
    (inside / "y").symlink_to(outside)
    (inside / "a" / "up").symlink_to(inside)
    (outside / "back").symlink_to(inside)
    listing = list_files(inside)
    assert listing.files == ["a/1.dcm", "y/b/2.dcm"]  # in the order of the links' names
    assert listing.passed == {"a/up": "linked-again", "y/back": "linked-again", "z": "linked-again"}


def test_a_link_in_a_circle_and_one_to_nowhere_stop_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "1.dcm")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    listing = list_files(tmp_path)
    assert listing.files == ["1.dcm"]
    assert listing.passed == dict.fromkeys(("a", "b", "gone.dcm"), "broken-link")


@pytest.mark.parametrize("name", ["scan", "scan.dcm", "scan.5", "scan.img"])
def test_a_dicom_file_needs_no_ending(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name, DICOM)
    assert list_files(tmp_path).files == [name]


def test_what_is_passed_over_is_counted_and_not_named(tmp_path: Path) -> None:
    touch(tmp_path / ".secret.dcm", DICOM)
    touch(tmp_path / ".trash" / "1.dcm", DICOM)
    touch(tmp_path / "secret.txt", DICOM)
    touch(tmp_path / "secret.PART", b"\xff\xd8\xff\xe0")
    touch(tmp_path / "secret.csv", b"a,b\n")
    touch(tmp_path / "notes.txt", b"x" * 500)
    touch(tmp_path / "labels.csv")
    os.mkfifo(tmp_path / "secret.fifo")
    listing = list_files(tmp_path, leave=("labels.csv",))
    assert listing.files == []
    assert listing.passed == {
        ".secret.dcm": "hidden",
        ".trash": "hidden",
        "secret.PART": "misnamed",
        "secret.fifo": "no-file",
        "secret.txt": "misnamed",
    }
    assert listing.others == {".csv": 1, ".txt": 1}
    said = "\n".join(listing.lines())
    assert "secret" not in said
    assert f"passed over 2: hidden: {PASSED['hidden']}" in said
    assert "2 other files that are no images by their names: .csv 1, .txt 1" in said
