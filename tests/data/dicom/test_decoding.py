import io
import struct
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import RAMP, bytes_of, read, reason_of, write
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MPEG2MPML,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from imbal_jax.data.dicom.codestream import Codestream, read_codestream
from imbal_jax.data.dicom.radiograph import read_radiograph
from imbal_jax.data.images.refusal import ReadError

GREY = (RAMP // 16).astype(np.uint8)


def jpeg(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def packed(path: Path, pixels: np.ndarray, frame: bytes, syntax: str, **elements: object) -> Path:
    """A file of ``pixels``' header and of the compressed ``frame``."""
    write(path, pixels, **elements)
    file = pydicom.dcmread(path)
    file.PixelData = encapsulate([frame])
    file["PixelData"].VR = "OB"
    file["PixelData"].is_undefined_length = True
    file.file_meta.TransferSyntaxUID = syntax
    file.save_as(path)
    return path


def compressed(path: Path, pixels: np.ndarray, syntax: str, **elements: object) -> Path:
    write(path, pixels, **elements)
    file = pydicom.dcmread(path)
    file.compress(syntax, generate_instance_uid=False)
    file.save_as(path)
    return path


@pytest.mark.parametrize(
    ("syntax", "kind"),
    [
        *product([JPEG2000Lossless, RLELossless], [np.uint8, np.uint16, np.int16]),
        *product([JPEGLSLossless], [np.uint8, np.uint16]),  # which has no signed values
    ],
)
def test_lossless_compression_shows_the_same_picture(tmp_path: Path, syntax: str, kind: type) -> None:
    pixels = (RAMP // 16).astype(kind) if kind is np.uint8 else RAMP.astype(kind)
    if kind is np.int16:
        pixels = pixels - np.int16(2000)
    window = {"WindowCenter": float(pixels.mean()), "WindowWidth": int(np.ptp(pixels)) // 2}
    plain = read(write(tmp_path / "a.dcm", pixels, **window), bits=16)
    np.testing.assert_array_equal(
        read(compressed(tmp_path / "b.dcm", pixels, syntax, **window), bits=16), plain
    )


def test_grey_jpeg_is_read(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.dcm", GREY, jpeg(GREY, quality=100), JPEGBaseline8Bit)
    np.testing.assert_allclose(read(path, voi="none"), bytes_of(GREY, 0, 255), atol=4)


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)])
def test_a_compressed_picture_must_be_what_the_header_says(tmp_path: Path, kind: str, syntax: str) -> None:
    def reason(pixels: np.ndarray, **elements: object) -> str:
        options = {"no_jp2": True} if kind == "JPEG2000" else {}
        return reason_of(packed(tmp_path / "a.dcm", GREY, jpeg(pixels, kind, **options), syntax, **elements))

    # A decoder sets memory aside for what the picture says, however small the header.
    assert reason(np.zeros((3000, 3000), np.uint8)) == "contradiction"
    assert reason(GREY.T[:32]) == "contradiction"
    assert reason(np.stack([GREY] * 3, axis=-1)) == "contradiction"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_picture_without_its_end_is_refused(tmp_path: Path, syntax: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4096, (64, 64)).astype(np.uint16)
    file = pydicom.dcmread(compressed(tmp_path / "a.dcm", pixels, syntax))
    frame = next(generate_frames(file.PixelData, number_of_frames=1)).rstrip(b"\0")
    assert frame[-2:] == b"\xff\xd9"
    for length in (-2, -1000):
        assert reason_of(packed(tmp_path / "b.dcm", pixels, frame[:length], syntax)) == "truncated"


def test_values_beyond_the_bits_stored_are_a_contradiction_in_a_compressed_picture(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.dcm", RAMP, RLELossless)
    file = pydicom.dcmread(path)
    file.BitsStored, file.HighBit = 11, 10
    file.save_as(path)
    assert reason_of(path) == "contradiction"


def test_what_makes_the_rle_decoder_panic_is_refused(tmp_path: Path) -> None:
    runs = b"\x81\x00" * 4000  # far more than 64 x 64 pixels
    frame = struct.pack("<16L", 2, 64, 64 + len(runs), *[0] * 13) + runs + runs
    assert reason_of(packed(tmp_path / "a.dcm", RAMP, frame, RLELossless)) == "undecodable"


def test_a_film_has_no_decoder_and_no_package(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"^no-decoder: no decoder for this compression is installed$"):
        read_radiograph(packed(tmp_path / "a.dcm", GREY, b"\0\0\1\xb3", MPEG2MPML), size=8)


# What a compressed picture says of itself


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
@pytest.mark.parametrize("shape", [(7, 300), (300, 7), (64, 64, 3)])
def test_the_size_stands_in_the_codestream(kind: str, shape: tuple[int, ...]) -> None:
    content = jpeg(np.zeros(shape, np.uint8), kind)
    samples = shape[2] if len(shape) == 3 else 1
    assert read_codestream(content) == Codestream(*shape[:2], samples, 8, ended=True)
    assert read_codestream(content[:-2]) == Codestream(*shape[:2], samples, 8, ended=False)


def test_a_codestream_of_a_million_tiles_is_not_believed() -> None:
    content = jpeg(np.zeros((64, 64), np.uint8), "JPEG2000", no_jp2=True, tile_size=(32, 32))
    assert read_codestream(content) is not None
    tiles = content.replace(struct.pack(">2L", 32, 32), struct.pack(">2L", 1, 1), 1)
    assert read_codestream(tiles) is not None  # 64 x 64 = 4096
    assert (
        read_codestream(tiles.replace(struct.pack(">2L", 64, 64), struct.pack(">2L", 1000, 1000), 1)) is None
    )


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0" * 100]
)
def test_what_is_no_codestream_is_none(content: bytes) -> None:
    assert read_codestream(content) is None
