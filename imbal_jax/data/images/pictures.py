"""PNG, JPEG, TIFF and BMP pictures, opened in one place: by their content, within limits, upright, in 0..1."""

import io
import os
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from imbal_jax.data.images.formats import HEAD, PICTURES, format_of, reason_of
from imbal_jax.data.images.memory_budget import FILES, PIXELS, need, one_file
from imbal_jax.data.images.refusal import FILE_LIMIT, FLAGS, PIXEL_LIMIT, SIDE_LIMIT, ReadError

PERCENTILES = (0.5, 99.5)
USED = 0.25  # of the range: with less, an 8-bit copy would have 64 grey levels or fewer
COUNTED = 512  # rows and columns that percentiles are taken of
CHUNK_LIMIT = 2**17  # of a PNG; 100 megapixels in chunks of 8 KiB are a tenth of them
PAGES_LIMIT = 64  # directories of a TIFF that are looked at
SCANS_LIMIT = (
    64  # of a progressive JPEG, which libjpeg goes through one after the other; encoders make about 10
)
# Text and arrows that were drawn in the white of 16 bits into fewer: so much of the pixels at most, and with no value
# between the largest of the others, which has 9 bits or more, and so many times as much.
MARKS, BRIGHTER, FILM = 0.1, 4, 256
TINT = 8  # of 255: what JPEG leaves between the channels of a grey picture stays below

# Values by which EXIF 2.3, table 4.6.4 A, turns a picture: (transpose, flip rows, flip columns), in this order.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_ORIENTATION = 274
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Picture:
    """values: float32 [h, w], or [h, w, 3] where colour was asked for and is there; 0 black, 1 white. flags: keys of
    FLAGS."""

    values: np.ndarray
    flags: tuple[str, ...] = ()


def open_picture(source: bytes | Path, *, colour: bool = False, smallest: int | None = None) -> Picture:
    """The picture in a PNG, JPEG, TIFF or BMP file, or in the bytes of one. What it is, its content says.

    colour: keep the channels of a colour picture. Otherwise it becomes grey, by the luma of ITU-R BT.601, and is
        flagged colour-dropped unless its channels agree.
    smallest: pixels that each side needs at least. A JPEG that is much larger is then decoded at 1/2, 1/4 or 1/8 of
        its size, with no side below twice this number; who compares pictures passes the same number.

    Range. 8 bits and fewer, and palettes, are v / 255 of their 8-bit form. 16 bits are v / 65535, so that a film has
    one picture at 8 and at 16 bits. The file may say that fewer bits are significant (sBIT of PNG, 12 bits or
    MaxSampleValue of TIFF): where no value is beyond them, they are the range. Otherwise, where 99.5 % of the values
    lie in the lowest quarter of 16 bits (10, 12 or 14 bits in a container of 16) and are not the 8-bit levels times
    257, the range is not known: the 0.5th percentile becomes 0, the 99.5th 1, and the flag is range-guessed. The
    same holds for signed values, 32 bits, and floats outside 0..1.

    Transparent pixels are black in proportion, as padding is. The EXIF or XMP orientation is applied. ICC profiles
    and gamma are ignored. CMYK is converted without a profile.

    Raises ReadError: before anything is decoded for another format, more pixels than the limits, several pictures,
    or a file that ends early; for damage; for NaN.
    """
    with one_file():
        return _scaled(_open(source, smallest=smallest), colour)


def is_picture(path: Path) -> bool:
    """Whether ``open_picture`` is to read the file, or to say what it is: all but DICOM and what nobody knows.

    Raises ReadError for a file that may not be read.
    """
    head = None
    with suppress(OSError):
        if path.is_file():  # a pipe would wait for ever
            with path.open("rb") as file:
                head = file.read(HEAD)
    if head is None:
        raise ReadError("missing")
    return format_of(head) not in ("", "DICOM")


def decode_channels(
    data: bytes, channels: int, dtype: np.dtype, shape: tuple[int, int] | None = None
) -> np.ndarray:
    """uint8 or uint16 [h, w, channels] of the bytes of a picture, as ``open_picture`` shows it; ReadError for none.

    uint16, and uint8 that is stored in as many channels, are the stored numbers. shape: what [h, w] must be. Raises
    ValueError for another shape, before anything is decoded, for 16 bits in colour, and for channels other than 1, 3
    and 4.
    """
    if channels not in (1, 3, 4):
        raise ValueError(f"a picture has 1, 3 or 4 channels, not {channels}")
    with one_file():
        samples = _open(data, shape=shape)
        stored = samples.channels[0].dtype
        if dtype == np.uint16:
            if channels != 1 or len(samples.channels) != 1 or stored != np.uint16:
                raise ValueError(
                    f"a picture of {stored} with {channels} channels is no grey picture of 16 bits"
                )
            return np.ascontiguousarray(samples.channels[0])[..., None]
        alpha = samples.alpha if channels == 4 else None
        if channels == 4:
            samples = replace(samples, alpha=None)
        values = _scaled(samples, colour=channels > 1).values
    pixels = np.rint(values * 255).astype(np.uint8)
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], min(channels, 3), -1)
    if channels == 4:
        opacity = (
            255 if alpha is None else np.rint(alpha * (255 / np.iinfo(alpha.dtype).max)).astype(np.uint8)
        )
        pixels = np.dstack([pixels, np.broadcast_to(opacity, pixels.shape[:2])])
    return pixels


def stored_jpeg(content: bytes) -> np.ndarray:
    """The samples [h, w] or [h, w, C] of a JPEG picture inside another file, as they are; ReadError as for a file."""
    _check_whole(content, "JPEG")
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return np.asarray(image)


# Refusals before anything is decoded


class _OtherShape(ValueError):
    def __init__(self) -> None:
        super().__init__("a picture of another size than its set states")


def _open(
    source: bytes | Path, *, smallest: int | None = None, shape: tuple[int, int] | None = None
) -> "_Samples":
    data = source if isinstance(source, bytes) else _read(Path(source))
    kind = format_of(data[:HEAD])
    if kind not in PICTURES:
        raise ReadError(reason_of(kind) if kind not in ("", "DICOM") else "not-an-image")
    reason, samples = "", None
    # Raised outside the except blocks: Pillow's text may quote the file.
    try:
        _check_whole(data, kind)
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            _check_size(image, len(data))
            full = image.size
            if shape is not None and sorted(shape) != sorted(full):
                raise _OtherShape
            if smallest is not None and kind == "JPEG":
                image.draft(None, (2 * smallest, 2 * smallest))
            need(PIXELS, _cost(image, full))
            samples = _samples(image, data, kind)
    except (ReadError, _OtherShape):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        reason = "too-large"
    except (UnidentifiedImageError, NotImplementedError, KeyError):
        reason = "unsupported-picture"
    except Exception:
        reason = "undecodable"
    if samples is None:
        raise ReadError(reason)
    if shape is not None and samples.channels[0].shape != shape:
        raise _OtherShape
    if kind == "JPEG" and _filled_up(samples.channels[0]):
        raise ReadError("half-empty")
    return samples


def _read(path: Path) -> bytes:
    """The whole file, so that it cannot change while it is read; of another format, what says which."""
    reason = ""
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise FileNotFoundError
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length > FILE_LIMIT:
                reason = "too-large"
            elif format_of(file.read(HEAD)) in PICTURES:
                need(FILES, length)
                file.seek(0)
                return file.read(length)
            else:
                file.seek(0)
                return file.read(HEAD)  # enough to say what it is
    except OSError:
        reason = "missing"
    raise ReadError(reason)


def _check_whole(data: bytes, kind: str) -> None:
    """ReadError for a picture without its end, and for a PNG with a wrong checksum.

    Pillow does not look for the end of a PNG or JPEG nor for checksums, and where ``LOAD_TRUNCATED_IMAGES`` is set it
    fills up what is lacking.
    """
    if kind == "PNG":
        for number, _ in enumerate(_chunks(data)):
            if number > CHUNK_LIMIT:
                raise ReadError("too-large")
    elif kind == "JPEG":
        # In entropy-coded data FF is followed by 00 or a restart marker, so that FF D9 is the end. Behind it cameras
        # put further pictures, and before it, in the header, a thumbnail.
        first = _first_scan(data)
        end = data.find(b"\xff\xd9", first)
        if end < 0:
            raise ReadError("truncated")
        if data.count(b"\xff\xda", first, end) >= SCANS_LIMIT:
            raise ReadError("too-large")
    elif kind == "TIFF":
        order = "little" if data.startswith(b"II") else "big"
        directory = data[4:8] if data[2:4].strip(b"\0") == b"*" else data[8:16]
        if int.from_bytes(directory, order) + 2 > len(data):
            raise ReadError("truncated")
    elif kind == "BMP" and len(data) >= 34:
        start, size, width, height, _, depth, packed = struct.unpack_from("<10xIIiiHHI", data)
        row = (abs(width) * depth + 31) // 32 * 4
        if size >= 40 and packed in (0, 3) and start + row * abs(height) > len(data):
            raise ReadError("truncated")


def _first_scan(data: bytes) -> int:
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


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
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


def _filled_up(channel: np.ndarray) -> bool:
    """Whether libjpeg made up the lower half: without data it writes coefficients of 0, which are grey 128."""
    rows = len(channel)
    return (
        rows >= 8
        and bool((channel[-1] == 128).all() and (channel[rows // 2 :] == 128).all())
        and channel.min() < channel.max()
    )


def _check_size(image: Image.Image, length: int) -> None:
    width, height = image.size
    if max(width, height) > SIDE_LIMIT or width * height > PIXEL_LIMIT:
        raise ReadError("too-large")
    if image.format == "TIFF":
        if _pages(image) > 1:
            raise ReadError("multi-frame")
        for starts, lengths in ((273, 279), (324, 325)):  # strips, tiles
            ends = np.add(image.tag_v2.get(starts, 0), image.tag_v2.get(lengths, 0), dtype=float)
            if np.max(ends, initial=0) > length:
                raise ReadError("truncated")
    elif image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise ReadError("multi-frame")


def _pages(image: Image.Image) -> int:
    """Pages of a TIFF at full size: thumbnails and masks (NewSubfileType, tag 254) do not count."""
    pages = 0
    with suppress(EOFError):
        for page in range(PAGES_LIMIT):
            image.seek(page)
            pages += image.tag_v2.get(254, 0) == 0
    image.seek(0)
    return pages


# Decoding


@dataclass(frozen=True)
class _Samples:
    """channels: one or three arrays [h, w] as stored. alpha: [h, w] of the same type, or None. top: what is white,
    None where that must be guessed. inverted: whether 0 is white."""

    channels: tuple[np.ndarray, ...]
    alpha: np.ndarray | None = None
    top: float | None = 255
    inverted: bool = False


def _cost(image: Image.Image, full: tuple[int, int]) -> int:
    """Bytes at most until the values are made, these included. full: the size before ``draft``."""
    (width, height), bands = image.size, len(image.getbands())
    # Pillow's own copy (4 bytes a pixel in colour), numpy's, one for conversion, and float32 for each channel.
    wide = bands == 1 and image.mode not in ("1", "L", "P")
    each = 20 if wide else 8 if image.mode in ("1", "L") else 36 if ";16" in _raw_mode(image) else 28
    cost = width * height * each
    if image.format == "TIFF":  # a strip may hold all of it
        cost += width * height * bands * (4 if wide else 2)
    if "progressive" in image.info:  # libjpeg keeps 16 bits for every sample of the full size
        cost += full[0] * full[1] * bands * 2
    return cost


def _samples(image: Image.Image, data: bytes, kind: str) -> _Samples:
    """The decoded samples, upright."""
    raw = _raw_mode(image)
    tags = image.tag_v2 if kind == "TIFF" else {}
    if tags and _misread(image, tags, raw):
        raise ReadError("unsupported-picture")
    formats = np.ravel(tags.get(339, 1))  # SampleFormat: 1 unsigned, 2 signed, 3 float
    key = image.info.get("transparency")
    if image.mode in ("1", "P", "PA", "CMYK", "YCbCr") and 2 not in formats:
        see_through = image.mode == "PA" or key is not None
        image.load()
        if image.mode == "P" and image.getextrema()[1] >= _colours(data, kind, image):
            raise ReadError("undecodable")
        converted = image.convert({"1": "L"}.get(image.mode, "RGBA" if see_through else "RGB"))
        pixels, key, top = np.asarray(converted), key if image.mode == "1" else None, 255
    elif image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):
        pixels = np.asarray(image)
        pixels, top = pixels.astype(np.uint16, copy=False), _significant(data, tags, pixels)
    elif image.mode == "I":
        pixels, top = np.asarray(image), None
        pixels = pixels.view(np.uint32) if 1 in formats else pixels
    elif image.mode == "F":
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise ReadError("non-finite")
        top = 1 if pixels.min() >= 0 and pixels.max() <= 1 and _fills(pixels * np.float32(255), 255) else None
    elif raw.startswith(("RGB;16", "RGBA;16", "RGBX;16", "LA;16")):
        pixels = _sixteen_bits(image, data, kind, raw)
        top = _significant(data, tags, pixels)
    elif image.mode in ("L", "LA", "La", "RGB", "RGBA") and 2 not in formats:
        pixels, top = np.asarray(image), 255
        if kind == "PNG" and isinstance(key, int):  # which is stated in the bits of the file
            key *= 255 // (2 ** min(data[24], 8) - 1)
        pixels = pixels[..., 0] if image.mode == "La" else pixels  # multiplied by its alpha already
    else:
        raise ReadError("unsupported-picture")
    pixels = _upright(pixels, _orientation(image))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    colours = 3 if pixels.shape[-1] >= 3 else 1
    alpha = pixels[..., -1] if pixels.shape[-1] > colours else None
    if key is not None and alpha is None:  # one colour that is transparent
        alpha = (pixels != np.array(key, pixels.dtype)).any(-1).astype(pixels.dtype) * np.iinfo(
            pixels.dtype
        ).max
    # WhiteIsZero is followed by Pillow at 8 bits and fewer only.
    inverted = tags.get(262) == 0 and image.mode not in ("1", "L")
    channels = tuple(np.ascontiguousarray(pixels[..., place]) for place in range(colours))
    return _Samples(channels, alpha, top, inverted)


def _colours(data: bytes, kind: str, image: Image.Image) -> int:
    """How many colours the palette has. Pillow shows what is beyond it black."""
    if kind == "PNG":
        return next((len(content) // 3 for name, content in _chunks(data) if name == b"PLTE"), 0)
    mode, palette = image.palette.getdata()
    return len(palette) // len(mode)


def _misread(image: Image.Image, tags: Mapping[int, Any], raw: str) -> bool:
    """TIFFs of which Pillow 13 shows other values than they hold."""
    swapped = image.tile[0][0] == "libtiff" and raw.endswith(
        ("32BF", "BS")
    )  # libtiff has put the bytes in order
    wide_planes = tags.get(284) == 2 and len(image.getbands()) > 1 and np.max(tags.get(258, 8)) > 8
    return swapped or wide_planes


def _raw_mode(image: Image.Image) -> str:
    """How the samples lie in the file, in Pillow's words."""
    if not image.tile:
        return ""
    arguments = image.tile[0][3]
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _sixteen_bits(image: Image.Image, data: bytes, kind: str, raw: str) -> np.ndarray:
    """uint16 [h, w, 2, 3 or 4]. Pillow keeps the high bytes only, so the low ones are read as if they were these."""
    if raw.startswith("LA"):  # as many bytes as RGBA
        image.tile = [_with_raw_mode(tile, "RGBA") for tile in image.tile]
        pixels = np.asarray(image).astype(np.uint16)
        return pixels[..., 0::2] << 8 | pixels[..., 1::2]
    high = np.asarray(image)
    native = "L" if sys.byteorder == "little" else "B"
    order = native if raw.endswith("N") else raw[-1]
    with Image.open(io.BytesIO(data), formats=(kind,)) as again:
        again.tile = [_with_raw_mode(tile, raw[:-1] + {"L": "B", "B": "L"}[order]) for tile in again.tile]
        low = np.asarray(again)
    pixels = high.astype(np.uint16)
    pixels <<= 8
    pixels |= low
    return pixels


def _with_raw_mode(tile: tuple, raw: str) -> tuple:
    arguments = (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw
    changed = (*tile[:3], arguments)
    return tile._make(changed) if hasattr(tile, "_make") else changed


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where nothing is said or the EXIF data are damaged. Pillow has turned a TIFF already."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in _TURNS else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A view of pixels [h, w, ...]."""
    if orientation not in _TURNS:
        return pixels
    transposed, rows, columns = _TURNS[orientation]
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]


# Range


def _significant(data: bytes, tags: Mapping[int, Any], pixels: np.ndarray) -> float | None:
    """What is white in 16 bits: what the file says where no value is beyond it, else 65535; None: to be guessed."""
    most, said = int(pixels.max()), None
    if data.startswith(b"\x89PNG"):
        said = next(
            (2 ** max(content) - 1 for name, content in _chunks(data) if name == b"sBIT" and len(content)),
            None,
        )
    elif tags:
        bits = int(np.max(tags.get(258, 16)))
        if bits < 16:
            return 2**bits - 1
        said = int(np.max(tags.get(281, 65535)))
    if said is not None and 0 < said < 65535 and most <= said and not _widened(pixels, said):
        return said
    if _fills(pixels, 65535):
        return 65535
    # An 8-bit picture made of 16 bits, by repeating the byte or by a shift, may be dark.
    return 65535 if not (pixels % 257).any() or not (pixels % 256).any() else None


def _widened(pixels: np.ndarray, said: int) -> bool:
    """Whether 14 or 15 bits were shifted to 16, as PNG asks for, in a picture too dark to reach beyond ``said``."""
    bits = said.bit_length()
    return bits >= 14 and not (pixels & (1 << 16 - bits) - 1).any()


def _fills(pixels: np.ndarray, top: float) -> bool:
    """Whether the picture uses the range from 0 to ``top``: not a small part of it, nor that with marks beyond."""
    if top == 255 and pixels.dtype.kind == "f" and bool((abs(pixels - np.rint(pixels)) < 1e-3).all()):
        return True  # 8-bit levels, which may be dark
    return percentiles(pixels)[1] >= USED * top


def percentiles(pixels: np.ndarray) -> tuple[float, float]:
    """PERCENTILES of the picture; where it has ``MARKS`` that would count, without them."""
    step = max(1, min(pixels.shape[:2]) // COUNTED)
    values = pixels[::step, ::step].ravel()
    low, high = np.percentile(values, PERCENTILES)
    if values.dtype == np.uint16 and high >= USED * 65535:
        values = np.sort(values)
        few = values[int((1 - MARKS) * len(values)) :].astype(np.int64)
        gaps = (few[:-1] >= FILM) & (few[:-1] < USED * 65535) & (few[1:] >= BRIGHTER * few[:-1])
        if gaps.any():
            low, high = np.percentile(values[: len(values) - len(few) + 1 + int(gaps.argmax())], PERCENTILES)
    return float(low), float(high)


def _scaled(samples: _Samples, colour: bool) -> Picture:
    low, high = 0.0, samples.top
    if samples.top is None:
        ranges = [percentiles(channel) for channel in samples.channels]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        if not low < high:  # nearly all is one value
            low, high = (
                float(end) for end in (min(map(np.min, samples.channels)), max(map(np.max, samples.channels)))
            )
    shape, spread = samples.channels[0].shape, _spread(samples.channels)
    if spread == 0 and not (colour and len(samples.channels) == 3):
        values = _ramp(samples.channels[0], low, high)
    elif colour:
        values = np.empty((*shape, 3), np.float32)
        for place, channel in enumerate(samples.channels):
            values[..., place] = _ramp(channel, low, high)
    else:
        values = np.zeros(shape, np.float32)
        for weight, channel in zip(LUMA, samples.channels, strict=True):
            one = _ramp(channel, low, high)
            one *= np.float32(weight)
            values += one
    if samples.inverted:
        np.subtract(1, values, out=values)
    if samples.alpha is not None:
        opacity = samples.alpha / np.float32(np.iinfo(samples.alpha.dtype).max)
        values *= opacity if values.ndim == 2 else opacity[..., None]
    np.clip(values, 0, 1, out=values)
    tinted = spread > TINT / 255 * (high - low)
    flags = {"range-guessed": samples.top is None, "colour-dropped": tinted and not colour}
    return Picture(values, tuple(flag for flag in FLAGS if flags.get(flag)))


def _ramp(stored: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at ``low``, 1 at ``high``."""
    out = stored.astype(np.float32)
    with np.errstate(over="ignore"):  # of floats far beyond their percentiles, which are clipped
        if low:
            out -= np.float32(low)
        out /= np.float32(max(high - low, np.finfo(np.float32).tiny))
    return out


def _spread(channels: tuple[np.ndarray, ...]) -> int:
    """The largest difference between the channels of a pixel, as stored."""
    if len(channels) == 1 or all(np.array_equal(channels[0], channel) for channel in channels[1:]):
        return 0
    red, green, blue = channels
    return int((np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)).max())
