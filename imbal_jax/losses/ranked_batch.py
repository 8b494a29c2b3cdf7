"""A checked batch for ranking losses: scores, positives, negatives, and the class counts of the global batch."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import (
    as_computed,
    as_mask,
    check_broadcast,
    check_numbers,
    host_values,
    refuse_first,
)
from imbal_jax.losses.reduction import AxisName, weighted_mean
from imbal_jax.losses.sigmoid import LARGEST


class Batch(NamedTuple):
    """A device's share of the batch, [b, C], and what is known of all of it, [C]. C = 1 for scores [B]."""

    scores: jax.Array
    positive: jax.Array
    negative: jax.Array
    num_positive: jax.Array
    num_negative: jax.Array
    valid: jax.Array  # scalar: all targets are 0 or 1

    @property
    def both_kinds(self) -> jax.Array:
        return (self.num_positive > 0) & (self.num_negative > 0)


def prepare(
    scores: ArrayLike, targets: ArrayLike, mask: ArrayLike | None, axis_name: AxisName | None
) -> Batch:
    scores = as_computed(scores)
    if scores.ndim not in (1, 2):
        raise ValueError(f"scores have shape {scores.shape}, expected [B] or [B, C]")
    if np.shape(targets) != scores.shape:
        raise ValueError(
            f"targets have shape {np.shape(targets)}, expected that of the scores, {scores.shape}"
        )
    mask = True if mask is None else mask
    check_broadcast("mask values", mask, "scores", scores.shape)
    check_numbers("targets", targets)
    _check_targets(targets, mask)

    columns = scores.shape if scores.ndim == 2 else (len(scores), 1)
    known = as_mask(mask, scores.shape).reshape(columns)
    scores = jnp.clip(jnp.where(known, scores.reshape(columns), 0), -LARGEST, LARGEST)
    targets = jnp.asarray(targets).reshape(columns)
    targets = targets.astype(jnp.int32) if targets.dtype == jnp.bool_ else targets
    positive, negative = known & (targets == 1), known & (targets == 0)
    counts = jnp.stack([jnp.sum(x, axis=0, dtype=jnp.int32) for x in (positive, negative, known)])
    if axis_name is not None:
        counts = jax.lax.psum(counts, axis_name)
    num_positive, num_negative, num_known = counts
    valid = jnp.all(num_positive + num_negative == num_known)
    return Batch(scores, positive, negative, num_positive, num_negative, valid)


def _check_targets(targets: ArrayLike, mask: ArrayLike) -> None:
    known, known_mask = host_values(targets), host_values(mask)
    if known is not None and known_mask is not None:
        refuse_first((known != 0) & (known != 1) & (known_mask != 0), known, "0 or 1")


def each_class(name: str, values: ArrayLike, batch: Batch) -> jax.Array:
    num_classes = batch.scores.shape[1]
    if np.shape(values) not in ((), (num_classes,)):
        raise ValueError(f"{name} has shape {np.shape(values)}, expected a scalar or ({num_classes},)")
    return jnp.broadcast_to(jnp.asarray(values, batch.scores.dtype), (1, num_classes))


def class_means(values: jax.Array, weights: jax.Array, axis_name: AxisName | None) -> jax.Array:
    """[b, C] -> [C]. Any smooth function of the means keeps the promise that ``psum(grad)`` is exact."""
    return jax.vmap(partial(weighted_mean, axis_name=axis_name), in_axes=1)(values, weights)


def mean_of_classes(losses: jax.Array, counted: jax.Array, batch: Batch) -> jax.Array:
    mean = jnp.sum(jnp.where(counted, losses, 0)) / jnp.maximum(jnp.sum(counted, dtype=losses.dtype), 1)
    return jnp.where(batch.valid, mean, jnp.nan)


def moments(
    scores: jax.Array, weights: jax.Array, axis_name: AxisName | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean of each class in two parts, centre and what rounding left, and variance; [C] each.

    About a constant centre, large scores close together do not cancel, and all derivatives stay exact.
    """
    centre = jax.lax.stop_gradient(class_means(scores, weights, axis_name))
    offset = class_means(scores - centre[None], weights, axis_name)
    square = class_means((scores - centre[None]) ** 2, weights, axis_name)
    return centre, offset, square - offset**2
