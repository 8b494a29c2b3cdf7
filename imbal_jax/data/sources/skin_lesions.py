"""The masks of the lesions of HAM10000 (Tschandl et al. 2020): which pixels are lesion and which are skin."""

import re
from pathlib import Path

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import COLOUR_DROPPED, AskedGeometry, Geometry, published_picture
from imbal_jax.data.sources.archives import AGAIN, pictures
from imbal_jax.data.sources.ham10000 import (
    BY_LESION,
    DATAVERSE,
    HAM10000,
    TABLE,
    condensed_copy,
    find_table,
    ham10000_table,
    of_condensed,
)
from imbal_jax.data.sources.npz_copies import JPEGS, Expected, read_condensed
from imbal_jax.data.sources.public_set import File, Loaded, PublicSet, grey_notes
from imbal_jax.data.sources.published_masks import check_size, published_masks
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError

CLASSES = ("background", "lesion")
MASK = re.compile(r"(ISIC_\d+)_segmentation\.png", re.IGNORECASE)
_ARRAYS: Expected = {
    "labels": (np.integer, ("N",)),
    "lesion": (np.str_, ("N",)),
    "masks": (np.uint8, ("N", None)),
    "mask_shape": (np.integer, (2,)),
}


def read_skin_lesions(source: PublicSet, folder: Path, asked: AskedGeometry, download: bool) -> Loaded:
    """The pictures of HAM10000 that have a mask, in colour unless one channel is asked for; by image.

    folder: holds HAM10000_metadata, the pictures (as ``ham10000.read_ham10000`` reads them) and the masks,
        HAM10000_segmentations_lesion_tschandl.zip or its files ISIC_0024306_segmentation.png; or the condensed
        ham10000_200x150.npz, which has masks.

    Labels are masks of background and lesion. Groups are lesions: the source names no patients. The source has no
    split. Raises InputError for missing files, and for a mask of another size than its picture.
    """
    geometry = asked.geometry(channels=3)
    condensed = condensed_copy(folder, asked)
    if condensed:
        return _read_condensed(condensed, geometry), None
    if find_table(folder, TABLE) is None or not any(pictures(folder, ".jpg")):
        source.fetch(folder, download)
    path = find_table(folder, TABLE)
    if path is None:
        raise InputError(f"no {TABLE}.csv in {folder}: {source.placement}")
    table = ham10000_table(path)
    masks = published_masks(folder, MASK, geometry)
    found: dict[str, np.ndarray] = {}
    dropped = unmarked = 0
    for name, data in pictures(folder, ".jpg"):
        image = Path(name).stem
        if image not in table or image not in masks:
            unmarked += 1
            continue
        check_size(masks[image], data, folder)
        found[image], flags = published_picture(geometry, data, f"a picture in {folder}")
        dropped += COLOUR_DROPPED in flags
    if not found:
        raise InputError(f"{folder} holds no picture of {TABLE} with a mask: {source.placement}")
    notes = [BY_LESION, *grey_notes(dropped)]
    if unmarked:
        notes.append(f"{unmarked:,} pictures without a mask or a row of {path.name}: left out")
    names = sorted(found)
    data_set = Dataset(
        np.stack([found[name] for name in names]),
        np.stack([masks[name].mask for name in names]),
        np.array([table[name][0] for name in names]),
        CLASSES,
        tuple(notes),
        geometry,
        grouped_by="lesion",
    )
    return data_set, None


def _read_condensed(condensed: Path, geometry: Geometry) -> Dataset:
    arrays = read_condensed(condensed, {**JPEGS, **_ARRAYS})
    rows, columns = map(int, arrays["mask_shape"])
    if not 0 < rows * columns <= 8 * arrays["masks"].shape[1]:
        raise DamagedError(f"{condensed} is damaged (masks have fewer bits than mask_shape says): {AGAIN}")
    masks = np.empty((len(arrays["masks"]), geometry.size, geometry.size), np.int8)
    for place, bits in enumerate(arrays["masks"]):
        stored = np.unpackbits(bits, count=rows * columns).reshape(rows, columns)
        masks[place] = geometry.mask(stored.view(np.int8))
    return of_condensed(condensed, arrays, geometry, masks, CLASSES)


SKIN_LESIONS = PublicSet(
    name="skin_lesions",
    read=read_skin_lesions,
    homepage=HAM10000.homepage,
    licence="CC BY-NC 4.0",
    citation=HAM10000.citation
    + "; masks: Tschandl et al. 2020, Human-computer collaboration for skin cancer recognition, Nature "
    "Medicine 26:1229",
    placement=HAM10000.placement.replace(
        "HAM10000_images_part_1.zip", "HAM10000_segmentations_lesion_tschandl.zip, HAM10000_images_part_1.zip"
    ),
    files=(
        *HAM10000.files,
        File("HAM10000_segmentations_lesion_tschandl.zip", f"{DATAVERSE}/3838943"),
    ),
    prepared=HAM10000.prepared,
)
