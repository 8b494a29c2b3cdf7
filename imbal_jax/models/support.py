"""Heads that compare features with stored ones: class prototypes, a key-value memory, attention over a support set.

All read a support of keys [C, M, D]: M slots a class, of which the first ``filled[c]`` hold a key; the value of a
slot is its class. One slot a class that holds the class mean makes a prototype head.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

Distance = Literal["cosine", "euclidean"]

FLOOR = 1e-3
"""Share of the uniform distribution in the probabilities of ``SupportAttention``: a class whose only example is the
query itself has no slot left in training, and its loss must stay finite."""

_EMPTY = -1e30  # score of an empty slot: finite, as the gradient of an infinite one would be NaN
_TINY = 1e-12


def similarity(queries: Array, keys: Array, distance: Distance) -> Array:
    """q . k / (|q| |k|), or -|q - k|^2: float32 [B, ...] of queries [B, D] and keys [..., D]."""
    if distance == "cosine":
        return jnp.tensordot(_unit(queries), _unit(keys), ((-1,), (-1,)))
    product = jnp.tensordot(queries, keys, ((-1,), (-1,)))
    lengths = jnp.sum(jnp.square(queries), axis=-1).reshape(-1, *[1] * (keys.ndim - 1))
    return 2 * product - lengths - jnp.sum(jnp.square(keys), axis=-1)


def class_log_probabilities(scores: Array, filled: Array) -> Array:
    """log p_c with p_c the sum of softmax(scores) over the slots of class c: float32 [B, C].

        p_c = sum_{i of c} exp s_i / sum_j exp s_j

    scores: [B, C, M], strength times similarity. filled: int [C], how many slots of each class count. Scores of an
    extreme strength stay finite: the softmax becomes the nearest neighbour. Graves, Wayne and Danihelka 2014, eq. 5;
    Vinyals et al., NeurIPS 2016, eq. 1.
    """
    used = jnp.arange(scores.shape[-1]) < filled[:, None]
    scores = jnp.where(used, scores, _EMPTY)
    each = jax.nn.logsumexp(scores, axis=-1)
    return each - jax.nn.logsumexp(each, axis=-1, keepdims=True)


class SupportAttention(nn.Module):
    """Trained cross-attention from a query's features to a support set, whose classes it mixes.

        s_hi = strength_h cos(W_h q, V_h k_i) - log filled_c,   p_c = 1/H sum_h sum_{i of c} softmax_i(s_h)

    The classes have one say together, however many slots each fills. Matching networks (Vinyals et al., NeurIPS
    2016, eq. 1 and 2) with several heads of learned projections (Vaswani et al., NeurIPS 2017, section 3.2).
    """

    width: int = 32
    heads: int = 4

    @nn.compact
    def __call__(self, features: Array, keys: Array, filled: Array, train: bool) -> Array:
        """float32 log probabilities [B, C] of features [B, D], keys [C, M, D], filled int [C].

        train: a query does not see a key equal to itself, which would tell it the answer.
        """
        shape = (self.heads, self.width)
        queries = _unit(nn.DenseGeneral(shape, use_bias=False, name="query")(_unit(features)))
        seen = _unit(nn.DenseGeneral(shape, use_bias=False, name="key")(_unit(keys)))
        # softplus(10) = 10: the cosines of unrelated features lie close together
        strength = self.param("strength", nn.initializers.constant(10.0), (self.heads,))
        scores = jnp.einsum("bhw,cmhw,h->hbcm", queries, seen, jax.nn.softplus(strength))
        scores -= jnp.log(jnp.maximum(filled, 1))[:, None]
        if train:
            # product rounding keeps the distance of equal vectors from being exactly 0
            near = similarity(_unit(features), _unit(keys), "euclidean") > -1e-5
            scores = jnp.where(near, _EMPTY, scores)
        logs = jax.vmap(class_log_probabilities, in_axes=(0, None))(scores, filled)
        mixed = jax.nn.logsumexp(logs, axis=0) - jnp.log(self.heads)
        return jnp.logaddexp(mixed + jnp.log1p(-FLOOR), jnp.log(FLOOR / len(filled)))


def _unit(x: Array) -> Array:
    # the epsilon inside the root: the gradient of a norm is NaN at 0
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + _TINY)
