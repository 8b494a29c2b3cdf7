"""Refuses pictures that are cut off, damaged, too large or several in one file, before they are decoded."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal

import numpy as np
from PIL.ImageFile import ImageFile

from imbal_jax.data.images.refusal import PIXEL_LIMIT, SIDE_LIMIT, ReadError

CHUNK_LIMIT = 2**17  # chunks of a PNG; 100 megapixels in chunks of 8 KiB are a tenth of them
PAGES_LIMIT = 64  # directories of a TIFF that are looked at
# Scans of a progressive JPEG, which libjpeg decodes one after the other; encoders make about 10.
SCANS_LIMIT = 64


def check_whole(data: bytes, kind: str) -> None:
    """ReadError for a picture without its end, and for a PNG with a wrong checksum.

    Pillow does not look for the end of a PNG or JPEG nor for checksums, and where ``LOAD_TRUNCATED_IMAGES`` is set it
    fills up what is lacking.
    """
    if kind == "PNG":
        for number, _ in enumerate(png_chunks(data)):
            if number > CHUNK_LIMIT:
                raise ReadError("too-large")
    elif kind == "JPEG":
        # In entropy-coded data FF is followed by 00 or a restart marker, so that FF D9 is the end. Behind it cameras
        # put further pictures, and before it, in the header, a thumbnail.
        first = first_scan(data)
        end = data.find(b"\xff\xd9", first)
        if end < 0:
            raise ReadError("truncated")
        if data.count(b"\xff\xda", first, end) >= SCANS_LIMIT:
            raise ReadError("too-large")
    elif kind == "TIFF":
        order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
        directory = data[4:8] if data[2:4].strip(b"\0") == b"*" else data[8:16]
        if int.from_bytes(directory, order) + 2 > len(data):
            raise ReadError("truncated")
    elif kind == "BMP" and len(data) >= 34:
        start, size, width, height, _, depth, packed = struct.unpack_from("<10xIIiiHHI", data)
        row = (abs(width) * depth + 31) // 32 * 4
        if size >= 40 and packed in (0, 3) and start + row * abs(height) > len(data):
            raise ReadError("truncated")


def first_scan(data: bytes) -> int:
    """Where the entropy-coded data of a JPEG begin."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            break
        if data[place + 1] == 0xFF:  # fill byte
            place += 1
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] == 0xDA:
            return place + 2 + length
        place += 2 + length
    raise ReadError("truncated")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Type and content of each chunk of a PNG up to IEND, checked against its CRC."""
    place, view = 8, memoryview(data)
    while True:
        if place + 12 > len(data):
            raise ReadError("truncated")
        (length,) = struct.unpack_from(">I", data, place)
        if place + 12 + length > len(data):
            raise ReadError("truncated")
        name, content = bytes(view[place + 4 : place + 8]), view[place + 8 : place + 8 + length]
        (crc,) = struct.unpack_from(">I", data, place + 8 + length)
        if zlib.crc32(view[place + 4 : place + 8 + length]) != crc:
            raise ReadError("undecodable")
        yield name, content
        if name == b"IEND":
            return
        place += 12 + length


def filled_up(channel: np.ndarray) -> bool:
    """Whether libjpeg made up the lower half: without data it writes coefficients of 0, which are grey 128."""
    rows = len(channel)
    return (
        rows >= 8
        and bool((channel[-1] == 128).all() and (channel[rows // 2 :] == 128).all())
        and channel.min() < channel.max()
    )


def check_size(image: ImageFile, length: int) -> None:
    width, height = image.size
    if max(width, height) > SIDE_LIMIT or width * height > PIXEL_LIMIT:
        raise ReadError("too-large")
    if image.format == "TIFF":
        if pages(image) > 1:
            raise ReadError("multi-frame")
        for starts, lengths in ((273, 279), (324, 325)):  # strips, tiles
            ends = np.add(tiff_tags(image).get(starts, 0), tiff_tags(image).get(lengths, 0), dtype=float)
            if np.max(ends, initial=0) > length:
                raise ReadError("truncated")
    elif image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise ReadError("multi-frame")


def pages(image: ImageFile) -> int:
    """Pages of a TIFF at full size: thumbnails and masks (NewSubfileType, tag 254) do not count."""
    pages = 0
    with suppress(EOFError):
        for page in range(PAGES_LIMIT):
            image.seek(page)
            pages += tiff_tags(image).get(254, 0) == 0
    image.seek(0)
    return pages


def tiff_tags(image: ImageFile) -> Mapping[int, Any]:
    """The tags of the page of a TIFF; empty for other formats."""
    return getattr(image, "tag_v2", {})
