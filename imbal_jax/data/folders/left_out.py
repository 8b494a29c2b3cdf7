"""Writes ``left_out.csv``: the rows and files that were left out of a data set, with the reasons."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from imbal_jax.data.folders.copies import COPIES
from imbal_jax.data.folders.listing import PASSED
from imbal_jax.data.images.refusal import REASONS
from imbal_jax.data.pseudonyms import open_key
from imbal_jax.files import write_csv

NAME = "left_out.csv"
HEADING = ("row", "file", "reason", "meaning")
NO_FILE = "no-file-found"
MEANINGS = {
    NO_FILE: "no file that could be read has this path, name, SOPInstanceUID or AccessionNumber",
    "unlabelled": "no row of the table asks for this file",
}


def write_left_out(
    path: Path,
    rows: Iterable[int],
    files: Mapping[str, str],
    row_of: Mapping[str, int],
    meanings: Mapping[str, str],
    file_id: Callable[[str], str],
) -> int:
    """Write the table to ``path``, or no file where nothing was left out; returns the number of its lines.

    rows: numbers of the rows that have no file. files: path -> reason. row_of: path -> number of the row that asks
    for it. meanings: reason -> what it means. file_id: the keyed id of a path; no name is written.
    """
    meanings = {**meanings, **MEANINGS}
    lines: list[tuple[object, ...]] = [(number, "", NO_FILE, meanings[NO_FILE]) for number in sorted(rows)]
    lines += _by_row(files, row_of, meanings, file_id)
    if lines:
        write_csv(path, HEADING, lines)
    else:
        path.unlink(missing_ok=True)
    return len(lines)


def save_left_out(
    path: Path, rows: Sequence[int], files: Mapping[str, str], row_of: Mapping[str, int]
) -> None:
    """``write_left_out`` with ids made by a key beside the table, under the same name with the ending .key."""
    meanings = {**REASONS, **COPIES, **PASSED}
    if files:
        path.parent.mkdir(parents=True, exist_ok=True)
        key = open_key(path.with_suffix(".key"))
        write_left_out(path, rows, files, row_of, meanings, partial(key.of, "file"))
    else:
        write_left_out(path, rows, {}, {}, meanings, str)


def _by_row(
    files: Mapping[str, str],
    row_of: Mapping[str, int],
    meanings: Mapping[str, str],
    file_id: Callable[[str], str],
) -> list[tuple[object, ...]]:
    """Labelled files by the number of their row, then the others by id, which says nothing of the order of names."""
    found = [(row_of.get(name), file_id(name), reason) for name, reason in files.items()]
    found.sort(key=lambda line: (line[0] is None, line[0] or 0, line[1]))
    return [("" if row is None else row, id_, reason, meanings[reason]) for row, id_, reason in found]
