"""A hospital's folder of radiographs and its labels.csv as one data set in memory.

Neither the data set, the cache nor any message holds a file name or a patient's identifier: patients become
integers in the order of first appearance, and messages name rows of the table.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Literal

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.greyscale import Voi
from imbal_jax.data.dicom.header import attribute, patient_of
from imbal_jax.data.dicom.radiograph import Radiograph, load_radiograph, quiet
from imbal_jax.data.folders.copies import COPIES, Copy, settle_copies
from imbal_jax.data.folders.left_out import write_left_out
from imbal_jax.data.folders.listing import PASSED, list_files
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.images.memory_budget import one_file
from imbal_jax.data.images.pictures import is_picture
from imbal_jax.data.images.refusal import FLAGS, REASONS, ReadError
from imbal_jax.data.images.resize import Fit
from imbal_jax.data.pseudonyms import open_key
from imbal_jax.data.tables.cells import patient_likeness
from imbal_jax.data.tables.given_split import given_split
from imbal_jax.data.tables.labels_table import (
    LabelKind,
    Row,
    Table,
    check_classes,
    header_keyword,
    match_headers,
    match_names,
    read_table,
)
from imbal_jax.data.tables.patients import (
    HEADER,
    NOBODY,
    STUDY,
    TABLE,
    Patients,
    Whose,
    count_patients,
    headers_know_better,
)
from imbal_jax.errors import InputError
from imbal_jax.files import read_npz, write_npz

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
LISTED = 20  # numbers of rows that are said; the table of what was left out has all
CACHE_FORMAT = 7  # raised whenever the same file would be read as other pixels


@dataclass(frozen=True)
class FolderSummary:
    """What became of every row and file; ``str`` gives the lines to print.

    refused: files by reason, the keys of dicom.REASONS. unwindowed: read by percentiles although the header's
    window was asked for. unknown_patients: images with no patient in table or header, each counted as a
    patient of its own. notes: how table, patients and split were understood. splits: indices of the split that the
    folder comes with, None where it has none or another is asked for. unmatched_numbers: of the table's rows that
    have no file. copies: files left out as copies, by the keys of copies.COPIES. unknown_headers: files that no row
    names and whose header cannot be read. flags: images by flag. passed: lines on what is below the folder and is no
    image.
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
    unmatched_numbers: tuple[int, ...] = ()
    copies: dict[str, int] = field(default_factory=dict)
    unknown_headers: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    passed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    splits: Mapping[str, np.ndarray] | None = None

    def __str__(self) -> str:
        lines = [
            f"{self.read} images of {self.patients} patients read; {self.files} files, {self.rows} rows",
            "labels: " + ", ".join(f"{name} {count}" for name, count in self.labels.items()),
        ]
        lines += [
            f"refused {count}: {reason}: {REASONS[reason]}" for reason, count in sorted(self.refused.items())
        ]
        lines += [f"left out {count}: {word}: {COPIES[word]}" for word, count in sorted(self.copies.items())]
        numbers = listed_numbers(self.unmatched_numbers)
        notes = (
            (self.unmatched_rows, f"rows of the table without a file: {numbers}"),
            (self.unmatched_files, "files without a row, left out"),
            (self.unknown_headers, "of these whose header cannot be read: a row may ask for them"),
            (self.unwindowed, "images without a usable window, scaled by percentiles"),
        )
        lines += [f"{count} {what}" for count, what in notes if count]
        flags = {flag: count for flag, count in self.flags.items() if flag != "unwindowed"}  # told above
        more = {"colour-dropped": ": --data.channels 3 keeps the colour"}
        lines += [
            f"{count} flagged {flag}: {FLAGS[flag]}{more.get(flag, '')}" for flag, count in flags.items()
        ]
        return "\n".join([*lines, *self.notes, *self.passed])


def listed_numbers(numbers: Sequence[int]) -> str:
    """The first numbers of rows, and how many more there are."""
    more = f" and {len(numbers) - LISTED:,} more" if len(numbers) > LISTED else ""
    return ", ".join(map(str, numbers[:LISTED])) + more


def read_folder(
    folder: str | Path,
    *,
    size: int,
    labels_file: str = "labels.csv",
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
    progress: Callable[[int, int], None] | None = None,
    left_out: Path | None = None,
) -> tuple[Dataset, FolderSummary]:
    """Read every labelled DICOM, PNG, JPEG, TIFF and BMP file below ``folder``; images [N, size, size, channels].

    The table has a heading and, in any order:
        file        the path of the file, below ``folder`` or from further up, or the bare name where only one file
                    has it (the ending may be left out), or the SOPInstanceUID; or instead
        accession   the AccessionNumber: the labels are for all images of that study
        patient     optional; without it, or where it says nothing, PatientID from the header, else StudyInstanceUID;
                    of files without a header what all paths name, as patient00001/study1/1.jpg or 10_left
        label       the name of a class; or instead one column for each of many labels, holding 1, 0,
                    -1 (uncertain, read as -1) or nothing (missing, read as -2)
        split       optional; train, validation or test. Without it, folders called so are the split.

    ``csv_table.read_table_text`` says which files are read; ``columns.SPELLINGS`` lists the headings that are
    understood beside these.

    classes: names and their order. Left out: for one label the sorted names, with "normal" ("negative",
        "no finding") first, so that class 0 is the frequent one; for many labels every other column that can be one.
    columns: other headings, as ``("patient=subject_id", "file=image_path", "label=target", "split=fold")``.
    label_kind: of a column a label: "many" labels an image, "one", or "auto": one where each row has just one 1.
    split: "official": the split that the folder comes with, if any, is in the summary; "patient": it is not.
    size, fit, channels, bits, voi: as of ``geometry.Geometry``.
    cache: a folder that keeps the decoded images, for files of the same names, sizes and times.
    workers: threads, all cores by default; decoding and resizing large images run in parallel.
    progress: called with (files done, files).
    left_out: a table to write of the rows and files that were left out (``left_out.write_left_out``), with ids that
        are made with a key beside it, LEFT_OUT.key.
    A picture that several files hold is settled by ``copies.settle_copies``. The notes of the data set are the lines
    of the summary.
    Raises InputError for a table that cannot be used, naming row or column, and when no file could be read.
    Files that are refused are counted in the summary.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no folder {folder}")
    geometry = Geometry(size, fit, channels, bits, voi)
    table = read_table(folder / labels_file, classes, columns=columns, label_kind=label_kind)
    check_classes(table)
    listing = list_files(folder, leave=(labels_file,))
    files = listing.files
    with quiet():
        found = match(folder, files, table)
        matched = found.rows
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
    became = {paths[i]: tuple(REASONS)[code - 1] for i, code in enumerate(decoded.status) if code}
    read = [paths[i] for i in good]
    rows = [matched[path] for path in read]
    decoded = decoded.take(good)
    with quiet():
        groups, patients = patient_groups(folder, table, rows, read, decoded)
    nobody = unknown_patients(rows, decoded.patients)
    pictures = [blake2b(image, digest_size=16).digest() for image in decoded.images]
    copies = settle_copies(
        [
            Copy(
                pictures[k],
                row.labels,
                None if nobody[k] else groups[k],
                row.number,
                read[k] in found.instances,
            )
            for k, row in enumerate(rows)
        ],
        lambda k: file_content(folder / read[k], k),
    )
    became |= {read[k]: word for k, word in copies.items()}
    if left_out is not None:
        others = {**dict.fromkeys(set(files) - set(paths), "unlabelled"), **found.unread, **listing.passed}
        save_left_out(left_out, [row.number for row in found.left], {**became, **others}, matched)
    if len(copies) == len(rows):
        words = "; ".join(
            f"{n} {word}: {COPIES[word]}" for word, n in sorted(Counter(copies.values()).items())
        )
        raise InputError(f"no image is left of {len(paths)} labelled files in {folder}: {words}")
    if copies:  # patients are numbered and told apart again, without those of the copies
        kept = np.array([k for k in range(len(rows)) if k not in copies])
        rows, read, pictures = ([values[k] for k in kept] for values in (rows, read, pictures))
        decoded, nobody = decoded.take(kept), nobody[kept]
        with quiet():
            groups, patients = patient_groups(folder, table, rows, read, decoded)
    groups = one_patient_a_picture(groups, nobody, pictures)
    splits, said = given_split(table, rows, read) if split == "official" else (None, [])
    notes = (*table.notes, *patients.lines(table.patient_column), *said)
    labels = np.array([row.labels for row in rows], np.int8 if table.many else np.int32)
    data = Dataset(
        decoded.images,
        labels if table.many else labels[:, 0],
        groups,
        table.classes,
        notes,
        geometry,
    )
    present = (
        (labels == 1).sum(axis=0) if table.many else np.bincount(labels[:, 0], minlength=len(table.classes))
    )
    summary = FolderSummary(
        rows=len(table.rows),
        files=len(files),
        read=len(rows),
        refused=dict(refused),
        unmatched_rows=len(found.left),
        unmatched_files=len(files) - len(paths),
        patients=len(np.unique(groups)),
        unknown_patients=patients.unknown,
        unwindowed=int(decoded.unwindowed.sum()) if voi == "header" else 0,
        labels=dict(zip(table.classes, present.tolist(), strict=True)),
        unmatched_numbers=tuple(sorted(row.number for row in found.left)),
        copies=dict(Counter(copies.values())),
        unknown_headers=len(found.unread),
        flags=flag_counts(decoded.flags),
        passed=tuple(listing.lines()),
        notes=notes,
        splits=splits,
    )
    return replace(data, notes=tuple(str(summary).splitlines())), summary


# Files and rows


@dataclass(frozen=True)
class Found:
    """rows: of each file that has one. left: the rows that have no file. instances: files that a row asks for by
    their SOPInstanceUID. unread: by path, why the header of a file that no row names could not be read."""

    rows: dict[str, Row]
    left: list[Row]
    instances: frozenset[str] = frozenset()
    unread: Mapping[str, str] = field(default_factory=dict)


def match(folder: Path, files: list[str], table: Table) -> Found:
    """Rows and files."""
    matches, left = match_names(files, table)
    if not left:
        return Found(matches.rows, [])
    # Headers are read only for what names did not settle: a millisecond a file.
    paths, unread = defaultdict(list), {}
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
    instances = set(matches.rows) - named if table.key == "file" else ()
    return Found(matches.rows, list(left), frozenset(instances), unread)


def unknown_patients(rows: Sequence[Row], from_header: np.ndarray) -> np.ndarray:
    """bool [N]: whom neither the table nor the header names."""
    return np.array([not row.patient for row in rows], bool) & (from_header < 0)


def one_patient_a_picture(groups: np.ndarray, nobody: np.ndarray, pictures: Sequence[bytes]) -> np.ndarray:
    """``groups`` in which an image without a patient has that of an equal picture: both show one person."""
    whose = {}
    for k in np.argsort(nobody, kind="stable"):
        whose.setdefault(pictures[k], groups[k])
    joined = [whose[pictures[k]] if nobody[k] else group for k, group in enumerate(groups)]
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in joined], np.int32)


def file_content(path: Path, place: int) -> bytes:
    """A hash of the bytes; of a file that is gone by now, one of its own."""
    try:
        with path.open("rb") as stream:
            return file_digest(stream, lambda: blake2b(digest_size=16)).digest()
    except OSError:
        return str(place).encode()


def save_left_out(
    path: Path, rows: Sequence[int], files: Mapping[str, str], matched: Mapping[str, Row]
) -> None:
    """``left_out.write_left_out``, with a key beside it."""
    row_of = {name: row.number for name, row in matched.items()}
    meanings = {**REASONS, **COPIES, **PASSED}
    if files:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_left_out(
            path, rows, files, row_of, meanings, partial(open_key(path.with_suffix(".key")).of, "file")
        )
    else:
        write_left_out(path, rows, {}, {}, meanings, str)


def flag_counts(flags: np.ndarray) -> dict[str, int]:
    """How many of the images have each flag."""
    counts = {flag: int((flags >> place & 1).sum()) for place, flag in enumerate(FLAGS)}
    return {flag: count for flag, count in counts.items() if count}


def patient_groups(
    folder: Path, table: Table, rows: Sequence[Row], paths: Sequence[str], decoded: "Decoded"
) -> tuple[np.ndarray, Patients]:
    """int32 [N], one number a patient, and how they were told apart; call it inside ``quiet()``.

    The table's patient counts, and where it says nothing the header's. Where both name some, headers are opened once
    more: what is kept of them, here and in the cache, are numbers, and a table's p7 is the header's p7.
    """
    if headers_know_better(table, ((decoded.patients >= 0) & ~decoded.studies).tolist()):
        table = replace(table, patient_column="", person_like=False)
        rows = [replace(row, patient="") for row in rows]
    whose = []
    for row, path, header, study, like in zip(
        rows,
        paths,
        decoded.patients.tolist(),
        decoded.studies.tolist(),
        decoded.likeness.tolist(),
        strict=True,
    ):
        named = header >= 0 and not study
        if row.patient:
            key: object = ("name", row.patient)
            likeness = patient_likeness(row.patient)
            whose.append(Whose(key, TABLE, likeness, header if named else None))
        elif header < 0:
            whose.append(Whose(("image", len(whose)), NOBODY))
        elif not table.has_patients:
            whose.append(Whose(header, STUDY if study else HEADER, "" if study else like))
        else:
            who = header_patient(folder / path)
            key = ("study", who) if study else ("name", who)
            whose.append(
                Whose(key, STUDY if study else HEADER, "" if study else patient_likeness(who), header)
            )
    numbers: dict[object, int] = {}
    groups = [numbers.setdefault(one.key, len(numbers)) for one in whose]
    return np.array(groups, np.int32), count_patients(whose, table)


def header_patient(path: Path) -> str:
    """What the header calls the patient, "" where it can no longer be read."""
    with suppress(ReadError):
        return patient_of(open_dicom(path, pixels=False)).partition(" ")[2]
    return ""


# Pixels


@dataclass(frozen=True)
class Decoded:
    """Of each file: uint8 or uint16 [M, size, size, channels]; status 0 or 1 + the place of its reason in REASONS;
    the header's patient as a number by first appearance, -1 unknown; whether no window of the header was used; its
    flags, a bit each in the order of FLAGS; whether that patient is a study without a PatientID; a number that
    PatientIDs share that may be one person's."""

    images: np.ndarray
    status: np.ndarray
    patients: np.ndarray
    unwindowed: np.ndarray
    flags: np.ndarray
    studies: np.ndarray
    likeness: np.ndarray

    def take(self, indices: np.ndarray) -> "Decoded":
        """The files at rising ``indices``; of all of them no copy is made."""
        if len(indices) == len(self.status):
            return self
        return Decoded(**{name: values[indices] for name, values in vars(self).items()})


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
        # A cache that is cut off or damaged is no cache; the files are still there.
        with suppress(InputError):
            kept = read_npz(store, [part.name for part in fields(Decoded)], "it is made again")
            if all(len(part) == len(paths) for part in kept.values()):
                if progress is not None:
                    progress(len(paths), len(paths))
                return Decoded(**kept)

    images = np.zeros((len(paths), *geometry.shape), geometry.dtype)
    status = np.zeros(len(paths), np.int8)
    unwindowed = np.zeros(len(paths), bool)
    patients = np.full(len(paths), -1, np.int32)
    flags = np.zeros(len(paths), np.int64)
    places = {flag: place for place, flag in enumerate(FLAGS)}
    studies = np.zeros(len(paths), bool)
    likeness = np.full(len(paths), -1, np.int32)
    numbers: dict[str, int] = {}
    likes: dict[str, int] = {}
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
                flags[place] = sum(1 << places[flag] for flag in result.flags)
                if result.patient:
                    patients[place] = numbers.setdefault(result.patient, len(numbers))
                    keyword, _, name = result.patient.partition(" ")
                    studies[place] = keyword == STUDY
                    likeness[place] = likes.setdefault(patient_likeness(name), len(likes))
            if progress is not None:
                progress(place + 1, len(paths))
    decoded = Decoded(images, status, patients, unwindowed, flags, studies, likeness)
    if store is not None:
        with suppress(
            InputError
        ):  # without a cache, as on a full disk, the files are decoded again next time
            write_npz(store, vars(decoded))
    return decoded


def digest(folder: Path, paths: list[str], geometry: Geometry) -> str:
    """A name for exactly these files at these sizes and times, read this way."""
    state = blake2b(f"{CACHE_FORMAT} {geometry!r} {list(REASONS)} {list(FLAGS)}".encode(), digest_size=16)
    for path in paths:
        try:
            about = (folder / path).stat()
            seen = f"{about.st_size}\0{about.st_mtime_ns}"
        except OSError:  # it went away, or may not be looked at: it will be refused as missing
            seen = "missing"
        state.update(f"\0{path}\0{seen}".encode("utf-8", "surrogateescape"))
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
