"""A recurrence whose weight gradients are single matrix products over all steps."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

Affine = Callable[[str, Array], Array]
Cell = Callable[[Affine, Any], tuple[Any, Any]]
KEPT = "kept_for_the_backward_scan"
KEPT_ONLY = jax.checkpoint_policies.save_only_these_names(KEPT)


def kept(value: Array) -> Array:
    """``value``, which the backward scan of ``recurrence`` reads from memory and does not compute again."""
    return checkpoint_name(value, KEPT)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recurrence(
    cell: Cell, weights: Mapping[str, Array], offsets: Mapping[str, Array], carry: Any
) -> tuple[Any, Any]:
    """``lax.scan`` of ``cell`` over T steps; returns (last carry, results of all steps [T, ...]).

    In step t the cell is called with ``affine`` and the carry and returns (carry, result), where
    ``affine(name, x) = x @ weights[name] + offsets[name][t]``, x [B, in] -> [B, out]. It names each weight once a
    step, and may close over static values only.

    The gradient of a weight, sum_t x_t' dz_t, is one product [in, T B] x [T B, out] after the backward scan.
    Differentiating ``lax.scan`` instead adds one small product to an accumulator of the weight's size in each step.
    The backward scan keeps carries and products and computes the rest of a step again: on a CPU that costs less
    than to write it to memory and read it back. Reverse mode only.

    weights: [in, out] by name. offsets: [T, B, out] under the same names: a bias, or a projection of inputs that all
    steps share.
    """
    carry, (results, _) = _run(cell, weights, offsets, carry)
    return carry, results


def _run(
    cell: Cell, weights: Mapping[str, Array], offsets: Mapping[str, Array], carry: Any
) -> tuple[Any, tuple[Any, dict[str, Array]]]:
    """The recurrence, and beside its results what each weight was multiplied with, [T, B, in]."""

    @partial(jax.checkpoint, prevent_cse=False, policy=KEPT_ONLY)
    def step(carry: Any, offset: Mapping[str, Array]) -> tuple[Any, tuple[Any, dict[str, Array]]]:
        seen: dict[str, Array] = {}

        def affine(name: str, x: Array) -> Array:
            seen[name] = x
            return kept(x @ weights[name] + offset[name])

        carry, result = cell(affine, carry)
        return carry, (result, seen)

    return lax.scan(step, carry, offsets)


def _forward(
    cell: Cell, weights: Mapping[str, Array], offsets: Mapping[str, Array], carry: Any
) -> tuple[Any, Any]:
    def of_rest(offsets: Mapping[str, Array], carry: Any) -> Any:
        last, (results, seen) = _run(cell, weights, offsets, carry)
        return (last, results), seen

    outputs, backward, seen = jax.vjp(of_rest, offsets, carry, has_aux=True)
    return outputs, (backward, seen)


def _backward(cell: Cell, residuals: Any, cotangents: Any) -> tuple[Any, Any, Any]:
    backward, seen = residuals
    of_offsets, of_carry = backward(cotangents)
    of_weights = {name: jnp.einsum("tbi,tbo->io", seen[name], of_offsets[name]) for name in seen}
    return of_weights, of_offsets, of_carry


recurrence.defvjp(_forward, _backward)
