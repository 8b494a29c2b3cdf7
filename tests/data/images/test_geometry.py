"""Training, evaluation, prediction, export and records see one picture: whole runs, by the installed command."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import jax.export
import numpy as np
import pytest
from dicom_files import write as write_dicom
from PIL import Image

from imbal_jax import cli
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.load import load
from imbal_jax.data.records.record_set import open_records
from imbal_jax.errors import InputError
from imbal_jax.runs.claim import read_claim
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.outputs import RunOutputs

FITS = ("pad", "squeeze", "crop")

CONFIG = """
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.methods import METHODS


def get_config():
    return Config(
        name="tiny",
        methods=(METHODS["stratified"],),
        data=Data(source="kermany_pneumonia", image_size=16, validation_share=0.3, test_share=0.3),
        model=Model(name="cnn", options={"width": 4, "stages": 2}),
        optim=Optim(learning_rate=1e-2),
        train=Train(epochs=4, batch_size=8, evaluations=1, devices=1),
    )
"""


# One array


def resized(values: np.ndarray, size: int, fit: str) -> np.ndarray:
    """Pillow's own two steps, float64 [size, size] in [0, 1]."""
    rows, columns = values.shape
    if fit == "crop":
        side = min(rows, columns)
        top, left = (rows - side) // 2, (columns - side) // 2
        values = values[top : top + side, left : left + side]
    longest = max(rows, columns)
    high, wide = (round(size * n / longest) for n in (rows, columns)) if fit == "pad" else (size, size)
    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    small = picture.resize((wide, high), Image.Resampling.HAMMING, reducing_gap=2.0)
    square = np.zeros((size, size))
    top, left = (size - high) // 2, (size - wide) // 2
    square[top : top + high, left : left + wide] = np.clip(small, 0, 1)
    return square


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(40, 120), (120, 40), (33, 50), (9, 7)])
@pytest.mark.parametrize(("bits", "error"), [(8, 0.502), (16, 3.0)])
def test_a_picture_is_fitted_as_pillow_resizes_it(
    fit: str, shape: tuple[int, int], bits: int, error: float
) -> None:
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    most = 2**bits - 1
    array = Geometry(16, fit, 1, bits).array(values)
    assert (array.shape, array.dtype) == ((16, 16, 1), np.dtype(f"uint{bits}"))
    np.testing.assert_allclose(array[..., 0], resized(values, 16, fit) * most, atol=error)


def test_colour_becomes_luma_or_stays_and_grey_is_repeated() -> None:
    colour = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    grey = Geometry(8).array(colour)[..., 0]
    np.testing.assert_allclose(grey, 255 * (colour @ [0.299, 0.587, 0.114]), atol=0.501)
    np.testing.assert_allclose(Geometry(8, channels=3).array(colour), 255 * colour, atol=0.501)
    repeated = Geometry(8, channels=3).array(colour[..., 0])
    np.testing.assert_array_equal(repeated, np.repeat(repeated[..., :1], 3, -1))


@pytest.mark.parametrize("fit", FITS)
def test_many_arrays_at_once_are_each_one_alone(fit: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 33, 50, 3)).astype(np.uint8)
    for channels in (1, 3):
        geometry = Geometry(12, fit, channels)
        one = [geometry.array(image.astype(np.float32) / np.float32(255)) for image in images]
        np.testing.assert_array_equal(geometry.arrays(images), np.stack(one))


def test_a_mask_is_fitted_as_its_picture_without_values_between() -> None:
    mask = np.zeros((20, 60, 1), np.uint8)
    mask[5:15, 20:40] = 7
    for fit in FITS:
        fitted = Geometry(20, fit).mask(mask, beside=0)
        picture = Geometry(20, fit).array((mask[..., 0] > 0).astype(np.float32))[..., 0]
        assert set(np.unique(fitted)) == {0, 7}
        assert (fitted[..., 0][picture > 200] == 7).all()
        assert (fitted[..., 0][picture < 50] == 0).all()


def test_where_the_source_does_not_say_oblong_pictures_are_refused() -> None:
    geometry = Geometry(16, "square")
    with pytest.raises(ReadError, match="not-square"):
        geometry.array(np.ones((20, 60), np.float32))
    assert geometry.array(np.ones((20, 60), np.float32), aspect=3.0).min() == 255
    assert not geometry.difference(Geometry(16, "crop"))
    assert (
        Geometry(16).difference(Geometry(24, "crop", 3))
        == "size 24, not 16, fit crop, not pad, channels 3, not 1"
    )


@pytest.mark.parametrize(
    "values", [{"fit": "stretch"}, {"channels": 2}, {"bits": 12}, {"voi": "all"}, {"size": 0}]
)
def test_a_value_out_of_range_is_named(values: dict[str, object]) -> None:
    ((name, value),) = values.items()
    with pytest.raises(InputError, match=f"{name}.*{value}"):
        Geometry(**{"size": 8, **values})


@pytest.mark.parametrize("fit", FITS)
def test_a_dicom_file_is_fitted_by_the_height_and_width_of_its_pixels(fit: str, tmp_path: Path) -> None:
    from imbal_jax.data.dicom.radiograph import read_radiograph

    pixels = np.random.default_rng(0).integers(0, 4096, (60, 40)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, PixelSpacing=[1.0, 3.0])  # 60 high, 120 wide
    read = read_radiograph(path, size=24, voi="none", fit=fit)
    shown = ((pixels.astype(float) - pixels.min()) / np.ptp(pixels)).astype(np.float32)
    if fit == "crop":
        expected = resized(shown[:, 10:30], 24, "squeeze")
    elif fit == "squeeze":
        expected = resized(shown, 24, "squeeze")
    else:
        expected = np.zeros((24, 24))
        small = Image.fromarray(shown).resize((24, 12), Image.Resampling.HAMMING, reducing_gap=2.0)
        expected[6:18] = np.clip(small, 0, 1)
    np.testing.assert_allclose(read, expected * 255, atol=0.51)


def test_a_mirrored_or_turned_dicom_is_flagged(tmp_path: Path) -> None:
    from imbal_jax.data.dicom.radiograph import load_radiograph, quiet

    pixels = np.random.default_rng(0).integers(0, 4096, (20, 20)).astype(np.uint16)
    for place, (orientation, flagged) in enumerate(
        [(["L", "F"], False), (["R", "F"], True), (["L", "H"], True), (["F", "L"], True), (["A", "F"], False)]
    ):
        path = write_dicom(tmp_path / f"{place}.dcm", pixels, PatientOrientation=orientation)
        with quiet():
            assert ("orientation" in load_radiograph(path, size=8).flags) == flagged


# Whole runs


def film(seed: int, bright: bool, rows: int, columns: int) -> np.ndarray:
    """Noise, and in half of them a spot in the middle, as uint8."""
    pixels = np.random.default_rng(seed).integers(40, 140, (rows, columns))
    pixels[rows // 3 : 2 * rows // 3, columns // 3 : 2 * columns // 3] += 90 * bright
    return pixels.astype(np.uint8)


def write_films(folder: Path) -> dict[str, str]:
    """Films as Kermany's, wide and tall and some turned by EXIF, one a patient; the file of each patient."""
    folder.mkdir(parents=True)
    files = {}
    for k in range(24):
        bright = k % 2 == 1
        name = f"person{k}_bacteria_{k}.jpeg" if bright else f"IM-{k:04d}-0001.jpeg"
        picture = Image.fromarray(film(k, bright, *((24, 72) if k % 3 else (72, 24))))
        exif = Image.Exif()
        if k % 4 > 1:
            exif[0x0112] = 6
        picture.save(folder / name, exif=exif, quality=95)
        files[f"{'P' if bright else 'N'}{k}"] = name
    return files


def run(*words: object) -> None:
    assert cli.main([str(word) for word in words]) == 0


def config_file(folder: Path) -> Path:
    (folder / "tiny.py").write_text(CONFIG)
    return folder / "tiny.py"


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def predicted(out: Path, name: str) -> dict[str, float]:
    """The probability of each file, by its name."""
    by_id = {row["id"]: float(row[f"probability/{name}"]) for row in table(out / "p.csv")}
    return {row["path"]: by_id[row["id"]] for row in table(out / "names.csv") if row["id"] in by_id}


def test_scores(workdir: Path) -> tuple[np.ndarray, RunOutputs]:
    scored = RunOutputs.read(workdir / "stratified" / "seed0")
    return Deployment.read(workdir / "stratified" / "seed0").probabilities(scored.outputs)[:, 1], scored


test_scores.__test__ = False


@pytest.mark.parametrize("fit", FITS)
def test_predict_gives_kermany_films_the_probabilities_of_the_test_split(fit: str, tmp_path: Path) -> None:
    files = write_films(tmp_path / "films")
    workdir = tmp_path / "run"
    command = [
        *("train", config_file(tmp_path), "--workdir", workdir),
        *("--data.dir", tmp_path / "films", "--data.fit", fit),
    ]
    if fit == "pad":
        installed = Path(sys.executable).with_name("imbal-jax")
        subprocess.run([installed, *map(str, command)], check=True, capture_output=True)
    else:
        run(*command)
    run(
        *("predict", workdir / "stratified", tmp_path / "films", "--out", tmp_path / "p.csv"),
        *("--names", tmp_path / "names.csv"),
    )
    expected, scored = test_scores(workdir)
    found = predicted(tmp_path, "pneumonia")
    splits = load(read_claim(workdir), workdir, lambda line: None)
    given = [found[files[patient]] for patient in splits.test.groups]
    assert len(given) == len(scored.labels) > 4
    np.testing.assert_allclose(given, expected, atol=1e-6)
    # and the fit decides: another one gives other probabilities
    assert np.ptp(expected) > 1e-3
    assert read_claim(workdir).data.fit == fit
    assert json.loads((workdir / "geometry.json").read_text())["made_by"]["fit"] == fit

    other = FITS[(FITS.index(fit) + 1) % 3]
    command[-1] = other
    assert cli.main([str(word) for word in command]) == 2, "another geometry does not continue the run"
    with pytest.raises(InputError, match=f"data.fit was {fit}, is {other}"):
        refused(command)


def refused(command: list[object]) -> None:
    cli.COMMANDS[str(command[0])]([str(word) for word in command[1:]])


def write_hospital(folder: Path) -> list[str]:
    """Grey, colour, 16-bit and turned pictures and DICOM files, wide and tall, with labels.csv."""
    folder.mkdir(parents=True)
    rows = ["file,patient,label"]
    for k in range(30):
        bright = k % 2 == 1
        pixels = film(k, bright, *((20, 60) if k % 3 else (45, 20)))
        name = f"{k}.dcm" if k % 5 == 4 else f"{k}.png"
        if k % 5 == 0:
            Image.fromarray(pixels).save(folder / name)
        elif k % 5 == 1:
            Image.fromarray(np.stack([pixels, pixels // 2, 255 - pixels], -1)).save(folder / name)
        elif k % 5 == 2:
            Image.fromarray(pixels.astype(np.uint16) * 257 + 3).save(folder / name)
        elif k % 5 == 3:
            exif = Image.Exif()
            exif[0x0112] = 8
            Image.fromarray(pixels).save(folder / name, exif=exif)
        else:
            write_dicom(folder / name, pixels.astype(np.uint16) * 16, PixelSpacing=[1.0, 2.0])
        rows.append(f"{name},p{k},{'bright' if bright else 'normal'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return [row.split(",")[0] for row in rows[1:]]


@pytest.mark.parametrize(("fit", "channels"), [("squeeze", 3), ("crop", 1)])
def test_predict_and_export_give_the_test_scores_of_a_folder(
    fit: str, channels: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = write_hospital(tmp_path / "in")
    workdir = tmp_path / "run"
    run(
        *("train", config_file(tmp_path), "--workdir", workdir, "--data.source", "folder"),
        *("--data.dir", tmp_path / "in", "--data.fit", fit, "--data.channels", channels),
        *("--data.negative-class", "normal"),
    )
    run(
        *("predict", workdir / "stratified", tmp_path / "in", "--out", tmp_path / "p.csv"),
        *("--names", tmp_path / "names.csv"),
    )
    said = capsys.readouterr().out
    for line in ("6 flagged colour-dropped", "6 colour pictures made grey"):  # by train and by predict
        assert (line in said) == (channels == 1)
    expected, _ = test_scores(workdir)
    found = predicted(tmp_path, "bright")
    splits = load(read_claim(workdir), workdir, lambda line: None)
    assert splits.test.images.shape[1:] == (16, 16, channels)
    files = sorted(names)  # patients are numbered in the order of the sorted files
    given = [found[files[patient]] for patient in splits.test.groups]
    np.testing.assert_allclose(given, expected, atol=1e-6)
    flags = {row["id"]: row["flags"].split() for row in table(tmp_path / "p.csv")}
    dropped = sum("colour-dropped" in words for words in flags.values())
    assert dropped == (6 if channels == 1 else 0)

    # Export: the arrays by model.json alone
    run("export", workdir / "stratified", "--out", tmp_path / "export")
    takes = json.loads((tmp_path / "export" / "model.json").read_text())["takes"]
    model = jax.export.deserialize(bytearray((tmp_path / "export" / "model.stablehlo").read_bytes()))
    pictures = {name: patient for patient, name in enumerate(files) if name.endswith(".png")}
    arrays = np.stack([by_description(tmp_path / "in" / name, takes) for name in pictures])
    out = np.asarray(model.call(arrays)["probabilities"])[:, 1]
    np.testing.assert_allclose(out, [found[name] for name in pictures], atol=2e-3)


def by_description(path: Path, takes: dict[str, object]) -> np.ndarray:
    """What another program makes of a PNG from what model.json says, with Pillow."""
    geometry = takes["geometry"]
    with Image.open(path) as picture:
        most = 65535 if picture.mode.startswith("I") else 255
        values = np.asarray(picture, np.float32) / np.float32(most)
        turned = picture.getexif().get(0x0112, 1)
    if turned == 8:
        values = np.rot90(values)
    planes = [values] if values.ndim == 2 else list(np.moveaxis(values, -1, 0))
    if geometry["channels"] == 1 and len(planes) == 3:
        planes = [0.299 * planes[0] + 0.587 * planes[1] + 0.114 * planes[2]]
    planes = planes * 3 if geometry["channels"] == 3 and len(planes) == 1 else planes
    squares = [resized(plane, geometry["size"], geometry["fit"]) for plane in planes]
    return np.rint(np.clip(np.stack(squares, -1), 0, 1) * takes["range"][1]).astype(takes["dtype"])


def test_records_of_16_bits_give_the_files_their_scores_and_other_geometries_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_hospital(tmp_path / "in")
    shares = ("--validation-share", 0.3, "--test-share", 0.3)
    geometry = ("--size", 16, "--fit", "crop", "--bits", 16, "--voi", "percentile")
    labels = ("--labels", "labels.csv", "--workers", 1)
    run("ingest", tmp_path / "in", "--out", tmp_path / "set", *labels, *shares, *geometry)
    assert open_records(tmp_path / "set").geometry == Geometry(16, "crop", 1, 16, "percentile")
    workdir = tmp_path / "run"
    train = ("train", config_file(tmp_path), "--data.source", "records", "--data.dir", tmp_path / "set")
    run(*train, "--workdir", workdir, "--data.negative-class", "normal")
    for where, out in (("in", "files"), ("set", "records")):
        (tmp_path / out).mkdir()
        run(
            *("predict", workdir / "stratified", tmp_path / where, "--out", tmp_path / out / "p.csv"),
            *("--key-file", tmp_path / f"{out}.key"),
        )
    values = [
        sorted(float(row["probability/bright"]) for row in table(tmp_path / out / "p.csv"))
        for out in ("files", "records")
    ]
    assert len(values[0]) == 30
    np.testing.assert_allclose(*values, atol=1e-6)
    expected, _ = test_scores(workdir)
    assert np.abs(np.array(values[0])[:, None] - expected).min(0).max() < 1e-6

    # a folder is read again by the run's own geometry
    run(
        "evaluate", workdir, "--data.source", "folder", "--data.dir", tmp_path / "in", "--out", tmp_path / "e"
    )
    with np.load(tmp_path / "e" / "stratified.npz") as arrays:
        np.testing.assert_allclose(np.sort(arrays["probabilities"][:, 1]), values[0], atol=1e-6)
    # and what was made by another is refused
    run(
        "ingest",
        tmp_path / "in",
        "--out",
        tmp_path / "padded",
        *labels,
        *shares,
        *geometry[:2],
        *geometry[4:],
    )
    capsys.readouterr()
    folder = ("--data.source", "folder", "--data.dir", tmp_path / "in")
    for words, said in (
        (("predict", workdir / "stratified", tmp_path / "padded"), "fit pad, not crop"),
        (("evaluate", workdir, "--data.dir", tmp_path / "padded"), "fit pad, not crop"),
        (("evaluate", workdir, *folder, "--data.fit", "pad"), "--data.fit pad is asked"),
        (("evaluate", workdir, *folder, "--data.image-size", 32), "--data.image-size 32 is asked"),
        (("evaluate", workdir, *folder, "--data.channels", 3), "--data.channels 3 is asked"),
        ((*train, "--workdir", tmp_path / "b", "--data.fit", "pad"), "the records in .* were made with crop"),
    ):
        assert (
            cli.main(
                [str(word) for word in (*words, "--out", tmp_path / "x.csv")][
                    : None if words[0] != "train" else -2
                ]
            )
            == 2
        )
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert said.replace(".*", "") in error or all(part in error for part in said.split(" .* "))
