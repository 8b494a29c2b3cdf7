"""Reads a folder of pictures with masks: mask files, a COCO file, or a table with mask files or run lengths.

As in ``labelled_folder``, neither arrays nor messages hold a file name: messages name rows of the table, or pictures
by their place in the order of names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.cores import usable_cores
from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.folders.field_of_view import beyond_field, find_fields
from imbal_jax.data.folders.folder_summary import FolderSummary
from imbal_jax.data.folders.image_file import upright_size
from imbal_jax.data.folders.labelled_folder import FolderImages, Progress, read_labelled_files
from imbal_jax.data.folders.mask_sources import FoundMasks, MaskOptions, match_pictures, without_mask_column
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.labels import IGNORED, mask_dtype
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.mask_file import read_mask
from imbal_jax.data.masks.naming import is_mask
from imbal_jax.data.masks.regions import Marked, many_labels, one_class
from imbal_jax.data.masks.values import BACKGROUND, ValueClasses
from imbal_jax.data.tables.cells import patient_name, split_name
from imbal_jax.data.tables.columns import find_columns
from imbal_jax.data.tables.file_names import patients_by_path
from imbal_jax.data.tables.labels_table import UNKNOWN_SPLIT, Row, Table
from imbal_jax.data.tables.row_matching import match_names
from imbal_jax.errors import InputError

BY_PATH = "of the paths"


def read_masked_folder(
    folder: Path,
    found: FoundMasks,
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
    masked = mask_table(folder, found, geometry, options)
    content, summary = read_labelled_files(
        folder,
        masked.table,
        geometry,
        table_name="the masks",
        listing=found.listing,
        official=official,
        cache=cache,
        progress=progress,
        left_out=left_out,
    )
    lines = tuple(line for line in content.notes if not line.startswith("labels: "))
    labels = masked.masks[content.rows - 1]
    return replace(content, labels=labels, classes=masked.classes, notes=(*masked.notes, *lines)), summary


@dataclass(frozen=True)
class MaskTable:
    """The masks of a folder as a labels table, in which equal masks are one class.

    table: row i, of number i + 1, names the picture of ``masks[i]``, its patient and its split. masks: int8 [N, size,
    size], or [N, size, size, L]. classes: of the masks' values. notes: how masks and patients were found.
    """

    table: Table
    masks: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def mask_table(folder: Path, found: FoundMasks, geometry: Geometry, options: MaskOptions) -> MaskTable:
    """Read all masks; arguments and errors as for ``read_masked_folder``."""
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
    return MaskTable(table, masks, classes, (*found.notes, *notes, said))


def _rows(found: FoundMasks, options: MaskOptions) -> tuple[list[Row], str, str, list[str]]:
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
    columns = find_columns(text, without_mask_column(options.columns))
    first = {row[columns.file]: (line, row) for line, row in reversed(text.rows)}
    known = match_pictures(text, columns.file, found.listing.files)
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


def _pictures_of(found: FoundMasks) -> list[str]:
    assert found.regions is not None
    return sorted(_marked(found))


def _marked(found: FoundMasks) -> dict[str, Marked]:
    """Picture -> its regions, of those that are in the folder."""
    assert found.regions is not None
    by_key = {marked.key: marked for marked in found.regions.pictures}
    rows = [Row(number, key, "", (0,)) for number, key in enumerate(by_key, start=1)]
    pictures = [path for path in found.listing.files if not is_mask(path)]
    matches, _ = match_names(pictures, Table("file", "", ("",), False, rows))
    return {path: by_key[row.key] for path, row in matches.rows.items()}


def _masks(
    folder: Path, found: FoundMasks, rows: Sequence[Row], geometry: Geometry, options: MaskOptions
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """The fitted masks of all rows, the names of the classes, and a line that says what was found."""
    if not rows:
        raise InputError(f"no picture in {folder} has a mask: {found.notes[0] if found.notes else ''}")
    fields = find_fields([row.key for row in rows], found.fields) if found.fields else {}
    if found.regions is not None:
        return _region_masks(folder, found, rows, geometry, options, fields)
    values = ValueClasses(options.ignore_value)
    out = np.empty((len(rows), geometry.size, geometry.size), np.int8)

    def read(row: Row) -> tuple[np.ndarray, np.ndarray | None, float] | InputError | None:
        try:
            height, width, turned, aspect = upright_size(folder / row.key)
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
            beyond = beyond_field(fields[row.key], stored.shape, turned) if fields else None
        except InputError as error:
            return MaskError(str(error))
        return stored, beyond, aspect

    with ThreadPoolExecutor(usable_cores()) as pool:
        for place, (row, result) in enumerate(zip(rows, _in_order(pool, read, rows), strict=True)):
            if result is None:
                out[place] = IGNORED
                continue
            if isinstance(result, InputError):
                raise InputError(f"{_whose(found, row)} {result}") from None
            stored, beyond, aspect = result
            try:
                codes = values.codes(stored)
            except MaskError as error:
                raise InputError(f"{_whose(found, row)} {error}") from None
            if beyond is not None:
                codes[beyond] = IGNORED
            codes = geometry.mask(codes, aspect)
            if codes.max() > 127 and out.dtype == np.int8:
                out = out.astype(np.int16)
            out[place] = codes
    classes, table, said = values.settle(options.classes)
    for place in range(len(out)):
        out[place] = table[out[place]]  # -1 is the last entry
    return out.astype(table.dtype, copy=False), classes, said


def _in_order(pool: ThreadPoolExecutor, read: Callable[[Row], Any], rows: Sequence[Row]) -> Iterator[Any]:
    """Results in order, a few read ahead, so that masks do not pile up."""
    ahead = 4 * usable_cores()
    for start in range(0, len(rows), ahead):
        yield from pool.map(read, rows[start : start + ahead])


def _whose(found: FoundMasks, row: Row) -> str:
    if found.text is not None:
        return f"{found.text.name} row {row.number}: the mask"
    return f"the mask of picture {row.number} in the order of names"


def _region_masks(
    folder: Path,
    found: FoundMasks,
    rows: Sequence[Row],
    geometry: Geometry,
    options: MaskOptions,
    fields: Mapping[str, Path],
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
            height, width, turned, aspect = upright_size(folder / row.key)
        except ReadError:
            out[place] = IGNORED
            continue
        try:
            if one.size not in (None, (height, width)):
                raise MaskError(
                    f"is of a picture of {one.size[0]} x {one.size[1]} pixels, which has {height} x {width}"
                )
            if many:
                pixels, overlap = many_labels(one, height, width, len(kinds)), False
            else:
                pixels, overlap = one_class(one, height, width)
            if fields:
                pixels[beyond_field(fields[row.key], (height, width), turned)] = IGNORED
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
