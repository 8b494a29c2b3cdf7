"""The labels table: one row a file or study, with its labels, its patient and its split.

Messages name rows by number and never quote a cell that may hold a name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from imbal_jax.data.labels import LabelLayout
from imbal_jax.data.tables.cells import is_missing, is_shortened, patient_name, split_name
from imbal_jax.data.tables.columns import Columns, find_columns
from imbal_jax.data.tables.csv_table import TextTable
from imbal_jax.data.tables.file_names import patients_by_path
from imbal_jax.data.tables.label_columns import Labels, exclusive, from_exclusive, many_labels, one_label
from imbal_jax.errors import InputError

LabelKind = Literal["auto", "one", "many"]
UNKNOWN_SPLIT = "?"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    number: as an editor counts lines, the heading being 1.
    key: the file's path, name or SOPInstanceUID, or the AccessionNumber.
    patient: in one spelling (``cells.patient_name``), "" where the table does not say.
    split: train, validation, test, "" where the cell is empty, or UNKNOWN_SPLIT.
    """

    number: int
    key: str
    patient: str
    labels: tuple[int, ...]
    split: str = ""


@dataclass(frozen=True)
class Table:
    """A labels table whose cells have been understood.

    key: what the rows name, "file" or "accession".
    patient_column, split_column: headings, "" where there is no such column.
    many: whether an image has many labels.
    person_like: the patient column identifies lesions, cases or studies.
    numbered: the rows have numbers that a user can look up; those of folders (``class_folders``) have none.
    notes: how the table was understood, one line each.
    """

    key: str
    patient_column: str
    classes: tuple[str, ...]
    many: bool
    rows: list[Row]
    split_column: str = ""
    person_like: bool = False
    numbered: bool = True
    notes: tuple[str, ...] = ()

    @property
    def has_patients(self) -> bool:
        return bool(self.patient_column)

    @property
    def patients(self) -> np.ndarray | None:
        """int [N], the patient of each row, where a row without one is its own; None where no row has one."""
        if not any(row.patient for row in self.rows):
            return None
        numbers: dict[object, int] = {}
        return np.array([numbers.setdefault(row.patient or row.number, len(numbers)) for row in self.rows])

    @property
    def layout(self) -> LabelLayout:
        return LabelLayout(self.classes, self.many)


def labels_table(
    text: TextTable,
    classes: Sequence[str] | None = None,
    *,
    columns: Sequence[str] = (),
    label_kind: LabelKind = "auto",
) -> Table:
    """The rows of a table with labels as numbers.

    classes: the class names, or the label columns, and their order.
    columns: ``ROLE=COLUMN`` each, for headings that are not understood.
    label_kind: how to read a table with one column a label: "one" label an image, "many", or "auto", which takes one
        where every row has exactly one 1.
    Raises InputError naming row and column.
    """
    found = find_columns(text, columns, classes or ())
    for line, cells in text.rows:
        if is_missing(cells[found.file]):
            raise InputError(
                f"{text.name} row {line} has an empty cell in column '{text.headings[found.file]}': fill it in, or "
                "remove the row"
            )
    names, labels, many, label_notes = _labels(text, found, classes, label_kind)
    persons, patient_column, person_like, patient_notes = _patients(text, found)
    split = found.split
    rows = []
    for (line, cells), label, person in zip(text.rows, labels, persons, strict=True):
        key = cells[found.file] if found.key == "file" else patient_name(cells[found.file])
        part = split_name(cells[split]) if split is not None else ""
        rows.append(Row(line, key, patient_name(person), label, UNKNOWN_SPLIT if part is None else part))
    return Table(
        key=found.key,
        patient_column=patient_column,
        classes=names,
        many=many,
        rows=rows,
        split_column=text.headings[split] if split is not None else "",
        person_like=person_like,
        notes=(*found.notes, *label_notes, *patient_notes),
    )


def _labels(
    text: TextTable, found: Columns, classes: Sequence[str] | None, kind: LabelKind
) -> tuple[tuple[str, ...], Labels, bool, list[str]]:
    """Class names, the labels of each row, whether an image has many, and notes."""
    if found.label is not None:
        names, labels, notes = one_label(text, found.label, classes)
        unused = [text.headings[place] for place in found.others]
        notes += [f"columns not used: {', '.join(unused)}"] if unused else []
        return names, labels, False, notes
    names, labels, notes = many_labels(text, found, classes)
    if kind == "many" or (kind == "auto" and not exclusive(labels)):
        return names, labels, True, notes
    names, labels, note = from_exclusive(text, names, labels, keep_order=bool(classes))
    return names, labels, False, notes + (note if kind == "auto" else [])


def _patients(text: TextTable, found: Columns) -> tuple[list[str], str, bool, list[str]]:
    """The patient's cell of each row, the column's heading, whether it is person-like, and notes."""
    patient = found.patient
    heading = text.headings[patient] if patient is not None else ""
    persons = [cells[patient] if patient is not None else "" for _, cells in text.rows]
    if shortened := [line for (line, _), cell in zip(text.rows, persons, strict=True) if is_shortened(cell)]:
        raise InputError(
            f"{text.name} row {shortened[0]}, column '{heading}' holds a number in short form, as 1.2E+11: its last "
            "digits may be lost, and several patients may look like one: write identifiers as text"
        )
    by_path = patient is None and found.key == "file" and not found.nobody
    if by_path and (told := patients_by_path([cells[found.file] for _, cells in text.rows])):
        persons, by = told
        heading = text.headings[found.file]
        note = f"patients by {by} in column {heading}; if it does not identify patients, add --data.columns patient="
        return persons, heading, True, [note]
    return persons, heading, found.person_like, []


def check_classes(table: Table) -> None:
    """Refuse a column of names or numbers that was taken for classes: they would be written into the data set."""
    if not table.many and len(table.rows) >= 10 and 2 * len(table.classes) > len(table.rows):
        raise InputError(
            f"column 'label' has {len(table.classes)} different values in {len(table.rows)} rows: "
            "is it an identifier? name the classes, --classes A B"
        )
