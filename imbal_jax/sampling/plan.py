"""The plan of every batch: pools, quotas and the order of draws, decided once before training."""

from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.errors import text_labels
from imbal_jax.priors import class_counts
from imbal_jax.sampling.layout import arrange, spread, stage_positions, strides
from imbal_jax.sampling.pools import pools, repeated
from imbal_jax.sampling.quotas import given_counts, largest_remainder, proportions, quotas

COMPOSITIONS = ("natural", "balanced", "sqrt", "reversed", "progressive", "repeat_factor")
MAX_STAGES = 64  # of "progressive": a batch of 128 rarely changes by more than one item from stage to stage


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

    >>> print(plan_counts(make_plan(np.repeat([0, 1], [90, 10]), batch_size=8)))
    [4 4]
    """
    items = np.asarray(labels)
    given = None if isinstance(composition, str) else np.asarray(composition)
    _check_labels(items)
    _check_numbers(batch_size, num_shards, seed)
    name = _name_of(composition)

    # Pools
    listed = None
    if name == "repeat_factor":
        listed = repeated(items, repeat_threshold, seed)
        items, name = items[listed], "natural"
    if items.ndim == 2 and name == "natural":
        class_counts(items, items.shape[1])  # raises on a wrong entry
        items = np.zeros(len(items), np.uint8)
    order, sizes = pools(items, 0 if given is None else len(given))
    if given is not None:
        if items.ndim == 2 and len(given) == items.shape[1]:
            given = np.pad(given, (0, len(sizes) - len(given)))  # nothing from the items without a positive
        if len(given) != len(sizes):
            raise ValueError(f"composition has {len(given)} entries, expected {len(sizes)}, one a pool")
    if listed is not None:
        order = listed[order]
    if len(order) >= 2**31:
        raise ValueError(f"{len(order)} entries in all pools: the most is {2**31 - 1}")
    state = np.random.SeedSequence(seed).generate_state(3 * len(sizes)).reshape(3, -1)

    # Quotas, and the layout of a batch of each stage
    stages = _stages(name, given, sizes, batch_size, total_steps)
    layout = spread(sizes, state[2]) if name == "natural" and len(sizes) > 1 else None
    slots = [arrange(quota, stages.stream_size) for quota in stages.quotas]
    side = np.ceil(np.sqrt(np.maximum(sizes, 1))).astype(np.int64)
    return Plan(
        order=_placed(order, np.int32),
        pool_offset=_words(np.cumsum(sizes) - sizes),
        pool_size=_words(sizes),
        pool_grid=_words(np.stack([side, -(-np.maximum(sizes, 1) // side)], axis=1)),
        pool_key=_words(state[:2].T),
        layout=None if layout is None else _words(layout),
        counts=_placed(stages.counts, np.int32),
        stage_start=_words(stages.starts),
        stream_size=_words(stages.stream_size),
        start=_words(stage_positions(stages.starts, stages.quotas, stages.stream_size)),
        stride=_words(strides(stages.quotas, stages.stream_size)),
        slot_stream=_words(np.stack([stream for stream, _ in slots])),
        slot_ahead=_words(np.stack([ahead for _, ahead in slots])),
        batch_size=int(batch_size),
        num_shards=int(num_shards),
    )


def plan_counts(plan: Plan) -> np.ndarray:
    """How many items of each pool every batch holds: int [C], or [L] or [L + 1] with many labels.

    natural and repeat_factor: batch_size times the prior, rounded by largest remainder. A batch holds exactly
    that when the products are whole numbers, and within one or two items of it otherwise. With many labels
    their one pool is all items. progressive: the counts of the last stage.

    >>> print(plan_counts(make_plan(np.repeat([0, 1], [90, 10]), batch_size=20, composition="natural")))
    [18  2]
    """
    return np.asarray(plan.counts)


def _check_labels(labels: np.ndarray) -> None:
    if labels.ndim not in (1, 2) or labels.shape[0] == 0 or labels.size == 0:
        raise ValueError(f"labels have shape {labels.shape}, expected [N] or [N, L] with N and L at least 1")
    if labels.dtype.kind in "USMmOV":
        raise ValueError(text_labels(labels, "integer class indices [N] or numbers [N, L]"))
    if len(labels) >= 2**31:
        raise ValueError(f"{len(labels)} items: the most is {2**31 - 1}")


def _check_numbers(batch_size: int, num_shards: int, seed: int) -> None:
    for name, value in (("batch_size", batch_size), ("num_shards", num_shards), ("seed", seed)):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, expected a whole number")
    if batch_size < 1 or num_shards < 1 or batch_size % num_shards:
        raise ValueError(f"batch_size {batch_size} does not divide into num_shards {num_shards} equal shards")
    if seed < 0:
        raise ValueError(f"seed {seed} is negative")


def _name_of(composition: str | ArrayLike) -> str:
    """The composition's name, "given" where it is proportions or counts. Raises ValueError where it is neither."""
    if isinstance(composition, str):
        if composition not in COMPOSITIONS:
            raise ValueError(f"unknown composition {composition!r}, allowed are {', '.join(COMPOSITIONS)}")
        return composition
    given = np.asarray(composition)
    if given.ndim != 1 or given.dtype.kind not in "iuf":
        raise ValueError(f"composition is {given.dtype} {given.shape}, expected float [C] or int [C]")
    return "given"


class _Stages(NamedTuple):
    """Quotas over the run: K stages of S streams."""

    starts: np.ndarray  # int64 [K], the first step of each stage
    quotas: np.ndarray  # int64 [K, S]
    counts: np.ndarray  # int64 [P], what a batch of the last stage holds of each pool
    stream_size: np.ndarray  # int64 [S]


def _stages(
    name: str, given: np.ndarray | None, sizes: np.ndarray, batch_size: int, total_steps: int | None
) -> _Stages:
    starts = np.zeros(1, np.int64)
    if name == "natural":
        counts = largest_remainder(sizes / sizes.sum(), batch_size)
        return _Stages(starts, np.array([[batch_size]]), counts, np.array([sizes.sum()]))
    if name == "progressive":
        if total_steps is None or total_steps < 1:
            raise ValueError(f"progressive needs total_steps of 1 or more, got {total_steps}")
        stages = min(MAX_STAGES, total_steps)
        starts = np.arange(stages, dtype=np.int64) * total_steps // stages
        natural, balanced = sizes / sizes.sum(), (sizes > 0) / (sizes > 0).sum()
        toward = np.linspace(0, 1, stages) if stages > 1 else np.ones(1)
        rows = np.stack([quotas((1 - t) * natural + t * balanced, sizes, batch_size) for t in toward])
        return _Stages(starts, rows, rows[-1], sizes)
    if given is not None and given.dtype.kind in "iu":
        counts = given_counts(given, sizes, batch_size)
    else:
        counts = quotas(proportions(name, given, sizes), sizes, batch_size)
    return _Stages(starts, counts[None], counts, sizes)


def _words(array: np.ndarray) -> jax.Array:
    return _placed(array, np.uint32)


def _placed(array: np.ndarray, dtype: type[np.integer[Any]]) -> jax.Array:
    # jnp.asarray would compile a program for every shape that it has not seen: a tenth of a second in all
    return jax.device_put(np.asarray(array).astype(dtype))
