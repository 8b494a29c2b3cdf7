"""Segmentation losses: overlap of probabilities and truth, per image and class.

Every loss here takes probabilities [B, *space, C] (after a softmax, or after sigmoids where classes may overlap),
one-hot targets of the same shape (0, 1, or between) and an optional mask broadcastable to [B, *space], nonzero where
the truth is known; and returns [B, C] or [B], float32 (float64 for float64 probabilities).

- Probabilities, not logits nor logarithms: a value outside 0 to 1 raises ValueError, or gives NaN with gradient 0
  where it is traced (under jit or grad). So does a target outside 0 to 1, and a NaN. Pixels that the mask hides are
  not looked at.
- Sums run over the pixels of an image: TP = sum p t, FP = sum p (1 - t), FN = sum (1 - p) t.
- ``smooth`` is added above and below the line. An image without the class then has loss 0 where nothing is predicted
  for it, and nearly 1 where something is: average with ``weighted_mean(loss, present(targets))`` to leave such pairs
  out, and over ``loss[:, 1:]`` to leave the background out. Without anything above and below the line (``smooth`` 0,
  nothing there and nothing predicted) the loss is 0.
- Exponents and shares may be traced; their values are then not checked.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_above_zero, check_scalar, check_within
from imbal_jax.losses.pixels import checked_pixels, checked_targets, power, ratio, smoothing, sums

_LEAST = 1e-7  # lower limit of probabilities before the logarithm
_LEAST_OF_HALF = 2.0**-14  # in float16, where the slope 1 / p may not exceed 65504


def dice(
    probabilities: ArrayLike,
    targets: ArrayLike,
    smooth: ArrayLike = 1e-5,
    mask: ArrayLike | None = None,
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

    >>> probabilities = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])  # two pixels, both called class 0
    >>> print(dice(probabilities, jnp.array([[[1, 0], [0, 1]]])))  # 1 - 2/3, and a miss
    [[0.3333 1.0000]]
    """
    smooth = smoothing(smooth, probabilities)
    probabilities, targets, _ = checked_pixels(probabilities, targets, mask)
    hits, alarms, misses, smooth = sums(probabilities, targets, smooth)
    return 1 - ratio(2 * hits + smooth, 2 * hits + alarms + misses + smooth)


def jaccard(
    probabilities: ArrayLike,
    targets: ArrayLike,
    smooth: ArrayLike = 1e-5,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Soft Jaccard (IoU) loss 1 - (TP + e) / (TP + FP + FN + e) (Rahman and Wang, ISVC 2016); else as ``dice``."""
    return tversky(probabilities, targets, alpha=1.0, beta=1.0, smooth=smooth, mask=mask)


def tversky(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
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
    smooth = smoothing(smooth, probabilities)
    probabilities, targets, _ = checked_pixels(probabilities, targets, mask)
    return _tversky(probabilities, targets, alpha, beta, smooth)


def _tversky(
    probabilities: jax.Array, targets: jax.Array, alpha: ArrayLike, beta: ArrayLike, smooth: ArrayLike
) -> jax.Array:
    hits, alarms, misses, smooth = sums(probabilities, targets, smooth)
    alpha, beta = jnp.asarray(alpha, hits.dtype), jnp.asarray(beta, hits.dtype)
    return 1 - ratio(hits + smooth, hits + alpha * alarms + beta * misses + smooth)


def focal_tversky(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
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
    loss = tversky(probabilities, targets, alpha=alpha, beta=beta, smooth=smooth, mask=mask)
    return power(loss, 1 / jnp.asarray(gamma, loss.dtype))


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
    smooth = smoothing(smooth, probabilities)
    probabilities, targets, _ = checked_pixels(probabilities, targets, mask)
    hits, alarms, misses, smooth = sums(probabilities, targets, smooth)
    pixels = jax.lax.stop_gradient(hits + misses)
    there = pixels > 0
    weights = jnp.where(there, 1 / jnp.where(there, pixels, 1) ** powers[weighting], 0)
    largest = weights.max(axis=-1, keepdims=True)
    weights = jnp.where(there, weights, jnp.where(largest > 0, largest, 1))
    overlap = 2 * (weights * hits).sum(axis=-1)
    total = (weights * (2 * hits + alarms + misses)).sum(axis=-1)
    return 1 - ratio(overlap + smooth, total + smooth)


def matthews(
    probabilities: ArrayLike,
    targets: ArrayLike,
    smooth: ArrayLike = 1e-5,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """1 - MCC, the soft Matthews correlation (Abhishek and Hamarneh, ISBI 2021, arXiv 2010.13454).

        MCC = (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN))

    True negatives count too. ``smooth`` is added to TP and to TN, as if so many pixels of either side were found. An
    image without the class, or full of it, then has loss 0 for a perfect prediction and nearly 1 with mistakes.

    Args:
      probabilities, targets, mask: as in ``dice``.
      smooth: scalar, in pixels. At 0 an undefined correlation has loss 0.

    Returns:
      [B, C], 0 to 2; 1 for a prediction that knows nothing.

    Raises:
      ValueError: as ``dice``.
    """
    smooth = smoothing(smooth, probabilities)
    p, t, known = checked_pixels(probabilities, targets, mask)
    space = tuple(range(1, p.ndim - 1))
    pixels = jnp.maximum(jnp.broadcast_to(known, (*p.shape[:-1], 1)).sum(axis=space), 1)
    # Shares, not counts: the product of four counts of a volume is beyond float32.
    extra = jnp.asarray(smooth, p.dtype) / pixels
    hits, rest = (values.sum(axis=space) / pixels + extra for values in (p * t, (1 - p) * (1 - t) * known))
    alarms, misses = (values.sum(axis=space) / pixels for values in (p * (1 - t), (1 - p) * t))
    squares = (hits + alarms) * (rest + misses), (hits + misses) * (rest + alarms)
    roots = [power(square, 0.5) for square in squares]
    return 1 - ratio(hits * rest - alarms * misses, roots[0] * roots[1])


def unified_focal(
    probabilities: ArrayLike,
    targets: ArrayLike,
    *,
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
    smooth = smoothing(smooth, probabilities)
    least = _LEAST_OF_HALF if jnp.result_type(probabilities) == jnp.float16 else _LEAST
    probabilities, targets, known = checked_pixels(probabilities, targets, mask)
    if probabilities.shape[-1] < 2:
        raise ValueError("unified_focal needs the background and a class: probabilities have one class")
    sure = jnp.clip(probabilities, least, 1 - least)
    surprise = -targets * jnp.log(sure)  # 0 at a hidden pixel, whose targets are
    weight, delta, gamma = (jnp.asarray(value, sure.dtype) for value in (weight, delta, gamma))
    background = (1 - delta) * (1 - sure[..., 0]) ** gamma * surprise[..., 0]
    pixels = background + delta * surprise[..., 1:].sum(axis=-1)
    space = tuple(range(1, pixels.ndim))
    count = jnp.broadcast_to(known[..., 0], pixels.shape).sum(axis=space)
    cross_entropy = ratio(pixels.sum(axis=space), count, empty=0)
    overlap = _tversky(probabilities, targets, 1 - delta, delta, smooth)
    focused = jnp.concatenate([overlap[:, :1], power(overlap[:, 1:], 1 - gamma)], axis=-1)
    return weight * cross_entropy + (1 - weight) * focused.mean(axis=-1)


def present(targets: ArrayLike, mask: ArrayLike | None = None) -> jax.Array:
    """float32 [B, C]: 1 where an image [B, *space, C] holds the class at a known pixel, else 0."""
    targets, _ = checked_targets(targets, mask)
    return (targets.sum(axis=tuple(range(1, targets.ndim - 1))) > 0).astype(jnp.float32)
