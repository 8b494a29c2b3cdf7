"""U-Nets for the logits of every pixel or voxel: one, or a chain of small ones (W-Net)."""

from functools import partial
from typing import Any, Literal, get_args

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from imbal_jax.errors import InputError
from imbal_jax.models.convolution import conv_general_dilated
from imbal_jax.models.dropout import Dropout
from imbal_jax.models.head import HEADS, Head, Outputs
from imbal_jax.models.normalization import Norm, normalization
from imbal_jax.models.resnet import he_normal

Block = Literal["plain", "residual"]
Upsampling = Literal["transposed", "linear"]


class UNet(nn.Module):
    """Encoder that halves the resolution, decoder that doubles it and joins the encoder's maps, linear layer.

    Ronneberger, Fischer and Brox, MICCAI 2015, with padded convolutions and normalisation; in 2 or 3 spatial
    dimensions, as the input has (3x3 is then 3x3x3). The input may have any size: it is padded at the end of each
    axis to a multiple of ``2**depth`` by repeating the edge, and the result is cropped.

    Attributes:
      num_outputs: logits per pixel.
      depth: how often the resolution is halved (max-pool by 2).
      width: channels at full resolution, doubled with each halving up to ``max_width``.
      max_width: upper limit of the channels.
      block: of encoder and decoder, two 3x3 convolutions: "plain", or "residual" with a shortcut (1x1 where the
        number of channels changes).
      upsampling: "transposed", a 2x2 transposed convolution by 2; "linear", a 1x1 convolution and linear
        interpolation.
      bridge: a 3x3 convolution, norm and ReLU on the encoder's maps before they are joined.
      nets: U-Nets in a row. Each after the first is given the input and the logits of the one before it.
      deep_supervision: at how many coarser levels of the decoder there are logits too, from 0 to ``depth - 1``.
      norm: "group" or "batch".
      groups: of GroupNorm; by default 32, fewer where that would leave less than 8 channels in one.
      head: "linear" or "cosine".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate at the end of the encoder; by place in the batch (``models.dropout``).
      views: how often a batch holds each image, for dropout.
      remat: keep the output of each level only, and compute what is inside again in the backward pass. For
        accelerators; not on a CPU, where XLA needed no less memory (284 MB against 275 for 16 images of 96x96).
      dtype: computation dtype, float32 or bfloat16; parameters are ``param_dtype``, logits float32.
    """

    num_outputs: int
    depth: int = 4
    width: int = 16
    max_width: int = 512
    block: Block = "plain"
    upsampling: Upsampling = "transposed"
    bridge: bool = False
    nets: int = 1
    deep_supervision: int = 0
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
        """Images [B, H, W, channels] or volumes [B, D, H, W, channels] -> float32 logits [B, *space, num_outputs].

        ``outputs="features"``: the float32 input of the last layer [B, *space, width] instead; "both": a dict of
        ``logits`` and ``features``. Where there are auxiliary logits, "both" and training (``train``) give a dict
        that has them too, as the tuple ``deep``: of the nets before the last, [B, *space, num_outputs], then of the
        last one's coarser levels, 1/2, 1/4, ... Those at 1/k have the shape of ``logits[:, ::k, ::k]``.
        """
        space = x.shape[1:-1]
        if len(space) not in (2, 3):
            raise InputError(
                f"input of shape {list(x.shape)} of a U-Net: expected [B, H, W, channels] or [B, D, H, W, channels]"
            )
        if self.deep_supervision >= self.depth:
            raise InputError(
                f"deep_supervision {self.deep_supervision} of a U-Net: must be less than its depth {self.depth}"
            )
        dtypes = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        conv = partial(
            nn.Conv,
            use_bias=False,
            kernel_init=he_normal,
            conv_general_dilated=conv_general_dilated,
            **dtypes,
        )
        norm = partial(
            normalization,
            self.norm,
            axis_name=self.axis_name,
            **dtypes,
            **({"max_groups": self.groups, "min_group_size": 1} if self.groups else {}),
        )
        if self.upsampling == "transposed":
            upsample: Any = partial(Transposed, **dtypes)
        elif self.upsampling == "linear":
            upsample = partial(Linear, conv=conv)
        else:
            raise InputError(f"upsampling {self.upsampling!r} of a U-Net: must be 'transposed' or 'linear'")
        if self.block not in get_args(Block):
            raise InputError(f"block {self.block!r} of a U-Net: must be 'plain' or 'residual'")
        head = partial(HEADS[self.head], self.num_outputs, param_dtype=self.param_dtype)
        x = jnp.asarray(x, self.dtype)
        multiple = 2**self.depth
        x = jnp.pad(x, ((0, 0), *((0, -size % multiple) for size in space), (0, 0)), mode="edge")

        given, deep = x, []
        for index in range(self.nets):
            maps = Net(
                widths=tuple(min(self.width * 2**level, self.max_width) for level in range(self.depth + 1)),
                block=self.block,
                bridge=self.bridge,
                conv=conv,
                norm=norm,
                upsample=upsample,
                dropout=partial(Dropout, self.dropout, self.axis_name, self.views),
                remat=self.remat,
                name=f"net{index}",
            )(given, train)
            if index < self.nets - 1:
                logits = head(name=f"previous{index}")(maps[0].astype(jnp.float32))
                deep.append(_cropped(logits, space))
                given = jnp.concatenate([x, logits.astype(self.dtype)], axis=-1)
        features = _cropped(maps[0], space).astype(jnp.float32)
        if outputs == "features" and not self.is_initializing():
            return features
        for level in range(1, self.deep_supervision + 1):
            logits = head(name=f"deep{level}")(maps[level].astype(jnp.float32))
            deep.append(_cropped(logits, tuple(-(-size // 2**level) for size in space)))
        found = {"logits": head(name="head")(features)}
        if outputs == "both":
            found["features"] = features
        if deep and (train or outputs == "both"):
            found["deep"] = tuple(deep)
        return found if len(found) > 1 else found["logits"]


class Net(nn.Module):
    """Encoder and decoder; widths: channels of each level, the finest first."""

    widths: tuple[int, ...]
    block: Block
    bridge: bool
    conv: Any
    norm: Any
    upsample: Any
    dropout: Any
    remat: bool

    @nn.compact
    def __call__(self, x: Array, train: bool) -> list[Array]:
        """The maps of each level, the finest first, [B, *space / 2**level, widths[level]]: the decoder's."""
        down = nn.remat(Down, static_argnums=(2,)) if self.remat else Down
        up = nn.remat(Up, static_argnums=(3,)) if self.remat else Up
        encoded = []
        for level, width in enumerate(self.widths):
            x = down(width, self.block, level > 0, self.conv, self.norm, name=f"down{level}")(x, train)
            encoded.append(x)
        maps = [self.dropout()(x, train)]
        for level in reversed(range(len(self.widths) - 1)):
            width, name = self.widths[level], f"up{level}"
            joined = up(width, self.block, self.bridge, self.conv, self.norm, self.upsample, name=name)
            maps.append(joined(maps[-1], encoded[level], train))
        return maps[::-1]


class Down(nn.Module):
    """A level of the encoder: max-pool, but for the first, and two convolutions."""

    width: int
    block: Block
    pool: bool
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = max_pool(x) if self.pool else x
        return Convolutions(self.width, self.block, self.conv, self.norm, name="block")(x, train)


class Up(nn.Module):
    """A level of the decoder: the coarser maps at twice their resolution beside the encoder's, two convolutions."""

    width: int
    block: Block
    bridge: bool
    conv: Any
    norm: Any
    upsample: Any

    @nn.compact
    def __call__(self, x: Array, encoded: Array, train: bool) -> Array:
        x = self.upsample(self.width, name="upsampling")(x)
        if self.bridge:
            encoded = self.conv(self.width, (3,) * (x.ndim - 2), padding=1, name="bridge")(encoded)
            encoded = nn.relu(self.norm(name="bridge_norm")(encoded, train))
        x = jnp.concatenate([encoded, x], axis=-1)
        return Convolutions(self.width, self.block, self.conv, self.norm, name="block")(x, train)


class Convolutions(nn.Module):
    """Two 3x3 convolutions, each with norm and ReLU; with a shortcut, whose block starts as the shortcut."""

    width: int
    block: Block
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        kernel = (3,) * (x.ndim - 2)
        y = self.conv(self.width, kernel, padding=1, name="conv0")(x)
        y = nn.relu(self.norm(name="norm0")(y, train))
        y = self.conv(self.width, kernel, padding=1, name="conv1")(y)
        if self.block == "plain":
            return nn.relu(self.norm(name="norm1")(y, train))
        y = self.norm(scale_init=nn.initializers.zeros, name="norm1")(y, train)
        if x.shape[-1] != self.width:
            x = self.conv(self.width, (1,) * (x.ndim - 2), name="skip")(x)
            x = self.norm(name="skip_norm")(x, train)
        return nn.relu(x + y)


class Transposed(nn.Module):
    """Transposed convolution with kernel 2 and stride 2 in each dimension, without bias.

    Each output has one input, so this is one matrix product, whose 2^n results are put side by side.
    """

    width: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, *space, channels = x.shape
        places = tuple(range(1, 1 + len(space)))
        init = nn.initializers.variance_scaling(
            1.0, "fan_in", "normal", in_axis=0, out_axis=-1, batch_axis=places
        )
        kernel = self.param("kernel", init, (channels, *(2 for _ in space), self.width), self.param_dtype)
        y = jnp.tensordot(x, kernel.astype(self.dtype), 1)
        for axis in range(len(space)):  # [B, h, w, 2, 2, width] -> [B, h, 2, w, 2, width]
            y = jnp.moveaxis(y, 1 + len(space) + axis, 2 + 2 * axis)
        return y.reshape(batch, *(2 * size for size in space), self.width)


class Linear(nn.Module):
    """1x1 convolution and linear interpolation, in this order: they commute, and there are fewer pixels before."""

    width: int
    conv: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return upsampled(self.conv(self.width, (1,) * (x.ndim - 2), name="conv")(x))


def max_pool(x: Array) -> Array:
    """The maximum of each 2x2 (2x2x2) pixels; every size has to be even."""
    batch, *space, channels = x.shape
    halves = [part for size in space for part in (size // 2, 2)]
    return x.reshape(batch, *halves, channels).max(axis=tuple(range(2, 2 + 2 * len(space), 2)))


def upsampled(x: Array) -> Array:
    """Twice the resolution by linear interpolation, a quarter of a pixel to both sides; edges are repeated."""
    for axis in range(1, x.ndim - 1):
        first, last = (lax.slice_in_dim(x, i, i + 1, axis=axis) for i in (0, x.shape[axis] - 1))
        before = jnp.concatenate([first, lax.slice_in_dim(x, 0, -1, axis=axis)], axis)
        after = jnp.concatenate([lax.slice_in_dim(x, 1, None, axis=axis), last], axis)
        parts = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
        x = parts.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return x


def _cropped(x: Array, space: tuple[int, ...]) -> Array:
    return x[(slice(None), *(slice(size) for size in space))]


wnet = partial(UNet, nets=2, depth=2, width=8, block="residual", bridge=True)
"""Two small U-Nets in a row (W-Net), Galdran et al., Scientific Reports 2022; 68,164 parameters for colour images and
2 outputs. Theirs is trained on the sum of the losses of both nets: the first one's logits are ``deep``."""
