"""Reads a mask file as it is stored: PNG, TIFF, BMP, NPY, NPZ or DICOM segmentation; nothing is interpolated."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from imbal_jax.data.images.formats import HEAD, PICTURES, format_of
from imbal_jax.data.images.memory_budget import FILES, PIXELS, need, one_file
from imbal_jax.data.images.picture_integrity import check_size, check_whole, tiff_tags
from imbal_jax.data.images.picture_samples import decoding_bytes, orientation_of, upright
from imbal_jax.data.images.refusal import FILE_LIMIT, ReadError
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.segmentation_object import segmentation
from imbal_jax.files import read_bytes

ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".npy", ".npz", ".dcm")
"""Of files that may be masks."""


def read_mask(source: bytes | Path, *, turned: int = 1) -> np.ndarray:
    """Whole numbers [h, w] of a mask file, or of the bytes of one.

    The values are those that are stored: grey levels, the numbers of a palette's colours (not the colours), 0 and 1
    of one bit. A colour picture whose channels differ has the value 65536 R + 256 G + B. Transparency is left out.
    An NPZ file holds one array, [h, w]. A DICOM segmentation (binary) of one frame a segment has the number of the
    segment, 0 where there is none. turned: the EXIF orientation of the picture that the mask is of, 1 to 8, by which
    a mask that states none itself is turned. Raises MaskError for JPEG, whose values are not exact, for numbers that
    are not whole, and for what is no mask.
    """
    with one_file():
        data = source if isinstance(source, bytes) else read_bytes(Path(source))
        need(FILES, len(data))
        kind = format_of(data[:HEAD])
        if kind in ("NumPy", "ZIP"):
            return upright(_array(data), turned)
        if kind == "DICOM":
            return segmentation(data)
        if kind == "JPEG":
            raise MaskError("is a JPEG picture, whose values are not exact: save masks as PNG")
        if kind not in PICTURES:
            raise MaskError("is no PNG, TIFF, BMP, NPY, NPZ or DICOM segmentation")
        return _picture(data, kind, turned)


def picture_size(source: bytes | Path) -> tuple[int, int, int]:
    """Height and width of an upright PNG, JPEG, TIFF or BMP picture, and its EXIF orientation; nothing is decoded.

    Raises ReadError for another file.
    """
    try:
        with Image.open(
            io.BytesIO(source) if isinstance(source, bytes) else source, formats=tuple(PICTURES)
        ) as image:
            width, height = image.size
            if image.format == "TIFF":  # whose size Pillow may have turned already
                tags = tiff_tags(image)
                width, height = int(tags[256]), int(tags[257])
            turned = orientation_of(image)
            return (width, height, turned) if turned >= 5 else (height, width, turned)
    except FileNotFoundError:
        raise ReadError("missing") from None
    except Exception:
        raise ReadError("not-an-image") from None


def _picture(data: bytes, kind: str, turned: int) -> np.ndarray:
    refused = ""
    # Raised outside the except blocks: Pillow's text may quote the file.
    try:
        check_whole(data, kind)
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            check_size(image, len(data))
            need(PIXELS, decoding_bytes(image, image.size))
            own = orientation_of(image) if kind != "TIFF" else 1
            stated = orientation_of(image) != 1
            mode, pixels = image.mode, np.asarray(image)
    except ReadError as error:
        refused = f"cannot be read ({error})"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        refused = "is too large"
    except Exception:
        refused = "cannot be decoded: save it again"
    if refused:
        raise MaskError(refused)
    pixels = upright(pixels, own if stated else turned)
    if mode in ("LA", "PA"):
        pixels = pixels[..., 0]
    elif mode in ("RGB", "RGBA", "RGBX"):
        pixels = _colours(pixels[..., :3])
    elif mode == "F":
        pixels = whole_numbers(pixels)
    elif pixels.ndim != 2:
        raise MaskError(f"is a picture of {mode}: save it in grey")
    # Pillow's True may be stored as 255
    return np.ascontiguousarray(pixels.astype(np.uint8) if pixels.dtype == bool else pixels)


def _colours(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = (pixels[..., place] for place in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    return (red.astype(np.int32) << 16) | (green.astype(np.int32) << 8) | blue


def _array(data: bytes) -> np.ndarray:
    if len(data) > FILE_LIMIT:
        raise MaskError("is too large")
    refused, array = "", np.zeros(0)
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            if len(found.files) != 1:
                refused = f"holds {len(found.files)} arrays, expected one"
            else:
                array = found[found.files[0]]
        else:
            array = found
    except Exception:
        refused = "is a damaged NPY or NPZ file: save it again"
    if refused:
        raise MaskError(refused)
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.ndim != 2 or array.dtype.kind not in "biuf" or not array.size:
        raise MaskError(f"is {array.dtype} {list(array.shape)}, expected whole numbers [h, w]")
    return whole_numbers(array)


def whole_numbers(pixels: np.ndarray) -> np.ndarray:
    """The numbers as int32 where they are floats, 0 and 1 of booleans; MaskError for those that are not whole."""
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    if pixels.dtype.kind != "f":
        return pixels
    if not np.array_equal(pixels, np.rint(pixels)) or np.abs(pixels).max() >= 2**31:
        raise MaskError("holds numbers that are not whole: save classes, not probabilities")
    return pixels.astype(np.int32)
