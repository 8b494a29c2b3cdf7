"""The images that a finished run is to score: files or records, read ahead, with keyed ids."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from imbal_jax.console import say
from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.folders.image_file import load_picture
from imbal_jax.data.folders.listing import Listing, list_files
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.images.refusal import ReadError
from imbal_jax.data.pseudonyms import Key, open_key
from imbal_jax.data.records.array_records import prepared_folders
from imbal_jax.data.records.record_set import RecordSet, open_records
from imbal_jax.errors import InputError
from imbal_jax.runs.deployment import Inputs
from imbal_jax.runs.parts import own_share

AHEAD = 4  # images a thread reads before they are scored


@dataclass(frozen=True)
class Read:
    """An image, or the reason why there is none. name: its path; "" of a record, whose id is a pseudonym already."""

    id: str
    name: str
    pixels: np.ndarray | None = None
    flags: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Passed:
    """Entries of the folder that were not taken for images. lines: with counts, naming no file."""

    reads: tuple[Read, ...] = ()
    lines: tuple[str, ...] = ()


def unreadable_file(out: Path) -> Path:
    """Where the files that could not be read are listed."""
    return out.with_suffix(".unreadable.csv")


def images_at(
    path: Path, inputs: Inputs, out: Path, key_file: Path | None, workers: int, console: Console
) -> tuple[int, Iterator[Read], Passed]:
    """How many there are, each of them, in order, and what was passed over; only those about to be scored are in
    memory. Of several processes each is given its own part of them."""
    geometry = inputs.geometry
    if path.is_dir() and prepared_folders(path):
        records = open_records(path)
        say(console, "\n".join(records.notes))
        if records.images.shape[1:] != inputs.shape or records.images.dtype != inputs.dtype:
            raise InputError(
                f"the records are {records.images.dtype} {list(records.images.shape[1:])}, the network takes "
                f"{inputs.dtype} {list(inputs.shape)}: ingest them as those that it was trained on"
            )
        if geometry is not None and records.geometry is not None:
            differing = geometry.difference(records.geometry)
            if differing:
                raise InputError(
                    f"the records were made with {differing}, as the network's training images were: ingest them "
                    f"so, or predict on the files"
                )
        return len(records), _records(records, own_share(range(len(records)))), Passed()
    if geometry is None:
        raise InputError(
            f"the network takes images {list(inputs.shape)} and nothing is known of how they were made: predict on "
            f"records that were made so, or train on pictures or on records that say how"
        )
    folder = path if path.is_dir() else path.parent
    listing = list_files(path) if path.is_dir() else Listing([path.name])
    files = listing.files
    if not files:
        raise InputError("; ".join([f"there is no image in {path}", *listing.lines()]))
    key = open_key(key_file or out.with_suffix(".key"), outside=(path,) if path.is_dir() else ())
    reads = [Read(key.of("file", name), name, reason=reason) for name, reason in listing.passed.items()]
    passed = Passed(tuple(reads), tuple(listing.lines()))
    return len(files), _files(folder, own_share(files), key, geometry, workers), passed


def _files(folder: Path, files: Sequence[str], key: Key, geometry: Geometry, workers: int) -> Iterator[Read]:
    def read(name: str) -> Read:
        id = key.of("file", name)
        try:
            picture = load_picture(folder / name, **geometry.options)
        except ReadError as error:
            return Read(id, name, reason=error.reason)
        return Read(id, name, picture.pixels.reshape(geometry.shape), picture.flags)

    with quiet(), ThreadPoolExecutor(workers) as pool:
        yield from _in_order(pool, read, files, AHEAD * workers)


def _in_order(
    pool: ThreadPoolExecutor, read: Callable[[str], Read], files: Iterable[str], ahead: int
) -> Iterator[Read]:
    """As ``pool.map``, which would read all files before the first is asked for."""
    left = iter(files)
    waiting: deque[Future[Read]] = deque()
    for name in itertools.islice(left, ahead):
        waiting.append(pool.submit(read, name))
    while waiting:
        done = waiting.popleft().result()
        waiting.extend(pool.submit(read, name) for name in itertools.islice(left, 1))
        yield done


def _records(records: RecordSet, places: Iterable[int]) -> Iterator[Read]:
    for place in places:
        pixels, texts = records.images.described(place)
        yield Read(texts["id"] or str(place), "", pixels, tuple(texts["flags"].split()))


def batches(images: Iterable[Read], size: int) -> Iterator[list[Read]]:
    """The images in lists of ``size``, the last one shorter."""
    images = iter(images)
    while batch := list(itertools.islice(images, size)):
        yield batch
