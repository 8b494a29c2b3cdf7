"""Hard negative mining: keep the negatives with the largest loss, a fixed number per positive."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import as_computed, as_mask, check_broadcast, check_scalar
from imbal_jax.losses.global_batch import batch_positions, gather_batch
from imbal_jax.losses.reduction import AxisName


def hard_negatives(
    values: ArrayLike,
    positives: ArrayLike,
    ratio: ArrayLike = 3.0,
    minimum: ArrayLike = 1,
    axis_name: AxisName | None = None,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Weights that keep all positives and the negatives with the largest loss.

    Of the negatives of the *global* batch, or of each label's where there are many, as many are kept as

        max(minimum, ratio * number of positives, to the nearest whole number)

    or all, if there are fewer. Of equal losses the first in the global batch is kept. Online hard example
    mining, Shrivastava et al., CVPR 2016; 3 to 1 is the ratio of SSD, Liu et al., ECCV 2016. Average with
    ``weighted_mean(values, weights, axis_name)``, which divides by the number kept.

    Outputs are then no posterior under the priors of the batch, since the negatives kept are those that look
    positive: calibrate before a probability is read from them.

    Args:
      values: [B], losses, or [B, L], the losses of each label.
      positives: bool, of the same shape: ``labels == 1``.
      ratio: scalar, 0 or more: negatives for each positive. May be traced.
      minimum: scalar, 0 or more: negatives kept at least, so that a batch without positives is not lost.
      axis_name: mesh axis or axes that the batch is split over.
      mask: broadcastable to ``values``, nonzero where the label is known. Elsewhere the weight is 0, and the
        value is not counted as a negative, nor as a positive.

    Returns:
      float32, the shape of ``values``, 0 or 1. A constant: no gradient flows through the choice. A negative
      whose loss is NaN counts as the hardest, so that it shows.

    Raises:
      ValueError: shapes that do not fit; ``positives`` not bool; a negative ``ratio`` or ``minimum``.
    """
    check_scalar("ratio", ratio)
    check_scalar("minimum", minimum)
    values, positives = as_computed(values), jnp.asarray(positives)
    if values.ndim not in (1, 2):
        raise ValueError(f"values have shape {values.shape}, expected [B] or [B, L]")
    if positives.shape != values.shape or positives.dtype != jnp.bool_:
        raise ValueError(f"positives are {positives.dtype} {positives.shape}, expected bool {values.shape}")
    mask = True if mask is None else mask
    check_broadcast("mask values", mask, "values", values.shape)
    known = as_mask(mask, values.shape)

    values = jax.lax.stop_gradient(values)
    values = jnp.where(jnp.isnan(values), jnp.inf, values)
    values, is_positive, is_negative = (
        gather_batch(x, axis_name) for x in (values, positives & known, ~positives & known)
    )
    places = jnp.arange(len(values), dtype=jnp.int32).reshape(-1, *[1] * (values.ndim - 1))
    places = jnp.broadcast_to(places, values.shape)
    num_positive, num_negative = (jnp.sum(x, axis=0, dtype=jnp.float32) for x in (is_positive, is_negative))
    quota = jnp.maximum(
        jnp.round(jnp.asarray(ratio, jnp.float32) * num_positive), jnp.asarray(minimum, jnp.float32)
    )
    quota = jnp.minimum(quota, num_negative).astype(jnp.int32)

    # Hardest negative first; on ties the lowest index, since the sort is stable. Those within the quota are kept.
    hardest = jnp.where(is_negative, -values, jnp.inf)
    order = jax.lax.sort((hardest, places), dimension=0, is_stable=True, num_keys=1)
    last, last_place = (jnp.take_along_axis(x, jnp.maximum(quota - 1, 0)[None], axis=0) for x in order)
    within = (hardest < last) | ((hardest == last) & (places <= last_place))
    kept = is_positive | (is_negative & within & (quota > 0)[None])
    return kept[batch_positions(len(positives), axis_name)].astype(jnp.float32)
