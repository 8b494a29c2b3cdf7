"""What an ingest is asked for: the labels of images, or their masks, and the files of the folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b

import numpy as np

from imbal_jax.arguments import parse_columns
from imbal_jax.data.folders.field_of_view import inside
from imbal_jax.data.folders.label_source import DEFAULT, read_labels
from imbal_jax.data.folders.listing import Listing, list_files
from imbal_jax.data.folders.mask_sources import MaskOptions, find_masks
from imbal_jax.data.folders.masked_folder import mask_table
from imbal_jax.data.ingest.options import IngestOptions, ingest_options_named
from imbal_jax.data.ingest.record_writing import Item
from imbal_jax.data.labels import LabelLayout, image_labels
from imbal_jax.data.pseudonyms import Key
from imbal_jax.data.tables.labels_table import Row, Table
from imbal_jax.errors import InputError


@dataclass(frozen=True)
class Asked:
    """The rows that records are made of.

    table: names files; of masks, as ``masked_folder.MaskTable`` has it. listing: the files of the folder. classes: of
    images, or of pixels. masks: of the rows, [rows, size, size] or [rows, size, size, L]; None where images have
    labels. of_masks: the files of the listing that hold masks or fields of view.
    """

    table: Table
    listing: Listing
    classes: tuple[str, ...]
    masks: np.ndarray | None = None
    of_masks: frozenset[str] = frozenset()

    @property
    def layout(self) -> LabelLayout:
        """Of the labels in the records."""
        return self.table.layout if self.masks is None else LabelLayout.of(self.masks, self.classes)

    @property
    def counted(self) -> Table:
        """The table with the classes that a summary counts: of masks, whether each occurs in an image."""
        return self.table if self.masks is None else replace(self.table, classes=self.classes, many=True)

    def labelled(self, items: Sequence[Item], rows: Sequence[Row]) -> list[Item]:
        """The items with the labels of their rows."""
        if self.masks is None:
            return list(items)
        return [
            replace(item, labels=self.masks[row.number - 1]) for item, row in zip(items, rows, strict=True)
        ]

    def of_images(self, items: Sequence[Item]) -> np.ndarray:
        """What is known of whole images: int [N], int8 [N, L], or int8 [N, C] of masks."""
        return image_labels(self.layout.array([item.labels for item in items]), len(self.classes))

    def hashes(self, key: Key) -> Mapping[str, str]:
        """A keyed hash of the masks; empty without masks."""
        if self.masks is None:
            return {}
        return {"masks": key.of("masks", blake2b(np.ascontiguousarray(self.masks).data).hexdigest())}


def what_is_asked(options: IngestOptions) -> Asked:
    """The table of labels or masks, and the files of the folder, which are listed only for a table that can be used.

    Raises InputError for a table or masks that cannot be used, and where all images are of one class.
    """
    if options.masks != "none" or "mask" in parse_columns(options.columns):
        return _masks(options)
    listed = cache(lambda: list_files(options.folder))
    with ingest_options_named():
        table = read_labels(
            options.folder,
            options.label_source,
            lambda: listed().files,
            classes=options.classes or None,
            columns=options.columns,
            label_kind=options.label_kind,
        )
    if not table.many and len(table.classes) == 1:
        raise InputError(
            "all rows are of one class, and a classifier needs two or more: add rows of another class, or, to score "
            "a network on these images, name the classes that it knows, --classes A B"
        )
    return Asked(table, listed(), table.classes)


def _masks(options: IngestOptions) -> Asked:
    with ingest_options_named():
        asked = MaskOptions(
            masks="auto" if options.masks == "none" else options.masks,
            classes=options.classes,
            columns=options.columns,
            labels_file=DEFAULT if options.labels is None else str(options.label_source),
            label_kind=options.label_kind,
            ignore_value=options.ignore_value,
            run_lengths=options.run_lengths,
            field_of_view=options.field_of_view,
        )
        found = find_masks(options.folder, asked)
        if found is None:
            raise InputError(
                f"--masks is {options.masks!r} and {options.folder} holds no masks: beside, a folder of masks, a "
                "COCO file, a table of run lengths, or --columns mask=COLUMN"
            )
        masked = mask_table(options.folder, found, options.geometry, asked)
    table = replace(masked.table, notes=masked.notes)
    listing = list_files(options.folder)
    start = inside(options.folder, found.fields) if found.fields else ""
    used = {*found.files.values(), *(path for path in listing.files if start and path.startswith(start))}
    return Asked(table, listing, masked.classes, masked.masks, frozenset(used & {*listing.files}))
