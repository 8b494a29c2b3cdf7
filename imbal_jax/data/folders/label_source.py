"""Finds where the labels of a folder's images are: in a table, or in the names of the folders that hold them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imbal_jax.data.folders.left_out import NAME as LEFT_OUT
from imbal_jax.data.folders.listing import Listing, list_files
from imbal_jax.data.tables.class_folders import NAME as FOLDERS
from imbal_jax.data.tables.class_folders import class_folder_table
from imbal_jax.data.tables.columns import find_columns
from imbal_jax.data.tables.csv_table import TextTable
from imbal_jax.data.tables.labels_table import LabelKind, Table, check_classes, labels_table
from imbal_jax.data.tables.table_file import ENDINGS, read_table_text
from imbal_jax.errors import InputError

DEFAULT = "labels.csv"
OPTION = "--data.labels-file"


def find_labels(folder: Path, labels_file: str = DEFAULT) -> str:
    """The file of the table, below ``folder`` or elsewhere, or "folders" where the folders name the classes.

    labels_file: as the user says. ``DEFAULT``, where it is absent, stands for the only other table at the top of the
    folder whose headings name files, and where there is no table at all, for "folders". Raises InputError where
    several tables could be meant, or none of those that are there.
    """
    if labels_file != DEFAULT or (folder / DEFAULT).is_file():
        return labels_file
    tables = [
        path.name
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name.lower().endswith(ENDINGS) and not path.name.endswith(LEFT_OUT)
    ]
    if not tables:
        return FOLDERS
    usable = [name for name in tables if _names_files(folder / name)] if len(tables) > 1 else tables
    if len(usable) == 1:
        return usable[0]
    names = ", ".join(tables)
    which = "several tables name files" if usable else "none of the tables has a column of files"
    raise InputError(
        f"{folder} has no {DEFAULT}, and {which} ({names}): say which holds the labels, {OPTION} "
        f"{(usable or tables)[0]}, or {OPTION} {FOLDERS} where folders name the classes"
    )


@dataclass(frozen=True)
class Labelled:
    """The table of a folder, where it was found (as ``find_labels`` says), and the files of the folder."""

    table: Table
    source: str
    listing: Listing


def open_labelled(
    folder: Path,
    labels_file: str = DEFAULT,
    *,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    label_kind: LabelKind = "auto",
) -> Labelled:
    """``find_labels``, ``list_files`` and ``read_labels`` of one folder; a table that was found is a note."""
    source = find_labels(folder, labels_file)
    listing = list_files(folder, leave=(source,))
    table = read_labels(
        folder,
        source,
        lambda: listing.files,
        classes=classes,
        columns=columns,
        label_kind=label_kind,
        asked=source == labels_file,
    )
    if source != labels_file and table.numbered:
        table = replace(table, notes=(f"labels by {source}", *table.notes))
    return Labelled(table, source, listing)


def read_labels(
    folder: Path,
    source: Path | str,
    files: Callable[[], Sequence[str]],
    *,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    label_kind: LabelKind = "auto",
    asked: bool = True,
) -> Table:
    """The table at ``source``: a path, a name below ``folder`` as ``find_labels`` gives it, or that of the folders.

    files: lists the images, as paths below ``folder``. asked: the user named the source; otherwise folders count only
    where every image lies in one of a class. Other arguments and errors as for ``labels_table.labels_table``.
    """
    if source == FOLDERS and not (folder / FOLDERS).is_file():
        text = _by_folders(folder, files(), asked)
        table = labels_table(text, classes, label_kind="one")
        table = replace(
            table, numbered=False, notes=("labels by the folders that hold the files", *table.notes)
        )
    else:
        path = source if isinstance(source, Path) else folder / source
        text = read_table_text(path, absent="write one with the columns file and label")
        table = labels_table(text, classes, columns=columns, label_kind=label_kind)
    check_classes(table)
    return table


def _by_folders(folder: Path, files: Sequence[str], asked: bool) -> TextTable:
    if asked:
        return class_folder_table(files)
    absent = f"no table {folder / DEFAULT}"
    if not files:
        raise InputError(f"{absent}, and no image is there")
    try:
        text = class_folder_table(files)
    except InputError as error:
        raise InputError(f"{absent}, and {error}") from None
    if outside := len(files) - len(text.rows):
        raise InputError(
            f"{absent}, and {outside} of {len(files)} images lie in no folder of a class: write a table with the "
            f"columns file and label; or, if folders name the classes, {OPTION} {FOLDERS} leaves these images out"
        )
    return text


def _names_files(path: Path) -> bool:
    try:
        find_columns(read_table_text(path))
    except InputError:
        return False
    return True
