"""Tables as people have them: headings, labels and file names that are understood, or refused by row and option."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from imbal_jax.arguments import parse_columns
from imbal_jax.data.tables.labels_table import labels_table
from imbal_jax.data.tables.row_matching import match_names
from imbal_jax.data.tables.table_file import read_table_text
from imbal_jax.errors import InputError

MARKER = "ZZMARKERZZ"


@pytest.fixture
def read(tmp_path: Path):
    def of(text, classes=None, **options):
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding="utf-8")
        return labels_table(read_table_text(path), classes, **options)

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


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        *((["0", "1", mark], "row 4 has no label") for mark in ("?", "-", ".", "N.A.", "#DIV/0!", "\u2014")),
        *(
            (["0", "1", word], "row 4 has a word for unknown")
            for word in ("unknown", "Missing", "uncertain", "inf")
        ),
        (["yes", "no", "unk"], "row 4 has a word for unknown"),
        (["0", "1", "-9"], "row 4: the label is a number below 0"),
        (["0", "1", "\u22121"], "row 4: the label is -1 or -2"),
        (["1", "\u20131"], "the label column holds -1 and 1 and no 0"),
        (["A", "B", "A;B"], "row 4: its label holds ';'"),
        (["['A']", "['B']"], "row 2: its label holds '\\['"),
    ],
)
def test_cells_that_are_no_class_of_their_own_are_refused_by_row(read, labels, message):
    with pytest.raises(InputError, match=message):
        read(labelled(*labels))
    assert read(labelled(*labels), classes=sorted({*labels})).rows[0].labels[0] >= 0


def test_a_class_called_unknown_among_words_and_one_with_marks_stay(read):
    assert read(labelled("MEL", "NV", "UNK")).classes == ("MEL", "NV", "UNK")
    assert read(labelled("A;B", "C")).classes == ("A;B", "C")
    assert read(labelled("mild_npdr", "Mild NPDR", "mild-npdr", "no npdr")).classes[1] == "no npdr"
    assert read(labelled("pos", "neg", "Positive", "negative")).classes == ("0", "1")
    assert len(read(labelled("HER2+", "HER2-", "HER2")).classes) == 3


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
    ["age", "Sex", "eye", "laterality", "View Position", "Followup", "fold"],
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
        InputError, match=r"row 2, column 'bilirubin' holds something other.*--data.classes"
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


@pytest.mark.parametrize(
    "heading",
    ["Patient #", "PatientNr", "patients", "subj_id", "medical_record_number", "empi_anon", "anon_patient_id",
     "USUBJID", "Patienten-ID", "sub_id", "group", "slide", "ID", "eye_id"],
)  # fmt: skip
def test_other_headings_of_patients_are_understood(read, heading):
    table = read(f"file,{heading},label\na,p1,x\nb,p1,y\nc,p2,y\n")
    assert [row.patient for row in table.rows] == ["p1", "p1", "p2"]


@pytest.mark.parametrize(
    "heading", ["patient_age", "Patient Gender", "patient_status", "subjective", "is_patient"]
)
def test_what_tells_something_about_a_patient_names_nobody(read, heading):
    assert read(f"file,{heading},label\na,7,x\nb,7,y\nc,8,y\n").patient_column == ""


def test_a_number_of_rows_and_a_constant_name_nobody(read):
    assert read("id,file,label\n1,a,x\n2,b,y\n3,c,y\n").patient_column == ""
    assert read("study,file,label\nNLST,a,x\nNLST,b,y\nNLST,c,y\n").patient_column == ""


def test_a_column_of_identifiers_that_is_not_understood_is_named(read):
    table = read("file,tcga_id,label\na,7,x\nb,7,y\nc,8,y\n")
    assert (
        "column tcga_id is not used: if it identifies patients, add --data.columns patient=tcga_id"
        in table.notes
    )


def test_of_lesions_and_cases_the_column_that_holds_the_other_whole_counts(read):
    text = "file,lesion_id,case_id,label\na,1,c,x\nb,2,c,y\nc,3,d,y\n"
    assert [row.patient for row in read(text).rows] == ["c", "c", "d"]
    with pytest.raises(InputError, match="patient=lesion_id"):
        read(text + "d,3,c,y\n")


@pytest.mark.parametrize(
    ("heading", "keys", "patients"),
    [
        ("Path", ["C/patient00001/study1/1.jpg", "C/patient00001/study2/1.jpg", "C/patient00002/s/1.jpg"],
         ["patient00001", "patient00001", "patient00002"]),
        ("file", ["sub-01_T1w.png", "sub-01_T2w.png", "sub-02_T1w.png"], ["sub-01", "sub-01", "sub-02"]),
        ("path", ["p10/p10000032/s1/a.jpg", "p10/p10000032/s2/b.jpg", "p11/p11000001/s3/c.jpg"],
         ["p10000032", "p10000032", "p11000001"]),
        ("image", ["10_left", "10_right", "11_left"], ["10", "10", "11"]),
        ("image", ["10_left", "10_right", "11"], ["", "", ""]),
        ("image", ["Image_01L", "Image_01R", "Image_02L"], ["image_01", "image_01", "image_02"]),
        ("image", ["slide2L", "slide3L"], ["", ""]),  # no right ones
        ("image", ["cell", "girl"], ["", ""]),
        ("file", ["patient1/a.png", "b.png", "patient2/c.png"], ["", "", ""]),
    ],
)  # fmt: skip
def test_patients_that_every_path_names_are_understood_and_said(read, heading, keys, patients):
    text = f"{heading},label\n" + "".join(f"{key},{'xyx'[i]}\n" for i, key in enumerate(keys))
    table = read(text)
    assert [row.patient for row in table.rows] == patients
    assert any("--data.columns patient=" in note for note in table.notes) == any(patients)
    assert not any(row.patient for row in read(text, columns=("patient=",)).rows)


def test_identifiers_that_a_spreadsheet_shortened_are_refused(read):
    with pytest.raises(InputError, match="row 3, column 'patient' holds a number in short form"):
        read("file,patient,label\na,7,x\nb,1.23457E+11,y\n")


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
        ("image,level\n10_left,0\n10_right,2\n", ("0", "2")),  # EyePACS
        ("image,bilirubin\n10_left,0\n10_right,2\n", None),
        ("id_code,diagnosis\nab,2\ncd,0\n", ("0", "2")),  # APTOS
        (
            "image_name,patient_id,sex,age_approx,target\na,p,male,45,0\nb,q,female,50,1\n",
            ("0", "1"),
        ),  # SIIM-ISIC
    ],
)
def test_tables_of_public_sets_are_understood_or_refused_with_the_option(read, text, classes):
    if classes is None:
        with pytest.raises(InputError, match=r"column 'bilirubin' .*--data.columns label=bilirubin"):
            read(text)
        assert read(text, columns=("label=bilirubin",)).classes == ("0", "2")
    else:
        assert read(text).classes == classes


def test_a_table_without_a_heading_shows_none_of_its_cells(read):
    with pytest.raises(
        InputError, match="no column 'file' or 'accession'; the first line has to be a heading"
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
        (["a b/1.png"], "file:///home/a%20b/1.png", "a b/1.png"),
        (["100%25.png", "100%.png"], "100%25.png", "100%25.png"),
        (["a b.png"], "a\u00a0b.png\u200b", "a b.png"),
        (["1.png"], "\uff11.png", "1.png"),
        (["12.png"], "12.0", "12.png"),
        (["a.png"], "a.dcm", "a.png"),
        (["a.jpg", "b.jpg"], "x/a.jpeg", "a.jpg"),
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
