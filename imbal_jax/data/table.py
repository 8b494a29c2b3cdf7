"""A labels table: which row speaks of which file, and what it says.

Messages name rows by number and never quote a cell that may hold a name.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imbal_jax.errors import InputError

NORMAL_NAMES = ("normal", "negative", "no finding", "no_finding")
KEY_COLUMNS = ("file", "accession")


@dataclass(frozen=True)
class Row:
    """One line of the table; ``number`` counts as an editor does, the heading being 1."""

    number: int
    key: str
    patient: str
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    key: str
    has_patients: bool
    classes: tuple[str, ...]
    many: bool
    rows: list[Row]


def read_table(path: Path, classes: Sequence[str] | None) -> Table:
    """The rows of labels.csv with labels as numbers, or InputError naming row and column."""
    name = path.name
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError:
        raise InputError(f"no table {path}: write one with the columns file and label") from None
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8: save it as 'CSV UTF-8'") from None
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    columns = [column.strip() for column in next(reader, [])]
    places = {column.lower(): place for place, column in enumerate(columns)}
    if len(places) != len(columns):
        raise InputError(
            f"{name} has two columns of the same name in its heading, which is its first row: rename one"
        )
    key = next((column for column in KEY_COLUMNS if column in places), None)
    if key is None:
        raise InputError(
            f"{name} has no column 'file' or 'accession': its first row, the heading, has {len(columns)} cells and "
            "none is one of these"
        )
    lines = [
        (reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(map(str.strip, cells))
    ]
    for line, cells in lines:
        if len(cells) != len(columns):
            raise InputError(f"{name} row {line} has {len(cells)} cells under {len(columns)} headings")
        if not cells[places[key]]:
            raise InputError(f"{name} row {line} has nothing in column '{key}'")
    if not lines:
        raise InputError(f"{name} has a heading and no rows")

    many = "label" not in places
    if many:
        others = [column for column in columns if column.lower() not in (*KEY_COLUMNS, "patient")]
        names, labels = many_labels(name, lines, columns, others, classes)
    else:
        names, labels = one_label(name, lines, places["label"], classes)
    patient = places.get("patient")
    rows = [
        Row(line, cells[places[key]], cells[patient] if patient is not None else "", label)
        for (line, cells), label in zip(lines, labels, strict=True)
    ]
    return Table(key, patient is not None, names, many, rows)


Lines = list[tuple[int, list[str]]]


def one_label(
    name: str, lines: Lines, place: int, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """Class names and, per row, the class index."""
    for line, cells in lines:
        if not cells[place]:
            raise InputError(f"{name} row {line} has no label: give one, or remove the row")
    present = {cells[place] for _, cells in lines}
    names = tuple(classes or sorted(present, key=lambda label: (label.lower() not in NORMAL_NAMES, label)))
    index = {label: number for number, label in enumerate(names)}
    for line, cells in lines:
        if cells[place] not in index:
            raise InputError(f"{name} row {line}: its label is not one of {', '.join(names)}")
    return names, [(index[cells[place]],) for _, cells in lines]


def many_labels(
    name: str, lines: Lines, columns: list[str], others: list[str], classes: Sequence[str] | None
) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """Label names and, per row, 1, 0 or -1 for each."""
    names = tuple(classes or others)
    if not names:
        raise InputError(f"{name} has no column 'label' and no label columns; it has: {', '.join(columns)}")
    missing = [label for label in names if label not in others]
    if missing:
        raise InputError(
            f"{name} has no column {', '.join(missing)}; label columns are: {', '.join(others) or 'none'}"
        )
    values = {"": -1, "-1": -1, "-1.0": -1, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
    places = [columns.index(label) for label in names]
    labels = []
    for line, cells in lines:
        for place in places:
            # The cell is not quoted: a column that is no label may hold a name.
            if cells[place] not in values:
                raise InputError(
                    f"{name} row {line}, column '{columns[place]}' holds something else than 1, 0, -1 or nothing: "
                    f"mend it, or name the label columns as classes"
                )
        labels.append(tuple(values[cells[place]] for place in places))
    return names, labels


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
        if (other.labels, other.patient) != (row.labels, row.patient):
            raise InputError(f"rows {other.number} and {row.number} say different things about one file")


def match_names(files: Sequence[str], table: Table) -> tuple[Matches, list[Row]]:
    """Rows that name a file of ``files`` (paths below the folder), and the rows that do not."""
    matches = Matches()
    if table.key != "file":
        return matches, table.rows
    left: list[Row] = []
    known, names = set(files), defaultdict(list)
    for path in files:
        for name in {PurePosixPath(path).name, PurePosixPath(path).name.removesuffix(".dcm")}:
            names[name].append(path)
    for row in table.rows:
        wanted = row.key.replace("\\", "/").removeprefix("./")
        candidates = [path for path in (wanted, f"{wanted}.dcm") if path in known] or names.get(wanted, [])
        if len(candidates) > 1:
            raise InputError(
                f"row {row.number} names a file that {len(candidates)} folders hold: "
                "give its path below the folder"
            )
        if candidates:
            matches.take(candidates[0], row)
        else:
            left.append(row)
    return matches, left


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
