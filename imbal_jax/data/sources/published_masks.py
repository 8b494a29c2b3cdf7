"""Masks of public sets: two classes, background and what is not 0."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.mask_file import picture_size, read_mask
from imbal_jax.data.sources.archives import AGAIN, pictures
from imbal_jax.errors import InputError


@dataclass(frozen=True)
class PublishedMask:
    """mask: int8 [size, size], 1 where the file is not 0, -1 beside the picture. shape: [h, w] as stored."""

    mask: np.ndarray
    shape: tuple[int, int]


def published_masks(folder: Path, name: re.Pattern[str], geometry: Geometry) -> Mapping[str, PublishedMask]:
    """The PNG masks in a folder and its archives, by the first group of ``name``, which their names match whole.

    Raises InputError for a file that is no mask, and for two masks of one picture.
    """
    found: dict[str, PublishedMask] = {}
    for path, data in pictures(folder, ".png"):
        matched = name.fullmatch(Path(path).name)
        if matched is None:
            continue
        if matched[1] in found:
            raise InputError(f"two masks in {folder} are of one picture: keep one of them")
        try:
            stored = read_mask(data)
        except MaskError as error:
            raise InputError(f"a mask in {folder} {error}: {AGAIN}") from None
        rows, columns = stored.shape
        found[matched[1]] = PublishedMask(geometry.mask((stored > 0).astype(np.int8)), (rows, columns))
    return found


def check_size(mask: PublishedMask, picture: bytes, folder: Path) -> None:
    """InputError where a mask has another size than its picture."""
    height, width, _ = picture_size(picture)
    if mask.shape != (height, width):
        rows, columns = mask.shape
        raise InputError(
            f"a mask in {folder} has {rows} x {columns} pixels, its picture {height} x {width}: {AGAIN}"
        )
