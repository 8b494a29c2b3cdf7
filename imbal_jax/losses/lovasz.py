"""Lovasz extension of the Jaccard loss, of probabilities and of logits.

Pixels, targets and masks are those of ``losses.overlap``. Berman, Triki and Blaschko, CVPR 2018 (arXiv 1705.08790).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_numbers
from imbal_jax.losses.pixels import checked_pixels, checked_targets, ratio, shown


def lovasz_softmax(probabilities: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None) -> jax.Array:
    """The Lovasz extension of the Jaccard loss (Berman, Triki and Blaschko, CVPR 2018), of each image and class.

    The mean of 1 - IoU over all thresholds of the errors |t - p|: convex in the errors, and 1 - IoU itself where the
    probabilities are 0 or 1. Sorts the pixels of an image.

    Args:
      probabilities, mask: as in ``dice``.
      targets: [B, *space, C], 0 or 1.

    Returns:
      [B, C]. Of a class that the image does not hold: its largest error.

    Raises:
      ValueError: shapes that do not fit.
    """
    probabilities, targets, known = checked_pixels(probabilities, targets, mask)
    return _extension(jnp.abs(targets - probabilities), targets, known)


def lovasz_hinge(logits: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None) -> jax.Array:
    """The Lovasz extension of the Jaccard loss of hinge errors max(0, 1 - z (2 t - 1)): for labels that overlap.

    At least 1 - IoU of the decisions z > 0, and 0 where every logit is beyond 1 on the right side.

    Args:
      logits: [B, *space, C], z, one sigmoid a class.
      targets: [B, *space, C], t, 0 or 1.
      mask: broadcastable to [B, *space], nonzero where the truth is known.

    Returns:
      [B, C], no upper limit. Of a class that the image does not hold: its largest error.

    Raises:
      ValueError: shapes that do not fit; known targets outside 0 to 1. Traced ones give NaN.
    """
    if np.shape(logits) != np.shape(targets):
        raise ValueError(
            f"logits {np.shape(logits)} and targets {np.shape(targets)}: expected [B, *space, C], both alike"
        )
    check_numbers("logits", logits)
    targets, _ = checked_targets(targets, mask)
    logits, known = shown(logits, mask)
    targets = targets.astype(logits.dtype)
    logits = jnp.where(jnp.isnan(targets), jnp.nan, logits)
    errors = jax.nn.relu(1 - logits * (2 * targets - 1))
    return _extension(jnp.where(known == 0, 0, errors), targets, known)


def _extension(errors: jax.Array, truth: jax.Array, known: jax.Array) -> jax.Array:
    """sum_k e_k (J_k - J_(k-1)), e sorted downward, J_k the Jaccard loss if the k largest errors are mistakes."""
    batch, classes = errors.shape[0], errors.shape[-1]
    flat = (batch, math.prod(errors.shape[1:-1]), classes)
    known = jnp.broadcast_to(known, errors.shape).reshape(flat)
    errors, truth = errors.reshape(flat), truth.reshape(flat)
    order = jnp.argsort(-jax.lax.stop_gradient(errors), axis=1)
    errors, truth, counted = (jnp.take_along_axis(values, order, axis=1) for values in (errors, truth, known))
    missed = jnp.cumsum(truth, axis=1)
    union = truth.sum(axis=1, keepdims=True) + jnp.cumsum(counted - truth, axis=1)
    losses = ratio(missed + union - truth.sum(axis=1, keepdims=True), union, empty=0)
    steps = jnp.diff(losses, axis=1, prepend=jnp.zeros_like(losses[:, :1]))
    return (errors * jax.lax.stop_gradient(steps)).sum(axis=1)
