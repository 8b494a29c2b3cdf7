"""Labels from the cells of a table: one column that names the class, or a column for each of many labels.

Messages name rows by number and never quote a cell that may hold a name.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from imbal_jax.data.labels import MISSING, UNCERTAIN
from imbal_jax.data.tables.cells import (
    class_spelling,
    is_missing,
    is_unsure,
    label_value,
    plain_text,
    says_nothing,
    whole_number,
)
from imbal_jax.data.tables.columns import Columns
from imbal_jax.data.tables.csv_table import TextTable, spelling
from imbal_jax.data.tables.headings import NO_LABELS
from imbal_jax.errors import InputError

NORMAL_NAMES = ("normal", "negative", "nofinding", "nofindings")
EXCLUSIVE_ROWS = 3  # with fewer rows, one 1 in each may be chance

Labels = list[tuple[int, ...]]


def one_label(
    text: TextTable, place: int, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], Labels, list[str]]:
    """Class names, the class index of each row, and notes on spellings that were read as one class."""
    lines = [(line, cells[place]) for line, cells in text.rows]
    if classes:
        return tuple(classes), _given_classes(text, lines, classes), []
    _check_one_label(text, lines)
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


def _given_classes(text: TextTable, lines: list[tuple[int, str]], classes: Sequence[str]) -> Labels:
    """The index in ``classes`` of each cell."""
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
    return labels


def _check_one_label(text: TextTable, lines: list[tuple[int, str]]) -> None:
    """Refuse cells that are no name of a class: empty, several labels, negative numbers, unknown beside numbers."""
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
    """Refuse numbers below 0 in a column of one label: they may mean a class, uncertain, or missing."""
    numbers = [(line, whole_number(plain_text(cell))) for line, cell in lines]
    signed = [line for line, number in numbers if number in (UNCERTAIN, MISSING)]
    if not signed:
        for line, number in numbers:
            if number is not None and number < 0:
                raise InputError(
                    f"{text.name} row {line}: the label is a number below 0: if it means no label, "
                    "remove the row; if it is a class, name the classes, --data.classes -9 0 1"
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
                f"{text.name} row {line}, column '{text.headings[place]}' holds something other than 1, 0, -1 or "
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
