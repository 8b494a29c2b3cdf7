"""The journal of what was read: append-only segments, one a writer, that survive a kill of any process.

    segment := frame*
    frame   := header length, pixels length, CRC-32 of both (three uint32, little endian), header (JSON), pixels

Every frame is whole, except a torn last one, which is ignored. Nothing in a segment names a file or a patient.
"""

import json
import secrets
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from imbal_jax.errors import InputError

FRAME = struct.Struct("<III")
SUFFIX = ".segment"


@dataclass(frozen=True)
class Read:
    """The outcome of reading one file. Identifiers are keyed hashes; "" is none.

    file: of the path below the folder. size, mtime: of the file when it was read. content: of its bytes.
    reason: a refusal's, "" where the file is an image. hint: a package to install, or where reading failed.
    patient: of the header's; study: it has no PatientID, and its study counts; likeness: what PatientIDs share that
    may be one person's. sop, accession: of the header's, for joining with the table.
    flags: of the picture, sorted.
    pixels: whether they were kept: a file whose header no row asks for is not decoded. picture: of the pixels.
    """

    file: str
    size: int = 0
    mtime: int = 0
    content: str = ""
    reason: str = ""
    hint: str = ""
    patient: str = ""
    study: bool = False
    likeness: str = ""
    sop: str = ""
    accession: str = ""
    flags: tuple[str, ...] = ()
    pixels: bool = False
    picture: str = ""


@dataclass(frozen=True)
class Place:
    """Location of a picture in the journal."""

    segment: str
    offset: int
    length: int
    checksum: int


class Segment:
    """A new segment in ``folder`` that this writer alone appends to."""

    def __init__(self, folder: Path) -> None:
        self.name = secrets.token_hex(8) + SUFFIX
        self._stream = (Path(folder) / self.name).open("xb", buffering=0)
        self._offset = 0

    def append(self, read: Read, picture: np.ndarray | None) -> Place:
        """Write one frame; it counts once this returns."""
        header = json.dumps(asdict(read), separators=(",", ":")).encode()
        pixels = b"" if picture is None else np.ascontiguousarray(picture).data.cast("B")
        checksum = zlib.crc32(pixels, zlib.crc32(header))
        frame = memoryview(b"".join((FRAME.pack(len(header), len(pixels), checksum), header, pixels)))
        start = self._offset + FRAME.size + len(header)
        while frame:  # a disk that fills up accepts only a part
            written = self._stream.write(frame)
            self._offset += written
            frame = frame[written:]
        return Place(self.name, start, len(pixels), zlib.crc32(pixels))

    def close(self) -> None:
        self._stream.close()


def frames(path: Path) -> Iterator[tuple[Read, Place]]:
    """The whole frames of one segment, up to a torn last one."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        while len(start := stream.read(FRAME.size)) == FRAME.size:
            header_length, pixels_length, checksum = FRAME.unpack(start)
            offset = stream.tell() + header_length
            if offset + pixels_length > size:
                return
            header, pixels = stream.read(header_length), stream.read(pixels_length)
            if zlib.crc32(pixels, zlib.crc32(header)) != checksum:
                return
            values = json.loads(header)
            yield (
                Read(**{**values, "flags": tuple(values["flags"])}),
                Place(path.name, offset, pixels_length, zlib.crc32(pixels)),
            )


def segments(folder: Path) -> list[Path]:
    return sorted(Path(folder).glob(f"*{SUFFIX}"))


class Pictures:
    """Random access to the journal's pictures; picklable, so that other machines may open it."""

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.folder, self.shape, self.dtype = Path(folder), shape, dtype
        self._streams: dict[str, BinaryIO] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "shape": self.shape, "dtype": self.dtype, "_streams": {}}

    def __getitem__(self, place: Place) -> np.ndarray:
        stream = self._streams.get(place.segment)
        if stream is None:
            stream = self._streams[place.segment] = (self.folder / place.segment).open("rb")
        stream.seek(place.offset)
        pixels = stream.read(place.length)
        if zlib.crc32(pixels) != place.checksum:
            raise InputError(
                f"{self.folder} was changed while the records were written: delete it and start again"
            )
        return np.frombuffer(pixels, self.dtype).reshape(self.shape)

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
