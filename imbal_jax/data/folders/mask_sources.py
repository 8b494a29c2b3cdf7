"""Finds where the masks of a folder's pictures are: in files, a COCO file, or a column of a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imbal_jax.arguments import parse_columns
from imbal_jax.data.folders.field_of_view import OPTION, fields_place, inside
from imbal_jax.data.folders.label_source import DEFAULT, find_labels
from imbal_jax.data.folders.listing import Listing, list_files
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.naming import is_mask, pair_by_name
from imbal_jax.data.masks.regions import Marked, Region, Regions, read_coco
from imbal_jax.data.masks.run_lengths import RunLengths, decode_run_lengths
from imbal_jax.data.masks.values import FOREGROUND
from imbal_jax.data.tables.cells import is_missing
from imbal_jax.data.tables.class_folders import NAME as FOLDERS
from imbal_jax.data.tables.columns import find_columns
from imbal_jax.data.tables.csv_table import TextTable, spelling
from imbal_jax.data.tables.file_names import name_parts
from imbal_jax.data.tables.labels_table import LabelKind, Row, Table, labels_table
from imbal_jax.data.tables.row_matching import fitting, match_names
from imbal_jax.data.tables.table_file import read_table_text
from imbal_jax.errors import InputError

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
RUN_LENGTHS = ("encodedpixels", "rle", "rlemask", "maskrle")
CLASS_COLUMNS = ("classid", "categoryid", "labelid")
"""Headings of columns of run lengths and of their classes, as ``csv_table.spelling`` gives them."""
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
    field_of_view: str = ""


@dataclass(frozen=True)
class FoundMasks:
    """Where the masks are.

    files: picture -> mask file. regions: of a COCO file or run lengths, in its place. text: a table that names
    pictures, of patients and splits; None without one. listing: the pictures. notes: lines to print. fields: the
    folder of the fields of view; None where all pixels count.
    """

    files: dict[str, str]
    regions: Regions | None
    text: TextTable | None
    listing: Listing
    notes: tuple[str, ...]
    fields: Path | None = None


def find_masks(folder: Path, options: MaskOptions) -> FoundMasks | None:
    """Where the masks of the pictures below ``folder`` are; None where labels are of whole images.

    masks "auto": a column that is named, a table with a column of run lengths, or files by the naming rule where no
    table has labels. Raises InputError where masks, or fields of view, are asked for that are not there.
    """
    place = fields_place(folder, options.field_of_view) if options.field_of_view else None
    found = _find(folder, options)
    if place is None or found is None:
        if place is not None:
            raise InputError(f"{OPTION} is given, and the labels are of whole images: it belongs to masks")
        return found
    said = f"pixels beyond the field of view, which {options.field_of_view} has, do not count"
    return replace(found, fields=place, notes=(*found.notes, said))


def _find(folder: Path, options: MaskOptions) -> FoundMasks | None:
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


def _class_column(text: TextTable) -> int | None:
    """The column of classes of run lengths that is called ClassId, as in contests."""
    return next((i for i, heading in enumerate(text.headings) if spelling(heading) in CLASS_COLUMNS), None)


def without_mask_column(columns: Sequence[str]) -> list[str]:
    return [word for word in columns if word.partition("=")[0].strip().lower() != "mask"]


def _by_name(
    folder: Path, text: TextTable | None, source: str, options: MaskOptions, place: Path | None
) -> FoundMasks | None:
    listing = _listed(folder, options, source)
    files = sorted({*listing.files, *_arrays(folder, options)})
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
    return FoundMasks(masks, None, text, replace_files(listing, sorted(masks)), tuple(notes))


def replace_files(listing: Listing, files: list[str]) -> Listing:
    """The listing with other files."""
    return replace(listing, files=files)


def _listed(folder: Path, options: MaskOptions, source: str = "") -> Listing:
    """The files below ``folder`` without the table and the fields of view."""
    listing = list_files(folder, leave=(source,))
    return replace_files(listing, _without_fields(folder, options, listing.files))


def _arrays(folder: Path, options: MaskOptions | None = None) -> list[str]:
    """NPY and NPZ files, which are not listed as pictures; without the fields of view."""
    paths = [path.relative_to(folder) for path in folder.rglob("*.np[yz]")]
    names = [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]
    return names if options is None else _without_fields(folder, options, names)


def _without_fields(folder: Path, options: MaskOptions, files: list[str]) -> list[str]:
    if not options.field_of_view:
        return files
    start = inside(folder, fields_place(folder, options.field_of_view))
    return [path for path in files if not (start and path.startswith(start))]


def _has_labels(text: TextTable, options: MaskOptions) -> bool:
    try:
        labels_table(text, options.classes or None, columns=options.columns, label_kind=options.label_kind)
    except InputError:
        return False
    return True


def _by_coco(folder: Path, path: Path, options: MaskOptions) -> FoundMasks:
    regions = read_coco(path)
    text = None
    if options.labels_file != DEFAULT or (folder / DEFAULT).is_file():
        text = read_table_text(folder / options.labels_file)
    return FoundMasks({}, regions, text, _listed(folder, options), (regions.said,))


def _by_table(folder: Path, text: TextTable, source: str, column: str, options: MaskOptions) -> FoundMasks:
    """Masks by a column of files or of run lengths."""
    found = find_columns(text, options.columns)
    at = _run_length_column(text)
    if column:
        at = next(
            (i for i, heading in enumerate(text.headings) if spelling(heading) == spelling(column)), None
        )
    if at is None:
        raise InputError(f"{text.name} has no column {column!r}, which --data.columns names for mask")
    listing = _listed(folder, options, source)
    cells = [row[at].strip() for _, row in text.rows]
    heading = text.headings[at]
    if all(is_missing(cell) or cell.replace(" ", "").replace("-", "").isdigit() for cell in cells):
        if options.run_lengths is None:
            raise InputError(f"column '{heading}' holds run lengths: say which, {EXPLAINED}")
        class_at = _class_column(text) if found.label is None else found.label
        names = (
            sorted({row[class_at] for _, row in text.rows if row[class_at]}) if class_at is not None else []
        )
        pictures: dict[str, Marked] = {}
        for (line, row), cell in zip(text.rows, cells, strict=True):
            marked = pictures.setdefault(row[found.file], Marked(row[found.file]))
            if is_missing(cell) or cell == "-1":
                continue
            if class_at is not None and not row[class_at]:
                raise InputError(f"{text.name} row {line} has run lengths and no class: fill it in")
            kind = names.index(row[class_at]) if class_at is not None else 0
            marked.regions.append(Region(kind, _run_drawing(cell, options.run_lengths, line)))
        kinds = tuple(names) or (FOREGROUND,)
        said = f"masks by column {heading} of {text.name}: run lengths ({options.run_lengths})"
        return FoundMasks({}, Regions(kinds, list(pictures.values()), said), text, listing, (said,))
    files = sorted({*listing.files, *_arrays(folder, options)})
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
    pictures_of = match_pictures(
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
    return FoundMasks(chosen, None, text, replace_files(listing, sorted(chosen)), tuple(notes))


def _run_drawing(cell: str, kind: RunLengths, line: int) -> Callable[[int, int], np.ndarray]:
    def draw(height: int, width: int) -> np.ndarray:
        try:
            return decode_run_lengths(cell, height, width, kind)
        except MaskError as error:
            raise InputError(f"row {line}: the mask {error}") from None

    return draw


def _names_of_pictures(text: TextTable, place: int) -> list[str]:
    return [row[place] for _, row in text.rows]


def match_pictures(text: TextTable, place: int, files: Sequence[str]) -> dict[str, str]:
    """Picture -> what the table calls it."""
    rows = [
        Row(number, key, "", (0,))
        for number, key in enumerate(dict.fromkeys(_names_of_pictures(text, place)), start=2)
    ]
    pictures = [path for path in files if not is_mask(path)]
    matches, _ = match_names(pictures, Table("file", "", ("",), False, rows))
    return {path: row.key for path, row in matches.rows.items()}
