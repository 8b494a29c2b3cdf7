"""Places of patches: where in masked images a patch of a class may lie, listed once before training.

A place is found by choosing a pixel of the class and then where in the patch that pixel lies, so that the object is
not always in its middle. The masks are read a stretch at a time: the pixels of each class, and how many every patch
holds, are found for a stretch at once. What remains for each image is to draw, in the order of images and classes.
"""

from typing import Any, NamedTuple

import numpy as np

from imbal_jax.data.feeding.patches import Patches
from imbal_jax.data.labels import is_overlapping, occurrence, stretches
from imbal_jax.engine import keys
from imbal_jax.errors import InputError

ROUNDS = 8
"""How often a place is sought again whose patch holds too little of the class."""

STRETCH = 2**18
"""Pixels that are looked at together: what is computed of them stays in a core's cache."""

_NONE = np.zeros(0, np.int64)


class Pools(NamedTuple):
    """members: int8 [G, C], which case has a place of which class; what the plan is made of. A case of no class is
    in the plan's last pool, and in that of ``patches``.

    shares: float64 [P, C], the mean share of each class among the known pixels of a pool's patches. Of plain crops
    neither is counted.
    """

    patches: Patches
    members: np.ndarray
    shares: np.ndarray


def list_places(
    masks: np.ndarray,
    groups: np.ndarray,
    classes: int,
    size: int,
    *,
    share: float = 0.0,
    most: int = 500_000,
    seed: int = 0,
    by_image: bool = False,
) -> Pools:
    """Lists the places of patches of each class and case.

    masks: int [N, H, W], a class a pixel, or int8 [N, H, W, L], overlapping labels; below 0 is not known. groups:
    [N], the case of each image. size: side of a patch. share: the least share of a patch's pixels that are of its
    class; more than no pixel at 0. most: places of a class in all cases together (at least one each).
    Raises InputError for a patch larger than the images, and where no patch of a class has that share of it.
    """
    height, width = masks.shape[1:3]
    if size > min(height, width):
        raise InputError(f"patch.size is {size}, the images are {height} x {width}: give a side that fits")
    pools = classes + 1
    at: dict[str, Any] = {
        "extent": np.array([height, width], np.int32),
        "key": keys.patches(seed),
        "size": size,
        "by_image": by_image,
    }
    if by_image and not share:  # any place will do
        nowhere = np.zeros((pools, 1), np.int32)
        patches = Patches(np.zeros((1, 3), np.int32), nowhere, nowhere, **at)
        return Pools(patches, np.zeros((0, classes), np.int8), np.zeros((pools, classes)))
    _, cases = np.unique(groups, return_inverse=True)
    occurs = occurrence(masks, classes)
    wanted = _wanted(np.column_stack([occurs, ~occurs.any(axis=1)]), cases, most)
    rng = np.random.default_rng([seed, 17])
    found: list[list[np.ndarray]] = [[] for _ in range(pools)]
    sums = np.zeros((pools, classes))
    for part in stretches(masks, STRETCH):
        stretch = _Stretch(masks[part], occurs[part], size)
        for pool, corners in enumerate(stretch.places(wanted[part], share, rng)):
            found[pool].append(stretch.rows(corners, first=part.start))
            sums[pool] += stretch.shares(corners)
    missed = [c for c in range(classes) if occurs[:, c].any() and not any(map(len, found[c]))]
    if missed:
        raise InputError(
            f"patch.share is {share:g}: no patch of {size} pixels a side holds as much of class {missed[0]}; "
            "give less"
        )
    places, count = _by_case(found, cases)
    start = (np.cumsum(count) - count.ravel()).reshape(count.shape).astype(np.int32)
    members = (count[:classes] > 0).T.astype(np.int8)
    shares = sums / np.maximum(count.sum(axis=1), 1)[:, None]
    return Pools(Patches(places, start, count, **at), members, shares)


def _wanted(occurs: np.ndarray, cases: np.ndarray, most: int) -> np.ndarray:
    """int [N, P]: how many places of a pool are to be found in an image, of at most ``most`` in all.

    They are shared evenly among the cases that have the class, and those of a case among its images.
    """
    holding = np.stack([np.bincount(cases[of], minlength=cases.max() + 1) for of in occurs.T], axis=1)
    each = np.maximum(1, most // np.maximum(1, (holding > 0).sum(axis=0)))
    return np.where(occurs, -(-each // np.maximum(1, holding[cases])), 0)


def _by_case(found: list[list[np.ndarray]], cases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of all pools, those of a case together, int32 [M, 3], and how many each has, int32 [P, G].

    found: for each pool the places of its images, in parts, in the images' order.
    """
    listed = [np.concatenate(parts) for parts in found]
    of_cases = [cases[places[:, 0]] for places in listed]
    if (np.diff(cases) < 0).any():
        listed = [places[np.argsort(of, kind="stable")] for places, of in zip(listed, of_cases, strict=True)]
    count = np.stack([np.bincount(of, minlength=cases.max() + 1) for of in of_cases]).astype(np.int32)
    return np.concatenate(listed), count


class _Stretch:
    """Some masks [n, H, W] or [n, H, W, L]; a pixel, or a patch by its first pixel, is an index into all of them."""

    def __init__(self, masks: np.ndarray, occurs: np.ndarray, size: int) -> None:
        """occurs: bool [n, C], which mask has a pixel of which class."""
        self._masks, self._size, self._shape = masks, size, masks.shape[:3]
        self._overlapping = is_overlapping(masks)
        self._present = [bool(of.any()) for of in occurs.T]
        self._all_known = bool(masks.min(initial=0) >= 0)
        self._counts: dict[tuple[str, int], np.ndarray] = {}

    def places(self, wanted: np.ndarray, share: float, rng: np.random.Generator) -> list[np.ndarray]:
        """Patches of each pool [K], image after image, each from a pixel of its own. wanted: int [n, P]."""
        count, height, width = self._shape
        extent, least = np.array([height, width]), share * self._size**2
        ends = np.arange(count + 1) * height * width
        pixels = [
            np.flatnonzero(self._plane("held", c)) if here else _NONE for c, here in enumerate(self._present)
        ]
        bounds = [np.searchsorted(of, ends).tolist() for of in pixels]
        pixels.append(ends)  # of no class: an image's first
        chosen = [[_NONE] for _ in pixels]
        before = [[_NONE.reshape(0, 2)] for _ in pixels]
        for image, pool in np.argwhere(wanted).tolist():
            lacking = int(wanted[image, pool])
            if pool == len(self._present):  # nothing to be found: anywhere
                chosen[pool].append(np.full(lacking, image))
                before[pool].append(-rng.integers(0, extent - self._size + 1, (lacking, 2)))
                continue
            first, end = bounds[pool][image : image + 2]
            for _ in range(ROUNDS):
                drawn = first + rng.choice(end - first, lacking, replace=end - first < lacking)
                shift = rng.integers(0, self._size, (lacking, 2))
                if least > 1:  # one pixel each patch holds
                    good = self._within("held", pool)[self._corners(pixels[pool][drawn], shift)] >= least
                    drawn, shift = drawn[good], shift[good]
                chosen[pool].append(drawn)
                before[pool].append(shift)
                lacking -= len(drawn)
                if lacking <= 0:
                    break
        return [
            self._corners(of[np.concatenate(drawn)], np.concatenate(shifts))
            for of, drawn, shifts in zip(pixels, chosen, before, strict=True)
        ]

    def rows(self, corners: np.ndarray, first: int) -> np.ndarray:
        """int32 [K, 3]: image, row and column of patches. first: the number of the first image."""
        row, column = np.divmod(corners.astype(np.int32), self._shape[2])
        image, row = np.divmod(row, self._shape[1])
        return np.column_stack([image + first, row, column]).astype(np.int32)

    def shares(self, corners: np.ndarray) -> np.ndarray:
        """[C], the share of each class among the known pixels of patches, summed over the patches."""
        sums = np.zeros(len(self._present))
        for c, here in enumerate(self._present):
            if not here:
                continue
            held = self._within("held", c)[corners]
            if self._all_known:
                sums[c] = held.sum(dtype=np.int64) / self._size**2
            else:
                known = self._within("known", c if self._overlapping else 0)[corners]
                sums[c] = (held / np.maximum(known, 1)).sum()
        return sums

    def _corners(self, pixels: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Patches that begin ``before`` [K, 2] rows and columns before ``pixels`` [K], or where the image does."""
        _, height, width = self._shape
        row, column = np.divmod(pixels, width)
        image, row = np.divmod(row, height)
        row = np.clip(row - before[:, 0], 0, height - self._size)
        column = np.clip(column - before[:, 1], 0, width - self._size)
        return (image * height + row) * width + column

    def _plane(self, what: str, c: int) -> np.ndarray:
        """bool: whether each pixel is of a class, or known."""
        values = self._masks[..., c] if self._overlapping else self._masks
        return np.ravel(values >= 0 if what == "known" else values == (1 if self._overlapping else c))

    def _within(self, what: str, c: int) -> np.ndarray:
        """How many such pixels a patch holds, by its first pixel. Where the image ends before the patch, nothing."""
        if (what, c) not in self._counts:
            size, plane = self._size, self._plane(what, c).view(np.uint8)
            in_row = _run_sums(plane.astype(_type_for(size), copy=False), size, 1)
            self._counts[what, c] = _run_sums(in_row.astype(_type_for(size**2)), size, self._shape[2])
        return self._counts[what, c]


def _run_sums(values: np.ndarray, count: int, step: int) -> np.ndarray:
    """The sum of ``count`` values that lie ``step`` apart, from each place [K] that has them all.

    Of runs of 1, 2, 4, ... values: as many additions of arrays as count has binary digits, at the most twice.
    """
    found, done, run = np.zeros_like(values), 0, 1
    while True:
        if count & run:
            found = _shifted_sum(found, values, done * step)
            done += run
        if done == count:
            return found
        values = _shifted_sum(values, values, run * step)
        run *= 2


def _shifted_sum(first: np.ndarray, second: np.ndarray, by: int) -> np.ndarray:
    second = second[by:]
    return first[: len(second)] + second[: len(first)]


def _type_for(most: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if most < 2**8 else np.uint16 if most < 2**16 else np.uint32
