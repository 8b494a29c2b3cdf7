"""Prototypical network: the nearest mean of the earlier pictures of each class, in a learned space."""

import jax.numpy as jnp
from jax import Array

from imbal_jax.models.class_support import ComparingNetwork, shown_classes, sums_before, where_shown


class PrototypicalNetwork(ComparingNetwork):
    """z_{t,c} = -|f(x_t) - p_{t,c}|^2, p_{t,c} the mean of f over the pictures of class c before t.

    Snell, Swersky and Zemel, NeurIPS 2017, eqs. 1-2, at every step of an episode: the support of picture t is every
    earlier picture whose label was shown. A class that has none gets ``class_support.UNSEEN``.
    """

    def compared(self, labels: Array, features: Array) -> Array:
        """See ``nearness_of_prototypes``."""
        return nearness_of_prototypes(features, labels, self.num_outputs)


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
