"""Titles made from the data."""

from dataclasses import replace

from imbal_jax.config import Config, Data, override, retitled
from imbal_jax.report.title import title_of

CLASSES = ("normal", "nodule", "mass")
ROWS = [
    {"split": "train", "images": 700, "patients": 400, "normal": 690, "nodule": 7, "mass": 3},
    {"split": "test", "images": 300, "patients": 200, "normal": 295, "nodule": 4, "mass": 1},
]


def test_a_title_names_classes_and_counts() -> None:
    assert title_of(ROWS, CLASSES, "normal") == (
        "nodule and mass in 1,000 images of 600 patients; rarest: mass, 4 (0.4 %)"
    )
    alone = [{"split": "all", "images": 50, "patients": 50, "clear": 40, "finding": 10}]
    assert title_of(alone, ("clear", "finding"), "clear") == "finding in 50 images: 10 (20.0 %)"


def test_a_title_of_many_labels_names_the_first_and_how_many_more() -> None:
    names = tuple(f"label{k}" for k in range(14))
    row = {"split": "test", "images": 200, "patients": 100, **{name: 20 + k for k, name in enumerate(names)}}
    title = title_of([row], names, None)
    assert (
        title
        == "label0, label1, label2 and 11 more in 200 images of 100 patients; rarest: label0, 20 (10.0 %)"
    )


def test_a_title_of_data_without_counts_names_the_classes() -> None:
    assert title_of([], ("vessel",), None) == "vessel"
    assert title_of([{"split": "test", "images": 20}], ("vessel",), None) == "vessel in 20 images"


PHANTOMS = Config(name="quickstart", title="Phantoms", data=Data(phantom_images=10000))
PUBLIC = Config(name="kermany", title="Children", data=Data(source="kermany"))


def test_the_title_of_a_config_is_not_kept_for_other_data() -> None:
    folder = ["--data.source", "folder", "--data.dir", "/films"]
    assert override(PHANTOMS, folder).title == ""
    assert override(PHANTOMS, [*folder, "--title", "Mine"]).title == "Mine"
    mine = replace(PHANTOMS, title="Mine", data=Data(source="folder", dir="/films"))
    assert override(mine, ["--data.dir", "/others"]).title == ""
    assert retitled(replace(PHANTOMS, data=Data(source="arrays")), PHANTOMS).title == ""


def test_the_title_of_a_config_is_kept_for_its_own_data() -> None:
    assert override(PHANTOMS, ["--train.epochs", "1", "--data.phantom-images", "300"]).title == "Phantoms"
    assert override(PUBLIC, ["--data.dir", "/kermany"]).title == "Children"
    unnamed = Config(name="study", title="Study")
    assert retitled(replace(unnamed, data=Data(source="arrays")), unnamed).title == "Study"
