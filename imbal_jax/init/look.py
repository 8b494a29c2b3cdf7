"""Looks at some files of a folder: their kinds, sizes, depths and colours."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imbal_jax.data.dicom.dicom_file import open_dicom
from imbal_jax.data.dicom.header import attribute
from imbal_jax.data.dicom.radiograph import quiet
from imbal_jax.data.images.formats import DICOM, HEAD, format_of
from imbal_jax.data.images.geometry import COLOUR_DROPPED
from imbal_jax.data.images.pictures import open_picture
from imbal_jax.data.images.refusal import ReadError

LOOKED_AT = 60  # files; opening a large film takes a tenth of a second


@dataclass(frozen=True)
class Pictures:
    """What the pictures are like.

    kinds: number of each format. heights, widths: pixels, [n]. colour: how many are in colour. looked_at: how many
    files or arrays were opened; refused: how many of them could not be.
    """

    kinds: Counter[str]
    heights: np.ndarray
    widths: np.ndarray
    colour: int
    looked_at: int
    refused: int = 0

    @property
    def in_colour(self) -> bool:
        """Whether most of them are."""
        return 2 * self.colour > len(self.heights)

    @property
    def side(self) -> int:
        """The median of the longer side, pixels."""
        return int(np.median(np.maximum(self.heights, self.widths))) if len(self.heights) else 0

    def lines(self, count: int) -> list[str]:
        """Lines to print, of ``count`` pictures in all."""
        if not len(self.heights):
            return [f"pictures: none of {self.looked_at} that were opened can be read"]
        kinds = ", ".join(f"{name} {number}" for name, number in self.kinds.most_common())
        seen = "all" if self.looked_at >= count else f"{self.looked_at} of {count:,} opened"
        sizes = {(h, w) for h, w in zip(self.heights.tolist(), self.widths.tolist(), strict=True)}
        low, high = (f"{int(fold(self.heights))} x {int(fold(self.widths))}" for fold in (np.min, np.max))
        size = (
            f"all {low} pixels (height x width)"
            if len(sizes) == 1
            else f"{len(sizes)} sizes, heights and widths from {low} to {high}, median of the longer side {self.side}"
        )
        colour = {0: "grey", len(self.heights): "in colour"}.get(
            self.colour, f"{self.colour} of {len(self.heights)} in colour"
        )
        return [f"pictures: {kinds} ({seen}); {size}; {colour}"]


def look(folder: Path, files: Sequence[str], seed: int = 0) -> Pictures:
    """Open up to ``LOOKED_AT`` of ``files``, paths below ``folder``, drawn at random."""
    chosen = np.random.default_rng(seed).permutation(len(files))[:LOOKED_AT]
    kinds: Counter[str] = Counter()
    shapes, colour, refused = [], 0, 0
    with quiet():
        for place in chosen.tolist():
            try:
                kind, shape, coloured = _look_at(folder / files[place])
            except ReadError:
                refused += 1
                continue
            kinds[kind] += 1
            shapes.append(shape)
            colour += coloured
    sizes = np.array(shapes, int).reshape(-1, 2)
    return Pictures(kinds, sizes[:, 0], sizes[:, 1], colour, len(chosen), refused)


def look_at_arrays(count: int, shape: Sequence[int], kind: str) -> Pictures:
    """The same of ``count`` arrays of one shape [H, W, C]."""
    height, width, channels = shape
    return Pictures(
        Counter({kind: count}),
        np.full(count, height),
        np.full(count, width),
        count if channels == 3 else 0,
        count,
    )


def _look_at(path: Path) -> tuple[str, tuple[int, int], bool]:
    """Format, height and width, and whether a file is in colour; ReadError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            kind = format_of(stream.read(HEAD))
    except OSError:
        raise ReadError("missing") from None
    if kind in ("", DICOM):
        header = open_dicom(path, pixels=False)
        rows, columns = (attribute(header, name) for name in ("Rows", "Columns"))
        if not rows or not columns:
            raise ReadError("no-pixels")
        return DICOM, (int(rows), int(columns)), False
    picture = open_picture(path)
    height, width = picture.values.shape
    return kind, (height, width), COLOUR_DROPPED in picture.flags
