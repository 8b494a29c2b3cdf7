"""Reads a folder of image files and its table of labels into memory.

Neither the arrays nor any message hold a file name or a patient's identifier: patients become integers in the order
of first appearance, and messages name rows of the table.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Literal

import numpy as np

from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.folders.copies import COPIES, Copy, patients_by_picture, settle_copies
from imbal_jax.data.folders.decoded_files import Decoded, decode_files
from imbal_jax.data.folders.folder_summary import FolderSummary, flag_counts
from imbal_jax.data.folders.label_source import DEFAULT, open_labelled
from imbal_jax.data.folders.left_out import save_left_out
from imbal_jax.data.folders.listing import Listing, list_files
from imbal_jax.data.folders.matched_files import Found, match_files
from imbal_jax.data.folders.patient_groups import patient_groups, unknown_patients
from imbal_jax.data.images.geometry import Geometry, Voi
from imbal_jax.data.images.refusal import REASONS
from imbal_jax.data.images.resize import Fit
from imbal_jax.data.labels import image_counts
from imbal_jax.data.tables.given_split import given_split
from imbal_jax.data.tables.labels_table import LabelKind, Row, Table
from imbal_jax.data.tables.patients import Patients
from imbal_jax.errors import InputError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FolderImages:
    """The images of a labelled folder in memory, as in ``dataset.Dataset``. rows: the number of each image's row."""

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    geometry: Geometry
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def read_folder(
    folder: str | Path,
    *,
    size: int,
    labels_file: str = DEFAULT,
    classes: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    label_kind: LabelKind = "auto",
    split: Literal["official", "patient"] = "official",
    voi: Voi = "header",
    fit: Fit = "pad",
    channels: int = 1,
    bits: int = 8,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    left_out: Path | None = None,
) -> tuple[FolderImages, FolderSummary]:
    """Read every labelled DICOM, PNG, JPEG, TIFF and BMP file below ``folder``; images [N, size, size, channels].

    The labels are in a table, ``labels_file`` (``label_source.find_labels`` where it is absent), or the folders name
    the classes, as ``train/CLASS/name.png`` (``class_folders.class_folder_table``). The table has a heading and, in
    any order:
        file        the path of the file, below ``folder`` or from further up, or the bare name where only one file
                    has it (the ending may be left out), or the SOPInstanceUID; or instead
        accession   the AccessionNumber: the labels are for all images of that study
        patient     optional; without it, or where it says nothing, PatientID from the header, else StudyInstanceUID;
                    of files without a header what all paths name, as patient00001/study1/1.jpg or 10_left
        label       the name of a class; or instead one column for each of many labels, holding 1, 0,
                    -1 (uncertain, read as -1) or nothing (missing, read as -2)
        split       optional; train, validation or test. Without it, folders called so are the split.

    ``table_file.read_table_text`` says which files are read; ``headings.SPELLINGS`` lists further headings that are
    understood.

    classes: names and their order. Left out: for one label the sorted names, with "normal" ("negative",
        "no finding") first, so that class 0 is the frequent one; for many labels every other column that can be one.
    columns: other headings, as ``("patient=subject_id", "file=image_path", "label=target", "split=fold")``.
    label_kind: for a table with one column a label: "many" labels an image, "one", or "auto", which takes one where
        each row has exactly one 1.
    split: "official" puts the folder's own split, if any, into the summary; "patient" ignores it.
    size, fit, channels, bits, voi: as in ``geometry.Geometry``.
    cache, workers, progress: as in ``decoded_files.decode_files``.
    left_out: a table to write of the rows and files that were left out (``left_out.save_left_out``).

    ``copies.settle_copies`` decides about a picture that several files hold. The notes are the lines of the summary.
    Raises InputError for a table that cannot be used, naming row or column, and when no file could be read.
    Files that are refused are counted in the summary.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no folder {folder}")
    geometry = Geometry(size, fit, channels, bits, voi)
    found = open_labelled(folder, labels_file, classes=classes, columns=columns, label_kind=label_kind)
    return read_labelled_files(
        folder,
        found.table,
        geometry,
        table_name=found.source,
        listing=found.listing,
        official=split == "official",
        cache=cache,
        workers=workers,
        progress=progress,
        left_out=left_out,
    )


def read_labelled_files(
    folder: Path,
    table: Table,
    geometry: Geometry,
    *,
    table_name: str,
    listing: Listing | None = None,
    official: bool = True,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    left_out: Path | None = None,
) -> tuple[FolderImages, FolderSummary]:
    """The files below ``folder`` that rows of ``table`` ask for.

    table_name: also a file below it that is no image. listing: of the folder, None: it is listed here. Other
    arguments and errors as in ``read_folder``.
    """
    listing = list_files(folder, leave=(table_name,)) if listing is None else listing
    with quiet():
        found = match_files(folder, listing.files, table)
        paths = sorted(found.rows)
        if not paths:
            raise InputError(
                f"none of {len(table.rows)} rows of {table_name} fits one of {len(listing.files)} files in {folder}: "
                f"'file' is a path below it, a file name or a SOPInstanceUID, 'accession' an AccessionNumber"
            )
        decoded = decode_files(folder, paths, geometry, cache=cache, workers=workers, progress=progress)
    read, refused = _readable(folder, paths, found, decoded)
    with quiet():
        groups, patients = patient_groups(folder, table, read.rows, read.paths, read.decoded)
    copies = _copies(folder, read, groups, found.instances)
    if left_out is not None:
        became = refused | {read.paths[k]: word for k, word in copies.items()}
        _save_left_out(left_out, table, found, listing, became)
    if len(copies) == len(read.rows):
        words = "; ".join(
            f"{n} {word}: {COPIES[word]}" for word, n in sorted(Counter(copies.values()).items())
        )
        raise InputError(f"no image is left of {len(paths)} labelled files in {folder}: {words}")
    if copies:  # number the patients again, without those of the copies
        read = read.take(np.array([k for k in range(len(read.rows)) if k not in copies]))
        with quiet():
            groups, patients = patient_groups(folder, table, read.rows, read.paths, read.decoded)
    joined = patients_by_picture(groups.tolist(), read.nobody, read.pictures)
    numbers: dict[object, int] = {}
    groups = np.array([numbers.setdefault(group, len(numbers)) for group in joined], np.int32)
    splits, said = given_split(table, read.rows, read.paths) if official else (None, [])
    notes = (*table.notes, *patients.lines(table.patient_column), *said)
    labels = table.layout.array([row.labels for row in read.rows])
    summary = _summary(table, found, listing, read, groups, labels, patients)
    summary = replace(
        summary,
        refused=dict(Counter(refused.values())),
        unwindowed=summary.unwindowed if geometry.voi == "header" else 0,
        copies=dict(Counter(copies.values())),
        notes=notes,
        splits=splits,
    )
    lines = tuple(str(summary).splitlines())
    numbers_of_rows = np.array([row.number for row in read.rows])
    images = read.decoded.images
    return FolderImages(images, labels, groups, table.classes, lines, geometry, numbers_of_rows), summary


@dataclass(frozen=True)
class _Read:
    """The labelled files that could be decoded. pictures: a hash of the pixels. nobody: no patient is known."""

    rows: list[Row]
    paths: list[str]
    decoded: Decoded
    pictures: list[bytes]
    nobody: np.ndarray

    def take(self, kept: np.ndarray) -> "_Read":
        return _Read(
            [self.rows[k] for k in kept],
            [self.paths[k] for k in kept],
            self.decoded.take(kept),
            [self.pictures[k] for k in kept],
            self.nobody[kept],
        )


def _readable(folder: Path, paths: list[str], found: Found, decoded: Decoded) -> tuple[_Read, dict[str, str]]:
    """The files that were decoded, and by path the reason of each refusal; InputError where none was decoded."""
    names = tuple(REASONS)
    refused = {path: names[code - 1] for path, code in zip(paths, decoded.status, strict=True) if code}
    good = np.flatnonzero(decoded.status == 0)
    if len(good) == 0:
        counts = sorted(Counter(refused.values()).items())
        reasons = "; ".join(f"{count} {reason}: {REASONS[reason]}" for reason, count in counts)
        raise InputError(f"none of {len(paths)} labelled files in {folder} could be read: {reasons}")
    decoded = decoded.take(good)
    read = [paths[i] for i in good]
    rows = [found.rows[path] for path in read]
    pictures = [blake2b(image, digest_size=16).digest() for image in decoded.images]
    return _Read(rows, read, decoded, pictures, unknown_patients(rows, decoded.patients)), refused


def _copies(folder: Path, read: _Read, groups: np.ndarray, instances: frozenset[str]) -> dict[int, str]:
    """The files that are left out as copies, by index: the keys of COPIES."""
    files = [
        Copy(
            read.pictures[k],
            row.labels,
            None if read.nobody[k] else groups[k],
            row.number,
            read.paths[k] in instances,
        )
        for k, row in enumerate(read.rows)
    ]
    return settle_copies(files, lambda k: _file_content(folder / read.paths[k], k))


def _file_content(path: Path, place: int) -> bytes:
    """A hash of the file's bytes; for a file that no longer exists, a unique value."""
    try:
        with path.open("rb") as stream:
            return file_digest(stream, lambda: blake2b(digest_size=16)).digest()
    except OSError:
        return str(place).encode()


def _save_left_out(
    path: Path, table: Table, found: Found, listing: Listing, became: Mapping[str, str]
) -> None:
    unlabelled = dict.fromkeys(set(listing.files) - set(found.rows), "unlabelled")
    files = {**became, **unlabelled, **found.unread, **listing.passed}
    save_left_out(
        path,
        [row.number for row in found.left],
        files,
        {name: row.number for name, row in found.rows.items()} if table.numbered else {},
    )


def _summary(
    table: Table,
    found: Found,
    listing: Listing,
    read: _Read,
    groups: np.ndarray,
    labels: np.ndarray,
    patients: Patients,
) -> FolderSummary:
    """The counts of what was read."""
    counts = image_counts(labels, len(table.classes)).tolist()
    return FolderSummary(
        rows=len(table.rows),
        files=len(listing.files),
        read=len(read.rows),
        refused={},
        unmatched_rows=len(found.left),
        unmatched_files=len(listing.files) - len(found.rows),
        patients=len(np.unique(groups)),
        unknown_patients=patients.unknown,
        unwindowed=int(read.decoded.unwindowed.sum()),
        labels=dict(zip(table.classes, counts, strict=True)),
        unmatched_numbers=tuple(sorted(row.number for row in found.left)),
        unknown_headers=len(found.unread),
        flags=flag_counts(read.decoded.flags),
        passed=tuple(listing.lines()),
    )
