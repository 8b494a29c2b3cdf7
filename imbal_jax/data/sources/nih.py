"""NIH ChestX-ray14: its table, its images, its split by patient (Wang et al. 2017)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from imbal_jax.data.images.geometry import Geometry, published_picture
from imbal_jax.data.sources.archives import find, pictures
from imbal_jax.data.tables.cells import whole_number
from imbal_jax.data.tables.csv_table import decoded, read_table_text, spelling
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
    paths = {part: find(folder, name) for part, name in LISTS.items()}
    if not any(paths.values()):
        return None
    if not all(paths.values()):
        raise InputError(f"{folder} has one of {' and '.join(LISTS.values())}: place both there, or neither")
    listed = {part: set(decoded(read_bytes(path), path.name).split()) for part, path in paths.items()}
    for name in names:
        if sum(name in part for part in listed.values()) != 1:
            raise InputError(f"{name} is not in just one of {' and '.join(LISTS.values())}: fetch them again")
    return {
        part: np.flatnonzero([name in there for name in names]).astype(np.int64)
        for part, there in listed.items()
    }
