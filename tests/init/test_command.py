"""``imbal-jax init`` on data that other programs wrote, and the training that follows."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import write_pictures

from imbal_jax import cli
from imbal_jax.config import load_config
from imbal_jax.errors import InputError
from imbal_jax.init import command
from imbal_jax.init import survey as survey_module
from imbal_jax.init.command import init
from imbal_jax.init.survey import kind_of

QUICK = ["--minutes", "0.001", "--model.name", "cnn"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that trains 100 images a second; measuring compiles a program."""
    monkeypatch.setattr(command, "images_per_second", lambda config, splits: 100.0)


def test_a_folder_with_a_table_of_other_headings_is_trained_on_after_one_command(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(here / "Ward 7")
    rows = (folder / "labels.csv").read_text().replace("file,patient,label", "img_path;subject;target", 1)
    (folder / "labels.csv").unlink()
    (folder / "findings.csv").write_text(rows.replace(",", ";") + "gone.png;p1;bright\n")
    words = ["--data.columns", "file=img_path", "--train.epochs", "2", "--train.batch-size", "8"]
    assert cli.main(["init", "Ward 7", *QUICK, *words]) == 0
    said = capsys.readouterr().out
    for line in (
        "Ward 7: a folder of images",
        "pictures: PNG 60 (60 of 120 opened); all 16 x 16 pixels (height x width); grey",
        "labels: normal 100, bright 20",
        "1 rows of the table without a file: 122",
        "patients by column subject: 60",
        "labels by column target",
        "bright, the rarest, is on 20 of 120 images (16.7 %), 1 to 5",
        "rows and files that were left out: workdirs/ward_7/left_out.csv",
        "my_config.py: fill in select and deploy.points",
    ):
        assert line in said, line
    config = load_config(here / "my_config.py")
    assert config.title == "bright on 20 of 120 images"
    assert (config.data.negative_class, config.data.image_size) == ("normal", 16)
    assert [method.name for method in config.methods] == ["ce", "logit_adjusted"]
    assert (config.train.epochs, config.train.batch_size) == (2, 8)
    decoded = sorted((here / "workdirs" / "ward_7" / "cache").iterdir())
    assert cli.main(["train", "my_config.py", "--methods", "ce", "--train.evaluations", "1"]) == 0
    assert sorted((here / "workdirs" / "ward_7" / "cache").iterdir()) == decoded, "the files were read again"
    report = (here / "workdirs" / "ward_7" / "report.html").read_text()
    assert re.search(r"<title>[^<]*bright on 20 of 120 images", report)


@pytest.mark.usefixtures("fast")
def test_folders_of_classes_in_colour_keep_split_and_colour(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        part, label = ("train", "val", "test")[number % 3], ("healthy", "rare")[number % 12 < 3]
        path = here / "set" / part / label / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 28, 3)).astype(np.uint8)).save(path)
    init(
        here / "set",
        here / "c.py",
        minutes=0.1,
    )
    said = capsys.readouterr().out
    assert "labels by the folders that hold the files" in said
    assert "split by folders: train 20, validation 20, test 20 images" in said
    config = load_config(here / "c.py")
    assert (config.data.channels, config.data.image_size) == (3, 28)
    assert config.data.labels_file == "labels.csv"  # found again wherever evaluate looks
    assert config.data.negative_class == "healthy"  # the more frequent of two
    assert config.train.epochs == 24  # 0.8 * 6 s * 100 images/s / 20 images


@pytest.mark.usefixtures("fast")
def test_of_a_large_folder_a_part_is_read_and_the_counts_are_of_all(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey_module, "MOST_READ", 80)
    write_pictures(here / "set")
    init(here / "set", here / "c.py")
    said = capsys.readouterr().out
    assert "of 120 rows 80, drawn at random, are looked at" in said
    assert "about 120 images in all: imbal-jax ingest makes records of them" in said
    assert "of 120 images (" in said


@pytest.mark.usefixtures("fast")
def test_of_several_classes_without_a_normal_one_the_user_is_asked_to_name_it(here: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, 16, 16)).astype(np.uint8)
    np.savez(here / "three.npz", images=images, labels=np.array(["a", "b", "c"])[np.arange(90) % 3])
    init(here / "three.npz", here / "c.py")
    text = (here / "c.py").read_text()
    assert (
        "# Fill in the class that is no finding, if there is one\n            negative_class=None,\n" in text
    )
    assert load_config(here / "c.py").data.negative_class is None


@pytest.mark.usefixtures("fast")
def test_arrays_and_many_labels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((90, 3)) < [0.5, 0.3, 0.1]).astype(int)
    images = rng.integers(0, 256, (90, 16, 16)).astype(np.uint8)
    np.savez(
        here / "films.npz", images=images, labels=labels, classes=["a", "b", "c"], patient=np.arange(90) // 2
    )
    config = init(here / "films.npz", here / "c.py")
    said = capsys.readouterr().out
    counts = labels.sum(0)
    assert "90 images of 45 patients\nlabels: a {}, b {}, c {}\n".format(*counts) in said
    assert f"c, the rarest, is on {counts[2]} of 90 images" in said
    assert config.methods[1].name == "weighted_ce"
    assert config.title == "3 findings on 90 images"
    assert config.data.source == "npz"


@pytest.mark.usefixtures("fast")
def test_what_the_user_gives_replaces_what_is_suggested(here: Path) -> None:
    write_pictures(here / "set")
    words = ["--data.image-size", "24", "--methods", "focal", "--title", "Mine", "--select", "f_score"]
    words += ["--model.name", "cnn", "--train.epochs", "1.5", "--data.negative-class", "bright"]
    config = init(here / "set", here / "c.py", overrides=words)
    assert config == replace(load_config(here / "c.py"))
    assert (config.data.image_size, config.title, config.select) == (24, "Mine", "f_score")
    assert ([m.name for m in config.methods], config.train.epochs) == (["focal"], 1.5)
    assert config.data.negative_class == "bright"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "no folder nowhere: name the one that holds the images, or an NPZ file"),
        (["set", "--out", "taken.py"], "taken.py exists: give another --out, or delete it"),
        (["set", "--out", "config.txt"], "give a name that ends in .py"),
        (["set", "--minutes", "0"], "--minutes is 0: above 0"),
        (["set", "--data.image-sise", "3"], "did you mean --data.image-size"),
        (["empty"], "no image is there"),
        ([], "init needs DIR"),
    ],
)
def test_mistakes_are_one_line(
    here: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(here / "set", patients=3)
    (here / "empty").mkdir()
    (here / "taken.py").touch()
    assert cli.main(["init", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (here / "my_config.py").exists()


def test_records_and_arrays_are_told_from_folders(here: Path) -> None:
    (here / "records" / "1.0.0").mkdir(parents=True)
    (here / "records" / "1.0.0" / "dataset_info.json").write_text("{}")
    np.savez(here / "a.npz", x=np.zeros(1))
    write_pictures(here / "set", patients=1)
    assert kind_of(here / "records") == "records"
    assert kind_of(here / "a.npz") == "npz"
    assert kind_of(here / "set") == "folder"
    with pytest.raises(InputError, match="no folder"):
        kind_of(here / "b.npz")
