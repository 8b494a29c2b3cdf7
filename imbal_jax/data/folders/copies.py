"""Decides which copies of a picture are kept, and which patient they belong to."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

# Reasons for leaving out a labelled file that holds the same picture as another.
COPIES = {
    "duplicate": "byte for byte another labelled file, which is kept",
    "conflicting": (
        "the picture of another labelled file, with other labels or another patient, or another picture of the same "
        "SOPInstanceUID that one row asks for: all of them are left out"
    ),
}


@dataclass(frozen=True)
class Copy:
    """A labelled file that was read.

    picture: equal for equal pixels. labels: those of its row. patient: None if unknown. row: the row's number.
    instance: the row asks for one SOPInstanceUID, which identifies one picture.
    """

    picture: Hashable
    labels: tuple[int, ...]
    patient: Hashable | None
    row: int
    instance: bool = False


def settle_copies(files: Sequence[Copy], content: Callable[[int], Hashable]) -> dict[int, str]:
    """Which of ``files`` are left out, by place: the keys of COPIES.

    Files of one picture that contradict each other in labels or patient are all left out, since nobody can tell which
    is right; of those that agree, one is kept of each content, a file with a known patient before others. One row
    that labels several files of one SOPInstanceUID labels none of them where their pictures differ.

    content: of the file at a place, equal for equal bytes; asked only for files that share a picture.
    """
    left: dict[int, str] = {}
    of_row = defaultdict(list)
    for place, file in enumerate(files):
        if file.instance:
            of_row[file.row].append(place)
    for places in of_row.values():
        if len({files[place].picture for place in places}) > 1:
            left |= dict.fromkeys(places, "conflicting")

    of_picture = defaultdict(list)
    for place, file in enumerate(files):
        of_picture[file.picture].append(place)
    for places in of_picture.values():
        if len(places) == 1:
            continue
        labels = {files[place].labels for place in places}
        patients = {files[place].patient for place in places} - {None}
        if len(labels) > 1 or len(patients) > 1:
            left |= dict.fromkeys(places, "conflicting")
            continue
        kept = set()
        for place in sorted(places, key=lambda place: (files[place].patient is None, place)):
            if place in left:
                continue
            bytes_of = content(place)
            if bytes_of in kept:
                left[place] = "duplicate"
            kept.add(bytes_of)
    return left


Patient = TypeVar("Patient")


def patients_by_picture(
    patients: Sequence[Patient], nobody: Sequence[bool] | np.ndarray, pictures: Sequence[Hashable]
) -> list[Patient]:
    """The patient of each image, where an unknown patient is that of an equal picture: both show one person.

    nobody: whether the value in ``patients`` stands for an unknown patient.
    """
    whose: dict[Hashable, Patient] = {}
    for k in np.argsort(nobody, kind="stable"):
        whose.setdefault(pictures[k], patients[k])
    return [whose[pictures[k]] if nobody[k] else patient for k, patient in enumerate(patients)]
