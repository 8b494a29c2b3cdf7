"""Nothing of a patient gets out: every text of every file is marked, everything that is written is searched."""

import base64
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from marked_hospitals import (
    CONFIG,
    DIGITS,
    IMAGES,
    SIZE,
    WORD,
    command,
    everything,
    inside,
    search,
)


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text(f"patient {WORD}")
    (tmp_path / "wide").write_text(DIGITS, encoding="utf-16-le")
    (tmp_path / "zipped").write_bytes(gzip.compress(WORD.encode() * 9, mtime=0))
    (tmp_path / "coded").write_bytes(base64.b64encode(f"a{WORD}z".encode()))
    (tmp_path / "hashed").write_text(hashlib.sha256(f"{WORD} patient 3".encode()).hexdigest())
    np.savez_compressed(tmp_path / "arrays.npz", names=np.array([WORD]))
    (tmp_path / WORD).mkdir()
    found = {what for what, data in everything(tmp_path) if search(what, data)}
    assert found == {
        "plain",
        "wide",
        "zipped, inflated",
        "coded",
        "hashed",
        "names.npy in arrays.npz",
        "a name",
    }


def test_nothing_of_a_patient_is_in_any_byte_that_is_written(
    marked_hospital: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    where = tmp_path / "made"
    where.mkdir()
    out = where / "set"
    ingest = (
        "ingest",
        str(marked_hospital),
        "--labels",
        f"{WORD}_labels.csv",
        "--size",
        str(SIZE),
        "--workers",
        "2",
    )
    made = command(*ingest, "--out", str(out), "--bits", "8")
    assert made.returncode == 0, made.stderr
    assert b"not-an-image" in made.stdout
    assert b"truncated" in made.stdout
    assert b"burned-in-text" in made.stdout
    builder = tfds.builder_from_directory(out)
    assert sum(split.num_examples for split in builder.info.splits.values()) == IMAGES - 1
    again = inside(capfd, *ingest, "--out", str(out))
    assert again.returncode == 0

    # an interrupted one: what it leaves behind
    (where / "other").mkdir()
    words = [
        *ingest,
        "--out",
        str(where / "other" / "set"),
        "--test-share",
        "0.45",
        "--validation-share",
        "0.45",
    ]
    few = marked_hospital.parent / "few.csv"
    few.write_text(f"file,label,patient\n1.2.{DIGITS}.1,a,{WORD}\n1.2.{DIGITS}.3,b,{WORD} 2\n")
    words[words.index(f"{WORD}_labels.csv")] = str(few)
    failed = inside(capfd, *words)
    assert (failed.returncode, failed.stderr.count(b"\n")) == (2, 1), failed.stderr
    assert list((where / "other" / "set.partial" / "journal").iterdir())

    # train on it, score, predict records and files, export
    config = where / "tiny.py"
    config.write_text(CONFIG.format(folder=str(out), size=SIZE))
    trained = inside(capfd, "train", str(config), "--workdir", str(where / "run"), "--methods", "ce")
    assert trained.returncode == 0, trained.stderr
    run = str(where / "run")
    ran = {
        "ingest": made,
        "again": again,
        "failed": failed,
        "train": trained,
        "evaluate": inside(capfd, "evaluate", run),
        "records": inside(capfd, "predict", run, str(out), "--out", str(where / "records.csv")),
        "files": inside(capfd, "predict", run, str(marked_hospital), "--out", str(where / "files.csv")),
        "export": inside(capfd, "export", run, "--out", str(where / "exported")),
    }
    for name in ("evaluate", "records", "files", "export"):
        assert ran[name].returncode == 0, ran[name].stderr
    assert (where / "files.csv").read_text().count("\n") > IMAGES

    hits, searched = [], 0
    for name, told in ran.items():
        hits += search(f"stdout of {name}", told.stdout) + search(f"stderr of {name}", told.stderr)
    for what, data in everything(where):
        hits += search(what, data)
        searched += len(data)
    assert hits == []
    assert searched > 100_000
