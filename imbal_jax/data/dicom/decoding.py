"""Decodes the stored values of one frame, whatever its compression."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from imbal_jax.data.dicom.codestream import read_codestream
from imbal_jax.data.dicom.greyscale import Levels, split_levels
from imbal_jax.data.dicom.header import attribute, is_big_endian, syntax_of
from imbal_jax.data.dicom.padding import float_padding, padding_words
from imbal_jax.data.images.pictures import stored_jpeg
from imbal_jax.data.images.refusal import ReadError

# Decoder by a part of the transfer syntax's name: pydicom's plugin and the packages that it needs. One decoder each,
# so that a file gives the same pixels on every machine. libjpeg, for lossless and 12-bit JPEG, is under the GPL, so
# installing it is the user's choice.
DECODERS = {
    "JPEG Baseline": ("pillow", "pillow"),
    "JPEG-LS": ("pyjpegls", "pyjpegls"),
    "JPEG 2000": ("pylibjpeg", "pylibjpeg pylibjpeg-openjpeg"),
    "High-Throughput": ("pylibjpeg", "pylibjpeg pylibjpeg-openjpeg"),
    "JPEG": ("pylibjpeg", "'imbal-jax[gpl-decoders]', which brings pylibjpeg-libjpeg"),
    "RLE": ("pylibjpeg", "pylibjpeg pylibjpeg-rle"),
}


def stored_values(file: pydicom.Dataset, frame: int) -> tuple[Levels, bool]:
    """The stored values [rows, columns] in native byte order, and whether there are more bytes than pixels."""
    values: np.ndarray | None = None
    reason, remedy, excess = "", "", False
    syntax = syntax_of(file)
    try:
        if syntax is not None and syntax.is_compressed:  # a deflated file is not: there, all of the file is
            plugin, remedy = decoder_of(syntax)
            reason = "no-decoder"
            if plugin:
                content = frame_bytes(file, frame)
                reason = check_compressed(file, content)
            if not reason:
                values = decode(file, frame, content, plugin)
        else:
            excess = excess_bytes(file)
            values = native_values(file, frame)
            if values is None:
                values = pixel_array(file, index=frame, correct_unused_bits=False)
    except Exception:
        reason = "undecodable"
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # pylibjpeg-rle raises it for damage; it is no Exception
            raise
        reason = "undecodable"
    if not reason and (values is None or values.ndim != 2 or values.size == 0):
        reason = "bad-header"
    if reason or values is None:
        raise ReadError(reason, remedy if reason in ("no-decoder", "undecodable") else "")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind == "f":
        return finite_values(file, values), excess
    picture = split_levels(values, file.BitsStored)
    return (picture if within_bits(file, picture) else own_bits(file, picture)), excess


def finite_values(file: pydicom.Dataset, values: np.ndarray) -> Levels:
    """The picture of floats; only padding may be NaN or infinite."""
    finite = np.isfinite(values)
    if finite.all():
        return split_levels(values, 0)
    hidden = float_padding(file, values)
    if not (finite | hidden).all():
        raise ReadError("non-finite")
    return split_levels(np.where(hidden, 0, values), 0, hidden)


def own_bits(file: pydicom.Dataset, picture: Levels) -> Levels:
    """The picture without the bits beyond those stored: padding, which is hidden, and overlays."""
    hidden = padding_words(file, picture.stored)
    if hidden is not None and not hidden.any():
        hidden = None
    syntax = syntax_of(file)
    if syntax is not None and syntax.is_compressed:  # where there is no room for anything but padding
        if hidden is None:
            raise ReadError("contradiction")
        stored = picture.stored
    else:
        shift = file.BitsAllocated - file.BitsStored
        stored = picture.stored << shift >> shift
    if hidden is not None:
        stored = np.where(hidden, stored.dtype.type(0), stored)
    cleaned = split_levels(stored, file.BitsStored, hidden)
    if not within_bits(file, cleaned):
        raise ReadError("contradiction")
    return replace(cleaned, cut=foreign_bits(file, picture.stored, hidden))


def foreign_bits(file: pydicom.Dataset, stored: np.ndarray, hidden: np.ndarray | None) -> bool:
    """Whether bits are set, outside padding, that are neither stored nor those of an overlay that the header names.

    The header may have too few bits stored, and then the picture is a sawtooth.
    """
    words = stored.view(f"u{stored.itemsize}")
    words = words if hidden is None else words[~hidden]
    beyond = 2**file.BitsAllocated - 2**file.BitsStored
    overlays = sum({1 << place for place in overlay_places(file)})
    used = int(np.bitwise_or.reduce(words, axis=None)) & beyond & ~overlays
    if used and file.PixelRepresentation:  # the sign, carried on
        sign = words >> (file.BitsStored - 1) & 1 == 1
        negative = words[sign] & words.dtype.type(beyond & ~overlays)
        return bool(
            (words[~sign] & words.dtype.type(beyond & ~overlays)).any()
            or (negative != (beyond & ~overlays)).any()
        )
    return bool(used)


def overlay_places(file: pydicom.Dataset) -> list[int]:
    """The bits of pixels in which overlays lie (PS3.3 C.9.2, retired in 2004)."""
    places = []
    for group in range(0x6000, 0x6020, 2):
        if (group, 0x0102) in file and (group, 0x3000) not in file:
            with suppress(Exception):
                places.append(int(file[group, 0x0102].value))
    return [place for place in places if 0 < place < file.BitsAllocated]


def decoder_of(syntax: UID) -> tuple[str, str]:
    """pydicom's plugin, "" if it is not installed; and the remedy for a decoder that is missing or too weak."""
    plugin, packages = next((entry for key, entry in DECODERS.items() if key in syntax.name), ("", ""))
    try:
        available = get_decoder(syntax).available_plugins
    except NotImplementedError:  # films
        return "", ""
    if plugin in available:
        return plugin, ""
    if syntax == JPEGExtended12Bit and "pillow" in available:  # which reads its 8 bits, and not its 12
        return "pillow", f"if the file is whole: pip install {packages}"
    return "", f"pip install {packages}"


def within_bits(file: pydicom.Dataset, picture: Levels) -> bool:
    if picture.stored.dtype.kind not in "iu":
        return True
    used = file.BitsStored
    low, high = (-(2 ** (used - 1)), 2 ** (used - 1) - 1) if file.PixelRepresentation else (0, 2**used - 1)
    return bool(low <= picture.levels.min() and picture.levels.max() <= high)


def native_values(file: pydicom.Dataset, frame: int) -> np.ndarray | None:
    """Uncompressed values without a copy, in the file's byte order; None where pydicom has to unpack them."""
    allocated = file.BitsAllocated
    # Big-endian words may hold two pixels of 8 bits each, in reverse order.
    if allocated < (16 if is_big_endian(file) else 8) or "PixelData" not in file:
        return None
    order = ">" if is_big_endian(file) else "<"
    kind = np.dtype(f"{order}{'i' if file.PixelRepresentation else 'u'}{allocated // 8}")
    pixels = file.Rows * file.Columns
    values = np.frombuffer(file.PixelData, kind, pixels, frame * pixels * kind.itemsize)
    return values.reshape(file.Rows, file.Columns)


def expected_bytes(file: pydicom.Dataset) -> int:
    """The bytes of all frames, uncompressed."""
    frames = int(attribute(file, "NumberOfFrames") or 1)
    return -(-file.Rows * file.Columns * frames * file.BitsAllocated // 8)


def excess_bytes(file: pydicom.Dataset) -> bool:
    """Whether there are more bytes than pixels, beyond the one that makes their number even."""
    return "PixelData" in file and len(file.PixelData) > expected_bytes(file) + 1


def frame_bytes(file: pydicom.Dataset, frame: int) -> bytes:
    """One compressed frame."""
    offsets = None
    if "ExtendedOffsetTable" in file:
        offsets = (file.ExtendedOffsetTable, file.ExtendedOffsetTableLengths)
    return get_frame(
        file.PixelData,
        frame,
        extended_offsets=offsets,
        number_of_frames=int(attribute(file, "NumberOfFrames") or 1),
    )


def check_compressed(file: pydicom.Dataset, content: bytes) -> str:
    """The reason not to give this frame to a decoder, or ""."""
    if syntax_of(file) == RLELossless:
        return ""  # RLE does not state its size, and the decoder allocates what the header asks for
    codestream = read_codestream(content)
    if codestream is None:
        return "undecodable"
    if (codestream.rows, codestream.columns, codestream.samples) != (file.Rows, file.Columns, 1):
        return "contradiction"
    if codestream.bits > file.BitsAllocated:
        return "contradiction"
    return "" if codestream.ended else "truncated"


def decode(file: pydicom.Dataset, frame: int, content: bytes, plugin: str) -> np.ndarray:
    """Decode the frame by its plugin, or by the decoder itself where pydicom's wrapper is slow."""
    syntax, shape = syntax_of(file), (file.Rows, file.Columns)
    if syntax == JPEGBaseline8Bit:
        return stored_jpeg(content)
    if syntax == RLELossless and plugin == "pylibjpeg":
        from rle.utils import decode_frame  # installed, as the plugin is there

        kind = f"<{'i' if file.PixelRepresentation else 'u'}{file.BitsAllocated // 8}"
        values = decode_frame(content, file.Rows * file.Columns, file.BitsAllocated, "<")
        return np.frombuffer(values, kind).reshape(shape)
    return pixel_array(file, index=frame, decoding_plugin=plugin, correct_unused_bits=False)
