"""The two-dimensional sets of MedMNIST (Yang et al. 2023)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import AskedGeometry, settle
from imbal_jax.data.images.resize import Fit
from imbal_jax.data.labels import LabelLayout, is_many
from imbal_jax.data.sources.archives import AGAIN, find
from imbal_jax.data.sources.download import fetch
from imbal_jax.data.sources.nih import NIH_LABELS
from imbal_jax.data.sources.public_set import File, Loaded, PublicSet, Split, grey_notes
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError, read_npz

MEDMNIST_RECORD = "https://zenodo.org/records/10519652"
MEDMNIST_SIZES = (28, 64, 128, 224)


@dataclass(frozen=True)
class Med:
    """One set.

    fit: how the authors made squares of the source's pictures; None where those are squares, "square" where it is
        none of the fits (a fixed window, a slice of a volume, an organ).
    md5: checksums of its files in the record, one a size, as release 3.0.2 of the authors' package lists them.
    """

    classes: tuple[str, ...]
    source: str
    md5: tuple[str, str, str, str]
    fit: Fit | None = "square"
    licence: str = "CC BY 4.0"


_ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left",
    "lung-right", "pancreas", "spleen",
)  # fmt: skip
_LITS = "CT of the Liver Tumor Segmentation Benchmark, Bilic et al. 2023"

MEDMNIST = {
    "pneumoniamnist": Med(
        ("normal", "pneumonia"),
        "images of Kermany et al. 2018",
        (
            "28209eda62fecd6e6a2d98b1501bb15f",
            "8f4eceb4ccffa70c672198ea285246c6",
            "05b46931834c231683c68f40c47b2971",
            "d6a3c71de1b945ea11211b03746c1fe1",
        ),
        "crop",
    ),
    "breastmnist": Med(
        ("malignant", "normal or benign"),
        "ultrasound of Al-Dhabyani et al. 2020",
        (
            "750601b1f35ba3300ea97c75c52ff8f6",
            "742edef2a1fd1524b2efff4bd7ba9364",
            "363e4b3f8d712e9b5de15470a2aaadf1",
            "b56378a6eefa9fed602bb16d192d4c8b",
        ),
        None,
    ),
    "chestmnist": Med(
        NIH_LABELS,
        "NIH ChestX-ray14, Wang et al. 2017",
        (
            "02c8a6516a18b556561a56cbdd36c4a8",
            "9de6cd0b934ebb5b7426cfba5efbae16",
            "db107e5590b27930b62dbaf558aebee3",
            "45bd33e6f06c3e8cdb481c74a89152aa",
        ),
        None,
    ),
    "octmnist": Med(
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        "optical coherence tomography of Kermany et al. 2018",
        (
            "c68d92d5b585d8d81f7112f81e2d0842",
            "e229e9440236b774d9f0dfef9d07bdaf",
            "0a97e76651ace45c5d943ee3f65b63ae",
            "abc493b6d529d5de7569faaef2773ba3",
        ),
        "crop",
    ),
    "retinamnist": Med(
        ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
        "retinal photographs of DeepDRiD, Liu et al. 2022",
        (
            "bd4c0672f1bba3e3a89f0e4e876791e4",
            "afda852cc34dcda56f86ad2b2457dbcc",
            "e48e916a24454daf90583d4e6efb1a18",
            "eae7e3b6f3fcbda4ae613ebdcbe35348",
        ),
        "crop",
    ),
    "dermamnist": Med(
        (
            "actinic keratosis or intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesion",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevus",
            "vascular lesion",
        ),
        "HAM10000, Tschandl et al. 2018",
        (
            "0744692d530f8e62ec473284d019b0c7",
            "b70a2f5635c6199aeaa28c31d7202e1f",
            "2defd784463fa5243564e855ed717de1",
            "8974907d8e169bef5f5b96bc506ae45d",
        ),
        "squeeze",
        "CC BY-NC 4.0",
    ),
    "pathmnist": Med(
        (
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        "histology of Kather et al. 2019",
        (
            "a8b06965200029087d5bd730944a56c1",
            "55aa9c1e0525abe5a6b9d8343a507616",
            "ac42d08fb904d92c244187169d1fd1d9",
            "2c51a510bcdc9cf8ddb2af93af1eadec",
        ),
        None,
    ),
    "bloodmnist": Med(
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocyte",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        "blood cells of Acevedo et al. 2020",
        (
            "7053d0359d879ad8a5505303e11de1dc",
            "2b94928a2ae4916078ca51e05b6b800b",
            "adace1e0ed228fccda1f39692059dd4c",
            "b718ff6835fcbdb22ba9eacccd7b2601",
        ),
    ),
    "tissuemnist": Med(
        (
            "collecting duct or connecting tubule",
            "distal convoluted tubule",
            "glomerular endothelial cell",
            "interstitial endothelial cell",
            "leukocyte",
            "podocyte",
            "proximal tubule segment",
            "thick ascending limb",
        ),
        "kidney cortex cells of BBBC051, Woloshuk et al. 2021",
        (
            "ebe78ee8b05294063de985d821c1c34b",
            "123ece2eba09d0aa5d698fda57103344",
            "61b955355d7425a89687b06cca3ce0c2",
            "b077128c4a949f0a4eb01517f9037b9c",
        ),
    ),
    "organamnist": Med(
        _ORGANS,
        f"axial {_LITS}",
        (
            "68e3f8846a6bd62f0c9bf841c0d9eacc",
            "2dcccc29b88e6da5a01161ef20cda288",
            "eeae80d0a227a8d099027e1b3cfd3b60",
            "50747347e05c87dd3aaf92c49f9f3170",
        ),
    ),
    "organcmnist": Med(
        _ORGANS,
        f"coronal {_LITS}",
        (
            "b9ceb9546e10131b32923c5bbeaea2b1",
            "3ce34a8724ea6f548e6db4744d03b6a9",
            "773c1f009daa3fe5d9a2a201b2a7ed94",
            "050f5e875dc056f6768abf94ec9995d1",
        ),
    ),
    "organsmnist": Med(
        _ORGANS,
        f"sagittal {_LITS}",
        (
            "9ab87b696fb54e2a387ebe992d6ed5f1",
            "53a6d115339d874c25e309a994ff46d3",
            "ded0c5fa01a95dc4978b956f613e9b8e",
            "b354719e553fbbb2513d5533f52a4cb1",
        ),
    ),
}


PARTS = ("train", "val", "test")


def read_medmnist(path: Path, name: str, asked: AskedGeometry | None = None) -> tuple[Dataset, Split]:
    """The images of NAME.npz, grey or in colour, and the source's split; each image is a patient of its own.

    asked: None is what the file has.
    Raises InputError for an unknown name, DamagedError for a file that is no such archive, or whose labels are not
    those of the set.
    """
    if name not in MEDMNIST:
        raise InputError(f"{name} is not among {', '.join(MEDMNIST)}")
    classes = MEDMNIST[name].classes
    arrays = read_npz(path, [f"{part}_{what}" for part in PARTS for what in ("images", "labels")], AGAIN)
    parts = [(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in PARTS]
    layout = _checked_layout(path, name, parts, None if asked is None else asked.size)
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    asked = asked or AskedGeometry(size=images.shape[1])
    made = MEDMNIST[name].fit
    fit = (asked.fit or "pad") if made is None else settle(asked.fit, made, path, "leave it out")
    geometry = replace(asked, fit=fit).geometry(channels=1 if images.ndim == 3 else 3)
    colour = geometry.channels == 1 and images.ndim == 4
    images = geometry.arrays(images)
    ends = np.cumsum([len(part) for part, _ in parts])
    splits = np.split(np.arange(len(images)), ends[:-1])
    notes = grey_notes(len(images)) if colour else ()
    data = Dataset(images, layout.array(labels), np.arange(len(images)), classes, notes, geometry)
    return data, dict(zip(("train", "validation", "test"), splits, strict=True))


def _checked_layout(
    path: Path, name: str, parts: list[tuple[np.ndarray, np.ndarray]], size: int | None
) -> LabelLayout:
    """How the labels lie in the arrays; DamagedError where images or labels are not those of the set."""
    classes = MEDMNIST[name].classes
    side = parts[0][0].shape[1:]
    for images, labels in parts:
        if (
            images.dtype != np.uint8
            or side not in ((side[:1] * 2), (*side[:1] * 2, 3))
            or images.shape != (len(labels), *side)
            or not len(images)
            or size not in (None, side[0])
            or not is_many(labels)
            or labels.dtype.kind not in "iu"
        ):
            raise DamagedError(
                f"{path} is no file of {name} (images {images.dtype} {list(images.shape)}, labels {labels.dtype} "
                f"{list(labels.shape)}): {AGAIN}"
            )
    if max(images.max() for images, _ in parts) == 1:
        raise DamagedError(f"{path} has images from 0 to 1, expected 0 to 255: {AGAIN}")
    layout = LabelLayout(classes, many=parts[0][1].shape[1] > 1)
    width, most = (len(classes), 1) if layout.many else (1, len(classes) - 1)
    for _, labels in parts:
        low, high = labels.min(initial=0), labels.max(initial=0)
        if labels.shape[1] != width or low < 0 or high > most:
            raise DamagedError(
                f"{path} has labels {list(labels.shape)} from {low} to {high}: {name} has {len(classes)} classes: "
                f"{AGAIN}"
            )
    return layout


def read_medmnist_set(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Loaded:
    """A set of MedMNIST in two dimensions, with the source's split into train, validation and test.

    folder: holds NAME.npz (28 pixels) or NAME_SIZE.npz (64, 128, 224 pixels).
    asked: the size is one of these four; the fit is by default the authors' own (``Med``), another is refused.

    The source names no patients: every image counts as its own, so an interval clustered by patient is too
    narrow. Raises InputError for an unknown size, and where the file is missing.
    """
    name, size = source.name, asked.size
    if size not in MEDMNIST_SIZES:
        raise InputError(f"{name} has no images of {size} pixels: set the image size to 28, 64, 128 or 224")
    file = source.files[MEDMNIST_SIZES.index(size)]
    path = find(folder, file.name)
    if path is None:
        if not download:
            raise InputError(
                f"no {file.name} in {folder}: place it there from {file.url}, or turn download on"
            )
        path = fetch(file.url, folder / file.name, md5=file.md5)
    return read_medmnist(path, name, asked)


def _file(name: str, size: int) -> File:
    stem = name if size == 28 else f"{name}_{size}"
    url = f"{MEDMNIST_RECORD}/files/{stem}.npz?download=1"
    return File(f"{stem}.npz", url, md5=MEDMNIST[name].md5[MEDMNIST_SIZES.index(size)])


_REPACKED = {"pneumoniamnist.npz": "20568c3c8f7ddebe016ab049006f1eb241ab4249e8eff13c3a5d09d11900d8b0"}


def _public_set(name: str) -> PublicSet:
    return PublicSet(
        name=name,
        read=read_medmnist_set,
        homepage=MEDMNIST_RECORD,
        licence=MEDMNIST[name].licence,
        citation=f"Yang et al. 2023, MedMNIST v2, Scientific Data 10:41; {MEDMNIST[name].source}",
        placement=f"place {name}.npz from {MEDMNIST_RECORD} there",
        files=tuple(_file(name, size) for size in MEDMNIST_SIZES),
        prepared=_REPACKED if name == "pneumoniamnist" else {},
    )


MEDMNIST_PUBLIC = {name: _public_set(name) for name in MEDMNIST}
