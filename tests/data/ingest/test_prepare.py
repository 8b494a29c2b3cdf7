"""A public set becomes records that hold what its source published, in the source's own split."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from imbal_jax.cli import main
from imbal_jax.config import Config, Data
from imbal_jax.data.images.geometry import AskedGeometry
from imbal_jax.data.ingest.prepare import PrepareOptions, prepare
from imbal_jax.data.load import load
from imbal_jax.data.records.record_set import open_records
from imbal_jax.data.sources import nih as public
from imbal_jax.data.sources.public_sets import PUBLIC
from imbal_jax.errors import InputError

QUIET = Console(file=io.StringIO())


def make(name, folder, out, **options):
    return prepare(PrepareOptions(name=name, dir=folder, out=out, **options), QUIET)


def medmnist_file(path, shape=(28, 28), classes=2, counts=(6, 4, 5)):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in zip(("train", "val", "test"), counts, strict=True):
        arrays[f"{part}_images"] = rng.integers(0, 255, (n, *shape), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n)[:, None] % classes).astype(np.uint8)
    np.savez(path, **arrays)
    return arrays


@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("pneumoniamnist", (28, 28), 2), ("bloodmnist", (28, 28, 3), 8)]
)
def test_records_of_medmnist_hold_the_file_in_its_own_split(tmp_path, name, shape, classes):
    arrays = medmnist_file(tmp_path / f"{name}.npz", shape, classes, (16, 8, 9))
    make(name, tmp_path, tmp_path / "out", size=28)
    records = open_records(tmp_path / "out")
    for part, source in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = records.splits[part]
        np.testing.assert_array_equal(
            records.images[rows].reshape(-1, *shape), arrays[f"{source}_images"].reshape(-1, *shape)
        )
        np.testing.assert_array_equal(records.labels[rows], arrays[f"{source}_labels"][:, 0])
    assert len(set(records.groups)) == 33
    assert records.classes == PUBLIC[name].load(tmp_path, AskedGeometry(size=28))[0].classes


def test_what_is_written_says_where_it_comes_from(tmp_path):
    medmnist_file(tmp_path / "pneumoniamnist.npz")
    make("pneumoniamnist", tmp_path, tmp_path / "out", size=28)
    about = json.loads((tmp_path / "out" / "source.json").read_text())
    assert about["licence"] == "CC BY 4.0"
    assert "Yang et al. 2023" in about["citation"]
    assert about["split"] == {"the source's own": ["test", "train", "validation"]}
    description = (tmp_path / "out" / "dataset_info.json").read_text()
    assert "Yang et al. 2023" in description
    assert not list(tmp_path.glob("*.preparing"))


# ChestX-ray14


def png(grey):
    file = io.BytesIO()
    Image.new("L", (20, 20), grey).save(file, "PNG")
    return file.getvalue()


PATIENTS = np.repeat(np.arange(1, 25), np.arange(24) % 3 + 1)  # 24 patients, one to three images each
NAMES = [f"{patient:08}_{i:03}.png" for i, patient in enumerate(PATIENTS)]
TEST = set(range(19, 25))


def findings(patient):
    return "Hernia|Mass" if patient % 4 == 0 else "Mass" if patient % 2 == 0 else "No Finding"


def nih_folder(folder, lists=True, shared=()):
    folder.mkdir()
    rows = [f"{name},{findings(p)},0,{p},50" for name, p in zip(NAMES, PATIENTS, strict=True)]
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age\n"
    (folder / "Data_Entry_2017_v2020.csv").write_text(head + "\n".join(rows) + "\n")
    for number, part in enumerate(np.array_split(np.arange(len(NAMES)), 2), 1):
        with tarfile.open(folder / f"images_{number:03}.tar.gz", "w:gz") as archive:
            for i in part[::-1]:  # not in the order of the names
                member, data = tarfile.TarInfo(f"images/{NAMES[i]}"), png(5 * int(i))
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    if lists:
        test = [n for n, p in zip(NAMES, PATIENTS, strict=True) if p in TEST and n not in shared]
        (folder / "test_list.txt").write_text("\n".join(test) + "\n")
        (folder / "train_val_list.txt").write_text("\n".join(n for n in NAMES if n not in test) + "\n")
    return folder


@pytest.fixture(autouse=True)
def labels_that_the_pictures_have(monkeypatch):
    """Of the fourteen, these: a class without an example is refused elsewhere."""
    monkeypatch.setattr(public, "NIH_LABELS", ("Mass", "Hernia"))
    monkeypatch.setattr(public, "nih_labels", lambda found: [int("Mass" in found), int("Hernia" in found)])


def test_chest_xray14_is_read_from_its_archives_and_keeps_the_official_split_by_patient(tmp_path):
    folder = nih_folder(tmp_path / "nih")
    make("nih", folder, tmp_path / "out", size=10)
    records = open_records(tmp_path / "out")
    greys = records.images[:][:, 0, 0, 0]
    source = greys // 5  # the grey says which picture it is
    np.testing.assert_array_equal(np.sort(source), np.arange(len(NAMES)))
    for rows in records.splits.values():
        for row in rows:
            patient = PATIENTS[source[row]]
            assert records.labels[row].tolist() == [int(patient % 2 == 0), int(patient % 4 == 0)]
    of_split = {name: set(PATIENTS[source[rows]]) for name, rows in records.splits.items()}
    assert of_split["test"] == TEST
    assert not of_split["train"] & of_split["validation"]
    assert of_split["train"] | of_split["validation"] == set(range(1, 19))
    assert of_split["validation"]
    groups = records.groups
    np.testing.assert_array_equal(groups[:, None] == groups, PATIENTS[source][:, None] == PATIENTS[source])


def test_a_config_honours_the_official_lists_too(tmp_path):
    folder = nih_folder(tmp_path / "nih")
    data = Data(source="nih", dir=folder, image_size=10)
    splits = load(Config(name="t", data=data), tmp_path, print)
    assert set(splits.test.groups.tolist()) == TEST
    by_patient = load(
        Config(name="t", data=Data(source="nih", dir=folder, image_size=10, split="patient")), tmp_path
    )
    assert set(by_patient.test.groups.tolist()) != TEST


def test_without_lists_the_split_is_made_by_patient(tmp_path):
    summary = make("nih", nih_folder(tmp_path / "nih", lists=False), tmp_path / "out", size=10)
    assert summary.shared_patients == 0
    assert (summary.images > 0).all()
    assert json.loads((tmp_path / "out" / "source.json").read_text())["split"] == "made by patient"


def test_lists_that_share_a_patient_are_refused_with_the_numbers_and_nothing_is_left(tmp_path):
    shared = next(n for n, p in zip(NAMES, PATIENTS, strict=True) if p == 20)
    folder = nih_folder(tmp_path / "nih", shared=(shared,))
    with pytest.raises(InputError, match="shares 1 of 24 patients between train and test"):
        make("nih", folder, tmp_path / "out", size=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nih"]
    assert make("nih", folder, tmp_path / "out", size=10, split="patient").shared_patients == 0


def test_one_list_without_the_other_and_an_unlisted_image_are_named(tmp_path):
    folder = nih_folder(tmp_path / "nih")
    (folder / "train_val_list.txt").write_text("\n".join(NAMES[1:]))
    with pytest.raises(InputError, match=r"is not in just one of train_val_list.txt and test_list.txt"):
        make("nih", folder, tmp_path / "out", size=10)
    (folder / "train_val_list.txt").unlink()
    with pytest.raises(InputError, match=r"has one of train_val_list.txt and test_list.txt: place both"):
        make("nih", folder, tmp_path / "out", size=10)


def test_colour_that_is_dropped_is_said(tmp_path):
    folder = nih_folder(tmp_path / "nih")
    for archive in folder.glob("images_*.tar.gz"):
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        archive.unlink()
    for name in NAMES[:3]:
        with Image.open(folder / "images" / name) as image:
            tinted = np.stack([np.asarray(image), 255 - np.asarray(image), np.asarray(image)], -1)
        Image.fromarray(tinted).save(folder / "images" / name)
    for channels, said in ((1, True), (3, False)):
        out = io.StringIO()
        options = PrepareOptions(
            name="nih", dir=folder, out=tmp_path / f"{channels}", size=10, channels=channels
        )
        prepare(options, Console(file=out, width=200))
        assert ("3 colour pictures made grey" in out.getvalue()) == said


def test_images_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    folder = nih_folder(tmp_path / "nih")
    decoded = []
    whole = public.nih_images

    def counting(*arguments):
        for image in whole(*arguments):
            decoded.append(image[0])
            yield image

    monkeypatch.setattr(public, "nih_images", counting)
    examples = PUBLIC["nih"].stream(folder, AskedGeometry(size=10)).examples
    assert decoded == []
    first = next(examples)
    assert decoded == [first.id]


# What is refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gout"], "no public set is named 'gout', allowed are kermany"),
        (
            ["pneumoniamnist", "--size", "96"],
            "has no images of 96 pixels: set the image size to 28, 64, 128 or 224",
        ),
        (["pneumoniamnist", "--size", "64"], "no pneumoniamnist_64.npz in"),
        (["nih"], "no Data_Entry_2017_v2020.csv in"),
        (
            ["pneumoniamnist", "--validation-share", "0"],
            "give --validation-share and --test-share that leave each",
        ),
        (["pneumoniamnist", "--size", "many"], "many"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong_and_leaves_nothing(tmp_path, capsys, words, message):
    (tmp_path / "source").mkdir()
    medmnist_file(tmp_path / "source" / "pneumoniamnist.npz")
    status = main(["prepare", *words, "--dir", str(tmp_path / "source"), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_that_is_missing_is_answered_with_what_to_place_there(tmp_path):
    with pytest.raises(InputError, match=r"no folder .*: make it and place Data_Entry.*train_val_list.txt"):
        make("nih", tmp_path / "none", tmp_path / "out")


def test_what_is_there_is_not_overwritten_nor_what_an_ingest_has_read(tmp_path):
    medmnist_file(tmp_path / "pneumoniamnist.npz")
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "journal").write_text("hours of work")
    make("pneumoniamnist", tmp_path, tmp_path / "out", size=28)
    assert (tmp_path / "out.partial" / "journal").read_text() == "hours of work"
    with pytest.raises(InputError, match="exists already: delete it"):
        make("pneumoniamnist", tmp_path, tmp_path / "out", size=28)


@pytest.mark.real_data
def test_pneumoniamnist_as_published_becomes_records_and_comes_back(real_data, tmp_path):
    summary = make("pneumoniamnist", real_data / "pneumoniamnist", tmp_path / "out", size=28)
    assert summary.images.tolist() == [4708, 524, 624]
    data = Data(source="records", dir=tmp_path / "out", image_size=28)
    splits = load(Config(name="t", data=data), tmp_path, print)
    with np.load(real_data / "pneumoniamnist" / "pneumoniamnist.npz") as arrays:
        np.testing.assert_array_equal(splits.test.images[:][..., 0], arrays["test_images"])
        np.testing.assert_array_equal(splits.test.labels, arrays["test_labels"][:, 0])
