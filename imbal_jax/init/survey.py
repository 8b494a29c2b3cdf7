"""Finds out what data there are: images, classes, patients, split, and what is wrong with them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imbal_jax.config import Config, Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.folders.label_source import Labelled, open_labelled
from imbal_jax.data.folders.labelled_folder import read_labelled_files
from imbal_jax.data.folders.left_out import NAME as LEFT_OUT
from imbal_jax.data.folders.listing import list_files
from imbal_jax.data.folders.mask_sources import MaskOptions, find_masks
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.labels import image_counts
from imbal_jax.data.read import Indices, Say, counter, read
from imbal_jax.data.records.array_records import prepared_folders
from imbal_jax.data.sources.npz_file import npz_path
from imbal_jax.data.tables.row_matching import match_names
from imbal_jax.errors import InputError
from imbal_jax.init.look import Pictures, look, look_at_arrays

MOST_READ = 4000  # images of a folder that are read; of a larger one a part


@dataclass(frozen=True)
class Survey:
    """What lies at a place, and how to read it.

    options: that read it, as far as they are known. data: the images that were read, of a large folder a part.
    given: their own split. images: of the whole set.
    """

    options: Data
    data: Dataset
    given: Indices | None
    pictures: Pictures
    images: int

    @property
    def is_part(self) -> bool:
        """Whether only a part of the set was read."""
        return self.images > len(self.data)


def kind_of(where: Path) -> str:
    """The ``Data.source`` of a file or folder of one's own: npz, records or folder; InputError where nothing is."""
    if where.suffix.lower() == ".npz" and where.is_file():
        return "npz"
    if not where.is_dir():
        raise InputError(f"no folder {where}: name the one that holds the images, or an NPZ file")
    if prepared_folders(where):
        return "records"
    holds_npz = any(where.glob("*.npz"))
    if holds_npz and not list_files(where).files:
        return "npz"
    return "folder"


def survey(config: Config, workdir: Path, size_of: Callable[[Pictures, bool], int], say: Say) -> Survey:
    """Read what ``config.data`` names, whose source is npz, records or folder.

    workdir: where decoded files are kept for the training. size_of: the side of the images for pictures of a folder,
    which have masks (True) or labels. Errors as for ``load.load``.
    """
    options = config.data
    if options.source == "folder":
        return _folder(options, workdir, size_of, say)
    if options.source == "npz" and options.dir is not None:
        options = replace(options, dir=npz_path(options.dir))
    data, given = read(options, workdir, lambda line: None)
    height, width, channels = data.images.shape[1:]
    kind = "arrays" if options.source == "npz" else "records"
    pictures = look_at_arrays(len(data), (height, width, channels), f"{kind} of {data.images.dtype}")
    counts = image_counts(data.image_labels, len(data.classes)).tolist()
    labels = ", ".join(f"{name} {count}" for name, count in zip(data.classes, counts, strict=True))
    patients = len(np.unique(data.groups))
    data = replace(
        data, notes=(f"{len(data)} images of {patients} patients", f"labels: {labels}", *data.notes)
    )
    return Survey(options, data, given, pictures, len(data))


def _folder(options: Data, workdir: Path, size_of: Callable[[Pictures, bool], int], say: Say) -> Survey:
    folder = options.dir
    assert folder is not None
    masks = find_masks(
        folder,
        MaskOptions(
            options.masks,
            options.classes,
            options.columns,
            options.labels_file,
            options.label_kind,
            options.ignore_value,
            options.run_lengths,
            options.field_of_view,
        ),
    )
    if masks is not None:
        pictures = look(folder, sorted(masks.files) or masks.listing.files)
        options = _fitted(options, pictures, size_of(pictures, True))
        data, given = read(options, workdir, say)
        return Survey(options, data, given, pictures, len(data))
    found = open_labelled(
        folder,
        options.labels_file,
        classes=options.classes or None,
        columns=options.columns,
        label_kind=options.label_kind,
    )
    files = found.listing.files
    pictures = look(folder, sorted(match_names(files, found.table)[0].rows) or files)
    options = _fitted(options, pictures, size_of(pictures, False))
    channels = options.channels or 1
    geometry = Geometry(options.image_size, options.fit or "pad", channels, 8, options.voi)
    data, given, images = _read(options, workdir, found, geometry, say)
    return Survey(options, data, given, pictures, images)


def _fitted(options: Data, pictures: Pictures, size: int) -> Data:
    """``options`` with the size, and colour where most pictures have it."""
    channels = options.channels or (3 if pictures.in_colour else None)
    return replace(options, channels=channels, image_size=size)


def _read(
    options: Data, workdir: Path, labelled: Labelled, geometry: Geometry, say: Say
) -> tuple[Dataset, Indices | None, int]:
    """The images of the folder, or of a large one those of some rows; their split; and how many there are in all."""
    folder = options.dir
    assert folder is not None
    table = labelled.table
    rows, whole = table.rows, len(table.rows) <= MOST_READ
    if not whole:
        kept = np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST_READ])
        rows = [rows[place] for place in kept.tolist()]
        say(f"of {len(table.rows):,} rows {MOST_READ:,}, drawn at random, are looked at")
    content, summary = read_labelled_files(
        folder,
        replace(table, rows=rows),
        geometry,
        table_name=labelled.source,
        listing=labelled.listing,
        official=options.split == "official",
        cache=workdir / "cache" if whole else None,
        progress=counter(say, "files read"),
        left_out=workdir / LEFT_OUT if whole else None,
    )
    data = Dataset.of_folder(content)
    if not whole:
        notes = tuple(note for note in data.notes if "without a row" not in note)
        data = replace(data, notes=notes)
    images = summary.read if whole else round(summary.read * len(table.rows) / len(rows))
    return data, summary.splits, images
