"""What a cell says, with pandas as the witness of what programs write for nothing."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
from pandas._libs.parsers import STR_NA_VALUES

from imbal_jax.data.tables.cells import (
    class_spelling,
    is_missing,
    label_value,
    patient_likeness,
    patient_name,
    split_name,
)


def test_everything_that_pandas_reads_as_nothing_is_missing():
    for word in [*STR_NA_VALUES, "NaT", "  nan ", "NONE", "\u00a0", "\u200b"]:
        assert is_missing(word), word
        assert label_value(word) == -2
        assert patient_name(word) == ""
    for written in (None, np.nan, pd.NA, pd.NaT, float("nan")):
        assert is_missing(str(written))
    for word in ("0", "no", "nobody", "Nancy", "normal", "-", "unknown"):
        assert not is_missing(word)


@pytest.mark.parametrize(
    ("value", "cells"),
    [
        (
            1,
            [
                "1",
                "1.0",
                "1.00",
                "+1",
                " 1 ",
                "1,0",
                "1e0",
                "1.000000000000000000e+00",
                "True",
                "TRUE",
                "yes",
                "Positive",
                "\uff11",
            ],
        ),
        (0, ["0", "0.0", "-0.0", "0,0", "False", "false", "no", "00"]),
        (-1, ["-1", "-1.0", "-1,0", "\u22121", "\u20131"]),
        (-2, ["-2", "-2.0", "", "nan", "<NA>"]),
        (None, ["2", "0.5", "-3", "x", "1 2", "0x1", "1_0", "inf", "1e400", "\u0661\u0661"]),
    ],
)
def test_label_values_in_every_form(value, cells):
    for cell in cells:
        assert label_value(cell) == value, cell


def test_labels_survive_every_type_of_pandas_column():
    for kind in ("int64", "float64", "bool", "Int64", "boolean", "object"):
        text = pd.DataFrame({"a": pd.Series([1, 0, 1], dtype=kind)}).to_csv(index=False).split()[1:]
        assert [label_value(cell) for cell in text] == [1, 0, 1]


def test_one_class_in_several_spellings():
    assert len({class_spelling(word) for word in ("normal", "NORMAL", " Normal ", "nor\u200bmal")}) == 1
    assert len({class_spelling(word) for word in ("1", "1.0", "01", " 1")}) == 1
    both = [unicodedata.normalize(form, "gr\u00f6\u00dfe \u00fc") for form in ("NFC", "NFD", "NFKC", "NFKD")]
    assert len({class_spelling(word) for word in both}) == 1
    assert class_spelling("no  finding") == class_spelling("No\u00a0Finding")
    assert class_spelling("1.5") != class_spelling("1")
    assert class_spelling("stage 1") != class_spelling("stage 2")


def test_patients_in_one_spelling_and_those_that_look_alike():
    assert patient_name(" M\u00fcller  1 ") == patient_name(unicodedata.normalize("NFD", "M\u00fcller 1"))
    assert patient_name("17.0") == patient_name("17")  # a column of floats, because one cell is empty
    assert patient_name("17,0") == patient_name("17.") == "17"
    for nobody in ("?", "-", "#DIV/0!", "Unknown", "ANONYMOUS", "n.a.", "-1", "-9.0"):
        assert patient_name(nobody) == ""
    assert patient_name("001") != patient_name("1")
    assert patient_name("a") != patient_name("A")
    for one, other in (("001", "1"), ("p-7", "P7"), ("Anna B", "anna_b"), ("P007", "p7")):
        assert patient_likeness(one) == patient_likeness(other)
    for one, other in (("10", "1"), ("100", "1"), ("p1", "p2"), ("1-12", "11-2"), ("1.2", "12")):
        assert patient_likeness(one) != patient_likeness(other)


def test_splits_by_their_usual_names():
    assert [split_name(word) for word in ("Train", "training", "VAL", "valid", "dev", "test", "Testing")] == [
        "train", "train", "validation", "validation", "validation", "test", "test"
    ]  # fmt: skip
    for word in ("train_set", "Training Set", "train2017", "train-images", "TrainSplit"):
        assert split_name(word) == "train", word
    for word in ("hold-out", "Test data", "test_dataset"):
        assert split_name(word) == "test", word
    assert {split_name(word) for word in ("dataset", "data", "images", "eval", "external test", "0")} == {
        None
    }
    assert (split_name(""), split_name("nan"), split_name("3"), split_name("x")) == ("", "", None, None)
