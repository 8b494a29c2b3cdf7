"""Batch composition as a pure function of the step: no state, no epoch shuffle, the same on any device count.

The items of a class form a pool. The k-th draw from pool c is

    order[offset_c + permutation(seed, c, k div n_c)(k mod n_c)]

a fresh keyed permutation for each pass over the pool, so an item is drawn once before any is drawn twice.
A batch of step t takes draws t q_c .. (t + 1) q_c - 1 from each pool c, q_c being its fixed quota. The
permutation is evaluated one point at a time, so that any batch of any step costs O(batch).
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from imbal_jax.errors import text_labels
from imbal_jax.priors import class_counts

COMPOSITIONS = ("natural", "balanced", "sqrt", "reversed", "progressive", "repeat_factor")
MAX_STAGES = 64  # of "progressive": a batch of 128 rarely changes by more than one item from stage to stage
# Of the permutation. Six leave the places of some pairs of items in classes of six 4 % off uniform.
DOUBLE_ROUNDS = 8

Counter = tuple[jax.Array, jax.Array]  # a pass and a position in it, uint32


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Plan:
    """What ``batch_indices`` reads. A pytree: two plans of equal shapes share one compilation.

    P pools hold M entries in all; K stages (1 unless progressive) each fix a quota for S streams of draws. A
    stream is a pool, except in a natural plan, where the one stream runs through all pools by ``layout``.
    """

    order: jax.Array  # int32 [M], items, pool after pool
    pool_offset: jax.Array  # uint32 [P], where in order the pool begins
    pool_size: jax.Array  # uint32 [P]
    pool_grid: jax.Array  # uint32 [P, 2], the sides of the grid that the permutation lives on
    pool_key: jax.Array  # uint32 [P, 2]
    layout: jax.Array | None  # uint32 [M], the position in order of each turn of a natural pass
    counts: jax.Array  # int32 [P], what a batch holds
    stage_start: jax.Array  # uint32 [K], the first step of each stage
    stream_size: jax.Array  # uint32 [S]
    start: jax.Array  # uint32 [K, 2, S], pass and position at the start of the stage
    stride: jax.Array  # uint32 [K, 32, 2, S], passes and positions gained in 2^i steps
    slot_stream: jax.Array  # uint32 [K, B], the stream that each place of the batch draws from
    slot_ahead: jax.Array  # uint32 [K, 2, B], passes and positions ahead of the first such place
    batch_size: int = field(metadata={"static": True})
    num_shards: int = field(metadata={"static": True})


def make_plan(
    labels: ArrayLike,
    batch_size: int,
    composition: str | ArrayLike = "balanced",
    *,
    seed: int = 0,
    num_shards: int = 1,
    total_steps: int | None = None,
    repeat_threshold: float = 0.1,
) -> Plan:
    """Decide what every batch holds; ``batch_indices`` then gives the items of any step.

    composition, with n_c the size of class c and p_c its share of the batch:
        natural        every item once a pass, spread so that any run of items has its share of each class
        balanced       p_c equal
        sqrt           p_c proportional to n_c^(1/2) (Kang et al., ICLR 2020, eq. 1)
        reversed       p_c proportional to n_max / n_c (Zhou et al., BBN, CVPR 2020)
        progressive    p = (1 - t/T) p_natural + (t/T) p_balanced (Kang et al., ICLR 2020, eq. 2), in at most
                       64 stages of whole counts, from natural in the first to balanced in the last and after
                       it; T = ``total_steps``, which the other compositions ignore
        repeat_factor  natural over a list that repeats item i r_i times, r_i = max over its classes c of
                       max(1, sqrt(t / f_c)), f_c the fraction of items with c, t = ``repeat_threshold``;
                       fractions of a repeat are rounded at random (Gupta et al., LVIS, CVPR 2019). Their t is
                       0.001, for 1,200 classes; the default of 0.1 suits a dozen.
        float [C]      proportions
        int [C]        exact counts, which sum to batch_size
    Proportions are rounded to whole counts by largest remainder, each class that has items getting at least
    one; every batch holds exactly those counts, and so does every shard when num_shards divides them.

    labels: int [N]; or multi-hot [N, L] with entries 1, 0, -1. With many labels pool c is the items positive
        for c (an item is in each of its pools), and a last pool is the items without a positive, if there are
        any: the L or L + 1 pools take the part of the classes. natural is then uniform over all items.
    batch_size: items in the global batch. num_shards: how many contiguous shards ``batch_indices`` may be
        asked for; the global batch does not depend on it. seed: a non-negative integer.
    Raises ValueError on an unknown composition, a label out of range, a batch too small to hold one item of
        each class, a quota for a class without items, num_shards that does not divide batch_size.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or labels.shape[0] == 0 or labels.size == 0:
        raise ValueError(f"labels have shape {labels.shape}, expected [N] or [N, L] with N and L at least 1")
    if labels.dtype.kind in "USMmOV":
        raise ValueError(text_labels(labels, "integer class indices [N] or numbers [N, L]"))
    if len(labels) >= 2**31:
        raise ValueError(f"{len(labels)} items: the most is {2**31 - 1}")
    for name, value in (("batch_size", batch_size), ("num_shards", num_shards), ("seed", seed)):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, expected a whole number")
    if batch_size < 1 or num_shards < 1 or batch_size % num_shards:
        raise ValueError(f"batch_size {batch_size} does not divide into num_shards {num_shards} equal shards")
    if seed < 0:
        raise ValueError(f"seed {seed} is negative")
    if isinstance(composition, str) and composition not in COMPOSITIONS:
        raise ValueError(f"unknown composition {composition!r}, allowed are {', '.join(COMPOSITIONS)}")
    given = None if isinstance(composition, str) else np.asarray(composition)
    if given is not None and (given.ndim != 1 or given.dtype.kind not in "iuf"):
        raise ValueError(f"composition is {given.dtype} {given.shape}, expected float [C] or int [C]")
    name = composition if given is None else "given"

    # Pools
    listed = None
    if name == "repeat_factor":
        listed = _repeated(labels, repeat_threshold, seed)
        labels, name = labels[listed], "natural"
    if labels.ndim == 2 and name == "natural":
        class_counts(labels, labels.shape[1])  # raises on a wrong entry
        labels = np.zeros(len(labels), np.uint8)
    order, sizes = _pools(labels, 0 if given is None else len(given))
    if given is not None:
        if labels.ndim == 2 and len(given) == labels.shape[1]:
            given = np.pad(given, (0, len(sizes) - len(given)))  # nothing from the items without a positive
        if len(given) != len(sizes):
            raise ValueError(f"composition has {len(given)} entries, expected {len(sizes)}, one a pool")
    if listed is not None:
        order = listed[order]
    if len(order) >= 2**31:
        raise ValueError(f"{len(order)} entries in all pools: the most is {2**31 - 1}")
    state = np.random.SeedSequence(seed).generate_state(3 * len(sizes)).reshape(3, -1)
    offsets = np.cumsum(sizes) - sizes

    # Quotas of each stage, and how its batch is laid out
    starts, layout, stream_size = np.zeros(1, np.int64), None, sizes
    if name == "natural":
        counts = _largest_remainder(sizes / sizes.sum(), batch_size)
        stream_size, quotas = np.array([len(order)]), np.array([[batch_size]])
        if len(sizes) > 1:
            layout = _spread(sizes, state[2])
    elif name == "progressive":
        if total_steps is None or total_steps < 1:
            raise ValueError(f"progressive needs total_steps of 1 or more, got {total_steps}")
        stages = min(MAX_STAGES, total_steps)
        starts = np.arange(stages, dtype=np.int64) * total_steps // stages
        natural, balanced = sizes / sizes.sum(), (sizes > 0) / (sizes > 0).sum()
        toward = np.linspace(0, 1, stages) if stages > 1 else np.ones(1)
        quotas = np.stack([_quotas((1 - t) * natural + t * balanced, sizes, batch_size) for t in toward])
        counts = quotas[-1]
    elif given is not None and given.dtype.kind in "iu":
        counts = _given_counts(given, sizes, batch_size)
        quotas = counts[None]
    else:
        counts = _quotas(_proportions(name, given, sizes), sizes, batch_size)
        quotas = counts[None]
    slots = [_arrange(quota, stream_size) for quota in quotas]

    def words(array: np.ndarray) -> jax.Array:
        return jnp.asarray(np.asarray(array).astype(np.uint32))

    side = np.ceil(np.sqrt(np.maximum(sizes, 1))).astype(np.int64)
    return Plan(
        order=jnp.asarray(order, jnp.int32),
        pool_offset=words(offsets),
        pool_size=words(sizes),
        pool_grid=words(np.stack([side, -(-np.maximum(sizes, 1) // side)], axis=1)),
        pool_key=words(state[:2].T),
        layout=None if layout is None else words(layout),
        counts=jnp.asarray(counts, jnp.int32),
        stage_start=words(starts),
        stream_size=words(stream_size),
        start=words(_stage_positions(starts, quotas, stream_size)),
        stride=words(_strides(quotas, stream_size)),
        slot_stream=words(np.stack([stream for stream, _ in slots])),
        slot_ahead=words(np.stack([ahead for _, ahead in slots])),
        batch_size=int(batch_size),
        num_shards=int(num_shards),
    )


def batch_indices(plan: Plan, step: ArrayLike, shard: ArrayLike | None = None) -> jax.Array:
    """The items of the batch of ``step``; a pure function, for use inside or outside ``jax.jit``.

    step: an integer in [0, 2^31), a Python int or a (traced) JAX scalar. shard: None for the global batch, or
    the number of a shard in [0, num_shards), which holds its contiguous part of the global batch.
    Returns int32 [batch_size], or [batch_size / num_shards] for a shard.
    Raises ValueError when a Python step or shard is out of range.
    """
    return _batch_indices(
        plan,
        _word(step, 2**31, "step"),
        None if shard is None else _word(shard, plan.num_shards, "shard"),
    )


def plan_counts(plan: Plan) -> np.ndarray:
    """How many items of each pool every batch holds: int [C], or [L] or [L + 1] with many labels.

    natural and repeat_factor: batch_size times the prior, rounded by largest remainder. A batch holds exactly
    that when the products are whole numbers, and within one or two items of it otherwise. With many labels
    their one pool is all items. progressive: the counts of the last stage.
    """
    return np.asarray(plan.counts)


def resample(labels: ArrayLike, scheme: str, seed: int = 0) -> np.ndarray:
    """A list of items in which every class is as large as the smallest ("under") or the largest ("over").

    under: n_min items of each class, a random subset. over: each class whole floor(n_max / n_c) times, and a
    random subset for the rest. labels: int [N]; classes without items are left out.
    Returns int32 [M], in random order. Raises ValueError on another scheme or labels that are not int [N].
    """
    if scheme not in ("under", "over"):
        raise ValueError(f"unknown resampling scheme {scheme!r}, allowed are under, over")
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"labels have shape {labels.shape}, expected [N] with N at least 1")
    random = np.random.default_rng(seed)
    order, sizes = _pools(labels, 0)
    pools = [pool for pool in np.split(order, np.cumsum(sizes)[:-1]) if len(pool)]
    target = min(map(len, pools)) if scheme == "under" else max(map(len, pools))
    parts = []
    for pool in pools:
        copies, rest = divmod(target, len(pool))
        parts += [np.tile(pool, copies), random.choice(pool, rest, replace=False)]
    return random.permutation(np.concatenate(parts)).astype(np.int32)


# Inside jit


@jax.jit
def _batch_indices(plan: Plan, step: jax.Array, shard: jax.Array | None) -> jax.Array:
    stage = jnp.sum(step >= plan.stage_start, dtype=jnp.int32) - 1
    size = plan.stream_size
    passes, position = _advance(plan.start[stage], plan.stride[stage], step - plan.stage_start[stage], size)

    width = plan.batch_size if shard is None else plan.batch_size // plan.num_shards
    first = jnp.int32(0) if shard is None else (shard * np.uint32(width)).astype(jnp.int32)
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
    key = _at(plan.pool_key, pool)
    key = _mix(key[..., 0] + passes), _mix(key[..., 1] ^ _mix(passes))
    grid = _at(plan.pool_grid, pool)
    place = permuted(rank, _at(plan.pool_size, pool), (grid[..., 0], grid[..., 1]), key)
    return _at(plan.order, _at(plan.pool_offset, pool) + place)


def permuted(
    rank: jax.Array, size: jax.Array, grid: tuple[jax.Array, jax.Array], key: tuple[jax.Array, jax.Array]
) -> jax.Array:
    """Where a keyed permutation of 0..size-1 sends ``rank``; elementwise, all uint32 of one shape.

    An alternating generalised Feistel network on a grid of sides (a, b), a = ceil(sqrt(size)),
    b = ceil(size / a), walked until it is back inside size (Black and Rogaway, CT-RSA 2002).
    The places of any two items are uniform; the whole permutation is not where both sides are odd, for such a
    network is then always even.
    """
    a, b = grid
    left = rank // b
    right = rank - left * b

    def double_round(number: jax.Array, point: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        left, right = point
        constant = number.astype(jnp.uint32) * np.uint32(0x9E3779B9)  # 2^32 over the golden ratio
        left = _add_modulo(left, _scaled(_mix(right ^ (key[0] + constant)), a), a)
        right = _add_modulo(right, _scaled(_mix(left ^ (key[1] + constant)), b), b)
        return left, right

    def walk(point: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        *here, walking = point
        # A loop, because XLA on CPU slows down once six double rounds are fused in one kernel.
        there = lax.fori_loop(0, DOUBLE_ROUNDS, double_round, tuple(here), unroll=2)
        left, right = (jnp.where(walking, new, old) for new, old in zip(there, here, strict=True))
        return left, right, left * b + right >= size

    # Every point takes one turn; the grid exceeds size by under a row, so 1 in sqrt(size) takes another.
    left, right, _ = lax.while_loop(lambda point: jnp.any(point[2]), walk, (left, right, rank < size))
    return left * b + right


def _advance(start: jax.Array, stride: jax.Array, steps: jax.Array, size: jax.Array) -> Counter:
    """(pass, position) of each stream ``steps`` after ``start``, by doublings: steps * quota overflows."""
    taken = (steps >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    gained = stride * taken[:, None, None]
    sizes = jnp.broadcast_to(size, gained[:, 0].shape)

    def both(x: tuple[jax.Array, ...], y: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        size = jnp.maximum(x[2], y[2])  # the reduction's initial value has none
        return *_add((x[0], x[1]), (y[0], y[1]), size), size

    # A reduction: unrolled additions XLA would fuse into their reader and repeat for every place.
    zero = np.uint32(0)
    passes, position, _ = lax.reduce((gained[:, 0], gained[:, 1], sizes), (zero, zero, zero), both, (0,))
    return _add((start[0], start[1]), (passes, position), size)


def _add(counter: Counter, gained: Counter, size: jax.Array) -> Counter:
    """Add (pass, position), carrying a full pass; positions below size < 2^31, so the sum fits a word."""
    position = counter[1] + gained[1]
    full = (position >= size) & (size > 0)
    return counter[0] + gained[0] + full, jnp.where(full, position - size, position)


def _add_modulo(x: jax.Array, y: jax.Array, modulus: jax.Array) -> jax.Array:
    total = x + y
    return jnp.where(total >= modulus, total - modulus, total)


def _mix(x: jax.Array) -> jax.Array:
    """A bijective 32-bit mixer: xor-shift and multiply, with the constants of Wellons' lowbias32 (2018)."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def _scaled(word: jax.Array, limit: jax.Array) -> jax.Array:
    """Take the upper half of a random word to 0..limit-1, limit < 2^16."""
    return ((word >> np.uint32(16)) * limit) >> np.uint32(16)


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


# Building a plan


def _pools(labels: np.ndarray, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    """The items of each pool, pool after pool, and the pool sizes."""
    if labels.ndim == 2:
        class_counts(labels, labels.shape[1])  # raises on a wrong entry
        positive = labels == 1
        pools = [np.flatnonzero(column) for column in positive.T]
        if not positive.any(axis=1).all():
            pools.append(np.flatnonzero(~positive.any(axis=1)))
        return np.concatenate(pools).astype(np.int32), np.array([len(pool) for pool in pools])
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype}, expected integer class indices")
    sizes = class_counts(labels, at_least or max(int(labels.max()), 0) + 1)
    if len(sizes) <= 8:
        return np.concatenate(
            [np.flatnonzero(labels == c).astype(np.int32) for c in range(len(sizes))]
        ), sizes
    # numpy's stable sort of 8 and 16 bit integers is a radix sort
    narrow = labels.astype(np.min_scalar_type(len(sizes)))
    return np.argsort(narrow, kind="stable").astype(np.int32), sizes


def _repeated(labels: np.ndarray, threshold: float, seed: int) -> np.ndarray:
    if not threshold > 0:
        raise ValueError(f"repeat_threshold {threshold} is not above zero")
    if labels.ndim == 1:
        counts = _pools(labels, 0)[1]
        factors = np.maximum(1, np.sqrt(threshold * len(labels) / np.maximum(counts, 1)))[labels]
    else:
        counts = class_counts(labels, labels.shape[1])
        of_class = np.maximum(1, np.sqrt(threshold * len(labels) / np.maximum(counts, 1)))
        factors = np.where(labels == 1, of_class, 1.0).max(axis=1)
    chance = np.random.default_rng(seed).random(len(labels))
    return np.repeat(np.arange(len(labels), dtype=np.int32), np.floor(factors + chance).astype(np.int64))


def _spread(sizes: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """All entries in the order of (rank + u_c) / n_c: a run of M entries holds about M n_c / N of pool c."""
    # 16 bits of jitter, for u_c to stay clear of 0 and 1 by more than float64 rounds at rank 2^31.
    shift = ((jitter >> 16) + 0.5) / 2**16
    keys = np.concatenate([(np.arange(n) + u) / max(n, 1) for n, u in zip(sizes, shift, strict=True)])
    return np.argsort(keys, kind="stable")  # timsort: merges the sorted runs


def _proportions(name: str, given: np.ndarray | None, sizes: np.ndarray) -> np.ndarray:
    if given is None:
        shares: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "balanced": np.ones_like,
            "sqrt": np.sqrt,
            "reversed": np.reciprocal,
        }
        present = sizes > 0
        proportions = np.zeros(len(sizes))
        proportions[present] = shares[name](sizes[present].astype(np.float64))
        return proportions / proportions.sum()
    if not (np.isfinite(given).all() and (given >= 0).all() and given.sum() > 0):
        raise ValueError(f"proportions {given.tolist()}: expected zero or more, and not all zero")
    return given.astype(np.float64) / given.sum()


def _given_counts(given: np.ndarray, sizes: np.ndarray, batch_size: int) -> np.ndarray:
    if (given < 0).any() or given.sum() != batch_size:
        raise ValueError(f"counts {given.tolist()} must be zero or more and sum to batch_size {batch_size}")
    _refuse_empty(given, sizes)
    return given.astype(np.int64)


def _quotas(proportions: np.ndarray, sizes: np.ndarray, batch_size: int) -> np.ndarray:
    """Whole counts that sum to batch_size, at least one for each positive proportion."""
    _refuse_empty(proportions, sizes)
    wanted = proportions > 0
    if wanted.sum() > batch_size:
        raise ValueError(
            f"batch_size {batch_size} cannot hold one item of each of {wanted.sum()} classes: "
            "enlarge it, or use natural or repeat_factor"
        )
    counts = _largest_remainder(proportions, batch_size)
    counts[wanted & (counts == 0)] = 1
    for _ in range(counts.sum() - batch_size):
        counts[np.argmax(counts)] -= 1
    return counts


def _largest_remainder(proportions: np.ndarray, total: int) -> np.ndarray:
    exact = proportions * total
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _refuse_empty(quota: np.ndarray, sizes: np.ndarray) -> None:
    empty = (quota > 0) & (sizes == 0)
    if empty.any():
        raise ValueError(f"class {np.argmax(empty)} has no item but a quota of {quota[np.argmax(empty)]:g}")


def _arrange(quota: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay a batch out as gcd(quota) equal patterns, evenly mixed: shards that divide the counts are equal."""
    patterns = np.gcd.reduce(quota)
    part = quota // patterns
    stream = np.repeat(np.arange(len(quota)), part)
    draw = np.arange(part.sum()) - np.repeat(np.cumsum(part) - part, part)
    mixed = np.argsort((draw + 0.5) / part[stream], kind="stable")
    stream, draw = np.tile(stream[mixed], patterns), np.tile(draw[mixed], patterns)
    draw += np.repeat(np.arange(patterns), part.sum()) * part[stream]
    return stream, np.stack(np.divmod(draw, sizes[stream]))


def _stage_positions(starts: np.ndarray, quotas: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(pass, position) of each stream at the start of each stage: int64 [K, 2, S]."""
    drawn = np.zeros_like(quotas)
    drawn[1:] = np.cumsum(np.diff(starts)[:, None] * quotas[:-1], axis=0)
    return np.stack(np.divmod(drawn, np.maximum(sizes, 1)), axis=1)


def _strides(quotas: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(passes, positions) gained by each stream in 2^i steps: int64 [K, 32, 2, S]."""
    drawn = quotas[:, None, :] << np.arange(32)[None, :, None]
    return np.stack(np.divmod(drawn, np.maximum(sizes, 1)), axis=2)
