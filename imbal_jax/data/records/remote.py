"""Prepared sets on object storage (gs://, s3://, ... through fsspec), fetched into a local cache and checked.

ArrayRecord reads local files only: of a remote path its reader says that it holds 0 records. So every file is
fetched once, whole, and read from the cache, CACHE/records/NAME-DIGEST:

    .lock           held while files are fetched; other processes of the machine wait, and find them there
    .fetched.jsonl  a line for each file that is whole: name, size, and what the storage says of its content
"""

import errno
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from imbal_jax.data.records.array_records import RecordFiles, read_folder_info
from imbal_jax.data.records.label_index import CHECKSUMS, file_checksum
from imbal_jax.data.records.label_index import FOLDER as INDEX
from imbal_jax.errors import InputError, first_line
from imbal_jax.files import read_json

CACHE = "IMBAL_JAX_CACHE"
"""Environment variable that names the folder of caches; ~/.cache/imbal_jax without it."""

FETCHERS = 8  # files at a time; one connection rarely fills a network
_ADDRESS = re.compile(r"([a-z][a-z0-9+-]+):/+(.*)")
_STATES = ("ETag", "etag", "md5Hash", "crc32c", "checksum", "LastModified", "updated", "mtime", "created")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of the cache, not of the storage
_DESCRIPTION = "dataset_info.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Remote:
    """A file of the set. name: below its folder. path: on the storage. state: of its content, as the storage says."""

    name: str
    path: str
    size: int
    state: str


def remote_address(folder: Path | str) -> str:
    """``gs://bucket/set`` of a folder on object storage, or of the Path that was made of it; "" of a local one."""
    found = _ADDRESS.fullmatch(str(folder))
    if found is None:
        return ""
    return f"{found[1]}://{'/' if found[1] in ('file', 'local') else ''}{found[2]}"


def fetch_set(address: str, progress: Progress | None = None) -> Path:
    """The folder of the cache that holds the prepared set at ``address``, each of its files there and whole.

    address: as ``remote_address`` gives it; the folder of a prepared set, or one above it. Files that are there and
    that the storage has not changed since are not fetched again, so that an interrupted call goes on. A fetched file
    is compared with ``checksums.json``, where the set has one, and of a file of records the count with that of the
    set's description. progress: called with (files, files in all).

    Raises InputError for storage that fsspec cannot open, a set that is not there or not whole, and a file that is
    not as it was written.
    """
    files, found = _list(address)
    folder = _cache() / "records" / f"{_plain(found)}-{_digest(found)}"
    with _locked(folder):
        known = _fetched(folder)
        late = [f for f in found if not _is_there(folder, f, known)]
        records = [f for f in late if _holds_records(f)]
        _discard(folder, {f.name for f in found}, keep_index=not records)
        done = len(found) - len(late)
        sums: Mapping[str, str] = {}
        checksums = [f for f in late if f.name == CHECKSUMS]
        others = [f for f in late if f not in records and f not in checksums]
        for part in (checksums, others, records):  # what the later ones are checked by comes first
            with ThreadPoolExecutor(FETCHERS) as pool:
                for _ in pool.map(lambda f, sums=sums: _fetch(files, f, folder, sums.get(f.name, "")), part):
                    done += 1
                    if progress is not None:
                        progress(done, len(found))
            if (folder / CHECKSUMS).is_file():
                sums = read_json(folder / CHECKSUMS, "copy the set again")
        _count(folder, {f.name for f in records})
    return folder


def _list(address: str) -> tuple[Any, list[Remote]]:
    """The storage, and every file of the set at ``address``."""
    import fsspec

    kind = address.partition(":")[0]
    try:
        files, root = fsspec.core.url_to_fs(address)
        listed: Mapping[str, Any] = files.find(root, detail=True)
    except ImportError:
        raise InputError(f"{kind}:// needs a package: pip install 'imbal-jax[{_extra(kind)}]'") from None
    except ValueError:
        raise InputError(f"data.dir is {address}: fsspec knows no {kind}://, as gs, s3, http") from None
    except Exception as error:  # each storage raises its own
        raise InputError(f"cannot list {address}: {first_line(error)}") from None
    sets = sorted(path for path in listed if path.rpartition("/")[2] == _DESCRIPTION)
    if len(sets) != 1:
        held = (
            f"{len(sets)} prepared sets: name one of them"
            if sets
            else "no prepared set (no dataset_info.json)"
        )
        raise InputError(f"{address} holds {held}")
    start = sets[0].removesuffix(_DESCRIPTION)
    return files, [
        Remote(path.removeprefix(start), path, int(info["size"]), _state(info))
        for path, info in listed.items()
        if path.startswith(start) and info.get("type", "file") == "file" and not path.endswith("/")
    ]


def _fetch(files: Any, remote: Remote, folder: Path, expected: str) -> None:
    """Fetch one file and note that it is whole. expected: its checksum; "" where the set has none."""
    place = folder / remote.name
    part = place.with_name(f"{place.name}.part")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        files.get_file(remote.path, str(part))
    except Exception as error:  # each storage raises its own
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise InputError(f"cannot fetch {remote.path}: {first_line(error)}; run again to go on") from None
    if part.stat().st_size != remote.size:
        raise InputError(
            f"{remote.path} has {remote.size:,} bytes, {part.stat().st_size:,} were fetched: run again to go on"
        )
    if expected and file_checksum(part) != expected:
        part.unlink()
        raise InputError(
            f"{remote.path} is not as it was written ({CHECKSUMS} says so): copy the set there again"
        )
    os.replace(part, place)
    with (folder / ".fetched.jsonl").open("a") as stream:
        stream.write(json.dumps(asdict(remote)) + "\n")


def _count(folder: Path, names: set[str]) -> None:
    """Raise InputError where a file does not hold as many records as the description says."""
    info = read_folder_info(folder)
    files = RecordFiles(info.files)
    for number, (path, _) in enumerate(info.files):
        if path.name in names:
            files.check(number)


def _is_there(folder: Path, remote: Remote, known: Mapping[str, Remote]) -> bool:
    place = folder / remote.name
    return known.get(remote.name) == remote and place.is_file() and place.stat().st_size == remote.size


def _fetched(folder: Path) -> dict[str, Remote]:
    """What was fetched; a torn last line is left out."""
    found = {}
    try:
        lines = (folder / ".fetched.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            remote = Remote(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[remote.name] = remote
    return found


def _discard(folder: Path, names: set[str], *, keep_index: bool) -> None:
    """Delete what the set no longer has. keep_index: also an index of labels that was built here."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        built = keep_index and name.startswith(f"{INDEX}/")
        if path.is_file() and not name.startswith(".") and name not in names and not built:
            path.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror}; name another folder, {CACHE}=DIR"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _holds_records(remote: Remote) -> bool:
    return ".array_record" in remote.name


def _cache() -> Path:
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "imbal_jax")


def _plain(found: list[Remote]) -> str:
    """A readable name: that of the folder of the set."""
    folders = next(f.path for f in found if f.name == _DESCRIPTION).split("/")[-3:-1]
    return re.sub(r"[^\w.-]+", "-", "-".join(folders)).strip(".-")[:60] or "set"


def _digest(found: list[Remote]) -> str:
    path = next(f.path for f in found if f.name == _DESCRIPTION)
    return blake2b(path.encode(), digest_size=8).hexdigest()


def _state(info: Mapping[str, Any]) -> str:
    return next((f"{name} {info[name]}" for name in _STATES if info.get(name)), "")


def _extra(kind: str) -> str:
    return {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}.get(kind, "gcs,s3")
