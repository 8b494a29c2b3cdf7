"""Files of a run and of a data set: read whole or refused in one line, written whole or not at all."""

import io
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.errors import InputError


class DamagedError(InputError):
    """A file that is there and does not hold what its name promises."""


def read_bytes(path: Path) -> bytes:
    """The content of a file; InputError where it is absent or may not be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"no file {path}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def read_json(path: Path, remedy: str, *, kind: type = dict) -> Any:
    """The value of a JSON file, of type ``kind``.

    Raises InputError where the file is absent or may not be read, and DamagedError, which ends with ``remedy``, where
    it is no UTF-8, no JSON, or JSON of another kind.
    """
    data = read_bytes(path)
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged ({error}): {remedy}") from None
    if not isinstance(value, kind):
        raise DamagedError(
            f"{path} is damaged (holds {type(value).__name__}, expected {kind.__name__}): {remedy}"
        )
    return value


def read_npz(path: Path, names: Iterable[str], remedy: str) -> dict[str, np.ndarray]:
    """The arrays of these names; pickled objects are never loaded.

    Raises InputError where the file is absent or may not be read, and DamagedError, which ends with ``remedy``, where
    it is no whole NPZ file or lacks one of ``names``.
    """
    path, names = Path(path), list(names)
    if not path.is_file():
        raise InputError(f"no file {path}")
    try:
        with path.open("rb") as stream:  # np.load would leave it open where the file is damaged
            arrays = np.load(stream, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise DamagedError(f"{path} is damaged (a single array, expected an NPZ file): {remedy}")
            lacking = [name for name in names if name not in arrays.files]
            if lacking:
                raise DamagedError(f"{path} is damaged (no array {', '.join(lacking)}): {remedy}")
            return {name: arrays[name] for name in names}
    except DamagedError:
        raise
    except (
        EOFError,
        ValueError,
        KeyError,
        RuntimeError,
        MemoryError,
        OverflowError,
    ) as error:  # encrypted, too large
        raise DamagedError(f"{path} is damaged ({type(error).__name__}): {remedy}") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DamagedError(f"{path} is damaged ({type(error).__name__}): {remedy}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DamagedError(f"{path} cannot be read ({reason}): {remedy}") from None


def write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write through a partial file in the same folder, synced and renamed: a reader sees the old or the new content.

    private: readable by its owner only (mode 0600). Raises InputError where the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """``write_bytes`` of UTF-8 text."""
    write_bytes(path, text.encode("utf-8"), private=private)


def write_json(path: Path, value: Any) -> None:
    """``write_bytes`` of indented JSON. NaN is written as ``NaN``, as Python's json reads it."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """``write_bytes`` of an uncompressed NPZ file."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_bytes(path, stream.getvalue())
