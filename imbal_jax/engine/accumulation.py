"""Gradient accumulation: a batch passes through the network in parts, whose activations fit in memory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp

from imbal_jax.errors import InputError

Forward = Callable[[Any, Mapping[str, Any], Any], tuple[Any, Mapping[str, Any]]]
"""``(params, model state, inputs) -> (outputs, changed model state)``."""

_PART: ContextVar[tuple[Any, int]] = ContextVar("part", default=(0, 1))


@contextmanager
def part_of_batch(part: Any, parts: int) -> Iterator[None]:
    """While it lasts, the network that is traced sees the rows ``part``, ``part + parts``, ... of its batch."""
    token = _PART.set((part, parts))
    try:
        yield
    finally:
        _PART.reset(token)


def key_of_part(key: jax.Array) -> jax.Array:
    """The key of this part of the batch; ``key`` itself where the batch is whole."""
    part, parts = _PART.get()
    return key if parts == 1 else jax.random.fold_in(key, part)


def places_in_batch(rows: int, axis_name: str | None) -> jax.Array:
    """int32 [rows]: the places in the global batch of the rows that this device's network sees now."""
    part, parts = _PART.get()
    shard = 0 if axis_name is None else jax.lax.axis_index(axis_name)
    return shard * rows * parts + part + parts * jnp.arange(rows)


def value_and_grad_in_parts(
    forward: Forward,
    objective: Callable[[Any], tuple[jax.Array, Any]],
    params: Any,
    model_state: Mapping[str, Any],
    inputs: Any,
    parts: int,
) -> tuple[tuple[jax.Array, tuple[Mapping[str, Any], Any]], Any]:
    """``((loss, (changed model state, metrics)), gradient)`` of ``objective(outputs)`` for the whole batch.

    The network passes over the parts once for the outputs, whose loss is that of the whole batch whatever it compares
    (classes, overlaps, ranks), and again for the gradients, each part's summed with those before (Gao et al. 2021,
    arXiv 2101.06983, algorithm 1): a third more computation, and activations of one part at a time. The numbers are
    those of one pass up to rounding, except of BatchNorm, which normalises each part by itself.

    forward: called in both passes with equal arguments, and to give equal outputs. inputs: a tree of arrays [B, ...].
    Raises InputError where B is no multiple of ``parts``, and for outputs that are not of single rows.
    """
    (rows,) = {len(leaf) for leaf in jax.tree.leaves(inputs)}
    if rows % parts:
        raise InputError(
            f"train.accumulation is {parts} and a device's share of the batch {rows} images: give a divisor of it"
        )

    # every parts-th row, so that a part is spread over the devices as the batch is
    def cut(tree: Any) -> Any:
        return jax.tree.map(lambda x: jnp.moveaxis(x.reshape(rows // parts, parts, *x.shape[1:]), 1, 0), tree)

    def join(tree: Any) -> Any:
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(rows, *x.shape[2:]), tree)

    def seen(
        params: Any, state: Mapping[str, Any], part: Any, at: jax.Array
    ) -> tuple[Any, Mapping[str, Any]]:
        with part_of_batch(at, parts):
            outputs, updates = forward(params, state, part)
        if any(leaf.shape[:1] != (rows // parts,) for leaf in jax.tree.leaves(outputs)):
            raise InputError(
                "train.accumulation: this method's outputs are not all of single images (it learns prototypes beside "
                "them): leave it at 1"
            )
        return outputs, {**state, **updates}

    def first(state: Mapping[str, Any], of: tuple[Any, jax.Array]) -> tuple[Mapping[str, Any], Any]:
        outputs, state = seen(params, state, *of)
        return state, outputs

    pieces, numbers = cut(inputs), jnp.arange(parts)
    final_state, outputs = jax.lax.scan(first, model_state, (pieces, numbers))
    (loss, metrics), wanted = jax.value_and_grad(objective, has_aux=True, allow_int=True)(join(outputs))

    def second(carry: tuple[Any, Any], of: tuple[Any, jax.Array, Any]) -> tuple[tuple[Any, Any], None]:
        summed, state = carry
        part, at, cotangent = of
        _, backward, state = jax.vjp(lambda p: seen(p, state, part, at), params, has_aux=True)
        (gradient,) = backward(cotangent)
        return (jax.tree.map(jnp.add, summed, gradient), state), None

    # of the parameters, and so varying over devices as they do
    nothing = jax.tree.map(lambda p: p * 0, params)
    (gradient, _), _ = jax.lax.scan(second, (nothing, model_state), (pieces, numbers, cut(wanted)))
    return (loss, (final_state, metrics)), gradient
