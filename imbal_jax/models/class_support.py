"""Which earlier pictures of an episode show which class, for networks that compare with them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

UNSEEN = -1e4
"""Logit of a class that no earlier picture shows: finite, so that a loss on it is, and without a gradient."""


def earlier(steps: int) -> Array:
    """bool [T, T]: whether step s (second axis) comes before step t."""
    return jnp.tril(jnp.ones((steps, steps), bool), -1)


def shown_classes(labels: Array, num_outputs: int) -> Array:
    """float32 [B, T, C]: one-hot of the labels, zeros of queries (-1) and of labels beyond the outputs."""
    return jax.nn.one_hot(labels, num_outputs, dtype=jnp.float32)


def sums_before(values: Array) -> Array:
    """[B, T, ...]: at step t the sum over the steps before it."""
    return jnp.cumsum(values, axis=1) - values


def where_shown(logits: Array, counts: Array) -> Any:
    """``logits`` [B, T, C], and ``UNSEEN`` where ``counts`` [B, T, C] of earlier pictures is 0."""
    return jnp.where(counts > 0, logits, UNSEEN)
