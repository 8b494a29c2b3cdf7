"""Probabilities, targets and masks of pixels: checked, with hidden pixels set to 0, and summed over an image."""

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
    known_values,
)

_ROUNDING = 1e-2  # in half precision; logits are further outside


def checked_pixels(
    probabilities: ArrayLike, targets: ArrayLike, mask: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Both as floats, hidden pixels as 0; and the mask [B or 1, *space, 1] as 0 and 1.

    Raises ValueError for shapes that do not fit and for known values outside 0 to 1; traced ones turn the
    probabilities of their image into NaN.
    """
    shape = np.shape(probabilities)
    if np.shape(targets) != shape or len(shape) < 3:
        raise ValueError(
            f"probabilities {shape} and targets {np.shape(targets)}: expected [B, *space, C], both alike"
        )
    remedies = {"probabilities": "pass softmax or sigmoid of the logits", "targets": "pass one-hot targets"}
    for name, values in (("probabilities", probabilities), ("targets", targets)):
        _check_values(name, values, mask, remedies[name])
    probabilities, known = shown(probabilities, mask)
    targets, _ = shown(jnp.asarray(targets).astype(probabilities.dtype), mask)
    # Given logits, every loss here returns a plausible number, often a perfect 0.
    return jnp.where(_sound(probabilities) & _sound(targets), probabilities, jnp.nan), targets, known


def checked_targets(targets: ArrayLike, mask: ArrayLike | None) -> tuple[jax.Array, jax.Array]:
    """Targets and mask as ``checked_pixels`` gives them; traced targets outside 0 to 1 are NaN."""
    if np.ndim(targets) < 3:
        raise ValueError(f"targets {np.shape(targets)}: expected [B, *space, C]")
    _check_values("targets", targets, mask, "pass one-hot targets")
    targets, known = shown(targets, mask)
    return jnp.where(_sound(targets), targets, jnp.nan), known


def shown(values: ArrayLike, mask: ArrayLike | None) -> tuple[jax.Array, jax.Array]:
    """Values [B, *space, C] as floats, 0 where hidden, even if NaN; and the mask [B or 1, *space, 1] as 0 and 1."""
    shape = np.shape(values)
    if mask is not None:
        check_broadcast("mask", mask, "pixels", shape[:-1])
    values = as_computed(values)
    if mask is None:
        return values, jnp.ones((1,) * len(shape), values.dtype)
    kept = as_mask(mask, shape[:-1])[..., None]
    return jnp.where(kept, values, 0), kept.astype(values.dtype)


def smoothing(smooth: ArrayLike, probabilities: ArrayLike) -> ArrayLike:
    """``smooth``; for float16 no less than 2^-15, unless it is 0: a class that is neither there nor predicted has the
    gradient 1 / smooth, and beyond 65504 float16 has infinity."""
    check_scalar("smooth", smooth)
    if not isinstance(probabilities, jax.Array | np.ndarray) or probabilities.dtype != jnp.float16:
        return smooth
    smooth = jnp.asarray(smooth, jnp.float32)
    return jnp.where(smooth > 0, jnp.maximum(smooth, 2.0**-15), 0)


def sums(
    probabilities: jax.Array, targets: jax.Array, smooth: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """TP, FP, FN [B, C] of what was checked, and ``smooth``."""
    space = tuple(range(1, probabilities.ndim - 1))
    hits = (probabilities * targets).sum(axis=space)
    smooth = jnp.asarray(smooth, hits.dtype)
    return hits, probabilities.sum(axis=space) - hits, targets.sum(axis=space) - hits, smooth


def pixel_mean(values: jax.Array, known: jax.Array) -> jax.Array:
    """Mean [B, C] over the known pixels of values [B, *space, C] that are 0 where hidden; 0 without a known one."""
    space = tuple(range(1, values.ndim - 1))
    count = jnp.broadcast_to(known, (*values.shape[:-1], 1)).sum(axis=space)
    return ratio(values.sum(axis=space), count, empty=0)


def ratio(above: jax.Array, below: jax.Array, empty: float = 1) -> jax.Array:
    """above / below, and ``empty``, without gradient, where there is nothing below; NaN where that is NaN."""
    some = below != 0
    return jnp.where(some, above / jnp.where(some, below, 1), empty)


def power(loss: jax.Array, exponent: ArrayLike) -> jax.Array:
    """loss^exponent; at 0, where the slope has no bound, 0 with gradient 0. (A rounding below 0 counts as 0.)"""
    some = ~(loss <= 0)
    return jnp.where(some, jnp.where(some, loss, 1) ** exponent, 0)


def _sound(values: jax.Array) -> jax.Array:
    """Of each image, whether all values [B, ...] are from 0 to 1; axes of size 1 after the first."""
    return jnp.all(_between(values), axis=tuple(range(1, values.ndim)), keepdims=True)


def _between(values: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    return (values >= -_ROUNDING) & (values <= 1 + _ROUNDING)


def _check_values(name: str, values: ArrayLike, mask: ArrayLike | None, remedy: str) -> None:
    """ValueError for a known value outside 0 to 1, unless hidden; and for a mask that does not fit."""
    if mask is not None:
        check_broadcast("mask", mask, "pixels", np.shape(values)[:-1])
    check_numbers(name, values)
    known, known_mask = known_values(values), known_values(True if mask is None else mask)
    if known is None or known_mask is None:
        return
    wrong = ~_between(known.astype(np.float64))
    wrong &= np.broadcast_to(known_mask != 0, known.shape[:-1])[..., None]
    if wrong.any():
        raise ValueError(
            f"{name} hold {float(known[wrong][0]):g}, expected 0 to 1: {remedy}, and hide unknown pixels with mask"
        )
