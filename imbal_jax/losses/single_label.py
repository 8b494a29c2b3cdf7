"""Shared parts of the losses for one label: checked labels, values at the label, log probabilities.

A loss is a value of the label. For class indices it is computed at the label alone, [...]; for probabilities at
every class, [..., C], then weighted with them and summed.
"""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import (
    as_computed,
    as_mask,
    check_broadcast,
    host_values,
    known_values,
    per_class,
)


class Known(NamedTuple):
    """Which examples [...] count; None where all do, so that nothing is selected without need."""

    valid: jax.Array | None  # bool: the label is a class index
    kept: jax.Array | None  # bool: neither mask nor ignore_index leaves the example out

    def only(self, values: jax.Array, otherwise: ArrayLike) -> jax.Array:
        """Values [..., D], and ``otherwise`` where an example does not count."""
        for some in self:
            if some is not None:
                values = jnp.where(some[..., None], values, otherwise)
        return values


def prepare(
    logits: ArrayLike, labels: ArrayLike, mask: ArrayLike | None = None, ignore_index: int | None = None
) -> tuple[jax.Array, jax.Array, Known]:
    """Logits in the dtype to compute in; labels, int32 [...] within 0..C-1 or probabilities [..., C] of
    that dtype; and which examples count. Logits are 0 where an example is left out."""
    logits = as_computed(logits)
    if logits.ndim == 0:
        raise ValueError("logits are a scalar, expected [..., C]")
    if logits.shape[-1] < 2:
        raise ValueError(
            f"logits have shape {logits.shape}, one class: a softmax needs two. Use binary_cross_entropy, or "
            "give both classes a logit"
        )
    labels = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    kept = None
    if mask is not None:
        check_broadcast("mask values", mask, "examples", logits.shape[:-1])
        kept = as_mask(mask, logits.shape[:-1])
    if labels.shape == logits.shape:
        if ignore_index is not None:
            raise ValueError(f"ignore_index is {ignore_index} and labels are probabilities: give a mask")
        _check_probabilities(labels, mask)
        labels, valid = jnp.asarray(labels, dtype=logits.dtype), None
        if kept is not None:
            labels = jnp.where(kept[..., None], labels, 0)
    else:
        labels, valid, kept = _indices(labels, logits, mask, ignore_index, kept)
    if kept is not None:
        logits = jnp.where(kept[..., None], logits, 0)
    return logits, labels, Known(valid, kept)


def _indices(
    labels: jax.Array | np.ndarray,
    logits: jax.Array,
    mask: ArrayLike | None,
    ignore_index: int | None,
    kept: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """int32 [...] within 0..C-1, whether each was so, and which are kept (None: all)."""
    num_classes = logits.shape[-1]
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels have shape {labels.shape} and logits {logits.shape}: "
            f"expected class indices {logits.shape[:-1]} or probabilities {logits.shape}"
        )
    if labels.size == 0:
        labels = labels.astype(np.int32)  # [] is float64
    if not (jnp.issubdtype(labels.dtype, jnp.integer) or jnp.issubdtype(labels.dtype, jnp.bool_)):
        raise ValueError(
            f"labels of shape {labels.shape} are {labels.dtype}, expected integers: class indices"
        )
    known = host_values(labels)
    known_mask = host_values(True if mask is None else mask)
    if known is not None and known_mask is not None:
        counts = np.broadcast_to(known_mask != 0, known.shape)
        if ignore_index is not None:
            counts = counts & (known != operator.index(ignore_index))
        outside = known[counts & ((known < 0) | (known >= num_classes))]
        if outside.size:
            raise ValueError(
                f"labels hold {outside.flat[0]}, allowed are 0 to {num_classes - 1}; mask or ignore_index "
                "leaves examples out"
            )
    if labels.dtype.itemsize < 4:  # where C itself may be out of range
        labels = labels.astype(np.int32)
    valid = jnp.asarray((labels >= 0) & (labels < num_classes))
    labels = jnp.asarray(labels, dtype=jnp.int32)
    if ignore_index is not None:
        counted = labels != operator.index(ignore_index)
        kept = counted if kept is None else kept & counted
    if kept is not None:
        valid &= kept
    return jnp.where(valid, labels, 0), valid, kept


def _check_probabilities(labels: jax.Array | np.ndarray, mask: ArrayLike | None) -> None:
    """ValueError for labels of the shape of the logits that are no probabilities, where that is known."""
    shape = labels.shape
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        raise ValueError(
            f"labels of shape {shape}, that of the logits, are {labels.dtype}: expected floats, probabilities "
            f"of the classes (cast one-hot labels to float), or class indices {shape[:-1]}"
        )
    if len(shape) == 1:
        raise ValueError(
            f"logits and labels both have shape {shape}: one example of {shape[0]} classes, or {shape[0]} scores "
            "and labels? Pass logits [1, C] for the first, use binary_cross_entropy for the second"
        )
    known, known_mask = known_values(labels), known_values(True if mask is None else mask)
    if known is None or known_mask is None:
        return
    known = known.astype(np.float64)
    counts = np.broadcast_to(known_mask != 0, shape[:-1])
    total = known.sum(axis=-1)
    for wrong, found in (
        (~(known >= 0).all(axis=-1), lambda at: f"hold {known[at].min():g}, expected 0 or more"),
        (~(np.abs(total - 1) <= 0.01), lambda at: f"sum to {total[at]:g}, expected 1"),
    ):
        if (wrong & counts).any():
            at = np.unravel_index(int(np.argmax(wrong & counts)), wrong.shape)
            index = ", ".join(map(str, at))
            raise ValueError(
                f"labels[{index}] {found(at)}: probabilities of the classes; mask leaves examples out"
            )


def are_indices(labels: jax.Array) -> bool:
    """Whether prepared labels are class indices, not probabilities."""
    return jnp.issubdtype(labels.dtype, jnp.integer)


def one_hot(labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Prepared labels as probabilities [..., C]."""
    return jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype) if are_indices(labels) else labels


def at_labels(values: jax.Array, labels: jax.Array) -> jax.Array:
    """Values [C] or [..., C] at the class index; as [..., C] or [1, .., C] where labels are probabilities."""
    if not are_indices(labels):
        return along_classes(values, labels)
    if values.ndim == 1 and labels.ndim > 0:
        return values[labels]
    return jnp.take_along_axis(values, labels[..., None], axis=-1)[..., 0]


def along_classes(values: jax.Array, like: jax.Array) -> jax.Array:
    """Values [C] with as many axes as ``like`` [..., C]; of more axes, as they are."""
    return values.reshape((1,) * (like.ndim - 1) + (-1,)) if values.ndim == 1 else values


def normalizer(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest logit and log sum_c exp(z_c - largest), [..., 1] both. log p = (z - largest) - log sum
    keeps its digits where z is large, as z - (largest + log sum) would not."""
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    return top, jnp.log(jnp.sum(jnp.exp(logits - top), axis=-1, keepdims=True))


def log_probability(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """log p at the class index, [...]; or of each class, [..., C], but 0 for -inf where the label has no
    probability: 0 * -inf is NaN. Only there: the gradient with respect to a label that is 0 is -log p."""
    top, log_total = normalizer(logits)
    if are_indices(labels):
        # Gathered from the logits: gathering from logits - top would make XLA materialise it.
        return at_labels(logits, labels) - top[..., 0] - log_total[..., 0]
    return finite_or_zero(logits - top - log_total, labels)


def finite_or_zero(values: jax.Array, labels: jax.Array) -> jax.Array:
    """Values [..., C], but 0 for an infinity where the label has no probability."""
    return jnp.where(jnp.isinf(values) & (labels == 0), 0, values)


def log_sum_of_others(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """log sum_{k != c} exp(z_k), for c the class index [...], or for every class [..., C]."""
    # Not -inf for excluded terms: if nothing else were in the sum, the gradient would be NaN.
    lowest = jnp.finfo(logits.dtype).min
    if are_indices(labels):
        return jax.nn.logsumexp(jnp.where(one_hot(labels, logits) == 1, lowest, logits), axis=-1)
    # The sum less exp(z_c) keeps its digits unless c has more than half of it, as only the largest can: that
    # one has a sum of its own.
    largest = one_hot(jnp.argmax(logits, axis=-1), logits) == 1
    total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    share = jnp.where(largest, 0, jnp.exp(logits - total))
    without = jax.nn.logsumexp(jnp.where(largest, lowest, logits), axis=-1, keepdims=True)
    return jnp.where(largest, without, total + jnp.log1p(-share))


def log_odds(logits: jax.Array) -> jax.Array:
    """log p_c / (1 - p_c) = z_c - log sum_{k != c} exp(z_k) of each class, [..., C], p = softmax(z).

    Unbounded, and with a gradient, for logits of any size, where log p - log(1 - p) would round to an infinity.
    """
    logits = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    return logits - log_sum_of_others(logits, logits)


def expectation(values: jax.Array, labels: jax.Array, known: Known) -> jax.Array:
    """sum_c t_c v_c of values [..., C] for probabilities t; for class indices the values [...] themselves,
    and NaN with gradient 0 where not valid. 0 with gradient 0 where left out."""
    if not are_indices(labels):
        values = jnp.sum(labels * values, axis=-1)
    if known.kept is not None:
        values = jnp.where(known.kept, values, 0)
    if known.valid is None:
        return values
    shown = known.valid if known.kept is None else known.valid | ~known.kept
    return jnp.where(shown, values, jnp.nan)


def log_per_class(name: str, values: ArrayLike, logits: jax.Array) -> jax.Array:
    """log of values [C] above zero; of a traced 0, of the smallest normal number."""
    values = per_class(name, values, logits.shape[-1], logits.dtype, bound="above zero")
    return jnp.log(jnp.maximum(values, jnp.finfo(logits.dtype).tiny))
