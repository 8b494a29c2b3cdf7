"""Identifiers that cannot be traced back without a key, and the file that holds the key.

An unkeyed hash hides nobody: whoever knows how a hospital numbers its patients hashes all numbers and looks.
"""

import hmac
import os
import secrets
from pathlib import Path
from typing import Literal

from imbal_jax.errors import InputError

KEY_BYTES = 32
Kind = Literal["file", "image", "patient", "likeness", "sop", "accession", "table", "key"]


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

    def of_file(self, path: Path) -> str:
        """The same of a file's bytes, kind "content"."""
        state = hmac.new(self._secret, b"content\0", "sha256")
        with path.open("rb", buffering=0) as stream:
            while block := stream.read(1 << 20):
                state.update(block)
        return state.digest()[:16].hex()

    @property
    def fingerprint(self) -> str:
        """Tells one key from another and says nothing of either."""
        return self.of("key", "")


def open_key(path: Path, *, outside: tuple[Path, ...] = ()) -> Key:
    """The key in ``path``, which is made, readable by its owner alone, where there is none.

    outside: folders that must not hold it: a data set and its key are given away together otherwise.
    Raises InputError for a key that others may read or that is no key.
    """
    path = Path(path)
    for folder in outside:
        if path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"the key file {path} is inside {folder}: keep it apart from the data set")
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_key(path)
    except OSError as error:
        raise InputError(f"cannot make the key file {path}: {error.strerror}") from None
    with os.fdopen(made, "w") as stream:
        stream.write(secrets.token_hex(KEY_BYTES) + "\n")
    return read_key(path)


def read_key(path: Path) -> Key:
    """The key in ``path``; InputError where there is none."""
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise InputError(f"the key file {path} may be read by others: chmod 600 it")
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise InputError(f"cannot read the key file {path}: {error.strerror}") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        secret = b""
    if len(secret) != KEY_BYTES:
        raise InputError(f"{path} is no key: {2 * KEY_BYTES} hexadecimal digits, or no file and one is made")
    return Key(secret)
