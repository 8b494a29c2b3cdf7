"""Decodes the files of a folder in parallel, and caches the result.

Neither the arrays nor the cache hold a file name or a patient's identifier: patients become integers in the order of
first appearance.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path

import numpy as np

from imbal_jax.cores import usable_cores
from imbal_jax.data.dicom.radiograph import Radiograph
from imbal_jax.data.folders.image_file import CACHE_FORMAT, load_picture
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.images.refusal import FLAGS, REASONS, ReadError
from imbal_jax.data.tables.cells import patient_likeness
from imbal_jax.data.tables.patients import STUDY
from imbal_jax.errors import InputError
from imbal_jax.files import read_npz, write_npz


@dataclass(frozen=True)
class Decoded:
    """The pixels of M files and what their headers say, as arrays of numbers.

    images: uint8 or uint16 [M, size, size, channels].
    status: int8 [M], 0 where the file was read, else 1 + the index of its reason in REASONS.
    patients: int32 [M], the header's patient numbered by first appearance, -1 unknown.
    unwindowed: bool [M], no window of the header was used.
    flags: int64 [M], one bit a flag, in the order of FLAGS.
    studies: bool [M], the patient is a study without a PatientID.
    likeness: int32 [M], equal for PatientIDs that may be one person's.
    """

    images: np.ndarray
    status: np.ndarray
    patients: np.ndarray
    unwindowed: np.ndarray
    flags: np.ndarray
    studies: np.ndarray
    likeness: np.ndarray

    def take(self, indices: np.ndarray) -> "Decoded":
        """The files at rising ``indices``, without a copy where these are all files."""
        if len(indices) == len(self.status):
            return self
        return Decoded(**{name: values[indices] for name, values in vars(self).items()})


def decode_files(
    folder: Path,
    paths: Sequence[str],
    geometry: Geometry,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decode every file, or take the arrays from the cache where it has exactly these files.

    cache: a folder. workers: threads, all cores by default. progress: called with (files done, files).
    """
    store = Path(cache) / f"{digest(folder, paths, geometry)}.npz" if cache is not None else None
    if store is not None and store.exists():
        # A truncated or damaged cache is ignored: the files are decoded again.
        with suppress(InputError):
            kept = read_npz(store, [part.name for part in fields(Decoded)], "it is made again")
            if all(len(part) == len(paths) for part in kept.values()):
                if progress is not None:
                    progress(len(paths), len(paths))
                return Decoded(**kept)

    def read(path: str) -> Radiograph | str:
        try:
            return load_picture(folder / path, **geometry.options)
        except ReadError as error:
            return error.reason

    building = _Building(len(paths), geometry)
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        for place, result in enumerate(pool.map(read, paths)):
            building.put(place, result)
            if progress is not None:
                progress(place + 1, len(paths))
    if store is not None:
        # Without a cache, as on a full disk, the files are decoded again next time.
        with suppress(InputError):
            write_npz(store, vars(building.decoded))
    return building.decoded


class _Building:
    """Arrays that are filled file by file."""

    def __init__(self, count: int, geometry: Geometry) -> None:
        try:
            images = np.zeros((count, *geometry.shape), geometry.dtype)
        except MemoryError:
            size = count * math.prod(geometry.shape) * np.dtype(geometry.dtype).itemsize / 2**30
            raise InputError(
                f"{count:,} images of {geometry.size} x {geometry.size} pixels take {size:,.0f} GiB, more than the "
                "memory of this machine: lower --data.image-size, or make records of them, which stay on disk "
                "(imbal-jax ingest)"
            ) from None
        self.decoded = Decoded(
            images=images,
            status=np.zeros(count, np.int8),
            patients=np.full(count, -1, np.int32),
            unwindowed=np.zeros(count, bool),
            flags=np.zeros(count, np.int64),
            studies=np.zeros(count, bool),
            likeness=np.full(count, -1, np.int32),
        )
        self._shape = geometry.shape
        self._flags = {flag: 1 << place for place, flag in enumerate(FLAGS)}
        self._codes = {reason: number for number, reason in enumerate(REASONS, start=1)}
        self._numbers: dict[str, int] = {}
        self._likes: dict[str, int] = {}

    def put(self, place: int, result: Radiograph | str) -> None:
        """result: what was read, or the reason of a refusal."""
        decoded = self.decoded
        if isinstance(result, str):
            decoded.status[place] = self._codes[result]
            return
        decoded.images[place] = result.pixels.reshape(self._shape)
        decoded.unwindowed[place] = not result.windowed
        decoded.flags[place] = sum(self._flags[flag] for flag in result.flags)
        if result.patient:
            keyword, _, name = result.patient.partition(" ")
            decoded.patients[place] = self._numbers.setdefault(result.patient, len(self._numbers))
            decoded.studies[place] = keyword == STUDY
            decoded.likeness[place] = self._likes.setdefault(patient_likeness(name), len(self._likes))


def digest(folder: Path, paths: Sequence[str], geometry: Geometry) -> str:
    """A name for exactly these files at these sizes and times, read this way."""
    state = blake2b(f"{CACHE_FORMAT} {geometry!r} {list(REASONS)} {list(FLAGS)}".encode(), digest_size=16)
    for path in paths:
        try:
            about = (folder / path).stat()
            seen = f"{about.st_size}\0{about.st_mtime_ns}"
        except OSError:  # it is gone or unreadable, and will be refused as missing
            seen = "missing"
        state.update(f"\0{path}\0{seen}".encode("utf-8", "surrogateescape"))
    return state.hexdigest()
