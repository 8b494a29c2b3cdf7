"""Many labels: each is a yes or no of its own, and some are unknown."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_broadcast, check_scalar, host_values, per_class

# Mixing targets in half precision may leave [0, 1] by a rounding; -1, the usual mark of an unknown label,
# is far outside.
_ROUNDING = 1e-2


def binary_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, pos_weight: ArrayLike | None = None, mask: ArrayLike | None = None
) -> jax.Array:
    """Binary cross-entropy of each label, with a weight on the positives.

        loss = -[w t log s + (1 - t) log(1 - s)],   s = sigmoid(z)

    Logits are cast to ``promote_types(dtype, float32)``. Below 0 or above 1 the formula has no lower
    bound, so a target there that the mask does not hide (-1 for "unknown") gives NaN with gradient 0, and
    raises where targets are numpy arrays.

    Args:
      logits: [..., C], z.
      targets: [..., C], t: 0, 1, or between.
      pos_weight: scalar or [C], w, usually the negatives over the positives of each label
        (``priors.positive_weights``); None for 1. May be traced; values are then not checked.
      mask: broadcastable to [..., C], nonzero where the target is known. Elsewhere the loss and its
        gradient are 0, whatever the target; average with ``weighted_mean(loss, mask)``.

    Returns:
      [..., C], float32 (float64 for float64 logits).

    Raises:
      ValueError: shapes that do not fit; a ``pos_weight`` that is negative or not finite.
    """
    logits = jnp.asarray(logits)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if logits.ndim == 0:
        raise ValueError("logits are a scalar, expected [..., C]")
    if np.shape(targets) != logits.shape:
        raise ValueError(
            f"targets have shape {np.shape(targets)}, expected that of the logits, {logits.shape}"
        )
    mask = True if mask is None else mask
    check_broadcast("mask values", mask, "logits", logits.shape)
    _check_targets(targets, mask)

    # Hidden before the arithmetic and after it: NaN in the branch not taken would still reach the gradient.
    keep = jnp.broadcast_to(jnp.asarray(mask) != 0, logits.shape)
    targets = jnp.asarray(targets, dtype=logits.dtype)
    logits = jnp.where(keep, logits, 0)
    positive = targets * jax.nn.softplus(-logits)
    negative = (1 - targets) * jax.nn.softplus(logits)
    if pos_weight is not None:
        num_labels = logits.shape[-1]
        if np.ndim(pos_weight) == 0:
            check_scalar("pos_weight", pos_weight)
            pos_weight = jnp.broadcast_to(pos_weight, num_labels)
        positive *= per_class("pos_weight", pos_weight, num_labels, logits.dtype, bound="zero or above")
    return jnp.where(keep, jnp.where(_is_target(targets), positive + negative, jnp.nan), 0)


def _is_target(targets: ArrayLike) -> ArrayLike:
    return (targets >= -_ROUNDING) & (targets <= 1 + _ROUNDING)


def _check_targets(targets: ArrayLike, mask: ArrayLike) -> None:
    targets, mask = host_values(targets), host_values(mask)
    if targets is None or mask is None:
        return
    wrong = ~_is_target(targets) & (mask != 0)
    if wrong.any():
        place = np.unravel_index(np.argmax(wrong), wrong.shape)
        index = ", ".join(str(i) for i in place)
        raise ValueError(
            f"targets[{index}] is {targets[place]:g}, expected 0 to 1: hide unknown ones with mask"
        )
