"""Matching network: classes of earlier pictures, weighted by attention to them."""

import jax
import jax.numpy as jnp
from jax import Array

from imbal_jax.models.class_support import ComparingNetwork, earlier, shown_classes, sums_before, where_shown


class MatchingNetwork(ComparingNetwork):
    """P(c | x_t) = sum of a(t, s) over the pictures s of class c, a = softmax_s(scale * cos(f(x_t), f(x_s))).

    Vinyals et al., NeurIPS 2016, eqs. 1-2, without full context embeddings, at every step of an episode: the support
    of picture t is every earlier picture whose label was shown. Logits are the logarithm of the sums before they are
    normalised, so that their softmax is P. A class that has no support gets ``class_support.UNSEEN``.

    Attributes, beside those of ``ComparingNetwork``:
      scale: of the cosine. 1 in the paper; with it P of the right one of 20 ways is at most 0.28, which a
        cross-entropy keeps pulling at.
    """

    scale: float = 10.0

    def compared(self, labels: Array, features: Array) -> Array:
        """See ``attention_to_classes``."""
        return attention_to_classes(features, labels, self.num_outputs, self.scale)


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
