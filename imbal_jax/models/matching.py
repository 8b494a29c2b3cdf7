"""Matching network: classes of earlier pictures, weighted by attention to them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.models.class_support import earlier, shown_classes, sums_before, where_shown
from imbal_jax.models.dropout import Dropout
from imbal_jax.models.episode_encoder import Encoder, PictureEncoder
from imbal_jax.models.episode_inputs import Episodes, pictures_and_labels
from imbal_jax.models.head import Outputs
from imbal_jax.models.normalization import Norm


class MatchingNetwork(nn.Module):
    """P(c | x_t) = sum of a(t, s) over the pictures s of class c, a = softmax_s(scale * cos(f(x_t), f(x_s))).

    Vinyals et al., NeurIPS 2016, eqs. 1-2, without full context embeddings, at every step of an episode: the support
    of picture t is every earlier picture whose label was shown. Logits are the logarithm of the sums before they are
    normalised, so that their softmax is P. A class that has no support gets ``class_support.UNSEEN``.

    Attributes:
      num_outputs: logits per picture: the ways of an episode.
      scale: of the cosine. 1 in the paper; with it P of the right one of 20 ways is at most 0.28, which a
        cross-entropy keeps pulling at.
      encoder: "conv", "resnet" or "pixels" (``episode_encoder``).
      encoder_width: its channels.
      norm: of the encoder, "group" or "batch".
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on the encoded pictures; by place in the batch (``models.dropout``).
      dtype: computation dtype of the encoder; attention is float32, as are the parameters (``param_dtype``).
    """

    num_outputs: int
    scale: float = 10.0
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
        logits = attention_to_classes(dropped, labels, self.num_outputs, self.scale)
        return {"logits": logits, "features": features} if outputs == "both" else logits


def attention_to_classes(features: Array, labels: Array, num_outputs: int, scale: float) -> Array:
    """log sum exp(scale * cosine) over the earlier pictures of each class, [B, T, C].

    features: [B, T, D]. labels: [B, T], of which picture t sees those before it.
    """
    # the epsilon inside the root: the gradient of a norm is NaN at 0
    unit = features * jax.lax.rsqrt(jnp.square(features).sum(-1, keepdims=True) + 1e-12)
    shown = shown_classes(labels, num_outputs)
    similarity = scale * jnp.einsum("btd,bsd->bts", unit, unit)
    known = earlier(labels.shape[1]) & (labels >= 0)[:, None]
    largest = jax.lax.stop_gradient(jnp.where(known, similarity, -scale).max(-1, keepdims=True))
    weights = jnp.where(known, jnp.exp(jnp.where(known, similarity - largest, 0.0)), 0.0)
    counts = sums_before(shown)
    sums = jnp.einsum("bts,bsc->btc", weights, shown)
    return where_shown(largest + jnp.log(jnp.where(counts > 0, jnp.maximum(sums, 1e-37), 1.0)), counts)
