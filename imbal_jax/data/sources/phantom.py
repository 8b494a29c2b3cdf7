"""Synthetic chest radiographs, written as real DICOM files, for a first run without patient data.

Nothing here comes from a patient. The pictures are made of a few dozen smooth shapes; a model that does well
on them has learnt those shapes, and its numbers say nothing about a clinical question. What they do have in
common with a hospital's folder is what the rest of the package must cope with: rare findings, several images
of one patient, both photometric polarities, rescaled values, windows, and noise that depends on the signal.
"""

import csv
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from imbal_jax.errors import InputError
from imbal_jax.files import read_json, write_json

CLASSES = ("normal", "nodule", "consolidation", "effusion")

# How the abnormal images divide. The smallest finding is the largest group: it needs the most examples.
SHARES = {"nodule": 5, "consolidation": 3, "effusion": 2}
# A finding with this many images has at least this many patients: 70/15/15 by patient leaves one to two for
# each of validation and test.
PATIENTS_PER_FINDING = 9

# Attenuation added by a finding, where the body is 1, the air of a full lung -0.62, a rib 0.11 and the noise in
# a lung about 0.02. Set so that four stages of stride-1 convolution, pooled by a global maximum, begin to tell each
# finding from normal in 450 balanced batches of 32, with the 10 to 29 examples that a 70 % split of 8,000 images at
# 1:100 holds, and call everything normal in natural batches. A stem that halves 96 pixels at once sees no nodule.
NODULE_CONTRAST = (0.36, 0.48)
CONSOLIDATION_CONTRAST = (0.30, 0.42)
EFFUSION_CONTRAST = (0.42, 0.55)
# Size as a fraction of the image width: diameter of a nodule, of a patch; height of fluid at the wall.
NODULE_DIAMETER = (0.07, 0.10)
CONSOLIDATION_DIAMETER = (0.15, 0.25)
EFFUSION_HEIGHT = (0.12, 0.24)

# Stored value = OFFSET + GAIN * attenuation, 12 bits, before polarity.
BITS, OFFSET, GAIN = 12, 300.0, 2500.0
NUMBERS = {"US": "<H", "SS": "<h", "UL": "<I"}
FORMAT = 2  # raised whenever the same arguments would give other files


@dataclass(frozen=True)
class Anatomy:
    """One patient, in half image widths; u runs to the patient's left, v downwards, both from -1 to 1."""

    build: float  # thickness of the trunk
    shoulder: float  # v of the shoulder line at the neck
    flank: float  # u of the body's side
    apex: float  # v of the top of the lungs
    widest: float  # v where the lungs are widest
    middle: float  # |u| of the apex
    outer: float  # from there to the lateral wall
    inner: float  # from there to the mediastinum
    air: float  # how dark a lung is
    dome: tuple[float, float]  # v of the right and left diaphragm
    arch: float  # curvature of the domes
    heart: tuple[float, float, float, float, float]  # u, v, half width, half height, tilt
    knob: float  # radius of the aortic arch
    ribs: tuple[float, float, float, float]  # spacing, phase, slope, contrast
    clavicle: tuple[float, float]  # v at the sternum, rise
    breast: float  # attenuation of the breast shadows, 0 in about half
    bubble: float  # air in the stomach
    texture: np.ndarray  # float32 [12, 12], vessels and everything unnamed


@dataclass(frozen=True)
class Finding:
    """What is abnormal, and where, in half image widths: side -1 is the patient's right, u and v the centre."""

    name: str
    side: int = 1
    u: float = 0.0
    v: float = 0.0
    size: float = 0.0
    contrast: float = 0.0
    shape: float = 1.0


@dataclass(frozen=True)
class Picture:
    """One exposure: stored uint16 [size, size] with dense tissue bright, and the window that shows it."""

    stored: np.ndarray
    center: float
    width: float


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A patient drawn at random: wide enough to overlap, narrow enough to stay a chest."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    dome = between(0.46, 0.62)
    return Anatomy(
        build=between(0.88, 1.12),
        shoulder=between(-0.86, -0.76),
        flank=between(0.94, 1.10),
        apex=between(-0.80, -0.66),
        widest=between(0.15, 0.35),
        middle=between(0.32, 0.38),
        outer=between(0.36, 0.46),
        inner=between(0.17, 0.23),
        air=between(0.56, 0.68),
        dome=(dome, dome + between(0.0, 0.08)),
        arch=between(0.7, 1.3),
        heart=(
            between(0.10, 0.16),
            dome - between(0.14, 0.22),
            between(0.32, 0.42),
            between(0.26, 0.34),
            between(0.3, 0.6),
        ),
        knob=between(0.07, 0.11),
        ribs=(between(0.125, 0.155), between(0.0, 1.0), between(0.30, 0.50), between(0.08, 0.13)),
        clavicle=(between(-0.60, -0.50), between(0.06, 0.16)),
        breast=max(0.0, between(-0.12, 0.14)),
        bubble=max(0.0, between(-0.15, 0.25)),
        texture=rng.standard_normal((12, 12), dtype=np.float32),
    )


def draw_finding(name: str, anatomy: Anatomy, rng: np.random.Generator) -> Finding:
    """Where the finding sits in this patient; nodules keep clear of the lung's edge and of the heart."""
    side = int(rng.choice((-1, 1)))
    dome = anatomy.dome[side > 0]
    if name == "normal":
        return Finding("normal")
    if name == "effusion":
        height = 2 * rng.uniform(*EFFUSION_HEIGHT)
        return Finding(
            name,
            side,
            0.0,
            dome,
            float(height),
            float(rng.uniform(*EFFUSION_CONTRAST)),
            float(rng.uniform(0.4, 0.7)),
        )
    small = name == "nodule"
    sizes, contrasts = (
        (NODULE_DIAMETER, NODULE_CONTRAST) if small else (CONSOLIDATION_DIAMETER, CONSOLIDATION_CONTRAST)
    )
    # The left lung is behind the heart below its upper border: keep the centre above.
    lowest = dome - 0.12 if side < 0 else anatomy.heart[1] - 0.12
    v = rng.uniform(anatomy.apex + 0.28, lowest)
    rise = float(np.sqrt(1 - max(0.0, (anatomy.widest - v) / (anatomy.widest - anatomy.apex)) ** 2))
    inside, outside = (
        anatomy.middle - anatomy.inner * rise + 0.10,
        anatomy.middle + anatomy.outer * rise - 0.10,
    )
    u = side * rng.uniform(inside, max(inside + 0.01, outside))
    return Finding(
        name,
        side,
        float(u),
        float(v),
        float(rng.uniform(*sizes)),  # a diameter in image widths is a radius in half widths
        float(rng.uniform(*contrasts)),
        float(rng.uniform(0.75, 1.3)),
    )


def attenuation(anatomy: Anatomy, finding: Finding, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Attenuation float32 [size, size] on the coordinates u, v of the same shape."""
    a = anatomy
    pixel = 2.0 / u.shape[0]
    x = np.abs(u)
    left = u > 0

    def soft(distance: np.ndarray, edge: float) -> np.ndarray:
        return np.clip(distance / max(edge, pixel) + 0.5, 0.0, 1.0)

    def hill(du: np.ndarray, dv: np.ndarray) -> np.ndarray:
        return np.exp(-(du * du + dv * dv))

    # Trunk: shoulders slope away from the neck, thickness falls off towards the flanks.
    shoulders = v - (a.shoulder + 0.26 * x * x)
    neck = 0.17 - x - 0.14 * v
    body = soft(np.maximum(shoulders, neck), 0.05) * soft(a.flank - x - 0.04 * v, 0.05)
    thick = np.sqrt(np.clip(1.0 - 0.66 * (u / a.flank) ** 2, 0.05, 1.0)) * (0.88 + 0.12 * v)
    total = a.build * thick * body

    # Lungs: two arches that meet at the apex, cut by the domes of the diaphragm.
    above = np.clip((a.widest - v) / (a.widest - a.apex), 0.0, 1.0)
    rise = np.sqrt(1.0 - above * above)
    dome = np.where(left, np.float32(a.dome[1]), np.float32(a.dome[0])) + a.arch * (x - 0.40) ** 2
    wall = np.minimum(a.middle + a.outer * rise - x, x - (a.middle - a.inner * rise))
    depth = np.maximum(np.minimum(wall, dome - v), 0.0)
    lung = depth / (depth + 0.035)

    # Heart and aortic arch take the place of air; behind them a part of the lung stays.
    hu, hv, wide, tall, tilt = a.heart
    du, dv = u - hu, v - hv
    heart = np.maximum(1.0 - ((du + tilt * dv) / wide) ** 2 - ((dv - 0.3 * tilt * du) / tall) ** 2, 0.0)
    heart = heart / (heart + 0.10)
    arch = soft(a.knob - np.hypot(u - 0.12, v + 0.22), 0.07)
    total -= a.air * lung * (1.0 - 0.95 * heart) * (1.0 - 0.75 * arch)
    total += 0.13 * heart + 0.06 * arch
    total += 0.10 * soft(0.15 - x, 0.10) * soft(v + 0.75, 0.3)
    total += 0.15 * hill((x - 0.20) / 0.08, (v - 0.0) / 0.15) * lung  # hila
    total -= 0.14 * soft(0.05 - np.abs(u + 0.01), 0.04) * soft(-0.15 - v, 0.2)  # trachea

    # Skeleton: spine with its discs, posterior and anterior ribs, clavicles, humeral heads.
    spacing, phase, slope, bone = a.ribs
    total += soft(0.075 - x, 0.03) * (0.09 + 0.035 * np.cos((2 * np.pi / spacing) * v)) * body
    cage = soft(a.middle + a.outer * rise + 0.05 - x, 0.06) * soft(0.66 - v, 0.2) * soft(x - 0.07, 0.06)
    course = (v - slope * (x - 0.25) ** 2 * 1.6) / spacing + phase
    off = course - np.rint(course)
    ribs = np.maximum(1.0 - (off / 0.24) ** 2, 0.0)
    course = (v + 0.75 * slope * x + 0.25 * x * x) / (1.25 * spacing) + phase
    off = course - np.rint(course)
    ribs += 0.6 * np.maximum(1.0 - (off / 0.20) ** 2, 0.0) * soft(x - 0.3, 0.3)
    total += bone * ribs * cage * (1.0 - 0.6 * heart)
    start, climb = a.clavicle
    line = v - (start - climb * np.sin(2.2 * x) - 0.05 * x)
    total += 0.15 * np.maximum(1.0 - (line / 0.045) ** 2, 0.0) * soft(x - 0.08, 0.05) * soft(0.80 - x, 0.1)
    total += 0.14 * soft(0.17 - np.hypot(x - 0.96, v + 0.42), 0.06) * body

    # Soft parts that vary: breasts, stomach bubble, texture of vessels.
    if a.breast:
        total += a.breast * soft(0.34 - np.hypot(x - 0.52, v - 0.36), 0.10)
    if a.bubble:
        total -= a.bubble * hill((u - 0.42) / 0.13, (v - a.dome[1] - 0.17) / 0.08)
    size = u.shape[0]
    texture = np.asarray(Image.fromarray(a.texture).resize((size, size), Image.Resampling.BICUBIC))
    total += texture * (0.012 + 0.022 * lung)

    if finding.name == "nodule":
        distance = ((u - finding.u) ** 2 + (v - finding.v) ** 2) / finding.size**2
        total += finding.contrast * np.clip(1.6 * (1.0 - distance), 0.0, 1.0)
    elif finding.name == "consolidation":
        distance = ((u - finding.u) * finding.shape) ** 2 + ((v - finding.v) / finding.shape) ** 2
        patchy = np.clip(1.0 + 0.3 * texture, 0.6, 1.4)
        total += finding.contrast * np.clip(1.5 - distance / finding.size**2, 0.0, 1.0) * patchy * lung
    elif finding.name == "effusion":
        # Fluid climbs the lateral wall: the meniscus. It hides the dome and the costophrenic angle.
        lateral = np.clip((x - 0.15) / 0.6, 0.0, 1.0)
        level = finding.v - finding.size * (1.0 - finding.shape + finding.shape * lateral**2)
        fluid = soft(v - level, 0.08) * lung * (1.0 - heart) * (left if finding.side > 0 else ~left)
        total += finding.contrast * fluid
    return total


def expose(anatomy: Anatomy, finding: Finding, size: int, rng: np.random.Generator) -> Picture:
    """One radiograph of the patient: position, exposure and noise are this image's own.

    Noise: a detector that counts n photons per pixel and stores log n has the standard deviation 1 / sqrt(n),
    so noise grows as exp(attenuation / 2) and is worst behind the heart and the diaphragm.
    """
    turn = rng.normal(0.0, 0.03)
    scale = rng.uniform(0.96, 1.06)
    shift = rng.normal(0.0, 0.025, size=2)
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2.0 / size) - 1.0) / np.float32(scale)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u = (cosine * axis - np.float32(shift[0]))[None, :] + (sine * axis)[:, None]
    v = (cosine * axis - np.float32(shift[1]))[:, None] - (sine * axis)[None, :]
    dense = attenuation(anatomy, finding, u, v).astype(np.float32, copy=False)

    contrast, fog = rng.uniform(0.92, 1.08), rng.normal(0.0, 0.03)
    noise = np.float32(rng.uniform(0.012, 0.02)) * np.exp(np.float32(0.5) * dense)
    noise *= rng.standard_normal(dense.shape, dtype=np.float32)
    stored = np.float32(GAIN * contrast) * dense + np.float32(OFFSET + GAIN * fog) + np.float32(GAIN) * noise
    stored = np.clip(np.rint(stored), 0, 2**BITS - 1).astype(np.uint16)
    # From clear lung to the spine behind the heart, give or take the radiographer's taste.
    low, high = rng.uniform(0.06, 0.12), rng.uniform(1.20, 1.32)
    return Picture(stored, round(OFFSET + GAIN * (low + high) / 2), round(GAIN * (high - low)))


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


def to_dicom(
    picture: Picture,
    person: dict[str, str],
    key: tuple[int, int, int],
    inverted: bool,
    direct: bool,
    slope: int = 1,
    intercept: int = 0,
) -> bytes:
    """A DX "for presentation" (``direct``) or CR image, explicit VR little endian, 12 of 16 bits.

    ``inverted``: MONOCHROME1, stored values turned over, window with them. The LINEAR window on
    m = slope x + intercept that shows what (center, width) shows on x has width slope (width - 1) + 1 and
    center slope (center - 1/2) + intercept + 1/2 (PS3.3 C.11.2.1.2.1).
    """
    stored, center = picture.stored, float(picture.center)
    if inverted:
        stored, center = (2**BITS - 1) - stored, 2**BITS - center
    _, number, image = key
    rows, columns = stored.shape
    kind = DigitalXRayImageStorageForPresentation if direct else ComputedRadiographyImageStorage

    instance = uid("image", *key)
    meta = encode(
        {
            "FileMetaInformationVersion": b"\0\1",
            "MediaStorageSOPClassUID": kind,
            "MediaStorageSOPInstanceUID": instance,
            "TransferSyntaxUID": ExplicitVRLittleEndian,
            "ImplementationClassUID": uid("writer", 0, 0, 0),
        }
    )
    body: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "SOPClassUID": kind,
        "SOPInstanceUID": instance,
        "StudyDate": "20000101",
        "StudyTime": "120000",
        "AccessionNumber": f"{number:05d}.{image}",
        "Modality": "DX" if direct else "CR",
        "Manufacturer": "Synthetic phantom",
        "ReferringPhysicianName": "",
        **person,
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "StudyInstanceUID": uid("study", *key),
        "SeriesInstanceUID": uid("series", *key),
        "StudyID": str(image + 1),
        "SeriesNumber": "1",
        "InstanceNumber": "1",
        "PatientOrientation": ["L", "F"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME1" if inverted else "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": BITS,
        "HighBit": BITS - 1,
        "PixelRepresentation": 0,
        "BurnedInAnnotation": "NO",
        "WindowCenter": slope * (center - 0.5) + intercept + 0.5,
        "WindowWidth": slope * (picture.width - 1) + 1,
        "PixelData": np.ascontiguousarray(stored, dtype="<u2").tobytes(),
    }
    if direct:
        region = {"CodeValue": "51185008", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Chest"}
        view = {
            "CodeValue": "272479007",
            "CodingSchemeDesignator": "SCT",
            "CodeMeaning": "Posteroanterior projection",
        }
        body |= {
            "PresentationIntentType": "FOR PRESENTATION",
            "ImagerPixelSpacing": [f"{350 / rows:.6f}", f"{350 / columns:.6f}"],
            "PixelIntensityRelationship": "LOG",
            "PixelIntensityRelationshipSign": 1 if inverted else -1,
            "RescaleIntercept": 0,
            "RescaleSlope": 1,
            "RescaleType": "US",
            "LossyImageCompression": "00",
            "PresentationLUTShape": "INVERSE" if inverted else "IDENTITY",
            "ImageLaterality": "U",
            "AnatomicRegionSequence": [region],
            "ViewCodeSequence": [view],
            "AcquisitionContextSequence": [],
        }
    elif (slope, intercept) != (1, 0):
        body |= {"RescaleIntercept": intercept, "RescaleSlope": slope, "RescaleType": "US"}
    length = encode({"FileMetaInformationGroupLength": len(meta)})
    return b"".join((bytes(128), b"DICM", length, meta, encode(body)))


@cache
def tag_and_vr(keyword: str) -> tuple[int, str]:
    tag = tag_for_keyword(keyword)
    vr = "OW" if keyword == "PixelData" else dictionary_VR(tag)
    return int(tag), vr


def encode(elements: Mapping[str, object]) -> bytes:
    """Data elements in explicit VR little endian (PS3.5 7.1.2): ten times as fast as building a pydicom
    Dataset, which is what lets a quickstart of thousands of files start within seconds.
    """
    parts = []
    for (tag, vr), value in sorted((tag_and_vr(keyword), value) for keyword, value in elements.items()):
        if vr == "SQ":
            items = [encode(item) for item in value]
            content = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
        elif isinstance(value, bytes):
            content = value
        elif vr in NUMBERS:
            content = struct.pack(NUMBERS[vr], value)
        else:
            content = ("\\".join(value) if isinstance(value, list) else str(value)).encode("ascii")
            if len(content) % 2:
                content += b"\0" if vr == "UI" else b" "
        long = vr in ("OB", "OW", "SQ")
        parts.append(struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode()))
        parts.append(struct.pack("<HI", 0, len(content)) if long else struct.pack("<H", len(content)))
        parts.append(content)
    return b"".join(parts)


def uid(kind: str, seed: int, number: int, image: int) -> str:
    """An identifier under 2.25 (PS3.5 B.2) that is the same on every run."""
    digest = blake2b(f"imbal_jax phantom {kind} {seed} {number} {image}".encode(), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"
