"""The split that a data set comes with: a column of its table, or folders named train, validation and test."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from imbal_jax.data.tables.cells import split_name
from imbal_jax.data.tables.labels_table import UNKNOWN_SPLIT, Row, Table
from imbal_jax.errors import InputError

PARTS = ("train", "validation", "test")
AGAIN = "set --data.split patient to split by patient instead"


def given_split(
    table: Table, rows: Sequence[Row], paths: Sequence[str]
) -> tuple[dict[str, np.ndarray] | None, list[str]]:
    """The indices of each part, None where the set comes without a split, and lines that say so.

    rows, paths: of each image. Raises InputError, naming the row, where the table's split column says something else,
    or nothing; and where some of the images lie in folders called train, validation and test and others do not.
    """
    if table.split_column:
        for row in rows:
            if row.split not in PARTS:
                what = "something other than" if row.split == UNKNOWN_SPLIT else "nothing, expected"
                raise InputError(
                    f"row {row.number}, column '{table.split_column}' says {what} train, validation or test: correct "
                    f"it, or {AGAIN}"
                )
        words = [row.split for row in rows]
        source = f"column {table.split_column}"
    else:
        words = [folder_split(path) for path in paths]
        source = "folders"
        if len(set(words) - {""}) < 2:
            return None, []
        if "" in words:
            raise InputError(
                f"{len(words) - words.count('')} images lie in folders called {' or '.join(sorted({*words} - {''}))} "
                f"and {words.count('')} do not: say in a column 'split' where those belong, or {AGAIN}"
            )
    indices = {part: np.flatnonzero([word == part for word in words]) for part in PARTS}
    indices = {part: chosen for part, chosen in indices.items() if len(chosen)}
    counts = ", ".join(f"{part} {len(chosen)}" for part, chosen in indices.items())
    said = [f"split by {source}: {counts} images; {AGAIN}"]
    folders = [folder_split(path) for path in paths]
    if others := sum(folder not in ("", word) for folder, word in zip(folders, words, strict=True)):
        said.append(
            f"{others} images lie in a folder that is called as another part than that of the {source}"
        )
    return indices, said


def folder_split(path: str) -> str:
    """The part that the first such folder of a path names, "" where none does."""
    return next((part for folder in PurePosixPath(path).parts[:-1] if (part := split_name(folder))), "")
