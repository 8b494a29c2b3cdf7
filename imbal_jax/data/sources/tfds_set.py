"""Opens data sets of the tensorflow-datasets catalogue by name, ``tfds:NAME``.

No TensorFlow: records are parsed as they are stored, and pictures in them are decoded by Pillow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.data.dataset import Dataset, Images, image_bytes, take_images
from imbal_jax.data.images.geometry import AskedGeometry, Geometry
from imbal_jax.data.labels import is_many
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.values import ValueClasses
from imbal_jax.data.records.array_records import RecordFiles, parse
from imbal_jax.data.records.record_set import RecordImages
from imbal_jax.data.sources.tfds_features import Chosen, Labels, Pixels, choose, stored_as
from imbal_jax.data.sources.tfds_preparation import PREFIX, prepared
from imbal_jax.data.splits.patient_split import patients_of
from imbal_jax.errors import InputError, first_line

IN_MEMORY = 2**31  # bytes of pixels; larger sets stay on disk

_ALIASES = {"val": "validation", "valid": "validation", "dev": "validation"}


@dataclass(frozen=True, eq=False)
class NamedImages(RecordImages):
    """Images or masks on disk, in the feature ``key``."""

    key: str = "image"

    def select(self, indices: Any) -> "NamedImages":
        return replace(self, rows=self.rows[indices])

    def _read(self, row: int) -> np.ndarray:
        return self.decoded(parse(self.files[row]), row)

    def decoded(self, record: Any, row: int) -> np.ndarray:
        """The pixels of a record that was read; InputError where it holds none."""
        try:
            return self.stored.decode(record[self.key])
        except (ValueError, OSError) as error:
            reason = first_line(error)
            raise InputError(
                f"{self.key} of record {row} cannot be decoded ({reason}): prepare the set again"
            ) from error


@dataclass(frozen=True)
class NamedSet:
    """A data set of the catalogue that is open.

    images: [N, size, size, C] uint8 or uint16, in memory or on disk. labels: int32 [N], a class; int8 [N, L]; or
    None where the set has masks only. masks: [N, size, size, 1], on disk, or None. groups: int [N], the patients, or
    the records where the set names none. splits: the set's own, as train, validation, test or what it calls them.
    geometry: how the pictures became these arrays.
    """

    name: str
    images: Images
    labels: np.ndarray | None
    masks: NamedImages | None
    groups: np.ndarray
    names_patients: bool
    classes: tuple[str, ...]
    splits: dict[str, np.ndarray]
    geometry: Geometry

    def dataset(self) -> Dataset:
        """What can be trained on; InputError where there are no labels."""
        if self.labels is None:
            key = "" if self.masks is None else self.masks.key
            raise InputError(
                f"{self.name} has a mask ({key}) and no label: train on masks, --data.masks beside"
            )
        return Dataset(self.images, self.labels, self.groups, self.classes, geometry=self.geometry)

    def masked_dataset(self, names: Sequence[str] = (), ignore: int | None = None) -> Dataset:
        """The images with their masks, which are read into memory; InputError where there are none.

        names, ignore: as ``masks.values.ValueClasses`` takes them.
        """
        if self.masks is None:
            raise InputError(f"{self.name} has no masks: train on its labels, --data.masks none")
        stored: Any = self.masks.stored
        reader = replace(self.masks, stored=replace(stored, signed=True))
        values, size = ValueClasses(ignore), self.geometry.size
        out = np.empty((len(reader), size, size), np.int16)
        for place in range(len(reader)):
            try:
                out[place] = values.codes(reader[place][..., 0])
            except MaskError as error:
                raise InputError(f"{self.masks.key} of record {place} {error}") from None
        classes, table, said = values.settle(tuple(names))
        return Dataset(self.images, table[out], self.groups, classes, (said,), geometry=self.geometry)

    def take(self, indices: np.ndarray) -> "NamedSet":
        """The records at ``indices``, which are sorted; splits that none of them is in are left out."""
        place = np.full(len(self.groups), -1)
        place[indices] = np.arange(len(indices))
        splits = {name: place[part][place[part] >= 0] for name, part in self.splits.items()}
        return replace(
            self,
            images=take_images(self.images, indices),
            labels=None if self.labels is None else self.labels[indices],
            masks=None if self.masks is None else self.masks.select(indices),
            groups=self.groups[indices],
            splits={name: part for name, part in splits.items() if len(part)},
        )


def open_named(
    name: str,
    folder: Path | None,
    asked: AskedGeometry,
    *,
    download: bool = False,
    in_memory: int = IN_MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> NamedSet:
    """The data set ``name``: NAME, NAME/CONFIG or NAME:VERSION, as tensorflow-datasets spells them.

    folder: where prepared sets lie (as NAME/VERSION below it), or the prepared set itself; None: where the library
        keeps them. asked: None is what the set has. download: prepare a set that is not there. in_memory: bytes of
        pixels up to which images are read at once; for a larger set every record is read for its label each time it
        is opened. progress: called with (records read, records).

    ``tfds_features.choose`` says which features are read. Records of the label -1, which contests hide, are left out.
    Raises InputError, in one line, for an unknown name, a set that is not prepared or not in array_record, features
    that cannot be trained on, a damaged record.
    """
    builder = prepared(name, folder, download)
    info, features = builder.info, dict(builder.info.features.items())
    chosen = choose(PREFIX + name, features, info.supervised_keys)
    lengths = {split: info.splits[split].num_examples for split in info.splits}
    rows = np.arange(sum(lengths.values()))
    if not len(rows):
        raise InputError(f"{PREFIX}{name} in {builder.data_dir} holds no record: prepare it again")
    files = _record_files(info)
    stored = stored_as(features[chosen.image])
    geometry = asked.geometry(channels=1 if stored.shape[-1] == 1 else 3, bits=8 * stored.dtype.itemsize)

    def on_disk(key: str, mask: bool = False) -> NamedImages:
        return NamedImages(files, Pixels(stored_as(features[key]), geometry, mask), rows, key)

    images = on_disk(chosen.image)
    labels = None
    if chosen.label is not None:
        labels = Labels(f"{PREFIX}{name}: {chosen.label}", features[chosen.label], info.metadata)
    pixels = np.empty(images.shape, images.dtype) if image_bytes(images) <= in_memory else None
    patients = _read_records(files, images, chosen, labels, pixels, progress)
    parts = np.split(rows, np.cumsum(list(lengths.values()))[:-1])
    known = NamedSet(
        name=PREFIX + name,
        images=images if pixels is None else pixels,
        labels=labels.array() if labels else None,
        masks=on_disk(chosen.mask, mask=True) if chosen.mask else None,
        groups=patients_of(np.asarray(patients), len(patients)) if chosen.patient else rows,
        names_patients=chosen.patient is not None,
        classes=labels.classes if labels else (),
        splits={_ALIASES.get(split, split): part for split, part in zip(lengths, parts, strict=True)},
        geometry=geometry,
    )
    if known.labels is None or is_many(known.labels):
        return known
    labelled = np.flatnonzero(known.labels >= 0)
    return known if len(labelled) == len(rows) else known.take(labelled)


def _record_files(info: Any) -> RecordFiles:
    return RecordFiles(
        tuple(
            (Path(path), count)
            for split in info.splits.values()
            for path, count in zip(split.filepaths, split.shard_lengths, strict=True)
        )
    )


def _read_records(
    files: RecordFiles,
    images: NamedImages,
    chosen: Chosen,
    labels: Labels | None,
    pixels: np.ndarray | None,
    progress: Callable[[int, int], None] | None,
) -> list[Any]:
    """Read every record once, into ``labels`` and ``pixels`` where these are given; returns the patients."""
    patients = []
    for row in range(len(files)):
        record = parse(files[row])
        if pixels is not None:
            pixels[row] = images.decoded(record, row)
        if labels is not None:
            labels.take(record[chosen.label], row)
        if chosen.patient:
            named = record[chosen.patient]
            patients.append((named.bytes_list.value or named.int64_list.value)[0])
        if progress is not None:
            progress(row + 1, len(files))
    return patients
