"""A folder of ArrayRecord files that tensorflow-datasets prepared: its description and its raw records."""

import bisect
import contextlib
import functools
import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.data.images.pictures import decode_channels
from imbal_jax.data.labels import LabelLayout
from imbal_jax.errors import InputError, first_line

LABEL_NAMES = "label_names"
"""The key of the label names in the metadata of a prepared set with many labels an image."""

SPARE = 256  # file descriptors left for the rest of the process
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # random access gains nothing from reading ahead
_BUFFER = 2**15  # bytes; 2^20, the default, made reads of 50 KB half as fast


@dataclass(frozen=True)
class Stored:
    """How an array lies in a record. encoding: none, bytes, zlib, or picture (PNG or JPEG)."""

    shape: tuple[int, ...]
    dtype: np.dtype
    encoding: str

    def decode(self, feature: Any) -> np.ndarray:
        """The array in a ``tf.train.Feature``; ValueError if its size differs."""
        if self.encoding == "none":
            values = feature.int64_list.value or feature.float_list.value
            return np.fromiter(values, self.dtype, len(values)).reshape(self.shape)
        (data,) = feature.bytes_list.value
        if self.encoding == "picture":
            height, width, channels = self.shape
            return decode_channels(data, channels, self.dtype, (height, width))
        if self.encoding == "zlib":
            data = zlib.decompress(data)
        return np.frombuffer(data, self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class RecordFolder:
    """The description of a prepared folder.

    files: (path, records) of every file, the splits one after the other. splits: name -> records.
    image, labels: how they lie in a record. patients: whether a record names its patient.
    """

    folder: Path
    files: tuple[tuple[Path, int], ...]
    splits: dict[str, int]
    label_layout: LabelLayout
    image: Stored
    labels: Stored
    patients: bool

    @property
    def classes(self) -> tuple[str, ...]:
        return self.label_layout.classes

    def __len__(self) -> int:
        return sum(self.splits.values())


def prepared_folders(folder: Path) -> list[Path]:
    """``folder`` where it is a prepared set, else those one or two folders below it."""
    for depth in range(3):
        if found := sorted(folder.glob("*/" * depth + "dataset_info.json")):
            return [path.parent for path in found]
    return []


def find_folder(folder: Path) -> Path:
    """``folder``, or the only prepared set below it (NAME/VERSION); InputError where there is none, or several."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name one that tensorflow-datasets prepared, --data.dir DIR")
    found = prepared_folders(folder)
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"{folder} holds no prepared data set (no dataset_info.json): run imbal-jax ingest first"
        )
    names = ", ".join(str(path.relative_to(folder)) for path in found)
    raise InputError(f"{folder} holds several prepared data sets: name one of {names}")


def read_folder_info(folder: Path) -> RecordFolder:
    """The description of the set in ``folder``; InputError where it cannot be trained on."""
    import tensorflow_datasets as tfds

    folder = find_folder(folder)
    try:
        info = tfds.builder_from_directory(folder).info
        features = dict(info.features.items())
        splits = {name: split.shard_lengths for name, split in info.splits.items()}
        paths = [Path(path) for split in info.splits.values() for path in split.filepaths]
    except Exception as error:  # a damaged or foreign description makes the library raise anything
        raise InputError(
            f"{folder} is no data set that tensorflow-datasets can read ({first_line(error)}): prepare it again"
        ) from error
    if info.file_format is None or info.file_format.value != "array_record":
        stored = getattr(info.file_format, "value", None)
        raise InputError(f"{folder} is stored as {stored}: prepare it with file_format='array_record'")
    if "image" not in features or not {"label", "labels", "mask"} & set(features):
        raise InputError(
            f"{folder} has the features {', '.join(sorted(features))}: image, and label, labels or mask, are needed"
        )
    many = "labels" in features
    masks = not {"label", "labels"} & set(features)
    if many or masks:
        names = (info.metadata or {}).get(LABEL_NAMES)
        if not names:
            raise InputError(f"{folder} does not name its labels: its metadata needs {LABEL_NAMES}")
    else:
        names = getattr(features["label"], "names", None)
        if not names:
            raise InputError(f"the label of {folder} is no ClassLabel with names: prepare it with one")
    one_label = Stored((), np.dtype(np.int64), "none")
    layout = LabelLayout(tuple(map(str, names)), many)
    if masks:
        side, *rest = features["mask"].shape[1:]
        layout = replace(layout, many=bool(rest), side=side)
    return RecordFolder(
        folder=folder,
        files=tuple(zip(paths, itertools.chain(*splits.values()), strict=True)),
        splits={name: sum(lengths) for name, lengths in splits.items()},
        label_layout=layout,
        image=_stored(folder, "image", features["image"]),
        labels=_stored(folder, layout.name, features[layout.name]) if many or masks else one_label,
        patients="patient" in features,
    )


def _stored(folder: Path, name: str, feature: Any) -> Stored:
    import tensorflow_datasets as tfds

    shape, dtype = feature.shape, np.dtype(feature.np_dtype)
    allowed = {"image": ("uint8", "uint16"), "labels": ("int8", "int32", "int64"), "mask": ("int8", "int16")}[
        name
    ]
    axes = {"image": (3,), "labels": (1,), "mask": (2, 3)}[name]
    if any(side is None for side in shape) or len(shape) not in axes:
        raise InputError(f"{name} of {folder} has the shape {shape}: prepare it with one fixed shape")
    if dtype.name not in allowed:
        raise InputError(f"{name} of {folder} is {dtype}: prepare it as {' or '.join(allowed)}")
    if type(feature) is tfds.features.Image:
        return Stored(shape, dtype, "picture")
    if type(feature) is tfds.features.Tensor:
        return Stored(shape, dtype, feature.to_json_content().encoding or "none")
    raise InputError(f"{name} of {folder} is a {type(feature).__name__}: prepare it as a Tensor")


@dataclass(frozen=True, eq=False)
class RecordFiles:
    """The records of several files as one sequence of bytes. Files are opened when they are first read from.

    Threads may share it. It can be pickled; open files are not.
    """

    files: tuple[tuple[Path, int], ...]
    _ends: list[int] = field(init=False, repr=False)
    _reader: Callable[[int], Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", list(itertools.accumulate(count for _, count in self.files)))
        # a file that leaves the cache is closed when no thread holds a reference to it
        object.__setattr__(self, "_reader", functools.lru_cache(may_open(len(self.files)))(self._open))

    def __reduce__(self) -> tuple[Any, ...]:
        return RecordFiles, (self.files,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, record: int) -> bytes:
        """The bytes of one record; InputError where it is damaged."""
        if not 0 <= record < len(self):
            raise IndexError(f"record {record} is outside 0..{len(self) - 1}")
        number = bisect.bisect_right(self._ends, record)
        position = record - (self._ends[number] - self.files[number][1])
        reader = self._reader(number)
        try:
            return reader.read([position])[0]
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._damaged(number, f"record {position}: {first_line(error)}") from error

    def check(self, number: int) -> None:
        """Raise InputError where file ``number`` cannot be opened or has another count than the description."""
        self._open(number)

    def scan(self, number: int, chunk: int = 64) -> Iterator[bytes]:
        """The records of file ``number`` in their order."""
        reader, count = self._reader(number), self.files[number][1]
        for start in range(0, count, chunk):
            try:
                yield from reader.read(start, min(start + chunk, count))
            except (RuntimeError, ValueError, IndexError) as error:
                raise self._damaged(number, first_line(error)) from error

    def _open(self, number: int) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        path, expected = self.files[number]
        if not path.is_file():
            raise InputError(f"{path} is missing: the set is not whole, copy or prepare it again")
        try:
            reader = ArrayRecordReader(str(path), options=_OPTIONS, file_reader_buffer_size=_BUFFER)
            found = reader.num_records()
        except (RuntimeError, ValueError) as error:
            raise self._damaged(number, first_line(error)) from error
        if found != expected:
            raise self._damaged(number, f"{found} records can be read, {expected} are expected")
        return reader

    def _damaged(self, number: int, what: str) -> InputError:
        return InputError(f"{self.files[number][0]} is damaged ({what}): copy or prepare it again")


def may_open(files: int) -> int:
    """How many of these files this process may keep open; its soft limit is raised for them where possible.

    Opening a file takes as long as reading ten images, and a plan reads from all of them.
    """
    try:
        import resource
    except ImportError:  # Windows
        return min(files, SPARE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + SPARE
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return files if soft == resource.RLIM_INFINITY else min(files, max(soft - SPARE, soft // 2))


def parse(record: bytes) -> Any:
    """The features of a record, a mapping of name -> ``tf.train.Feature``; ValueError where it is no Example."""
    from google.protobuf.message import DecodeError
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError("no tf.train.Example") from error
