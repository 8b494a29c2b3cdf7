"""Finds the role of each column of a table: by the option, the documented heading or a usual spelling of it."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from imbal_jax.arguments import parse_columns
from imbal_jax.data.tables.cells import label_value, patient_name, split_name
from imbal_jax.data.tables.csv_table import TextTable, spelling
from imbal_jax.data.tables.headings import (
    ABOUT_PERSON,
    NO_LABELS,
    NUMBERING,
    PATHS,
    PERSON,
    PERSON_LIKE,
    SPELLINGS,
)
from imbal_jax.errors import InputError

OPTION = "--data.columns"  # ``imbal-jax ingest``: --columns


@dataclass(frozen=True)
class Columns:
    """The index of the column of each role, None where the table has no such column.

    key: whether ``file`` holds names of files ("file") or accession numbers ("accession").
    person_like: the patient column identifies lesions, cases or studies.
    others: the columns without a role. notes: how the headings were understood, one line each.
    nobody: the option says that no column identifies patients.
    """

    key: str
    file: int
    patient: int | None
    label: int | None
    split: int | None
    person_like: bool
    others: tuple[int, ...]
    notes: tuple[str, ...] = field(default=())
    nobody: bool = False


def find_columns(table: TextTable, words: Sequence[str] = (), classes: Sequence[str] = ()) -> Columns:
    """Which column of ``table`` has which role.

    words: ``ROLE=COLUMN`` each. classes: names that are label columns, whatever else they might be.
    Raises InputError where a column is missing, or where several could be meant, with the option that settles it.
    """
    search = _Search(table, words, classes)
    key, file = search.find_key()
    label = search.find("label", lambda: _label(table, search.headings, search.known("label"), search.used))
    person_like = False
    if "patient" not in search.named:
        person_like = search.find_patient()
    patient, notes = search.places["patient"], []
    if "patient" not in search.named and patient is None and key == "file":
        notes += search.unused_identifiers()
    if "split" not in search.named:
        notes += search.find_split()
    split = search.places["split"]
    understood = {
        "files" if key == "file" else "accessions": (file, key),
        "labels": (label, "label"),
        "splits": (split, "split"),
    }
    for what, (place, documented) in understood.items():
        if place is not None and search.headings[place] != documented:
            notes.append(f"{what} by column {table.headings[place]}")
    others = tuple(place for place in range(len(search.headings)) if place not in search.used)
    nobody = search.named.get("patient") == ""
    return Columns(key, file, patient, label, split, person_like, others, tuple(notes), nobody)


class _Search:
    """The roles that have been given to columns so far.

    named: the option's heading by role. taken: headings that are label columns. places: the column by role, None for
    no such column. used: the columns that have a role.
    """

    def __init__(self, table: TextTable, words: Sequence[str], classes: Sequence[str]) -> None:
        self.table, self.named = table, parse_columns(words)
        self.headings = [spelling(heading) for heading in table.headings]
        self.taken = {spelling(name) for name in classes}
        self.places: dict[str, int | None] = {}
        for role, heading in self.named.items():
            exact = [i for i, column in enumerate(table.headings) if column == heading]
            fits = exact or [
                i for i, column in enumerate(self.headings) if heading and column == spelling(heading)
            ]
            if heading and not fits:
                raise InputError(f"{table.name} has no column {heading!r}, which {OPTION} names for {role}")
            self.places[role] = fits[0] if heading else None
        self.used = {place for place in self.places.values() if place is not None}

    def candidates(self, names: Iterable[str]) -> list[int]:
        """The columns with these headings that are not used yet, in the order of ``names``."""
        free = (name for name in names if name in self.headings and name not in self.taken)
        return [place for name in free if (place := self.headings.index(name)) not in self.used]

    def known(self, role: str) -> list[int]:
        return self.candidates(SPELLINGS[role])

    def find(self, role: str, found: Callable[[], int | None]) -> int | None:
        """The column of ``role``: the one that the option names, else what ``found`` returns."""
        place = self.places[role] if role in self.named else found()
        self.places[role] = place
        if place is not None:
            self.used.add(place)
        return place

    def find_key(self) -> tuple[str, int]:
        """Whether rows name files or accession numbers, and in which column."""
        key = next((role for role in ("file", "accession") if self.named.get(role)), None)
        if key is None:
            for role in ("file", "accession"):
                found = self.known(role) if role not in self.named else []
                if role == "file" and role not in self.named and not found:
                    found = self.candidates(PATHS)
                if found and key is None:
                    key, self.places[role] = role, _only(self.table, role, found)
        place = self.places[key] if key is not None else None
        if key is None or place is None:
            # If no heading is known, the first line may be data: its cells are not shown.
            known = any(heading in names for names in SPELLINGS.values() for heading in self.headings)
            has = (
                f"it has: {', '.join(self.table.headings)}" if known else "the first line has to be a heading"
            )
            raise InputError(
                f"{self.table.name} has no column 'file' or 'accession'; {has}; name the column of the files, "
                f"{OPTION} file=COLUMN"
            )
        self.used.add(place)
        return key, place

    def find_patient(self) -> bool:
        """Find the patient column by its heading; returns whether it identifies lesions, cases or studies."""
        names = [name for name in self.headings if PERSON.search(name) and not ABOUT_PERSON.search(name)]
        found = self.known("patient") or self.candidates(names)
        if found:
            self.find("patient", lambda: _same_people(self.table, found))
            return False
        found = [place for place in self.candidates(PERSON_LIKE) if _parts_rows(self.table, place)]
        return self.find("patient", lambda: _coarsest(self.table, found) if found else None) is not None

    def unused_identifiers(self) -> list[str]:
        """Notes on columns that may identify patients and whose headings are not understood."""
        return [
            f"column {column} is not used: if it identifies patients, add {OPTION} patient={column}"
            for place, (column, heading) in enumerate(zip(self.table.headings, self.headings, strict=True))
            if place not in self.used and heading not in {*NO_LABELS, *self.taken}
            if _groups_rows(self.table, place)
        ]

    def find_split(self) -> list[str]:
        """Find the split column; returns notes on columns whose heading is a split's and whose cells are not."""
        found = self.known("split")
        naming = [place for place in found if _names_splits(self.table, place)]
        exact = [place for place in found if self.headings[place] == "split"]
        if not found:
            free = [place for place in range(len(self.headings)) if place not in self.used]
            naming = [
                place
                for place in free
                if self.headings[place] not in self.taken and _is_split(self.table, place)
            ]
            if any(_names_splits(self.table, place) for place in naming):
                naming = [place for place in naming if _names_splits(self.table, place)]
        if len(naming) > 1 and not exact:
            raise InputError(_choose(self.table, "split", naming))
        chosen = exact or naming
        self.find("split", lambda: chosen[0] if chosen else None)
        return [
            f"column {self.table.headings[place]} names no train, validation and test: not used as a split"
            for place in found
            if place not in naming and place not in exact
        ]


def _only(table: TextTable, role: str, found: list[int]) -> int:
    if len(found) == 1 or spelling(table.headings[found[0]]) == SPELLINGS[role][0]:
        return found[0]
    raise InputError(_choose(table, role, found))


def _choose(table: TextTable, role: str, found: Sequence[int]) -> str:
    names = [table.headings[place] for place in found]
    return (
        f"{table.name} has several columns that may be the {role}: {', '.join(names)}; say which, "
        f"{OPTION} {role}={names[0]}"
    )


def _label(table: TextTable, headings: list[str], found: list[int], used: set[int]) -> int | None:
    """The column of one label; another than ``label`` only where no other column could be one of many labels."""
    if not found:
        return None
    place = _only(table, "label", found)
    if headings[place] != "label":
        beside = [
            other
            for other in range(len(headings))
            if other not in used and other not in found and headings[other] not in NO_LABELS
            if _binary(table, other)
        ]
        if beside:
            raise InputError(
                f"{table.name} has a column {table.headings[place]} and {len(beside)} columns of 0 and 1: for one "
                f"label an image say {OPTION} label={table.headings[place]}, for many --data.classes A B"
            )
    return place


def _binary(table: TextTable, place: int) -> bool:
    return all(label_value(cells[place]) is not None for _, cells in table.rows)


def _same_people(table: TextTable, found: list[int]) -> int:
    """The first of the columns that group the rows by the same people."""
    first = found[0]
    for other in found[1:]:
        pairs = {(patient_name(cells[first]), patient_name(cells[other])) for _, cells in table.rows}
        if not len({one for one, _ in pairs}) == len({two for _, two in pairs}) == len(pairs):
            raise InputError(_choose(table, "patient", found))
    return first


def _parts_rows(table: TextTable, place: int) -> bool:
    """Whether the column distinguishes some of the rows, and is more than a row number."""
    names = [name for _, cells in table.rows if (name := patient_name(cells[place]))]
    if spelling(table.headings[place]) in NUMBERING and len({*names}) == len(names):
        return False
    return len({*names}) > 1 or len(table.rows) < 3


def _groups_rows(table: TextTable, place: int) -> bool:
    """Whether the column holds identifiers, by its heading, that few rows each share."""
    names = [patient_name(cells[place]) for _, cells in table.rows]
    found = re.search(
        "(id|uid|key|code|name|nr|no|number|wsi|session|acc|patient)$", spelling(table.headings[place])
    )
    return found is not None and len(names) > len({*names}) >= max(2, len(names) / 20)


def _coarsest(table: TextTable, found: list[int]) -> int:
    """Of columns of lesions, cases, studies the one whose groups hold those of all others whole."""
    if len(found) == 1:
        return found[0]
    for place in found:
        if all(_holds(table, place, other) for other in found):
            return place
    raise InputError(_choose(table, "patient", found))


def _holds(table: TextTable, place: int, other: int) -> bool:
    """Whether images of one ``other`` are of one ``place``."""
    pairs = {(patient_name(cells[place]), patient_name(cells[other])) for _, cells in table.rows}
    pairs = {pair for pair in pairs if pair[1]}
    return len(pairs) == len({one for _, one in pairs})


def _is_split(table: TextTable, place: int) -> bool:
    """Whether a column of no known heading is a split: its cells name nothing else; or it is train, yes or no."""
    words = {split_name(cells[place]) for _, cells in table.rows}
    if None not in words:
        return len(words - {""}) > 1
    heading = spelling(table.headings[place])
    return re.fullmatch(
        "(is|in)(train|training|val|valid|validation|test|testing)(set|image|split|ing)*", heading
    ) is not None and _binary(table, place)


def _names_splits(table: TextTable, place: int) -> bool:
    words = {split_name(cells[place]) for _, cells in table.rows}
    return bool(words - {None, ""})
