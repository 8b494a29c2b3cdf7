"""Matches rows of a labels table to files, by name or by an identifier in the header.

Messages name rows by number and never quote a path.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from imbal_jax.data.tables.file_names import name_parts, without_ending
from imbal_jax.data.tables.labels_table import Row, Table
from imbal_jax.errors import InputError


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
    """Other spellings that the file's name may have had before a program exported it as ``key``."""
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
    """The attribute that a row's key holds where it is not a file name."""
    return "SOPInstanceUID" if table.key == "file" else "AccessionNumber"
