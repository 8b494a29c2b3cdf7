"""Public data sets, read from what their sources publish or from a prepared copy of it."""

import csv
import gzip
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from imbal_jax.data.cifar import read_cifar10
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.download import fetch
from imbal_jax.data.pictures import decode, square
from imbal_jax.errors import InputError

Loaded = tuple[Dataset, dict[str, np.ndarray] | None]
"""The data set, and the source's own split (name -> indices) where it is to be used."""


@dataclass(frozen=True)
class File:
    """A published file. md5, sha256: None where the source publishes no checksum."""

    name: str
    url: str
    md5: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class PublicSet:
    """Where a public data set comes from, and how it is read.

    load: (folder, *, size, download) -> Loaded. files: what ``download=True`` fetches. placement: what to put
    into the folder by hand. prepared: SHA-256 of the condensed copies that published results were made with.
    """

    load: Callable[..., Loaded]
    homepage: str
    licence: str
    citation: str
    placement: str
    files: tuple[File, ...]
    prepared: Mapping[str, str] = field(default_factory=dict)


def kermany(folder: Path | None, *, size: int, binary: bool = False, download: bool = False) -> Loaded:
    """Paediatric chest X-rays: normal, bacterial, viral pneumonia (Kermany et al. 2018).

    folder: holds ChestXRay2017.zip (or a .tar.gz of it), the chest_xray folder out of it, or the condensed
        kermany_224_jpeg.npz, kermany_64.npz. size: side of the square that an image is squeezed to, pixels.
    binary: merge the two pneumonias (classes normal, pneumonia).

    The patient of a pneumonia is the number in its file name, which bacteria and virus share; normals are
    numbered apart. The source's train and test folders share patients, so no split is returned. Raises
    InputError where the folder holds none of these.
    """
    folder = _folder(folder, "kermany")
    jpeg, small = _find(folder, "kermany_224_jpeg.npz"), _find(folder, "kermany_64.npz")
    if small and (size == 64 or (size < 64 and not jpeg)):
        with np.load(small) as arrays:
            images = _stack([square(Image.fromarray(image), size) for image in arrays["images"]])
            names, labels = arrays["patient"], arrays["labels"]
    elif jpeg:
        with np.load(jpeg) as arrays:
            data, ends = arrays["jpeg"], arrays["offsets"]
            images = _stack([decode(data[a:b].tobytes(), size) for a, b in pairwise(ends)])
            names, labels = arrays["patient"], arrays["labels"]
    elif small:
        raise InputError(f"{small} holds 64x64 images, {size} is asked: place kermany_224_jpeg.npz beside it")
    else:
        names, images, labels = _kermany_files(folder, size, download)
    groups = np.array([_kermany_patient(str(name)) for name in names])
    labels = np.asarray(labels, np.int32)
    if binary:
        return Dataset(images, np.minimum(labels, 1), groups, ("normal", "pneumonia")), None
    return Dataset(images, labels, groups, ("normal", "bacteria", "virus")), None


def _kermany_files(folder: Path, size: int, download: bool) -> tuple[list[str], np.ndarray, list[int]]:
    if not any(_pictures(folder, ".jpeg")):
        _download("kermany", folder, download)
    read = sorted((Path(name).name, decode(data, size, name)) for name, data in _pictures(folder, ".jpeg"))
    names = [name for name, _ in read]
    return names, _stack([image for _, image in read]), [_kermany_label(name) for name in names]


def _kermany_label(name: str) -> int:
    for label, mark in ((1, "bacteria"), (2, "virus"), (0, "normal"), (0, "im-")):
        if mark in name.lower():
            return label
    raise InputError(f"{name} names no class: expected person1_bacteria_1.jpeg, IM-0115-0001.jpeg or so")


def _kermany_patient(name: str) -> str:
    """P<number> of a pneumonia, N<number> or N2-<number> of a normal, from a file name or a short form of it."""
    pneumonia = re.match(r"(?:person|bacteria-|virus-|[PBV]-?)0*(\d+)", name, re.IGNORECASE)
    if pneumonia:
        return f"P{pneumonia[1]}"
    normal = re.match(r"(NORMAL2|N2)?(?:NORMAL|N)?-?(?:IM-)?0*(\d+)", name)
    if normal:
        return f"{'N2-' if normal[1] else 'N'}{normal[2]}"
    raise InputError(f"{name} names no patient: expected person1_bacteria_1.jpeg, IM-0115-0001.jpeg or so")


NIH_LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip


def nih(folder: Path | None, *, size: int, download: bool = False) -> Loaded:
    """NIH ChestX-ray14: frontal chest X-rays with 14 labels mined from reports (Wang et al. 2017).

    folder: holds Data_Entry_2017_v2020.csv (or .csv.gz) and images, as PNG files in any subfolder or inside
        images_*.tar.gz; or the condensed nih1000_64.npz. Images that are not there are left out.
    size: side of the square that an image is resized to, pixels.

    Groups are the source's Patient ID. Raises InputError for a missing table, an image that the table does not
    list, a finding that is none of the 14.
    """
    folder = _folder(folder, "nih")
    prepared = _find(folder, "nih1000_64.npz")
    if prepared:
        if size > 64:
            raise InputError(
                f"{prepared} holds 64x64 images, {size} is asked: place the source's PNG files instead"
            )
        with np.load(prepared) as arrays:
            images = _stack([square(Image.fromarray(image), size) for image in arrays["images"]])
            classes = tuple(map(str, arrays["classes"]))
            return Dataset(images, arrays["labels"].astype(np.int8), arrays["patient_id"], classes), None

    table = _find(folder, "Data_Entry_2017*.csv") or _find(folder, "Data_Entry_2017*.csv.gz")
    if table is None:
        raise InputError(f"no Data_Entry_2017_v2020.csv in {folder}: {PUBLIC['nih'].placement}")
    if not any(_pictures(folder, ".png")):
        _download("nih", folder, download)
    rows = _nih_table(table)
    read = sorted((Path(name).name, decode(data, size, name)) for name, data in _pictures(folder, ".png"))
    unlisted = next((name for name, _ in read if name not in rows), None)
    if unlisted:
        raise InputError(f"{unlisted} is not in {table}: remove the image, or place the table it belongs to")
    labels = np.array([[label in rows[name][0] for label in NIH_LABELS] for name, _ in read], np.int8)
    patients = np.array([rows[name][1] for name, _ in read], np.int64)
    return Dataset(_stack([image for _, image in read]), labels, patients, NIH_LABELS), None


def _nih_table(path: Path) -> dict[str, tuple[frozenset[str], int]]:
    """Image name -> findings, patient."""
    rows = {}
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            try:
                findings = frozenset(row["Finding Labels"].split("|")) - {"No Finding"}
                rows[row["Image Index"]] = findings, int(row["Patient ID"])
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{path} line {line}: expected Image Index, Finding Labels and Patient ID"
                ) from error
            if not findings <= set(NIH_LABELS):
                raise InputError(
                    f"{path} line {line}: {', '.join(findings - set(NIH_LABELS))} is no known finding"
                )
    return rows


MEDMNIST_CLASSES = {
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal or benign"),
    "chestmnist": NIH_LABELS,
}
MEDMNIST_MD5 = {  # of the files of Zenodo record 10519652, as the record and the authors' package list them
    "pneumoniamnist": "28209eda62fecd6e6a2d98b1501bb15f",
    "pneumoniamnist_64": "8f4eceb4ccffa70c672198ea285246c6",
    "pneumoniamnist_128": "05b46931834c231683c68f40c47b2971",
    "pneumoniamnist_224": "d6a3c71de1b945ea11211b03746c1fe1",
    "breastmnist": "750601b1f35ba3300ea97c75c52ff8f6",
    "breastmnist_64": "742edef2a1fd1524b2efff4bd7ba9364",
    "breastmnist_128": "363e4b3f8d712e9b5de15470a2aaadf1",
    "breastmnist_224": "b56378a6eefa9fed602bb16d192d4c8b",
    "chestmnist": "02c8a6516a18b556561a56cbdd36c4a8",
    "chestmnist_64": "9de6cd0b934ebb5b7426cfba5efbae16",
    "chestmnist_128": "db107e5590b27930b62dbaf558aebee3",
    "chestmnist_224": "45bd33e6f06c3e8cdb481c74a89152aa",
}


def medmnist(
    folder: Path | None, *, size: int = 28, name: str = "pneumoniamnist", download: bool = False
) -> Loaded:
    """A grey-scale MedMNIST set with the source's split into train, validation and test (Yang et al. 2023).

    folder: holds NAME.npz (28 pixels) or NAME_SIZE.npz (64, 128, 224 pixels). size: one of these four.
    name: pneumoniamnist, breastmnist or chestmnist (14 labels).

    The source names no patients: every image counts as its own, so an interval clustered by patient is too
    narrow. Raises InputError for an unknown name or size, and where the file is missing.
    """
    if name not in MEDMNIST_CLASSES:
        raise InputError(f"{name} is not among {', '.join(MEDMNIST_CLASSES)}")
    stem = name if size == 28 else f"{name}_{size}"
    if stem not in MEDMNIST_MD5:
        raise InputError(f"{name} has no images of {size} pixels: set the image size to 28, 64, 128 or 224")
    folder = _folder(folder, "pneumoniamnist")
    path = _find(folder, f"{stem}.npz")
    if path is None:
        file = _medmnist_file(stem)
        if not download:
            raise InputError(
                f"no {file.name} in {folder}: place it there from {file.url}, or turn download on"
            )
        path = fetch(file.url, folder / file.name, md5=file.md5)
    with np.load(path) as arrays:
        parts = [(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "val", "test")]
    images = np.concatenate([part for part, _ in parts])[..., None]
    labels = np.concatenate([part for _, part in parts])
    labels = labels.astype(np.int8) if labels.shape[1] > 1 else labels[:, 0].astype(np.int32)
    ends = np.cumsum([len(part) for part, _ in parts])
    splits = np.split(np.arange(len(images)), ends[:-1])
    data = Dataset(images, labels, np.arange(len(images)), MEDMNIST_CLASSES[name])
    return data, dict(zip(("train", "validation", "test"), splits, strict=True))


def _medmnist_file(stem: str) -> File:
    url = f"https://zenodo.org/records/10519652/files/{stem}.npz?download=1"
    return File(f"{stem}.npz", url, md5=MEDMNIST_MD5[stem])


def cifar10(folder: Path | None, *, size: int, download: bool = False) -> Loaded:
    """CIFAR-10 with its own split: see ``cifar.read_cifar10``."""
    folder = _folder(folder, "cifar10")
    found = read_cifar10(folder, size)
    if found is None:
        _download("cifar10", folder, download)
        found = read_cifar10(folder, size)
    return found


# Reading


def _folder(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise InputError(f"the folder of the {name} images is not given: {PUBLIC[name].placement}")
    return Path(folder)


def _download(name: str, folder: Path, allowed: bool) -> None:
    source = PUBLIC[name]
    if not allowed:
        raise InputError(f"no images in {folder}: {source.placement}, or turn download on")
    for file in source.files:
        fetch(file.url, folder / file.name, md5=file.md5, sha256=file.sha256)


def _find(folder: Path, pattern: str) -> Path | None:
    """The first match in the folder or, failing that, in one of its subfolders."""
    return next(iter([*sorted(folder.glob(pattern)), *sorted(folder.glob(f"*/{pattern}"))]), None)


def _pictures(folder: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each picture below the folder, or, where there is none, in the archives there."""

    def wanted(name: str) -> bool:
        return name.lower().endswith(suffix) and not Path(name).name.startswith("._")  # macOS droppings

    loose = [path for path in folder.rglob("*") if wanted(path.name)]
    for path in loose:
        yield str(path), path.read_bytes()
    if loose:
        return
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in filter(wanted, archive.namelist()):
                yield name, archive.read(name)
    for path in sorted([*folder.glob("*.tar.gz"), *folder.glob("*.tgz")]):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and wanted(member.name):
                    yield member.name, archive.extractfile(member).read()


def _stack(images: list[np.ndarray]) -> np.ndarray:
    return np.stack(images)[..., None]


_KERMANY = PublicSet(
    load=kermany,
    homepage="https://data.mendeley.com/datasets/rscbjbr9sj/2",
    licence="CC BY 4.0",
    citation="Kermany et al. 2018, Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep "
    "Learning, Cell 172:1122-1131",
    placement="place ChestXRay2017.zip (1.2 GB) from https://data.mendeley.com/datasets/rscbjbr9sj/2 there",
    files=(  # Mendeley's page shows no checksum
        File(
            "ChestXRay2017.zip",
            "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
            "f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded",
        ),
    ),
    prepared={
        "kermany_224_jpeg.npz": "c6d7892c322feaf91df81d05541a47c6612dd6604ec371fa116a137860e69cde",
        "kermany_64.npz": "38cf1c4d463eb7dd723803fb768e69dcf6a3fc0040765c67199e2dcc94eeaa57",
    },
)
_NIH_ARCHIVES = (  # file of nihcc.box.com, MD5 from the source's FAQ_CHESTXRAY.pdf, question 7
    ("vfk49d74nhbxq3nqjg0900w5nvkorp5c", "fe8ed0a6961412fddcbb3603c11b3698"),
    ("i28rlmbvmfjbl8p2n3ril0pptcmcu9d1", "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
    ("f1t00wrtdk94satdfb9olcolqx20z2jp", "2301d03bde4c246388bad3876965d574"),
    ("0aowwzs5lhjrceb3qp67ahp0rd1l1etg", "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
    ("v5e3goj22zr6h8tzualxfsqlqaygfbsn", "1861f3cd0ef7734df8104f2b0309023b"),
    ("asi7ikud9jwnkrnkj99jnpfkjdes7l6l", "456b53a8b351afd92a35bc41444c58c8"),
    ("jn1b4mw4n6lnh74ovmcjb8y48h8xj07n", "1075121ea20a137b87f290d6a4a5965e"),
    ("tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j", "b61f34cec3aa69f295fbb593cbd9d443"),
    ("upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj", "442a3caa61ae9b64e61c561294d1e183"),
    ("l6nilvfa9cg3s28tqv1qc1olm3gnz54p", "09ec81c4c31e32858ad8cf965c494b74"),
    ("hhq8fkdgvcari67vfhs7ppg2w6ni4jze", "499aefc67207a5a97692424cf5dbeed5"),
    ("ioqwiy20ihqwyr8pf4c24eazhh281pbu", "dc9fda1757c2de0032b63347a7d2895c"),
)

PUBLIC: dict[str, PublicSet] = {
    "kermany": _KERMANY,
    "kermany_pneumonia": replace(_KERMANY, load=partial(kermany, binary=True)),
    "nih": PublicSet(
        load=nih,
        homepage="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        licence="no restriction of use; link to the download site and acknowledge the NIH Clinical Center",
        citation="Wang et al. 2017, ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR",
        placement="place Data_Entry_2017_v2020.csv and images_001.tar.gz to images_012.tar.gz (42 GB; any of them "
        "will do) from https://nihcc.app.box.com/v/ChestXray-NIHCC there",
        files=tuple(
            File(f"images_{i:03}.tar.gz", f"https://nihcc.box.com/shared/static/{key}.gz", md5=md5)
            for i, (key, md5) in enumerate(_NIH_ARCHIVES, 1)
        ),
        prepared={"nih1000_64.npz": "b70b5690d6e42bfe087c7c855d29ef1db98566f89d0415eb508432e4e1ff5924"},
    ),
    "pneumoniamnist": PublicSet(
        load=medmnist,
        homepage="https://zenodo.org/records/10519652",
        licence="CC BY 4.0",
        citation="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41; images of Kermany et al. 2018",
        placement="place pneumoniamnist.npz from https://zenodo.org/records/10519652 there",
        files=tuple(_medmnist_file(stem) for stem in MEDMNIST_MD5 if stem.startswith("pneumonia")),
        prepared={"pneumoniamnist.npz": "20568c3c8f7ddebe016ab049006f1eb241ab4249e8eff13c3a5d09d11900d8b0"},
    ),
    "cifar10": PublicSet(
        load=cifar10,
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated",
        citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        placement="place cifar-10-binary.tar.gz (170 MB) from https://www.cs.toronto.edu/~kriz/cifar.html there",
        files=(
            File(
                "cifar-10-binary.tar.gz",
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                md5="c32a1d4ab5d03f1284b67883e8d87530",  # as the site states it
            ),
        ),
        prepared={
            "train.npz": "3f8743ce242504238dd3e283dd3906c479b37ba595f0952dc8f33c9467dc6cd4",
            "test.npz": "95e2e82dd7fb09f8a7cd79a85f21c3f16d9c4dafaeb6e26e85193169d9e5b5c7",
        },
    ),
}
