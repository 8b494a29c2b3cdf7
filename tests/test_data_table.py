"""Tables as people have them: headings, labels and file names that are understood, or refused by row and option."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from imbal_jax.data.columns import parse_columns
from imbal_jax.data.table import match_names, read_table
from imbal_jax.errors import InputError

MARKER = "ZZMARKERZZ"


@pytest.fixture
def read(tmp_path: Path):
    def of(text, classes=None, **options):
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding="utf-8")
        return read_table(path, classes, **options)

    return of


def labelled(*labels, heading="label"):
    return f"file,{heading}\n" + "".join(f"{i}.png,{label}\n" for i, label in enumerate(labels))


# One label


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["1", "1.0", "0", "0.0"], ("0", "1"), [1, 1, 0, 0]),
        (["normal", "NORMAL", "ill", " Ill"], ("normal", "Ill"), [0, 0, 1, 1]),
        (["True", "False", "true", "False"], ("False", "True"), [1, 0, 1, 0]),
        (["True", "0", "1", "False"], ("0", "1"), [1, 0, 1, 0]),
        (["yes", "y", "no", "n"], ("0", "1"), [1, 1, 0, 0]),
        (["10", "9", "2", "10.0"], ("2", "9", "10"), [2, 1, 0, 2]),
        (["gr\u00fcn", unicodedata.normalize("NFD", "gr\u00fcn"), "rot"], ("gr\u00fcn", "rot"), [0, 0, 1]),
        (["stage 1", "stage  1", "stage\u00a01", "stage 2"], ("stage 1", "stage 2"), [0, 0, 0, 1]),
        (["b", "a", "No Finding"], ("No Finding", "a", "b"), [2, 1, 0]),
    ],
)
def test_spellings_of_one_class_are_one(read, labels, classes, numbers):
    table = read(labelled(*labels))
    assert sorted(map(str.casefold, table.classes)) == sorted(map(str.casefold, classes))
    assert [row.labels[0] for row in table.rows] == [
        [name.casefold() for name in table.classes].index(classes[number].casefold()) for number in numbers
    ]
    assert not table.many


@pytest.mark.parametrize("cell", ["", "nan", "NA", "None", "null", "<NA>", "NaT", "N/A"])
def test_a_row_without_a_label_is_refused_by_its_number(read, cell):
    with pytest.raises(InputError, match="row 4 has no label"):
        read(labelled("ill", "well", cell, "well"))
    assert read(labelled("ill", cell or "x"), classes=("ill", cell or "x")).rows[1].labels == (1,)


def test_minus_one_is_no_class(read):
    with pytest.raises(InputError, match=r"row 4: the label is -1 or -2.*remove the row; or call the column"):
        read(labelled("0", "1", "-1", "0"))
    with pytest.raises(InputError, match="row 4: the label is -1"):
        read(labelled("ill", "well", "-1.0", "well"))
    with pytest.raises(InputError, match=r"row 3: the label column holds -1 and 1 and no 0: write 0"):
        read(labelled("1", "-1", "1", "-1.0"))
    assert read(labelled("1", "-1"), classes=("-1", "1")).rows[0].labels == (1,)
    with pytest.raises(InputError, match="column 'mass' holds -1 and 1 and no 0"):
        read(labelled("1", "-1", "1", heading="mass"))
    assert [row.labels for row in read(labelled("1", "-1", "", heading="mass")).rows] == [(1,), (-1,), (-2,)]


def test_a_wrong_label_is_named_by_its_row_and_not_quoted(read):
    with pytest.raises(InputError, match="row 3: its label is not one of ill, well") as refusal:
        read(labelled("ill", MARKER), classes=("ill", "well"))
    assert MARKER not in str(refusal.value)
    assert read(labelled("ILL", "Well"), classes=("ill", "well")).rows[1].labels == (1,)


# Many labels


@pytest.mark.parametrize("kind", ["int64", "float64", "Int64", "object"])
def test_many_labels_of_any_pandas_column_keep_missing_and_uncertain_apart(read, kind):
    values = [1, 0, -1, 1] if kind == "int64" else [1, 0, -1, None]
    frame = pd.DataFrame({"file": list("abcd"), "mass": pd.Series(values, dtype=kind), "edema": [0, 0, 1, 1]})
    for na in ("", "nan", "NA", "<NA>"):
        table = read(frame.to_csv(index=False, na_rep=na))
        assert table.many
        assert [row.labels for row in table.rows] == [
            (-2 if value is None else value, edema) for value, edema in zip(values, [0, 0, 1, 1], strict=True)
        ]


def test_true_and_false_are_labels(read):
    frame = pd.DataFrame({"file": ["a", "b"], "mass": [True, False], "edema": [True, True]})
    assert [row.labels for row in read(frame.to_csv(index=False)).rows] == [(1, 1), (0, 1)]


@pytest.mark.parametrize(
    "heading",
    ["age", "Sex", "eye", "laterality", "View Position", "study_id", "Followup", "fold"],
)
def test_a_column_that_is_no_label_by_its_name_is_left_out_and_said(read, heading):
    table = read(f"file,mass,edema,{heading}\na,1,1,1\nb,0,1,0\nc,1,0,0\n")
    assert table.classes == ("mass", "edema")
    assert any(heading in note for note in table.notes)
    if heading != "fold":
        assert read(f"file,mass,{heading}\na,1,1\nb,0,1\n", classes=("mass", heading)).classes == (
            "mass",
            heading,
        )


def test_a_column_of_other_values_is_refused_with_the_option(read):
    with pytest.raises(
        InputError, match=r"row 2, column 'bilirubin' holds something else.*--data.classes"
    ) as refusal:
        read(f"file,mass,bilirubin\na,1,{MARKER}\n")
    assert MARKER not in str(refusal.value)


ONE_HOT = "image,MEL,NV,normal\n" + "".join(
    f"{i},{int(i % 3 == 0)},{int(i % 3 == 1)},{int(i % 3 == 2)}\n" for i in range(9)
)


def test_exclusive_columns_are_one_label_unless_many_is_said(read):
    table = read(ONE_HOT)
    assert (table.many, table.classes) == (False, ("normal", "MEL", "NV"))
    assert [row.labels for row in table.rows] == [((1, 2, 0)[i % 3],) for i in range(9)]
    assert any("--data.label-kind many" in note for note in table.notes)
    assert read(ONE_HOT, classes=("NV", "MEL", "normal")).rows[0].labels == (1,)
    assert read(ONE_HOT, label_kind="many").rows[0].labels == (1, 0, 0)
    assert read(ONE_HOT + "9,1,1,0\n").many
    assert read(ONE_HOT + "9,,1,0\n").many
    with pytest.raises(InputError, match="row 11 has not just one 1"):
        read(ONE_HOT + "9,1,1,0\n", label_kind="one")


# Headings


@pytest.mark.parametrize(
    "heading",
    ["patient", "Patient", "patient_id", "PatientID", "patientid", "Patient ID", "subject_id", "subject",
     "Subject-ID", "participant_id", "lesion_id", "case_id"],
)  # fmt: skip
def test_the_usual_headings_of_patients_are_understood(read, heading):
    table = read(f"file,{heading},label\na,1.0,x\nb,nan,y\nc, 2 ,y\n")
    assert [row.patient for row in table.rows] == ["1", "", "2"]
    assert table.patient_column == heading
    many = read(f"file,{heading},mass\na,1,1\nb,0,0\nc,0,1\n")
    assert (many.classes, many.patient_column) == (("mass",), heading)


def test_two_columns_that_could_be_the_patient_are_refused_with_the_option(read):
    text = "file,patient_id,subject,label\na,1,s,x\nb,2,s,y\n"
    with pytest.raises(
        InputError, match=r"patient_id, subject; say which, --data.columns patient=patient_id"
    ):
        read(text)
    assert read(text, columns=("patient=subject",)).rows[0].patient == "s"
    assert read(text, columns=("patient=",)).patient_column == ""
    assert (
        read("file,patient,mrn,label\na,1,s,x\nb,2,t,y\nc,1,s,y\n").rows[2].patient == "1"
    )  # the same people


def test_columns_are_named_by_option(read):
    text = "img_nr,who,dx2,part\na,7,x,train\nb,8,y,test\n"
    columns = ("file=img_nr", "patient=who", "label=dx2", "split=part")
    table = read(text, columns=columns)
    assert [(row.key, row.patient, row.labels, row.split) for row in table.rows] == [
        ("a", "7", (0,), "train"),
        ("b", "8", (1,), "test"),
    ]
    with pytest.raises(InputError, match=r"has no column 'whom', which --data.columns names for patient"):
        read(text, columns=("file=img_nr", "patient=whom"))
    for wrong in ("who", "people=who", "=who"):
        with pytest.raises(InputError, match="is not ROLE=COLUMN"):
            parse_columns((wrong,))
    with pytest.raises(InputError, match="named twice"):
        parse_columns(("file=a", "file=b"))


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("image_id,dx\nISIC_1,nv\nISIC_2,mel\n", ("mel", "nv")),  # HAM10000
        ("image,level\n10_left,0\n10_right,2\n", None),  # EyePACS: level is no known heading
        ("id_code,diagnosis\nab,2\ncd,0\n", ("0", "2")),  # APTOS
        (
            "image_name,patient_id,sex,age_approx,target\na,p,male,45,0\nb,q,female,50,1\n",
            ("0", "1"),
        ),  # SIIM-ISIC
    ],
)
def test_tables_of_public_sets_are_understood_or_refused_with_the_option(read, text, classes):
    if classes is None:
        with pytest.raises(InputError, match="column 'level' holds something else than 1, 0, -1"):
            read(text)
        assert read(text, columns=("label=level",)).classes == ("0", "2")
    else:
        assert read(text).classes == classes


def test_a_table_without_a_heading_shows_none_of_its_cells(read):
    with pytest.raises(
        InputError, match="no column 'file' or 'accession'; the first line is to be a heading"
    ) as no:
        read(f"{MARKER}.png,{MARKER}\nb.png,ill\n")
    assert MARKER not in str(no.value)


# Files


@pytest.mark.parametrize(
    ("files", "key", "found"),
    [
        (["ISIC_0.png"], "ISIC_0", "ISIC_0.png"),
        (["a/ISIC_0.dicom"], "ISIC_0", "a/ISIC_0.dicom"),
        (["IM0.PNG"], "IM0.png", "IM0.PNG"),
        (["IM0.PNG"], "im0", "IM0.PNG"),
        (["im0.png", "IM0.png"], "im0.png", "im0.png"),
        (["Mu\u0308ller.png"], "M\u00fcller.png", "Mu\u0308ller.png"),
        (["M\u00fcller.png"], unicodedata.normalize("NFD", "m\u00fcller"), "M\u00fcller.png"),
        (["a/1.png"], "/data/set/a/1.png", "a/1.png"),
        (["a/1.png"], "C:\\data\\a\\1.png", "a/1.png"),
        (["a/1.png"], "file:///data/a/1.png", "a/1.png"),
        (["a/1.png"], "../set/a/1.png", "a/1.png"),
        (["x/a/1.png", "x/b/1.png"], "a/1.png", "x/a/1.png"),
        (["x/a/1.png", "x/b/1.png"], "images/x/b/1", "x/b/1.png"),
        (["train/1.png"], "test/1.png", None),
        (["1.png"], "11.png", None),
        (["a.b.png"], "a.b", "a.b.png"),
        (["1.2.3"], "1.2.3", "1.2.3"),
        (["a/1.png"], "A/1.PNG", "a/1.png"),
    ],
)  # fmt: skip
def test_a_row_finds_its_file_by_the_path_that_people_write(read, files, key, found):
    matches, left = match_names(files, read(f"file,label\n{key},x\n"))
    assert list(matches.rows) == ([] if found is None else [found])
    assert len(left) == (found is None)


@pytest.mark.parametrize(
    ("files", "keys", "message"),
    [
        (["IM0.png", "IM0.dcm"], ["IM0"], "row 2 names a file that 2 folders hold, or that fits 2"),
        (["a/1.png", "b/1.png"], ["1.png"], "row 2 names a file that 2 folders hold"),
        (["1.png"], ["b/1.png", "c/1.png"], "rows 2 and 3 name one file in two folders"),
        (["IM0.png", "im0.png"], ["Im0.png"], "row 2 names a file that 2"),
    ],
)
def test_a_row_that_fits_several_files_is_refused(read, files, keys, message):
    with pytest.raises(InputError, match=message):
        match_names(files, read("file,label\n" + "".join(f"{key},x\n" for key in keys)))


def test_many_rows_are_matched_in_little_time(read):
    files = [f"d{i % 7}/{i}.png" for i in range(20_000)]
    matches, left = match_names(files, read("file,label\n" + "".join(f"{i},x\n" for i in range(20_000))))
    assert (len(matches.rows), left) == (20_000, [])
    assert np.all([row.number == int(Path(path).stem) + 2 for path, row in matches.rows.items()])
