"""Masks that are lists of regions of a picture, each of a class: COCO files and tables of run lengths."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.data.labels import IGNORED
from imbal_jax.data.masks.mask_error import MaskError
from imbal_jax.data.masks.run_lengths import counts_of_text, fill_polygon, from_counts
from imbal_jax.errors import InputError
from imbal_jax.files import read_json

Draw = Callable[[int, int], np.ndarray]
"""(height, width) -> bool [height, width], the pixels of a region; InputError, saying where, if it does not fit."""


@dataclass(frozen=True)
class Region:
    """Pixels of one class. kind: its index, or IGNORED for pixels that do not count."""

    kind: int
    draw: Draw


@dataclass
class Marked:
    """What is known of one picture. size: height and width as the file states them, or None."""

    key: str
    regions: list[Region] = field(default_factory=list)
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Regions:
    """Pictures with their regions, in the order of the file. kinds: names, without the background. said: a line."""

    kinds: tuple[str, ...]
    pictures: Sequence[Marked]
    said: str


def one_class(marked: Marked, height: int, width: int) -> tuple[np.ndarray, bool]:
    """int16 [height, width], 0 background, 1 + the kind of the region, and whether regions of two kinds overlap.

    Where they do, the smaller region is seen. -1 where a region says so and no other is.
    """
    drawn = [(region.kind, region.draw(height, width)) for region in marked.regions]
    out = np.zeros((height, width), np.int16)
    overlap = False
    for kind, pixels in drawn:
        if kind == IGNORED:
            out[pixels] = IGNORED
    for kind, pixels in sorted(
        ((kind, pixels) for kind, pixels in drawn if kind != IGNORED), key=lambda one: -int(one[1].sum())
    ):
        overlap |= bool(((out[pixels] > 0) & (out[pixels] != kind + 1)).any())
        out[pixels] = kind + 1
    return out, overlap


def many_labels(marked: Marked, height: int, width: int, count: int) -> np.ndarray:
    """int8 [height, width, count], 1 where a region of the kind is, -1 where only an ignored one is, else 0."""
    out = np.zeros((height, width, count), np.int8)
    drawn = [(region.kind, region.draw(height, width)) for region in marked.regions]
    for kind, pixels in drawn:
        if kind == IGNORED:
            out[pixels] = IGNORED
    for kind, pixels in drawn:
        if kind != IGNORED:
            out[pixels, kind] = 1
    return out


def read_coco(path: Path) -> Regions:
    """The images, categories and annotations of a COCO file of objects.

    A segmentation is a list of polygons, or run lengths, plain or compressed. iscrowd: a region that is ignored where
    no other is. Images without an annotation are background. Raises InputError, with the number of the annotation,
    for what is no COCO file.
    """
    values = read_json(path, "it is no COCO file: give one with images, categories and annotations")
    lists = {name: values.get(name) for name in ("images", "annotations", "categories")}
    for name, found in lists.items():
        if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
            raise InputError(f"{path.name} has no list of {name}: is it a COCO file of objects?")
    try:
        named = sorted((int(one["id"]), str(one["name"])) for one in lists["categories"] or [])
        kinds = {number: place for place, (number, _) in enumerate(named)}
        pictures = {
            one["id"]: Marked(str(one["file_name"]), [], (int(one["height"]), int(one["width"])))
            for one in lists["images"] or []
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path.name}: an image or a category lacks {error}: is it a COCO file?") from None
    crowds = 0
    for number, one in enumerate(lists["annotations"] or [], start=1):
        where = f"{path.name}: annotation {number} of {len(lists['annotations'] or [])}"
        if one.get("image_id") not in pictures or one.get("category_id") not in kinds:
            raise InputError(f"{where} is of an image or a category that the file does not list")
        crowd = bool(one.get("iscrowd"))
        crowds += crowd
        kind = IGNORED if crowd else kinds[one["category_id"]]
        pictures[one["image_id"]].regions.append(Region(kind, _drawing(one.get("segmentation"), where)))
    names = tuple(name for _, name in named)
    ignored = f", {crowds:,} of crowds, which are ignored" if crowds else ""
    said = f"masks by {path.name}: {len(lists['annotations'] or []):,} regions of {', '.join(names)}{ignored}"
    return Regions(names, list(pictures.values()), said)


def _drawing(segmentation: Any, where: str) -> Draw:
    def draw(height: int, width: int) -> np.ndarray:
        try:
            if isinstance(segmentation, list) and segmentation:
                found = np.zeros((height, width), bool)
                for corners in segmentation:
                    found |= fill_polygon(corners, height, width)
                return found
            if isinstance(segmentation, Mapping):
                counts = segmentation["counts"]
                if list(segmentation["size"]) != [height, width]:
                    raise MaskError(f"has a mask of {segmentation['size']}, its picture [{height}, {width}]")
                counts = counts_of_text(counts) if isinstance(counts, str) else counts
                return from_counts(counts, height, width)
        except MaskError as error:
            raise InputError(f"{where} {error}") from None
        except (KeyError, TypeError, ValueError, OverflowError):
            pass
        raise InputError(f"{where} has a segmentation that is neither polygons nor run lengths")

    return draw
