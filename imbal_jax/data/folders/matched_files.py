"""Matches the files of a folder to the rows of its labels table."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.header import attribute
from imbal_jax.data.folders.image_file import PICTURES
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.tables.labels_table import Row, Table
from imbal_jax.data.tables.row_matching import header_keyword, match_headers, match_names


@dataclass(frozen=True)
class Found:
    """Rows and files that belong together, and those that are left.

    rows: the row of each file that has one, by path.
    left: the rows that have no file.
    instances: the files that a row asks for by their SOPInstanceUID.
    unread: why the header of a file that no row names could not be read, by path.
    """

    rows: dict[str, Row]
    left: list[Row]
    instances: frozenset[str] = frozenset()
    unread: Mapping[str, str] = field(default_factory=dict)


def match_files(folder: Path, files: Sequence[str], table: Table) -> Found:
    """Match rows to files by name, and where that fails by the identifiers in the headers; inside ``quiet()``."""
    matches, left = match_names(files, table)
    if not left:
        return Found(matches.rows, [])
    # Headers are read only for what names did not settle: a millisecond a file.
    paths: dict[str, list[str]] = defaultdict(list)
    unread: dict[str, str] = {}
    named = set(matches.rows)
    for path in files:
        if path not in named and not path.lower().endswith(PICTURES):
            try:
                header = open_dicom(folder / path, pixels=False)
            except ReadError as error:
                unread[path] = error.reason
                continue
            paths[str(attribute(header, header_keyword(table)) or "").strip()].append(path)
    left = match_headers(matches, left, paths)
    instances = set(matches.rows) - named if table.key == "file" else set()
    return Found(matches.rows, list(left), frozenset(instances), unread)
