"""The manifest and checksums of a finished data set, and the checks against them.

ingest.json       how it was made: options, the key's fingerprint, a keyed hash of the table
manifest.jsonl    one line for each file of the source: keyed hashes of its path and of its bytes, what became of
                  it, and the checksum of its record if it has one
quarantine.csv    the files that were refused, by keyed hash of the path, with the reason
geometry.json     how pictures became arrays
index/            labels, patients and their splits in arrays, from the records
checksums.json    size and BLAKE2b of every other file of the data set
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from imbal_jax.data.folders.listing import image_files
from imbal_jax.data.ingest.reading import INGEST_REASONS
from imbal_jax.data.ingest.record_writing import checksum
from imbal_jax.data.pseudonyms import Key, read_key
from imbal_jax.data.records.array_records import read_folder_info
from imbal_jax.data.records.label_index import CHECKSUMS, file_checksum, read_index
from imbal_jax.data.records.label_index import FOLDER as INDEX
from imbal_jax.errors import InputError
from imbal_jax.files import read_json, write_csv, write_json, write_text

MADE, MANIFEST, QUARANTINE = "ingest.json", "manifest.jsonl", "quarantine.csv"
FORMAT = 1


@dataclass(frozen=True)
class Line:
    """One file of the source. file, content: keyed hashes of path and bytes. became: "record", "unlabelled", "mask"
    or the reason of a refusal. id, checksum: of the record, "" for none."""

    file: str
    content: str
    became: str
    id: str = ""
    checksum: str = ""


def write_manifest(folder: Path, made: Mapping[str, Any], lines: Iterable[Line]) -> None:
    """Everything but the checksums, which come last."""
    lines = sorted(lines, key=lambda line: line.file)
    write_json(folder / MADE, {"format": FORMAT, **made})
    text = "".join(json.dumps(asdict(line), separators=(",", ":")) + "\n" for line in lines)
    write_text(folder / MANIFEST, text)
    refused = [line for line in lines if line.became in INGEST_REASONS]
    rows = [(line.file, line.became, INGEST_REASONS[line.became]) for line in refused]
    write_csv(folder / QUARANTINE, ("file", "reason", "meaning"), rows)


def write_checksums(folder: Path) -> None:
    sums = {path.relative_to(folder).as_posix(): file_checksum(path) for path in contents(folder)}
    write_json(folder / CHECKSUMS, sums)


def read_made(folder: Path) -> dict[str, Any] | None:
    """How ``folder`` was made; None where it is no data set of an ingest."""
    try:
        made = read_json(folder / MADE, "")
    except InputError:
        return None
    return made if made.get("format") == FORMAT else None


def read_manifest(folder: Path) -> Iterator[Line]:
    """The lines, one at a time: there is one for every file of the source. A torn last line is damage too."""
    try:
        with (folder / MANIFEST).open(encoding="ascii") as stream:
            for line in stream:
                yield Line(**json.loads(line))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{folder / MANIFEST} is missing or damaged: copy the data set again") from None


def verify(folder: Path | str, progress: Callable[[int, int], None] | None = None) -> int:
    """Check every byte and every record of a data set against what was written; returns the number of records.

    Raises InputError for a file that is gone, added or changed, a record that is not as it was made, a label or
    patient of the index that is not the record's, and a patient in two splits. progress: called with (records
    checked, records).
    """
    folder = Path(folder)
    verify_files(folder)
    made = {line.id: line.checksum for line in read_manifest(folder) if line.id}
    home: dict[bytes, str] = {}
    seen: set[str] = set()
    index = read_index(read_folder_info(folder))
    numbers: dict[bytes, int] = {}
    wrong = 0
    builder = tfds.builder_from_directory(folder)
    for split in builder.info.splits:
        for record in builder.as_data_source(split):
            name = record["id"].decode()
            if made.get(name) != checksum(record) or name in seen:
                raise InputError(
                    f"record {name} of {split} is not as it was made: copy or make the data set again"
                )
            if index is not None:
                labels, groups = (array[len(seen)] for array in index)
                stored = next(record[name] for name in ("mask", "labels", "label") if name in record)
                same = numbers.setdefault(record["patient"], int(groups)) == groups
                wrong += not (same and np.array_equal(labels, stored))
            seen.add(name)
            if home.setdefault(record["patient"], split) != split:
                raise InputError(
                    f"a patient is in {split} and in {home[record['patient']]}: make the data set again"
                )
            if progress is not None:
                progress(len(seen), len(made))
    if len(seen) != len(made):
        raise InputError(f"{folder} holds {len(seen)} records, {len(made)} were written: copy it again")
    if wrong or len(set(numbers.values())) != len(numbers):
        raise InputError(
            f"{folder / INDEX} does not hold the labels and patients of {wrong or 'some'} records: copy the data "
            "set again from its source"
        )
    return len(seen)


def verify_files(folder: Path) -> None:
    """``verify`` without opening a record: sizes and checksums of the files."""
    try:
        sums = read_json(folder / CHECKSUMS, "")
    except InputError:
        raise InputError(
            f"{folder} is no finished data set of an ingest: {CHECKSUMS} is missing or damaged"
        ) from None
    if not any(name.startswith(f"{INDEX}/") for name in sums):
        raise InputError(
            f"{folder / CHECKSUMS} was written by an earlier version and does not cover the labels in {INDEX}/: "
            f"make the data set again"
        )
    if not (folder / INDEX).exists():  # it is built again from the records
        sums = {name: value for name, value in sums.items() if not name.startswith(f"{INDEX}/")}
    there = {path.relative_to(folder).as_posix(): path for path in contents(folder)}
    for name in sorted(sums.keys() | there.keys()):
        if name not in there or name not in sums:
            what = "missing" if name in sums else "not of it"
            raise InputError(f"{name} of {folder} is {what}: copy the data set again")
        if file_checksum(there[name]) != sums[name]:
            raise InputError(f"{name} of {folder} was changed or damaged: copy the data set again")


def compare_source(folder: Path | str, source: Path | str, key_file: Path | str) -> dict[str, list[str]]:
    """The files below ``source`` against those that ``folder`` was made of: paths that were "changed" or "added", and
    keyed hashes of those that are "gone". Every byte is read. For the owner of the key; the result names files."""
    key, source = read_key(Path(key_file)), Path(source)
    check_key(Path(folder), key)
    lines = {line.file: line for line in read_manifest(Path(folder))}
    found: dict[str, list[str]] = {"changed": [], "added": [], "gone": []}
    for path in image_files(source):
        line = lines.pop(key.of("file", path), None)
        if line is None:
            found["added"].append(path)
        elif line.content and line.content != key.of_file(source / path):
            found["changed"].append(path)
    return {**found, "gone": sorted(lines)}


def find_files(source: Path | str, key_file: Path | str) -> dict[str, str]:
    """The path of each keyed hash, to look up what quarantine.csv lists. For the owner of the key."""
    key = read_key(Path(key_file))
    return {key.of("file", path): path for path in image_files(Path(source))}


def check_key(folder: Path, key: Key) -> None:
    made = read_made(folder)
    if made is None:
        raise InputError(f"{folder} is no finished data set of an ingest: {MADE} is missing or damaged")
    if made["key"] != key.fingerprint:
        raise InputError(f"{folder} was made with another key: give that, --key-file FILE")


def contents(folder: Path) -> list[Path]:
    """Every file but the checksums themselves."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).as_posix() != CHECKSUMS
    )
