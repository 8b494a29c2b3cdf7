"""Losses for many labels: one sigmoid per label; labels may be unknown.

Every loss here takes logits [..., C], targets of the same shape (0, 1, or between) and an optional mask,
and returns [..., C], float32 (float64 for float64 logits). ``losses.multilabel`` holds those that weigh a
label by the others of its item.

- Logits are first cast to ``promote_types(dtype, float32)``.
- A soft target t is t of a positive and 1 - t of a negative: every loss is linear in the target, so that
  the loss of mixed targets is the mix of their losses.
- ``mask`` is broadcastable to [..., C] and nonzero where the target is known. Elsewhere the loss and its
  gradient are 0, whatever the target; average with ``weighted_mean(loss, mask)``.
- A target below 0 or above 1 that the mask does not hide (-1 for "unknown") gives NaN with gradient 0, and
  raises where targets are numpy arrays. ``targets_and_mask`` makes targets and mask of uncertain labels.
- An infinite logit counts as one of 1e30, without a gradient: a label that is ruled out by -inf and has target 0
  costs 0.
- Weights, counts and exponents may be traced; their values are then not checked.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import (
    as_computed,
    as_mask,
    check_broadcast,
    check_numbers,
    check_scalar,
    check_within,
    host_values,
    known_values,
    per_class,
    refuse_first,
)
from imbal_jax.losses.single_label import along_classes

# Mixing targets in half precision may leave [0, 1] by a rounding; -1, the usual mark of an unknown label,
# is far outside.
_ROUNDING = 1e-2
LARGEST = 1e30  # logits are clipped to this: 0 * inf is NaN


def binary_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, pos_weight: ArrayLike | None = None, mask: ArrayLike | None = None
) -> jax.Array:
    """Binary cross-entropy of each label, with a weight on the positives.

        loss = -[w t log s + (1 - t) log(1 - s)],   s = sigmoid(z)

    Args:
      logits: [..., C], z.
      targets: [..., C], t: 0, 1, or between.
      pos_weight: scalar or [C], w, usually the negatives over the positives of each label
        (``priors.positive_weights``); None for 1.
      mask: broadcastable to [..., C], nonzero where the target is known.

    Returns:
      [..., C], float32 (float64 for float64 logits).

    Raises:
      ValueError: shapes that do not fit; a ``pos_weight`` that is negative or not finite.
    """
    logits, targets, known = known_labels(logits, targets, mask)
    softplus, softplus_of_minus = softplus_pair(logits)
    positive, negative = targets * softplus_of_minus, (1 - targets) * softplus
    if pos_weight is not None:
        positive *= per_label("pos_weight", pos_weight, logits)
    return where_known(positive + negative, known)


def sigmoid_focal(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    gamma: ArrayLike = 2.0,
    alpha: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Focal loss of each label: what is already classified well counts less.

        loss = -[a t (1 - s)^gamma log s + (1 - a)(1 - t) s^gamma log(1 - s)],   s = sigmoid(z)

    Lin et al., ICCV 2017, eq. 4-5. Without alpha both sides have weight 1 (not 1/2), and gamma = 0 is then
    ``binary_cross_entropy``. (For a soft target, optax raises the mean error t (1 - s) + (1 - t) s to gamma;
    the two are the same for targets 0 and 1.)

    Args:
      logits: [..., C], z.
      targets: [..., C], t: 0, 1, or between.
      gamma: scalar, 0 or more.
      alpha: scalar or [C], a in [0, 1], the weight of positives, that of negatives being 1 - a; None for
        neither. Lin et al. use 0.25 with gamma = 2, less for positives: the focus has raised them already.
      mask: broadcastable to [..., C], nonzero where the target is known.

    Returns:
      [..., C], float32 (float64 for float64 logits).

    Raises:
      ValueError: shapes that do not fit; a negative ``gamma``; an ``alpha`` outside [0, 1].
    """
    check_scalar("gamma", gamma)
    logits, targets, known = known_labels(logits, targets, mask)
    positive, negative = focal_terms(logits, gamma)
    positive, negative = targets * positive, (1 - targets) * negative
    if alpha is not None:
        _check_at_most_one("alpha", alpha)
        alpha = per_label("alpha", alpha, logits)
        positive, negative = alpha * positive, (1 - alpha) * negative
    return where_known(positive + negative, known)


def asymmetric(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    gamma_neg: ArrayLike = 4.0,
    gamma_pos: ArrayLike = 1.0,
    clip: ArrayLike = 0.05,
    mask: ArrayLike | None = None,
    differentiate_weight: bool = True,
) -> jax.Array:
    """Asymmetric loss: easy negatives fade faster than easy positives, and the easiest count for nothing.

        loss = -[t (1 - s)^g+ log s + (1 - t) s_m^g- log(1 - s_m)],   s = sigmoid(z),   s_m = max(s - m, 0)

    Ridnik et al., ICCV 2021. With g+ = g- and m = 0 it is ``sigmoid_focal``, with both 0
    ``binary_cross_entropy``. A negative with s <= m has loss 0 and gradient 0. For m > 0 the loss of a
    negative is at most -log m. Their code takes log max(s, 1e-8), which stops at z = -18.4 and pulls no more;
    here log s is exact.

    Args:
      logits: [..., C], z.
      targets: [..., C], t: 0, 1, or between.
      gamma_neg: scalar, g-, 0 or more.
      gamma_pos: scalar, g+, 0 or more.
      clip: scalar in [0, 1], m, the probability below which a negative is left alone.
      mask: broadcastable to [..., C], nonzero where the target is known.
      differentiate_weight: False holds (1 - s)^g+ and s_m^g- constant in the gradient, as an option of
        their code does.

    Returns:
      [..., C], float32 (float64 for float64 logits).

    Raises:
      ValueError: shapes that do not fit; a negative exponent; a ``clip`` outside [0, 1].
    """
    check_scalar("gamma_pos", gamma_pos)
    check_scalar("gamma_neg", gamma_neg)
    check_within("clip", clip, 0, 1)
    logits, targets, known = known_labels(logits, targets, mask)
    clip = jnp.asarray(clip, logits.dtype)

    # s_m = 0 has loss 0, but for g- < 1 its power has no finite slope: keep it out.
    clipped = jax.nn.sigmoid(logits) - clip
    active = clipped > jnp.finfo(logits.dtype).tiny
    softplus, softplus_of_minus = softplus_pair(logits)
    weight_positive = _focal_weight(softplus, gamma_pos)
    weight_negative = jnp.where(active, clipped, 1) ** jnp.asarray(gamma_neg, logits.dtype)
    if not differentiate_weight:
        weight_positive = jax.lax.stop_gradient(weight_positive)
        weight_negative = jax.lax.stop_gradient(weight_negative)
    # log(1 - s_m) = log(1 - s + m), exact also where 1 - s rounds to 0 and m is 0
    log_rest = jnp.logaddexp(-softplus, jnp.log(clip))
    positive = targets * weight_positive * softplus_of_minus
    negative = (1 - targets) * jnp.where(active, weight_negative * -log_rest, 0)
    return where_known(positive + negative, known)


def focal_terms(logits: jax.Array, gamma: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """-(1 - s)^gamma log s and -s^gamma log(1 - s), s = sigmoid(z): the focal loss of a positive, a negative."""
    softplus, softplus_of_minus = softplus_pair(logits)
    positive = _focal_weight(softplus, gamma) * softplus_of_minus
    return positive, _focal_weight(softplus_of_minus, gamma) * softplus


@jax.custom_jvp
def softplus_pair(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log(1 + exp(z)) and log(1 + exp(-z)), to all digits both and from one exponential and one logarithm."""
    rest = jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.maximum(logits, 0) + rest, jnp.maximum(-logits, 0) + rest


@softplus_pair.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[Any, Any]:
    (logits,), (moved,) = primals, tangents
    sigmoid, sigmoid_of_minus = sigmoid_pair(logits)
    return softplus_pair(logits), (sigmoid * moved, -sigmoid_of_minus * moved)


@jax.custom_jvp
def sigmoid_pair(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """s and 1 - s, s = sigmoid(z), to all digits both and from the exponential that ``softplus_pair`` takes."""
    small = jnp.exp(-jnp.abs(logits))
    large = 1 / (1 + small)
    small = small * large
    return jnp.where(logits > 0, large, small), jnp.where(logits > 0, small, large)


@sigmoid_pair.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[Any, Any]:
    (logits,), (moved,) = primals, tangents
    sigmoid, sigmoid_of_minus = sigmoid_pair(logits)
    slope = sigmoid * sigmoid_of_minus * moved
    return (sigmoid, sigmoid_of_minus), (slope, -slope)


class Known(NamedTuple):
    """Two masks of logits [..., C]."""

    valid: jax.Array  # the target is from 0 to 1, or masked
    kept: jax.Array  # not masked


def known_labels(
    logits: ArrayLike, targets: ArrayLike, mask: ArrayLike | None
) -> tuple[jax.Array, jax.Array, Known]:
    """Logits, targets, and where they are known.

    Logits and targets are in the dtype to compute in, and 0 where unknown: a NaN that a select after the
    arithmetic does not take would still reach the gradient. Logits are finite, since 0 * inf is NaN.

    Raises ValueError: shapes that do not fit; a target outside 0 to 1 in a numpy array.
    """
    logits = as_computed(logits)
    if logits.ndim == 0:
        raise ValueError("logits are a scalar, expected [..., C]")
    if np.shape(targets) != logits.shape:
        raise ValueError(
            f"targets have shape {np.shape(targets)}, expected that of the logits, {logits.shape}"
        )
    mask = True if mask is None else mask
    check_broadcast("mask values", mask, "logits", logits.shape)
    check_numbers("targets", targets)
    _check_targets(targets, mask)
    keep = as_mask(mask, logits.shape)
    targets = jnp.asarray(targets, dtype=logits.dtype)
    known = keep & _is_target(targets)
    logits = jnp.clip(jnp.where(known, logits, 0), -LARGEST, LARGEST)
    return logits, jnp.where(known, targets, 0), Known(~keep | known, keep)


def where_known(values: jax.Array, known: Known) -> jax.Array:
    """The values, but 0 where masked, and NaN where the target is none."""
    return jnp.where(known.valid, jnp.where(known.kept, values, 0), jnp.nan)


def per_label(name: str, values: ArrayLike, logits: jax.Array) -> jax.Array:
    """``values``, one for all labels or one a label, as an array [1, ..., C]; ValueError if one is negative."""
    num_labels = logits.shape[-1]
    if np.ndim(values) == 0:
        check_scalar(name, values)
        values = jnp.broadcast_to(values, num_labels)
    values = per_class(name, values, num_labels, logits.dtype, bound="zero or above")
    return along_classes(values, logits)


def _focal_weight(softplus: jax.Array, gamma: ArrayLike) -> jax.Array:
    # (1 - s)^gamma by its logarithm, which has a finite slope for gamma < 1 too
    return jnp.exp(-jnp.asarray(gamma, softplus.dtype) * softplus)


def _check_at_most_one(name: str, values: ArrayLike) -> None:
    known = known_values(values)
    if known is not None and (known > 1).any():
        raise ValueError(f"{name} is {known[known > 1].flat[0]:g}, expected 0 to 1")


def _is_target(targets: Any) -> Any:
    return (targets >= -_ROUNDING) & (targets <= 1 + _ROUNDING)


def _check_targets(targets: ArrayLike, mask: ArrayLike) -> None:
    known, known_mask = host_values(targets), host_values(mask)
    if known is not None and known_mask is not None:
        refuse_first(~_is_target(known) & (known_mask != 0), known, "0 to 1")
