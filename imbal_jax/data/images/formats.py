"""Recognises the format of a file by its first bytes, not by its name."""

import re

READ = "DICOM, PNG, JPEG, TIFF and BMP files are read"
HEAD = 512  # bytes that are looked at

PICTURES = {"PNG", "JPEG", "TIFF", "BMP"}
DICOM = "DICOM"

# Signatures: the formats' own specifications.
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"%!", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),  # EPS with a preview
    (b"%PDF", "PDF"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"\x93NUMPY", "NumPy"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"PK\x03\x04", "ZIP"),
    (b"PK\x05\x06", "ZIP"),  # an empty one
    (b"Rar!\x1a\x07", "RAR"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "XZ"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"NRRD", "NRRD"),
)
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # sizes of the header after the file's own, 14 bytes in
_AT_344 = (b"n+1\0", b"ni1\0")  # NIfTI-1
# Brands of ISO base media files; others are films.
_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
}

OTHERS = (
    *dict.fromkeys(name for _, name in _SIGNATURES if name not in PICTURES),
    "WebP", "AVIF", "HEIC", "MP4", "NIfTI", "SVG", "HTML", "PNM",
)  # fmt: skip
"""Formats that are recognised and not read."""


def reason_of(name: str) -> str:
    """The key of REASONS for a format of ``OTHERS``."""
    return name.lower().replace(" ", "-")


def format_of(head: bytes) -> str:
    """DICOM, one of PICTURES, one of OTHERS, or "" where the first bytes tell nothing.

    head: at least ``HEAD`` bytes, or the whole file.
    """
    if head[128:132] == b"DICM":  # first: the preamble before it may be the header of a TIFF
        return DICOM
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "MP4")
    if head[344:348] in _AT_344:
        return "NIfTI"
    if re.match(rb"P[1-7]\s", head):
        return "PNM"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--")) and b"<svg" in text):
        return "SVG"
    return ""
