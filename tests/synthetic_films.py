"""Small DICOM files with every kind of lookup table, and the picture that PS3.3 C.11 says they show, in float64.

Nothing here shares code with imbal_jax: the tables are encoded from numbers, and the picture is computed from the
same numbers, pixel by pixel.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

SIDE = 16
SYNTAXES = {"little": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian, "big": ExplicitVRBigEndian}


@dataclass(frozen=True)
class Table:
    """entries: whole numbers. packing: US or SS values, OW words, packed OW or OB bytes. vr: the descriptor's."""

    entries: tuple[int, ...]
    first: int
    bits: int
    packing: str = "US"
    vr: str = "US"

    def item(self, order: str) -> Dataset:
        item = Dataset()
        descriptor = [len(self.entries) % 65536, self.first % 65536, self.bits]
        if self.vr == "SS":
            descriptor = [value - 65536 if value >= 32768 else value for value in descriptor]
        item.add_new(0x00283002, self.vr, descriptor)
        words = np.array(self.entries)
        match self.packing:
            case "US" if len(words) < 32768:  # beyond, an explicit US value is too long
                item.add_new(0x00283006, "US", words.tolist())
            case "SS":
                item.add_new(0x00283006, "SS", words.astype(np.uint16).astype(np.int16).tolist())
            case "OW" | "US":
                item.add_new(0x00283006, "OW", words.astype(f"{order}u2").tobytes())
            case "packed OW" | "packed US":  # two to a word, the first in the lower byte
                words = np.append(words, np.zeros(len(words) % 2, int)).reshape(-1, 2) @ [1, 256]
                value = (
                    words.astype(f"{order}u2").tobytes() if self.packing == "packed OW" else words.tolist()
                )
                item.add_new(0x00283006, self.packing[-2:], value)
            case "packed OB":
                item.add_new(0x00283006, "OB", words.astype(np.uint8).tobytes() + b"\0" * (len(words) % 2))
        return item

    def of(self, values: np.ndarray) -> np.ndarray:
        """C.11.1.1.1: before the first mapped value its entry, after the last the last."""
        table = np.array(self.entries, np.float64)
        return np.array(
            [table[min(max(round(float(v)) - self.first, 0), len(table) - 1)] for v in values.flat]
        )


@dataclass(frozen=True)
class Film:
    """A film of 16x16 stored values from low to high, and what its header says."""

    voi: Table | None = None
    modality: Table | tuple[float, float] | None = None
    low: int = 0
    high: int = 4095
    bits: int = 12
    signed: bool = False
    syntax: str = "little"
    place: str = "root"
    polarity: str = "MONOCHROME2"
    shape: str = ""
    window: tuple[float, float, str] | None = None

    @property
    def stored(self) -> np.ndarray:
        return np.rint(np.linspace(self.low, self.high, SIDE * SIDE)).astype(int).reshape(SIDE, SIDE)

    def shown(self) -> np.ndarray:
        """float64 [16, 16] in 0..1: the modality, the VOI, the presentation."""
        values = self.stored.astype(np.float64).ravel()
        if isinstance(self.modality, Table):
            values = self.modality.of(values)
        elif self.modality:
            values = values * self.modality[0] + self.modality[1]
        if self.voi:
            shown = self.voi.of(values) / (2**self.voi.bits - 1)
        else:
            center, width, function = self.window
            if function == "SIGMOID":
                shown = 1 / (1 + np.exp(-4 * (values - center) / width))
            elif function == "LINEAR_EXACT":
                shown = np.clip((values - center) / width + 0.5, 0, 1)
            else:
                shown = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
        inverse = self.shape == "INVERSE" if self.shape else self.polarity == "MONOCHROME1"
        return (1 - shown if inverse else shown).reshape(SIDE, SIDE)

    def dataset(self) -> Dataset:
        order = ">" if self.syntax == "big" else "<"
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = SYNTAXES[self.syntax]
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = ComputedRadiographyImageStorage
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "1.2.3.4"
        file.PatientID, file.Modality, file.BodyPartExamined, file.BurnedInAnnotation = (
            "A",
            "CR",
            "CHEST",
            "NO",
        )
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, self.polarity
        file.Rows = file.Columns = SIDE
        allocated = 8 if self.bits <= 8 else 16
        file.BitsAllocated, file.BitsStored, file.HighBit = allocated, self.bits, self.bits - 1
        file.PixelRepresentation = int(self.signed)
        if self.shape:
            file.PresentationLUTShape = self.shape
        transform, view = Dataset(), Dataset()
        if isinstance(self.modality, Table):
            item = self.modality.item(order)
            item.ModalityLUTType = "US"
            transform.ModalityLUTSequence = Sequence([item])
        elif self.modality:
            transform.RescaleSlope, transform.RescaleIntercept = self.modality
            transform.RescaleType = "US"
        if self.voi:
            view.VOILUTSequence = Sequence([self.voi.item(order)])
        if self.window:
            view.WindowCenter, view.WindowWidth, view.VOILUTFunction = self.window
        if self.place == "root":
            file.update(transform)
            file.update(view)
        else:
            group = Dataset()
            if len(transform):
                group.PixelValueTransformationSequence = Sequence([transform])
            group.FrameVOILUTSequence = Sequence([view])
            file.NumberOfFrames = 1
            groups = Sequence([group])
            if self.place == "shared":
                file.SharedFunctionalGroupsSequence = groups
            else:
                file.PerFrameFunctionalGroupsSequence = groups
        if allocated == 8:
            pixels = self.stored.astype("i1" if self.signed else "u1")
            file.add_new(0x7FE00010, "OB" if self.syntax != "implicit" else "OW", pixels.tobytes())
        else:
            file.add_new(
                0x7FE00010, "OW", self.stored.astype(f"{order}{'i' if self.signed else 'u'}2").tobytes()
            )
        return file

    def write(self, path: Path) -> Path:
        self.dataset().save_as(path, enforce_file_format=True)
        return path


def gamma(count: int, bits: int) -> tuple[int, ...]:
    """Entries over the whole range, neither linear nor symmetric."""
    return tuple(int(value) for value in np.rint((2**bits - 1) * np.linspace(0, 1, count) ** 0.7))


# What comes before the VOI LUT, and where its first value lies: film, first value, entries, descriptor's VR.
# 16-bit words of the first value are read as signed or unsigned by what the modality puts out.
MODALITIES: dict[str, tuple[dict[str, object], tuple[tuple[int, int, str], ...]]] = {
    "none": ({}, ((0, 1024, "US"), (700, 2048, "US"), (0, 4096, "SS"))),
    "signed": ({"signed": True, "low": -2048, "high": 2047}, ((-300, 1024, "SS"), (-300, 1024, "US"))),
    "shifted": ({"modality": (1, -1024)}, ((-300, 1024, "US"), (-300, 1024, "SS"), (700, 1024, "US"))),
    "fraction": ({"modality": (0.4, -100.3)}, ((-50, 1024, "US"), (500, 512, "US"))),
    "falling": ({"modality": (-1, 4095)}, ((700, 2048, "US"),)),
    "raised": (
        {"signed": True, "low": -2048, "high": 2047, "modality": (1, 32768)},
        ((33000, 1024, "SS"), (33000, 1024, "US")),
    ),
    "table 16": (
        {
            "signed": True,
            "low": -2048,
            "high": 2047,
            "modality": Table(gamma(4096, 16), -2048, 16, "OW", "SS"),
        },
        ((40000, 16384, "SS"), (500, 65036, "US")),
    ),
    "table 12": ({"modality": Table(gamma(3000, 12), 500, 12, "US")}, ((700, 2048, "US"),)),
    "table 10": ({"modality": Table(gamma(4096, 10), 0, 10, "OW")}, ((100, 512, "US"),)),
    "table 8": ({"modality": Table(gamma(4096, 8), 0, 8, "packed OW")}, ((64, 128, "US"),)),
}
DEPTHS = {
    8: ("US", "OW", "packed OW", "packed US", "packed OB"),
    10: ("US", "OW"),
    12: ("US", "SS", "OW"),
    16: ("US", "OW"),
}


def films() -> dict[str, Film]:
    """Every combination, by a name that says what is in it."""
    found = {}
    for kind, (options, ranges) in MODALITIES.items():
        for first, count, vr in ranges:
            for bits, packings in DEPTHS.items():
                for packing in packings:
                    table = Table(gamma(count, bits), first, bits, packing, vr)
                    for syntax in SYNTAXES:
                        for place in ("root", "shared", "frame"):
                            for polarity in ("MONOCHROME1", "MONOCHROME2"):
                                order = dict(options)
                                if (
                                    isinstance(order.get("modality"), Table)
                                    and kind == "table 8"
                                    and packing == "US"
                                ):
                                    order["modality"] = Table(gamma(4096, 8), 0, 8, "OW")
                                name = f"{kind}, {first} {vr}, {bits} bits {packing}, {syntax}, {place}, {polarity}"
                                found[name] = Film(
                                    table, syntax=syntax, place=place, polarity=polarity, **order
                                )
    return found


def dcmtk_films() -> dict[str, Film]:
    """Films that dcmtk reads too: no functional groups, and a descriptor whose sign is as the standard has it."""
    conforming = {
        name: film
        for name, film in films().items()
        if film.place == "root"
        and film.polarity == "MONOCHROME2"
        and film.voi.packing in ("US", "OW", "packed OW")
        and not (film.voi.first < 0 and film.voi.vr != "SS")
        and not (film.voi.first >= 32768 and film.syntax != "little")
    }
    found = {name: conforming[name] for name in list(conforming)[::5]}
    # Polarity: each photometric interpretation with each shape, through windows of each function.
    for polarity in ("MONOCHROME1", "MONOCHROME2"):
        for shape in ("", "IDENTITY", "INVERSE"):
            for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
                name = f"{polarity}, {shape or 'no shape'}, {function}"
                found[name] = Film(polarity=polarity, shape=shape, window=(1500, 2001, function))
    return found
