import tracemalloc
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian
from test_data_dicom import RAMP, reason_of, write

from imbal_jax.data import dicom, opening
from imbal_jax.data.dicom import read_radiograph


def deflated(path: Path, after: bytes) -> Path:
    """A small deflated file with ``after`` appended to what is inflated."""
    write(path, RAMP, syntax=DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    start = 132 + 12 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[start:])
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(content[:start] + deflater.compress(inflated + after) + deflater.flush())
    return path


def element(length: int) -> bytes:
    """The head of DataSetTrailingPadding, which comes after everything else."""
    return b"\xfc\xff\xfc\xffOB\0\0" + length.to_bytes(4, "little")


def test_a_deflated_file_is_read_and_a_bomb_is_not_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "INFLATED_LIMIT", 32 * 2**20)
    plain = read_radiograph(write(tmp_path / "a.dcm", RAMP), size=64)
    padding = 2**20
    good = deflated(tmp_path / "b.dcm", element(padding) + bytes(padding))
    assert (read_radiograph(good, size=64) == plain).all()

    good.write_bytes(good.read_bytes()[:-100])
    assert reason_of(good) == "truncated"

    padding = opening.INFLATED_LIMIT
    bomb = deflated(tmp_path / "c.dcm", element(padding) + bytes(padding))
    assert bomb.stat().st_size < padding / 500  # a kilobyte for every megabyte
    tracemalloc.start()
    assert reason_of(bomb) == "too-large"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.1 * padding  # the pieces until there are too many


def test_a_length_that_the_file_does_not_have_sets_no_memory_aside(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP)
    path.write_bytes(path.read_bytes() + element(0xFFFFFFF0) + b"12345678")
    tracemalloc.start()
    assert reason_of(path) == "truncated"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_file_too_large_to_be_a_radiograph_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.dcm", RAMP)
    with path.open("r+b") as stream:
        stream.truncate(opening.FILE_LIMIT + 1)  # a sparse file
    monkeypatch.setattr(opening.pydicom, "dcmread", None)
    assert reason_of(path) == "too-large"


def test_limits_hold_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "stored_values", None)
    for elements in ({"Rows": 60000}, {"Rows": 12000, "Columns": 12000}, {"NumberOfFrames": 10**6}):
        assert reason_of(write(tmp_path / "a.dcm", RAMP, **elements)) == "too-large"


def test_a_file_without_transfer_syntax_or_preamble_is_not_forced(tmp_path: Path) -> None:
    assert reason_of(Path(get_testdata_file("no_meta.dcm", download=False))) == "not-an-image"
    path = write(tmp_path / "a.dcm", RAMP)
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = "1.2.3"
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"))
    assert reason_of(path) == "bad-header"
