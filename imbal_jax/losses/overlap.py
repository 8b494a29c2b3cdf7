"""Segmentation: losses of the overlap between probabilities and truth, of each image and class.

Every loss here takes probabilities [B, *space, C] (after a softmax, or after sigmoids where classes may overlap),
one-hot targets of the same shape (0, 1, or between) and an optional mask broadcastable to [B, *space], nonzero where
the truth is known; and returns [B, C] or [B], float32 (float64 for float64 probabilities).

- Sums run over the pixels of an image: TP = sum p t, FP = sum p (1 - t), FN = sum (1 - p) t.
- ``smooth`` is added above and below the line. An image without the class then has loss 0 where nothing is predicted
  for it, and nearly 1 where something is: average with ``weighted_mean(loss, present(targets))`` to leave such pairs
  out, and over ``loss[:, 1:]`` to leave the background out.
- Exponents and shares may be traced; their values are then not checked.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_above_zero, check_broadcast, check_scalar, check_within

_LEAST = 1e-7  # of a probability whose logarithm is taken


def dice(
    probabilities: ArrayLike, targets: ArrayLike, smooth: ArrayLike = 1e-5, mask: ArrayLike | None = None
) -> jax.Array:
    """Soft Dice loss 1 - (2 TP + e) / (2 TP + FP + FN + e) (Milletari et al., V-Net, 3DV 2016, without squares).

    Args:
      probabilities: [B, *space, C], p.
      targets: [B, *space, C], t.
      smooth: scalar, e.
      mask: broadcastable to [B, *space], nonzero where the truth is known.

    Returns:
      [B, C].

    Raises:
      ValueError: shapes that do not fit; a ``smooth`` that is negative or not finite.
    """
    hits, alarms, misses, smooth = _sums(probabilities, targets, smooth, mask)
    return 1 - _ratio(2 * hits + smooth, 2 * hits + alarms + misses + smooth)


def jaccard(
    probabilities: ArrayLike, targets: ArrayLike, smooth: ArrayLike = 1e-5, mask: ArrayLike | None = None
) -> jax.Array:
    """Soft Jaccard (IoU) loss 1 - (TP + e) / (TP + FP + FN + e) (Rahman and Wang, ISVC 2016); else as ``dice``."""
    return tversky(probabilities, targets, 1.0, 1.0, smooth, mask)


def tversky(
    probabilities: ArrayLike,
    targets: ArrayLike,
    alpha: ArrayLike = 0.3,
    beta: ArrayLike = 0.7,
    smooth: ArrayLike = 1e-5,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """1 - (TP + e) / (TP + alpha FP + beta FN + e) (Salehi et al., MLMI 2017): beta above alpha for small lesions.

    Args:
      probabilities, targets, smooth, mask: as in ``dice``.
      alpha: scalar, the cost of a false positive. alpha = beta = 1/2 is Dice (with e / 2), 1 is Jaccard.
      beta: scalar, the cost of a false negative.

    Returns:
      [B, C].

    Raises:
      ValueError: shapes that do not fit; ``alpha``, ``beta`` or ``smooth`` negative or not finite.
    """
    check_scalar("alpha", alpha)
    check_scalar("beta", beta)
    hits, alarms, misses, smooth = _sums(probabilities, targets, smooth, mask)
    return 1 - _ratio(hits + smooth, hits + alpha * alarms + beta * misses + smooth)


def focal_tversky(
    probabilities: ArrayLike,
    targets: ArrayLike,
    alpha: ArrayLike = 0.3,
    beta: ArrayLike = 0.7,
    gamma: ArrayLike = 4 / 3,
    smooth: ArrayLike = 1e-5,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """The Tversky loss to the power 1 / gamma (Abraham and Khan, ISBI 2019): above 1, hard images count more.

    Args:
      probabilities, targets, alpha, beta, smooth, mask: as in ``tversky``.
      gamma: scalar above 0. At 1 the Tversky loss. Where that is 0, so is the gradient.

    Returns:
      [B, C].

    Raises:
      ValueError: as ``tversky``; a ``gamma`` that is not above 0.
    """
    check_above_zero("gamma", gamma)
    return _power(tversky(probabilities, targets, alpha, beta, smooth, mask), 1 / gamma)


def generalized_dice(
    probabilities: ArrayLike,
    targets: ArrayLike,
    weighting: Literal["square", "simple", "uniform"] = "square",
    smooth: ArrayLike = 1e-5,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """One Dice loss over all classes, small classes weighted up (Sudre et al., DLMIA 2017).

        loss = 1 - (2 sum_c w_c TP_c + e) / (sum_c w_c (2 TP_c + FP_c + FN_c) + e)

    Args:
      probabilities, targets, smooth, mask: as in ``dice``.
      weighting: w_c is 1 / n_c^2 ("square"), 1 / n_c ("simple") or 1, with n_c the pixels of the class in the
        image. A class that is not there has the largest weight of those that are, or 1 where there is none.

    Returns:
      [B].

    Raises:
      ValueError: as ``dice``; another ``weighting``.
    """
    powers = {"square": 2, "simple": 1, "uniform": 0}
    if weighting not in powers:
        raise ValueError(f"weighting is {weighting!r}, allowed are {', '.join(powers)}")
    hits, alarms, misses, smooth = _sums(probabilities, targets, smooth, mask)
    pixels = jax.lax.stop_gradient(hits + misses)
    there = pixels > 0
    weights = jnp.where(there, 1 / jnp.where(there, pixels, 1) ** powers[weighting], 0)
    largest = weights.max(axis=-1, keepdims=True)
    weights = jnp.where(there, weights, jnp.where(largest > 0, largest, 1))
    overlap = 2 * (weights * hits).sum(axis=-1)
    total = (weights * (2 * hits + alarms + misses)).sum(axis=-1)
    return 1 - _ratio(overlap + smooth, total + smooth)


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
    probabilities, targets, known = _checked(probabilities, targets, mask)
    batch, classes = probabilities.shape[0], probabilities.shape[-1]
    flat = (batch, -1, classes)
    errors = (jnp.abs(targets - probabilities) * known).reshape(flat)
    truth = (targets * known).reshape(flat)
    order = jnp.argsort(-jax.lax.stop_gradient(errors), axis=1)
    errors, truth, counted = (
        jnp.take_along_axis(values, order, axis=1)
        for values in (errors, truth, jnp.broadcast_to(known, targets.shape).reshape(flat))
    )
    missed = jnp.cumsum(truth, axis=1)
    union = truth.sum(axis=1, keepdims=True) + jnp.cumsum(counted - truth, axis=1)
    losses = _ratio(missed + union - truth.sum(axis=1, keepdims=True), union, empty=0)
    steps = jnp.diff(losses, axis=1, prepend=jnp.zeros_like(losses[:, :1]))
    return (errors * jax.lax.stop_gradient(steps)).sum(axis=1)


def unified_focal(
    probabilities: ArrayLike,
    targets: ArrayLike,
    weight: ArrayLike = 0.5,
    delta: ArrayLike = 0.6,
    gamma: ArrayLike = 0.5,
    smooth: ArrayLike = 1e-7,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Asymmetric unified focal loss (Yeung et al., Computerized Medical Imaging and Graphics 2022).

    weight times a cross-entropy in which only the background is focal, (1 - delta) (1 - p)^gamma, and the other
    classes count delta; plus 1 - weight times the mean over the classes of a Tversky loss (delta for a false
    negative, 1 - delta for a false positive) that is focal, to the power 1 - gamma, except of the background.

    Args:
      probabilities, targets, mask: as in ``dice``; class 0 is the background, and there are two classes or more.
      weight: scalar from 0 to 1.
      delta: scalar from 0 to 1, the share of the rare side.
      gamma: scalar from 0 to 1.
      smooth: scalar.

    Returns:
      [B].

    Raises:
      ValueError: shapes that do not fit, one class, a scalar outside its range.
    """
    for name, value in (("weight", weight), ("delta", delta), ("gamma", gamma)):
        check_within(name, value, 0, 1)
    probabilities, targets, known = _checked(probabilities, targets, mask)
    if probabilities.shape[-1] < 2:
        raise ValueError("unified_focal needs the background and a class: probabilities have one class")
    sure = jnp.clip(probabilities, _LEAST, 1 - _LEAST)
    surprise = -targets * jnp.log(sure) * known
    background = (1 - delta) * (1 - sure[..., 0]) ** gamma * surprise[..., 0]
    pixels = background + delta * surprise[..., 1:].sum(axis=-1)
    space = tuple(range(1, pixels.ndim))
    count = jnp.broadcast_to(known[..., 0], pixels.shape).sum(axis=space)
    cross_entropy = _ratio(pixels.sum(axis=space), count, empty=0)
    overlap = tversky(probabilities, targets, 1 - delta, delta, smooth, known[..., 0])
    focused = jnp.concatenate([overlap[:, :1], _power(overlap[:, 1:], 1 - gamma)], axis=-1)
    return weight * cross_entropy + (1 - weight) * focused.mean(axis=-1)


def present(targets: ArrayLike, mask: ArrayLike | None = None) -> jax.Array:
    """float32 [B, C]: 1 where an image [B, *space, C] holds the class at a known pixel, else 0."""
    targets, _, known = _checked(targets, targets, mask)
    return ((targets * known).sum(axis=tuple(range(1, targets.ndim - 1))) > 0).astype(jnp.float32)


def _checked(
    probabilities: ArrayLike, targets: ArrayLike, mask: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Both as floats, hidden pixels as 0; and the mask [B or 1, *space, 1] as 0 and 1."""
    shape = np.shape(probabilities)
    if np.shape(targets) != shape or len(shape) < 3:
        raise ValueError(
            f"probabilities {shape} and targets {np.shape(targets)}: expected [B, *space, C], both alike"
        )
    probabilities = jnp.asarray(probabilities)
    dtype = jnp.promote_types(probabilities.dtype, jnp.float32)
    probabilities, targets = probabilities.astype(dtype), jnp.asarray(targets).astype(dtype)
    if mask is None:
        return probabilities, targets, jnp.ones((1,) * len(shape), dtype)
    check_broadcast("mask", mask, "pixels", shape[:-1])
    known = jnp.broadcast_to(jnp.asarray(mask) != 0, shape[:-1])[..., None]
    hidden = jnp.zeros(
        (), dtype
    )  # whatever stands at a hidden pixel, NaN too, stays out of sums and gradients
    return jnp.where(known, probabilities, hidden), jnp.where(known, targets, hidden), known.astype(dtype)


def _sums(
    probabilities: ArrayLike, targets: ArrayLike, smooth: ArrayLike, mask: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array, ArrayLike]:
    """TP, FP, FN [B, C] and ``smooth``, checked."""
    check_scalar("smooth", smooth)
    probabilities, targets, _ = _checked(probabilities, targets, mask)
    space = tuple(range(1, probabilities.ndim - 1))
    hits = (probabilities * targets).sum(axis=space)
    return hits, probabilities.sum(axis=space) - hits, targets.sum(axis=space) - hits, smooth


def _ratio(above: jax.Array, below: jax.Array, empty: float = 1) -> jax.Array:
    """above / below, and ``empty``, without gradient, where there is nothing below."""
    some = below > 0
    return jnp.where(some, above / jnp.where(some, below, 1), empty)


def _power(loss: jax.Array, exponent: ArrayLike) -> jax.Array:
    """loss^exponent; at 0, where the slope has no bound, 0 with gradient 0."""
    some = loss > 0
    return jnp.where(some, jnp.where(some, loss, 1) ** exponent, 0)
