"""Masks for pictures that nobody outlined: one a picture, in its own size, and a table that names nobody."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_files import MARKER, write
from masked_pictures import METHOD, dice, mask_of, masks_of, picture, table, write_masked
from PIL import Image
from rich.console import Console

from imbal_jax import cli
from imbal_jax.data.pseudonyms import read_key
from imbal_jax.errors import InputError
from imbal_jax.runs.predict import predict


def test_the_written_masks_have_the_dice_of_the_results(finished_masks: Path, tmp_path: Path) -> None:
    workdir = finished_masks
    masks = masks_of(workdir / "pictures")
    out, names = tmp_path / "areas.csv", tmp_path / "names.csv"
    assert predict(workdir / METHOD, workdir / "pictures" / "images", out, names=names).scored == 60
    parts = {Path(row["file"]).name: row["split"] for row in table(workdir / "pictures" / "labels.csv")}
    paths = {row["id"]: row["path"] for row in table(names)}
    pairs = [
        (mask_of(out, row) > 0, masks[paths[row["id"]]])
        for row in table(out)
        if parts[paths[row["id"]]] == "test"
    ]
    assert len(pairs) == 12
    (run,) = json.loads((workdir / "results.json").read_text())["runs"]
    assert run["rows"]["foreground"]["dice"] > 0.6
    assert dice(pairs) == pytest.approx(run["rows"]["foreground"]["dice"], abs=0.005)


def test_each_mask_has_its_pictures_size_and_the_table_its_areas(
    finished_masks: Path, tmp_path: Path
) -> None:
    sizes = [(40, 28), (24, 36), (50, 70), (32, 32), (90, 31)]
    masks = write_masked(tmp_path / "other", sizes, seed=5)
    out = tmp_path / "areas.csv"
    words = ["predict", str(finished_masks / METHOD), str(tmp_path / "other" / "images"), "--out", str(out)]
    assert cli.main([*words, "--names", str(tmp_path / "names.csv")]) == 0
    rows, names = table(out), table(tmp_path / "names.csv")
    assert list(rows[0]) == ["id", "pixels/foreground", "share/foreground", "flags"]
    assert len(list((tmp_path / "areas_masks").iterdir())) == len(rows) == len(names) == 5
    paths = {row["id"]: row["path"] for row in names}
    key, pairs = read_key(tmp_path / "areas.key"), []
    for row in rows:
        assert row["id"] == key.of("file", paths[row["id"]])
        mask, truth = mask_of(out, row), masks[paths[row["id"]]]
        assert mask.shape == truth.shape
        assert set(np.unique(mask)) <= {0, 255}
        assert int(row["pixels/foreground"]) == (mask == 255).sum()
        assert float(row["share/foreground"]) == pytest.approx((mask == 255).mean(), rel=1e-5)
        pairs.append((mask > 0, truth))
    assert dice(pairs[:4]) > 0.5  # the network has seen discs of this size; the last picture is made a third


def test_dicom_works_and_what_cannot_be_read_is_listed_without_names(
    finished_masks: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / f"{MARKER}_in", tmp_path / "areas.csv"
    pixels, disc = picture(np.random.default_rng(2), 32, 26)
    write(folder / f"{MARKER}.dcm", 16 * pixels.astype(np.uint16), WindowCenter=2040, WindowWidth=4080)
    (folder / f"{MARKER}.png").write_bytes(b"no picture")
    console = Console(width=300, file=io.StringIO())
    assert predict(finished_masks / METHOD, folder, out, console=console).scored == 1
    (row,), (refused,) = table(out), table(tmp_path / "areas.unreadable.csv")
    assert mask_of(out, row).shape == disc.shape
    assert dice([(mask_of(out, row) > 0, disc)]) > 0.5
    assert refused["reason"] == "not-an-image"
    key = read_key(tmp_path / "areas.key")
    assert [row["id"], refused["id"]] == [key.of("file", f"{MARKER}.{kind}") for kind in ("dcm", "png")]
    written = [out.read_text(), (tmp_path / "areas.unreadable.csv").read_text()]
    written += [path.name for path in tmp_path.rglob("*") if path.parent.name == "areas_masks"]
    assert MARKER not in "".join([console.file.getvalue().replace(str(folder), ""), *written])
    assert "unreadable 1: not-an-image: " in console.file.getvalue()
    assert "foreground: a pixel is called at" in console.file.getvalue()


def test_what_cannot_be_used_is_refused_in_a_line(finished_masks: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    shutil.copytree(finished_masks, workdir)
    shutil.copytree(workdir / METHOD / "seed0", workdir / METHOD / "seed1")
    out = tmp_path / "areas.csv"
    with pytest.raises(
        InputError, match=r"several runs on masks, which are not averaged: name one of .*seed0"
    ):
        predict(workdir / METHOD, workdir / "pictures" / "images", out)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"none of the 1 files could be read: see .*unreadable\.csv"):
        predict(workdir / METHOD / "seed0", bad, out)
    assert not out.exists()


def test_the_mask_of_a_picture_that_is_stored_turned_is_upright(finished_masks: Path, tmp_path: Path) -> None:
    upright, disc = picture(np.random.default_rng(7), 32, 22)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    (tmp_path / "in").mkdir()
    Image.fromarray(np.rot90(upright)).save(tmp_path / "in" / "a.jpg", quality=98, exif=exif)
    out = tmp_path / "areas.csv"
    assert predict(finished_masks / METHOD, tmp_path / "in", out).scored == 1
    (row,) = table(out)
    assert mask_of(out, row).shape == (32, 22)
    assert dice([(mask_of(out, row) > 0, disc)]) > 0.5
