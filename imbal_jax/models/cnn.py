"""A plain convolutional network: the smallest model worth training, for tests and first runs."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.models.convolution import conv_general_dilated
from imbal_jax.models.normalization import Norm, normalization


class CNN(nn.Module):
    """Stages of 3x3 convolution, norm, ReLU and 2x2 max-pool; global average; one dense layer.

    Attributes:
      num_outputs: logits per image.
      width: channels of the first stage, doubled by each later one.
      stages: how many; images need at least ``2**stages`` pixels a side.
      norm: "group" or "batch".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on the features before the dense layer; needs the "dropout" key in training.
      dtype: of the computation, float32 or bfloat16; parameters are ``param_dtype``, logits float32.
    """

    num_outputs: int
    width: int = 16
    stages: int = 3
    norm: Norm = "group"
    axis_name: str | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, features: bool = False) -> Array:
        """Images [B, H, W, channels] -> float32 logits [B, num_outputs].

        With ``features=True``, the float32 input of the dense layer [B, D] instead.
        """
        x = jnp.asarray(x, self.dtype)
        for stage in range(self.stages):
            x = nn.Conv(
                self.width * 2**stage,
                (3, 3),
                padding=1,
                use_bias=False,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                conv_general_dilated=conv_general_dilated,
                name=f"conv{stage}",
            )(x)
            norm = normalization(
                self.norm,
                axis_name=self.axis_name,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"norm{stage}",
            )
            x = nn.relu(norm(x, train))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        pooled = x.astype(jnp.float32).mean(axis=(1, 2))
        if features:
            return pooled
        if self.dropout > 0.0:
            pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        head = nn.Dense(self.num_outputs, dtype=jnp.float32, param_dtype=self.param_dtype, name="head")
        return head(pooled)
