"""Patches of masked images: exact quotas by class and case, from lists of places that are made once.

A pool is a class; its items are the cases (patients) that have it, so that every batch holds its quota of each class
and within a class every case is drawn once before any is drawn twice. Where in the case: one of a capped list of
places (``feeding.places``), chosen by the step and the place in the batch.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imbal_jax.engine import keys
from imbal_jax.sampling import Plan, batch_indices
from imbal_jax.sampling.draws import batch_pools


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


def cut(patches: Patches, plan: Plan, step: jax.Array, shard: jax.Array | None, by_image: bool) -> Cut:
    """The patches of ``step`` by ``plan``: of the batch, or of the part of ``shard``. Pure and jittable, O(batch).

    by_image: whether the plan's items are images, which may differ from ``patches.by_image`` before a composition
    that is deferred comes in.
    """
    items = batch_indices(plan, step, shard)
    places = places_of(len(items), shard)
    if by_image:
        room = jnp.broadcast_to(patches.extent - patches.size + 1, (len(items), 2))
        return Cut(items, keys.numbers_below(patches.key, step, places, room))
    pools = batch_pools(plan, step, shard)
    start, count = patches.start[pools, items], patches.count[pools, items]
    which = keys.numbers_below(patches.key, step, places, jnp.maximum(count, 1)[:, None])[:, 0]
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
