"""Labels from folders: the folder that holds a file names its class, as ``train/CLASS/name.png``."""

import re
from collections.abc import Sequence

from imbal_jax.data.tables.cells import is_unsure, plain_text, says_nothing, split_name
from imbal_jax.data.tables.csv_table import TextTable
from imbal_jax.data.tables.file_names import names_patient
from imbal_jax.errors import InputError

NAME = "folders"
"""What a user writes in place of the table's name."""

MOST = 100  # folders beyond which they are studies or patients, not classes
_IDENTIFIER = re.compile(r"\d+(\.\d+){3,}|.*\d{5,}.*")  # a UID, a number of five digits and more
_TABLE = "write a table with the columns file and label"


def class_folder_table(files: Sequence[str], *, lone: bool = False) -> TextTable:
    """A table with the columns file and label of ``files``, paths below a folder.

    Folders that all files share, and folders called train, validation and test (``cells.split_name``), name no class;
    the next folder on the way to the file does. Files without one have no row. Rows are numbered from 1 in the order
    of ``files``. lone: there may be one class, so that the first folder names it, also where all files share that.

    Raises InputError for fewer than two classes (of a lone one, for none), for names that say nothing, for folders
    beside train and test, and for folders that are patients or studies by their names or number, none of which is
    quoted.
    """
    ways = {path: [plain_text(part) for part in path.split("/")[:-1]] for path in files}
    _check_beside_parts(list(ways.values()))
    below = {path: [part for part in way if not split_name(part)] for path, way in ways.items()}
    while (
        not lone
        and len({way[0] for way in below.values() if way}) == 1
        and any(len(way) > 1 for way in below.values())
    ):
        below = {path: way[1:] for path, way in below.items()}
    rows = [(number, [path, below[path][0]]) for number, path in enumerate(files, start=1) if below[path]]
    names = {label for _, (_, label) in rows}
    if len(names) < (1 if lone else 2):
        has = "no folders" if not names else "a single folder"
        raise InputError(f"the images lie in {has}, which name no classes: {_TABLE}")
    if len(names) > MOST or all(map(names_patient, names)) or any(map(_IDENTIFIER.fullmatch, names)):
        raise InputError(
            f"the images lie in {len(names):,} folders whose names look like those of patients or studies, not of "
            f"classes: {_TABLE}"
        )
    if doubtful := sorted(name for name in names if says_nothing(name) or is_unsure(name)):
        raise InputError(f"a folder is called {doubtful[0]}, which is no class: move it away, or {_TABLE}")
    return TextTable(NAME, ("file", "label"), rows)


def _check_beside_parts(ways: list[list[str]]) -> None:
    """Refuse a file in a folder beside train, validation and test: nobody knows the part that it belongs to."""
    parts = {tuple(way[:depth]) for way in ways for depth, name in enumerate(way) if split_name(name)}
    outside = sum(
        any(len(way) > len(parent) and tuple(way[: len(parent)]) == parent for parent in parts)
        and not any(split_name(name) for name in way)
        for way in ways
    )
    if outside:
        raise InputError(
            f"{outside} images lie in folders beside those called train, validation or test: move them into one of "
            f"these, or {_TABLE}"
        )
