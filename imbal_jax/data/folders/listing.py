"""Lists the files below a folder that may be images, and counts what is passed over."""

import os
import stat
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from imbal_jax.errors import InputError

# Endings of tables, notes and indexes, which are not counted as unlabelled images.
NO_IMAGES = (
    *(".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".xls", ".xlsx", ".ods"),
    *(
        ".json",
        ".jsonl",
        ".txt",
        ".md",
        ".rst",
        ".html",
        ".pdf",
        ".xml",
        ".yaml",
        ".yml",
        ".log",
        ".py",
        ".ipynb",
    ),
    *(".npy", ".npz", ".pkl", ".zip", ".tar", ".tar.gz", ".part", ".key", ".db", ".ini"),
)
LISTERS = 16  # threads; they mostly wait for a network drive, which takes no processor time

# Why something below the folder is not among the files; fixed words that name nobody.
PASSED = {
    "hidden": "a file or folder whose name begins with a dot",
    "misnamed": "an image by its content under the name of a table, a text or an unfinished download: rename it",
    "broken-link": "a link that leads nowhere or in a circle",
    "linked-again": "a link to a folder that is listed already",
    "no-file": "neither a file nor a folder (a pipe, a socket, a device)",
}
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # PNG, JPEG; a DICOM file says so behind its preamble

Identity = tuple[int, int]


@dataclass
class Listing:
    """The files below a folder.

    files: paths below the folder, with "/", sorted. passed: path -> why it is not among them, a key of PASSED.
    others: ending -> number of files that are no images by their names.
    """

    files: list[str] = field(default_factory=list)
    passed: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """What was passed over, one line each; no file is named."""
        counts = Counter(self.passed.values())
        said = [f"passed over {counts[word]:,}: {word}: {PASSED[word]}" for word in PASSED if counts[word]]
        if self.others:
            kinds = ", ".join(f"{ending} {count:,}" for ending, count in sorted(self.others.items()))
            said.append(f"{self.others.total():,} other files that are no images by their names: {kinds}")
        return said


@dataclass
class _Found:
    """What one folder holds."""

    files: list[str] = field(default_factory=list)
    folders: list[tuple[str, Identity]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    passed: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def list_files(folder: Path, *, leave: Iterable[str] = ()) -> Listing:
    """The files below ``folder`` that may be images, without the paths to ``leave``.

    Folders are listed in parallel, since a network drive answers slowly. Linked folders come after all others, in
    order, and each folder is listed once however many links lead to it. Raises InputError where a folder may not be
    listed, since its images would be missing silently.
    """
    folder, leave = Path(folder), set(leave)
    listing = Listing()
    with ThreadPoolExecutor(LISTERS) as pool:
        seen = {_identity(folder.stat())}
        links = _walk(pool, folder, "", seen, listing, leave)
        while links:
            links.sort()
            link = links.pop(0)
            identity = _identity((folder / link).stat())
            if identity in seen:
                listing.passed[link] = "linked-again"
                continue
            seen.add(identity)
            links += _walk(pool, folder, f"{link}/", seen, listing, leave)
    listing.files.sort()
    listing.passed = dict(sorted(listing.passed.items()))
    return listing


def image_files(folder: Path, labels_file: str = "") -> list[str]:
    """``list_files`` without what is passed over and without the table."""
    return list_files(folder, leave=(labels_file,)).files


def may_be_image(name: str) -> bool:
    """By the name alone."""
    return name != "DICOMDIR" and not name.lower().endswith(NO_IMAGES)


def _walk(
    pool: ThreadPoolExecutor, folder: Path, start: str, seen: set[Identity], listing: Listing, leave: set[str]
) -> list[str]:
    """Add what is below ``start`` to ``listing``; returns the links to folders, which are not followed here."""
    links: list[str] = []
    waiting = {pool.submit(_list_one, folder, start)}
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for task in done:
            if isinstance(task.exception(), OSError):
                for rest in waiting:
                    rest.cancel()
                raise InputError(
                    f"a folder in {folder} may not be listed: its images would be left out; make it readable, or "
                    "move it away"
                ) from None
            found = task.result()
            listing.files += [path for path in found.files if path not in leave]
            listing.passed |= found.passed
            listing.others.update(_ending(path) for path in found.others if path not in leave)
            links += found.links
            for below, identity in found.folders:
                if identity not in seen:
                    seen.add(identity)
                    waiting.add(pool.submit(_list_one, folder, below))
    return links


def _list_one(folder: Path, below: str) -> _Found:
    found = _Found()
    with os.scandir(folder / below) as entries:
        for entry in entries:
            path = f"{below}{entry.name}"
            if entry.name[0] == ".":
                found.passed[path] = "hidden"
            elif entry.is_dir(follow_symlinks=False):
                found.folders.append((f"{path}/", _identity(entry.stat(follow_symlinks=False))))
            else:
                _sort_entry(entry, path, found)
    return found


def _sort_entry(entry: os.DirEntry[str], path: str, found: _Found) -> None:
    try:
        mode = entry.stat().st_mode
    except OSError:  # it was deleted in between
        found.passed[path] = "broken-link"
        return
    if stat.S_ISDIR(mode):
        found.links.append(path)
    elif not stat.S_ISREG(mode):
        found.passed[path] = "no-file"
    elif may_be_image(entry.name):
        found.files.append(path)
    elif entry.name != "DICOMDIR" and _holds_image(entry):
        found.passed[path] = "misnamed"
    else:
        found.others.append(path)


def _holds_image(entry: os.DirEntry[str]) -> bool:
    try:
        with open(entry.path, "rb", buffering=0) as stream:
            start = stream.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or start.startswith(MAGIC)


def _identity(about: os.stat_result) -> Identity:
    return about.st_dev, about.st_ino


def _ending(path: str) -> str:
    """The ending, one of ``NO_IMAGES``, so that no part of a name is printed."""
    return next((ending for ending in NO_IMAGES if path.lower().endswith(ending)), "DICOMDIR")
