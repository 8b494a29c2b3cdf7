import pytest

from imbal_jax.data.tables.class_folders import MOST, class_folder_table
from imbal_jax.data.tables.labels_table import labels_table
from imbal_jax.errors import InputError


def labels(files: list[str]) -> dict[str, str]:
    return {cells[0]: cells[1] for _, cells in class_folder_table(files).rows}


@pytest.mark.parametrize(
    "prefix",
    ["", "chest_xray/", "a/b/", "data/Train Set/", "data/train/images/"],
    ids=lambda prefix: prefix or "top",
)
def test_the_folder_of_a_file_is_its_class_wherever_the_tree_begins(prefix: str) -> None:
    files = [f"{prefix}ill/1.png", f"{prefix}ill/deeper/2.png", f"{prefix}well/1.png"]
    assert list(labels(files).values()) == ["ill", "ill", "well"]


@pytest.mark.parametrize(
    "files",
    [
        ["train/ill/1.png", "train/well/2.png", "val/ill/3.png", "test/well/4.png"],
        ["ill/train/1.png", "well/train/2.png", "ill/val/3.png", "well/test/4.png"],
        ["set/Training/ill/1.png", "set/Training/well/2.png", "set/valid/ill/3.png", "set/Test/well/4.png"],
    ],
)
def test_folders_of_a_split_are_no_classes(files: list[str]) -> None:
    assert list(labels(files).values()) == ["ill", "well", "ill", "well"]


def test_files_beside_the_class_folders_have_no_row_and_rows_are_numbered_by_file() -> None:
    files = ["ill/1.png", "notes.png", "train.png", "well/2.png"]
    assert [(number, cells[0]) for number, cells in class_folder_table(files).rows] == [
        (1, "ill/1.png"),
        (4, "well/2.png"),
    ]


def test_one_class_in_two_spellings_is_one_class_and_the_normal_one_comes_first() -> None:
    files = [
        "test/Bacteria/1.png",
        "test/NORMAL/2.png",
        "train/bacteria/3.png",
        "train/normal/4.png",
        "train/normal/5.png",
    ]
    table = labels_table(class_folder_table(files))
    assert table.classes == ("normal", "bacteria")
    assert [row.labels for row in table.rows] == [(1,), (0,), (1,), (0,), (0,)]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["1.png", "2.png"], "in no folders"),
        (["all/1.png", "all/2.png"], "a single folder"),
        (["train/1.png", "test/2.png"], "in no folders"),
        (["ill/1.png", "NA/2.png"], "called NA"),
        (["ill/1.png", "well/2.png", "unknown/2.png"], "called unknown"),
        (["train/ill/1.png", "test/well/2.png", "extra/well/3.png"], "1 images lie in folders beside"),
        (["patient001/1.png", "patient002/2.png"], "those of patients"),
        (["p10000032/1.png", "p10000764/2.png"], "those of patients"),
        (["1.2.840.1/1.dcm", "1.2.840.2/2.dcm"], "those of patients"),
        (["ill/1.png", "Doe_19680412/2.png"], "those of patients"),
        ([f"case {n}/1.png" for n in range(MOST + 1)], "those of patients"),
    ],
)
def test_folders_that_name_no_classes_are_refused(files: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        class_folder_table(files)
    assert "Doe" not in str(error.value)
    assert "a table with the columns file and label" in str(error.value)
