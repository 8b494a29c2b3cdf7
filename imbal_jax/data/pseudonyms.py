"""Pseudonyms: keyed hashes of identifiers, and the file that holds the key.

An unkeyed hash hides nobody: anyone who knows how a hospital numbers its patients can hash all numbers and compare.
"""

import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal

from imbal_jax.errors import InputError

KEY_BYTES = 32
LONGEST = 4096  # bytes read from a file that may not be a key
Kind = Literal["file", "image", "picture", "patient", "likeness", "sop", "accession", "table", "masks", "key"]


class Key:
    """HMAC-SHA256, cut to 128 bits, of kind, zero byte and value. The secret is in no ``repr``."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "Key(...)"

    def of(self, kind: Kind, value: str) -> str:
        """32 hexadecimal digits; the same for the same kind, value and key only."""
        message = f"{kind}\0{value}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._secret, message, "sha256")[:16].hex()

    def of_bytes(self, kind: Kind, value: bytes) -> str:
        """As ``of``, for a value of bytes."""
        return hmac.digest(self._secret, f"{kind}\0".encode() + value, "sha256")[:16].hex()

    def of_file(self, path: Path) -> str:
        """As ``of``, for the bytes of a file and the kind "content"."""
        state = hmac.new(self._secret, b"content\0", "sha256")
        with path.open("rb", buffering=0) as stream:
            while block := stream.read(1 << 20):
                state.update(block)
        return state.digest()[:16].hex()

    @property
    def fingerprint(self) -> str:
        """Distinguishes keys without revealing them."""
        return self.of("key", "")


def open_key(path: Path, *, outside: tuple[Path, ...] = ()) -> Key:
    """The key in ``path``, which is made, readable by its owner alone, where there is none.

    outside: folders that must not hold it: a data set and its key are given away together otherwise.
    An empty file, as a disk that filled up leaves it, holds no key that anything was made with: it is replaced.
    Raises InputError for a key that others may read, that another user owns, or that is no key.
    """
    path = Path(path)
    for folder in outside:
        if path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"the key file {path} is inside {folder}: keep it apart from the data set")
    try:
        if not os.path.lexists(path) or _clear_empty(path):
            _make(path)
    except OSError as error:
        raise InputError(
            f"cannot make the key file {path}: {error.strerror}; free space, or name another file"
        ) from None
    return read_key(path)


def read_key(path: Path) -> Key:
    """The key in ``path``; InputError where there is none, or where it is not this user's alone."""
    try:
        # What is checked is what is read, and a FIFO does not block
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            os.close(handle)
            raise InputError(f"the key file {path} is no ordinary file: name another")
        with os.fdopen(handle, "rb") as stream:
            if os.name == "posix" and about.st_uid != os.geteuid():
                raise InputError(
                    f"the key file {path} belongs to another user, who may know or change it: "
                    "name a key of your own, or copy it"
                )
            if os.name == "posix" and about.st_mode & 0o077:
                raise InputError(f"the key file {path} is readable by others: run chmod 600 on it")
            content = stream.read(LONGEST)
    except OSError as error:
        raise InputError(f"cannot read the key file {path}: {error.strerror}") from None
    try:
        secret = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise InputError(
            f"{path} is no key: {2 * KEY_BYTES} hexadecimal digits. Restore it from a copy, or, where nothing was "
            "made with it, delete it and a new one is made"
        )
    return Key(secret)


def _make(path: Path) -> None:
    """Write a new key beside ``path``, whole and synced, and give it that name unless another process was first."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(partial, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not os.path.lexists(path):
                os.rename(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        with suppress(OSError):
            partial.unlink()


def _clear_empty(path: Path) -> bool:
    """Remove ``path`` where it is an empty file; returns whether it was one."""
    about = os.lstat(path)
    if not stat.S_ISREG(about.st_mode) or about.st_size:
        return False
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.empty")
    os.rename(path, aside)
    if aside.stat().st_size:  # another process made one in between
        os.rename(aside, path)
        return False
    aside.unlink()
    return True
