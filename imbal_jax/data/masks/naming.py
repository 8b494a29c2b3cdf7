"""Which file is the mask of which picture, by their names.

The mask of a picture NAME.ext is called NAME, NAME_mask, NAME_masks, NAME_seg or NAME_segmentation (with _ or -) and
ends in .png, .tif, .tiff, .bmp, .npy, .npz or .dcm. A plain NAME lies in a folder masks, mask, segmentations or
segmentation, the others there or beside the picture. That folder stands in the place of the pictures' own folder,
images, image, pictures or imgs, or in the folder of the pictures: images/a/1.jpg and masks/a/1.png,
train/1.jpg and train/masks/1.png. Case does not matter.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from imbal_jax.data.masks.mask_file import ENDINGS
from imbal_jax.errors import InputError

MASK_FOLDERS = ("masks", "mask", "segmentations", "segmentation")
PICTURE_FOLDERS = ("images", "image", "pictures", "imgs")
_SUFFIX = re.compile(r"[_-](?:masks?|seg|segmentations?)$")

Key = tuple[str, ...]


@dataclass
class Named:
    """masks: picture -> mask. alone: pictures without a mask. spare: masks without a picture."""

    masks: dict[str, str] = field(default_factory=dict)
    alone: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)


def pair_by_name(files: Iterable[str], folder: str = "") -> Named:
    """Pictures and masks among ``files``, paths below one folder; folder: all files below it are masks.

    Raises InputError, with the numbers, where a picture has two masks or a mask two pictures.
    """
    pictures: dict[Key, list[str]] = {}
    masks: dict[Key, list[str]] = {}
    start = f"{folder.rstrip('/')}/" if folder else ""
    for path in files:
        if start and path.startswith(start):
            masks.setdefault(_key(path[len(start) :], (*MASK_FOLDERS,)), []).append(path)
        elif not start and is_mask(path):
            masks.setdefault(_key(path, MASK_FOLDERS), []).append(path)
        else:
            pictures.setdefault(_key(path, PICTURE_FOLDERS, mask=False), []).append(path)
    for what, other, kind in (("picture", "masks", masks), ("mask", "pictures", pictures)):
        both = set(pictures) & set(masks)
        if several := [key for key in both if len(kind[key]) > 1]:
            raise InputError(
                f"{len(several)} {what}s have several {other} by their names: name the {other} in a table, "
                "--data.columns mask=COLUMN, or remove what is too many"
            )
    named = Named()
    for key, paths in pictures.items():
        if key in masks:
            named.masks[paths[0]] = masks[key][0]
        else:
            named.alone += paths
    named.spare = [path for key, paths in masks.items() if key not in pictures for path in paths]
    return named


def is_mask(path: str) -> bool:
    """Whether a file is called as a mask is; one of JPEG too, of which reading says why it is refused."""
    *folders, name = path.casefold().split("/")
    stem, dot, ending = name.rpartition(".")
    if not stem or f"{dot}{ending}" not in (*ENDINGS, ".jpg", ".jpeg"):
        return False
    return any(one in MASK_FOLDERS for one in folders) or _SUFFIX.search(stem) is not None


def _key(path: str, left_out: tuple[str, ...], mask: bool = True) -> Key:
    *folders, name = path.casefold().split("/")
    stem = name.rpartition(".")[0] or name
    if mask:
        stem = _SUFFIX.sub("", stem)
        left_out = (*left_out, *PICTURE_FOLDERS)
    kept = [folder for folder in folders if folder not in left_out]
    return (*kept, stem)
