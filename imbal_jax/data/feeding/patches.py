"""Patches of masked images: exact quotas by class and case, from lists of places that are made once.

A pool is a class; its items are the cases (patients) that have it, so that every batch holds its quota of each class
and within a class every case is drawn once before any is drawn twice. Where in the case: one of a capped list of
places, chosen by the step and the place in the batch. A place was found by choosing a pixel of the class and then
where in the patch that pixel lies, so that the object is not always in its middle.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imbal_jax.data.labels import occurrence
from imbal_jax.engine import keys
from imbal_jax.errors import InputError
from imbal_jax.sampling import Plan, batch_indices
from imbal_jax.sampling.draws import batch_pools

ROUNDS = 8
"""How often a place is sought again whose patch holds too little of the class."""


@struct.dataclass
class Patches:
    """Where patches may lie, a pytree: P pools (the classes, and the cases without any), G cases, M places.

    places: int32 [M, 3], image, row and column of a patch's first pixel. start, count: int32 [P, G], where in
    ``places`` those of a pool and a case lie, and how many they are. extent: int32 [2], rows and columns of an image.
    key: data of the key that places are chosen with. size: side of a patch. by_image: whether the plan's items are
    images, and a place is any place of them: plain random crops.
    """

    places: Any
    start: Any
    count: Any
    extent: Any
    key: Any
    size: int = struct.field(pytree_node=False)
    by_image: bool = struct.field(pytree_node=False)


class Cut(NamedTuple):
    """Which patches: the image of each [B], and its first row and column [B, 2]."""

    images: jax.Array
    corners: jax.Array


class Pools(NamedTuple):
    """members: int8 [G, C], which case has a place of which class; what the plan is made of. A case of no class is
    in the plan's last pool, and in that of ``patches``.

    shares: float64 [P, C], the mean share of each class among the known pixels of a pool's patches. Of plain crops
    neither is counted.
    """

    patches: Patches
    members: np.ndarray
    shares: np.ndarray


def cut(patches: Patches, plan: Plan, step: jax.Array, shard: jax.Array | None, by_image: bool) -> Cut:
    """The patches of ``step`` by ``plan``: of the batch, or of the part of ``shard``. Pure and jittable, O(batch).

    by_image: whether the plan's items are images, which may differ from ``patches.by_image`` before a composition
    that is deferred comes in.
    """
    items = batch_indices(plan, step, shard)
    places = places_of(len(items), shard)
    drawn = keys.of_places(keys.images_of_step(patches.key, step), places)
    if by_image:
        last = patches.extent - patches.size
        corners = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, last + 1))(drawn)
        return Cut(items, corners)
    pools = batch_pools(plan, step, shard)
    start, count = patches.start[pools, items], patches.count[pools, items]
    which = jax.vmap(lambda key, most: jax.random.randint(key, (), 0, most))(drawn, jnp.maximum(count, 1))
    place = patches.places[start + which]
    return Cut(place[:, 0], place[:, 1:])


def places_of(count: int, shard: jax.Array | None) -> jax.Array:
    """int32 [count], the places in the global batch of the examples of a shard, or of all."""
    places = jnp.arange(count, dtype=jnp.int32)
    return places if shard is None else places + shard.astype(jnp.int32) * count


def cropped(images: jax.Array, at: Cut, size: int) -> jax.Array:
    """The patches [B, size, size, ...] of images or masks [N, H, W, ...] on the device."""
    rest = images.shape[3:]

    def one(image: jax.Array, corner: jax.Array) -> jax.Array:
        start: tuple[Any, ...] = (image, corner[0], corner[1], *[0] * len(rest))
        return jax.lax.dynamic_slice(images, start, (1, size, size, *rest))[0]

    return jax.vmap(one)(at.images, at.corners)


def cropped_on_host(images: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """The same of images [B, H, W, ...] that the host has gathered."""
    cut_out = [image[y : y + size, x : x + size] for image, (y, x) in zip(images, corners, strict=True)]
    return np.stack(cut_out)


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
    }
    if by_image and not share:  # any place will do
        nowhere = np.zeros((pools, 1), np.int32)
        patches = Patches(np.zeros((1, 3), np.int32), nowhere, nowhere, by_image=True, **at)
        return Pools(patches, np.zeros((0, classes), np.int8), np.zeros((pools, classes)))
    _, cases = np.unique(groups, return_inverse=True)
    count_of = int(cases.max()) + 1
    rng = np.random.default_rng([seed, 17])
    found: list[list[list[np.ndarray]]] = [[[] for _ in range(count_of)] for _ in range(pools)]
    occurs = occurrence(masks, classes)
    occurs = np.column_stack([occurs, ~occurs.any(axis=1)])  # [N, P]
    holding = np.stack([np.bincount(cases[occurs[:, p]], minlength=count_of) for p in range(pools)])
    each = [max(1, most // max(1, int((holding[p] > 0).sum()))) for p in range(pools)]
    sums, seen = np.zeros((pools, classes)), np.zeros(pools)
    for image, mask in enumerate(masks):
        own = [p for p in range(pools) if occurs[image, p]]
        if not own:
            continue
        counts = _Counts(mask, classes, size)
        for p in own:
            want = -(-each[p] // int(holding[p, cases[image]]))
            corners = _corners(mask, p, counts, want, share, rng, classes)
            if not len(corners):
                continue
            places = np.column_stack([np.full(len(corners), image), corners]).astype(np.int32)
            found[p][cases[image]].append(places)
            shares = counts.shares(corners)
            sums[p] += shares.sum(axis=0)
            seen[p] += len(shares)
    for p in range(classes):
        if share and occurs[:, p].any() and not seen[p]:
            raise InputError(
                f"patch.share is {share:g}: no patch of {size} pixels a side holds as much of class {p}; give less"
            )
    lists = [[np.concatenate(parts) if parts else None for parts in row] for row in found]
    count = np.array([[0 if part is None else len(part) for part in row] for row in lists], np.int32)
    kept = [part for row in lists for part in row if part is not None]
    start = (np.cumsum(count) - count.ravel()).reshape(count.shape).astype(np.int32)
    patches = Patches(
        places=np.concatenate(kept) if kept else np.zeros((1, 3), np.int32),
        start=start,
        count=count,
        by_image=by_image,
        **at,
    )
    members = (count[:classes] > 0).T.astype(np.int8)
    return Pools(patches, members, sums / np.maximum(seen, 1)[:, None])


def _corners(
    mask: np.ndarray,
    pool: int,
    counts: "_Counts",
    want: int,
    share: float,
    rng: np.random.Generator,
    classes: int,
) -> np.ndarray:
    """Up to ``want`` first pixels [K, 2] of patches of one image for a pool, each from a pixel of its own."""
    size, (height, width) = counts.size, mask.shape[:2]
    last = np.array([height - size, width - size])
    if pool == classes:  # nothing to be found: anywhere
        return rng.integers(0, last + 1, (want, 2))
    pixels = np.flatnonzero(mask == pool if mask.ndim == 2 else mask[..., pool] == 1)
    least = max(1.0, share * size**2)
    found: list[np.ndarray] = []
    lacking = want
    for _ in range(ROUNDS):
        chosen = rng.choice(pixels, lacking, replace=len(pixels) < lacking)
        at = np.column_stack(np.divmod(chosen, width)) - rng.integers(0, size, (lacking, 2))
        at = np.clip(at, 0, last)
        good = at[counts.of(at, pool) >= least]
        found.append(good)
        lacking -= len(good)
        if lacking <= 0:
            break
    return np.concatenate(found)


class _Counts:
    """Pixels of each class in any patch of one mask, from sums over rectangles."""

    def __init__(self, mask: np.ndarray, classes: int, size: int) -> None:
        planes = mask[..., None] == np.arange(classes) if mask.ndim == 2 else mask == 1
        known = (mask >= 0)[..., None] if mask.ndim == 2 else mask >= 0
        self.size = size
        self._sums, self._known = (self._integral(np.asarray(of)) for of in (planes, known))

    @staticmethod
    def _integral(planes: np.ndarray) -> np.ndarray:
        sums = np.cumsum(np.cumsum(planes, axis=0, dtype=np.int32), axis=1, dtype=np.int32)
        return np.pad(sums, ((1, 0), (1, 0), (0, 0)))

    def _within(self, sums: np.ndarray, corners: np.ndarray) -> np.ndarray:
        (y, x), size = corners.T, self.size
        return sums[y + size, x + size] - sums[y, x + size] - sums[y + size, x] + sums[y, x]

    def of(self, corners: np.ndarray, pool: int) -> np.ndarray:
        """[K], the pixels of a class in the patches at ``corners`` [K, 2]."""
        return self._within(self._sums[..., pool : pool + 1], corners)[:, 0]

    def shares(self, corners: np.ndarray) -> np.ndarray:
        """[K, C], the share of each class among the known pixels of the patches."""
        known = self._within(self._known, corners)
        return self._within(self._sums, corners) / np.maximum(known, 1)
