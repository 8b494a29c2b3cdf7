"""Synthetic features of rare classes: SMOTE and the smoothed bootstrap (ROSE).

What they need of the whole data set is computed once, on the host: ``nearest_neighbours`` and
``kernel_deviations``. The draws themselves are pure and jittable, with one key an example, so that a result
depends neither on the batch nor on its sharding.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.errors import InputError
from imbal_jax.losses.arguments import check_scalar

_DISTANCES_AT_ONCE = 2**24  # 128 MB of float64


def nearest_neighbours(
    features: ArrayLike, labels: ArrayLike, k: int = 5, classes: Sequence[int] | None = None
) -> np.ndarray:
    """The k nearest items of the same class, by Euclidean distance, nearest first.

    Exact: all pairs of a class, by matrix products in float64, in blocks. The time grows with the square of
    the items of a class: name the classes that are to be oversampled.

    Args:
      features: [N, D], finite.
      labels: int [N].
      k: neighbours of each item. A copy of an item may be its neighbour, the item itself is not; where a
        class has fewer than k others, they are repeated in turn. A single item is its own neighbour.
      classes: the classes to search; the items of the others are their own neighbours. None for all.

    Returns:
      int32 [N, k], items.

    Raises:
      InputError: shapes that do not fit, k below 1, a feature that is not finite.
    """
    features, labels = _checked(features, labels)
    if k < 1:
        raise InputError(f"k is {k}, expected at least 1 neighbour")
    neighbours = np.repeat(np.arange(len(features), dtype=np.int32)[:, None], k, axis=1)
    for label in np.unique(labels) if classes is None else classes:
        items = np.flatnonzero(labels == label)
        if len(items) > 1:
            order = _nearest_rows(features[items].astype(np.float64), min(k, len(items) - 1))
            neighbours[items] = items[order[:, np.arange(k) % order.shape[1]]]
    return neighbours


def smote(keys: jax.Array, items: ArrayLike, features: ArrayLike, neighbours: ArrayLike) -> jax.Array:
    """A point between each item and one of its neighbours.

        x + u (x_nn - x),   u ~ U(0, 1),   nn uniform over the item's neighbours

    Chawla et al., JAIR 2002. The point has the item's label.

    Args:
      keys: PRNG keys [B], one a point.
      items: int [B], the items to start from (``sampling.batch_indices``).
      features: [N, D].
      neighbours: int [N, k], of ``nearest_neighbours``.

    Returns:
      [B, D], float32 (float64 for float64 features).

    Raises:
      InputError: shapes that do not fit.
    """
    items, features = _draw_from(keys, items, features)
    neighbours = jnp.asarray(neighbours)
    if neighbours.ndim != 2 or len(neighbours) != len(features):
        raise InputError(f"neighbours have shape {neighbours.shape}, expected [{len(features)}, k]")

    def point(key: jax.Array, item: jax.Array) -> jax.Array:
        which_key, where_key = jax.random.split(key)
        which = jax.random.randint(which_key, (), 0, neighbours.shape[1])
        x, other = features[item], features[neighbours[item, which]]
        return x + jax.random.uniform(where_key, dtype=features.dtype) * (other - x)

    return jax.vmap(point)(keys, items)


def kernel_deviations(features: ArrayLike, labels: ArrayLike, num_classes: int) -> np.ndarray:
    """The deviation of the smoothed bootstrap's kernel, for each class and dimension, at shrinkage 1.

        h_c = (4 / ((D + 2) n_c))^(1 / (D + 4)) sigma_c

    Menardi and Torelli, Data Mining and Knowledge Discovery 2014: the bandwidth that would be best for
    Gaussian data. n_c counts the class, as in the authors' R package; imbalanced-learn puts the size N of the
    whole data set in its place, which makes h smaller by (n_c / N)^(1 / (D + 4)). The variance sigma_c^2 is
    divided by n_c as in imbalanced-learn, not by n_c - 1 as in the R package.

    Args:
      features: [N, D], finite.
      labels: int [N], in 0..C-1.
      num_classes: C.

    Returns:
      float32 [C, D]; 0 for a class of one item or none.

    Raises:
      InputError: shapes that do not fit, a label out of range, a feature that is not finite.
    """
    features, labels = _checked(features, labels)
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if outside.size:
        raise InputError(f"labels hold {outside[0]}, allowed are 0 to {num_classes - 1}")
    dimensions = features.shape[1]
    deviations = np.zeros((num_classes, dimensions), np.float32)
    for label in np.unique(labels):
        own = features[labels == label].astype(np.float64)
        deviations[label] = (4 / ((dimensions + 2) * len(own))) ** (1 / (dimensions + 4)) * own.std(axis=0)
    return deviations


def smoothed_bootstrap(
    keys: jax.Array,
    items: ArrayLike,
    features: ArrayLike,
    labels: ArrayLike,
    deviations: ArrayLike,
    shrinkage: ArrayLike = 1.0,
) -> jax.Array:
    """Each item with Gaussian noise as wide as its class calls for.

        x + shrinkage h_c e,   e ~ N(0, I)

    Menardi and Torelli, Data Mining and Knowledge Discovery 2014 (ROSE). The point has the item's label.

    Args:
      keys: PRNG keys [B], one a point.
      items: int [B], the items to start from (``sampling.batch_indices``).
      features: [N, D].
      labels: int [N], in 0..C-1.
      deviations: [C, D], h, of ``kernel_deviations``.
      shrinkage: scalar, 0 or more, may be traced; 0 gives the items themselves.

    Returns:
      [B, D], float32 (float64 for float64 features).

    Raises:
      InputError: shapes that do not fit. ValueError: a negative ``shrinkage``.
    """
    check_scalar("shrinkage", shrinkage)
    items, features = _draw_from(keys, items, features)
    labels, deviations = jnp.asarray(labels), jnp.asarray(deviations, features.dtype)
    if labels.shape != features.shape[:1]:
        raise InputError(f"labels have shape {labels.shape}, expected ({len(features)},): one an item")
    if deviations.ndim != 2 or deviations.shape[1] != features.shape[1]:
        raise InputError(f"deviations have shape {deviations.shape}, expected [C, {features.shape[1]}]")
    noise = jax.vmap(lambda key: jax.random.normal(key, features.shape[1:], features.dtype))(keys)
    return features[items] + jnp.asarray(shrinkage, features.dtype) * deviations[labels[items]] * noise


def _nearest_rows(points: np.ndarray, k: int) -> np.ndarray:
    """The k rows of ``points`` [n, D], n > k, nearest to each row but itself: [n, k], nearest first."""
    points = points - points.mean(
        axis=0
    )  # far from the origin, products would lose the digits of differences
    squares = np.einsum("nd,nd->n", points, points)
    nearest = np.empty((len(points), k), np.int64)
    block = max(1, _DISTANCES_AT_ONCE // len(points))
    for start in range(0, len(points), block):
        rows = np.arange(start, min(start + block, len(points)))
        distances = squares - 2 * points[rows] @ points.T  # squared, less the row's own square
        distances[np.arange(len(rows)), rows] = np.inf
        found = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(np.take_along_axis(distances, found, axis=1), axis=1, kind="stable")
        nearest[rows] = np.take_along_axis(found, order, axis=1)
    return nearest


def _checked(features: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim != 2:
        raise InputError(f"features have shape {features.shape}, expected [N, D]")
    if labels.shape != features.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(f"labels are {labels.dtype} {labels.shape}, expected int ({len(features)},)")
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise InputError(f"the features of item {np.argmin(finite)} are not all finite")
    return features, labels


def _draw_from(keys: jax.Array, items: ArrayLike, features: ArrayLike) -> tuple[jax.Array, jax.Array]:
    items, features = jnp.asarray(items), jnp.asarray(features)
    if features.ndim != 2:
        raise InputError(f"features have shape {features.shape}, expected [N, D]")
    if items.shape != (len(keys),):
        raise InputError(f"items have shape {items.shape}, expected ({len(keys)},): one a key")
    return items, features.astype(jnp.promote_types(features.dtype, jnp.float32))
