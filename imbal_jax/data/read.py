"""Reads the images and labels of a set, from any of the sources that a config can name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.folders.labelled_folder import read_folder
from imbal_jax.data.folders.left_out import NAME as LEFT_OUT
from imbal_jax.data.folders.mask_sources import MaskOptions, find_masks
from imbal_jax.data.folders.masked_folder import read_masked_folder
from imbal_jax.data.images.geometry import AskedGeometry, Geometry
from imbal_jax.data.records.record_set import open_records
from imbal_jax.data.records.remote import fetch_set, remote_address
from imbal_jax.data.sources.npz_file import npz_set
from imbal_jax.data.sources.own import own_source
from imbal_jax.data.sources.phantom import write_phantoms
from imbal_jax.data.sources.phantom_lesions import read_phantom_lesions
from imbal_jax.data.sources.public_sets import PUBLIC
from imbal_jax.data.sources.sequences import SOURCE as SEQUENCES
from imbal_jax.data.sources.signals import read_signals
from imbal_jax.data.sources.tfds_preparation import PREFIX
from imbal_jax.data.tables.given_split import PARTS as SPLITS
from imbal_jax.errors import InputError
from imbal_jax.import_paths import is_import_path

Say = Callable[[str], None]
Indices = Mapping[str, np.ndarray]

ARRAYS = "arrays"
"""``Data.source`` of a run whose data set was passed from Python."""


def read(
    options: Data,
    folder: Path,
    say: Say,
    classes: tuple[str, ...] | None = None,
    geometry: Geometry | None = None,
) -> tuple[Dataset, Indices | None]:
    """All images of the set, and the split that it comes with, if any; not checked yet.

    classes: names and their order for a folder's table, which may lack some; None: those of the table.
    geometry: as for ``load``.
    """
    asked = (
        AskedGeometry(size=options.image_size, fit=options.fit, channels=options.channels, voi=options.voi)
        if geometry is None
        else AskedGeometry(**geometry.options)
    )
    data, given = _read(_Request(options, folder, say, classes, asked))
    for note in data.notes:
        say(note)
    if data.geometry is not None:
        say(f"pictures: {data.geometry}")
    if geometry is not None:
        check_geometry(geometry, data)
    return data, given


def check_geometry(geometry: Geometry, data: Dataset) -> None:
    """InputError where ``data`` was made by another geometry than that of a run."""
    differing = "" if data.geometry is None else geometry.difference(data.geometry)
    if differing:
        raise InputError(
            f"the images were made with {differing}, as the network's training images were: make them so, or read "
            "them from their source"
        )


@dataclass(frozen=True)
class _Request:
    """A request to read a data set.

    folder: where phantoms and caches may be written. classes: names and their order for a folder's table; None: those
    of the table. pictures: how they become arrays.
    """

    options: Data
    folder: Path
    say: Say
    classes: tuple[str, ...] | None
    pictures: AskedGeometry


def _read(asked: _Request) -> tuple[Dataset, Indices | None]:
    options = asked.options
    if options.field_of_view and options.source != "folder":
        raise InputError(
            f"data.field_of_view belongs to data.source folder, not {options.source}: leave it out, or mark the "
            "pixels that do not count in the masks"
        )
    if options.source == "phantom":
        return _phantoms(asked), None
    if options.source == "phantom_lesions":
        return read_phantom_lesions(options, asked.pictures), None
    if options.source == "signals":
        return read_signals(options, counter(asked.say, "images of signals made"))
    if options.source == SEQUENCES:
        raise InputError("data.source is sequences, which are drawn in three splits: name one, --split test")
    if options.source == "folder":
        return _folder(asked, _given_dir(options, "images"))
    if options.source == "npz":
        return npz_set(options, asked.pictures)
    if options.source == "records":
        return _records(asked, _given_dir(options, "records"))
    if options.source.startswith(PREFIX):
        return _tfds(asked)
    if is_import_path(options.source):
        return own_source(options)
    if options.source in PUBLIC:
        return PUBLIC[options.source].load(options.dir, asked.pictures, download=options.download)
    if options.source == ARRAYS:
        raise InputError(
            "the run was trained on arrays that a Python program gave: give them to imbal_jax.fit again, or name "
            "other data, --data.source folder --data.dir DIR"
        )
    raise InputError(
        f"data.source is {options.source!r}, allowed are phantom, phantom_lesions, signals, sequences, folder, npz, "
        f"records, tfds:NAME, {', '.join(PUBLIC)}, and package.module:name"
    )


def _given_dir(options: Data, of: str) -> Path:
    if options.dir is None:
        raise InputError(f"data.dir is not given: name the folder of {of}, --data.dir DIR")
    return options.dir


def _phantoms(asked: _Request) -> Dataset:
    options = asked.options
    where = options.dir or asked.folder / "phantoms"
    write_phantoms(
        where,
        images=options.phantom_images,
        imbalance=options.phantom_imbalance,
        size=max(96, asked.pictures.size),
        seed=options.split_seed,
        progress=counter(asked.say, "phantom radiographs written"),
    )
    return _folder(asked, where)[0]


def _folder(asked: _Request, where: Path) -> tuple[Dataset, Indices | None]:
    options, left_out = asked.options, asked.folder / LEFT_OUT
    if not where.is_dir():
        raise InputError(f"no folder {where}")
    asked_masks = MaskOptions(
        options.masks,
        tuple(asked.classes or options.classes),
        options.columns,
        options.labels_file,
        options.label_kind,
        options.ignore_value,
        options.run_lengths,
        options.field_of_view,
    )
    masks = find_masks(where, asked_masks)
    if masks is not None:
        content, summary = read_masked_folder(
            where,
            masks,
            asked.pictures.geometry(),
            asked_masks,
            official=options.split == "official",
            cache=asked.folder / "cache",
            progress=counter(asked.say, "images read"),
            left_out=left_out,
        )
        return Dataset.of_folder(content), summary.splits
    content, summary = read_folder(
        where,
        **asked.pictures.geometry().options,
        labels_file=options.labels_file,
        classes=asked.classes or options.classes or None,
        columns=options.columns,
        label_kind=options.label_kind,
        split=options.split,
        cache=asked.folder / "cache",
        progress=counter(asked.say, "images read"),
        left_out=left_out,
    )
    if left_out.is_file():
        asked.say(f"rows and files that were left out: {left_out}")
    return Dataset.of_folder(content), summary.splits


def _records(asked: _Request, where: Path) -> tuple[Dataset, Indices]:
    """A prepared set, whose images stay on disk, in the splits that were stored."""
    options, say = asked.options, asked.say
    if address := remote_address(where):
        where = fetch_set(address, progress=counter(say, f"files of {address} are here"))
        say(f"{address} is read from {where}")
    records = open_records(where, progress=counter(say, "records indexed"))
    made = records.geometry
    for name in ("fit", "channels"):
        wanted = getattr(options, name)
        if wanted is not None and (made is None or wanted != getattr(made, name)):
            has = "nothing known" if made is None else getattr(made, name)
            raise InputError(
                f"--data.{name} {wanted} is asked, the records in {where} were made with {has}: leave it out, "
                "or make them again"
            )
    indices = {name: rows for name in SPLITS if len(rows := records.splits.get(name, np.arange(0)))}
    height, width, channels = records.images.shape[1:]
    say(
        f"{len(records):,} records of {height} x {width} x {channels} {records.images.dtype} in "
        f"{len(indices)} splits, read from disk as they are needed"
    )
    data = Dataset(
        records.images, records.labels, records.groups, records.classes, records.notes, records.geometry
    )
    return data, indices


def _tfds(asked: _Request) -> tuple[Dataset, Indices]:
    """A set of the tensorflow-datasets catalogue."""
    options, say = asked.options, asked.say
    from imbal_jax.data.sources.tfds_set import open_named

    name = options.source.removeprefix(PREFIX)
    named = open_named(
        name, options.dir, asked.pictures, download=options.download, progress=counter(say, "records read")
    )
    if options.masks not in ("auto", "none", "beside"):
        raise InputError(
            f"data.masks is {options.masks!r}, allowed for {named.name} are auto, none and beside"
        )
    if options.masks == "beside" or (options.masks == "auto" and named.labels is None):
        data = named.masked_dataset(asked.classes or options.classes, options.ignore_value)
    else:
        data = named.dataset()
    kept = "in memory" if isinstance(data.images, np.ndarray) else "read from disk as they are needed"
    parts = ", ".join(f"{part} {len(rows):,}" for part, rows in named.splits.items())
    say(f"{named.name}: {len(data):,} images, {kept}; its own splits: {parts}")
    if not named.names_patients:
        say(f"{named.name} names no patients: each image counts as its own patient")
    unused = [part for part in named.splits if part not in SPLITS]
    if unused and options.split == "official":
        say(
            f"{named.name}: images of {', '.join(unused)} are left out; with --data.split patient they count too"
        )
    return data, {part: rows for part, rows in named.splits.items() if part in SPLITS}


def counter(say: Say, what: str) -> Callable[[int, int], None]:
    """Progress of reading, printed at every quarter."""
    said = [0]

    def progress(done: int, total: int) -> None:
        quarter = 4 * done // max(total, 1)
        if quarter > said[0]:
            said[0] = quarter
            say(f"{done:,} of {total:,} {what}")

    return progress
