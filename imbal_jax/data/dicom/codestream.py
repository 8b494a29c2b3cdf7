"""Size, depth and end of a compressed picture, read from its headers before it is decoded.

A decoder allocates by the compressed picture, not by the DICOM header around it; and openjpeg and libjpeg fill
up a picture that was cut off, without an error.
"""

from dataclasses import dataclass

# Markers: ISO/IEC 10918-1 table B.1, 14495-1 table C.1, 15444-1 table A.2.
JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
START_OF_SCAN = 0xDA
END_OF_PICTURE = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
TILE_LIMIT = 4096  # openjpeg keeps some kilobytes for every tile that a header promises


@dataclass(frozen=True)
class Codestream:
    """rows, columns, samples a pixel, bits a sample; ``ended``: whether its end marker is there."""

    rows: int
    columns: int
    samples: int
    bits: int
    ended: bool


def read_codestream(content: bytes) -> Codestream | None:
    """The particulars of a JPEG, JPEG-LS or JPEG 2000 picture; None where they cannot be read."""
    try:
        if content[:2] == b"\xff\xd8":
            return read_jpeg(content)
        return read_jpeg_2000(content)
    except IndexError:
        return None


def read_jpeg(content: bytes) -> Codestream | None:
    place = 2
    found = None
    while content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        length = big_endian(content, place + 2, 2)
        if marker in JPEG_FRAMES:
            if found is not None:  # a hierarchical picture: the decoder would take another frame's size
                return None
            found = (
                big_endian(content, place + 5, 2),
                big_endian(content, place + 7, 2),
                content[place + 9],
                content[place + 4],
            )
        if marker == START_OF_SCAN:
            return None if found is None else Codestream(*found, ended=has_end(content))
        if length < 2:
            return None
        place += 2 + length
    return None


def read_jpeg_2000(content: bytes) -> Codestream | None:
    start = 0
    if content[4:8] == b"jP  ":  # a JP2 file: boxes around the codestream
        while content[start + 4 : start + 8] != b"jp2c":
            length = big_endian(content, start, 4)
            if length < 8:
                return None
            start += length
        start += 8 if big_endian(content, start, 4) != 1 else 16
    # SOC, then SIZ: Lsiz, Rsiz, Xsiz, Ysiz, XOsiz, YOsiz, XTsiz, YTsiz, XTOsiz, YTOsiz, Csiz, Ssiz, ...
    if content[start : start + 4] != b"\xff\x4f\xff\x51":
        return None
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = (
        big_endian(content, start + 8 + 4 * index, 4) for index in range(8)
    )
    samples, bits = big_endian(content, start + 40, 2), (content[start + 42] & 0x7F) + 1
    step_x, step_y = content[start + 43], content[start + 44]
    if not (tile_width and tile_height and step_x == step_y == 1):
        return None
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if not 1 <= tiles <= TILE_LIMIT:
        return None
    return Codestream(bottom - top, right - left, samples, bits, ended=has_end(content))


def has_end(content: bytes) -> bool:
    """Whether only padding follows the end marker; DICOM needs at most one byte of it."""
    return content[-66:].rstrip(b"\0\xff")[-1:] == b"\xd9" and END_OF_PICTURE in content[-66:]


def big_endian(content: bytes, place: int, length: int) -> int:
    if place + length > len(content):
        raise IndexError
    return int.from_bytes(content[place : place + length], "big")
