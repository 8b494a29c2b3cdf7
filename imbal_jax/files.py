"""Files of a run and of a data set: read whole or refused in one line, written whole or not at all."""

import csv
import errno
import io
import json
import os
import secrets
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from imbal_jax.errors import InputError, Stopped


class DamagedError(InputError):
    """A file that is there and does not hold what its name promises."""


def present(path: Path) -> bool:
    """Whether there is anything of this name, be it a folder, a pipe or a link that leads nowhere.

    What is present and no file that can be read is refused where it is read; it is never taken for absent.
    """
    return os.path.lexists(path)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read; InputError where it is absent, no ordinary file, or may not be read. A pipe does not block."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InputError(f"{path} cannot be read: it is no ordinary file")
            yield stream
    except FileNotFoundError:
        dangling = os.path.islink(path)
        raise InputError(
            f"{path} cannot be read: it is a link that leads nowhere" if dangling else f"no file {path}"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None


def read_bytes(path: Path) -> bytes:
    """The content of a file; InputError as ``opened``."""
    with opened(path) as stream:
        return stream.read()


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


def read_jsonl(
    path: Path, remedy: str, check: Callable[[dict[str, Any]], bool] = lambda _: True
) -> list[dict[str, Any]]:
    """The objects of a file with one JSON object a line, without an incomplete last line, as a kill leaves it.

    check: whether an object is one of those that the file holds. Raises InputError where the file is absent or may
    not be read, and DamagedError, naming the line and ending with ``remedy``, where a line before the last is none.
    """
    lines = read_bytes(path).split(b"\n")
    records: list[dict[str, Any]] = []
    for place, line in enumerate(lines, start=1):
        try:
            record = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict) and check(record):
            records.append(record)
        elif any(rest.strip() for rest in lines[place:]):
            raise DamagedError(f"{path} is damaged (line {place} is no record): {remedy}")
    return records


def _no_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def npz_names(path: Path, remedy: str) -> list[str]:
    """The names of the arrays of an NPZ file, which are not read; errors as for ``read_npz``."""
    try:
        with opened(Path(path)) as stream:
            return [name.removesuffix(".npy") for name in zipfile.ZipFile(stream).namelist()]
    except (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError) as error:
        raise DamagedError(f"{path} is damaged ({type(error).__name__}): {remedy}") from None


def read_npz(
    path: Path, names: Iterable[str], remedy: str, optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of these names; pickled objects are never loaded.

    Raises InputError where the file is absent or may not be read, and DamagedError, which ends with ``remedy``, where
    it is no whole NPZ file or lacks one of ``names``. optional: names of arrays that may be absent.
    """
    path, names = Path(path), list(names)
    try:
        with opened(path) as stream:  # np.load would leave it open where the file is damaged
            arrays = np.load(stream, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise DamagedError(f"{path} is damaged (a single array, expected an NPZ file): {remedy}")
            lacking = [name for name in names if name not in arrays.files]
            if lacking:
                raise DamagedError(f"{path} is damaged (no array {', '.join(lacking)}): {remedy}")
            read = {name: arrays[name] for name in (*names, *optional) if name in arrays.files}
            foreign = [name for name, array in read.items() if not isinstance(array, np.ndarray)]
            if foreign:  # numpy gives the bytes of what is no array
                raise DamagedError(f"{path} is damaged ({', '.join(foreign)} is no array): {remedy}")
            return read
    except InputError:
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


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A stream to write what ``path`` holds afterwards: a reader sees the old or the new content.

    It is a partial file in the same folder, synced and renamed when the block ends without an error, else deleted.
    private: readable by its owner only (mode 0600). Raises InputError where the file cannot be written, or where
    ``path`` is a device or a pipe, which a rename would replace, and Stopped where the disk is full.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        check_ordinary(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from None
        raise


def check_ordinary(path: Path) -> None:
    """InputError where ``path`` is a device, a pipe or a socket: a rename would put a file in its place."""
    with suppress(OSError):
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"cannot write {path}: it is no ordinary file; name another place")


def write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """``replacing`` with ``data``."""
    with replacing(path, private=private) as stream:
        stream.write(data)


def cannot_write(path: Path, error: OSError) -> InputError:
    """What to raise where ``path`` could not be written: ``Stopped`` where the disk is full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Stopped(
            f"cannot write {path}: {error.strerror}; nothing saved is lost: free space and run the same command again"
        )
    return InputError(f"cannot write {path}: {error.strerror or type(error).__name__}; name another place")


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """``write_bytes`` of UTF-8 text."""
    write_bytes(path, text.encode("utf-8"), private=private)


def write_json(path: Path, value: Any) -> None:
    """``write_bytes`` of indented JSON. NaN is written as ``NaN``, as Python's json reads it."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """``replacing`` with an NPZ file, which is never whole in memory."""
    with replacing(path) as stream:
        save: Any = np.savez_compressed if compressed else np.savez
        save(stream, **arrays)


def write_csv(
    path: Path, heading: Sequence[str], rows: Iterable[Sequence[Any]], *, private: bool = False
) -> None:
    """``write_bytes`` of a table whose cells no spreadsheet takes for formulas (``csv_cell``)."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerows([csv_cell(cell) for cell in row] for row in (heading, *rows))
    write_bytes(path, stream.getvalue().encode("utf-8", "surrogateescape"), private=private)


# What a spreadsheet reads as the beginning of a formula, as OWASP lists them; the last four are the full-width forms.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_cell(value: Any) -> Any:
    """The cell as it is written: text that a spreadsheet would run gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


class CsvFile:
    """A CSV file that grows row by row through a partial file and is renamed when the block ends without an error.

    path: None writes nothing. private: readable by its owner only. Raises InputError where it cannot be written.
    """

    def __init__(self, path: Path | None, *, private: bool = False) -> None:
        self._path, self._private = path, private
        self._file: Any = None
        self._discarded = False

    def __enter__(self) -> "CsvFile":
        if self._path is not None:
            check_ordinary(self._path)
            self._partial = self._path.with_name(self._path.name + ".partial")
            with self._explained():
                self._partial.unlink(
                    missing_ok=True
                )  # left by a run that was killed; it may be readable by others
                mode = 0o600 if self._private else 0o666
                handle = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                self._file = os.fdopen(handle, "w", newline="", encoding="utf-8", errors="surrogateescape")
            self._writer = csv.writer(self._file)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file is None or self._path is None:
            return
        with self._explained():
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()
            if kind is None and not self._discarded:
                os.replace(self._partial, self._path)
            elif self._private or self._discarded:
                self._partial.unlink()

    def row(self, cells: Sequence[Any]) -> None:
        if self._file is not None:
            with self._explained():
                self._writer.writerow([csv_cell(cell) for cell in cells])

    def discard(self) -> None:
        """Leave no file when the block ends."""
        self._discarded = True

    def flush(self) -> None:
        if self._file is not None:
            with self._explained():
                self._file.flush()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._path or Path(), error) from None
