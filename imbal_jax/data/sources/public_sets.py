"""Public data sets, read from what their sources publish or from a prepared copy of it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import COLOUR_DROPPED, Geometry, published_picture, settle
from imbal_jax.data.images.resize import Fit
from imbal_jax.data.sources.archives import find, pictures
from imbal_jax.data.sources.cifar import read_cifar10
from imbal_jax.data.sources.download import fetch
from imbal_jax.data.sources.medmnist import MEDMNIST, MEDMNIST_RECORD, MEDMNIST_SIZES, read_medmnist
from imbal_jax.data.sources.nih import NIH_LABELS, nih_images, nih_labels, nih_split, nih_table
from imbal_jax.data.sources.npz_copies import JPEGS, Expected, check_labels, jpegs, read_condensed
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
class Example:
    """One image [size, size, C] with its public names. labels: one class, or 1 and 0 for each of many."""

    id: str
    patient: str
    labels: list[int]
    pixels: np.ndarray


@dataclass(frozen=True)
class Streamed:
    """A set that need not fit in memory. split: ids -> the source's own split (name -> indices), or None.

    geometry: how its pictures became arrays. notes: what is to be said of it, a line each, once all examples are
    through.
    """

    classes: tuple[str, ...]
    examples: Iterator[Example]
    split: Callable[[Sequence[str]], dict[str, np.ndarray] | None]
    geometry: Geometry
    notes: Callable[[], tuple[str, ...]] = tuple


@dataclass(frozen=True)
class PublicSet:
    """Where a public data set comes from, and how it is read.

    load: (folder, *, size, fit, channels, bits, download) -> Loaded, where a fit or channels of None is what the set
    has. stream: as load, for a set larger than memory, image by image.
    files: what ``download=True`` fetches. placement: what to put into the folder by hand. prepared: SHA-256 of the
    condensed copies that published results were made with.
    """

    load: Callable[..., Loaded]
    homepage: str
    licence: str
    citation: str
    placement: str
    files: tuple[File, ...]
    prepared: Mapping[str, str] = field(default_factory=dict)
    stream: Callable[..., Streamed | None] | None = None


_KERMANY_CLASSES = ("normal", "bacteria", "virus")
_KERMANY_ARRAYS: Expected = {"patient": (np.str_, ("N",)), "labels": (np.integer, ("N",))}


def kermany(
    folder: Path | None,
    *,
    size: int,
    fit: Fit | None = None,
    channels: int | None = None,
    bits: int = 8,
    binary: bool = False,
    download: bool = False,
) -> Loaded:
    """Paediatric chest X-rays: normal, bacterial, viral pneumonia (Kermany et al. 2018).

    folder: holds ChestXRay2017.zip (or a .tar.gz of it), the chest_xray folder out of it, or the condensed
        kermany_224_jpeg.npz, kermany_64.npz, which hold squeezed squares. size, channels, bits: as of ``Geometry``.
    fit: None is "squeeze" where there is a condensed copy, else "pad". With another fit than squeeze, condensed
        copies are passed over for the source's files, or refused where those are not there.
    binary: merge the two pneumonias (classes normal, pneumonia).

    The patient of a pneumonia is the number in its file name, which bacteria and virus share; normals are
    numbered apart. The source's train and test folders share patients, so no split is returned. Raises
    InputError where the folder holds none of these.
    """
    folder = _folder(folder, "kermany")
    jpeg, small = find(folder, "kermany_224_jpeg.npz"), find(folder, "kermany_64.npz")
    condensed, notes = jpeg or small, ()
    if condensed and fit not in (None, "squeeze", "square"):
        if not any(pictures(folder, ".jpeg")):
            settle(
                fit,
                "squeeze",
                condensed,
                "set --data.fit squeeze, or place ChestXRay2017.zip beside it, which is read by any fit",
            )
        condensed = None
    geometry = Geometry(size, "squeeze" if condensed else fit or "pad", channels or 1, bits)
    if condensed:
        notes = (squeezed_note(condensed),)
    if not condensed:
        names, images, labels, dropped = _kermany_files(folder, geometry, download)
        notes = grey_notes(dropped)
    elif jpeg:  # and not the 64-pixel copy, which another filter made
        arrays = read_condensed(jpeg, {**JPEGS, **_KERMANY_ARRAYS})
        names, labels = arrays["patient"], arrays["labels"]
        check_labels(jpeg, labels, _KERMANY_CLASSES)
        read = partial(published_picture, geometry, name=f"a picture in {jpeg}")
        with ThreadPoolExecutor() as pool:
            images = np.stack([image for image, _ in pool.map(read, jpegs(jpeg, arrays))])
    elif size <= 64:
        arrays = read_condensed(small, {"images": (np.uint8, ("N", 64, 64)), **_KERMANY_ARRAYS})
        images, names, labels = geometry.arrays(arrays["images"]), arrays["patient"], arrays["labels"]
        check_labels(small, labels, _KERMANY_CLASSES)
        notes += (shrunk_note(small),)
    else:
        raise InputError(f"{small} holds 64x64 images, {size} is asked: place kermany_224_jpeg.npz beside it")
    groups = np.array([_kermany_patient(str(name)) for name in names])
    labels, classes = np.asarray(labels, np.int32), _KERMANY_CLASSES
    if binary:
        labels, classes = np.minimum(labels, 1), ("normal", "pneumonia")
    return Dataset(images, labels, groups, classes, notes, geometry), None


def _kermany_files(
    folder: Path, geometry: Geometry, download: bool
) -> tuple[list[str], np.ndarray, list[int], int]:
    """Names, images, labels, and how many lost their colour."""
    if not any(pictures(folder, ".jpeg")):
        _download("kermany", folder, download)
    read = sorted(
        (
            (Path(name).name, *published_picture(geometry, data, name))
            for name, data in pictures(folder, ".jpeg")
        ),
        key=lambda item: item[0],
    )
    names = [name for name, *_ in read]
    dropped = sum(COLOUR_DROPPED in flags for *_, flags in read)
    return names, np.stack([image for _, image, _ in read]), [_kermany_label(name) for name in names], dropped


def squeezed_note(condensed: Path) -> str:
    return f"{condensed.name} holds squeezed squares: --data.fit squeeze, for these and all later pictures"


def shrunk_note(condensed: Path) -> str:
    return (
        f"{condensed.name} was shrunk by its maker's filter: pictures that are scored later differ a little"
    )


def grey_notes(dropped: int) -> tuple[str, ...]:
    return (f"{dropped:,} colour pictures made grey: --data.channels 3 keeps them",) if dropped else ()


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


def nih(
    folder: Path | None,
    *,
    size: int,
    fit: Fit | None = None,
    channels: int | None = None,
    bits: int = 8,
    download: bool = False,
) -> Loaded:
    """NIH ChestX-ray14: frontal chest X-rays with 14 labels mined from reports (Wang et al. 2017).

    folder: holds Data_Entry_2017_v2020.csv (or .csv.gz) and images, as PNG files in any subfolder or inside
        images_*.tar.gz; or the condensed nih1000_64.npz. Images that are not there are left out. With
        train_val_list.txt and test_list.txt beside them the split is the source's own, which is by patient.
    size, fit, channels, bits: as for ``kermany``.

    Groups are the source's Patient ID. Raises InputError for a missing table, an image that the table does not
    list, a finding that is none of the 14.
    """
    folder = _folder(folder, "nih")
    prepared = _nih_condensed(folder, fit)
    if prepared:
        if size > 64:
            raise InputError(
                f"{prepared} holds 64x64 images, {size} is asked: place the source's PNG files instead"
            )
        arrays = read_condensed(
            prepared,
            {
                "images": (np.uint8, ("N", 64, 64)),
                "labels": (np.integer, ("N", "L")),
                "classes": (np.str_, ("L",)),
                "patient_id": (np.integer, ("N",)),
            },
        )
        geometry = Geometry(size, "squeeze", channels or 1, bits)
        classes = tuple(map(str, arrays["classes"]))
        check_labels(prepared, arrays["labels"], classes, many=True)
        notes = (squeezed_note(prepared), shrunk_note(prepared))
        labels, groups = arrays["labels"].astype(np.int8), arrays["patient_id"]
        return Dataset(geometry.arrays(arrays["images"]), labels, groups, classes, notes, geometry), None

    streamed = stream_nih(folder, size=size, fit=fit, channels=channels, bits=bits, download=download)
    read = sorted(streamed.examples, key=lambda example: example.id)
    if not read:
        raise InputError(f"no images in {folder}: {PUBLIC['nih'].placement}")
    data = Dataset(
        images=np.stack([example.pixels for example in read]),
        labels=np.array([example.labels for example in read], np.int8),
        groups=np.array([int(example.patient) for example in read], np.int64),
        classes=NIH_LABELS,
        notes=streamed.notes(),
        geometry=streamed.geometry,
    )
    return data, streamed.split([example.id for example in read])


def _nih_condensed(folder: Path, fit: Fit | None) -> Path | None:
    """The condensed copy, where it is to be read; InputError where it has not the fit and nothing else is there."""
    prepared = find(folder, "nih1000_64.npz")
    if prepared and fit not in (None, "squeeze", "square"):
        if not any(pictures(folder, ".png")):
            settle(
                fit, "squeeze", prepared, "set --data.fit squeeze, or place the source's PNG files beside it"
            )
        return None
    return prepared


def stream_nih(
    folder: Path,
    *,
    size: int,
    fit: Fit | None = None,
    channels: int | None = None,
    bits: int = 8,
    download: bool = False,
) -> Streamed | None:
    """The images of a folder as of ``nih`` one after the other; None where the condensed copy is read."""
    if _nih_condensed(folder, fit):
        return None
    path = find(folder, "Data_Entry_2017*.csv") or find(folder, "Data_Entry_2017*.csv.gz")
    if path is None:
        raise InputError(f"no Data_Entry_2017_v2020.csv in {folder}: {PUBLIC['nih'].placement}")
    if not any(pictures(folder, ".png")):
        _download("nih", folder, download)
    table = nih_table(path)
    geometry = Geometry(size, fit or "pad", channels or 1, bits)
    dropped = 0

    def examples() -> Iterator[Example]:
        nonlocal dropped
        for name, pixels, flags in nih_images(folder, table, geometry):
            dropped += COLOUR_DROPPED in flags
            yield Example(name, str(table[name][1]), nih_labels(table[name][0]), pixels)

    return Streamed(NIH_LABELS, examples(), partial(nih_split, folder), geometry, lambda: grey_notes(dropped))


def medmnist(
    folder: Path | None,
    *,
    size: int = 28,
    fit: Fit | None = None,
    channels: int | None = None,
    bits: int = 8,
    name: str = "pneumoniamnist",
    download: bool = False,
) -> Loaded:
    """A set of MedMNIST in two dimensions, with the source's split into train, validation and test.

    folder: holds NAME.npz (28 pixels) or NAME_SIZE.npz (64, 128, 224 pixels). size: one of these four.
    name: a key of ``MEDMNIST``. fit: None is the authors' own (``medmnist.Med``); another is refused.

    The source names no patients: every image counts as its own, so an interval clustered by patient is too
    narrow. Raises InputError for an unknown name or size, and where the file is missing.
    """
    if name not in MEDMNIST:
        raise InputError(f"{name} is not among {', '.join(MEDMNIST)}")
    if size not in MEDMNIST_SIZES:
        raise InputError(f"{name} has no images of {size} pixels: set the image size to 28, 64, 128 or 224")
    folder, file = _folder(folder, name), _medmnist_file(name, size)
    path = find(folder, file.name)
    if path is None:
        if not download:
            raise InputError(
                f"no {file.name} in {folder}: place it there from {file.url}, or turn download on"
            )
        path = fetch(file.url, folder / file.name, md5=file.md5)
    return read_medmnist(path, name, size=size, fit=fit, channels=channels, bits=bits)


def _medmnist_file(name: str, size: int) -> File:
    stem = name if size == 28 else f"{name}_{size}"
    url = f"{MEDMNIST_RECORD}/files/{stem}.npz?download=1"
    return File(f"{stem}.npz", url, md5=MEDMNIST[name].md5[MEDMNIST_SIZES.index(size)])


def cifar10(
    folder: Path | None,
    *,
    size: int,
    fit: Fit | None = None,
    channels: int | None = None,
    bits: int = 8,
    download: bool = False,
) -> Loaded:
    """CIFAR-10 with its own split: see ``cifar.read_cifar10``."""
    folder = _folder(folder, "cifar10")
    read = partial(read_cifar10, folder, size, fit=fit, channels=channels, bits=bits)
    found = read()
    if found is None:
        _download("cifar10", folder, download)
        found = read()
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


def _medmnist_set(name: str) -> PublicSet:
    return PublicSet(
        load=partial(medmnist, name=name),
        homepage=MEDMNIST_RECORD,
        licence=MEDMNIST[name].licence,
        citation=f"Yang et al. 2023, MedMNIST v2, Scientific Data 10:41; {MEDMNIST[name].source}",
        placement=f"place {name}.npz from {MEDMNIST_RECORD} there",
        files=tuple(_medmnist_file(name, size) for size in MEDMNIST_SIZES),
        prepared=_REPACKED if name == "pneumoniamnist" else {},
    )


_REPACKED = {"pneumoniamnist.npz": "20568c3c8f7ddebe016ab049006f1eb241ab4249e8eff13c3a5d09d11900d8b0"}

PUBLIC: dict[str, PublicSet] = {
    "kermany": _KERMANY,
    "kermany_pneumonia": replace(_KERMANY, load=partial(kermany, binary=True)),
    "nih": PublicSet(
        load=nih,
        stream=stream_nih,
        homepage="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        licence="no restriction of use; link to the download site and acknowledge the NIH Clinical Center",
        citation="Wang et al. 2017, ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR",
        placement="place Data_Entry_2017_v2020.csv, images_001.tar.gz to images_012.tar.gz (42 GB; any of them will "
        "do) and, for the official split, train_val_list.txt and test_list.txt from "
        "https://nihcc.app.box.com/v/ChestXray-NIHCC there",
        files=tuple(
            File(f"images_{i:03}.tar.gz", f"https://nihcc.box.com/shared/static/{key}.gz", md5=md5)
            for i, (key, md5) in enumerate(_NIH_ARCHIVES, 1)
        ),
        prepared={"nih1000_64.npz": "b70b5690d6e42bfe087c7c855d29ef1db98566f89d0415eb508432e4e1ff5924"},
    ),
    **{name: _medmnist_set(name) for name in MEDMNIST},
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
