"""A hospital whose every text is marked, and the search for the marks."""

import base64
import gzip
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from imbal_jax import cli
from imbal_jax.data.dicom.radiograph import quiet

ROOT = Path(__file__).parents[1]


WORD = "QZLEAKQZ"


DIGITS = "77317731"  # of what may hold digits only


DATE = "17310731"


SIZE = 16
IMAGES, PATIENTS = 24, 12


# What a marker looks like for each value representation that can hold text, or digits that name somebody.
MARKED = {
    "AE": WORD,
    "AS": "773Y",
    "CS": WORD,
    "DA": DATE,
    "DS": DIGITS,
    "DT": f"{DATE}173117",
    "IS": DIGITS,
    "LO": f"{WORD} LO",
    "LT": f"{WORD} LT",
    "PN": f"{WORD}^ANNA^^DR",
    "SH": f"{WORD} SH",
    "ST": f"{WORD} ST",
    "TM": "173117.7317",
    "UC": f"{WORD} UC",
    "UI": f"1.2.{DIGITS}.7",
    "UR": f"https://{WORD}.example",
    "UT": f"{WORD} UT",
}


# These decide whether and how the picture is shown; a marker there refuses the file, which others show below.
SPARED = {
    "BitsAllocated",
    "BurnedInAnnotation",
    "Columns",
    "LossyImageCompression",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelAspectRatio",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "PresentationIntentType",
    "PresentationLUTShape",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SpecificCharacterSet",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
}


def marked() -> Dataset:
    """A radiograph without pixels that has a marker in every attribute that can hold one, and in its private ones."""
    file, inner = Dataset(), Dataset()
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if (
            keyword
            and keyword not in SPARED
            and vr in MARKED
            and tag >> 16 not in (0x0000, 0x0002, 0x0004, 0x0006)
        ):
            file.add_new(tag, vr, MARKED[vr])
            if tag >> 16 == 0x0010:
                inner.add_new(tag, vr, MARKED[vr])
    assert len(file) > 2000
    for group in (0x0009, 0x0011, 0x7FDF):
        block = file.private_block(group, f"{WORD} BLOCK", create=True)
        for place, vr in enumerate(("LO", "PN", "UT", "SH")):
            block.add_new(place, vr, MARKED[vr])
        block.add_new(9, "OB", f"{WORD}{DIGITS} ".encode())
    file.OtherPatientIDsSequence = Sequence([inner])
    file.add_new(0x60000022, "LO", f"{WORD} OVERLAY")
    file.SOPClassUID = ComputedRadiographyImageStorage
    file.SamplesPerPixel = 1
    file.Rows = file.Columns = SIZE
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.SourceApplicationEntityTitle = WORD
    file.preamble = (WORD * 16).encode()
    return file


def save(file: Dataset, path: Path, number: int, patient: str, **changes: object) -> None:
    """``file`` as the radiograph ``number`` of ``patient``, with markers behind its pixels too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"1.2.{DIGITS}.{number}"
    file.PatientID, file.AccessionNumber = patient, f"{WORD}{number}"
    pixels = np.random.default_rng(number).integers(0, 4096, (SIZE, SIZE)).astype("<u2")
    file.PixelData = pixels.tobytes() + f"{WORD}{DIGITS}".encode()
    file["PixelData"].VR = "OW"
    plain = {"PhotometricInterpretation": "MONOCHROME2", "BurnedInAnnotation": "", "NumberOfFrames": 1}
    for keyword, value in {**plain, **changes}.items():
        setattr(file, keyword, value)
    file.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module", name="marked_hospital")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good, refused, doubled and unasked-for files, every one of them marked, as are folders and the table."""
    folder = tmp_path_factory.mktemp("leak") / f"{WORD}-hospital"
    rows, refused = (
        [],
        {
            "colour": {"PhotometricInterpretation": "RGB"},
            "burned": {"BurnedInAnnotation": "YES"},
            "frames": {"NumberOfFrames": 3},
            "nonsense": {"PhotometricInterpretation": WORD},
        },
    )
    with quiet():  # the markers are not what the standard allows
        file = marked()
        for i in range(IMAGES):
            path = f"{WORD}-{i % PATIENTS}/{WORD}_{i}.dcm"
            save(file, folder / path, i, f"{WORD}{DIGITS}-{i % PATIENTS}")
            key = (path, f"1.2.{DIGITS}.{i}")[i % 2]
            rows.append(f"{key},{('normal', 'sick')[i % PATIENTS % 3 == 0]},{WORD} patient {i % PATIENTS}")
        save(file, folder / f"{WORD}_unasked.dcm", 100, WORD)
        for number, (name, changes) in enumerate(refused.items(), start=200):
            save(file, folder / f"{WORD}_{name}.dcm", number, WORD, **changes)
            rows.append(f"{WORD}_{name}.dcm,sick,{WORD} bad")
    (folder / f"{WORD}_text.dcm").write_text(f"{WORD} is no image")
    whole = (folder / f"{WORD}-1" / f"{WORD}_1.dcm").read_bytes()
    (folder / f"{WORD}_cut.dcm").write_bytes(whole[:-300])
    (folder / f"{WORD}_bits.dcm").write_bytes(whole[:200] + b"\xff" * 64 + whole[264:])
    (folder / f"{WORD}_copy.dcm").write_bytes(whole)
    rows += [f"{WORD}_{name}.dcm,sick,{WORD} bad" for name in ("text", "cut", "bits", "copy", "absent")]
    (folder / f"{WORD}_labels.csv").write_text("file,label,patient\n" + "\n".join(rows) + "\n")
    return folder


def needles() -> list[re.Pattern[bytes]]:
    """The markers as text, in wider characters, in hexadecimal and base64, and as hashes that need no key."""
    plain = [WORD.encode(), WORD.lower().encode(), WORD.title().encode(), DIGITS.encode(), DATE.encode()]
    wide = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
    found = [*plain, *(word.decode().encode(kind) for word in plain for kind in wide), WORD[::-1].encode()]
    found += [word.hex().encode() for word in plain]
    for shift in range(3):  # base64 has three ways to write a word, by where it begins
        whole = base64.b64encode(b"\0" * shift + WORD.encode())
        found.append(whole[2 + 2 * (shift > 0) : -4])
    for i in range(PATIENTS):
        for name in (f"{WORD}{DIGITS}-{i}", f"{WORD} patient {i}", f"1.2.{DIGITS}.{i}", f"{WORD}{i}"):
            for kind in ("md5", "sha1", "sha256"):
                digest = hashlib.new(kind, name.encode()).digest()
                found += [digest[:8], digest.hex()[:16].encode()]
    return [re.compile(re.escape(needle)) for needle in found]


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names, contents, and what is inside of the archives and records among them."""
    for path in sorted(folder.rglob("*")):
        yield "a name", path.relative_to(folder).as_posix().encode()
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield path.name, data
        if data[:2] == b"\x1f\x8b":
            yield f"{path.name}, inflated", gzip.decompress(data)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield f"{name} in {path.name}", name.encode() + archive.read(name)
        if path.name == "manifest.ocdbt":  # a checkpoint's own file system
            import tensorstore

            store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{path.parent}/"}).result()
            for key in store.list().result():
                yield f"{key} in {path.parent.name}", key + store.read(key).result().value
        if ".array_record" in path.name:
            from array_record.python.array_record_module import ArrayRecordReader

            reader = ArrayRecordReader(str(path))
            yield from ((f"a record of {path.name}", record) for record in reader.read_all())


def search(what: str, data: bytes) -> list[str]:
    return [f"{needle.pattern!r} in {what}" for needle in NEEDLES if needle.search(data)]


NEEDLES = needles()


def command(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "imbal_jax.cli", *words], capture_output=True, cwd=ROOT, check=False
    )


def inside(capfd: pytest.CaptureFixture[str], *words: str) -> subprocess.CompletedProcess[bytes]:
    """The same in this process, which has JAX at hand; what it and its children say is caught at the descriptors."""
    capfd.readouterr()
    status = cli.main(words)
    said = capfd.readouterr()
    return subprocess.CompletedProcess(words, status, said.out.encode(), said.err.encode())


CONFIG = """
from pathlib import Path
from imbal_jax.config import Config, Data, Model, Train
def get_config():
    return Config(
        name="tiny",
        data=Data(source="records", dir=Path({folder!r}), image_size={size}, negative_class="normal"),
        model=Model(name="cnn", options={{"width": 4, "stages": 2}}),
        train=Train(epochs=1, batch_size=8, evaluations=1),
    )
"""
