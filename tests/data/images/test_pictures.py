import io
import os
import re
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

import imbal_jax
from imbal_jax.data.folders.image_file import load_picture
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.images.pictures import decode_channels, open_picture
from imbal_jax.data.images.refusal import ReadError

RNG = np.random.default_rng(0)
FILM = RNG.integers(30, 200, (9, 13)).astype(np.uint8)
COLOURS = RNG.integers(0, 256, (9, 13, 3)).astype(np.uint8)
LUMA = np.array([0.299, 0.587, 0.114])


def encoded(array, kind="PNG", **options):
    stream = io.BytesIO()
    (Image.fromarray(array) if isinstance(array, np.ndarray) else array).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(samples, colour_type, *before, depth=16):
    """A PNG written from its specification: Pillow writes no colours of 16 bits."""
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *before, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(samples, **tags):
    """A TIFF of one strip, written from its specification. samples: [h, w] or [h, w, C]."""
    order = ">" if samples.dtype.byteorder == ">" else "<"
    bands = samples.shape[2] if samples.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    values = {256: samples.shape[1], 257: samples.shape[0], 259: 1, 262: 2 if bands == 3 else 1, 277: bands}
    values |= {258: 8 * samples.dtype.itemsize, 278: samples.shape[0], 279: samples.nbytes, 339: kind}
    values |= {int(name[1:]): value for name, value in tags.items()}
    values[273] = 8 + 2 + 12 * (len(values) + 1) + 4 + 12
    body = b""
    for tag, value in sorted(values.items()):
        if tag in (258, 339) and bands == 3:
            entry = struct.pack(order + "HHII", tag, 3, 3, values[273] - 12 + (6 if tag == 339 else 0))
        else:
            entry = struct.pack(order + "HHII", tag, 4, 1, value)
        body += entry
    extra = struct.pack(order + "6H", *[values[258]] * 3, *[kind] * 3)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", len(values)) + body + bytes(4) + extra + samples.tobytes()


def reason(source):
    with pytest.raises(ReadError) as caught:
        open_picture(source)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # a chained exception would carry Pillow's text
    return caught.value.reason


# Range


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_8_and_16_bits_of_one_film_give_one_picture_on_every_path(kind, tmp_path):
    film = np.tile(np.linspace(10, 100, 32).astype(np.uint8), (32, 1))  # dark: the upper half is unused
    for array in (film, film.astype(np.uint16) * 257):
        data = encoded(array, kind)
        (tmp_path / "film").write_bytes(data)
        np.testing.assert_allclose(open_picture(data).values, film / 255, atol=1e-6)
        for pixels in (
            load_picture(tmp_path / "film", size=32, voi="header").pixels,
            decode_channels(data, 1, np.dtype(np.uint8))[..., 0],
            Geometry(32).picture(data)[0][..., 0],
        ):
            np.testing.assert_array_equal(pixels, film)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("white", [0, 1])
def test_tiffs_of_both_byte_orders_and_polarities_are_one_picture(order, white):
    expected = FILM / 255 if white else 1 - FILM / 255
    for samples in (
        FILM,
        (FILM.astype(f"{order}u2") * 257).astype(f"{order}u2"),
        (FILM / 255).astype(f"{order}f4"),
    ):
        if (order, white, samples.dtype.itemsize) == (">", 0, 2):
            assert reason(tiff(samples, t262=0)) == "unsupported-picture"  # said, and not inverted
            continue
        values = open_picture(tiff(samples, t262=white)).values
        np.testing.assert_allclose(values, expected, atol=1e-6)


@given(st.integers(8, 14), st.integers(0, 2**32 - 1))
def test_fewer_bits_than_their_container_are_scaled_by_percentiles_and_flagged(bits, seed):
    film = np.random.default_rng(seed).integers(0, 2**bits - 1, (64, 64)).astype(np.uint16)
    film[0, 0] = 65535  # a dead pixel: the largest value says nothing
    picture = open_picture(encoded(film))
    assert picture.flags == ("range-guessed",)
    low, high = np.percentile(film, [0.5, 99.5])
    np.testing.assert_allclose(picture.values, np.clip((film - low) / (high - low), 0, 1), atol=1e-5)


def test_bits_that_the_file_states_are_its_range():
    film = FILM.astype(np.uint16) * 16
    stated = png(film[..., None], 0, chunk(b"sBIT", b"\x0c"))
    for data in (stated, tiff(film, t281=4095)):
        picture = open_picture(data)
        assert picture.flags == ()
        np.testing.assert_allclose(picture.values, film / 4095, atol=1e-6)
    full = open_picture(png(film[..., None] * 16, 0, chunk(b"sBIT", b"\x0c")))  # as the specification has it
    np.testing.assert_allclose(full.values, film * 16 / 65535, atol=1e-6)


@pytest.mark.parametrize("kind", ["<i2", "<i4", "<u4", "<f4"])
def test_numbers_without_a_range_are_scaled_by_percentiles_and_flagged(kind):
    film = (FILM.astype(float) * 3 + 500).astype(kind)
    picture = open_picture(tiff(film))
    assert picture.flags == ("range-guessed",)
    low, high = np.percentile(film.astype(float), [0.5, 99.5])
    np.testing.assert_allclose(picture.values, np.clip((film - low) / (high - low), 0, 1), atol=1e-5)


def test_a_float_picture_with_nan_is_refused():
    film = (FILM / 255).astype("<f4")
    film[3, 3] = np.nan
    assert reason(tiff(film)) == "non-finite"


# Orientation


@given(
    st.integers(1, 8), st.sampled_from(["PNG", "JPEG", "TIFF", "XMP"]), st.sampled_from(["L", "RGB", "I;16"])
)
def test_every_orientation_is_applied(orientation, kind, mode):
    array = {"L": FILM, "RGB": COLOURS, "I;16": FILM.astype(np.uint16) * 257}[mode]
    if kind in ("JPEG", "XMP") and mode == "I;16":
        return
    exif = Image.Exif()
    exif[274] = orientation
    if kind == "XMP":
        packet = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
        data, plain = (encoded(array, "JPEG", **more) for more in ({"xmp": packet}, {}))
    else:
        data, plain = (encoded(array, kind, **more) for more in ({"exif": exif}, {}))
    upright = open_picture(plain).values
    mark = Image.fromarray(np.arange(upright.size, dtype=np.int32).reshape(upright.shape))
    mark.getexif()[274] = orientation
    order = np.asarray(ImageOps.exif_transpose(mark))
    np.testing.assert_array_equal(open_picture(data).values, upright.ravel()[order])


def test_orientation_behind_the_pixels_of_a_png_is_found():
    whole = encoded(FILM)
    exif = Image.Exif()
    exif[274] = 6
    last = whole.rindex(b"IEND") - 4
    late = whole[:last] + chunk(b"eXIf", exif.tobytes()[6:]) + whole[last:]
    np.testing.assert_allclose(open_picture(late).values, np.rot90(FILM, -1) / 255, atol=1e-6)


def test_records_turn_a_picture_as_a_folder_does():
    exif = Image.Exif()
    exif[274] = 8
    data = encoded(FILM, exif=exif)
    np.testing.assert_array_equal(decode_channels(data, 1, np.dtype(np.uint8))[..., 0], np.rot90(FILM))
    with pytest.raises(ValueError, match="another size"):
        decode_channels(data, 1, np.dtype(np.uint8), FILM.shape)


# Kinds of samples


@pytest.mark.parametrize(("colour_type", "bands"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_16_bits_of_every_colour_type_are_exact(colour_type, bands):
    samples = RNG.integers(0, 65536, (7, 5, bands))
    alpha = samples[..., -1:] / 65535 if bands in (2, 4) else 1.0
    colours = samples[..., : 3 if bands > 2 else 1] / 65535 * alpha
    data = png(samples, colour_type)
    grey = colours @ LUMA if bands > 2 else colours[..., 0]
    np.testing.assert_allclose(open_picture(data).values, grey, atol=1e-6)
    kept = open_picture(data, colour=True)
    np.testing.assert_allclose(kept.values, colours if bands > 2 else colours[..., 0], atol=1e-6)
    assert kept.flags == ()


@pytest.mark.parametrize("order", "<>")
def test_16_bits_of_a_colour_tiff_are_exact(order):
    samples = RNG.integers(0, 65536, (7, 5, 3)).astype(f"{order}u2")
    np.testing.assert_allclose(open_picture(tiff(samples), colour=True).values, samples / 65535, atol=1e-6)


def test_transparent_pixels_are_black_in_proportion():
    alpha = RNG.integers(0, 256, FILM.shape).astype(np.uint8)
    grey = open_picture(encoded(np.dstack([FILM, alpha]))).values
    np.testing.assert_allclose(grey, FILM / 255 * alpha / 255, atol=1e-6)
    colour = open_picture(encoded(np.dstack([COLOURS, alpha]))).values
    np.testing.assert_allclose(colour, COLOURS @ LUMA / 255 * alpha / 255, atol=1e-6)
    keyed = open_picture(encoded(FILM, transparency=int(FILM[2, 3]))).values
    np.testing.assert_allclose(keyed, np.where(FILM[2, 3] == FILM, 0, FILM / 255), atol=1e-6)


def test_palettes_and_single_bits_are_the_colours_they_stand_for():
    palette = Image.fromarray(COLOURS).quantize(16)
    expected = np.asarray(palette.convert("RGB")) / 255
    np.testing.assert_allclose(open_picture(encoded(palette), colour=True).values, expected, atol=1e-6)
    for kind in ("PNG", "TIFF", "BMP"):
        values = open_picture(encoded(Image.fromarray(FILM > 100), kind)).values
        np.testing.assert_array_equal(values, (FILM > 100).astype(np.float32))


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
def test_tiff_and_bmp_are_read(kind):
    np.testing.assert_allclose(open_picture(encoded(FILM, kind)).values, FILM / 255, atol=1e-6)
    kept = open_picture(encoded(COLOURS, kind), colour=True)
    np.testing.assert_allclose(kept.values, COLOURS / 255, atol=1e-6)


def test_colour_that_is_dropped_is_flagged_and_grey_stored_as_colour_is_not():
    assert open_picture(encoded(COLOURS)).flags == ("colour-dropped",)
    assert open_picture(encoded(COLOURS, "JPEG")).flags == ("colour-dropped",)
    for kind in ("PNG", "JPEG"):
        assert open_picture(encoded(np.dstack([FILM] * 3), kind)).flags == ()
    one = np.dstack([FILM] * 3)
    one[4, 4] = (200, 20, 20)  # a mark in red
    assert open_picture(encoded(one)).flags == ("colour-dropped",)


def test_records_give_back_what_is_stored():
    labels = RNG.integers(0, 5, (6, 7)).astype(np.uint8)
    np.testing.assert_array_equal(decode_channels(encoded(labels), 1, np.dtype(np.uint8))[..., 0], labels)
    wide = RNG.integers(0, 900, (6, 7)).astype(np.uint16)  # a range that would be guessed
    np.testing.assert_array_equal(decode_channels(encoded(wide), 1, np.dtype(np.uint16))[..., 0], wide)
    clear = np.dstack([COLOURS, FILM])
    np.testing.assert_array_equal(decode_channels(encoded(clear), 4, np.dtype(np.uint8)), clear)
    np.testing.assert_array_equal(decode_channels(encoded(COLOURS), 3, np.dtype(np.uint8)), COLOURS)


def test_a_reduced_jpeg_is_within_a_level_of_the_whole_one():
    smooth = np.asarray(Image.fromarray(RNG.integers(0, 255, (20, 25), dtype=np.uint8)).resize((1000, 800)))
    data = encoded(smooth, "JPEG")
    reduced, whole = open_picture(data, smallest=48).values, open_picture(data).values
    assert min(reduced.shape) >= 96
    assert reduced.size < whole.size
    squares = [Geometry(48).array(values).astype(int) for values in (reduced, whole)]
    assert np.abs(squares[0] - squares[1]).max() <= 1


# Refusals


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("GIF", "GIF"),
        ("WEBP", "WebP"),
        ("EPS", "PostScript"),
        ("PDF", "PDF"),
        ("JPEG2000", "JPEG 2000"),
        ("PPM", "PNM"),
    ],
)
def test_another_format_is_named_and_never_opened(kind, named, tmp_path, monkeypatch):
    (tmp_path / "film.png").write_bytes(encoded(COLOURS, kind))

    def nothing(*_, **__):
        raise AssertionError("opened")

    monkeypatch.setattr(subprocess, "check_call", nothing)  # what starts Ghostscript
    monkeypatch.setattr(Image, "open", nothing)
    with pytest.raises(
        ReadError, match=f"{named}, which is not read: DICOM, PNG, JPEG, TIFF and BMP files are read"
    ):
        load_picture(tmp_path / "film.png", size=8, voi="header")


def test_what_a_file_is_its_content_says(tmp_path):
    (tmp_path / "film.png").write_bytes(encoded(FILM, "TIFF"))
    (tmp_path / "film.dcm").write_bytes(encoded(FILM))
    (tmp_path / "film.jpg").write_bytes(b"no picture")
    a, b = (load_picture(tmp_path / name, size=13, voi="header").pixels for name in ("film.png", "film.dcm"))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(ReadError, match="not-an-image"):
        load_picture(tmp_path / "film.jpg", size=8, voi="header")
    with pytest.raises(ReadError, match="missing"):
        load_picture(tmp_path / "none.png", size=8, voi="header")


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_a_picture_that_ends_early_is_refused_wherever_it_ends(kind, lenient, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)  # as other programs set it
    data = encoded(FILM, kind)
    whole = open_picture(data).values
    for end in range(0, len(data) - 1, max(1, len(data) // 60)):
        try:
            values = open_picture(data[:end]).values
        except ReadError:
            continue
        np.testing.assert_array_equal(values, whole)  # what is cut away were not pixels


def test_the_end_of_a_thumbnail_is_not_the_end_of_a_jpeg(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(FILM, "JPEG")
    thumbnail = encoded(FILM[::4, ::4].copy(), "JPEG")
    inside = data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    np.testing.assert_array_equal(open_picture(inside).values, open_picture(data).values)
    assert reason(inside[:-20]) == "truncated"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "film.png")
    with pytest.raises(ReadError, match="missing"):
        load_picture(tmp_path / "film.png", size=8, voi="header")


def test_a_png_with_a_changed_byte_is_refused():
    data = bytearray(encoded(FILM))
    for place in range(8, len(data)):
        changed = data.copy()
        changed[place] ^= 0x41
        with pytest.raises(ReadError):
            open_picture(bytes(changed))


def test_a_jpeg_whose_lower_half_is_made_up_is_refused():
    smooth = np.asarray(Image.fromarray(RNG.integers(0, 255, (20, 25), dtype=np.uint8)).resize((200, 160)))
    data = encoded(smooth, "JPEG")
    start = data.index(b"\xff\xda")
    assert reason(data[: start + (len(data) - start) // 3] + b"\xff\xd9") == "half-empty"


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (40_000, 10), (9_400, 9_500)])
def test_a_picture_larger_than_the_limits_is_refused_before_it_is_decoded(width, height, monkeypatch):
    head = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert reason(data) == "too-large"


def test_several_pictures_in_a_file_are_refused_and_thumbnails_are_not():
    second = Image.fromarray(FILM[::-1].copy())
    for kind in ("PNG", "TIFF"):
        assert reason(encoded(FILM, kind, save_all=True, append_images=[second])) == "multi-frame"
    stream = io.BytesIO()
    thumbnail = Image.fromarray(FILM[::2, ::2].copy())
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(FILM).save(stream, "TIFF", save_all=True, append_images=[thumbnail])
    np.testing.assert_allclose(open_picture(stream.getvalue()).values, FILM / 255, atol=1e-6)


def test_signed_bytes_and_other_rare_kinds_are_refused_and_not_misread():
    assert reason(tiff((FILM.astype(int) - 100).astype("i1"))) == "unsupported-picture"
    assert reason(tiff((FILM / 255).astype("<f8"))) == "unsupported-picture"
    lab = Image.fromarray(COLOURS).convert("RGB")
    assert (
        reason(
            encoded(lab, "TIFF").replace(
                struct.pack("<HHIHH", 262, 3, 1, 2, 0), struct.pack("<HHIHH", 262, 3, 1, 8, 0)
            )
        )
        == "unsupported-picture"
    )


def test_pictures_are_opened_in_one_place():
    package = Path(imbal_jax.__file__).parent
    opens = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\bImage\.open\(|ImageFile\.|imread", path.read_text(encoding="utf-8"))
    }
    # masks are read as they are stored: no grey scale, no range
    assert opens == {"data/images/pictures.py", "data/images/picture_samples.py", "data/masks/mask_file.py"}


# Marks, tables and scans that a file gets wrong


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("share", [0.004, 0.008, 0.05])
@pytest.mark.parametrize("mark", [65535, 65000])
def test_marks_in_the_white_of_16_bits_do_not_make_a_film_of_fewer_bits_black(bits, share, mark):
    film = RNG.integers(2**bits // 8, 2**bits // 2, (64, 64)).astype(np.uint16)
    film[0, 0] = 2 ** (bits - 1)
    marked = film.copy()
    marked.ravel()[: int(share * film.size)] = mark
    picture = open_picture(encoded(marked))
    assert picture.flags == ("range-guessed",)
    low, high = np.percentile(film, [0.5, 99.5])
    expected = np.clip((film - low) / (high - low), 0, 1)
    assert np.abs(picture.values - expected)[marked == film].max() < 0.02
    assert (picture.values[marked != film] == 1).all()


def test_a_bright_part_of_a_film_of_16_bits_is_no_mark():
    film = np.minimum(np.geomspace(300, 65535, 64 * 64), 65535).astype(np.uint16).reshape(64, 64)
    picture = open_picture(encoded(film))
    assert picture.flags == ()
    np.testing.assert_allclose(picture.values, film / 65535, atol=1e-6)


def test_floats_that_use_a_small_part_of_0_to_1_are_scaled_by_percentiles_and_flagged():
    film = np.linspace(0.005, 0.0625, 64 * 64, dtype="<f4").reshape(64, 64)  # 12 of 16 bits
    picture = open_picture(tiff(film))
    assert picture.flags == ("range-guessed",)
    low, high = np.percentile(film.astype(float), [0.5, 99.5])
    np.testing.assert_allclose(picture.values, np.clip((film - low) / (high - low), 0, 1), atol=1e-5)
    dark = (FILM // 8 / 255).astype("<f4")  # 8-bit levels keep their range, as at 8 bits
    assert open_picture(tiff(dark)).flags == ()
    np.testing.assert_allclose(open_picture(tiff(dark)).values, dark, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_every_depth_is_black(depth):
    film = RNG.integers(0, 2**depth, (8, 8))
    key = int(film[3, 3])
    packed = film.astype(np.uint16)
    if depth < 8:
        grouped = film.reshape(8, -1, 8 // depth)
        packed = (grouped << np.arange(8 - depth, -1, -depth)).sum(-1)
    data = bytearray(png(packed, 0, chunk(b"tRNS", struct.pack(">H", key)), depth=max(depth, 8)))
    if depth < 8:
        head = struct.pack(">IIBBBBB", 8, 8, depth, 0, 0, 0, 0)
        data[8:33] = chunk(b"IHDR", head)
    values = open_picture(bytes(data)).values
    np.testing.assert_allclose(values, np.where(film == key, 0, film / (2**depth - 1)), atol=1e-6)


def test_a_palette_that_has_not_all_the_colours_is_refused():
    levels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    whole = bytes(np.repeat(np.arange(64), 3).tolist())
    assert open_picture(png(levels, 3, chunk(b"PLTE", whole), depth=8)).values.max() == np.float32(63 / 255)
    assert reason(png(levels, 3, chunk(b"PLTE", whole[:-3]), depth=8)) == "undecodable"
    assert reason(png(levels, 3, depth=8)) == "undecodable"


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(monkeypatch):
    data = encoded(np.tile(FILM, (8, 8)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 100 + data[-2:]
    open_picture(data)
    monkeypatch.setattr(Image, "open", None)
    assert reason(bomb) == "too-large"


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"PK\x05\x06" + bytes(18), "zip"),
        (b"\0\0\0\x20ftypisom", "mp4"),
        (b"\0\0\0\x20ftypmif1", "heic"),
        (b"Rar!\x1a\x07\0", "rar"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
    ],
)
def test_archives_and_films_are_named(start, name):
    assert reason(start) == name
