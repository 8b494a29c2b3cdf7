"""Projection head: maps features to the unit sphere for contrastive losses."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax


class ProjectionHead(nn.Module):
    """Dense, ReLU, dense, then to unit length; not kept after training (Khosla et al., NeurIPS 2020, 3.1).

    Attributes:
      num_features: width of the result; theirs is 128.
      hidden: width between the two layers, None for that of the input, as theirs.
      dtype: dtype of the dense layers, float32 or bfloat16; parameters are ``param_dtype``, the result float32.
    """

    num_features: int = 128
    hidden: int | None = None
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Features [..., D] -> float32 [..., num_features] of length 1."""
        widths = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = nn.relu(nn.Dense(self.hidden or x.shape[-1], name="dense0", **widths)(x))
        x = nn.Dense(self.num_features, name="dense1", **widths)(x)
        return unit_length(x)


def unit_length(x: Array) -> Array:
    """Vectors [..., D] divided by their Euclidean length, in float32 (float64 for float64).

    One shorter than 1e-12 becomes 0 with gradient 0: its direction is noise, and the quotient would
    multiply the gradient by 1e12.
    """
    x = jnp.asarray(x)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    long_enough = square > 1e-24
    return jnp.where(long_enough, x * lax.rsqrt(jnp.where(long_enough, square, 1)), 0)
