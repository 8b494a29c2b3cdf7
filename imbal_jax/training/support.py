"""What heads with a memory keep of the training split: class means or examples, and how sharply they are compared."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax, logsumexp

from imbal_jax.errors import InputError
from imbal_jax.methods import Method
from imbal_jax.models.support import Distance

STRENGTHS = 2.0 ** np.arange(-2, 11)
"""Tried by ``fit_strength``; of squared Euclidean distances, in units of 1 / their mean."""


@dataclass(frozen=True)
class Support:
    """keys: float32 [C, M, D]. filled: int32 [C], how many of the M slots of each class hold a key. strength: factor
    on the similarities."""

    keys: np.ndarray
    filled: np.ndarray
    strength: float


def write_support(
    method: Method, features: np.ndarray, labels: np.ndarray, classes: int, seed: int
) -> Support:
    """What ``method`` keeps of the training features [N, D] with int ``labels`` [N]; no gradient is taken.

    The strength is ``method.memory_strength``, or, where that is 0, ``fit_strength``'s. Raises InputError for a class
    without items.
    """
    keys = np.zeros((classes, slots_of(method), features.shape[1]), np.float32)
    filled = np.zeros(classes, np.int32)
    for c in range(classes):
        keys[c], filled[c] = with_rows(method, features, labels == c, kept_rows(labels, c, method, seed))
    support = Support(keys, filled, 1.0)
    strength = method.memory_strength
    if not strength and method.second_stage == "prototype_head":
        strength = prototype_strength(features, labels, classes, method.memory_distance)
    elif not strength and method.second_stage == "memory_head":
        strength = memory_strength(support, method.memory_distance)
    return replace(support, strength=float(strength))


def slots_of(method: Method) -> int:
    """The slots of a class: 1 for its mean, or ``memory_size``."""
    return 1 if method.second_stage == "prototype_head" else method.memory_size


def kept_rows(labels: np.ndarray, cls: int, method: Method, seed: int) -> np.ndarray:
    """At most ``memory_size`` rows of a class, drawn without replacement; all, where there are fewer."""
    rows = np.flatnonzero(labels == cls)
    if not rows.size:
        raise InputError(f"class {cls} has no items: a memory keeps at least one of each class")
    # a stream for each class: what is kept of one does not depend on the others
    return np.sort(np.random.default_rng([seed, cls]).permutation(rows)[: method.memory_size])


def with_rows(
    method: Method, features: np.ndarray, of_class: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, int]:
    """The slots [M, D] of one class, and how many are filled: with features at ``rows``, or the mean of the class.

    of_class: bool [N].
    """
    slots = np.zeros((slots_of(method), features.shape[1]), np.float32)
    kept = features[rows]
    if method.second_stage == "prototype_head":
        kept = class_mean(features[of_class], method.memory_distance)[None]
    slots[: len(kept)] = kept
    return slots, len(kept)


def class_mean(features: np.ndarray, distance: Distance) -> np.ndarray:
    """float32 [D]: the mean of features [n, D]; for cosines, of the features at unit length.

    Snell, Swersky and Zemel, NeurIPS 2017, eq. 1; Wang et al., SimpleShot, 2019.
    """
    points = features.astype(np.float64)
    return (_unit(points) if distance == "cosine" else points).mean(axis=0).astype(np.float32)


def prototype_strength(features: np.ndarray, labels: np.ndarray, classes: int, distance: Distance) -> float:
    """The strength whose leave-one-out loss on the training features is least, every class weighing alike.

    The mean of an item's own class is taken without the item; a class of one item has no say.
    """
    points = features.astype(np.float64)
    points = _unit(points) if distance == "cosine" else points
    counts = np.bincount(labels, minlength=classes)
    sums = np.zeros((classes, points.shape[1]))
    np.add.at(sums, labels, points)
    means = sums / counts[:, None]
    asked = counts[labels] > 1
    points, labels = points[asked], labels[asked]
    scores = _similarity(points, means, distance)
    without = (sums[labels] - points) / (counts[labels] - 1)[:, None]
    own = (
        np.einsum("nd,nd->n", points, _unit(without)) if distance == "cosine" else -_squares(points - without)
    )
    scores[np.arange(len(points)), labels] = own
    return fit_strength(scores[:, :, None], labels, np.ones(classes, np.int32), distance)


def memory_strength(support: Support, distance: Distance) -> float:
    """The strength whose leave-one-out loss over the support itself is least, every class weighing alike.

    A key is compared with all others; a class of one slot has no say.
    """
    classes, slots, width = support.keys.shape
    used = np.arange(slots) < support.filled[:, None]
    points = support.keys[used].astype(np.float64)
    labels = np.repeat(np.arange(classes), support.filled)
    flat = support.keys.reshape(-1, width).astype(np.float64)
    scores = np.where(used.reshape(-1), _similarity(points, flat, distance), -np.inf)
    scores[np.arange(len(points)), np.flatnonzero(used)] = -np.inf
    asked = support.filled[labels] > 1
    return fit_strength(scores[asked].reshape(-1, classes, slots), labels[asked], support.filled, distance)


def fit_strength(scores: np.ndarray, labels: np.ndarray, filled: np.ndarray, distance: Distance) -> float:
    """Of ``STRENGTHS``, that with the least mean negative log probability of the labels, the smallest on ties.

    scores: similarities [N, C, M], -inf where a query may not look. Classes weigh alike. Without any query, 16 in the
    units of ``STRENGTHS``.
    """
    finite = scores[np.isfinite(scores)]
    unit = 1.0 if distance == "cosine" or not finite.any() else 1 / -finite.mean()
    if not len(labels):
        return 16 * unit
    weights = 1 / np.bincount(labels, minlength=len(filled))[labels]
    losses = []
    for strength in STRENGTHS * unit:
        each = logsumexp(strength * scores, axis=2)
        own = log_softmax(each, axis=1)[np.arange(len(labels)), labels]
        losses.append(-(weights * own).sum() / weights.sum())
    return float(STRENGTHS[int(np.argmin(losses))] * unit)


def _similarity(queries: np.ndarray, keys: np.ndarray, distance: Distance) -> np.ndarray:
    if distance == "cosine":
        return _unit(queries) @ _unit(keys).T
    return np.minimum(2 * queries @ keys.T - _squares(queries)[:, None] - _squares(keys), 0)


def _squares(x: np.ndarray) -> np.ndarray:
    return np.square(x).sum(axis=-1)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(_squares(x)[..., None] + 1e-12)
