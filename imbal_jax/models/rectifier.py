"""The rectifier max(x, 0), written so that a CPU computes each activation once."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array


def relu(x: Array) -> Array:
    """max(x, 0); its derivative is 1 where x > 0, else 0.

    XLA's CPU backend repeats an element-wise operation of one large operand in every operation that reads it. Along
    the shortcuts of a residual network each block would thus compute all blocks before it again, in both passes. A
    selection has two large operands, so its result is kept, and the derivative reads it. On GPU and TPU
    nothing changes.
    """
    return _selected(x) if jax.default_backend() == "cpu" else nn.relu(x)


@jax.custom_jvp
def _selected(x: Array) -> Array:
    return jnp.where(x <= 0, 0, x)  # not x > 0, so that NaN stays


@_selected.defjvp
def _selected_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    y = _selected(*primals)
    return y, jnp.where(y > 0, tangents[0], 0)
