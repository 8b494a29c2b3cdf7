"""Synthetic chest radiographs, written as real DICOM files, for a first run without patient data.

Nothing here comes from a patient. The pictures are made of a few dozen smooth shapes; a model that does well
on them has learnt those shapes, and its numbers say nothing about a clinical question. What they do have in
common with a hospital's folder is what the rest of the package must cope with: rare findings, several images
of one patient, both photometric polarities, rescaled values, windows, and noise that depends on the signal.
"""

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from imbal_jax.data.sources.phantom_dicom import to_dicom
from imbal_jax.data.sources.phantom_picture import Picture, draw_anatomy, draw_finding, expose
from imbal_jax.errors import InputError
from imbal_jax.files import read_json, write_json

CLASSES = ("normal", "nodule", "consolidation", "effusion")

# How the abnormal images divide. The smallest finding is the largest group: it needs the most examples.
SHARES = {"nodule": 5, "consolidation": 3, "effusion": 2}
# A finding with this many images has at least this many patients: 70/15/15 by patient leaves one to two for
# each of validation and test.
PATIENTS_PER_FINDING = 9
FORMAT = 2  # raised whenever the same arguments would give other files


def write_phantoms(
    folder: str | Path,
    *,
    images: int,
    imbalance: float = 100,
    size: int = 96,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``images`` synthetic radiographs as DICOM files with a ``labels.csv`` (file, patient, label).

    round(images / (1 + imbalance)) of them are abnormal, one to three images a patient, all of one class. The
    pictures depend on the arguments alone. ``labels.csv`` is written last: an interrupted call is simply
    repeated, and a folder that is complete for the same arguments is returned at once.

    Synthetic throughout: shapes, names and numbers are invented, and a result on them says nothing about patients.

    folder: new, empty, or written by this function before.
    size: pixels of the square image, 32 to 1024.
    progress: called with (images written, images).
    Raises InputError for a folder that holds something else, for other arguments than the folder was written
    with, and for too few images to have every finding.
    """
    folder = Path(folder)
    if not 32 <= size <= 1024:
        raise InputError(f"size={size} is outside 32..1024")
    if imbalance < 1:
        raise InputError(
            f"imbalance={imbalance:g} is below 1: it counts normal images for one abnormal image"
        )
    patients = cohort(images, imbalance, seed)

    wanted = {"images": images, "imbalance": float(imbalance), "size": size, "seed": seed, "format": FORMAT}
    description = folder / "phantom.json"
    if description.exists():
        found = read_json(description, "delete the folder, and the phantoms are made again")
        if found != wanted:
            raise InputError(f"{folder} holds phantoms of {found}, asked for {wanted}: choose another folder")
        if (folder / "labels.csv").exists():
            return folder
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no phantom.json: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(description, wanted)

    rows: list[tuple[str, str, str]] = []
    for number, (name, count) in enumerate(patients):
        subfolder = folder / f"patient-{number:05d}"
        subfolder.mkdir(exist_ok=True)
        for image, content in enumerate(patient_files(number, name, count, size, seed)):
            path = subfolder / f"image-{image}.dcm"
            path.write_bytes(content)
            rows.append((path.relative_to(folder).as_posix(), f"{number:05d}", name))
        if progress is not None:
            progress(len(rows), images)

    unfinished = folder / "labels.csv.part"
    with unfinished.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("file", "patient", "label"))
        table.writerows(rows)
    os.replace(unfinished, folder / "labels.csv")
    return folder


def cohort(images: int, imbalance: float, seed: int) -> list[tuple[str, int]]:
    """The class and the number of images of every patient, in an order that says nothing about either."""
    abnormal = round(images / (1 + imbalance))
    if abnormal < len(SHARES):
        needed = int(np.ceil((len(SHARES) - 0.5) * (1 + imbalance)))
        raise InputError(
            f"{images} images at 1:{imbalance:g} are {abnormal} abnormal, fewer than the {len(SHARES)} findings"
            f": ask for at least {needed} images, or a lower imbalance"
        )
    total = sum(SHARES.values())
    counts = {name: max(1, abnormal * share // total) for name, share in SHARES.items()}
    counts["nodule"] = abnormal - counts["consolidation"] - counts["effusion"]
    counts["normal"] = images - abnormal

    rng = np.random.default_rng([seed, 0])
    patients: list[tuple[str, int]] = []
    for name in CLASSES:
        count = counts[name]
        people = min(count, max(PATIENTS_PER_FINDING, round(count / 1.7)))
        each = np.ones(people, dtype=int)
        # One to three images each: the surplus goes to seats drawn without replacement, two a patient.
        seats = rng.choice(2 * people, size=count - people, replace=False)
        np.add.at(each, seats % people, 1)
        patients += [(name, int(n)) for n in each]
    return [patients[i] for i in rng.permutation(len(patients))]


def patient_pictures(number: int, name: str, count: int, size: int, seed: int) -> list[Picture]:
    """The exposures of one patient: the same anatomy and finding, each its own position, dose and noise."""
    rng = np.random.default_rng([seed, 1, number])
    anatomy = draw_anatomy(rng)
    finding = draw_finding(name, anatomy, rng)
    return [expose(anatomy, finding, size, rng) for _ in range(count)]


def patient_files(number: int, name: str, count: int, size: int, seed: int) -> Iterator[bytes]:
    """The patient's pictures as DICOM files; polarity and rescaling are drawn without regard to the finding."""
    rng = np.random.default_rng([seed, 2, number])
    person = {
        "PatientName": f"PHANTOM^{number:05d}",
        "PatientID": f"PHANTOM-{seed}-{number:05d}",
        "PatientBirthDate": "",
        "PatientSex": str(rng.choice(("F", "M"))),
        "PatientAge": f"{rng.integers(20, 89):03d}Y",
    }
    for image, picture in enumerate(patient_pictures(number, name, count, size, seed)):
        inverted = bool(rng.random() < 0.25)
        direct = bool(rng.random() < 0.5)
        # Only a computed radiograph may be rescaled: the DX module fixes slope 1 and intercept 0.
        slope, intercept = (2, -1024) if not direct and rng.random() < 0.5 else (1, 0)
        yield to_dicom(picture, person, (seed, number, image), inverted, direct, slope, intercept)
