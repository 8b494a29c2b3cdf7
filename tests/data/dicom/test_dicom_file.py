import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import RAMP, reason_of, write
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from imbal_jax.data.dicom import bounded_file as reading
from imbal_jax.data.dicom import dicom_file as opening
from imbal_jax.data.dicom import radiograph as dicom
from imbal_jax.data.dicom.radiograph import read_radiograph


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


EMPTY_ITEM = b"\xfe\xff\x00\xe0" + bytes(4)
END_OF_SEQUENCE = b"\xfe\xff\xdd\xe0" + bytes(4)


def sequence(tag: bytes, content: bytes, *, defined: bool) -> bytes:
    length = len(content) if defined else 0xFFFFFFFF
    end = b"" if defined else END_OF_SEQUENCE
    return tag + b"SQ\0\0" + length.to_bytes(4, "little") + content + end


def nested(depth: int) -> bytes:
    head = b"\x10\x99\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return head * depth


def many_elements(count: int) -> bytes:
    return b"".join(
        (0x9910 + n // 60000).to_bytes(2, "little") + (n % 60000).to_bytes(2, "little") + b"LO\0\0"
        for n in range(count)
    )


# Private sequences are read whole with the file; the others when something asks for what is in them.
COUNT = 200_000
BOMBS = {
    "items of a sequence without length": sequence(b"\x10\x99\x10\x10", EMPTY_ITEM * COUNT, defined=False),
    "items of the VOI LUT sequence": sequence(b"\x28\0\x10\x30", EMPTY_ITEM * COUNT, defined=True),
    "items of the modality LUT sequence": sequence(b"\x28\0\x00\x30", EMPTY_ITEM * COUNT, defined=True),
    "items of the frames' functional groups": sequence(b"\x00\x52\x30\x92", EMPTY_ITEM * COUNT, defined=True),
    "elements of an item": sequence(
        b"\x00\x52\x29\x92",
        b"\xfe\xff\x00\xe0" + (8 * COUNT).to_bytes(4, "little") + many_elements(COUNT),
        defined=True,
    ),
    "elements": many_elements(COUNT),
    "depth": nested(COUNT),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("packed", [True, False])
def test_elements_and_items_are_counted_before_they_are_built(
    name: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "READS_LIMIT", 4096)
    path = tmp_path / "a.dcm"
    if packed:
        deflated(path, BOMBS[name])
    else:
        write(path, RAMP)
        path.write_bytes(path.read_bytes() + BOMBS[name])
    assert pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID.is_deflated == packed
    outcome, peak = traced(path)
    assert outcome in ("too-large", "bad-header" if name == "depth" else "voi-lut-unused")
    # Twice the inflated bytes while their pieces are joined; the objects until there are too many; 200,000 take 100.
    assert peak < 2.5 * len(BOMBS[name]) + 4 * 2**20


def test_a_few_kilobytes_of_empty_items_do_not_become_hundreds_of_mebibytes(tmp_path: Path) -> None:
    bomb = sequence(b"\x10\x99\x10\x10", EMPTY_ITEM * 2_400_000, defined=False)
    path = deflated(tmp_path / "a.dcm", bomb)
    assert path.stat().st_size < 40_000
    start = time.process_time()
    assert reason_of(path) == "too-large"
    assert time.process_time() - start < 10  # seconds; it took 14 on a faster machine, and takes 1
    outcome, peak = traced(path)
    assert outcome == "too-large"
    assert peak < 2 * len(bomb) + 32 * 2**20


def traced(path: Path) -> tuple[str, int]:
    """The reason of the refusal, or the flag of an unused VOI LUT; and the most memory that reading took."""
    tracemalloc.start()
    try:
        with dicom.quiet():
            outcome = " ".join(set(dicom.load_radiograph(path, size=16).flags) & {"voi-lut-unused"})
    except dicom.ReadError as error:
        outcome = error.reason
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return outcome, peak


def test_a_frame_that_has_no_functional_groups_of_its_own_is_refused(tmp_path: Path) -> None:
    groups = pydicom.Sequence([pydicom.Dataset()])
    path = write(
        tmp_path / "a.dcm",
        np.stack([RAMP, RAMP]),
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=groups,
    )
    assert read_radiograph(path, size=64, frame=0).any()
    with pytest.raises(dicom.ReadError, match="bad-header"):
        read_radiograph(path, size=64, frame=1)


# SOP classes for processing and for presentation (PS3.6 table A-1): digital X-ray, mammography, intra-oral, breast
# projection, and DICOS.
CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1.1.1": "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "1.2.840.10008.5.1.4.1.1.1.2",
    "1.2.840.10008.5.1.4.1.1.1.3.1": "1.2.840.10008.5.1.4.1.1.1.3",
    "1.2.840.10008.5.1.4.1.1.13.1.5": "1.2.840.10008.5.1.4.1.1.13.1.4",
    "1.2.840.10008.5.1.4.1.1.501.2.2": "1.2.840.10008.5.1.4.1.1.501.2.1",
}


@pytest.mark.parametrize("uid", CLASSES)
@pytest.mark.parametrize("intent", [None, "", "FOR PRESENTATION"])
def test_raw_detector_values_are_told_by_the_sop_class_too(
    uid: str, intent: str | None, tmp_path: Path
) -> None:
    more = {} if intent is None else {"PresentationIntentType": intent}
    path = write(tmp_path / "a.dcm", RAMP, SOPClassUID=uid, **more)
    assert reason_of(path) == "for-processing"
    # Only the meta information names the class; pydicom would make the two alike.
    file = pydicom.dcmread(path)
    del file.SOPClassUID
    file.save_as(path, enforce_file_format=False)
    assert reason_of(path) == "for-processing"
    presentation = write(tmp_path / "b.dcm", RAMP, SOPClassUID=CLASSES[uid])
    assert read_radiograph(presentation, size=64).any()


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("intent", ["FOR PROCESSING", "for processing ", "FOR  PROCESSING", "FOR_PROCESSING"])
def test_the_intent_is_understood_however_it_is_spelt(intent: str, tmp_path: Path) -> None:
    assert reason_of(write(tmp_path / "a.dcm", RAMP, PresentationIntentType=intent)) == "for-processing"


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_a_film_without_preamble_is_read_where_its_meta_information_says_how(
    syntax: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.dcm", RAMP, syntax=syntax)
    plain = read_radiograph(path, size=64)
    content = path.read_bytes()
    path.write_bytes(content[132:])
    np.testing.assert_array_equal(read_radiograph(path, size=64), plain)
    # Without the meta information nothing says how it is encoded.
    meta = 12 + pydicom.dcmread(tmp_path / "a.dcm", force=True).file_meta.FileMetaInformationGroupLength
    path.write_bytes(content[132 + meta :])
    packed = syntax == DeflatedExplicitVRLittleEndian
    assert reason_of(path) == ("not-an-image" if packed else "no-preamble")


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
