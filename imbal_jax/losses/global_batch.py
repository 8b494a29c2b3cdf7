"""The global batch on one device: all examples with their gradients, and pairs in blocks.

A loss over pairs is not a sum over examples: what a device's examples cost depends on the examples of the
others. Each device takes its own examples as anchors and the gathered ones as what they are compared with, so
that each pair is computed once; ``reduction.weighted_mean`` of the anchors' values then is that of the global
batch, and its promise about gradients holds (``psum(grad)`` is the exact gradient): the transpose of the
gathering sums, over devices, what all anchors say about a device's own examples.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from imbal_jax.losses.reduction import AxisName

# 4 MB of float32 stay in cache. B = 4096 with gradient took 4 to 30 MB instead of the 220 to 340 of one
# piece, depending on the loss, and on a CPU as long or up to seven times less.
_PAIRS_AT_ONCE = 2**20


def gather_batch(values: jax.Array, axis_name: AxisName | None) -> jax.Array:
    """[b, ...] of each device -> [B, ...] of all, in the order of the devices, B = b * number of devices.

    Gradient flows back to the device that holds the example. With ``axis_name=None``, ``values`` as they are.
    """
    if axis_name is None:
        return values
    return jax.lax.all_gather(values, axis_name, tiled=True)


def batch_positions(size: int, axis_name: AxisName | None) -> jax.Array:
    """int32 [b], the rows of the global batch that the device's own ``size`` = b examples are."""
    positions = jnp.arange(size, dtype=jnp.int32)
    if axis_name is None:
        return positions
    return positions + size * jax.lax.axis_index(axis_name)


def map_anchors(
    function: Callable[[Any], jax.Array], anchors: Any, pairs: int, active: jax.Array | None = None
) -> jax.Array:
    """``function`` of each anchor, the first axis of the leaves of ``anchors``; ``pairs`` are formed by each.

    Vectorised. Where there are more than 2^20 pairs in all, they are formed in blocks of that many, and once
    more when differentiating, instead of being kept. Anchors that are not ``active`` (bool [b]; of no weight)
    then get 0, without a pair where they fill a block: of a rare class, a block or two is all there is.
    """
    count = jax.tree.leaves(anchors)[0].shape[0]
    block = max(1, _PAIRS_AT_ONCE // max(1, pairs))
    if count <= block:
        return jax.vmap(function)(anchors)
    if active is None:
        return jax.lax.map(jax.checkpoint(function), anchors, batch_size=block)

    order = jnp.argsort(~active, stable=True)
    padding = -count % block
    rows = jnp.concatenate([order, jnp.broadcast_to(order[:1], padding)]).reshape(-1, block)
    busy = jnp.any(active[rows] & (jnp.arange(rows.size).reshape(rows.shape) < count), axis=1)

    @jax.checkpoint
    def of_block(row: jax.Array, busy: jax.Array) -> jax.Array:
        part = jax.tree.map(lambda leaf: leaf[row], anchors)
        shape = jax.eval_shape(jax.vmap(function), part)

        def nothing(part: Any) -> jax.Array:
            # zeros that vary over the mesh as the values do, which check_vma asks of both branches
            one = jax.tree.leaves(part)[0].reshape(-1)[0]
            return jnp.broadcast_to(jnp.where(one == one, 0, 0).astype(shape.dtype), shape.shape)

        return jax.lax.cond(busy, jax.vmap(function), nothing, part)

    values = jax.lax.map(lambda args: of_block(*args), (rows, busy))
    values = values.reshape(-1, *values.shape[2:])[:count]
    return values[jnp.argsort(order)]
