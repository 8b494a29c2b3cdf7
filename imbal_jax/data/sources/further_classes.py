"""Images of classes that a data set does not have, from a folder of their own, added to its splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.data.dataset import Dataset, Images, ImagesOnDisk, check_labels
from imbal_jax.data.folders.label_source import FOLDERS, find_labels, read_labels
from imbal_jax.data.folders.labelled_folder import Progress, read_labelled_files
from imbal_jax.data.folders.listing import list_files
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.splits.patient_split import shared_patients
from imbal_jax.data.tables.class_folders import class_folder_table
from imbal_jax.data.tables.given_split import PARTS
from imbal_jax.data.tables.labels_table import Table, labels_table
from imbal_jax.errors import InputError


@dataclass(frozen=True)
class ImagesJoined:
    """Images at ``places``, counted through ``first`` and on through ``second``; those on disk are read late."""

    first: Images
    second: Images
    places: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.first.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self.first.dtype

    @property
    def ndim(self) -> int:
        return self.first.ndim

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> np.ndarray:
        """The pixels at an integer, a slice, a mask or integers."""
        asked = np.asarray(self.places[index])
        flat = asked.reshape(-1)
        later = flat >= len(self.first)
        pixels = np.empty((flat.size, *self.shape[1:]), self.dtype)
        pixels[~later] = self.first[flat[~later]]
        pixels[later] = self.second[flat[later] - len(self.first)]
        return pixels.reshape(*asked.shape, *self.shape[1:])

    def select(self, indices: Any) -> ImagesOnDisk:
        """The images at ``indices``, not read."""
        return replace(self, places=self.places[indices])


def read_further_classes(
    where: Path,
    known: tuple[str, ...],
    geometry: Geometry | None,
    cache: Path,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> dict[str, Dataset]:
    """The parts train, validation and test (these may be empty) of the images of other classes than ``known``.

    where: folders that are called as their classes (CLASS/name.png; train/CLASS/name.png and test/CLASS/name.png), or
    files and a table of labels as ``labelled_folder.read_folder`` finds it, in which a column split or such folders
    say what is held out; without either everything is train. geometry: that of the data set; each part's labels count
    from ``len(known)`` on, its ``classes`` are ``known`` and the further ones.

    Raises InputError without a geometry or a further class, where a further class has no image in train, and where a
    patient is in two parts; else as ``read_folder``.
    """
    if geometry is None:
        raise InputError(
            "nothing is known of how the training images were made, so that pictures of further classes cannot be "
            "made alike: train on pictures or on records that say how"
        )
    if not where.is_dir():
        raise InputError(f"no folder {where}")
    source = find_labels(where)
    listing = list_files(where, leave=(source,))
    content, summary = read_labelled_files(
        where,
        _table(where, source, listing.files),
        geometry,
        table_name=source,
        listing=listing,
        cache=cache,
        progress=progress,
    )
    data = Dataset.of_folder(content)
    if data.many_labels:
        raise InputError(f"{where} has many labels an image, and a further class is one label an image")
    for note in data.notes:
        say(f"{where.name}: {note}")
    given = summary.splits or {"train": np.arange(len(data))}
    if sharing := shared_patients(data.groups, given):
        raise InputError(f"the split of {where} {sharing}: split by patient")
    return _further(where, data, given, known, say)


def _table(where: Path, source: str, files: list[str]) -> Table:
    if source == FOLDERS and not (where / FOLDERS).is_file():
        if not files:
            raise InputError(f"there is no image in {where}")
        table = labels_table(class_folder_table(files, lone=True), label_kind="one")
        return replace(table, numbered=False)
    return read_labels(where, source, lambda: files)


def _further(
    where: Path,
    data: Dataset,
    given: Mapping[str, np.ndarray],
    known: tuple[str, ...],
    say: Callable[[str], None],
) -> dict[str, Dataset]:
    """The images of the classes that are not known, with labels from ``len(known)`` on."""
    present = [data.classes[c] for c in np.unique(data.labels)]
    further = [name for name in present if name not in known]
    if not further:
        raise InputError(
            f"{where} has no further class: its images are of {', '.join(present)}, which the run knows"
        )
    place = np.array([len(known) + further.index(n) if n in further else -1 for n in data.classes])
    labels = place[data.labels].astype(np.int32)
    if left := int((labels < 0).sum()):
        say(f"{where.name}: {left} images of classes that the run knows are left out")
    classes = (*known, *further)
    parts = {}
    for name in PARTS:
        rows = np.asarray(given.get(name, np.zeros(0)), np.int64)
        rows = rows[labels[rows] >= 0]
        parts[name] = replace(data, labels=labels, classes=classes).take(rows)
    lacking = [name for c, name in enumerate(further, len(known)) if c not in parts["train"].labels]
    if lacking:
        raise InputError(
            f"{where} has no image of {lacking[0]} to keep, all are held out: put some into its part train"
        )
    check_labels(parts["train"])
    return parts


def with_further(parts: Mapping[str, Dataset], further: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Each of ``parts`` with the images of ``further`` behind its own.

    The patients of ``further`` get names that none of ``parts`` has: they are taken to be others.
    """
    own = [part.groups for part in parts.values()]
    numbered = all(np.asarray(groups).dtype.kind in "iu" for groups in own)
    beyond = max((int(groups.max(initial=-1)) for groups in own), default=-1) + 1 if numbered else 0
    joined = {}
    for name, part in parts.items():
        more = further[name]
        if numbered:
            names: np.ndarray = more.groups.astype(np.int64) + beyond
        else:
            names = np.array([f"beside {len(part.classes)} classes: {k}" for k in more.groups.tolist()], "O")
        joined[name] = replace(
            part,
            images=_images(part.images, more.images),
            labels=np.concatenate([part.labels, more.labels]).astype(part.labels.dtype),
            groups=np.concatenate([part.groups, names]),
            classes=more.classes,
        )
    return joined


def _images(first: Images, second: Images) -> Images:
    if not len(second):
        return first
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.concatenate([first, second])
    return ImagesJoined(first, second, np.arange(len(first) + len(second)))
