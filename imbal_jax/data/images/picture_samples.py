"""Decodes the samples of a PNG, JPEG, TIFF or BMP picture as they are stored, upright."""

import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from imbal_jax.data.images.picture_integrity import png_chunks, tiff_tags
from imbal_jax.data.images.picture_range import fills, white_level
from imbal_jax.data.images.refusal import ReadError

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


@dataclass(frozen=True)
class Samples:
    """The decoded samples of a picture.

    channels: one or three arrays [h, w] as stored. alpha: [h, w] of the same type, or None.
    top: the value that is white, None where it has to be guessed. inverted: whether 0 is white.
    """

    channels: tuple[np.ndarray, ...]
    alpha: np.ndarray | None = None
    top: float | None = 255
    inverted: bool = False


def decoding_bytes(image: ImageFile, full: tuple[int, int]) -> int:
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


def decoded_samples(image: ImageFile, data: bytes, kind: str) -> Samples:
    """The decoded samples, upright."""
    raw = _raw_mode(image)
    tags = tiff_tags(image)
    if tags and _misread(image, tags, raw):
        raise ReadError("unsupported-picture")
    formats = np.ravel(tags.get(339, 1))  # SampleFormat: 1 unsigned, 2 signed, 3 float
    key = image.info.get("transparency")
    top: float | None
    if image.mode in ("1", "P", "PA", "CMYK", "YCbCr") and 2 not in formats:
        see_through = image.mode == "PA" or key is not None
        image.load()
        if image.mode == "P" and np.max(image.getextrema()) >= _colours(data, kind, image):
            raise ReadError("undecodable")
        converted = image.convert({"1": "L"}.get(image.mode, "RGBA" if see_through else "RGB"))
        pixels, key, top = np.asarray(converted), key if image.mode == "1" else None, 255
    elif image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):
        pixels = np.asarray(image)
        pixels, top = pixels.astype(np.uint16, copy=False), white_level(data, tags, pixels)
    elif image.mode == "I":
        pixels, top = np.asarray(image), None
        pixels = pixels.view(np.uint32) if 1 in formats else pixels
    elif image.mode == "F":
        pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise ReadError("non-finite")
        top = 1 if pixels.min() >= 0 and pixels.max() <= 1 and fills(pixels * np.float32(255), 255) else None
    elif raw.startswith(("RGB;16", "RGBA;16", "RGBX;16", "LA;16")):
        pixels = _sixteen_bits(image, data, kind, raw)
        top = white_level(data, tags, pixels)
    elif image.mode in ("L", "LA", "La", "RGB", "RGBA") and 2 not in formats:
        pixels, top = np.asarray(image), 255
        if kind == "PNG" and isinstance(key, int):  # which is stated in the bits of the file
            key *= 255 // (2 ** min(data[24], 8) - 1)
        pixels = pixels[..., 0] if image.mode == "La" else pixels  # multiplied by its alpha already
    else:
        raise ReadError("unsupported-picture")
    pixels = upright(pixels, orientation_of(image))
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
    return Samples(channels, alpha, top, inverted)


def _colours(data: bytes, kind: str, image: ImageFile) -> int:
    """How many colours the palette has. Pillow shows what is beyond it black."""
    if kind == "PNG":
        return next((len(content) // 3 for name, content in png_chunks(data) if name == b"PLTE"), 0)
    if image.palette is None:
        return 0
    mode, palette = image.palette.getdata()
    return len(palette) // len(mode)


def _misread(image: ImageFile, tags: Mapping[int, Any], raw: str) -> bool:
    """Whether Pillow 13 shows other values of a TIFF than it holds."""
    # libtiff has put the bytes in order already
    swapped = image.tile[0][0] == "libtiff" and raw.endswith(("32BF", "BS"))
    wide_planes = tags.get(284) == 2 and len(image.getbands()) > 1 and np.max(tags.get(258, 8)) > 8
    return swapped or wide_planes


def _raw_mode(image: ImageFile) -> str:
    """The layout of the samples in the file, as Pillow names it."""
    if not image.tile:
        return ""
    arguments = image.tile[0][3]
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _sixteen_bits(image: ImageFile, data: bytes, kind: str, raw: str) -> np.ndarray:
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


def _with_raw_mode(tile: Any, raw: str) -> Any:
    arguments = (raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw
    changed = (*tile[:3], arguments)
    return tile._make(changed) if hasattr(tile, "_make") else changed


def orientation_of(image: ImageFile) -> int:
    """EXIF orientation, 1 to 8; 1 where nothing or nonsense is said. Pillow has turned a TIFF already."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in _TURNS else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A view of pixels [h, w, ...]."""
    if orientation not in _TURNS:
        return pixels
    transposed, rows, columns = _TURNS[orientation]
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    return pixels[:: -1 if rows else 1, :: -1 if columns else 1]
