"""Encoded pictures and arrays as squares of pixels: the whole picture squeezed, anti-aliased."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from imbal_jax.errors import InputError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decode(data: bytes, size: int, name: str = "an image") -> np.ndarray:
    """Grey uint8 [size, size] of the bytes of a PNG, JPEG or other file; InputError, with ``name``, for none."""
    try:
        image = Image.open(io.BytesIO(data))
        image.draft("L", (2 * size, 2 * size))  # a much larger JPEG is decoded at a fraction of its size
        return square(image.convert("L"), size)
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{name} cannot be decoded ({error}): fetch it again") from error


def decode_channels(data: bytes, channels: int, dtype: np.dtype) -> np.ndarray:
    """uint8 or uint16 [H, W, channels] of the bytes of a PNG, JPEG or other file; OSError where they are none.

    Raises ValueError for 16 bits in colour, and for channels other than 1, 3 and 4.
    """
    image = Image.open(io.BytesIO(data))
    if dtype == np.uint16:
        if channels != 1 or not image.mode.startswith("I"):
            raise ValueError(f"{image.mode} with {channels} channels is no grey picture of 16 bits")
        return np.asarray(image).astype(np.uint16)[..., None]
    if channels not in _MODES:
        raise ValueError(f"a picture has 1, 3 or 4 channels, not {channels}")
    wanted = _MODES[channels]
    pixels = np.asarray(image if image.mode == wanted else image.convert(wanted))
    return pixels[..., None] if channels == 1 else pixels


def square(image: Image.Image, size: int) -> np.ndarray:
    """uint8 [size, size]; Pillow widens the filter where it shrinks, so nothing aliases."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def square_channels(pixels: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """[size, size, C] of pixels [H, W, C], uint8 or uint16. nearest: no values between, as for masks."""
    if pixels.shape[:2] == (size, size):
        return pixels
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    planes = []
    for plane in np.moveaxis(pixels, -1, 0):
        if nearest or plane.dtype == np.uint8:
            resized = np.asarray(Image.fromarray(plane).resize((size, size), how))
        else:  # Pillow does not filter 16 bits
            resized = np.rint(np.asarray(Image.fromarray(plane.astype(np.float32)).resize((size, size), how)))
        planes.append(resized.astype(pixels.dtype))
    return np.stack(planes, -1)
