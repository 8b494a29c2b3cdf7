"""Images that lie on the devices, each on one of them, and batches of them: for sets larger than one device's memory.

Every device knows the items of the whole batch. It takes those that lie on it and leaves zeros for the others. The
sum over the devices, of which each gets the rows of its own share (a reduce-scatter), is the batch. So batches are
those of images that are whole on every device; a step moves the bytes of one batch between the devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from imbal_jax.engine.axis import AXIS


def spread_rows(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """The rows of ``array`` [N, ...] over the devices, in order; zeros fill up the last device."""
    share = -(-len(array) // mesh.size)

    def part(index: Any) -> np.ndarray:
        first = index[0].start or 0
        rows = array[first : first + share]
        missing = np.zeros((share - len(rows), *array.shape[1:]), array.dtype)
        return np.concatenate([rows, missing]) if len(missing) else np.ascontiguousarray(rows)

    shape = (share * mesh.size, *array.shape[1:])
    return jax.make_array_from_callback(shape, NamedSharding(mesh, P(AXIS)), part)


def gather_rows(
    rows: jax.Array, items: jax.Array, shard: jax.Array, take: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
    """This device's share [B / devices, ...] of the batch ``items`` of rows that are spread; inside ``shard_map``.

    rows: this device's, [n, ...]. items: int32 [B], of the whole batch. take: ``(rows, places [B])`` -> whole numbers
    [B, ...].
    """
    count = len(rows)
    here = items // count == shard
    values = take(rows, jnp.where(here, items - shard * count, 0))
    dtype, shape = values.dtype, values.shape[1:]
    # as bytes: collectives of accelerators do not add integers of 16 bits
    words = jax.lax.bitcast_convert_type(values, jnp.uint8)
    words = jnp.where(here.reshape(-1, *[1] * (words.ndim - 1)), words, 0)
    own = jax.lax.psum_scatter(words, AXIS, scatter_dimension=0, tiled=True)
    return jax.lax.bitcast_convert_type(own, dtype).reshape(-1, *shape)


def own_rows(of_batch: jax.Array, shard: jax.Array) -> jax.Array:
    """This device's share of what is known of the whole batch [B, ...]; inside ``shard_map``."""
    share = len(of_batch) // jax.lax.axis_size(AXIS)
    return jax.lax.dynamic_slice_in_dim(of_batch, shard * share, share)
