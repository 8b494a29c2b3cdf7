"""Opens record sets that tensorflow-datasets prepared; images stay on disk and are read when they are needed."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imbal_jax.data.images.geometry import FILE as GEOMETRY
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.records.array_records import RecordFiles, RecordFolder, parse, read_folder_info
from imbal_jax.data.records.label_index import FOLDER as INDEX
from imbal_jax.data.records.label_index import build_index, check_checksums, read_index
from imbal_jax.errors import InputError
from imbal_jax.files import read_json

__all__ = ["RecordImages", "RecordSet", "build_index", "open_records"]

INGESTED, PREPARED = "ingest.json", "source.json"  # files of earlier versions beside the records


class StoredImage(Protocol):
    """How an image lies in a record, as ``array_records.Stored``."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def decode(self, feature: Any) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class RecordImages:
    """Images on disk that act as an array [N, H, W, C]: indexing reads, ``select`` does not.

    An array of integers, a mask, a slice or one integer as index gives pixels, read then. Threads may share it;
    it can be pickled, and every process opens its own files.
    """

    files: RecordFiles
    stored: StoredImage
    rows: np.ndarray  # int64 [N], the record of each image

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.stored.shape)

    @property
    def dtype(self) -> np.dtype:
        return self.stored.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Any) -> "RecordImages":
        """The images at ``indices``, not read: a view of the same records."""
        return RecordImages(self.files, self.stored, self.rows[indices])

    def __getitem__(self, index: Any) -> np.ndarray:
        """The pixels at ``index``; InputError where a record is damaged."""
        rows = np.asarray(self.rows[index])
        pixels = np.empty((rows.size, *self.stored.shape), self.dtype)
        # a balanced batch contains a rare image many times: read it once and copy it
        once, first, again = np.unique(rows, return_index=True, return_inverse=True)
        for row, place in zip(once.tolist(), first.tolist(), strict=True):
            pixels[place] = self._read(row)
        origin = first[again.reshape(-1)]
        copies = np.flatnonzero(origin != np.arange(rows.size))
        pixels[copies] = pixels[origin[copies]]
        return pixels.reshape(*rows.shape, *self.stored.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError(
            f"{len(self)} images on disk would be read into memory: index only those that are needed"
        )

    def described(self, place: int) -> tuple[np.ndarray, dict[str, str]]:
        """The pixels at ``place``, and the texts ``id`` and ``flags`` of the same record, "" where it has none."""
        pixels, record = self._decoded(int(self.rows[place]))
        lists = {name: record[name].bytes_list.value if name in record else () for name in ("id", "flags")}
        return pixels, {name: values[0].decode() if values else "" for name, values in lists.items()}

    def _read(self, row: int) -> np.ndarray:
        return self._decoded(row)[0]

    def _decoded(self, row: int) -> tuple[np.ndarray, Mapping[str, Any]]:
        """The pixels of a record, and all its features."""
        stored = self.files[row]
        try:
            record = parse(stored)
            return self.stored.decode(record["image"]), record
        except (ValueError, OSError) as error:
            raise InputError(
                f"record {row} does not hold an image of shape {self.stored.shape}: prepare the set again"
            ) from error


@dataclass(frozen=True)
class RecordSet:
    """A prepared folder that is open.

    images: [N, H, W, C] uint8 or uint16, on disk. labels: int32 [N], a class; int8 [N, L] with 1, 0, -1, -2;
    or masks as ``dataset.Dataset`` has them, mapped from the index.
    groups: int32 [N], the number of each image's patient. splits: name -> int64 indices, as they were stored.
    geometry: how pictures became these images; None where that is unknown and they are oblong or have neither 1 nor 3
    channels. notes: lines to print.
    """

    folder: Path
    classes: tuple[str, ...]
    images: RecordImages
    labels: np.ndarray
    groups: np.ndarray
    splits: Mapping[str, np.ndarray]
    geometry: Geometry | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def open_records(
    folder: Path | str, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> RecordSet:
    """Open a folder that tensorflow-datasets prepared as array_record, or the folder above its version.

    Features: ``image``, a Tensor [H, W, C] of uint8 or uint16 (best with encoding "bytes") or an Image of fixed
    shape; ``label``, a ClassLabel, or ``labels``, an int8 Tensor [L] of 1, 0, -1 and -2, or ``mask``, an int8 or
    int16 Tensor [H, H] of classes or [H, H, L], whose names are under ``label_names`` in the metadata; ``patient``, a
    text, without which each record is a patient of its own.

    The index of labels is built where there is none (``workers`` and ``progress`` as in ``build_index``); with it,
    no record is read. Raises InputError, in one line, for a folder that is foreign, damaged or not whole, and
    for an index that is not of these records.
    """
    info = read_folder_info(Path(folder))
    geometry, notes = made_geometry(info)
    index = read_index(info)
    if index is None:
        if (info.folder / INDEX).is_dir():
            notes += (
                f"{info.folder / INDEX} of an earlier version had no checksums: built again from the records",
            )
        build_index(info.folder, workers=workers, progress=progress)
        index = read_index(info)
        if index is None:
            raise InputError(f"{info.folder / INDEX} was deleted while it was read: open the set again")
    notes += tuple(filter(None, [check_checksums(info.folder)]))
    labels, groups = index
    ends = np.cumsum(list(info.splits.values()))
    splits = {
        name: np.arange(end - count, end)
        for (name, count), end in zip(info.splits.items(), ends, strict=True)
    }
    images = RecordImages(RecordFiles(info.files), info.image, np.arange(len(info)))
    return RecordSet(info.folder, info.classes, images, labels, groups, splits, geometry, notes)


def made_geometry(info: RecordFolder) -> tuple[Geometry | None, tuple[str, ...]]:
    """How the pictures of a prepared set became arrays, as far as the set says, and notes.

    Sets of earlier versions are recognised by other files: ingest always padded, prepare always squeezed.
    Raises InputError for a set that states another size, depth or number of channels than its records have.
    """
    folder, shape, dtype = info.folder, info.image.shape, info.image.dtype
    geometry = Geometry.read(folder, "copy the data set again")
    if geometry is not None:
        if (geometry.shape, geometry.dtype) != (shape, dtype):
            raise InputError(
                f"{folder / GEOMETRY} says {geometry.dtype} {list(geometry.shape)}, the records are {dtype} "
                f"{list(shape)}: copy the data set again"
            )
        return geometry, ()
    if shape[0] != shape[1] or shape[2] not in (1, 3):
        return None, ()
    size, _, channels = shape
    bits = 8 * dtype.itemsize
    if (folder / INGESTED).is_file():
        made = read_json(folder / INGESTED, "copy the data set again")
        fit, voi = made.get("fit", "pad"), made.get("voi", "header")
        said = (
            f"{folder} was ingested by an earlier version: pictures padded to squares, DICOM window {voi}; ingest "
            "them again to have them read as this version does"
        )
        return Geometry(size, fit, channels, bits, voi), (said,)
    if (folder / PREPARED).is_file():
        said = f"{folder} was prepared by an earlier version: pictures squeezed to squares; prepare it again"
        return Geometry(size, "squeeze", channels, bits), (said,)
    own = json.dumps({"size": size, "fit": "pad", "channels": channels, "bits": bits})
    said = (
        f"{folder} does not say how its pictures became squares: what is trained on it refuses oblong pictures; "
        f"if you know, write {GEOMETRY} there, such as {own}"
    )
    return Geometry(size, "square", channels, bits), (said,)
