"""The one reduction: a weighted mean that is the same on one device and on many."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import as_computed, check_broadcast

AxisName = str | tuple[str, ...]


def weighted_mean(
    values: ArrayLike,
    weights: ArrayLike | None,
    axis_name: AxisName | None = None,
    normalize: Literal["weights", "count"] = "weights",
) -> jax.Array:
    """Weighted mean of all values, over all devices of ``axis_name``.

        normalize="weights":  sum_i w_i v_i / sum_i w_i      (PyTorch's weighted mean, LDAM-DRW)
        normalize="count":    sum_i w_i v_i / number of i    (class-balanced loss, Cui et al. 2019)

    Each sum runs over every device. It is never a mean of per-device means, which is another number as
    soon as the devices hold different weights. A value whose weight is 0 does not enter the sum, NaN and
    infinity included (it is in the count), and the gradient with respect to it is 0. That does not stop a NaN
    inside the loss itself, since 0 times its slope is NaN: where logits may be NaN or infinite, give the loss
    the ``mask`` too. Where all weights are 0, the mean is 0 and so is its gradient.

    Gradient with an axis name: the value is the global mean on every device, and its gradient is that of
    the device's own share of it, so ``psum(grad)`` (not ``pmean``) is the exact gradient of the global
    mean. This holds under ``jax.pmap``, under ``jax.shard_map(check_vma=False)``, and under
    ``jax.shard_map(check_vma=True)`` when the parameters were first passed through
    ``jax.lax.pcast(params, axis_name, to="varying")``. Without that line, ``check_vma=True`` has summed
    the gradient of replicated parameters already: do not sum it again. With ``check_vma=True`` the value
    is typed as varying, so return ``pmean`` of it.

    Weights are constants: no gradient flows into them.

    Args:
      values: [...], unreduced losses.
      weights: broadcastable to ``values`` by NumPy's rules (one weight an example of values [B, C] is
        [B, 1]); bool masks too; None for all ones. [B] raises for values [B, C] even if B = C.
      axis_name: mesh axis or axes that the batch is split over; None on one device or under plain jit.
      normalize: what the sum is divided by.

    Returns:
      Scalar, float32 (float64 for float64 values).

    Raises:
      ValueError: unknown ``normalize``, or weights that do not broadcast to the values.

    >>> values, weights = jnp.array([1.0, 3.0]), jnp.array([3.0, 1.0])
    >>> print(weighted_mean(values, weights), weighted_mean(values, weights, normalize="count"))
    1.5 3.0
    """
    if normalize not in ("weights", "count"):
        raise ValueError(f"normalize is {normalize!r}, allowed are 'weights' and 'count'")
    values = as_computed(values)
    weights = 1 if weights is None else weights
    check_broadcast("weights", weights, "values", values.shape)
    weights = jnp.broadcast_to(jnp.asarray(weights, dtype=values.dtype), values.shape)
    weights = jax.lax.stop_gradient(weights)

    # A select besides the product, because 0 * inf is NaN.
    counted = weights != 0
    total = jnp.sum(jnp.where(counted, weights * jnp.where(counted, values, 0), 0))
    size = jnp.sum(weights if normalize == "weights" else jnp.ones_like(values))
    if axis_name is not None:
        size = jax.lax.psum(size, axis_name)
    share = total / jnp.where(size == 0, 1, size)
    if axis_name is None:
        return share
    # Global in value, local in gradient. The bracket is exactly 0, so all devices hold the same bits.
    return jax.lax.stop_gradient(jax.lax.psum(share, axis_name)) + (share - jax.lax.stop_gradient(share))
