"""Targets of mixed images: a blend of the labels of the two images."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def mixed_targets(
    labels: ArrayLike, partner_labels: ArrayLike, share: ArrayLike, num_classes: int
) -> jax.Array:
    """The label of a mixed image: share y + (1 - share) y', with class indices as one-hot vectors.

    An entry of multi-hot labels that is unknown, below 0, in one of the two that has a share is -1. A class
    index outside 0..C-1 adds nothing.

    Args:
      labels, partner_labels: both int [B], or both multi-hot [B, C] with entries 1, 0, -1, or soft.
      share: [B], of ``transforms.mixing.mix``.
      num_classes: C.

    Returns:
      float32 [B, C].

    Raises:
      ValueError: shapes that do not fit.
    """
    labels, partner_labels, share = (jnp.asarray(values) for values in (labels, partner_labels, share))
    if share.ndim != 1 or labels.shape not in (share.shape, (*share.shape, num_classes)):
        raise ValueError(
            f"labels have shape {labels.shape} and the shares {share.shape}, "
            f"expected [B] or [B, {num_classes}], and [B]"
        )
    if partner_labels.shape != labels.shape:
        raise ValueError(f"partner labels have shape {partner_labels.shape}, expected {labels.shape}")
    share = share.astype(jnp.float32)[:, None]
    if labels.ndim == 1:
        own, partner = (jax.nn.one_hot(y, num_classes) for y in (labels, partner_labels))
        return share * own + (1 - share) * partner
    # Missing (-2) wins over uncertain (-1), which a policy may make a target of
    least = jnp.minimum(jnp.where(share > 0, labels, 1), jnp.where(share < 1, partner_labels, 1))
    return jnp.where(least < 0, least, share * labels + (1 - share) * partner_labels).astype(jnp.float32)
