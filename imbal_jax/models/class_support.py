"""Which earlier pictures of an episode show which class, and the networks that compare a picture with them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.models.dropout import Dropout
from imbal_jax.models.episode_encoder import Encoder, PictureEncoder
from imbal_jax.models.episode_inputs import Episodes, pictures_and_labels
from imbal_jax.models.head import Outputs, outputs_of
from imbal_jax.models.normalization import Norm

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


class ComparingNetwork(nn.Module):
    """An encoder, and logits from comparing its vectors with those of earlier pictures; a subclass says how.

    Attributes:
      num_outputs: logits per picture: the ways of an episode.
      encoder: "conv", "resnet" or "pixels" (``episode_encoder``).
      encoder_width: its channels.
      norm: of the encoder, "group" or "batch".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on the encoded pictures; by place in the batch (``models.dropout``).
      dtype: computation dtype of the encoder; comparisons are float32, as are the parameters (``param_dtype``).
    """

    num_outputs: int
    encoder: Encoder = "conv"
    encoder_width: int = 64
    norm: Norm = "group"
    axis_name: str | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def compared(self, labels: Array, features: Array) -> Array:
        """Logits [B, T, num_outputs] of features [B, T, D]; picture t is given labels [B, T] before it only."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, inputs: Episodes, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Episodes of T pictures -> float32 logits [B, T, num_outputs]; features are f(x), [B, T, D]."""
        images, labels = pictures_and_labels(inputs)
        features = PictureEncoder.of(self, name="encoder")(images, train)
        dropout = Dropout(self.dropout, self.axis_name)
        return outputs_of(partial(self.compared, labels), features, outputs, dropout, train)
