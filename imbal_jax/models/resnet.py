"""Residual networks: CIFAR (He et al. 2016, section 4.2), ImageNet, and a small one for a laptop."""

from functools import partial, reduce
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.errors import InputError
from imbal_jax.models.convolution import conv_general_dilated
from imbal_jax.models.dropout import Dropout
from imbal_jax.models.head import HEADS, Head, Outputs, outputs_of
from imbal_jax.models.normalization import Norm, normalization
from imbal_jax.models.rectifier import relu

Stem = Literal["conv", "imagenet", "space_to_depth"]
Shortcut = Literal["identity", "projection", "pooled"]

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average, one linear or cosine layer.

    Attributes:
      num_outputs: logits per image.
      stage_sizes: blocks in each stage; every stage but the first halves height and width.
      width: channels of the first stage, doubled by each later one (times 4 out of a bottleneck).
      bottleneck: 1x1, 3x3, 1x1 blocks with the stride in the 3x3 (ResNet "v1.5") instead of two 3x3.
      stem: "conv", a 3x3 convolution; "imagenet", 7x7 by 2 and a max-pool by 2; "space_to_depth",
        patches of pixels into channels, then a 3x3 convolution: the cheap way to shrink a grey X-ray.
      patch: side of the squares of pixels that "space_to_depth" makes into channels.
      folded_stem: compute the 7x7 convolution of "imagenet" as a 4x4 one over patches of 2x2 pixels: the same
        function of the same parameters, with 12 input channels of a colour image, which suits matrix units.
      sliced_pool: compute its max-pool as the largest of nine slices: the same values; pixels that share the maximum
        of a window share its gradient, which the first of them has otherwise.
      shortcut: where the shape changes, "identity" skips pixels and pads channels with zeros
        (option A of He et al.), "projection" is a 1x1 convolution (option B), "pooled" averages 2x2 pixels
        before that convolution, so that it sees all of them (ResNet-D: He et al. 2019).
      norm: "group" or "batch".
      groups: of GroupNorm; by default 32, fewer where that would leave less than 8 channels in one.
      head: "linear" or "cosine".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on the features before the head; by place in the batch (``models.dropout``).
      views: how often a batch holds each image, for dropout.
      remat: keep the output of each block only, and compute what is inside again in the backward pass; for
        accelerators whose memory is short.
      dtype: computation dtype, float32 or bfloat16; parameters are ``param_dtype``, logits float32.
    """

    num_outputs: int
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    bottleneck: bool = False
    stem: Stem = "conv"
    patch: int = 2
    folded_stem: bool = False
    sliced_pool: bool = False
    shortcut: Shortcut = "projection"
    norm: Norm = "group"
    groups: int | None = None
    head: Head = "linear"
    axis_name: str | None = None
    dropout: float = 0.0
    views: int = 1
    remat: bool = False
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Images [B, H, W, channels] -> float32 logits [B, num_outputs].

        ``outputs="features"``: the float32 input of the head [B, D] (before dropout) instead; "both": a
        dict of ``logits`` and ``features``.
        """
        conv = partial(
            nn.Conv,
            use_bias=False,
            kernel_init=he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            conv_general_dilated=conv_general_dilated,
        )
        norm = partial(
            normalization,
            self.norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            **({"max_groups": self.groups, "min_group_size": 1} if self.groups else {}),
        )
        x = jnp.asarray(x, self.dtype)
        if self.stem == "conv":
            x = conv(self.width, (3, 3), padding=1, name="stem")(x)
        elif self.stem == "imagenet":
            if self.folded_stem:
                x = FoldedStem(self.width, self.dtype, self.param_dtype, name="stem")(x)
            else:
                x = conv(self.width, (7, 7), strides=2, padding=3, name="stem")(x)
        elif self.stem == "space_to_depth":
            x = conv(self.width, (3, 3), padding=1, name="stem")(space_to_depth(x, self.patch))
        else:
            raise InputError(f"stem {self.stem!r} of a ResNet: 'conv', 'imagenet' or 'space_to_depth'")
        x = relu(norm(name="stem_norm")(x, train))
        if self.stem == "imagenet":
            if self.sliced_pool:
                x = sliced_max_pool(x)
            else:
                x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

        block = BottleneckBlock if self.bottleneck else BasicBlock
        if self.remat:
            block = nn.remat(block, static_argnums=(2,))
        for stage, size in enumerate(self.stage_sizes):
            for index in range(size):
                x = block(
                    width=self.width * 2**stage,
                    stride=2 if stage > 0 and index == 0 else 1,
                    shortcut=self.shortcut,
                    conv=conv,
                    norm=norm,
                    name=f"stage{stage}_block{index}",
                )(x, train)

        pooled = x.astype(jnp.float32).mean(axis=(1, 2))
        head = HEADS[self.head](self.num_outputs, param_dtype=self.param_dtype, name="head")
        drop = Dropout(self.dropout, self.axis_name, self.views)
        return outputs_of(head, pooled, outputs, drop, train)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut. The last norm starts at 0, so the block at identity."""

    width: int
    stride: int
    shortcut: Shortcut
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        y = self.conv(self.width, (3, 3), strides=self.stride, padding=1, name="conv0")(x)
        y = relu(self.norm(name="norm0")(y, train))
        y = self.conv(self.width, (3, 3), padding=1, name="conv1")(y)
        y = self.norm(scale_init=nn.initializers.zeros, name="norm1")(y, train)
        return relu(
            y + Skip(self.width, self.stride, self.shortcut, self.conv, self.norm, name="skip")(x, train)
        )


class BottleneckBlock(nn.Module):
    """1x1, strided 3x3, 1x1 to four times the width, beside a shortcut; starts at the identity."""

    width: int
    stride: int
    shortcut: Shortcut
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        y = self.conv(self.width, (1, 1), name="conv0")(x)
        y = relu(self.norm(name="norm0")(y, train))
        y = self.conv(self.width, (3, 3), strides=self.stride, padding=1, name="conv1")(y)
        y = relu(self.norm(name="norm1")(y, train))
        y = self.conv(4 * self.width, (1, 1), name="conv2")(y)
        y = self.norm(scale_init=nn.initializers.zeros, name="norm2")(y, train)
        skip = Skip(4 * self.width, self.stride, self.shortcut, self.conv, self.norm, name="skip")
        return relu(y + skip(x, train))


class Skip(nn.Module):
    """The shortcut: the input itself, or the input brought to the block's output shape."""

    width: int
    stride: int
    shortcut: Shortcut
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        if self.stride == 1 and x.shape[-1] == self.width:
            return x
        if self.shortcut == "identity":
            x = x[:, :: self.stride, :: self.stride]
            before = (self.width - x.shape[-1]) // 2
            return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, self.width - x.shape[-1] - before)))
        stride = self.stride
        if self.shortcut == "pooled" and stride > 1:
            x, stride = nn.avg_pool(x, (stride, stride), (stride, stride), "SAME", count_include_pad=False), 1
        elif self.shortcut not in ("projection", "pooled"):
            raise InputError(
                f"shortcut {self.shortcut!r} of a ResNet: must be 'identity', 'projection' or 'pooled'"
            )
        x = self.conv(self.width, (1, 1), strides=stride, padding=0, name="conv")(x)
        return self.norm(name="norm")(x, train)


class FoldedStem(nn.Module):
    """A 7x7 convolution by 2 with padding 3, as a 4x4 one over ``space_to_depth``; images of even sides.

    With an eighth row and column of zeros before the kernel, tap 2a + p of an axis meets pixel p of patch a.
    """

    width: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H/2, W/2, width]. Raises InputError for odd sides."""
        channels = x.shape[-1]
        kernel = self.param("kernel", he_normal, (7, 7, channels, self.width), self.param_dtype)
        taps = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0))).reshape(4, 2, 4, 2, channels, self.width)
        folded = taps.transpose(0, 2, 1, 3, 4, 5).reshape(4, 4, 4 * channels, self.width)
        return conv_general_dilated(
            space_to_depth(jnp.asarray(x, self.dtype)),
            jnp.asarray(folded, self.dtype),
            (1, 1),
            ((2, 1), (2, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


def sliced_max_pool(x: Array) -> Array:
    """The maximum over windows of 3x3 by 2 with padding 1, [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), C]."""
    height, width = ((side + 1) // 2 for side in x.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)), constant_values=-jnp.inf)
    slices = [
        padded[:, row : row + 2 * height : 2, column : column + 2 * width : 2]
        for row in range(3)
        for column in range(3)
    ]
    return reduce(jnp.maximum, slices)


def space_to_depth(x: Array, patch: int = 2) -> Array:
    """[B, H, W, C] -> [B, H/patch, W/patch, patch^2 C]. Raises ``InputError`` where patches do not fit."""
    batch, height, width, channels = x.shape
    if height % patch or width % patch:
        raise InputError(
            f"images of {height} x {width} do not divide into patches of {patch} pixels: change --data.image-size"
        )
    x = x.reshape(batch, height // patch, patch, width // patch, patch, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(
        batch, height // patch, width // patch, patch * patch * channels
    )


resnet18 = partial(ResNet, stage_sizes=(2, 2, 2, 2), width=64, stem="imagenet")
"""ResNet-18 of He et al. 2016, table 1; 11,689,512 parameters at 1000 classes with BatchNorm."""

resnet50 = partial(ResNet, stage_sizes=(3, 4, 6, 3), width=64, stem="imagenet", bottleneck=True)
"""ResNet-50 "v1.5" (stride in the 3x3); 25,557,032 parameters at 1000 classes with BatchNorm."""

resnet32 = partial(ResNet, stage_sizes=(5, 5, 5), width=16, stem="conv", shortcut="identity")
"""ResNet-32 for CIFAR, He et al. 2016, section 4.2; 464,154 parameters at 10 classes with BatchNorm."""

resnet_small = partial(ResNet, stage_sizes=(1, 1, 1, 1), width=32, stem="space_to_depth")
"""For chest X-rays of 64 to 128 pixels on a laptop: half resolution from the first layer on."""
