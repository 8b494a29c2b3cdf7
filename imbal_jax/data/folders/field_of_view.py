"""Fields of view: masks of the pixels that an instrument sees; the pixels beyond them do not count."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.mask_file import ENDINGS, read_mask
from imbal_jax.data.masks.naming import pair_by_name
from imbal_jax.errors import InputError

OPTION = "--data.field-of-view"


def fields_place(folder: Path, name: str) -> Path:
    """The folder of the fields, which is called ``name`` below ``folder`` or from here; InputError without one."""
    place = next((path for path in (folder / name, Path(name)) if path.is_dir()), None)
    if place is None:
        raise InputError(
            f"{OPTION} is {name!r}: no such folder in {folder}; name the one that holds the fields"
        )
    return place


def inside(folder: Path, place: Path) -> str:
    """The start of the paths below ``folder`` that lie in ``place``; empty where it lies elsewhere."""
    try:
        return place.resolve().relative_to(folder.resolve()).as_posix() + "/"
    except ValueError:
        return ""


def find_fields(pictures: Sequence[str], place: Path) -> dict[str, Path]:
    """Picture -> file of its field of view in the folder ``place``, by the rule of ``masks.naming``.

    Raises InputError, with the number, for pictures that have none.
    """
    start = "\0fields"
    files = (path for path in sorted(place.rglob("*")) if path.suffix.lower() in ENDINGS and path.is_file())
    pairs = pair_by_name(
        [*pictures, *(f"{start}/{path.relative_to(place).as_posix()}" for path in files)], start
    )
    if pairs.alone:
        raise InputError(
            f"{len(pairs.alone):,} of {len(pictures):,} pictures have no field of view in {place}: it is called as "
            f"its picture, NAME.png or NAME_mask.png; leave {OPTION} out if all pixels count"
        )
    return {picture: place / path[len(start) + 1 :] for picture, path in pairs.masks.items()}


def beyond_field(path: Path, shape: tuple[int, ...], turned: int) -> np.ndarray:
    """bool [h, w]: the pixels that the field of view in ``path`` leaves out, those of value 0.

    shape: of the mask that it belongs to. turned: as for ``read_mask``. Raises MaskError for another size, and for a
    field that holds no pixel.
    """
    field = read_mask(path, turned=turned)
    if field.shape != shape and turned != 1:
        field = read_mask(path)
    if field.shape != shape:
        raise MaskError(
            f"has {shape[0]} x {shape[1]} pixels, its field of view {field.shape[0]} x {field.shape[1]}"
        )
    if not field.any():
        raise MaskError("has a field of view of 0 alone: its pixels are 1 or 255 within, 0 beyond")
    return field == 0
