"""A labels table: which row speaks of which file, and what it says.

Messages name rows by number and never quote a cell that may hold a name.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from imbal_jax.data.labels import MISSING, UNCERTAIN
from imbal_jax.data.tables.cells import (
    class_spelling,
    is_missing,
    is_shortened,
    is_unsure,
    label_value,
    patient_name,
    plain_text,
    says_nothing,
    split_name,
    whole_number,
)
from imbal_jax.data.tables.columns import NO_LABELS, Columns, find_columns
from imbal_jax.data.tables.csv_table import TextTable, read_table_text, spelling
from imbal_jax.errors import InputError

NORMAL_NAMES = ("normal", "negative", "nofinding", "nofindings")
ENDINGS = ("dcm", "dicom", "png", "jpg", "jpeg", "tif", "tiff", "bmp")  # that a table may leave out
LabelKind = Literal["auto", "one", "many"]
UNKNOWN_SPLIT = "?"
EXCLUSIVE_ROWS = 3  # of fewer, it is chance that each has one 1


@dataclass(frozen=True)
class Row:
    """One line of the table; ``number`` counts as an editor does, the heading being 1.

    patient: in one spelling (``cells.patient_name``), "" where the table does not say. split: train, validation,
    test, "" where the cell is empty, or UNKNOWN_SPLIT.
    """

    number: int
    key: str
    patient: str
    labels: tuple[int, ...]
    split: str = ""


@dataclass(frozen=True)
class Table:
    """key: "file" or "accession". patient_column, split_column: headings, "" where there is none such.
    person_like: the patient's column is a lesion's, a case's or a study's. notes: lines on how it was understood."""

    key: str
    patient_column: str
    classes: tuple[str, ...]
    many: bool
    rows: list[Row]
    split_column: str = ""
    person_like: bool = False
    notes: tuple[str, ...] = ()

    @property
    def has_patients(self) -> bool:
        return bool(self.patient_column)


def read_table(
    path: Path,
    classes: Sequence[str] | None = None,
    *,
    columns: Sequence[str] = (),
    label_kind: LabelKind = "auto",
) -> Table:
    """The rows of labels.csv with labels as numbers, or InputError naming row and column.

    classes: the class names, or the label columns, and their order. columns: ``ROLE=COLUMN`` each, for headings that
    are not understood. label_kind: of a table with a column a label: one label an image, many, or one where every row
    has just one 1 ("auto").
    """
    text = read_table_text(path, absent="write one with the columns file and label")
    found = find_columns(text, columns, classes or ())
    for line, cells in text.rows:
        if is_missing(cells[found.file]):
            raise InputError(f"{text.name} row {line} has nothing in column '{text.headings[found.file]}'")
    notes = list(found.notes)
    if found.label is None:
        names, labels, said = many_labels(text, found, classes)
        notes += said
        many = label_kind == "many" or (label_kind == "auto" and not exclusive(labels))
        if not many:
            names, labels, said = from_exclusive(text, names, labels, keep_order=bool(classes))
            notes += said if label_kind == "auto" else []
    else:
        names, labels, said = one_label(text, found.label, classes)
        notes += said
        unused = [text.headings[place] for place in found.others]
        notes += [f"columns not used: {', '.join(unused)}"] if unused else []
        many = False
    patient, split = found.patient, found.split
    heading = text.headings[patient] if patient is not None else ""
    persons = [cells[patient] if patient is not None else "" for _, cells in text.rows]
    if shortened := [line for (line, _), cell in zip(text.rows, persons, strict=True) if is_shortened(cell)]:
        raise InputError(
            f"{text.name} row {shortened[0]}, column '{heading}' holds a number in short form, as 1.2E+11: its last "
            "digits may be lost, and several patients be one: write identifiers as text"
        )
    person_like = found.person_like
    by_path = patient is None and found.key == "file" and not found.nobody
    if by_path and (told := patients_by_path([cells[found.file] for _, cells in text.rows])):
        persons, by = told
        heading, person_like = text.headings[found.file], True
        notes.append(f"patients by {by} in column {heading}; if it is not so, --data.columns patient=")
    rows = []
    for (line, cells), label, person in zip(text.rows, labels, persons, strict=True):
        key = cells[found.file] if found.key == "file" else patient_name(cells[found.file])
        who = patient_name(person)
        part = split_name(cells[split]) if split is not None else ""
        rows.append(Row(line, key, who, label, UNKNOWN_SPLIT if part is None else part))
    return Table(
        key=found.key,
        patient_column=heading,
        classes=names,
        many=many,
        rows=rows,
        split_column=text.headings[split] if split is not None else "",
        person_like=person_like,
        notes=tuple(notes),
    )


_PATIENT_NAME = re.compile(r"((?:patient|pat|subject|subj|sub|participant)[-_ ]?\d+)(?![^\W_])")
_MIMIC_PATIENT = re.compile(r"p\d{8}")
_EYE = re.compile(r"(.*[^\W_])[-_ ](?:left|right|l|r|od|os)")


def patients_by_path(keys: Sequence[str]) -> tuple[list[str], str] | None:
    """The patients that all paths name, as ``patient00001/study1/1.jpg`` or ``10_left``, and by what; else None."""
    paths = [name_parts(key) for key in keys]
    named = [
        next((found[1] for part in path if (found := _PATIENT_NAME.match(part))), "")
        or next((part for part in path[:-1] if _MIMIC_PATIENT.fullmatch(part)), "")
        for path in paths
    ]
    if all(named) and len(set(named)) > 1:
        return named, "the patient's name"
    eyes = [_EYE.fullmatch(without_ending(path[-1])) if path else None for path in paths]
    if all(eyes) and len(paths) > 1:
        ends = {
            without_ending(path[-1]).rpartition(found[1])[2]
            for path, found in zip(paths, eyes, strict=True)
            if found
        }
        if len(ends) > 1:
            return [found[1] for found in eyes if found], "what stands before left and right"
    return None


Labels = list[tuple[int, ...]]


def one_label(
    text: TextTable, place: int, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Labels, list[str]]:
    """Class names, the class index of each row, and lines on spellings that were read as one."""
    lines = [(line, cells[place]) for line, cells in text.rows]
    if classes:
        exact = {name: number for number, name in enumerate(classes)}
        alike: dict[str, set[int]] = defaultdict(set)
        for name, number in exact.items():
            alike[class_spelling(name)].add(number)
        labels: Labels = []
        for line, cell in lines:
            fits = {exact[cell]} if cell in exact else alike.get(class_spelling(cell), set())
            if len(fits) != 1:
                if is_missing(cell):
                    raise InputError(f"{text.name} row {line} has no label: give one, or remove the row")
                raise InputError(f"{text.name} row {line}: its label is not one of {', '.join(classes)}")
            labels.append((min(fits),))
        return tuple(classes), labels, []

    for line, cell in lines:
        if says_nothing(cell):
            raise InputError(
                f"{text.name} row {line} has no label: give one, or remove the row; a class called none or NA "
                "needs another name"
            )
    check_several(text, lines)
    check_signs(text, lines)
    numbers = [
        label_value(cell) is not None or whole_number(plain_text(cell)) is not None for _, cell in lines
    ]
    unsure = [line for line, cell in lines if is_unsure(cell)]
    if unsure and sum(numbers) == len(lines) - len(unsure) > 0:
        raise InputError(
            f"{text.name} row {unsure[0]} has a word for unknown among labels that are numbers, or yes and no: "
            "remove the row, or name the classes, --data.classes 0 1 unknown, if it is one"
        )
    spelled = [class_spelling(cell) for _, cell in lines]
    if len(set(spelled)) > 2 and all(label_value(cell) is not None for _, cell in lines):
        spelled = [str(label_value(cell)) for _, cell in lines]  # True beside 1, y beside yes
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for one, (_, cell) in zip(spelled, lines, strict=True):
        forms[one][plain_text(cell)] += 1
    shown = {
        one: one if whole_number(one) is not None else max(counts, key=lambda form: (counts[form], form))
        for one, counts in forms.items()
    }
    if all(whole_number(one) is not None for one in forms):
        order = sorted(forms, key=int)
    else:
        order = sorted(forms, key=lambda one: (spelling(one) not in NORMAL_NAMES, shown[one]))
    notes = [
        f"labels in {len(forms[one])} spellings are read as one class, {shown[one]}"
        for one in order
        if len(forms[one]) > 1
    ]
    index = {one: number for number, one in enumerate(order)}
    return tuple(shown[one] for one in order), [(index[one],) for one in spelled], notes


def check_several(text: TextTable, lines: list[tuple[int, str]]) -> None:
    """Refuse cells of several labels: with a bar, in brackets, or classes of other rows with a mark between them."""
    alone = {class_spelling(cell) for _, cell in lines}
    for line, cell in lines:
        mark = "|" if "|" in cell else "[" if re.fullmatch(r"\[('.*')?\]", cell) else ""
        for one in ";,+&/":
            parts = [class_spelling(part) for part in cell.split(one)]
            if not mark and len(parts) > 1 and alone.issuperset(parts) and class_spelling(cell) not in parts:
                mark = one
        if mark:
            raise InputError(
                f"{text.name} row {line}: its label holds '{mark}': for several labels give each a column of 1 and 0"
            )


def check_signs(text: TextTable, lines: list[tuple[int, str]]) -> None:
    """Refuse numbers below 0 in a column of one label: is it a class, is it uncertain, or nothing?"""
    numbers = [(line, whole_number(plain_text(cell))) for line, cell in lines]
    signed = [line for line, number in numbers if number in (UNCERTAIN, MISSING)]
    if not signed:
        for line, number in numbers:
            if number is not None and number < 0:
                raise InputError(
                    f"{text.name} row {line}: the label is a number below 0: if it says that there is none, "
                    "remove the row, if it is a class, name the classes, --data.classes -9 0 1"
                )
        return
    if {number for _, number in numbers} == {-1, 1}:
        raise InputError(
            f"{text.name} row {signed[0]}: the label column holds -1 and 1 and no 0: write 0 for the negatives, "
            "(label + 1) / 2, or name the classes, --data.classes -1 1"
        )
    raise InputError(
        f"{text.name} row {signed[0]}: the label is -1 or -2, uncertain or missing, and an image has one label here: "
        "remove the row; or call the column by the finding's name, then it is read as 1, 0, -1 (uncertain) and "
        "nothing (missing)"
    )


def many_labels(
    text: TextTable, found: Columns, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Labels, list[str]]:
    """Label names, for each row 1, 0, -1 or -2 for each, and a line on columns that are no labels."""
    places = {spelling(text.headings[place]): place for place in found.others}
    notes: list[str] = []
    if classes:
        missing = [name for name in classes if spelling(name) not in places]
        if missing:
            there = [text.headings[place] for place in found.others]
            raise InputError(
                f"{text.name} has no column {', '.join(missing)}; label columns are: {', '.join(there) or 'none'}"
            )
        names = tuple(classes)
        chosen = [places[spelling(name)] for name in names]
    else:
        chosen = [place for place in found.others if spelling(text.headings[place]) not in NO_LABELS]
        names = tuple(text.headings[place] for place in chosen)
        left = [text.headings[place] for place in found.others if place not in chosen]
        notes += [f"columns that are no labels by their name, not used: {', '.join(left)}"] if left else []
    if not names:
        raise InputError(
            f"{text.name} has no column 'label' and no label columns; it has: {', '.join(text.headings)}; say which "
            "one, --data.columns label=COLUMN"
        )
    labels: Labels = []
    for line, cells in text.rows:
        values = [label_value(cells[place]) for place in chosen]
        if None in values:
            # The cell is not quoted: a column that is no label may hold a name.
            place = chosen[values.index(None)]
            raise InputError(
                f"{text.name} row {line}, column '{text.headings[place]}' holds something else than 1, 0, -1 or "
                "nothing: correct it, or name the label columns, --data.classes A B, or the column of one label an "
                f"image, --data.columns label={text.headings[place]}"
            )
        labels.append(tuple(value for value in values if value is not None))
    for number, name in enumerate(names):
        if {row[number] for row in labels} == {-1, 1}:
            raise InputError(
                f"{text.name}, column '{name}' holds -1 and 1 and no 0: write 0 for the negatives, (label + 1) / 2, "
                "or leave the cells of uncertain labels empty"
            )
    uncertain, absent = (sum(row.count(value) for row in labels) for value in (UNCERTAIN, MISSING))
    if uncertain or absent:
        notes.append(f"label cells: {uncertain} uncertain (-1), {absent} missing (empty)")
    return names, labels, notes


def exclusive(labels: Labels) -> bool:
    """Whether every row has just one 1, and otherwise 0: classes of which an image has one."""
    one_hot = all(row.count(1) == 1 and row.count(0) == len(row) - 1 for row in labels)
    return one_hot and len(labels) >= EXCLUSIVE_ROWS and len(labels[0]) > 1


def from_exclusive(
    text: TextTable, names: tuple[str, ...], labels: Labels, *, keep_order: bool
) -> tuple[tuple[str, ...], Labels, list[str]]:
    """One label of columns of which one holds 1; the normal class first, otherwise in the order of the columns."""
    for (line, _), row in zip(text.rows, labels, strict=True):
        if row.count(1) != 1 or row.count(0) != len(row) - 1:
            raise InputError(
                f"{text.name} row {line} has not just one 1 among {len(names)} label columns: "
                "for many labels an image say --data.label-kind many"
            )
    order = list(range(len(names)))
    if not keep_order:
        order.sort(key=lambda place: spelling(names[place]) not in NORMAL_NAMES)
    note = f"one label an image: each row has one 1 in {len(names)} label columns; for many --data.label-kind many"
    return tuple(names[place] for place in order), [(order.index(row.index(1)),) for row in labels], [note]


def check_classes(table: Table) -> None:
    """Refuse a column of names or numbers that was taken for classes: they would be written into the data set."""
    if not table.many and len(table.rows) >= 10 and 2 * len(table.classes) > len(table.rows):
        raise InputError(
            f"column 'label' has {len(table.classes)} different values in {len(table.rows)} rows: "
            "is it an identifier? name the classes, --classes A B"
        )


# Rows and files


class Matches:
    """The row of each file. ``take`` raises InputError where two rows contradict each other about one file."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def take(self, path: str, row: Row) -> None:
        other = self.rows.setdefault(path, row)
        if (other.labels, other.patient, other.split) != (row.labels, row.patient, row.split):
            what = next(
                name for name in ("labels", "patient", "split") if getattr(other, name) != getattr(row, name)
            )
            raise InputError(
                f"rows {other.number} and {row.number} say different things about one file, its {what}: keep one"
            )


def name_parts(path: str, *, fold: bool = True) -> tuple[str, ...]:
    """The folders and the name of a path in one form, its drive, root and ``..`` left out."""
    path = path.replace("\\", "/").strip()
    text = plain_text(path) if fold else unicodedata.normalize("NFC", path)
    if ":" in text:
        text = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*:/*", "", text)  # C:/ and file:///
    text = text.casefold() if fold else text
    return tuple(part for part in text.split("/") if part not in ("", ".", ".."))


def without_ending(name: str) -> str:
    """A name without the ending that a table may leave out."""
    stem, _, ending = name.rpartition(".")
    return stem if stem and ending.lower() in ENDINGS else name


def match_names(files: Sequence[str], table: Table) -> tuple[Matches, list[Row]]:
    """Rows that name a file of ``files`` (paths below the folder), and the rows that do not.

    A row's name fits a file where one of the two paths ends with the other, folder by folder: the name alone, a path
    below the folder, an absolute path, a path from a folder above. Its ending may be left out; case, space and the
    normal form of Unicode may differ. What fits nothing is tried as if %20 stood for a blank, 12.0 for 12, and a.dcm
    for a.png. Where several files fit, those win that fit without these liberties. Raises InputError where still
    several do, and where two rows name one file by different paths.
    """
    matches = Matches()
    if table.key != "file":
        return matches, table.rows
    left: list[Row] = []
    known = set(files)
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in files:
        name = name_parts(path)[-1]
        for one in {name, without_ending(name)}:
            by_name[one].append(path)
    named: dict[str, tuple[tuple[str, ...], Row]] = {}
    for row in table.rows:
        wanted = row.key.replace("\\", "/").removeprefix("./")
        candidates = [wanted] if wanted in known else []
        parts = name_parts(row.key)
        if not candidates and parts:
            there = by_name.get(parts[-1], [])
            candidates = there if len(there) == len(parts) == 1 else fitting(row.key, there)
            for other_key in other_keys(row.key) if not candidates else ():
                candidates = fitting(other_key, by_name.get(name_parts(other_key)[-1], []))
                if candidates:
                    break
        if len(candidates) > 1:
            raise InputError(
                f"row {row.number} names a file that {len(candidates)} folders hold, or that fits {len(candidates)} "
                "files: give its path below the folder, and its ending"
            )
        if not candidates:
            left.append(row)
            continue
        # Of two rows b/1.png and c/1.png, one cannot mean the file 1.png.
        length = candidates[0].count("/") + 1
        longer, other = named.setdefault(candidates[0], (parts, row))
        if len(parts) > length < len(longer) and longer != parts:
            raise InputError(
                f"rows {other.number} and {row.number} name one file in two folders: give paths below the folder"
            )
        matches.take(candidates[0], row)
    return matches, left


def other_keys(key: str) -> Iterator[str]:
    """What else a file's name may have been, before an export or a program wrote it as ``key``."""
    if re.search("%[0-9a-fA-F]{2}", key):
        yield unquote(key)
    if re.fullmatch(r"\d+\.0", key):
        yield key[:-2]
    folders, mark, name = key.replace("\\", "/").rpartition("/")
    if without_ending(name) != name:
        yield folders + mark + without_ending(name)


def fitting(key: str, files: Sequence[str]) -> list[str]:
    """Those of ``files``, all of this name, whose path fits ``key`` best."""
    for fold in (False, True):
        wanted = name_parts(key, fold=fold)
        for stem in (lambda name: name, without_ending):
            fits = []
            for path in files:
                *folders, name = name_parts(path, fold=fold)
                there = (*folders, stem(name))
                shorter = min(len(there), len(wanted))
                if there[-shorter:] == wanted[-shorter:]:
                    fits.append(path)
            if fits:
                whole = [path for path in fits if len(name_parts(path)) == len(wanted)]
                return whole if len(wanted) > 1 and whole else fits
    return []


def match_headers(matches: Matches, rows: Sequence[Row], paths: Mapping[str, Sequence[str]]) -> list[Row]:
    """Give ``rows`` the files whose header holds their key; returns the rows that have none.

    paths: the files of each key, a SOPInstanceUID or AccessionNumber (``header_keyword``).
    """
    for row in rows:
        for path in paths.get(row.key, ()):
            matches.take(path, row)
    return [row for row in rows if not paths.get(row.key)]


def header_keyword(table: Table) -> str:
    """The attribute that a row's key stands for where it is no file name."""
    return "SOPInstanceUID" if table.key == "file" else "AccessionNumber"
