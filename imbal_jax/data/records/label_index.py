"""The index of a folder of records: labels and patients as arrays, so that opening the folder reads no record."""

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from imbal_jax.cores import usable_cores
from imbal_jax.data.images.geometry import FILE as GEOMETRY
from imbal_jax.data.records.array_records import RecordFiles, RecordFolder, parse, read_folder_info
from imbal_jax.errors import InputError
from imbal_jax.files import read_json
from imbal_jax.metrics.clusters import patient_numbers

FOLDER = "index"  # in the folder of the records
FORMAT = 2
ARRAYS = ("labels.npy", "groups.npy")
CHECKSUMS = "checksums.json"  # beside the records of an ingest: size and BLAKE2b of every file
SMALL = 20_000  # records; one process reads fewer sooner than others would start

Progress = Callable[[int, int], None]


def build_index(folder: Path | str, *, workers: int | None = None, progress: Progress | None = None) -> Path:
    """Read every record once and write ``index/labels.npy``, ``index/groups.npy``, ``index/index.json``.

    folder: as in ``open_records``. workers: reader processes, each with one file at a time; None is one per core, or
    a single one for a small set. progress: called with (records read, records).

    Labels are int32 [N], int8 [N, L] or masks; groups int32 [N] number the patients by their sorted hashes, or the
    records where none names a patient. Returns ``index``. Raises InputError for a record that is damaged or of
    another shape, a label out of range, no right to write.
    """
    info = read_folder_info(Path(folder))
    numbers, done = range(len(info.files)), 0
    if workers is None:
        workers = 1 if len(info) <= SMALL else usable_cores()
    labels, patients = [], []

    def take(part: tuple[np.ndarray, np.ndarray]) -> None:
        nonlocal done
        labels.append(part[0])
        patients.append(part[1])
        done += len(part[0])
        if progress is not None:
            progress(done, len(info))

    scan = partial(_scan, info)
    if workers == 1:
        for number in numbers:
            take(scan(number))
    else:  # not fork: the parent may run JAX's threads
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for part in pool.map(scan, numbers):
                take(part)
    if info.patients and done:
        names = np.concatenate(patients)
        groups = patient_numbers(names, np.ones(len(names), bool), missing="own").astype(np.int32)
    else:
        groups = np.arange(done, dtype=np.int32)
    layout = info.label_layout
    empty = np.zeros((0, *layout.shape), layout.dtype)
    return write_index(info, np.concatenate([empty, *labels]), groups)


def write_index(info: RecordFolder, labels: np.ndarray, groups: np.ndarray) -> Path:
    """Write the index of ``info`` from arrays that are known already."""
    final, partial_ = info.folder / FOLDER, info.folder / f"{FOLDER}.partial"
    about = {"format": FORMAT, "records": len(info), "digest": digest(info)}
    try:
        shutil.rmtree(partial_, ignore_errors=True)
        partial_.mkdir()
        np.save(partial_ / "labels.npy", labels)
        np.save(partial_ / "groups.npy", groups)
        about["checksums"] = {name: file_checksum(partial_ / name) for name in ARRAYS}
        (partial_ / "index.json").write_text(json.dumps(about) + "\n")
        shutil.rmtree(final, ignore_errors=True)
        partial_.replace(final)
    except OSError as error:
        raise InputError(
            f"cannot write {final}: {error.strerror}; copy the set to where you may write"
        ) from error
    return final


def read_index(info: RecordFolder) -> tuple[np.ndarray, np.ndarray] | None:
    """Labels and groups, mapped from their files; None where there is no index, or one of an earlier version, which
    has no checksums.

    Raises InputError for an index that is damaged, changed, or not of these records.
    """
    where = info.folder / FOLDER
    if not where.is_dir():
        return None
    present = digest(info)
    try:
        about = read_json(where / "index.json", "")
        if about["format"] == 1:
            return None
        labels, groups = (np.load(where / f"{name}.npy", mmap_mode="r") for name in ("labels", "groups"))
        shape = (len(info), *info.label_layout.shape)
        whole = labels.shape == shape and groups.shape == shape[:1] and about["records"] == len(info)
        same = about["format"] == FORMAT and about["digest"] == present
        changed = [name for name in ARRAYS if about["checksums"][name] != file_checksum(where / name)]
    except (InputError, OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise InputError(
            f"{where} is damaged ({type(error).__name__}): delete it, it is then built again"
        ) from error
    if not (whole and same):
        raise InputError(
            f"{where} is not the index of these records (they were changed, or are not whole): "
            "check the set against its source, then delete the index: it is then built again"
        )
    if changed:
        raise InputError(
            f"{where} was changed after it was built ({' and '.join(changed)} differ from their checksums): find "
            f"out by whom, then delete it, it is then built again from the records"
        )
    return labels, groups


def check_checksums(folder: Path) -> str:
    """Compare the description and the index of a data set with its checksums.json; a note where that lacks the index.

    Raises InputError for the first file that differs. Records are not read: that is ``manifest.verify``.
    """
    if not (folder / CHECKSUMS).is_file():
        return ""
    sums = read_json(folder / CHECKSUMS, "copy the data set again")
    index = [f"{FOLDER}/{name}" for name in (*ARRAYS, "index.json")]
    for name in ("dataset_info.json", "features.json", GEOMETRY, *index):
        path = folder / name
        if name in sums and (not path.is_file() or file_checksum(path) != sums[name]):
            what = "was changed after the data set was made" if path.is_file() else "is missing"
            raise InputError(f"{path} {what} ({CHECKSUMS} says so): copy the data set again from its source")
    if all(name in sums for name in index):
        return ""
    return (
        f"{folder / CHECKSUMS} was written by an earlier version and does not cover labels, patients and splits in "
        f"{FOLDER}/: they were checked by the index's own checksums only; make the data set again to have them "
        f"covered"
    )


def file_checksum(path: Path) -> str:
    """Size and BLAKE2b of a file, as one word."""
    state, size = hashlib.blake2b(digest_size=32), 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            state.update(block)
            size += len(block)
    return f"{size}:{state.hexdigest()}"


def digest(info: RecordFolder) -> str:
    """SHA-256 over the set's description and each file's name, size, beginning and end, where its own index lies.

    Another file in a file's place changes it, or another length of any record; what happens to a pixel in place
    is found when that record is read, by the checksum that ArrayRecord keeps of it.
    """
    sums = hashlib.sha256()
    for name in ("dataset_info.json", "features.json"):
        sums.update((info.folder / name).read_bytes())
    with ThreadPoolExecutor(16) as pool:  # reads from a network file system are slow, and run in parallel
        for part in pool.map(_ends_of, (path for path, _ in info.files)):
            sums.update(part)
    return sums.hexdigest()


def _ends_of(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            first = file.read(2**12)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2**16 - 2**12))  # the last block of 64 KiB begins with the postscript
            return f"{path.name} {size} ".encode() + first + file.read(2**13)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: the set is not whole, copy or prepare it again") from error


def _scan(info: RecordFolder, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and patients of one file."""
    count = info.files[number][1]
    layout = info.label_layout
    labels = np.empty((count, *layout.shape), layout.dtype if layout.side else np.int64)
    patients = []
    for at, record in enumerate(RecordFiles(info.files).scan(number)):
        try:
            features = parse(record)
            info.image.decode(features["image"])
            labels[at] = info.labels.decode(features[layout.name])
            if info.patients:
                patients.append(features["patient"].bytes_list.value[0])
        except (ValueError, IndexError, OSError) as error:
            path = info.files[number][0]
            raise InputError(
                f"record {at} of {path} does not hold what features.json says: prepare the set again"
            ) from error
    low, high = layout.limits
    outside = (labels < low) | (labels > high)
    if outside.any():
        at = int(np.argwhere(outside)[0][0])
        raise InputError(
            f"record {at} of {info.files[number][0]} has the label {labels[outside][0]}, allowed are {low}..{high}"
        )
    return labels.astype(layout.dtype), np.array(patients, np.bytes_)
