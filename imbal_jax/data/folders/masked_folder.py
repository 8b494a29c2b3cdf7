"""Reads a folder of pictures with masks: mask files, a COCO file, or a table with mask files or run lengths.

As in ``labelled_folder``, neither arrays nor messages hold a file name: messages name rows of the table, or pictures
by their place in the order of names.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from imbal_jax.arguments import parse_columns
from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.header import pixel_aspect
from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.folders.folder_summary import FolderSummary
from imbal_jax.data.folders.label_source import DEFAULT, find_labels
from imbal_jax.data.folders.labelled_folder import FolderImages, Progress, read_labelled_files
from imbal_jax.data.folders.listing import Listing, list_files
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.images.pictures import is_picture
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.labels import IGNORED, mask_dtype
from imbal_jax.data.masks.mask_file import MaskError, picture_size, read_mask
from imbal_jax.data.masks.naming import pair_by_name
from imbal_jax.data.masks.regions import Marked, Region, Regions, many_labels, one_class, read_coco
from imbal_jax.data.masks.run_lengths import RunLengths, decode_run_lengths
from imbal_jax.data.masks.values import BACKGROUND, FOREGROUND, ValueClasses
from imbal_jax.data.tables.cells import is_missing, patient_name, split_name
from imbal_jax.data.tables.class_folders import NAME as FOLDERS
from imbal_jax.data.tables.columns import find_columns
from imbal_jax.data.tables.csv_table import TextTable, spelling
from imbal_jax.data.tables.file_names import name_parts, patients_by_path
from imbal_jax.data.tables.labels_table import UNKNOWN_SPLIT, LabelKind, Row, Table, labels_table
from imbal_jax.data.tables.row_matching import fitting, match_names
from imbal_jax.data.tables.table_file import read_table_text
from imbal_jax.errors import InputError

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
RUN_LENGTHS = ("encodedpixels", "rle", "rlemask", "maskrle")
"""Headings of columns of run lengths, as ``csv_table.spelling`` gives them."""
BY_PATH = "of the paths"
EXPLAINED = (
    "--data.run-lengths columns (pixels from 1, down the columns), rows (along them), or relative (SIIM-ACR)"
)


@dataclass(frozen=True)
class MaskOptions:
    """What ``config.Data`` says of masks, under its names."""

    masks: str = "auto"
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    labels_file: str = DEFAULT
    label_kind: LabelKind = "auto"
    ignore_value: int | None = None
    run_lengths: RunLengths | None = None


@dataclass(frozen=True)
class _Found:
    """Where the masks are.

    files: picture -> mask file. regions: of a COCO file or run lengths, in its place. text: a table that names
    pictures, of patients and splits; None without one. listing: the pictures. notes: lines to print.
    """

    files: dict[str, str]
    regions: Regions | None
    text: TextTable | None
    listing: Listing
    notes: tuple[str, ...]


def find_masks(folder: Path, options: MaskOptions) -> _Found | None:
    """Where the masks of the pictures below ``folder`` are; None where labels are of whole images.

    masks "auto": a column that is named, a table with a column of run lengths, or files by the naming rule where no
    table has labels. Raises InputError where masks are asked for that are not there.
    """
    if options.masks == "none":
        return None
    column = parse_columns(options.columns).get("mask", "")
    asked = Path(options.masks)
    place = next((path for path in (folder / asked, asked) if path.exists()), None)
    if options.masks not in ("auto", "beside") and place is None:
        raise InputError(
            f"data.masks is {options.masks!r}: no such file or folder in {folder}; allowed are auto, none, beside, a "
            "folder of masks, a COCO file and a table"
        )
    name = place.name.lower() if place is not None and options.masks not in ("auto", "beside") else ""
    if name.endswith(".json") and place is not None:
        return _by_coco(folder, place, options)
    text, source = _table(folder, options, place if name.endswith(TABLES) else None)
    if text is not None and (column or _run_length_column(text) is not None):
        return _by_table(folder, text, source, column, options)
    if column:
        raise InputError(f"--data.columns mask={column} is given and no table is in {folder}")
    if name.endswith(TABLES):
        raise InputError(f"{name} has no column of run lengths: name it, --data.columns mask=COLUMN")
    if options.masks == "auto" and text is not None and _has_labels(text, options):
        return None
    return _by_name(folder, text, source, options, place if name else None)


def read_masked_folder(
    folder: Path,
    found: _Found,
    geometry: Geometry,
    options: MaskOptions,
    *,
    official: bool = True,
    cache: Path | None = None,
    progress: Progress | None = None,
    left_out: Path | None = None,
) -> tuple[FolderImages, FolderSummary]:
    """The pictures below ``folder`` that have a mask; labels int8 [N, size, size], or [N, size, size, L].

    found: what ``find_masks`` returned. Other arguments as for ``labelled_folder.read_folder``. Pictures are read,
    and copies of them settled, as there; two copies of a picture with other masks contradict each other. Raises
    InputError, with the row, for a mask that cannot be read or has another size than its picture.
    """
    with quiet():
        rows, patient_column, split_column, notes = _rows(found, options)
        masks, classes, said = _masks(folder, found, rows, geometry, options)
    contents = [blake2b(mask.tobytes(), digest_size=16).digest() for mask in masks]
    number = {content: place for place, content in enumerate(dict.fromkeys(contents))}
    table = Table(
        key="file",
        patient_column=patient_column,
        classes=tuple(map(str, number.values())),
        many=False,
        rows=[
            replace(row, labels=(number[content],), number=place + 1)
            for place, (row, content) in enumerate(zip(rows, contents, strict=True))
        ],
        split_column=split_column,
        person_like=patient_column == BY_PATH,
        numbered=False,
    )
    content, summary = read_labelled_files(
        folder,
        table,
        geometry,
        table_name="the masks",
        listing=found.listing,
        official=official,
        cache=cache,
        progress=progress,
        left_out=left_out,
    )
    lines = tuple(line for line in content.notes if not line.startswith("labels: "))
    labels = masks[content.rows - 1]
    return replace(
        content, labels=labels, classes=classes, notes=(*found.notes, *notes, said, *lines)
    ), summary


# Where the masks are


def _table(folder: Path, options: MaskOptions, given: Path | None) -> tuple[TextTable | None, str]:
    """The table of labels, run lengths, patients, and its name; None where there is none."""
    if given is not None:
        return read_table_text(given), given.name
    try:
        source = find_labels(folder, options.labels_file)
    except InputError:
        if options.masks == "auto":
            return None, ""
        raise
    if source == FOLDERS or not (folder / source).is_file():
        if source not in (FOLDERS, DEFAULT):
            raise InputError(f"no table {folder / source}")
        return None, ""
    return read_table_text(folder / source), source


def _run_length_column(text: TextTable) -> int | None:
    return next((i for i, heading in enumerate(text.headings) if spelling(heading) in RUN_LENGTHS), None)


def _without_mask_column(columns: Sequence[str]) -> list[str]:
    return [word for word in columns if word.partition("=")[0].strip().lower() != "mask"]


def _by_name(
    folder: Path, text: TextTable | None, source: str, options: MaskOptions, place: Path | None
) -> _Found | None:
    listing = list_files(folder, leave=(source,))
    files = sorted({*listing.files, *_arrays(folder)})
    named = ""
    if place is not None:
        if not place.is_dir():
            raise InputError(
                f"data.masks is {options.masks!r}: it is no folder, no COCO file (.json) and no table"
            )
        try:
            named = place.resolve().relative_to(folder.resolve()).as_posix()
        except ValueError:
            outside = sorted({*list_files(place).files, *_arrays(place)})
            files = [path for path in files if path in set(listing.files)]
            named = "\0masks"
            files += [f"{named}/{path}" for path in outside]
    pairs = pair_by_name(files, named)
    if not pairs.masks:
        if options.masks == "auto":
            return None
        raise InputError(
            f"no picture in {folder} has a mask: masks are called as their pictures, in a folder masks beside "
            "images, or NAME_mask.png beside NAME.png (imbal_jax.data.masks.naming)"
        )
    masks = pairs.masks
    if named.startswith("\0"):
        masks = {
            picture: str((place or folder) / mask[len(named) + 1 :]) for picture, mask in pairs.masks.items()
        }
    notes = [f"masks of {len(masks):,} pictures found by their names; --data.masks none takes labels instead"]
    if pairs.alone:
        notes.append(f"{len(pairs.alone):,} pictures have no mask: left out")
    if pairs.spare:
        notes.append(f"{len(pairs.spare):,} masks have no picture: left out")
    return _Found(masks, None, text, replace_files(listing, sorted(masks)), tuple(notes))


def replace_files(listing: Listing, files: list[str]) -> Listing:
    """The listing with other files."""
    return Listing(files, listing.passed, listing.others)


def _arrays(folder: Path) -> list[str]:
    """NPY and NPZ files, which are not listed as pictures."""
    return [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.np[yz]")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def _has_labels(text: TextTable, options: MaskOptions) -> bool:
    try:
        labels_table(text, options.classes or None, columns=options.columns, label_kind=options.label_kind)
    except InputError:
        return False
    return True


def _by_coco(folder: Path, path: Path, options: MaskOptions) -> _Found:
    regions = read_coco(path)
    text = None
    if options.labels_file != DEFAULT or (folder / DEFAULT).is_file():
        text = read_table_text(folder / options.labels_file)
    return _Found({}, regions, text, list_files(folder), (regions.said,))


def _by_table(folder: Path, text: TextTable, source: str, column: str, options: MaskOptions) -> _Found:
    """Masks by a column of files or of run lengths."""
    found = find_columns(text, options.columns)
    at = _run_length_column(text)
    if column:
        at = next(
            (i for i, heading in enumerate(text.headings) if spelling(heading) == spelling(column)), None
        )
    if at is None:
        raise InputError(f"{text.name} has no column {column!r}, which --data.columns names for mask")
    listing = list_files(folder, leave=(source,))
    cells = [row[at].strip() for _, row in text.rows]
    heading = text.headings[at]
    if all(is_missing(cell) or cell.replace(" ", "").replace("-", "").isdigit() for cell in cells):
        if options.run_lengths is None:
            raise InputError(f"column '{heading}' holds run lengths: say which, {EXPLAINED}")
        names = sorted({row[found.label] for _, row in text.rows}) if found.label is not None else [""]
        kinds = tuple(names) if found.label is not None else (FOREGROUND,)
        pictures: dict[str, Marked] = {}
        for (line, row), cell in zip(text.rows, cells, strict=True):
            marked = pictures.setdefault(row[found.file], Marked(row[found.file]))
            if not is_missing(cell) and cell != "-1":
                kind = names.index(row[found.label]) if found.label is not None else 0
                marked.regions.append(Region(kind, _run_drawing(cell, options.run_lengths, line)))
        said = f"masks by column {heading} of {text.name}: run lengths ({options.run_lengths})"
        return _Found({}, Regions(kinds, list(pictures.values()), said), text, listing, (said,))
    files = sorted({*listing.files, *_arrays(folder)})
    by_name: dict[str, list[str]] = {}
    for path in files:
        by_name.setdefault(name_parts(path)[-1], []).append(path)
    names_of = _names_of_pictures(text, found.file)
    masks: dict[str, str] = {}
    empty = 0
    for (line, _), key, cell in zip(text.rows, names_of, cells, strict=True):
        if is_missing(cell):
            empty += 1
            continue
        there = [cell] if cell in by_name.get(name_parts(cell)[-1], []) else []
        there = there or fitting(cell, by_name.get(name_parts(cell)[-1], []))
        if len(there) != 1 and not Path(cell).is_absolute():
            raise InputError(
                f"{text.name} row {line}, column '{heading}': {len(there)} files in {folder} fit: give the path "
                "below it"
            )
        masks[key] = there[0] if there else cell
    pictures_of = _match(
        text, found.file, [path for path in listing.files if path not in set(masks.values())]
    )
    chosen = {path: masks[key] for path, key in pictures_of.items() if key in masks}
    if not chosen:
        raise InputError(
            f"none of {len(text.rows)} rows of {text.name} names a picture in {folder} and its mask"
        )
    notes = [f"masks by column {heading} of {text.name}"]
    if empty:
        notes.append(f"{empty:,} rows have no mask: left out")
    return _Found(chosen, None, text, replace_files(listing, sorted(chosen)), tuple(notes))


def _run_drawing(cell: str, kind: RunLengths, line: int) -> Callable[[int, int], np.ndarray]:
    def draw(height: int, width: int) -> np.ndarray:
        try:
            return decode_run_lengths(cell, height, width, kind)
        except MaskError as error:
            raise MaskError(f"in row {line} {error}") from None

    return draw


def _names_of_pictures(text: TextTable, place: int) -> list[str]:
    return [row[place] for _, row in text.rows]


def _match(text: TextTable, place: int, files: Sequence[str]) -> dict[str, str]:
    """Picture -> what the table calls it."""
    rows = [
        Row(number, key, "", (0,))
        for number, key in enumerate(dict.fromkeys(_names_of_pictures(text, place)), start=2)
    ]
    matches, _ = match_names(files, Table("file", "", ("",), False, rows))
    return {path: row.key for path, row in matches.rows.items()}


# Rows and masks


def _rows(found: _Found, options: MaskOptions) -> tuple[list[Row], str, str, list[str]]:
    """A row for each picture that has a mask, by path; the headings of patient and split, and notes."""
    pictures = sorted(found.files) if found.regions is None else _pictures_of(found)
    if found.text is None:
        told = None if "patient=" in options.columns else patients_by_path(pictures)
        persons, by = told or ([""] * len(pictures), "")
        rows = [
            Row(place + 1, path, patient_name(person), (0,))
            for place, (path, person) in enumerate(zip(pictures, persons, strict=True))
        ]
        return rows, BY_PATH if told else "", "", [f"patients by {by} in the paths"] if told else []
    text = found.text
    columns = find_columns(text, _without_mask_column(options.columns))
    first = {row[columns.file]: (line, row) for line, row in reversed(text.rows)}
    known = _match(text, columns.file, found.listing.files)
    lacking = [path for path in pictures if path not in known]
    if lacking:
        raise InputError(
            f"{len(lacking):,} of {len(pictures):,} pictures with a mask are in no row of {text.name}: add them, "
            "or move the table away"
        )
    rows = []
    for path in pictures:
        line, cells = first[known[path]]
        person = patient_name(cells[columns.patient]) if columns.patient is not None else ""
        part = split_name(cells[columns.split]) if columns.split is not None else ""
        rows.append(Row(line, path, person, (0,), UNKNOWN_SPLIT if part is None else part))
    headings = [
        text.headings[place] if place is not None else "" for place in (columns.patient, columns.split)
    ]
    return rows, headings[0], headings[1], list(columns.notes)


def _pictures_of(found: _Found) -> list[str]:
    assert found.regions is not None
    return sorted(_marked(found))


def _marked(found: _Found) -> dict[str, Marked]:
    """Picture -> its regions, of those that are in the folder."""
    assert found.regions is not None
    by_key = {marked.key: marked for marked in found.regions.pictures}
    rows = [Row(number, key, "", (0,)) for number, key in enumerate(by_key, start=1)]
    matches, _ = match_names(found.listing.files, Table("file", "", ("",), False, rows))
    return {path: by_key[row.key] for path, row in matches.rows.items()}


def _masks(
    folder: Path, found: _Found, rows: Sequence[Row], geometry: Geometry, options: MaskOptions
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """The fitted masks of all rows, the names of the classes, and a line that says what was found."""
    if not rows:
        raise InputError(f"no picture in {folder} has a mask: {found.notes[0] if found.notes else ''}")
    if found.regions is not None:
        return _region_masks(folder, found, rows, geometry, options)
    values = ValueClasses(options.ignore_value)
    out = np.empty((len(rows), geometry.size, geometry.size), np.int8)

    def read(row: Row) -> tuple[np.ndarray, float] | InputError | None:
        try:
            height, width, turned, aspect = _size(folder / row.key)
        except ReadError:
            return None  # refused, with its reason, where the picture is read
        try:
            stored = read_mask(folder / found.files[row.key], turned=turned)
            if stored.shape != (height, width) and turned != 1:  # drawn on the upright picture
                stored = read_mask(folder / found.files[row.key])
            if stored.shape != (height, width):
                raise MaskError(
                    f"has {stored.shape[0]} x {stored.shape[1]} pixels, its picture {height} x {width}: save it in "
                    "the size of its picture"
                )
        except InputError as error:
            return MaskError(str(error))
        return stored, aspect

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for place, (row, result) in enumerate(zip(rows, _in_order(pool, read, rows), strict=True)):
            if result is None:
                out[place] = IGNORED
                continue
            if isinstance(result, InputError):
                raise InputError(f"{_whose(found, row)} {result}") from None
            stored, aspect = result
            try:
                codes = geometry.mask(values.codes(stored), aspect)
            except MaskError as error:
                raise InputError(f"{_whose(found, row)} {error}") from None
            if codes.max() > 127 and out.dtype == np.int8:
                out = out.astype(np.int16)
            out[place] = codes
    classes, table, said = values.settle(options.classes)
    for place in range(len(out)):
        out[place] = table[out[place]]  # -1 is the last entry
    return out.astype(table.dtype, copy=False), classes, said


def _in_order(
    pool: ThreadPoolExecutor, read: Callable[[Row], object], rows: Sequence[Row]
) -> Iterator[object]:
    """Results in order, a few read ahead, so that masks do not pile up."""
    ahead = 4 * (os.cpu_count() or 1)
    for start in range(0, len(rows), ahead):
        yield from pool.map(read, rows[start : start + ahead])


def _whose(found: _Found, row: Row) -> str:
    if found.text is not None:
        return f"{found.text.name} row {row.number}: the mask"
    return f"the mask of picture {row.number} in the order of names"


def _region_masks(
    folder: Path, found: _Found, rows: Sequence[Row], geometry: Geometry, options: MaskOptions
) -> tuple[np.ndarray, tuple[str, ...], str]:
    assert found.regions is not None
    kinds, marked = found.regions.kinds, _marked(found)
    classes = (BACKGROUND, *kinds)
    if options.classes and len(options.classes) == len(classes):
        classes = options.classes
    many = options.label_kind == "many"
    overlaps = 0
    shape = (len(rows), geometry.size, geometry.size)
    out = np.empty((*shape, len(kinds)), np.int8) if many else np.empty(shape, mask_dtype(len(classes)))
    for place, row in enumerate(rows):
        one = marked[row.key]
        try:
            height, width, _, aspect = _size(folder / row.key)
        except ReadError:
            out[place] = IGNORED
            continue
        try:
            if one.size not in (None, (height, width)):
                raise MaskError(
                    f"is of a picture of {one.size[0]} x {one.size[1]} pixels, which has {height} x {width}"
                )
            if many:
                out[place] = geometry.mask(many_labels(one, height, width, len(kinds)), aspect)
                continue
            pixels, overlap = one_class(one, height, width)
        except MaskError as error:
            raise InputError(f"{_whose(found, row)} {error}") from None
        overlaps += overlap
        out[place] = geometry.mask(pixels, aspect)
    if many:
        return (
            out,
            options.classes if len(options.classes) == len(kinds) else kinds,
            "labels of pixels may overlap",
        )
    if overlaps and options.label_kind == "auto":
        raise InputError(
            f"regions of different classes overlap in {overlaps:,} pictures: --data.label-kind many keeps them all, "
            "--data.label-kind one shows the smaller region"
        )
    said = f"masks of {', '.join(classes)}"
    return out, classes, said + (f"; in {overlaps:,} pictures the smaller region is seen" if overlaps else "")


def _size(path: Path) -> tuple[int, int, int, float]:
    """Height, width, EXIF orientation and the aspect of a pixel of a picture or a DICOM file; ReadError."""
    if is_picture(path):
        return (*picture_size(path), 1.0)
    header = open_dicom(path, pixels=False)
    try:
        return int(header.Rows), int(header.Columns), 1, pixel_aspect(header)
    except (AttributeError, TypeError, ValueError):
        raise ReadError("bad-header") from None
