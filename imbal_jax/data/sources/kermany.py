"""Paediatric chest X-rays: normal, bacterial and viral pneumonia (Kermany et al. 2018)."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import COLOUR_DROPPED, AskedGeometry, Geometry, published_picture, settle
from imbal_jax.data.sources.archives import find, pictures
from imbal_jax.data.sources.npz_copies import JPEGS, Expected, check_labels, jpegs, read_condensed
from imbal_jax.data.sources.public_set import (
    File,
    Loaded,
    PublicSet,
    grey_notes,
    keeps_condensed,
    shrunk_note,
    squeezed_note,
)
from imbal_jax.errors import InputError

CLASSES = ("normal", "bacteria", "virus")
PNEUMONIA_CLASSES = ("normal", "pneumonia")
_ARRAYS: Expected = {"patient": (np.str_, ("N",)), "labels": (np.integer, ("N",))}

Pictures = tuple[list[str], np.ndarray, np.ndarray, tuple[str, ...]]
"""Names of the pictures, images, labels, and notes."""


def read_kermany(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Loaded:
    """The three classes.

    folder: holds ChestXRay2017.zip (or a .tar.gz of it), the chest_xray folder out of it, or the condensed
        kermany_224_jpeg.npz or kermany_64.npz, which hold squeezed squares.
    asked: the fit is "squeeze" by default where there is a condensed copy, else "pad". With another fit than
        squeeze, condensed copies are ignored and the source's files are read; they are refused where there are none.

    The patient of a pneumonia is the number in its file name, which bacteria and virus share; normal patients are
    numbered separately. The source's train and test folders share patients, so no split is returned. Raises
    InputError where the folder holds none of these.
    """
    jpeg, small = find(folder, "kermany_224_jpeg.npz"), find(folder, "kermany_64.npz")
    condensed = jpeg or small
    if condensed and not keeps_condensed(asked.fit):
        if not any(pictures(folder, ".jpeg")):
            settle(
                asked.fit,
                "squeeze",
                condensed,
                "set --data.fit squeeze, or place ChestXRay2017.zip beside it, which is read by any fit",
            )
        condensed = None
    geometry = (replace(asked, fit="squeeze") if condensed else asked).geometry()
    if condensed is None:
        names, images, labels, notes = _read_files(source, folder, geometry, download)
    elif jpeg:  # and not the 64-pixel copy, which was made by another filter
        names, images, labels, notes = _read_jpegs(condensed, geometry)
    else:
        names, images, labels, notes = _read_small(condensed, geometry)
    groups = np.array([_patient(name) for name in names])
    return Dataset(images, labels.astype(np.int32), groups, CLASSES, notes, geometry), None


def read_kermany_pneumonia(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Loaded:
    """``read_kermany`` with both pneumonias as one class."""
    data, split = read_kermany(source, folder, asked, download)
    return replace(data, labels=np.minimum(data.labels, 1), classes=PNEUMONIA_CLASSES), split


def _read_files(source: PublicSet, folder: Path, geometry: Geometry, download: bool) -> Pictures:
    if not any(pictures(folder, ".jpeg")):
        source.fetch(folder, download)
    read = sorted(
        (
            (Path(name).name, *published_picture(geometry, data, name))
            for name, data in pictures(folder, ".jpeg")
        ),
        key=lambda item: item[0],
    )
    names = [name for name, *_ in read]
    dropped = sum(COLOUR_DROPPED in flags for *_, flags in read)
    images = np.stack([image for _, image, _ in read])
    return names, images, np.array([_label(name) for name in names]), grey_notes(dropped)


def _read_jpegs(condensed: Path, geometry: Geometry) -> Pictures:
    arrays = read_condensed(condensed, {**JPEGS, **_ARRAYS})
    check_labels(condensed, arrays["labels"], CLASSES)
    read = partial(published_picture, geometry, name=f"a picture in {condensed}")
    with ThreadPoolExecutor() as pool:
        images = np.stack([image for image, _ in pool.map(read, jpegs(condensed, arrays))])
    return arrays["patient"].tolist(), images, arrays["labels"], (squeezed_note(condensed),)


def _read_small(condensed: Path, geometry: Geometry) -> Pictures:
    if geometry.size > 64:
        raise InputError(
            f"{condensed} holds 64x64 images, {geometry.size} is asked: place kermany_224_jpeg.npz beside it"
        )
    arrays = read_condensed(condensed, {"images": (np.uint8, ("N", 64, 64)), **_ARRAYS})
    images = geometry.arrays(arrays["images"])
    check_labels(condensed, arrays["labels"], CLASSES)
    notes = (squeezed_note(condensed), shrunk_note(condensed))
    return arrays["patient"].tolist(), images, arrays["labels"], notes


def _label(name: str) -> int:
    for label, mark in ((1, "bacteria"), (2, "virus"), (0, "normal"), (0, "im-")):
        if mark in name.lower():
            return label
    raise InputError(f"{name} names no class: expected person1_bacteria_1.jpeg, IM-0115-0001.jpeg or so")


def _patient(name: str) -> str:
    """P<number> of a pneumonia, N<number> or N2-<number> of a normal, from a file name or a short form of it."""
    pneumonia = re.match(r"(?:person|bacteria-|virus-|[PBV]-?)0*(\d+)", name, re.IGNORECASE)
    if pneumonia:
        return f"P{pneumonia[1]}"
    normal = re.match(r"(NORMAL2|N2)?(?:NORMAL|N)?-?(?:IM-)?0*(\d+)", name)
    if normal:
        return f"{'N2-' if normal[1] else 'N'}{normal[2]}"
    raise InputError(f"{name} names no patient: expected person1_bacteria_1.jpeg, IM-0115-0001.jpeg or so")


KERMANY = PublicSet(
    name="kermany",
    read=read_kermany,
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
KERMANY_PNEUMONIA = replace(KERMANY, read=read_kermany_pneumonia)
