"""Reads one file: hashes its bytes, makes its picture, and keeps keyed hashes of its header only."""

import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.header import attribute
from imbal_jax.data.folders.copies import COPIES
from imbal_jax.data.folders.image_file import PICTURES, load_picture
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.images.refusal import FILE_LIMIT, REASONS, ReadError
from imbal_jax.data.ingest.journal import Read
from imbal_jax.data.pseudonyms import Key
from imbal_jax.data.tables.cells import patient_likeness
from imbal_jax.data.tables.patients import STUDY

# Reasons for refusal: those of one file, and those that only an ingest has.
INGEST_REASONS = {
    **REASONS,
    **COPIES,
    "changed": "written to while it was read",
    "crashed": "reading it raised an unexpected error or ended the process, twice",
    "timed-out": "reading it took longer than the limit, twice",
}
# Refusals that the next run tries again.
RETRIED = ("missing", "changed", "no-decoder", "crashed", "timed-out")


@dataclass(frozen=True)
class Task:
    """A file to read. path: below the folder. named: a row names it; otherwise its header decides."""

    path: str
    named: bool


@dataclass(frozen=True)
class Job:
    """How every file is read.

    wanted: keyed SOP instances or accessions that rows of the table ask for. key_file: read where the work is
    done, so that the key is in no message and no description of a pipeline.
    """

    folder: Path
    key_file: Path
    geometry: Geometry
    by_accession: bool
    wanted: frozenset[str]


def read_file(job: Job, task: Task, key: Key) -> tuple[Read, np.ndarray | None]:
    """The outcome of reading the file, and its picture [size, size, channels]; call it inside ``quiet()``."""
    path = job.folder / task.path
    read = Read(key.of("file", task.path))
    try:
        about = path.stat()
        read = replace(read, size=about.st_size, mtime=about.st_mtime_ns)
        if about.st_size > FILE_LIMIT:
            raise ReadError("too-large")
        if not task.named:
            if task.path.lower().endswith(PICTURES):
                return read, None
            sop, accession = joining(path, key)
            read = replace(read, sop=sop, accession=accession)
            if not asked_for(read, job):
                return read, None
        read = replace(read, content=key.of_file(path))
        radiograph = load_picture(path, **job.geometry.options)
        if not unchanged(read, path):
            return replace(read, reason="changed"), None
    except ReadError as error:
        return replace(read, reason=error.reason, hint=error.remedy), None
    except OSError:
        return replace(read, reason="missing"), None
    except Exception as error:  # one file in a million must not end the run; the text may hold a name
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
        return replace(read, reason="crashed", hint=place), None
    patient = radiograph.patient.removeprefix("PatientID ")
    study = radiograph.patient.startswith(f"{STUDY} ")
    who = key.of("patient", patient) if patient else ""
    pixels = np.ascontiguousarray(radiograph.pixels).reshape(job.geometry.shape)
    picture = key.of_bytes("picture", pixels.tobytes())
    like = key.of("likeness", patient_likeness(patient)) if patient and not study else ""
    flags = radiograph.flags
    read = replace(read, patient=who, study=study, likeness=like, flags=flags, pixels=True, picture=picture)
    return read, pixels


def joining(path: Path, key: Key) -> tuple[str, str]:
    """The keyed SOPInstanceUID and AccessionNumber, by which rows may ask for a file that they do not name."""
    header = open_dicom(path, pixels=False)
    sop = str(attribute(header, "SOPInstanceUID") or "").strip()
    accession = str(attribute(header, "AccessionNumber") or "").strip()
    return key.of("sop", sop) if sop else "", key.of("accession", accession) if accession else ""


def asked_for(read: Read, job: Job) -> bool:
    """Whether the file's header makes it one that a row wants."""
    return (read.accession if job.by_accession else read.sop) in job.wanted


def still_holds(read: Read, task: Task, job: Job) -> bool:
    """Whether the journal's entry for a file is sufficient for the task, so that it need not be read again."""
    if read.reason:
        return read.reason not in RETRIED
    if read.pixels:
        return task.named or bool(read.sop or read.accession)
    return not task.named and not asked_for(read, job)


def unchanged(read: Read, path: Path) -> bool:
    """Whether the file has the size and time that it had when it was read."""
    try:
        about = path.stat()
    except OSError:
        return False
    return (read.size, read.mtime) == (about.st_size, about.st_mtime_ns)
