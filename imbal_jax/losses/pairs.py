"""Sums over pairs of a positive and a negative: surrogates of their order, in blocks that stay in cache."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_scalar
from imbal_jax.losses.ranked_batch import Batch, class_means
from imbal_jax.losses.reduction import AxisName

_PAIRS_AT_ONCE = 2**18  # 1 MB of float32 stays in cache
_ANCHORS_AT_ONCE = 128  # positives may be few, and a block that is not full costs as much

Surrogate = Literal["squared", "squared_hinge", "hinge", "logistic"]

SURROGATES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "squared": lambda t, margin: (margin - t) ** 2,
    "squared_hinge": lambda t, margin: jnp.maximum(margin - t, 0) ** 2,
    "hinge": lambda t, margin: jnp.maximum(margin - t, 0),
    "logistic": lambda t, margin: jax.nn.softplus(-t),
}


def check_surrogate(name: str, margin: ArrayLike) -> None:
    if name not in SURROGATES:
        raise ValueError(f"surrogate is {name!r}, allowed are {', '.join(map(repr, SURROGATES))}")
    check_scalar("margin", margin)


def mean_over_pairs(
    surrogate: Surrogate,
    margin: jax.Array,
    keys: jax.Array,
    weights: jax.Array,
    batch: Batch,
    axis_name: AxisName | None,
) -> jax.Array:
    """[C], mean over all positives of the sum over the keys [K, C] of weights times the surrogate."""
    if batch.scores.size == 0:
        return jnp.zeros(batch.scores.shape[1], keys.dtype)
    keys = jnp.where(weights == 0, 0, keys)  # unused, and may be infinite
    size = min(_ANCHORS_AT_ONCE, max(1, _PAIRS_AT_ONCE // max(1, keys.size)))
    own = jnp.sum(batch.positive, axis=0)
    blocks = jnp.max((own + size - 1) // size)
    total = jax.vmap(partial(_sum_over_pairs, _Blocks(surrogate, size)), in_axes=(1, None, 1, 1, 1, None))
    sums = total(batch.scores, margin, keys, jax.lax.stop_gradient(weights), batch.positive, blocks)
    return class_means((sums / jnp.maximum(own, 1).astype(sums.dtype))[None], own[None], axis_name)


class _Blocks(NamedTuple):
    """What is compiled in: the surrogate, and how many anchors a block holds."""

    surrogate: Surrogate
    size: int


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sum_over_pairs(
    of: _Blocks,
    scores: jax.Array,
    margin: jax.Array,
    keys: jax.Array,
    weights: jax.Array,
    chosen: jax.Array,
    blocks: jax.Array,
) -> jax.Array:
    """Sum over the ``chosen`` of the scores [b] and over the keys [K] of weights times the surrogate."""
    return _sum_and_slopes(of, scores, margin, keys, weights, chosen, blocks)[0]


@_sum_over_pairs.defjvp
def _(of: _Blocks, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    total, slopes, key_slopes = _sum_and_slopes(of, *primals)
    moved, moved_margin, moved_keys, *_ = tangents
    if of.surrogate != "logistic":
        moved = moved - moved_margin  # its derivative: the surrogate is a function of margin - score
    return total, jnp.sum(slopes * moved) + jnp.sum(key_slopes * moved_keys)


def _sum_and_slopes(
    of: _Blocks,
    scores: jax.Array,
    margin: jax.Array,
    keys: jax.Array,
    weights: jax.Array,
    chosen: jax.Array,
    blocks: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``_sum_over_pairs`` and its derivatives by the scores and by the keys.

    The chosen meet the keys ``of.size`` at a time, in as many blocks as they fill: a rare class has few pairs, and
    no pair is kept.
    """
    surrogate, size = of
    rank = jnp.cumsum(chosen)
    matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

    def cost(gaps: jax.Array) -> jax.Array:
        return SURROGATES[surrogate](gaps, margin)

    def add(block: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        rows = jnp.searchsorted(rank, 1 + block * size + jnp.arange(size))  # b after the last
        real = rows < len(scores)
        gaps = scores.at[rows].get(mode="fill", fill_value=0)[:, None] - keys[None]
        costs, slopes = jax.jvp(cost, (gaps,), (jnp.ones_like(gaps),))
        total, by_score, by_key = sums
        total += jnp.sum(jnp.where(real, matmul(costs, weights), 0))
        by_score = by_score.at[rows].add(matmul(slopes, weights), mode="drop")
        return total, by_score, by_key - weights * matmul(real.astype(slopes.dtype), slopes)

    start = jnp.zeros_like(scores[0]), jnp.zeros_like(scores), jnp.zeros_like(keys)
    return jax.lax.fori_loop(0, blocks, add, start)


def highest(
    scores: jax.Array, present: jax.Array, allowed: jax.Array, *, size: int
) -> tuple[jax.Array, jax.Array]:
    """The ``allowed`` highest of the scores that are present, a fractional number and ``size`` at most, [size],
    and weights with sum 1. All scores equal to the last share its place: it is their mean, and weighs less."""
    candidates = jnp.where(present, scores, -jnp.inf)
    highest, _ = jax.lax.top_k(candidates, size)
    # the lowest allowed score; not by index, because XLA would sort for a constant index
    allowed_ranks = jnp.arange(size, dtype=scores.dtype) < jnp.maximum(allowed, 1)
    last = jnp.min(highest, where=allowed_ranks, initial=jnp.inf)
    last = jax.lax.stop_gradient(last)
    above, equal = ~(highest <= last), present & (scores == last)
    # adds exactly 0, so the value is not rounded; only the gradient becomes that of the mean
    last += jnp.sum(jnp.where(equal, scores - last, 0)) / jnp.maximum(jnp.sum(equal, dtype=scores.dtype), 1)
    keys = jnp.where(above, highest, last)
    ties = highest == last
    num_above, num_ties = (jnp.sum(x, dtype=scores.dtype) for x in (above, ties))
    rest = (allowed - num_above) / jnp.maximum(num_ties, 1)
    weights = jnp.where(above, 1, jnp.where(ties, rest, 0))
    return keys, weights / jnp.where(allowed > 0, allowed, 1)
