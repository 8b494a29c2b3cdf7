"""A small convolutional network: trains in seconds on a laptop, for demonstrations and first looks."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.errors import InputError
from imbal_jax.models.convolution import conv_general_dilated
from imbal_jax.models.dropout import Dropout
from imbal_jax.models.head import HEADS, Head, Outputs, outputs_of
from imbal_jax.models.normalization import Norm, normalization
from imbal_jax.models.resnet import space_to_depth


class CNN(nn.Module):
    """Patches into channels, then convolution, normalisation, ReLU, each stage but the first by stride 2.

    The last map is pooled to its mean and its maximum: a finding of a few pixels moves the maximum.

    Attributes:
      num_outputs: logits per image.
      width: channels of the first stage, doubled by each later one.
      stages: how many; images need at least ``patch * 2**(stages - 1)`` pixels a side.
      patch: side of the squares of pixels that become the channels of one place.
      norm: "group" or "batch".
      head: "linear" or "cosine".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on the features before the head; by place in the batch (``models.dropout``).
      views: how often a batch holds each image, for dropout.
      dtype: computation dtype, float32 or bfloat16; parameters are ``param_dtype``, logits float32.
    """

    num_outputs: int
    width: int = 32
    stages: int = 3
    patch: int = 4
    norm: Norm = "group"
    head: Head = "linear"
    axis_name: str | None = None
    dropout: float = 0.0
    views: int = 1
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Images [B, H, W, channels] -> float32 logits [B, num_outputs].

        ``outputs="features"``: the float32 input of the head [B, D] (before dropout) instead; "both": a
        dict of ``logits`` and ``features``.
        """
        if min(x.shape[1:3]) < self.patch * 2 ** (self.stages - 1):
            raise InputError(
                f"images of {x.shape[1]} x {x.shape[2]} are too small for patches of {self.patch} and "
                f"{self.stages} stages: give larger images, or fewer model.options stages"
            )
        x = space_to_depth(jnp.asarray(x, self.dtype), self.patch)
        for stage in range(self.stages):
            x = nn.Conv(
                self.width * 2**stage,
                (3, 3),
                strides=1 if stage == 0 else 2,
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
        x = x.astype(jnp.float32)
        pooled = jnp.concatenate([x.mean(axis=(1, 2)), x.max(axis=(1, 2))], axis=-1)
        head = HEADS[self.head](self.num_outputs, param_dtype=self.param_dtype, name="head")
        drop = Dropout(self.dropout, self.axis_name, self.views)
        return outputs_of(head, pooled, outputs, drop, train)
