"""Opens PNG, JPEG, TIFF and BMP pictures: by their content, within limits, upright, with values from 0 to 1."""

import io
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from imbal_jax.data.images.formats import HEAD, PICTURES, format_of, reason_of
from imbal_jax.data.images.memory_budget import FILES, PIXELS, need, one_file
from imbal_jax.data.images.picture_integrity import check_size, check_whole, filled_up
from imbal_jax.data.images.picture_range import percentiles
from imbal_jax.data.images.picture_samples import Samples, decoded_samples, decoding_bytes
from imbal_jax.data.images.refusal import FILE_LIMIT, FLAGS, ReadError

TINT = 8  # of 255; the channels of a grey JPEG differ by less

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Picture:
    """values: float32 [h, w], or [h, w, 3] where colour was asked for and is there; 0 black, 1 white. flags: keys of
    FLAGS."""

    values: np.ndarray
    flags: tuple[str, ...] = ()


def open_picture(source: bytes | Path, *, colour: bool = False, smallest: int | None = None) -> Picture:
    """The picture in a PNG, JPEG, TIFF or BMP file, or in the bytes of one. The content determines the format.

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
        if path.is_file():  # reading a pipe would block forever
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
    check_whole(content, "JPEG")
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return np.asarray(image)


# Refusals before anything is decoded


class _OtherShape(ValueError):
    def __init__(self) -> None:
        super().__init__("a picture of another size than its set states")


def _open(
    source: bytes | Path, *, smallest: int | None = None, shape: tuple[int, int] | None = None
) -> "Samples":
    data = source if isinstance(source, bytes) else _read(Path(source))
    kind = format_of(data[:HEAD])
    if kind not in PICTURES:
        raise ReadError(reason_of(kind) if kind not in ("", "DICOM") else "not-an-image")
    reason, samples = "", None
    # Raised outside the except blocks: Pillow's text may quote the file.
    try:
        check_whole(data, kind)
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            check_size(image, len(data))
            full = image.size
            if shape is not None and sorted(shape) != sorted(full):
                raise _OtherShape
            if smallest is not None and kind == "JPEG":
                image.draft(None, (2 * smallest, 2 * smallest))
            need(PIXELS, decoding_bytes(image, full))
            samples = decoded_samples(image, data, kind)
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
    if kind == "JPEG" and filled_up(samples.channels[0]):
        raise ReadError("half-empty")
    return samples


def _read(path: Path) -> bytes:
    """The whole file, so that it cannot change while it is read; of another format, the bytes that identify it."""
    reason = ""
    try:
        if not path.is_file():  # reading a pipe would block forever
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


# Range


def _scaled(samples: Samples, colour: bool) -> Picture:
    low, high = 0.0, 0.0 if samples.top is None else float(samples.top)
    if samples.top is None:
        ranges = [percentiles(channel) for channel in samples.channels]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        if not low < high:  # nearly all pixels have one value
            low = float(min(channel.min() for channel in samples.channels))
            high = float(max(channel.max() for channel in samples.channels))
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
        out /= np.float32(max(high - low, float(np.finfo(np.float32).tiny)))
    return out


def _spread(channels: tuple[np.ndarray, ...]) -> int:
    """The largest difference between the channels of a pixel, as stored."""
    if len(channels) == 1 or all(np.array_equal(channels[0], channel) for channel in channels[1:]):
        return 0
    highest, lowest = np.maximum.reduce(channels), np.minimum.reduce(channels)
    return int((highest - lowest).max())
