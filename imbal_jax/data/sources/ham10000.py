"""HAM10000: dermatoscopic images of pigmented skin lesions in seven classes (Tschandl et al. 2018)."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import COLOUR_DROPPED, AskedGeometry, Geometry, published_picture
from imbal_jax.data.sources.archives import AGAIN, find, pictures
from imbal_jax.data.sources.npz_copies import JPEGS, Expected, check_labels, jpegs, read_condensed
from imbal_jax.data.sources.public_set import (
    Example,
    File,
    Loaded,
    PublicSet,
    Streamed,
    grey_notes,
    shrunk_note,
)
from imbal_jax.data.tables.csv_table import spelling
from imbal_jax.data.tables.table_file import read_table_text
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError

CLASSES = ("nv", "bkl", "mel", "bcc", "akiec", "vasc", "df")
"""Melanocytic nevus, which is benign and two thirds of the images, and the others by their number: benign keratosis,
melanoma, basal cell carcinoma, actinic keratosis, vascular lesion, dermatofibroma."""

TABLE = "HAM10000_metadata"
TEST_TABLE = "ISIC2018_Task3_Test_GroundTruth"
BY_LESION = "HAM10000 names no patients: each lesion counts as one"
ENDINGS = (
    ".csv",
    ".tab",
    "",
    ".csv.gz",
)  # as Kaggle, Dataverse's tabular form and Dataverse's original name it
CONDENSED = "ham10000_200x150.npz"
_ARRAYS: Expected = {
    "labels": (np.integer, ("N",)),
    "classes": (np.str_, ("C",)),
    "lesion": (np.str_, ("N",)),
}
_LARGEST = {
    "pad": 200,
    "squeeze": 200,
    "crop": 150,
    "square": 150,
}  # side for which the condensed copy suffices

Table = dict[str, tuple[str, int]]
"""Image id -> lesion, class."""


def ham10000_table(path: Path) -> Table:
    """The rows of HAM10000_metadata; InputError, with the line, for other columns, an empty cell or another class."""
    text = read_table_text(path)
    places = {spelling(heading): place for place, heading in enumerate(text.headings)}
    wanted = ("image_id", "lesion_id", "dx")
    if any(spelling(heading) not in places for heading in wanted):
        raise InputError(f"{path} line 1: expected {', '.join(wanted)} among the headings")
    image_at, lesion_at, class_at = (places[spelling(heading)] for heading in wanted)
    rows: Table = {}
    for line, cells in text.rows:
        if not cells[image_at] or not cells[lesion_at]:
            raise InputError(f"{path} line {line}: expected an image_id and a lesion_id: {AGAIN}")
        if cells[class_at] not in CLASSES:
            raise InputError(f"{path} line {line}: dx is none of {', '.join(CLASSES)}: {AGAIN}")
        row = cells[lesion_at], CLASSES.index(cells[class_at])
        if rows.setdefault(cells[image_at], row) != row:
            raise InputError(
                f"{path} line {line}: an earlier line says something else about the same image: {AGAIN}"
            )
    return rows


def read_ham10000(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Loaded:
    """All images of a folder, in colour unless one channel is asked for.

    folder: holds HAM10000_metadata (.csv, .tab or without an ending) and HAM10000_images_part_1 and _part_2, as ZIP
        archives or as folders, or any of their JPEG files; rows without a picture are left out, and so are images
        that ISIC2018_Task3_Test_GroundTruth lists. Or the condensed ham10000_200x150.npz, whose pictures have the
        proportions of the source, so that any fit can be made from them.

    Groups are lesions: the source names no patients. The source has no split. Raises InputError for a missing
    table, a picture that no table lists, another class, and a size that the condensed copy does not have.
    """
    condensed = condensed_copy(folder, asked)
    if condensed:
        return _read_condensed(condensed, asked.geometry(channels=3)), None
    streamed = _stream_files(source, folder, asked, download)
    read = sorted(streamed.examples, key=lambda example: example.id)
    if not read:
        raise InputError(f"no images of {TABLE} in {folder}: {source.placement}")
    data = Dataset(
        images=np.stack([example.pixels for example in read]),
        labels=np.array([example.labels[0] for example in read], np.int32),
        groups=np.array([example.patient for example in read]),
        classes=CLASSES,
        notes=streamed.notes(),
        geometry=streamed.geometry,
        grouped_by="lesion",
    )
    return data, None


def stream_ham10000(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Streamed | None:
    """The images that ``read_ham10000`` reads, one after the other; None where the condensed copy is read."""
    return None if condensed_copy(folder, asked) else _stream_files(source, folder, asked, download)


def _stream_files(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Streamed:
    if find_table(folder, TABLE) is None or not any(pictures(folder, ".jpg")):
        source.fetch(folder, download)
    path = find_table(folder, TABLE)
    if path is None:
        raise InputError(f"no {TABLE}.csv in {folder}: {source.placement}")
    table, test, geometry = ham10000_table(path), _test_images(folder), asked.geometry(channels=3)
    read = dropped = left_out = 0

    def examples() -> Iterator[Example]:
        nonlocal read, dropped, left_out
        for name, data in pictures(folder, ".jpg"):
            image = Path(name).stem
            if image not in table:
                if image not in test:
                    raise InputError(
                        f"a picture in {folder} is not in {path.name}: remove it, or place {TEST_TABLE}.csv there "
                        "if it is one of the challenge's test images, which are left out"
                    )
                left_out += 1
                continue
            pixels, flags = published_picture(geometry, data, f"a picture in {folder}")
            read, dropped = read + 1, dropped + (COLOUR_DROPPED in flags)
            lesion, label = table[image]
            yield Example(image, lesion, [label], pixels)

    def notes() -> tuple[str, ...]:
        said = [BY_LESION, *grey_notes(dropped)]
        if left_out:
            said.append(f"{left_out:,} test images of the ISIC 2018 challenge left out")
        if read < len(table):
            said.append(f"{len(table) - read:,} of {len(table):,} rows of {path.name} have no picture there")
        return tuple(said)

    return Streamed(CLASSES, examples(), lambda ids: None, geometry, notes)


def find_table(folder: Path, name: str) -> Path | None:
    """The table of this name, under any of ``ENDINGS``; None where it is absent."""
    return next((path for ending in ENDINGS if (path := find(folder, name + ending)) is not None), None)


def _test_images(folder: Path) -> frozenset[str]:
    """Ids of the challenge's test images, where their table lies in the folder."""
    path = find_table(folder, TEST_TABLE)
    if path is None:
        return frozenset()
    text = read_table_text(path)
    headings = [spelling(heading) for heading in text.headings]
    # Dataverse's table has the columns of HAM10000_metadata, the challenge's own has one a class.
    place = next((headings.index(name) for name in ("imageid", "image") if name in headings), None)
    if place is None:
        raise InputError(f"{path} line 1: expected image_id or image among the headings")
    return frozenset(cells[place] for _, cells in text.rows)


def condensed_copy(folder: Path, asked: AskedGeometry) -> Path | None:
    """The condensed copy, where it is to be read; InputError where it is too small and all that there is."""
    condensed = find(folder, CONDENSED)
    largest = _LARGEST[asked.fit or "pad"]
    if condensed is None or asked.size <= largest:
        return condensed
    if not any(pictures(folder, ".jpg")):
        raise InputError(
            f"{condensed} holds pictures of 200x150, {asked.size} is asked: ask for at most {largest} pixels, or "
            "place the source's JPEG files beside it"
        )
    return None


def _read_condensed(condensed: Path, geometry: Geometry) -> Dataset:
    arrays = read_condensed(condensed, {**JPEGS, **_ARRAYS})
    names = arrays["classes"].tolist()
    check_labels(condensed, arrays["labels"], names)
    if not set(names) <= set(CLASSES):
        raise DamagedError(f"{condensed} has classes that are none of {', '.join(CLASSES)}: {AGAIN}")
    labels = np.array([CLASSES.index(name) for name in names], np.int32)[arrays["labels"]]
    return of_condensed(condensed, arrays, geometry, labels, CLASSES)


def of_condensed(
    condensed: Path,
    arrays: Mapping[str, np.ndarray],
    geometry: Geometry,
    labels: np.ndarray,
    classes: tuple[str, ...],
) -> Dataset:
    """The pictures of the condensed copy, whose ``arrays`` were read, with labels of them; grouped by lesion."""
    read = partial(published_picture, geometry, name=f"a picture in {condensed}")
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(read, jpegs(condensed, arrays)))
    dropped = sum(COLOUR_DROPPED in flags for _, flags in decoded)
    return Dataset(
        np.stack([image for image, _ in decoded]),
        labels,
        arrays["lesion"],
        classes,
        (BY_LESION, shrunk_note(condensed), *grey_notes(dropped)),
        geometry,
        grouped_by="lesion",
    )


DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile"
HAM10000 = PublicSet(
    name="ham10000",
    read=read_ham10000,
    read_stream=stream_ham10000,
    homepage="https://doi.org/10.7910/DVN/DBW86T",
    licence="CC BY-NC 4.0",
    citation="Tschandl, Rosendahl and Kittler 2018, The HAM10000 dataset, a large collection of multi-source "
    "dermatoscopic images of common pigmented skin lesions, Scientific Data 5:180161",
    placement="place HAM10000_metadata.csv, HAM10000_images_part_1.zip and HAM10000_images_part_2.zip (2.8 GB) from "
    "https://doi.org/10.7910/DVN/DBW86T there",
    files=(  # MD5 as Dataverse shows them; it computes none for the original form of a table
        File("HAM10000_metadata.csv", f"{DATAVERSE}/4338392?format=original"),
        File("HAM10000_images_part_1.zip", f"{DATAVERSE}/3172585", md5="4639bfa73ab251610530a97c898e6e46"),
        File("HAM10000_images_part_2.zip", f"{DATAVERSE}/3172584", md5="da43d6cc50f6613013be07e8986b384b"),
    ),
    prepared={CONDENSED: "e21dd40c591c0935b8fc876ee6a73040e84677fe01ad0ab78d6a82b540731852"},
)
