"""Finds the files of a public set, in a folder or in the archives that its source publishes."""

import bz2
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from imbal_jax.data.images.refusal import FILE_LIMIT
from imbal_jax.errors import InputError
from imbal_jax.files import read_bytes

TARS: dict[str, Callable[..., Any]] = {
    ".tar": open,
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.bz2": bz2.open,
    ".tar.xz": lzma.open,
}
BLOCK = 512  # bytes of a tar header
ENCRYPTED = 1  # bit of the flags of a member of a ZIP archive
AGAIN = "remove it and fetch it again"

# What damaged, cut, encrypted and foreign files make the standard library raise.
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
    KeyError,
    ValueError,
)
# What a file manager or a notebook adds to the name of a copy: "a (1)", "a - Copy", "a copy 2", "a-checkpoint".
_COPY = re.compile(r"(?: ?\(\d+\)| ?- ?copy(?: ?\(\d+\))?| copy(?: \d+)?|-checkpoint)$", re.IGNORECASE)


def find(folder: Path, pattern: str) -> Path | None:
    """The first match in the folder or, failing that, in one of its subfolders."""
    return next(iter([*sorted(folder.glob(pattern)), *sorted(folder.glob(f"*/{pattern}"))]), None)


def pictures(folder: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each picture below the folder and in the archives there, once.

    A picture that is there several times, under one base name or as a copy of it, comes once where the bytes are
    the same: archives are often left beside what was unpacked from them, and one copy inside another. What macOS
    and notebooks put beside the files is passed over. Raises InputError where the bytes differ, and for an archive
    that is damaged, ends early, or is something else.
    """
    seen: dict[str, tuple[bytes, str]] = {}
    for name, data in _all_pictures(folder, suffix):
        content = blake2b(data, digest_size=16).digest()
        key, place = _key(name), name
        if key in seen:
            known, where = seen[key]
            if known != content:
                raise InputError(
                    f"{where} and {place} are two pictures of one name: keep the one that is right"
                )
            continue
        seen[key] = content, place
        yield name, data


def _key(name: str) -> str:
    """The base name, without its suffix and what marks a copy."""
    stem = Path(name).stem
    while (shorter := _COPY.sub("", stem)) not in ("", stem):
        stem = shorter
    return stem.casefold()


def _wanted(name: str, suffix: str) -> bool:
    parts = Path(name).parts
    return name.lower().endswith(suffix) and not any(
        part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in parts
    )


def _all_pictures(folder: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    archives = []
    for path in _files(folder):
        if _wanted(str(path.relative_to(folder)), suffix):
            yield str(path), read_bytes(path)
        elif path.parent == folder and path.name.lower().endswith((".zip", *TARS)):
            archives.append(path)
    for path in archives:
        read = zip_files if path.name.lower().endswith(".zip") else tar_files
        yield from read(path, lambda name: _wanted(name, suffix))


def _files(folder: Path) -> list[Path]:
    """Files below ``folder``, sorted. Links to folders are followed, each folder once."""
    found, visited = [], set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        found += [Path(here, name) for name in files]
    return sorted(found)


@contextmanager
def damage_of(path: Path) -> Iterator[None]:
    """Turns what a damaged or foreign archive raises into an InputError."""
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")
        reason = reason[:200] or type(error).__name__
        raise InputError(f"{path} is damaged or no archive ({reason}): {AGAIN}") from None


def zip_files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each wanted file of a ZIP archive; zipfile checks their CRC."""
    names, links = set(), []
    with damage_of(path), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.is_dir() or not wanted(member.filename):
                continue
            if member.flag_bits & ENCRYPTED:
                raise RuntimeError("a password is needed")
            _check_member(path, member.filename, member.file_size)
            if stat.S_ISLNK(member.external_attr >> 16):
                links.append(member.filename)
                continue
            names.add(Path(member.filename).name)
            yield member.filename, archive.read(member)
        _check_links(links, names)


def tar_files(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each wanted file of a tar archive, plain or compressed.

    tarfile ends without an error where a header is damaged or the archive stops; here the end must be there, and
    nothing behind it.
    """
    unpack = next(TARS[ending] for ending in reversed(TARS) if path.name.lower().endswith(ending))
    names, links = set(), []
    with damage_of(path), unpack(path, "rb") as stream:
        watched: Any = _LastRead(stream)  # tarfile only reads, seeks and tells
        with tarfile.open(fileobj=watched, mode="r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # otherwise it keeps all headers in memory
                if not wanted(member.name):
                    continue
                if member.isfile():
                    _check_member(path, member.name, member.size)
                    data = _content(archive, member)
                    if len(data) != member.size:
                        raise EOFError("ends in the middle of a file")
                    names.add(Path(member.name).name)
                    yield member.name, data
                elif member.islnk() or member.issym():
                    links.append(member.name)
        if watched.last != bytes(BLOCK):
            raise EOFError("is truncated, or a header in it is damaged")
        while block := stream.read(2**20):
            if any(block):
                raise EOFError("has data after its end: unpack joined archives")
        _check_links(links, names)


def _check_links(links: list[str], names: set[str]) -> None:
    """Refuse a link in place of a file, unless a regular file of that name is present."""
    if {Path(link).name for link in links} - names:
        raise EOFError("holds links in place of files: unpack it")


class _LastRead:
    """A stream that keeps the last block read: tarfile does not report why it stopped."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.last = stream, b""

    def read(self, size: int = -1) -> bytes:
        if size > FILE_LIMIT:  # tarfile reads a name whole, however long it is said to be
            raise EOFError("holds a name or a file that is too long")
        self.last = self._stream.read(size)
        return self.last

    def seek(self, *place: int) -> int:
        return self._stream.seek(*place)

    def tell(self) -> int:
        return self._stream.tell()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return b"" if stream is None else stream.read()


def _check_member(path: Path, name: str, size: int) -> None:
    if size > FILE_LIMIT:
        raise InputError(f"{path} holds {name} of {size:,} bytes, which is no picture: {AGAIN}")
