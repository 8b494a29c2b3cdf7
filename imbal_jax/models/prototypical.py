"""Prototypical network: the nearest mean of the earlier pictures of each class, in a learned space."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.models.class_support import shown_classes, sums_before, where_shown
from imbal_jax.models.dropout import Dropout
from imbal_jax.models.episode_encoder import Encoder, PictureEncoder
from imbal_jax.models.episode_inputs import Episodes, pictures_and_labels
from imbal_jax.models.head import Outputs
from imbal_jax.models.normalization import Norm


class PrototypicalNetwork(nn.Module):
    """z_{t,c} = -|f(x_t) - p_{t,c}|^2, p_{t,c} the mean of f over the pictures of class c before t.

    Snell, Swersky and Zemel, NeurIPS 2017, eqs. 1-2, at every step of an episode: the support of picture t is every
    earlier picture whose label was shown. A class that has none gets ``class_support.UNSEEN``.

    Attributes:
      num_outputs: logits per picture: the ways of an episode.
      encoder: "conv", "resnet" or "pixels" (``episode_encoder``).
      encoder_width: its channels.
      norm: of the encoder, "group" or "batch".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on the encoded pictures; by place in the batch (``models.dropout``).
      dtype: computation dtype of the encoder; distances are float32, as are the parameters (``param_dtype``).
    """

    num_outputs: int
    encoder: Encoder = "conv"
    encoder_width: int = 64
    norm: Norm = "group"
    axis_name: str | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Episodes, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Episodes of T pictures -> float32 logits [B, T, num_outputs]; features are f(x), [B, T, D]."""
        images, labels = pictures_and_labels(inputs)
        features = PictureEncoder(
            self.encoder,
            self.encoder_width,
            self.norm,
            self.axis_name,
            self.dtype,
            self.param_dtype,
            name="encoder",
        )(images, train)
        if outputs == "features":
            return features
        dropped = Dropout(self.dropout, self.axis_name)(features, train) if self.dropout > 0.0 else features
        logits = nearness_of_prototypes(dropped, labels, self.num_outputs)
        return {"logits": logits, "features": features} if outputs == "both" else logits


def nearness_of_prototypes(features: Array, labels: Array, num_outputs: int) -> Array:
    """Minus the squared distances to the class means so far, [B, T, C].

    features: [B, T, D]. labels: [B, T], of which picture t sees those before it.
    """
    shown = shown_classes(labels, num_outputs)
    counts = sums_before(shown)
    sums = sums_before(shown[..., None] * features[:, :, None])
    prototypes = sums / jnp.maximum(counts, 1.0)[..., None]
    distances = jnp.square(features[:, :, None] - prototypes).sum(-1)
    return where_shown(-distances, counts)
