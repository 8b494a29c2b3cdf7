"""Writes the records of a data set through tensorflow-datasets.

Each shard is a function of the journal, so that one process writes them one after the other and a Beam runner all at
once, with the same result. tensorflow-datasets' own shuffling is not used: beyond a gigabyte a split it needs
TensorFlow, and keyed identifiers are in random order already.
"""

import contextlib
import errno
import io
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import writer
from tensorflow_datasets.proto import tf_example_pb2

from imbal_jax.data.ingest.journal import Pictures, Place
from imbal_jax.data.labels import LabelLayout
from imbal_jax.data.records.array_records import LABEL_NAMES

SHARD_BYTES = 128 * 2**20  # of pixels; one shard is held in memory while it is written
NAME = "radiographs"
DESCRIPTION = "Radiographs; identifiers are keyed hashes."


@dataclass(frozen=True)
class Item:
    """The content of a record but for its pixels.

    labels: one class index, 1, 0, -1 for each of many labels, or a mask.
    """

    id: str
    patient: str
    labels: tuple[int, ...] | np.ndarray
    flags: tuple[str, ...]
    place: Place


@dataclass(frozen=True)
class Layout:
    """What all records have in common. shape: of a picture, [size, size, channels]. dtype: uint8 or uint16."""

    shape: tuple[int, int, int]
    dtype: str
    labels: LabelLayout

    def features(self) -> dict[str, Any]:
        """The features of a record. Pixels are bytes: as a list of numbers, writing would take four times as long."""
        if self.labels.side:
            label = tfds.features.Tensor(
                shape=self.labels.shape, dtype=self.labels.dtype.type, encoding="zlib"
            )
        elif self.labels.many:
            label = tfds.features.Tensor(shape=self.labels.shape, dtype=self.labels.dtype.type)
        else:
            label = tfds.features.ClassLabel(names=list(self.labels.classes))
        return {
            "image": tfds.features.Tensor(shape=self.shape, dtype=np.dtype(self.dtype), encoding="bytes"),
            self.labels.name: label,
            "patient": tfds.features.Text(),
            "id": tfds.features.Text(),
            "flags": tfds.features.Text(),
        }

    def example(self, item: Item, pixels: np.ndarray) -> dict[str, Any]:
        return {
            "image": pixels,
            self.labels.name: self.labels.value(item.labels),
            "patient": item.patient,
            "id": item.id,
            "flags": " ".join(item.flags),
        }


def checksum(example: Mapping[str, Any]) -> str:
    """A checksum of one record, 32 hexadecimal digits; text may be bytes, as it is when it is read back."""

    def plain(value: Any) -> bytes:
        return value if isinstance(value, bytes) else str(value).encode()

    labels = next(example[name] for name in ("mask", "labels", "label") if name in example)
    text = [plain(example[name]) for name in ("id", "patient", "flags")]
    state = blake2b(b"\0".join(text) + np.asarray(labels, "<i8").tobytes(), digest_size=16)
    image = np.ascontiguousarray(example["image"])
    state.update(image.astype(image.dtype.newbyteorder("<"), copy=False).data)
    return state.hexdigest()


def shards(items: Sequence[Item], picture_bytes: int) -> list[Sequence[Item]]:
    """``items`` in runs of about SHARD_BYTES."""
    count = max(1, math.ceil(len(items) * picture_bytes / SHARD_BYTES))
    ends = [round(len(items) * shard / count) for shard in range(count + 1)]
    return [items[start:end] for start, end in itertools.pairwise(ends)]


class DeterministicWriter(writer.ExampleWriter):
    """Writes the features of a record in one order: protobuf's own changes with every process."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        ordered = (
            (key, tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True))
            for key, example in examples
        )
        try:
            return super().write(path, ordered)
        except RuntimeError as error:  # ArrayRecord raises it for every error of the system
            for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                if os.strerror(number) in str(error):
                    raise OSError(number, os.strerror(number)) from None
            raise


class Radiographs(tfds.core.ShardBasedBuilder):
    """The prepared data set; made by ``write_records``, opened by ``tfds.builder_from_directory``."""

    name = NAME
    VERSION = tfds.core.Version("1.0.0")
    # Nothing is downloaded; looking for checksums beside the code needs a package that tensorflow-datasets
    # does not ask for.
    code_path = None

    def __init__(
        self,
        *,
        data_dir: Path,
        layout: Layout,
        splits: Mapping[str, Sequence[Sequence[Item]]],
        pictures: Pictures,
        written: Callable[[int], None] | None,
        name: str = NAME,
        description: str = DESCRIPTION,
    ) -> None:
        self.layout, self.parts, self.pictures, self.written = layout, splits, pictures, written
        self.name, self.description = name, description
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        labels = self.layout.labels
        metadata = {LABEL_NAMES: list(labels.classes)} if labels.many or labels.side else {}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.description,
            features=tfds.features.FeaturesDict(self.layout.features()),
            metadata=tfds.core.MetadataDict(metadata),
            disable_shuffling=True,
        )

    def _example_writer(self) -> writer.ExampleWriter:
        return DeterministicWriter(self.info.file_format)

    def _shard_iterators_per_split(
        self, dl_manager: object
    ) -> dict[str, list[Callable[[], Iterator[tuple[str, dict[str, Any]]]]]]:
        return {
            split: [partial(examples, self.layout, self.pictures, shard, self.written) for shard in runs]
            for split, runs in self.parts.items()
        }


def examples(
    layout: Layout, pictures: Pictures, items: Sequence[Item], written: Callable[[int], None] | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of one shard."""
    for item in items:
        yield item.id, layout.example(item, pictures[item.place])
        if written is not None:
            written(1)
    pictures.close()


def write_records(
    folder: Path,
    *,
    layout: Layout,
    splits: Mapping[str, Sequence[Item]],
    journal: Path,
    written: Callable[[int], None] | None = None,
    beam: Any = None,
    name: str = NAME,
    description: str = DESCRIPTION,
) -> Path:
    """Write ``splits`` below ``folder`` and return the folder of the data set.

    written: called with the number of records since the last call; not called where ``beam``, a
    ``tfds.download.DownloadConfig`` with a Beam runner, lets others write.
    """
    pictures = Pictures(journal, layout.shape, layout.dtype)
    picture_bytes = math.prod(layout.shape) * np.dtype(layout.dtype).itemsize
    builder = Radiographs(
        data_dir=folder,
        layout=layout,
        splits={name: shards(items, picture_bytes) for name, items in splits.items() if items},
        pictures=pictures,
        written=None if beam is not None else written,
        name=name,
        description=description,
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints folders and a bar of its own
        builder.download_and_prepare(download_config=beam)
    made = Path(os.fspath(builder.data_path))
    for leftover in made.glob("*.shard_infos.json"):  # written by Beam's workers to count records
        leftover.unlink()
    return made
