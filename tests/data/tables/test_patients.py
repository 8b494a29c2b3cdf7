"""Whose an image is: the same people whatever spelling, header or column names them, and it is said how."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from picture_folders import SIZE, radiograph
from PIL import Image

from imbal_jax.data.dataset import Dataset, check_labels
from imbal_jax.data.dicom.header import patient_of
from imbal_jax.data.folders.labelled_folder import read_folder
from imbal_jax.data.splits.patient_split import complete_split, k_folds, split_by_group, split_summary
from imbal_jax.errors import InputError
from imbal_jax.metrics.clusters import missing_groups, patient_numbers

Folder = Callable[..., Path]


@pytest.fixture
def films(tmp_path: Path) -> Folder:
    """DICOM files with these PatientIDs, and a table."""

    def make(identifiers, text):
        for i, identifier in enumerate(identifiers):
            radiograph(tmp_path / f"{i}.dcm", patient=identifier, uid=f"1.2.{i}", seed=i)
        (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
        return tmp_path

    return make


def rows(patients, heading="patient"):
    labels = ("ill", "well")
    return f"file,{heading},label\n" + "".join(
        f"{i}.dcm,{p},{labels[i % 2]}\n" for i, p in enumerate(patients)
    )


def test_an_empty_cell_falls_back_to_the_header_and_one_name_is_one_patient(films):
    folder = films(["7", "8", "7", "", ""], rows(["", "8", "7", "nan", "x"]))
    data, summary = read_folder(folder, size=SIZE)
    assert data.groups.tolist() == [0, 1, 0, 2, 3]
    assert summary.unknown_patients == 1  # no StudyInstanceUID either
    again, _ = read_folder(folder, size=SIZE, cache=folder / "cache")
    cached, _ = read_folder(folder, size=SIZE, cache=folder / "cache")
    assert again.groups.tolist() == cached.groups.tolist() == data.groups.tolist()
    assert again.notes == data.notes


def test_one_person_in_other_spellings_is_one_patient_and_what_only_looks_alike_is_said(films):
    names = ["M\u00fcller", "Mu\u0308ller", " M\u00fcller  ", "x"]
    data, summary = read_folder(films([""] * 4, rows(names)), size=SIZE)
    assert data.groups.tolist() == [0, 0, 0, 1]
    assert "look like" not in str(summary)
    data, summary = read_folder(films([""] * 4, rows(["001", "1", "p7", "P-7"])), size=SIZE)
    assert data.groups.tolist() == [0, 1, 2, 3]
    assert "2 patients differ from others only in leading zeros" in str(summary)
    in_headers = films(["001", "1", "01", "2"], "file,label\n0.dcm,a\n1.dcm,b\n2.dcm,a\n3.dcm,b\n")
    data, summary = read_folder(in_headers, size=SIZE)
    assert len(set(data.groups.tolist())) == 4
    assert "2 patients differ from others only in leading zeros" in str(summary)


def test_how_patients_were_told_apart_is_said(films):
    data, summary = read_folder(films(["a", "b", "a"], "file,label\n0.dcm,x\n1.dcm,y\n2.dcm,y\n"), size=SIZE)
    assert summary.notes == ("patients by the header's PatientID: 2",)
    assert data.notes[-1] == summary.notes[0]
    assert "patients by the header's PatientID: 2" in str(summary)
    _, summary = read_folder(films(["a", "b", "a"], rows("pqr", "patient_id")), size=SIZE)
    assert summary.notes[0] == "patients by column patient_id: 3"
    assert "1 patients of the headers are several patients in the table's column" in summary.notes[1]


def test_a_lesions_column_may_not_part_a_patient_of_the_headers(films):
    folder = films(["a", "b", "a", ""], rows("pqrs", "lesion_id"))
    with pytest.raises(InputError, match=r"column 'lesion_id' separates the images of 1 patients"):
        read_folder(folder, size=SIZE)
    assert read_folder(folder, size=SIZE, columns=("patient=",))[0].groups.tolist() == [0, 1, 0, 2]
    assert read_folder(folder, size=SIZE, columns=("patient=lesion_id",))[0].groups.tolist() == [0, 1, 2, 3]
    for column in ("lesion_id", "StudyInstanceUID"):  # all headers know the patient
        assert read_folder(films(list("abab"), rows("pqrs", column)), size=SIZE)[0].groups.tolist() == [
            0,
            1,
            0,
            1,
        ]
    by_study, _ = read_folder(films([""] * 4, rows("ppqq", "study_id")), size=SIZE)
    assert by_study.groups.tolist() == [0, 0, 1, 1]
    (folder / "3.dcm").unlink()
    assert read_folder(films(["", "", ""], rows("ppq", "lesion_id")), size=SIZE)[0].groups.tolist() == [
        0,
        0,
        1,
    ]


@pytest.mark.parametrize("column", ["patient_id", "PatientID", "subject_id", "Patient ID", "lesion_id"])
def test_nobody_is_in_two_splits_by_any_usual_column(tmp_path: Path, column):
    people = np.repeat(np.arange(24), 4)
    noise = np.random.default_rng(0).integers(0, 255, (len(people), SIZE, SIZE), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
    lines = [f"{i:02},{who},{'ill' if who % 8 < 2 else 'well'}\n" for i, who in enumerate(people)]
    (tmp_path / "labels.csv").write_text(f"file,{column},label\n" + "".join(lines))
    data, _ = read_folder(tmp_path, size=SIZE)
    parts = split_by_group(data.labels, data.groups, {"train": 0.6, "validation": 0.2, "test": 0.2})
    assert sum(len(set(people[part])) for part in parts.values()) == 24


def test_header_identifiers_that_say_nothing_fall_back_to_the_study():
    from pydicom.dataset import Dataset as Header

    header = Header()
    header.StudyInstanceUID = "1.2"
    for nothing in ("", "  ", "nan", "None", "N/A"):
        header.PatientID = nothing
        assert patient_of(header) == "StudyInstanceUID 1.2"
    header.PatientID = " M\u00fcller "
    assert patient_of(header) == "PatientID M\u00fcller"


# Groups of arrays

NOTHING = [
    np.r_[np.arange(4.0), np.nan, np.nan],
    np.array([0, 1, 2, 3, None, None], object),
    np.array([0, 1, 2, 3, np.nan, pd.NA], object),
    np.array([0, 1, 2, 3, pd.NaT, "nan"], object),
    np.array(["0", "1", "2", "3", "", " "]),
    np.array(["0", "1", "2", "3", "nan", "None"]),
    np.array([b"0", b"1", b"2", b"3", b"", b"NA"]),
    pd.Series([0, 1, 2, 3, None, None], dtype="Int64").to_numpy(object),
    pd.Series(["a", "b", "c", "d", None, np.nan]).to_numpy(),
    np.array(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", "NaT", "NaT"], "datetime64[D]"),
]


@pytest.mark.parametrize("groups", NOTHING, ids=lambda groups: str(groups.dtype))
def test_a_group_that_is_missing_is_a_patient_of_its_own_or_refused(groups):
    assert missing_groups(groups).tolist() == [False] * 4 + [True] * 2
    labels = np.array([0, 1, 0, 1, 0, 1])
    parts = {name: np.arange(6)[i::2] for i, name in enumerate(("train", "test"))}
    summary = split_summary(labels, groups, parts, ("a", "b"))
    assert (summary.patients.tolist(), summary.shared_patients) == ([3, 3], 0)
    complete_split(labels, groups, parts, {"train": 0.5, "test": 0.5})
    assert len(np.unique(patient_numbers(groups, np.ones(6, bool), missing="own"))) == 6
    with pytest.raises(ValueError, match="2 of 6 groups are missing"):
        patient_numbers(groups, np.ones(6, bool))
    with pytest.raises(InputError, match="2 of 6 groups are missing"):
        check_labels(Dataset(np.zeros((6, 2, 2, 1), np.uint8), labels, groups, ("a", "b")))


@pytest.mark.parametrize(
    "groups",
    [
        np.array([1, 1.0, "1", "1.0", 2, "2"], object),
        np.array(["1", "1.0", " 1", "1 ", "2", "2.00"]),
        np.array([b"1", b"1.0", b"1", b"1", b"2", b"2"]),
        pd.Series(["m\u00fc x", "mu\u0308 x", "m\u00fc  x", "m\u00fc\u00a0x", "a", "a"]),
        [1, 1.0, "1", 1, "2", 2.0],
    ],
)
def test_a_group_in_several_spellings_and_types_is_one_patient(groups):
    numbers = patient_numbers(groups, np.ones(6, bool))
    assert len({*numbers[:4]}) == len({*numbers[4:]}) == 1
    parts = split_by_group(np.array([0, 1, 0, 1, 0, 1]), groups, {"train": 0.5, "test": 0.5})
    assert sorted(len(part) for part in parts.values()) == [2, 4]


def test_groups_that_are_not_given_and_labels_that_are_no_labels_are_refused():
    with pytest.raises(InputError, match="groups are None"):
        split_by_group(np.array([0, 1]), None, {"train": 0.5, "test": 0.5})
    with pytest.raises(InputError, match="none of 1, 0, -1"):
        k_folds(np.array([[0, 2], [1, 0]]), np.arange(2), 2)


def test_sixty_images_without_a_patient_are_spread_over_the_splits():
    labels, groups = np.tile([0, 1], 50), np.r_[np.arange(40.0), np.full(60, np.nan)]
    parts = split_by_group(labels, groups, {"train": 0.6, "test": 0.4})
    assert {name: len(part) for name, part in parts.items()} == {"train": 60, "test": 40}
    assert all(0 < np.isnan(groups[part]).sum() < 60 for part in parts.values())
    assert len(k_folds(labels, groups, 4)) == 4


def test_splits_of_mixed_groups_do_not_depend_on_the_order_of_the_items():
    rng = np.random.default_rng(0)
    groups = np.array([*range(20), *(f"p{i}" for i in range(20))] * 2, object)
    labels = rng.integers(0, 2, 80)
    order = rng.permutation(80)
    one = split_by_group(labels, groups, {"train": 0.5, "test": 0.5})
    two = split_by_group(labels[order], groups[order], {"train": 0.5, "test": 0.5})
    assert set(groups[one["train"]]) == set(groups[order][two["train"]])
