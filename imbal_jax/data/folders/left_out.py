"""The table of rows and files that were left out, beside what was made without them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

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
    """Write what was left out to ``path``, or nothing where nothing was; returns the number of lines.

    rows: numbers of the table's rows that have no file. files: by path, the reason. row_of: by path, the number of
    the row that asks for it. meanings: of the reasons. file_id: the keyed id of a path: no name is written.
    """
    meanings = {**meanings, **MEANINGS}
    lines: list[tuple[object, ...]] = [(number, "", NO_FILE, meanings[NO_FILE]) for number in sorted(rows)]
    lines += _by_row(files, row_of, meanings, file_id)
    if lines:
        write_csv(path, HEADING, lines)
    else:
        path.unlink(missing_ok=True)
    return len(lines)


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
