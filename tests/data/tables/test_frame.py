"""Data sets from data frames, against the CSV files that pandas writes and the arrays themselves."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imbal_jax.data.dataset import Dataset
from imbal_jax.errors import InputError

LEVELS = [30, 60, 90, 120, 150, 180]


@pytest.fixture
def folder(tmp_path):
    """Six grey pictures, whose levels say which they are."""
    for level in LEVELS:
        picture = np.full((20, 20), level, np.uint8)
        picture[:5] = 255 - level  # a picture of one value is refused
        picture[5:10] = level // 2
        Image.fromarray(picture).save(tmp_path / f"{level}.png")
    return tmp_path


def frame(**columns):
    return pd.DataFrame(
        {
            "file": [f"{level}.png" for level in reversed(LEVELS)],
            "patient": [3.0, 3.0, 1.0, 2.0, 2.0, None],
            "label": ["ill", "normal", "normal", "ill", "normal", "normal"],
            **columns,
        }
    )


def test_a_frame_of_files_is_read_in_the_order_of_its_rows(folder):
    data = Dataset.from_frame(frame(), dir=folder, size=10)
    assert data.images.shape == (6, 10, 10, 1)
    assert data.images[:, 8, 5, 0].tolist() == LEVELS[::-1]
    assert data.classes == ("normal", "ill")
    assert data.labels.tolist() == [1, 0, 0, 1, 0, 0]


def test_a_frame_says_what_the_table_says_that_pandas_writes_of_it(folder, tmp_path):
    frame().to_csv(folder / "labels.csv")
    written = Dataset.from_folder(folder, size=10)
    data = Dataset.from_frame(frame(), dir=folder, size=10)
    order = np.argsort(
        data.images[:, 8, 5, 0].astype(int).astype(str)
    )  # a folder is read in the order of its names
    np.testing.assert_array_equal(data.images[order], written.images)
    np.testing.assert_array_equal(data.labels[order], written.labels)
    same = lambda groups: groups[:, None] == groups[None]  # noqa: E731
    np.testing.assert_array_equal(same(data.groups[order]), same(written.groups))
    assert data.geometry == written.geometry


def test_patients_of_a_frame_are_told_apart_and_a_missing_one_is_its_own(folder):
    groups = Dataset.from_frame(frame(), dir=folder, size=10).groups
    assert groups[0] == groups[1]
    assert groups[3] == groups[4]
    assert len(set(groups.tolist())) == 4


def test_columns_of_other_names_are_named_as_for_a_table(folder):
    other = frame().rename(columns={"file": "where", "label": "what", "patient": "who"})
    data = Dataset.from_frame(
        other,
        dir=folder,
        size=10,
        columns=("file=where", "label=what", "patient=who"),
        classes=["ill", "normal"],
    )
    assert data.classes == ("ill", "normal")
    assert data.labels.tolist() == [0, 1, 1, 0, 1, 1]
    with pytest.raises(InputError, match=r"the frame has no column 'nowhere'"):
        Dataset.from_frame(other, dir=folder, size=10, columns=("file=nowhere",))


def test_a_frame_may_hold_the_images_and_many_labels():
    images = [np.full((8, 8), level, np.uint8) for level in LEVELS]
    held = pd.DataFrame(
        {
            "pixels": images,
            "patient": list("aabbcc"),
            "Effusion": [1, 0, None, 1, 0, 1],
            "Mass": [0, -1, 1, 1, 0, 0],
        }
    )
    data = Dataset.from_frame(held)
    np.testing.assert_array_equal(data.images[..., 0], np.stack(images))
    assert data.classes == ("Effusion", "Mass")
    assert data.labels.tolist() == [[1, 0], [0, -1], [-2, 1], [1, 1], [0, 0], [1, 0]]
    assert data.groups.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_frame_needs_columns_alone_so_polars_will_do():
    class Frame:
        """The part of a polars frame that is used: its columns iterate over Python values."""

        columns = ("image", "label")

        def __getitem__(self, column):
            return {"image": [np.full((4, 4, 3), n, np.uint8) for n in range(4)], "label": [0, 1, 0, 1]}[
                column
            ]

    data = Dataset.from_frame(Frame())
    assert data.images.shape == (4, 4, 4, 3)
    assert data.labels.tolist() == [0, 1, 0, 1]
    assert (
        "no patients were given: each image counts as its own patient, splits may share patients"
        in data.notes
    )


@pytest.mark.parametrize(
    ("wrong", "options", "message"),
    [
        (
            lambda: frame().drop(columns="label"),
            {"size": 10},
            "the frame has no column 'label' and no label columns",
        ),
        (
            lambda: frame(label=["ill", None, "normal", "ill", "normal", "ill"]),
            {"size": 10},
            "row 1 has no label",
        ),
        (lambda: frame(), {}, "the frame names files: give dir, the folder that contains them, and size"),
        (lambda: frame().iloc[:0], {"size": 10}, "the frame has no rows"),
        (lambda: [1, 2], {"size": 10}, "a list is no frame"),
        (
            lambda: frame(pixels=[np.zeros((4, 4), np.uint8)] * 5 + [None]),
            {},
            "column 'pixels': some cells are arrays",
        ),
        (lambda: frame(pixels=[np.zeros((4, 4), np.uint8)] * 6), {"size": 10}, "leave out dir and size"),
        (lambda: frame(file="nowhere.png"), {"size": 10}, "none of 6 rows of the frame fits one of 6 files"),
    ],
)
def test_a_frame_that_cannot_be_used_is_refused_in_one_line(folder, wrong, options, message):
    with pytest.raises(InputError, match=message) as caught:
        Dataset.from_frame(wrong(), dir=folder, **options)
    assert "\n" not in str(caught.value)


def test_the_bytes_in_memory_are_known_before_anything_is_read():
    data = Dataset.from_arrays(np.zeros((10, 6, 5, 3), np.uint16), [0, 1] * 5)
    assert data.resident_bytes == 10 * 6 * 5 * 3 * 2 + 10 * 4
