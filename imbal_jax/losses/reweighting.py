"""Cross-entropy for one label, with terms reweighted by class, by example or at random.

Logits, labels, the dtype of the result and an index outside the classes are as in softmax.py. For labels that
are probabilities t, the loss is sum_c t_c times the loss of the label c, unless its docstring says otherwise.
Counts and parameters may be traced: a sweep does not recompile.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_scalar, check_within, known_values, per_class
from imbal_jax.losses.sigmoid import LARGEST, focal_terms
from imbal_jax.losses.single_label import (
    along_classes,
    are_indices,
    at_labels,
    expectation,
    finite_or_zero,
    log_probability,
    log_sum_of_others,
    normalizer,
    one_hot,
    prepare,
)

SHAPES = ("concave", "linear", "convex")


def equalization(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    key: ArrayLike,
    threshold: ArrayLike = 0.005,
    gamma: ArrayLike = 0.9,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy in which examples of other classes mostly do not push the rare classes down.

        loss = -z_y + log sum_k w_k exp(z_k),   w_k = 1 - beta_k [n_k / N < threshold] [k != y]

    with beta_k = 1 with probability gamma, drawn independently for each example and class. Tan et al., CVPR 2020, the
    softmax equalization loss. gamma = 0 is ``cross_entropy``. The defaults are those of Zhang et al., AAAI
    2021 (BagofTricks-LT, CIFAR-100-LT at 1:100); the threshold divides the classes of one data set, so choose
    it for yours: where every class is above it, this is ``cross_entropy``.

    The draws are a function of the key and the shape of the logits: give each step another key
    (``jax.random.fold_in(key, step)``), and inside shard_map or pmap each device (fold in its axis index).

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      counts: [C], n, 0 or more, or priors: only n / N, N = sum n, is used.
      key: PRNG key.
      threshold: scalar, 0 or more, lambda.
      gamma: scalar, 0 to 1, of a resolution of 2^-16.
      mask, ignore_index: what is left out, as in softmax.py.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; counts not [C], negative, or not finite; a negative threshold; a
        gamma outside 0 to 1.
    """
    check_scalar("threshold", threshold)
    check_within("gamma", gamma, 0, 1)
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    counts = per_class("counts", counts, logits.shape[-1], logits.dtype, bound="zero or above")
    rare = counts < jnp.asarray(threshold, logits.dtype) * jnp.sum(counts)
    spared = along_classes(rare, logits) & _bernoulli(key, gamma, logits.shape)
    # Not -inf for excluded terms: if nothing else were in the sum, the gradient would be NaN.
    lowest = jnp.finfo(logits.dtype).min
    if are_indices(labels):
        spared &= one_hot(labels, logits) == 0
        return expectation(-log_probability(jnp.where(spared, lowest, logits), labels), labels, known)
    # The denominator of the label c holds exp(z_c) whether c is spared from the others' or not.
    logits -= jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    rest = jax.nn.logsumexp(jnp.where(spared, lowest, logits), axis=-1, keepdims=True)
    gap = finite_or_zero(rest - logits, labels)
    return expectation(jnp.where(spared, jax.nn.softplus(gap), gap), labels, known)


def influence_balanced(
    logits: ArrayLike,
    labels: ArrayLike,
    features: ArrayLike,
    class_weights: ArrayLike | None = None,
    alpha: ArrayLike = 1000.0,
    epsilon: ArrayLike = 1e-3,
    *,
    constant_weight: bool = True,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy of each example over the influence it has on the last layer.

        loss = -alpha sum_c w_c t_c log p_c / (||p - t||_1 ||h||_1 + epsilon),   p = softmax(z)

    Park et al., ICCV 2021: ||p - t||_1 ||h||_1 is the L1 norm of the gradient with respect to the weights of
    the dense layer. It follows a phase of ``cross_entropy``: the authors' code begins it half-way, with alpha
    1000 and the learning rate divided by 100. For a class index, t is one-hot; for probabilities the loss is
    not a sum over labels.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      features: [..., D], h, the input of the last dense layer.
      class_weights: [C], w, 0 or more (``priors.class_weights``); None for 1.
      alpha: scalar, 0 or more. At 1000 a gradient can exceed 65504, where float16 ends.
      epsilon: scalar, 0 or more; at 0 an example without influence gives NaN.
      constant_weight: whether the influence is a constant, so that the loss is a re-weighted cross-entropy.
        False sends the gradient through it too, to logits and features, as the authors' code does
        (github.com/pseulki/IB-Loss): the pull of an example then fades as it is learned, while with a
        constant weight it keeps its size until the influence is as small as epsilon.
      mask, ignore_index: what is left out, as in softmax.py.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels or features that do not fit; weights not [C], negative, or not finite; a negative
        alpha or epsilon.
    """
    check_scalar("alpha", alpha)
    check_scalar("epsilon", epsilon)
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    features = jnp.asarray(features)
    if features.shape[:-1] != logits.shape[:-1] or features.ndim != logits.ndim:
        raise ValueError(
            f"features have shape {features.shape} and logits {logits.shape}: "
            f"expected {logits.shape[:-1]} and one more, of the features"
        )
    features = features.astype(logits.dtype)
    if known.kept is not None:
        features = jnp.where(known.kept[..., None], features, 0)
    if are_indices(labels):
        # 1 - p_y and -log p_y by the log odds against y: to all digits where p_y is nearly 1, as it is for most
        # examples, and as it must be to be divided by. From log p they would be off by 1e-7 over 1 - p_y.
        against = log_sum_of_others(logits, labels) - at_labels(logits, labels)
        distance, values = 2 * jax.nn.sigmoid(against), jax.nn.softplus(against)
    else:
        distance = jnp.sum(jnp.abs(jax.nn.softmax(logits, axis=-1) - labels), axis=-1)
        values = -log_probability(logits, labels)
    influence = distance * jnp.sum(jnp.abs(features), axis=-1)
    if constant_weight:
        influence = jax.lax.stop_gradient(influence)
    if class_weights is not None:
        weights = per_class(
            "class_weights", class_weights, logits.shape[-1], logits.dtype, bound="zero or above"
        )
        values *= at_labels(weights, labels)
    scale = jnp.asarray(alpha, logits.dtype) / (influence + jnp.asarray(epsilon, logits.dtype))
    return expectation(values * (scale if are_indices(labels) else scale[..., None]), labels, known)


def label_aware_smoothing(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    head: ArrayLike = 0.4,
    tail: ArrayLike = 0.1,
    shape: Literal["concave", "linear", "convex"] = "concave",
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy with smoothed labels, smoothed more for commoner classes.

        loss = -(1 - e_y) log p_y - e_y mean_k log p_k,   f_c = (n_c - n_min) / (n_max - n_min)
        concave  e_c = tail + (head - tail) sin(f_c pi / 2)
        linear   e_c = tail + (head - tail) f_c
        convex   e_c = head - (head - tail) cos(f_c pi / 2)

    Zhong et al., CVPR 2021 (MiSLAS), for the second stage, in which the classifier alone is trained. Defaults
    of the authors' code for CIFAR-100-LT at 1:100; for CIFAR-10-LT: head 0.3, tail 0. Where head = tail, or
    all counts are equal (then every class is head), it is plain label smoothing; where both are 0,
    ``cross_entropy``. A class with a logit of -inf does not enter the mean.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      counts: [C], n, 0 or more (``priors.class_counts``), or priors.
      head: scalar, 0 to 1, smoothing of the commonest class.
      tail: scalar, 0 to 1, smoothing of the rarest class.
      shape: concave, linear or convex: how it rises between the two.
      mask, ignore_index: what is left out, as in softmax.py.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; counts not [C], negative, or not finite; head or tail outside 0 to
        1; an unknown shape.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape is {shape!r}, allowed are {', '.join(SHAPES)}")
    check_within("head", head, 0, 1)
    check_within("tail", tail, 0, 1)
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    counts = per_class("counts", counts, logits.shape[-1], logits.dtype, bound="zero or above")
    head, tail = jnp.asarray(head, logits.dtype), jnp.asarray(tail, logits.dtype)

    fewest = jnp.min(counts)
    spread = jnp.max(counts) - fewest
    rank = jnp.where(spread > 0, (counts - fewest) / jnp.where(spread > 0, spread, 1), 1)
    if shape == "concave":
        rank = jnp.sin(rank * (jnp.pi / 2))
    elif shape == "convex":
        rank = 1 - jnp.cos(rank * (jnp.pi / 2))
    smoothing = at_labels(tail + (head - tail) * rank, labels)

    log_p = log_probability(logits, labels)
    top, log_total = normalizer(logits)
    mean = _mean_of_possible(logits, top) - log_total
    mean = mean[..., 0] if are_indices(labels) else mean
    return expectation(-(1 - smoothing) * log_p - smoothing * mean, labels, known)


def poly1(
    logits: ArrayLike,
    labels: ArrayLike,
    epsilon: ArrayLike = 1.0,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy with another coefficient on the first term of its expansion in 1 - p.

        loss = sum_c t_c [-log p_c + epsilon (1 - p_c)];   for a class index y: -log p_y + epsilon (1 - p_y)

    Leng et al., ICLR 2022 (PolyLoss); epsilon above 0 sharpens, below 0 flattens. epsilon = 0 is
    ``cross_entropy``.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      epsilon: scalar, -1 or more: the coefficient is 1 + epsilon.
      mask, ignore_index: what is left out, as in softmax.py.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; an epsilon below -1 or not finite.
    """
    check_within("epsilon", epsilon, -1, np.inf)
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    log_p = log_probability(logits, labels)
    return expectation(-log_p - jnp.asarray(epsilon, logits.dtype) * jnp.expm1(log_p), labels, known)


def class_balanced_focal(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    beta: ArrayLike = 0.9999,
    gamma: ArrayLike = 0.5,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Focal loss of a sigmoid for each class, with weights from the effective number of examples.

        loss = w_y sum_k (1 - q_k)^gamma (-log q_k),   q_k = s_k for k = y, else 1 - s_k,   s = sigmoid(z)
        w_c proportional to (1 - beta) / (1 - beta^n_c), with sum C

    Cui et al., CVPR 2019. Their loss of a batch is ``weighted_mean(loss, None)``: not divided by the sum of
    the weights. With gamma = 0 it is the sum of C binary cross-entropies, weighted.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      counts: [C], n, above 0: numbers of examples (``priors.class_counts``), not priors. A traced 0 gives
        weight 0.
      beta: scalar, 0 or more and below 1; 0 gives equal weights.
      gamma: scalar, 0 or more.
      mask, ignore_index: what is left out, as in softmax.py.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; counts not [C], not above 0, not finite, or all below 1; a beta
        outside [0, 1); a negative gamma.
    """
    check_scalar("gamma", gamma)
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    logits = jnp.clip(logits, -LARGEST, LARGEST)  # 0 * inf is NaN
    weights = effective_weights(counts, beta, logits)
    gamma = jnp.asarray(gamma, logits.dtype)
    if are_indices(labels):
        sign = 2 * one_hot(labels, logits) - 1
        loss = at_labels(weights, labels) * jnp.sum(focal_terms(sign * logits, gamma)[0], axis=-1)
        return expectation(loss, labels, known)
    # sum_c t_c w_c (positive_c + sum_{k != c} negative_k), in one pass over the classes.
    weights = labels * along_classes(weights, labels)
    others = jnp.sum(weights, axis=-1, keepdims=True) - weights
    positive, negative = focal_terms(logits, gamma)
    loss = jnp.sum(weights * positive + others * negative, axis=-1)
    return loss if known.kept is None else jnp.where(known.kept, loss, 0)


def effective_weights(counts: ArrayLike, beta: ArrayLike, logits: jax.Array) -> jax.Array:
    """``priors.class_weights(counts, "effective")`` of counts and a beta that may be traced, [C].

    Raises ValueError: counts not [C], not above 0, not finite, or all below 1; a beta outside [0, 1).
    """
    num_classes, dtype = logits.shape[-1], logits.dtype
    check_scalar("beta", beta)
    known = known_values(beta)
    if known is not None and known >= 1:
        raise ValueError(
            f"beta is {known:g}, expected from 0 to below 1: towards 1 weights are inverse counts"
        )
    # In float32 0.9999 is off by 2e-8, and its logarithm by 2 parts in 10,000: take it before rounding.
    log_beta = jnp.log(beta) if known is None else np.log(np.maximum(known, 1e-300, dtype=np.float64))
    known = known_values(counts)
    counts = per_class("counts", counts, num_classes, dtype, bound="above zero")
    if known is not None and (known < 1).all():
        raise ValueError(f"counts are at most {known.max():g}, expected numbers of examples, not priors")
    # expm1 keeps the digits of 1 - beta^n; the factor 1 - beta cancels.
    effective = jnp.where(counts > 0, -jnp.expm1(counts * jnp.asarray(log_beta, dtype)), 0)
    weights = jnp.where(effective > 0, 1 / jnp.where(effective > 0, effective, 1), 0)
    total = jnp.sum(weights)
    return weights * (num_classes / jnp.where(total > 0, total, 1))


@jax.custom_jvp
def _mean_of_possible(logits: jax.Array, top: jax.Array) -> jax.Array:
    """Mean over the logits above -inf of logits - top, [..., 1]. ``top`` is a constant."""
    total, count = _sum_of_possible(logits, top)
    return total / count


@_mean_of_possible.defjvp
def _(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    total, count = _sum_of_possible(*primals)
    moved = jnp.sum(jnp.where(jnp.isneginf(primals[0]), 0, tangents[0]), axis=-1, keepdims=True)
    return total / count, moved / count


def _sum_of_possible(logits: jax.Array, top: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sum over the logits above -inf of logits - top, and their number. Where the batch holds no -inf, which
    the sum of all of them tells, masks are left out: half the time of the loss."""
    # Not logits - top: the softmax uses it too, and XLA would materialise it for both.
    total = jnp.sum(logits + -top, axis=-1, keepdims=True)

    def masked(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        possible = ~jnp.isneginf(logits)
        some = jnp.sum(jnp.where(possible, logits - top, 0), axis=-1, keepdims=True)
        return some, jnp.sum(possible, axis=-1, keepdims=True, dtype=logits.dtype)

    def whole(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        return total, jnp.full_like(total, logits.shape[-1])

    return jax.lax.cond(jnp.all(total > -jnp.inf), whole, masked, logits)


def _bernoulli(key: ArrayLike, probability: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    """True with the probability, to 2^-16: two draws a word, since the random bits are most of the cost."""
    *leading, size = shape
    words = jax.random.bits(key, (*leading, (size + 1) // 2), jnp.uint32)
    draws = jnp.stack([words & 0xFFFF, words >> 16], axis=-1).reshape(*leading, 2 * ((size + 1) // 2))[
        ..., :size
    ]
    return draws < jnp.round(jnp.asarray(probability, jnp.float32) * 2**16).astype(jnp.uint32)
