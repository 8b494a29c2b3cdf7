"""The items of the batch of any step, read from a plan inside ``jax.jit`` in O(batch)."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from imbal_jax.sampling.permutation import mix, permuted
from imbal_jax.sampling.plan import Plan

Counter = tuple[jax.Array, jax.Array]  # a pass and a position in it, uint32


def batch_indices(plan: Plan, step: ArrayLike, shard: ArrayLike | None = None) -> jax.Array:
    """The items of the batch of ``step``; a pure function, for use inside or outside ``jax.jit``.

    step: an integer in [0, 2^31), a Python int or a (traced) JAX scalar. shard: None for the global batch, or
    the number of a shard in [0, num_shards), which holds its contiguous part of the global batch.
    Returns int32 [batch_size], or [batch_size / num_shards] for a shard.
    Raises ValueError when a Python step or shard is out of range.

    >>> from imbal_jax.sampling import make_plan
    >>> labels = np.repeat([0, 1], [90, 10])
    >>> plan = make_plan(labels, batch_size=8)
    >>> sorted(labels[batch_indices(plan, step=12345)].tolist())
    [0, 0, 0, 0, 1, 1, 1, 1]
    """
    return _batch_indices(
        plan,
        _word(step, 2**31, "step"),
        None if shard is None else _word(shard, plan.num_shards, "shard"),
    )


def batch_pools(plan: Plan, step: ArrayLike, shard: ArrayLike | None = None) -> jax.Array:
    """The pool that each place of the batch of ``step`` is drawn from: its class; pure, as ``batch_indices``.

    Returns int32 [batch_size], or [batch_size / num_shards]; of a natural plan, which has one stream through all
    pools, zeros.
    """
    return _batch_pools(
        plan,
        _word(step, 2**31, "step"),
        None if shard is None else _word(shard, plan.num_shards, "shard"),
    )


@jax.jit
def _batch_pools(plan: Plan, step: jax.Array, shard: jax.Array | None) -> jax.Array:
    stage = jnp.sum(step >= plan.stage_start, dtype=jnp.int32) - 1
    first, width = _places(plan, shard)
    return lax.dynamic_slice(plan.slot_stream, (stage, first), (1, width))[0].astype(jnp.int32)


def _places(plan: Plan, shard: jax.Array | None) -> tuple[jax.Array, int]:
    """The first place of the batch that a shard holds, and how many."""
    width = plan.batch_size if shard is None else plan.batch_size // plan.num_shards
    return jnp.int32(0) if shard is None else (shard * np.uint32(width)).astype(jnp.int32), width


@jax.jit
def _batch_indices(plan: Plan, step: jax.Array, shard: jax.Array | None) -> jax.Array:
    stage = jnp.sum(step >= plan.stage_start, dtype=jnp.int32) - 1
    size = plan.stream_size
    passes, position = advance(plan.start[stage], plan.stride[stage], step - plan.stage_start[stage], size)

    first, width = _places(plan, shard)
    stream = lax.dynamic_slice(plan.slot_stream, (stage, first), (1, width))[0]
    ahead = lax.dynamic_slice(plan.slot_ahead, (stage, 0, first), (1, 2, width))[0]
    first_draw = _at(passes, stream), _at(position, stream)
    passes, position = _add(first_draw, (ahead[0], ahead[1]), _at(size, stream))

    if plan.layout is None:
        pool, rank = stream, position
    else:
        turn = _at(plan.layout, position)
        pool = jnp.searchsorted(plan.pool_offset, turn, side="right").astype(jnp.uint32) - 1
        rank = turn - _at(plan.pool_offset, pool)
    words = _at(plan.pool_key, pool)
    key = mix(words[..., 0] + passes), mix(words[..., 1] ^ mix(passes))
    grid = _at(plan.pool_grid, pool)
    place = permuted(rank, _at(plan.pool_size, pool), (grid[..., 0], grid[..., 1]), key)
    return _at(plan.order, _at(plan.pool_offset, pool) + place)


def advance(start: jax.Array, stride: jax.Array, steps: jax.Array, size: jax.Array) -> Counter:
    """(pass, position) of each stream ``steps`` after ``start``, by doublings: steps * quota overflows."""
    taken = (steps >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    gained = stride * taken[:, None, None]
    sizes = jnp.broadcast_to(size, gained[:, 0].shape)

    def both(x: tuple[jax.Array, ...], y: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        size = jnp.maximum(x[2], y[2])  # the reduction's initial value has none
        return *_add((x[0], x[1]), (y[0], y[1]), size), size

    # A reduction: XLA would fuse unrolled additions into their reader and repeat them for every slot.
    zero = np.uint32(0)
    passes, position, _ = lax.reduce((gained[:, 0], gained[:, 1], sizes), (zero, zero, zero), both, (0,))
    return _add((start[0], start[1]), (passes, position), size)


def _add(counter: Counter, gained: Counter, size: jax.Array) -> Counter:
    """Add (pass, position), carrying a full pass; positions below size < 2^31, so the sum fits a word."""
    position = counter[1] + gained[1]
    full = (position >= size) & (size > 0)
    return counter[0] + gained[0] + full, jnp.where(full, position - size, position)


def _at(array: jax.Array, index: jax.Array) -> jax.Array:
    return array.at[index].get(mode="promise_in_bounds")


def _word(value: ArrayLike, limit: int, name: str) -> jax.Array:
    if isinstance(value, (int, np.integer)):
        if not 0 <= value < limit:
            raise ValueError(f"{name} {value} is outside 0..{limit - 1}")
        return jnp.asarray(np.uint32(operator.index(value)))
    value = jnp.asarray(value)
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise ValueError(f"{name} is {value.dtype}, expected an integer")
    return value.astype(jnp.uint32)
