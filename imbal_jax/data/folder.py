"""A hospital's folder of radiographs and its labels.csv as one data set in memory.

Neither the data set, the cache nor any message holds a file name or a patient's identifier: patients become
integers in the order of first appearance, and messages name rows of the table.
"""

import os
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.dicom import (
    FLAGS,
    REASONS,
    Radiograph,
    ReadError,
    Voi,
    attribute,
    load_radiograph,
    open_dicom,
    quiet,
)
from imbal_jax.data.geometry import Geometry
from imbal_jax.data.memory import one_file
from imbal_jax.data.pictures import is_picture
from imbal_jax.data.resize import Fit
from imbal_jax.data.table import Row, Table, header_keyword, match_headers, match_names, read_table
from imbal_jax.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# Beside the images there are tables, notes and indexes; none of them is an image that nobody labelled.
NO_IMAGES = (
    ".csv",
    ".tsv",
    ".json",
    ".txt",
    ".md",
    ".npz",
    ".html",
    ".pdf",
    ".xml",
    ".xls",
    ".xlsx",
    ".zip",
    ".part",
)
LISTERS = 16  # folders listed at once: waiting for a network drive costs no processor
CACHE_FORMAT = 4  # raised whenever the same file would be read as other pixels


@dataclass(frozen=True)
class FolderSummary:
    """What became of every row and file; ``str`` gives the lines to print.

    refused: files by reason, the keys of dicom.REASONS. unwindowed: read by percentiles although the header's
    window was asked for. unknown_patients: images with no patient in table or header, each counted as a
    patient of its own.
    """

    rows: int
    files: int
    read: int
    refused: dict[str, int]
    unmatched_rows: int
    unmatched_files: int
    patients: int
    unknown_patients: int
    unwindowed: int
    labels: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.read} images of {self.patients} patients read; {self.files} files, {self.rows} rows",
            "labels: " + ", ".join(f"{name} {count}" for name, count in self.labels.items()),
        ]
        lines += [
            f"refused {count}: {reason}: {REASONS[reason]}" for reason, count in sorted(self.refused.items())
        ]
        notes = (
            (self.unmatched_rows, "rows of the table without a file"),
            (self.unmatched_files, "files without a row, left out"),
            (
                self.unknown_patients,
                "images without a patient: each counts as its own, splits may share patients",
            ),
            (self.unwindowed, "images without a usable window, scaled by percentiles"),
        )
        return "\n".join(lines + [f"{count} {what}" for count, what in notes if count])


def read_folder(
    folder: str | Path,
    *,
    size: int,
    labels_file: str = "labels.csv",
    classes: Sequence[str] | None = None,
    voi: Voi = "header",
    fit: Fit = "pad",
    channels: int = 1,
    bits: int = 8,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Dataset, FolderSummary]:
    """Read every labelled DICOM, PNG and JPEG file below ``folder``; images uint8 [N, size, size, channels].

    The table has a heading and, in any order:
        file        the path below ``folder``, or the bare name where only one file has it (".dcm" may go),
                    or the SOPInstanceUID; or instead
        accession   the AccessionNumber: the labels are for all images of that study
        patient     optional; without it PatientID from the header, else StudyInstanceUID
        label       the name of a class; or instead one column for each of many labels, holding 1, 0,
                    -1 (uncertain) or nothing (missing, read as -1)

    classes: names and their order. Left out: for one label the sorted names, with "normal" ("negative",
        "no finding") first, so that class 0 is the frequent one; for many labels every other column.
    size, fit, channels, bits, voi: as of ``geometry.Geometry``.
    cache: a folder that keeps the decoded images, for files of the same names, sizes and times.
    workers: threads, all cores by default; decoding and resizing large images run in parallel.
    progress: called with (files done, files).
    Raises InputError for a table that cannot be used, naming row or column, and when no file could be read.
    Files that are refused are counted in the summary.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no folder {folder}")
    geometry = Geometry(size, fit, channels, bits, voi)
    table = read_table(folder / labels_file, classes)
    files = image_files(folder, labels_file)
    with quiet():
        matched, unmatched_rows = match(folder, files, table)
        paths = sorted(matched)
        if not paths:
            raise InputError(
                f"none of {len(table.rows)} rows of {labels_file} fits one of {len(files)} files in {folder}: "
                f"'file' is a path below it, a file name or a SOPInstanceUID, 'accession' an AccessionNumber"
            )
        decoded = read_all(folder, paths, geometry, cache=cache, workers=workers, progress=progress)

    good = np.flatnonzero(decoded.status == 0)
    refused = Counter(tuple(REASONS)[code - 1] for code in decoded.status if code)
    if len(good) == 0:
        reasons = "; ".join(
            f"{count} {reason}: {REASONS[reason]}" for reason, count in sorted(refused.items())
        )
        raise InputError(f"none of {len(paths)} labelled files in {folder} could be read: {reasons}")
    rows = [matched[paths[i]] for i in good]
    groups, unknown = patient_groups(table, rows, decoded.patients[good])
    labels = np.array([row.labels for row in rows], np.int8 if table.many else np.int32)
    data = Dataset(
        decoded.images[good],
        labels if table.many else labels[:, 0],
        groups,
        table.classes,
        geometry=geometry,
    )
    present = (
        (labels == 1).sum(axis=0) if table.many else np.bincount(labels[:, 0], minlength=len(table.classes))
    )
    summary = FolderSummary(
        rows=len(table.rows),
        files=len(files),
        read=len(good),
        refused=dict(refused),
        unmatched_rows=unmatched_rows,
        unmatched_files=len(files) - len(paths),
        patients=len(np.unique(groups)),
        unknown_patients=unknown,
        unwindowed=int(decoded.unwindowed[good].sum()) if voi == "header" else 0,
        labels=dict(zip(table.classes, present.tolist(), strict=True)),
    )
    return data, summary


# Files and rows


def image_files(folder: Path, labels_file: str = "") -> list[str]:
    """Paths below ``folder``, with "/", sorted: whatever is not hidden and may be an image.

    Folders are listed side by side, which is what takes the time on a network drive. Raises InputError where
    one may not be listed: its images would be missing without a word.
    """

    def listed(below: str) -> tuple[list[str], list[str]]:
        folders, files = [], []
        with os.scandir(folder / below) as entries:
            for entry in entries:
                if entry.name[0] == ".":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{below}{entry.name}/")
                elif entry.is_file() and may_be_image(entry.name):
                    files.append(f"{below}{entry.name}")
        return folders, files

    found: list[str] = []
    with ThreadPoolExecutor(LISTERS) as pool:
        waiting = {pool.submit(listed, "")}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for listing in done:
                if isinstance(listing.exception(), OSError):
                    raise InputError(f"a folder in {folder} may not be listed: its images would be left out")
                folders, files = listing.result()
                found += files
                waiting |= {pool.submit(listed, below) for below in folders}
    return sorted(path for path in found if path != labels_file)


def may_be_image(name: str) -> bool:
    """By the name alone."""
    return name != "DICOMDIR" and not name.lower().endswith(NO_IMAGES)


def match(folder: Path, files: list[str], table: Table) -> tuple[dict[str, Row], int]:
    """The row of each file that has one, and the number of rows that have no file."""
    matches, left = match_names(files, table)
    if not left:
        return matches.rows, 0
    # Headers are read only for what names did not settle: a millisecond a file.
    paths = defaultdict(list)
    for path in files:
        if path not in matches.rows and not path.lower().endswith(PICTURES):
            with suppress(ReadError):
                header = open_dicom(folder / path, pixels=False)
                paths[str(attribute(header, header_keyword(table)) or "").strip()].append(path)
    left = match_headers(matches, left, paths)
    return matches.rows, len(left)


def patient_groups(table: Table, rows: list[Row], from_header: np.ndarray) -> tuple[np.ndarray, int]:
    """int32 [N], one number a patient, and how many images have none and became a patient each."""
    numbers: dict[object, int] = {}
    groups, unknown = [], 0
    for row, header in zip(rows, from_header.tolist(), strict=True):
        if row.patient:
            patient: object = row.patient
        elif header >= 0 and not table.has_patients:
            patient = header
        else:
            unknown += 1
            patient = ("image", unknown)
        groups.append(numbers.setdefault(patient, len(numbers)))
    return np.array(groups, np.int32), unknown


# Pixels


@dataclass(frozen=True)
class Decoded:
    """Of each file: uint8 or uint16 [M, size, size, channels]; status 0 or 1 + the place of its reason in REASONS;
    the header's patient as a number by first appearance, -1 unknown; whether no window of the header was used."""

    images: np.ndarray
    status: np.ndarray
    patients: np.ndarray
    unwindowed: np.ndarray


def read_all(
    folder: Path,
    paths: list[str],
    geometry: Geometry,
    *,
    cache: Path | None,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> Decoded:
    """Every file decoded, from the cache where it has exactly these files."""
    store = Path(cache) / f"{digest(folder, paths, geometry)}.npz" if cache is not None else None
    if store is not None and store.exists():
        # A cache cut off or written by another version is no cache; the files are still there.
        with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(store) as kept:
            decoded = Decoded(kept["images"], kept["status"], kept["patients"], kept["unwindowed"])
            if progress is not None:
                progress(len(paths), len(paths))
            return decoded

    images = np.zeros((len(paths), *geometry.shape), geometry.dtype)
    status = np.zeros(len(paths), np.int8)
    unwindowed = np.zeros(len(paths), bool)
    patients = np.full(len(paths), -1, np.int32)
    numbers: dict[str, int] = {}
    codes = {reason: number for number, reason in enumerate(REASONS, start=1)}

    def read(path: str) -> Radiograph | str:
        try:
            return load_picture(folder / path, **geometry.options)
        except ReadError as error:
            return error.reason

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for place, result in enumerate(pool.map(read, paths)):
            if isinstance(result, str):
                status[place] = codes[result]
            else:
                images[place] = result.pixels.reshape(geometry.shape)
                unwindowed[place] = not result.windowed
                if result.patient:
                    patients[place] = numbers.setdefault(result.patient, len(numbers))
            if progress is not None:
                progress(place + 1, len(paths))
    decoded = Decoded(images, status, patients, unwindowed)
    if store is not None:
        store.parent.mkdir(parents=True, exist_ok=True)
        part = store.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as stream:
            np.savez(stream, images=images, status=status, patients=patients, unwindowed=unwindowed)
        os.replace(part, store)
    return decoded


def digest(folder: Path, paths: list[str], geometry: Geometry) -> str:
    """A name for exactly these files at these sizes and times, read this way."""
    state = blake2b(f"{CACHE_FORMAT} {geometry!r}".encode(), digest_size=16)
    for path in paths:
        about = (folder / path).stat()
        state.update(f"\0{path}\0{about.st_size}\0{about.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def load_picture(
    path: Path, *, size: int, voi: Voi = "header", bits: int = 8, fit: Fit = "pad", channels: int = 1
) -> Radiograph:
    """A DICOM, PNG, JPEG, TIFF or BMP file by its geometry; dense is bright in pictures, as public sets come.

    The pixels are [size, size], or [size, size, 3] for 3 channels.
    """
    geometry = Geometry(size, fit, channels, bits, voi)
    with one_file():
        if not is_picture(path):
            radiograph = load_radiograph(path, size=size, voi=voi, bits=bits, fit=fit)
            if channels == 1:
                return radiograph
            return replace(radiograph, pixels=geometry.stack([radiograph.pixels]))
        picture = geometry.open(path)
        if picture.values.min() == picture.values.max():
            raise ReadError("constant")
        flags = {"burned-in-unknown": True, **dict.fromkeys(picture.flags, True)}
        pixels = geometry.array(picture.values)
        return Radiograph(
            pixels[..., 0] if channels == 1 else pixels,
            "range-guessed" not in picture.flags,
            "",
            tuple(flag for flag in FLAGS if flags.get(flag)),
        )
