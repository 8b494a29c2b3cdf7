"""From the pictures of episodes to vectors: pixels as they are, four convolutional blocks, or a ResNet."""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.errors import InputError
from imbal_jax.models.convolution import conv_general_dilated
from imbal_jax.models.normalization import Norm, normalization
from imbal_jax.models.resnet import ResNet, he_normal
from imbal_jax.models.unet import max_pool

Encoder = Literal["pixels", "conv", "resnet"]
BLOCKS = 4


class PictureEncoder(nn.Module):
    """Each picture to one vector, apart from the other pictures of its episode.

    With ``norm="batch"`` that holds in evaluation only: in training the statistics are those of all pictures of the
    batch, later ones too, as published few-shot protocols have it.

    Attributes:
      kind: "pixels", the flattened picture; "conv", four blocks of 3x3 convolution, norm, ReLU and max-pool by 2
        (Vinyals et al., NeurIPS 2016), flattened: 64 numbers for 28x28 pixels; "resnet", three stages of two
        residual blocks and the mean over pixels (after Chan et al., NeurIPS 2022): 4 ``width`` numbers.
      width: channels of "conv"; of the first stage of "resnet".
      norm: "group" or "batch".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dtype: computation dtype; the result is float32.
    """

    kind: Encoder
    width: int = 64
    norm: Norm = "group"
    axis_name: str | None = None
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @classmethod
    def of(cls, model: Any, **options: Any) -> "PictureEncoder":
        """For a model with the fields ``encoder``, ``encoder_width``, norm, axis_name, dtype and param_dtype.

        options: name and parent.
        """
        return cls(
            model.encoder,
            model.encoder_width,
            model.norm,
            model.axis_name,
            model.dtype,
            model.param_dtype,
            **options,
        )

    @nn.compact
    def __call__(self, images: Array, train: bool) -> Array:
        """Images [B, T, H, W, C] -> float32 [B, T, D]. Raises InputError for pictures too small for the blocks."""
        batch, steps, height, width, _ = images.shape
        if self.kind == "pixels":
            return images.reshape(batch, steps, -1).astype(jnp.float32)
        pictures = images.reshape(batch * steps, *images.shape[2:])
        if self.kind == "resnet":
            found = ResNet(
                1,
                stage_sizes=(2, 2, 2),
                width=self.width,
                norm=self.norm,
                axis_name=self.axis_name,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name="resnet",
            )(pictures, train, outputs="features")
            return jnp.asarray(found).reshape(batch, steps, -1)
        if min(height, width) < 2**BLOCKS:
            raise InputError(
                f"images of {height} x {width} are too small for {BLOCKS} blocks that halve them: give images of "
                f"{2**BLOCKS} pixels or more, or encoder pixels"
            )
        x = jnp.asarray(pictures, self.dtype)
        for block in range(BLOCKS):
            x = nn.Conv(
                self.width,
                (3, 3),
                padding=1,
                use_bias=False,
                kernel_init=he_normal,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                conv_general_dilated=conv_general_dilated,
                name=f"conv{block}",
            )(x)
            norm = normalization(
                self.norm,
                axis_name=self.axis_name,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"norm{block}",
            )
            x = nn.relu(norm(x, train))
            x = max_pool(x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2])
        return x.astype(jnp.float32).reshape(batch, steps, -1)
