"""Scores for files that nobody labelled: what is written, what is left out, what never leaks."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import MARKER, write
from PIL import Image
from prepared import prepare
from rich.console import Console

from imbal_jax.data.pseudonyms import read_key
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.runs.address import find_run
from imbal_jax.runs.predict import predict
from imbal_jax.runs.restore import restore_deployed

RNG = np.random.default_rng(0)


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """Eleven radiographs of different sizes in two folders, and three files that are none."""
    folder = tmp_path / f"{MARKER}_in"
    for k in range(11):
        pixels = RNG.integers(0, 4096, (24 + k, 24)).astype(np.uint16)
        write(folder / f"{MARKER}_{k % 2}" / f"{MARKER}_{k}.dcm", pixels)
    (folder / f"{MARKER}.dcm").write_bytes(b"no picture")
    write(folder / f"{MARKER}_flat.dcm", np.full((24, 24), 7, np.uint16))
    (folder / "labels.csv").write_text("file,label\n")
    return folder


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_a_folder_gives_a_row_an_image_with_the_scores_that_evaluation_gives(
    finished_runs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    found = predict(
        finished_runs / "ce", finished_runs / "pictures", out, batch_size=8, names=tmp_path / "n.csv"
    )
    rows = table(out)
    assert found.scored == len(rows) == 120
    assert list(rows[0]) == ["id", "probability/bright", "called/bright", "flags"]
    deployed = restore_deployed(find_run(finished_runs / "ce"), make_mesh(1))
    paths = {row["id"]: row["path"] for row in table(tmp_path / "n.csv")}
    files = [finished_runs / "pictures" / paths[row["id"]] for row in rows]
    images = np.stack([np.asarray(Image.open(file))[..., None] for file in files])
    expected = deployed.deployment.probabilities(deployed.predict(make_mesh(1), 64)(images))[:, 1]
    given = np.array([float(row["probability/bright"]) for row in rows])
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-6)
    called = np.array([row["called/bright"] == "1" for row in rows])
    np.testing.assert_array_equal(called, expected >= deployed.deployment.points[1].threshold)
    assert found.called["bright"] == called.sum()


def test_ids_are_keyed_and_nothing_written_or_said_names_anybody(
    finished_runs: Path, hospital: Path, tmp_path: Path
) -> None:
    console = Console(width=300, file=io.StringIO())
    out = tmp_path / "out.csv"
    found = predict(finished_runs / "ce", hospital, out, console=console)
    assert found.scored == 11
    assert dict(found.refused) == {"not-an-image": 1, "constant": 1}
    unreadable = table(tmp_path / "out.unreadable.csv")
    assert sorted(row["reason"] for row in unreadable) == ["constant", "not-an-image"]
    key = read_key(tmp_path / "out.key")
    names = [p.relative_to(hospital).as_posix() for p in hospital.rglob("*.dcm")]
    assert {key.of("file", name) for name in names} == {row["id"] for row in [*table(out), *unreadable]}
    said = console.file.getvalue().replace(str(tmp_path), "")
    assert "unreadable 1: constant" in said
    for text in (said, out.read_text(), (tmp_path / "out.unreadable.csv").read_text()):
        assert MARKER not in text


def test_the_same_key_gives_the_same_ids_and_another_key_others(
    finished_runs: Path, hospital: Path, tmp_path: Path
) -> None:
    key = tmp_path / "my.key"
    for name, file in (("a", key), ("b", key), ("c", None)):
        predict(finished_runs / "ce", hospital, tmp_path / f"{name}.csv", key_file=file)
    ids = {name: {row["id"] for row in table(tmp_path / f"{name}.csv")} for name in "abc"}
    assert ids["a"] == ids["b"]
    assert not ids["a"] & ids["c"]


def test_one_file_is_enough(finished_runs: Path, hospital: Path, tmp_path: Path) -> None:
    (file, *_) = sorted(hospital.rglob("*_3.dcm"))
    assert predict(finished_runs / "ce", file, tmp_path / "one.csv").scored == 1
    assert not (tmp_path / "one.unreadable.csv").exists()


def test_flags_tell_of_the_image(finished_runs: Path, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 4096, (24, 24)).astype(np.uint16)
    write(tmp_path / "in" / "a.dcm", pixels, ViewPosition="LL")
    predict(finished_runs / "ce", tmp_path / "in", tmp_path / "out.csv")
    (row,) = table(tmp_path / "out.csv")
    assert {"unwindowed", "burned-in-unknown", "lateral"} <= set(row["flags"].split())


def test_records_keep_their_ids_and_score_as_the_same_pixels(finished_runs: Path, tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (20, 16, 16, 1)).astype(np.uint8)
    splits = {"train": np.arange(12), "test": np.arange(12, 20)}
    folder = prepare(tmp_path / "set", images, np.arange(20) % 2, None, splits)
    found = predict(finished_runs / "ce", folder, tmp_path / "out.csv", batch_size=8)
    assert found.scored == 20
    deployed = restore_deployed(find_run(finished_runs / "ce"), make_mesh(1))
    expected = deployed.deployment.probabilities(deployed.predict(make_mesh(1), 8)(images))[:, 1]
    given = np.array([float(row["probability/bright"]) for row in table(tmp_path / "out.csv")])
    np.testing.assert_allclose(np.sort(given), np.sort(expected), rtol=1e-4, atol=1e-6)
    assert not (tmp_path / "out.key").exists()


def test_images_are_scored_as_they_come_not_all_at_once(
    finished_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imbal_jax.runs import predict as module
    from imbal_jax.runs import read_images

    read, scored = [], []
    real = read_images.load_picture
    monkeypatch.setattr(read_images, "load_picture", lambda *a, **k: (read.append(1), real(*a, **k))[1])

    class Watched(module.ImageScorer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            score = self.predict
            self.predict = lambda images: (score(images), scored.append(len(read)))[0]

    monkeypatch.setattr(module, "ImageScorer", Watched)
    predict(finished_runs / "ce", finished_runs / "pictures", tmp_path / "o.csv", batch_size=16, workers=2)
    ahead = read_images.AHEAD * 2
    assert len(scored) == 8
    assert all(there <= 16 * (k + 1) + ahead for k, there in enumerate(scored))


def test_what_cannot_be_used_is_refused_in_a_line(
    finished_runs: Path, hospital: Path, tmp_path: Path
) -> None:
    def refuses(
        message: str, run: Path, path: Path, out: Path = tmp_path / "o.csv", **options: object
    ) -> None:
        with pytest.raises(InputError, match=message) as error:
            predict(run, path, out, **options)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "o.csv").exists()

    refuses("holds several runs: name one of", finished_runs, hospital)
    refuses("there is no file or folder", finished_runs / "ce", tmp_path / "nowhere")
    refuses("there is no folder", finished_runs / "ce", hospital, tmp_path / "no" / "o.csv")
    refuses("keep it apart", finished_runs / "ce", hospital, key_file=hospital / "key")
    (tmp_path / "empty").mkdir()
    refuses("there is no image in", finished_runs / "ce", tmp_path / "empty")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "x.dcm").write_bytes(b"x" * 300)
    refuses("none of the 1 files could be read", finished_runs / "ce", bad)
    images = RNG.integers(0, 256, (8, 8, 8, 1)).astype(np.uint8)
    folder = prepare(tmp_path / "set", images, np.arange(8) % 2, None, {"train": np.arange(8)})
    refuses(
        r"the records are uint8 \[8, 8, 1\], the network takes uint8 \[16, 16, 1\]",
        finished_runs / "ce",
        folder,
    )
