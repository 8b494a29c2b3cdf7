"""Supervised contrastive losses: examples of one class attract each other, all others repel.

They take features [B, V, D] of V views (augmentations) of each example, or [B, D] of one view, of unit length
(``models.projection``), and class indices [B], and return one value an example, [B], the mean over its views.
The batch is the first axis, the one that devices split and gather: views stacked in front, [V, B, D], are
turned round by ``jnp.swapaxes(features, 0, 1)``.

An anchor is compared with every other view in the batch; with ``axis_name``, in the global batch, gathered
from all devices. Reduce with ``weighted_mean(values, weights, axis_name)``: value and gradient then are those
of the global batch, ``psum(grad)`` being exact under the conditions that it states.

Features are first cast to ``promote_types(dtype, float32)``. An example whose ``mask`` is 0 is compared with
nothing and has value 0, whatever its label and features. A traced temperature is not checked.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import (
    as_computed,
    as_mask,
    check_above_zero,
    check_broadcast,
    check_numbers,
    host_values,
)
from imbal_jax.losses.global_batch import batch_positions, gather_batch, map_anchors
from imbal_jax.losses.reduction import AxisName

_Anchor = tuple[jax.Array, jax.Array, jax.Array]  # features, label, row in the global batch
_PAIRS_AT_ONCE = 2**20  # 4 MB of similarities, as many as map_anchors forms in a block


def sup_con(
    features: ArrayLike,
    labels: ArrayLike,
    temperature: ArrayLike = 0.1,
    *,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """Supervised contrastive loss.

        loss_i = -1/|P(i)| sum_{p in P(i)} log [exp(z_i . z_p / tau) / sum_{a != i} exp(z_i . z_a / tau)]

    P(i) are the other views of the class of i, its own included; a runs over all views but i. Khosla et al.,
    NeurIPS 2020, eq. 2 (L_out). An anchor without a positive has value 0 and gradient 0: leave it out of the
    mean with ``weighted_mean(loss, has_positive(labels, num_views), axis_name)``.

    Every class weighs in the sum over a by its share of the batch; ``balanced_contrastive`` does not let it.

    Args:
      features: [B, D] or [B, V, D], z, of unit length.
      labels: int [B]. Only their equality counts.
      temperature: scalar above 0, tau.
      mask: [B], nonzero for the examples that take part.
      axis_name: mesh axis or axes that the batch is split over.

    Returns:
      float32 [B] (float64 for float64 features).

    Raises:
      ValueError: shapes that do not fit; labels that are not integers; a temperature not above 0.
    """
    features, labels, known, temperature = _prepare(features, labels, temperature, mask)
    size, views, width = features.shape
    keys, key_labels, key_known = _views_of_all(features, labels, known, axis_name)
    rows = jnp.arange(len(keys))

    def of_anchor(anchor: _Anchor, similar: jax.Array) -> jax.Array:
        _, label, own_row = anchor
        others = key_known & (rows != own_row)
        positives = others & (key_labels == label)
        similar = similar / temperature
        count, mean = _count_and_mean(similar, positives)
        return jnp.where(count > 0, _log_sum_exp(similar, others) - mean, 0)

    own_rows = batch_positions(size * views, axis_name)
    anchors = (features.reshape(-1, width), jnp.repeat(labels, views), own_rows)
    values = _map_similarities(of_anchor, anchors, keys, len(rows), axis_name).reshape(size, views)
    return jnp.where(known, jnp.mean(values, axis=1), 0)


def has_positive(
    labels: ArrayLike,
    num_views: int = 1,
    *,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """Whether ``sup_con`` has a positive for each example: a second view, or another example of its class.

    Args:
      labels: int [B].
      num_views: views of each example.
      mask: [B], nonzero for the examples that take part.
      axis_name: mesh axis or axes that the batch is split over.

    Returns:
      bool [B].

    Raises:
      ValueError: shapes that do not fit; labels that are not integers; ``num_views`` below 1.
    """
    if num_views < 1:
        raise ValueError(f"num_views is {num_views}, expected 1 or more")
    labels, known = _check_labels(labels, np.size(labels), mask)
    key_labels, key_known = gather_batch(labels, axis_name), gather_batch(known, axis_name)
    count = jnp.sum((labels[:, None] == key_labels[None]) & key_known[None], axis=1)
    return known & (num_views * count > 1)


def balanced_contrastive(
    features: ArrayLike,
    labels: ArrayLike,
    prototypes: ArrayLike,
    temperature: ArrayLike = 0.1,
    *,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """Balanced contrastive loss: every class weighs the same in what an anchor is compared with.

        loss_i = -1/|K_y(i)| sum_{p in K_y(i)} log [exp(z_i . z_p / tau) / S_i],   y the class of i
        S_i = sum_c 1/|K_c(i)| sum_{k in K_c(i)} exp(z_i . z_k / tau)

    K_c(i) are the views of class c in the batch but i, and the prototype of c. The mean within a class (class
    averaging) keeps frequent classes from outweighing rare ones; the prototypes (class complement) let every
    class take part in every batch, so that no anchor is without a positive. Zhu et al., CVPR 2022, with i
    left out of the mean of its own class as in the authors' code.

    The authors take as prototypes the rows of the classifier through a projection head of their own, and add
    the loss to ``logit_adjusted`` of the classifier.

    Args:
      features: [B, D] or [B, V, D], z, of unit length.
      labels: int [B]. Of an index outside 0..C-1 the value is NaN with gradient 0, and nothing is compared
        with it; in a numpy array it raises.
      prototypes: [C, D], of unit length, one a class; the same on every device.
      temperature: scalar above 0, tau.
      mask: [B], nonzero for the examples that take part.
      axis_name: mesh axis or axes that the batch is split over.

    Returns:
      float32 [B] (float64 for float64 features).

    Raises:
      ValueError: shapes that do not fit; labels out of range; a temperature not above 0.
    """
    given_labels = labels
    features, labels, known, temperature = _prepare(features, labels, temperature, mask)
    size, views, width = features.shape
    if np.ndim(prototypes) != 2 or np.shape(prototypes)[1] != width:
        raise ValueError(f"prototypes have shape {np.shape(prototypes)}, expected (C, {width}): one a class")
    num_classes = np.shape(prototypes)[0]
    _check_range(given_labels, num_classes, mask)
    valid = (labels >= 0) & (labels < num_classes)

    keys, key_labels, key_known = _views_of_all(features, labels, known & valid, axis_name)
    classes = jnp.arange(num_classes, dtype=labels.dtype)
    prototypes = jnp.asarray(prototypes, keys.dtype)
    key_labels = jnp.concatenate([key_labels, classes])
    key_known = jnp.concatenate([key_known, jnp.ones(num_classes, bool)])
    key_classes = jnp.clip(key_labels, 0, num_classes - 1)
    key_counts = (
        jnp.zeros(num_classes, jnp.int32).at[key_classes].add(key_known.astype(jnp.int32))[key_classes]
    )
    rows = jnp.arange(len(key_labels))

    def of_anchor(anchor: _Anchor, similar: jax.Array) -> jax.Array:
        feature, label, own_row = anchor
        similar = jnp.concatenate([similar, _similarities(feature, prototypes)]) / temperature
        others = key_known & (rows != own_row)
        same = key_labels == label
        members = jnp.maximum(key_counts - same.astype(jnp.int32), 1).astype(similar.dtype)
        _, mean = _count_and_mean(similar, others & same)
        return _log_sum_exp(similar - jnp.log(members), others) - mean

    own_rows = batch_positions(size * views, axis_name)
    anchors = (features.reshape(-1, width), jnp.repeat(labels, views), own_rows)
    values = _map_similarities(of_anchor, anchors, keys, len(rows), axis_name).reshape(size, views)
    values = jnp.where(valid, jnp.mean(values, axis=1), jnp.nan)
    return jnp.where(known, values, 0)


def _map_similarities(
    function: Callable[[_Anchor, jax.Array], jax.Array],
    anchors: _Anchor,
    keys: jax.Array,
    pairs: int,
    axis_name: AxisName | None,
) -> jax.Array:
    """``function`` of each anchor and its similarities [B * V] to the keys; ``pairs`` are formed by each."""
    if axis_name is None and len(keys) * pairs <= _PAIRS_AT_ONCE:
        return jax.vmap(function)(anchors, _gram(keys))
    return map_anchors(lambda anchor: function(anchor, _similarities(anchor[0], keys)), anchors, pairs)


def _similarities(features: jax.Array, keys: jax.Array) -> jax.Array:
    # accelerators round float32 products to 8 or 11 bits by default, and the temperature multiplies the error
    return jnp.matmul(features, keys.T, precision=jax.lax.Precision.HIGHEST)


@jax.custom_jvp
def _gram(features: jax.Array) -> jax.Array:
    """Similarities of all to all: the features are anchors and keys, and one product gives the gradient as both."""
    return _similarities(features, features)


@_gram.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (features,), (moved,) = primals, tangents
    half = _similarities(moved, features)
    return _gram(features), half + half.T


def _count_and_mean(similar: jax.Array, positives: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many the positives are, and the mean over them, 0 of none."""
    count = jnp.sum(positives, dtype=similar.dtype)
    return count, jnp.sum(jnp.where(positives, similar, 0)) / jnp.maximum(count, 1)


def _log_sum_exp(similar: jax.Array, others: jax.Array) -> jax.Array:
    """log of the sum of exp over the others; a finite number with a finite gradient where there are none."""
    similar = jnp.where(others, similar, jnp.finfo(similar.dtype).min)
    top = jax.lax.stop_gradient(jnp.max(similar))
    return jnp.log(jnp.sum(jnp.exp(similar - top))) + top


def _prepare(
    features: ArrayLike, labels: ArrayLike, temperature: ArrayLike, mask: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Features [b, V, D] with zeros where the mask hides them, labels [b], mask bool [b], temperature."""
    check_above_zero("temperature", temperature)
    features = as_computed(features)
    if features.ndim not in (2, 3):
        raise ValueError(f"features have shape {features.shape}, expected [B, D] or [B, V, D]")
    labels, known = _check_labels(labels, features.shape[0], mask)
    features = features if features.ndim == 3 else features[:, None]
    features = jnp.where(known[:, None, None], features, 0)
    return features, labels, known, jnp.asarray(temperature, features.dtype)


def _check_labels(labels: ArrayLike, size: int, mask: ArrayLike | None) -> tuple[jax.Array, jax.Array]:
    if np.shape(labels) != (size,):
        raise ValueError(
            f"labels have shape {np.shape(labels)}, expected ({size},): one class index an example"
        )
    check_numbers("labels", labels)
    labels = jnp.asarray(labels)
    dtype = labels.dtype
    if not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_)):
        raise ValueError(f"labels are {dtype}, expected integers: class indices")
    mask = True if mask is None else mask
    check_broadcast("mask values", mask, "labels", (size,))
    known = as_mask(mask, (size,))
    return labels if dtype == jnp.int64 else labels.astype(jnp.int32), known


def _check_range(labels: ArrayLike, num_classes: int, mask: ArrayLike | None) -> None:
    known, known_mask = host_values(labels), host_values(True if mask is None else mask)
    if known is None or known_mask is None:
        return
    outside = known[((known < 0) | (known >= num_classes)) & (known_mask != 0)]
    if outside.size:
        raise ValueError(f"labels hold {outside[0]}, allowed are 0 to {num_classes - 1}")


def _views_of_all(
    features: jax.Array, labels: jax.Array, known: jax.Array, axis_name: AxisName | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Features [B * V, D] of the global batch, the label of each and whether it takes part."""
    _, views, width = features.shape
    keys = gather_batch(features, axis_name).reshape(-1, width)
    labels, known = gather_batch(labels, axis_name), gather_batch(known, axis_name)
    return keys, jnp.repeat(labels, views), jnp.repeat(known, views)
