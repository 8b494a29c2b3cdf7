"""Group and batch normalisation of NHWC images, in few passes over memory."""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from imbal_jax.errors import InputError

Norm = Literal["group", "batch"]


class GroupNorm(nn.Module):
    """Each image and group of channels brought to mean 0 and variance 1, then scaled and shifted.

    y = scale (x - mean) / sqrt(variance + epsilon) + bias. The result for one image does not depend
    on the rest of the batch: neither on how the batch was balanced nor on the number of devices.

    Wu & He 2018, eqs. 1-6. ``max_groups`` 32 as in the paper, fewer where that would leave less
    than ``min_group_size`` channels in a group.
    """

    max_groups: int = 32
    min_group_size: int = 8
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """[B, ..., channels] -> the same shape in ``dtype``; ``train`` changes nothing."""
        channels = x.shape[-1]
        groups = num_groups(channels, self.max_groups, self.min_group_size)
        scale = self.param("scale", self.scale_init, (channels,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), self.param_dtype)
        wide = x.astype(jnp.float32)
        space = tuple(range(1, x.ndim - 1))

        def group_mean(per_channel: Array) -> Array:
            means = per_channel.reshape(-1, groups, channels // groups).mean(-1)
            return jnp.repeat(means, channels // groups, axis=-1)

        mean = group_mean(wide.mean(space))
        variance = jnp.maximum(group_mean(jnp.square(wide).mean(space)) - jnp.square(mean), 0.0)
        factor = scale * lax.rsqrt(variance + self.epsilon)
        shift = bias - mean * factor
        expand = (slice(None), *(None for _ in space), slice(None))
        return (wide * factor[expand] + shift[expand]).astype(self.dtype)


class BatchNorm(nn.Module):
    """Each channel brought to mean 0 and variance 1 over the batch, then scaled and shifted.

    In training the mean and variance are those of the whole batch: with ``axis_name`` they are
    averaged over that mesh axis, so that the result does not change with the number of devices.
    In evaluation they are the running averages kept in ``batch_stats``.

    Ioffe & Szegedy 2015, algorithm 1.
    """

    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """[B, ..., channels] -> the same shape in ``dtype``; updates ``batch_stats`` in training."""
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), self.param_dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_variance = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        wide = x.astype(jnp.float32)
        if train:
            over = tuple(range(x.ndim - 1))
            mean, square = wide.mean(over), jnp.square(wide).mean(over)
            if self.axis_name is not None and not self.is_initializing():
                mean, square = lax.pmean((mean, square), self.axis_name)
            variance = jnp.maximum(square - jnp.square(mean), 0.0)
            if not self.is_initializing():
                old, new = self.momentum, 1.0 - self.momentum
                running_mean.value = old * running_mean.value + new * mean
                running_variance.value = old * running_variance.value + new * variance
        else:
            mean, variance = running_mean.value, running_variance.value
        factor = scale * lax.rsqrt(variance + self.epsilon)
        return (wide * factor + (bias - mean * factor)).astype(self.dtype)


def num_groups(channels: int, max_groups: int = 32, min_group_size: int = 8) -> int:
    """The largest divisor of ``channels`` within ``max_groups`` that keeps groups large enough."""
    largest = max(1, min(max_groups, channels // min_group_size))
    return next(groups for groups in range(largest, 0, -1) if channels % groups == 0)


def normalization(norm: Norm, *, axis_name: str | None = None, **options: Any) -> GroupNorm | BatchNorm:
    """The module called ``norm``. Raises ``InputError`` for anything but "group" and "batch"."""
    if norm == "group":
        return GroupNorm(**options)
    if norm == "batch":
        return BatchNorm(axis_name=axis_name, **options)
    raise InputError(f"norm {norm!r} of a model: must be 'group' or 'batch'")
