"""CHASE_DB1: both retinas of 14 children with the vessels that two observers drew (Fraz et al. 2012)."""

import re
from functools import partial
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import AskedGeometry, published_picture
from imbal_jax.data.sources.archives import pictures
from imbal_jax.data.sources.public_set import File, Loaded, PublicSet, grey_notes
from imbal_jax.data.sources.published_masks import check_size, published_masks
from imbal_jax.errors import InputError

CLASSES = ("background", "vessel")
SPLIT = {"train": range(1, 9), "validation": range(9, 11), "test": range(11, 15)}
"""The patients of each part; mmsegmentation and others train on 1 to 10 and test on 11 to 14."""
PICTURE = re.compile(r"(Image_(\d\d)[LR])\.jpe?g", re.IGNORECASE)


def read_chase(
    observer: str, source: PublicSet, folder: Path, asked: AskedGeometry, download: bool
) -> Loaded:
    """The pictures of a folder that have a mask, in colour unless one channel is asked for; by name.

    observer: "1st" or "2nd", whose masks count. folder: holds ``Image_01L.jpg`` and ``Image_01L_1stHO.png`` (also
        ``_1st``) and so on, or the archive of them, CHASEDB1.zip.

    Labels are masks of background and vessel; the whole picture counts: the source has no field of view. The patient
    is the number, of two eyes each. The split is the usual one, whose test images are those of patients 11 to 14 and
    training images those of 1 to 10, of which 9 and 10 are for validation. Raises InputError where there are no
    such files, and for a mask of another size than its picture.
    """
    geometry = asked.geometry(channels=3)
    name = re.compile(rf"(Image_\d\d[LR])_{observer}(?:HO)?\.png", re.IGNORECASE)
    if not any(PICTURE.fullmatch(Path(path).name) for path, _ in pictures(folder, ".jpg")):
        source.fetch(folder, download)
    masks = published_masks(folder, name, geometry)
    images, labels, patients, dropped, unmarked = [], [], [], 0, 0
    found = [
        (matched, data)
        for path, data in pictures(folder, ".jpg")
        if (matched := PICTURE.fullmatch(Path(path).name)) is not None
    ]
    for matched, data in sorted(found, key=lambda one: one[0][1]):
        if matched[1] not in masks:
            unmarked += 1
            continue
        mask = masks[matched[1]]
        check_size(mask, data, folder)
        pixels, flags = published_picture(geometry, data, f"a picture in {folder}")
        images.append(pixels)
        labels.append(mask.mask)
        patients.append(int(matched[2]))
        dropped += "colour-dropped" in flags
    if not images:
        raise InputError(
            f"{folder} holds no picture with a mask of the {observer} observer: {source.placement}"
        )
    notes = [
        f"vessels as the {observer} observer drew them; the whole picture counts, the source has no field of view"
    ]
    if unmarked:
        notes.append(f"{unmarked} pictures have no mask of the {observer} observer: left out")
    return (
        Dataset(
            np.stack(images),
            np.stack(labels),
            np.array(patients, np.int32),
            CLASSES,
            (*notes, *grey_notes(dropped)),
            geometry,
        ),
        {part: rows for part in SPLIT if len(rows := np.flatnonzero(np.isin(patients, [*SPLIT[part]])))},
    )


def _chase(name: str, observer: str) -> PublicSet:
    return PublicSet(
        name=name,
        read=partial(read_chase, observer),
        homepage="https://researchdata.kingston.ac.uk/96/",
        licence="CC BY 4.0",
        citation="Fraz, Remagnino, Hoppe, Uyyanonvara, Rudnicka, Owen and Barman 2012, An ensemble "
        "classification-based approach applied to retinal blood vessel segmentation, IEEE Transactions on Biomedical "
        "Engineering 59:2538",
        placement="place CHASEDB1.zip (2.5 MB) from https://researchdata.kingston.ac.uk/96/ there",
        files=(
            File(
                "CHASEDB1.zip",
                "https://researchdata.kingston.ac.uk/96/1/CHASEDB1.zip",
                md5="d9e47c4bac125b29996fae4380a68db1",
            ),
        ),
    )


CHASE = _chase("chase", "1st")
CHASE_SECOND = _chase("chase_second", "2nd")
