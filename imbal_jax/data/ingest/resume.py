"""Starts, resumes or checks an ingest: the output is claimed, and its options have to be those of the earlier run."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from imbal_jax.console import say
from imbal_jax.data.folders.image_file import CACHE_FORMAT
from imbal_jax.data.ingest.asked import Asked
from imbal_jax.data.ingest.join import table_hash
from imbal_jax.data.ingest.manifest import check_key, read_made, read_manifest, verify
from imbal_jax.data.ingest.options import IngestOptions
from imbal_jax.data.pseudonyms import Key, open_key, read_key
from imbal_jax.errors import InputError
from imbal_jax.files import read_json, write_json

JOURNAL_FORMAT = 2


@contextmanager
def claimed(options: IngestOptions) -> Iterator[tuple[Key, Path]]:
    """The key, and the folder of the journal, which is this process's alone until the block is left."""
    about = options.partial / "options.json"
    journal = options.partial / "journal"
    try:
        journal.mkdir(parents=True, exist_ok=True)
        lock = (options.partial / "lock").open("w")
    except OSError as error:
        raise InputError(f"cannot write {options.partial}: {error.strerror}; choose another --out") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another ingest is writing to {options.partial}: wait for it, or end it"
            ) from None
        key = open_key(options.key, outside=(options.out, options.partial))
        kept = {"format": [JOURNAL_FORMAT, CACHE_FORMAT], **options.geometry.options, "key": key.fingerprint}
        if about.is_file():
            check_same(options.partial, read_json(about, f"delete {options.partial} and start again"), kept)
        else:
            write_json(about, kept)
        yield key, journal


def check_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise InputError for the first value in which what lies in ``folder`` differs from what is asked for."""
    for name, value in here.items():
        if there.get(name) != value:
            known = name in ("key", "table", "masks")  # hashes, which would mean nothing to a reader
            what = f"another {name}" if known else f"{name} {there.get(name, 'unknown')}, not {value}"
            raise InputError(
                f"{folder} was made with {what}: give the same, delete it, or choose another --out"
            )


def check_finished(options: IngestOptions, asked: Asked, console: Console) -> None:
    """Raise InputError unless ``options.out`` is a whole data set of just these options, rows and files."""
    made = read_made(options.out)
    if made is None:
        raise InputError(f"{options.out} exists and is not a data set made by ingest: choose another --out")
    key = read_key(options.key)
    check_key(options.out, key)
    check_same(options.out, made, json.loads(json.dumps(made_of(options, asked, key))))
    there = {line.file for line in read_manifest(options.out)}
    here = {key.of("file", path) for path in asked.listing.files}
    if there != here:
        raise InputError(
            f"{options.out} was made of other files: {len(here - there)} are new and {len(there - here)} gone in "
            f"{options.folder}: choose another --out"
        )
    records = verify(options.out)
    shutil.rmtree(options.partial, ignore_errors=True)  # of a run that was killed at its very end
    say(console, f"{options.out} is finished: {records:,} records checked, all as they were written")


def made_of(options: IngestOptions, asked: Asked, key: Key) -> dict[str, Any]:
    """The options that determine the records, stored with the data set; without paths."""
    return {
        **options.geometry.options,
        "shares": {name: round(share, 9) for name, share in options.shares.items()},
        "seed": options.seed,
        "split": options.split,
        "classes": list(asked.classes),
        "table": table_hash(asked.table, key),
        **asked.hashes(key),
        "key": key.fingerprint,
    }


def is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
