"""NIH ChestX-ray14: frontal chest X-rays with 14 labels mined from reports (Wang et al. 2017)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import COLOUR_DROPPED, AskedGeometry, Geometry, published_picture, settle
from imbal_jax.data.images.resize import Fit
from imbal_jax.data.sources.archives import find, pictures
from imbal_jax.data.sources.npz_copies import Expected, check_labels, read_condensed
from imbal_jax.data.sources.public_set import (
    Example,
    File,
    Loaded,
    PublicSet,
    Streamed,
    grey_notes,
    keeps_condensed,
    shrunk_note,
    squeezed_note,
)
from imbal_jax.data.tables.cells import whole_number
from imbal_jax.data.tables.csv_table import decoded, spelling
from imbal_jax.data.tables.table_file import read_table_text
from imbal_jax.errors import InputError
from imbal_jax.files import read_bytes

NIH_LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip

LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
"""The source's own split, which is by patient; validation is to be split off its training list."""

Table = dict[str, tuple[frozenset[str], int]]
"""Image name -> findings, patient."""


def nih_table(path: Path) -> Table:
    """Of Data_Entry_2017*.csv or .csv.gz; InputError, with the line, for other columns or an unknown finding."""
    text = read_table_text(path)
    places = {spelling(heading): place for place, heading in enumerate(text.headings)}
    wanted = ("Image Index", "Finding Labels", "Patient ID")
    absent = [heading for heading in wanted if spelling(heading) not in places]
    if absent:
        raise InputError(f"{path} line 1: expected {', '.join(wanted)} among the headings")
    image, findings_at, patient = (places[spelling(heading)] for heading in wanted)
    rows: Table = {}
    for line, cells in text.rows:
        findings = frozenset(cells[findings_at].split("|")) - {"No Finding"}
        number = whole_number(cells[patient])
        if not cells[image] or number is None:
            raise InputError(
                f"{path} line {line}: expected Image Index, Finding Labels and a Patient ID, a number"
            )
        if not findings <= set(NIH_LABELS):
            raise InputError(
                f"{path} line {line}: {', '.join(findings - set(NIH_LABELS))} is no known finding"
            )
        if rows.setdefault(cells[image], (findings, number)) != (findings, number):
            raise InputError(f"{path} line {line}: an earlier line says something else about the same image")
    return rows


def nih_labels(findings: frozenset[str]) -> list[int]:
    """1 or 0 for each of ``NIH_LABELS``."""
    return [int(label in findings) for label in NIH_LABELS]


def nih_images(
    folder: Path, table: Table, geometry: Geometry
) -> Iterator[tuple[str, np.ndarray, tuple[str, ...]]]:
    """Name, array and flags of each image in the folder or its archives, one in memory at a time.

    Raises InputError for an image that the table does not list, or that cannot be decoded.
    """
    for path, data in pictures(folder, ".png"):
        name = Path(path).name
        if name not in table:
            raise InputError(
                f"{name} is not in the table of {folder}: remove the image, or place the table it belongs to"
            )
        yield name, *published_picture(geometry, data, path)


def nih_split(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The indices of ``names`` in the source's training and test lists; None where the folder has no list.

    Raises InputError for one list without the other, and for an image that is in neither or in both.
    """
    paths = {part: path for part, name in LISTS.items() if (path := find(folder, name)) is not None}
    if not paths:
        return None
    if len(paths) < len(LISTS):
        raise InputError(f"{folder} has one of {' and '.join(LISTS.values())}: place both there, or neither")
    listed = {part: set(decoded(read_bytes(path), path.name).split()) for part, path in paths.items()}
    for name in names:
        if sum(name in part for part in listed.values()) != 1:
            raise InputError(f"{name} is not in just one of {' and '.join(LISTS.values())}: fetch them again")
    return {
        part: np.flatnonzero([name in there for name in names]).astype(np.int64)
        for part, there in listed.items()
    }


_CONDENSED: Expected = {
    "images": (np.uint8, ("N", 64, 64)),
    "labels": (np.integer, ("N", "L")),
    "classes": (np.str_, ("L",)),
    "patient_id": (np.integer, ("N",)),
}


def read_nih(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Loaded:
    """All images of a folder.

    folder: holds Data_Entry_2017_v2020.csv (or .csv.gz) and images, as PNG files in any subfolder or inside
        images_*.tar.gz; or the condensed nih1000_64.npz. Images that are not there are left out. With
        train_val_list.txt and test_list.txt beside them the split is the source's own, which is by patient.

    Groups are the source's Patient ID. Raises InputError for a missing table, an image that the table does not
    list, and a finding that is none of the 14.
    """
    condensed = _condensed_copy(folder, asked.fit)
    if condensed:
        return _read_condensed(condensed, asked), None
    streamed = _stream_files(source, folder, asked, download)
    read = sorted(streamed.examples, key=lambda example: example.id)
    if not read:
        raise InputError(f"no images in {folder}: {source.placement}")
    data = Dataset(
        images=np.stack([example.pixels for example in read]),
        labels=np.array([example.labels for example in read], np.int8),
        groups=np.array([int(example.patient) for example in read], np.int64),
        classes=NIH_LABELS,
        notes=streamed.notes(),
        geometry=streamed.geometry,
    )
    return data, streamed.split([example.id for example in read])


def stream_nih(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Streamed | None:
    """The images that ``read_nih`` reads, one after the other; None where the condensed copy is read."""
    return None if _condensed_copy(folder, asked.fit) else _stream_files(source, folder, asked, download)


def _stream_files(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Streamed:
    path = find(folder, "Data_Entry_2017*.csv") or find(folder, "Data_Entry_2017*.csv.gz")
    if path is None:
        raise InputError(f"no Data_Entry_2017_v2020.csv in {folder}: {source.placement}")
    if not any(pictures(folder, ".png")):
        source.fetch(folder, download)
    table, geometry = nih_table(path), asked.geometry()
    dropped = 0

    def examples() -> Iterator[Example]:
        nonlocal dropped
        for name, pixels, flags in nih_images(folder, table, geometry):
            dropped += COLOUR_DROPPED in flags
            yield Example(name, str(table[name][1]), nih_labels(table[name][0]), pixels)

    return Streamed(NIH_LABELS, examples(), partial(nih_split, folder), geometry, lambda: grey_notes(dropped))


def _read_condensed(condensed: Path, asked: AskedGeometry) -> Dataset:
    if asked.size > 64:
        raise InputError(
            f"{condensed} holds 64x64 images, {asked.size} is asked: place the source's PNG files instead"
        )
    arrays = read_condensed(condensed, _CONDENSED)
    geometry = replace(asked, fit="squeeze").geometry()
    classes = tuple(map(str, arrays["classes"]))
    check_labels(condensed, arrays["labels"], classes, many=True)
    notes = (squeezed_note(condensed), shrunk_note(condensed))
    labels, groups = arrays["labels"].astype(np.int8), arrays["patient_id"]
    return Dataset(geometry.arrays(arrays["images"]), labels, groups, classes, notes, geometry)


def _condensed_copy(folder: Path, fit: Fit | None) -> Path | None:
    """The condensed copy, where it is to be read; InputError where it has another fit and is all that there is."""
    condensed = find(folder, "nih1000_64.npz")
    if condensed and not keeps_condensed(fit):
        if not any(pictures(folder, ".png")):
            settle(
                fit, "squeeze", condensed, "set --data.fit squeeze, or place the source's PNG files beside it"
            )
        return None
    return condensed


_ARCHIVES = (  # file of nihcc.box.com, MD5 from the source's FAQ_CHESTXRAY.pdf, question 7
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
NIH = PublicSet(
    name="nih",
    read=read_nih,
    read_stream=stream_nih,
    homepage="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    licence="no restriction of use; link to the download site and acknowledge the NIH Clinical Center",
    citation="Wang et al. 2017, ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR",
    placement="place Data_Entry_2017_v2020.csv, images_001.tar.gz to images_012.tar.gz (42 GB; any of them will "
    "do) and, for the official split, train_val_list.txt and test_list.txt from "
    "https://nihcc.app.box.com/v/ChestXray-NIHCC there",
    files=tuple(
        File(f"images_{i:03}.tar.gz", f"https://nihcc.box.com/shared/static/{key}.gz", md5=md5)
        for i, (key, md5) in enumerate(_ARCHIVES, 1)
    ),
    prepared={"nih1000_64.npz": "b70b5690d6e42bfe087c7c855d29ef1db98566f89d0415eb508432e4e1ff5924"},
)
