"""Ranking losses: surrogates of AUROC, partial AUROC and average precision.

They take scores h and binary targets, [B] or [B, C], and return a scalar: a rank depends on the whole batch,
so there is nothing per example to return. Of [B, C], each class is ranked by itself, and the result is the
mean over the classes that have a positive and a negative in the batch. Without any such class the loss is 0
and so is its gradient. (Only ``auc_margin`` with a prior needs no pairs, and says so.)

An example whose ``mask`` is 0 does not take part, whatever its target and score. A target that is neither 0
nor 1, soft ones of mixed images included, makes the loss NaN with gradient 0, and raises in a numpy array.

With ``axis_name``, the loss is that of the global batch on every device, and its gradient is the device's own
share: ``psum(grad)`` is exact, under the conditions that ``weighted_mean`` states. Scores are first cast to
``promote_types(dtype, float32)``, and an infinite one counts as 1e30, without a gradient. Margins, rates,
temperatures and priors may be traced; they are then not checked.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_above_zero, check_scalar, known_values
from imbal_jax.losses.global_batch import batch_positions, gather_batch, map_anchors
from imbal_jax.losses.pairs import SURROGATES, Surrogate, check_surrogate, highest, mean_over_pairs
from imbal_jax.losses.ranked_batch import class_means, each_class, mean_of_classes, moments, prepare
from imbal_jax.losses.reduction import AxisName
from imbal_jax.losses.sigmoid import sigmoid_pair


def auc_margin(
    scores: ArrayLike,
    targets: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    alpha: ArrayLike,
    margin: ArrayLike = 1.0,
    prior: ArrayLike | None = None,
    *,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """AUC margin loss: a saddle function, to be minimised over h, a, b and maximised over alpha >= 0.

        F = E+[(h - a)^2] + E-[(h - b)^2] + 2 alpha (m + E-[h] - E+[h]) - alpha^2

    E+ and E- are means over the positives and the negatives of the batch. At its saddle point a = E+[h],
    b = E-[h], alpha = max(0, m + b - a), and F = Var+[h] + Var-[h] + max(0, m + E-[h] - E+[h])^2: the squared
    pairwise surrogate (``pairwise_auc``), but without a penalty on means further apart than the margin.

    With the prior p of the positives it is instead a mean over all examples,

        F = E[(1 - p) (h - a)^2 [y = 1] + p (h - b)^2 [y = 0] - p (1 - p) alpha^2
              + 2 alpha (p (1 - p) m + p h [y = 0] - (1 - p) h [y = 1])]

    whose average over batches is the loss of the data set, batches without a positive included: they are not
    set to 0 here. Where p is the share of positives in the batch, it is p (1 - p) times the first form. The
    prior is that of the examples as drawn: 0.5 in batches half of which are positive.

    Optimise with ``engine.pesg``. Yuan et al., ICCV 2021, who take h from a sigmoid, in [0, 1]; their
    library calls the form with prior v1 and the one without v2.

    Args:
      scores: [B] or [B, C], h.
      targets: 0 or 1, of the same shape.
      a: scalar or [C], tracks the mean score of the positives.
      b: scalar or [C], tracks the mean score of the negatives.
      alpha: scalar or [C], the dual variable, 0 or more.
      margin: scalar, m, 0 or more.
      prior: scalar or [C], p, between 0 and 1; None for the form without it.
      mask: broadcastable to the scores, nonzero where the target is known.
      axis_name: mesh axis or axes that the batch is split over.

    Returns:
      Scalar, float32 (float64 for float64 scores).

    Raises:
      ValueError: shapes that do not fit; targets other than 0 and 1; a negative margin; a prior not within
        0 and 1.
    """
    check_scalar("margin", margin)
    batch = prepare(scores, targets, mask, axis_name)
    h, dtype = batch.scores, batch.scores.dtype
    margin = jnp.asarray(margin, dtype)
    a, b, alpha = (each_class(n, v, batch) for n, v in (("a", a), ("b", b), ("alpha", alpha)))
    if prior is None:
        # terms without h are spread over the positives; any set of total weight 1 would do
        of_positives = class_means(
            (h - a) ** 2 + 2 * alpha * (margin - h) - alpha**2, batch.positive, axis_name
        )
        of_negatives = class_means((h - b) ** 2 + 2 * alpha * h, batch.negative, axis_name)
        return mean_of_classes(of_positives + of_negatives, batch.both_kinds, batch)

    known_prior = known_values(prior)
    if known_prior is not None and not ((known_prior > 0) & (known_prior < 1)).all():
        raise ValueError(f"prior is {prior}, expected numbers between 0 and 1")
    p = each_class("prior", prior, batch)
    of_positive = (1 - p) * (h - a) ** 2 - 2 * alpha * (1 - p) * h
    of_negative = p * (h - b) ** 2 + 2 * alpha * p * h
    values = jnp.where(batch.positive, of_positive, of_negative) + p * (1 - p) * alpha * (2 * margin - alpha)
    means = class_means(values, batch.positive | batch.negative, axis_name)
    return mean_of_classes(means, batch.num_positive + batch.num_negative > 0, batch)


def pairwise_auc(
    scores: ArrayLike,
    targets: ArrayLike,
    surrogate: Surrogate = "squared",
    margin: ArrayLike = 1.0,
    *,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """Mean over all pairs of a positive i and a negative j of a surrogate of [h_i <= h_j].

        loss = mean_ij phi(h_i - h_j)

        squared        phi(t) = (m - t)^2                           Gao et al., ICML 2013
        squared_hinge  phi(t) = max(0, m - t)^2
        hinge          phi(t) = max(0, m - t)                       Zhao et al., ICML 2011
        logistic       phi(t) = log(1 + exp(-t)), without margin    Burges et al., ICML 2005

    The squared one is computed from means and variances, in O(B), as (m - E+[h] + E-[h])^2 + Var+[h] +
    Var-[h]; the others from the pairs of each positive and all B, in blocks of 1 MB. Their derivatives
    of second order need forward mode on the outside (``jax.hessian`` has it).

    Args:
      scores: [B] or [B, C], h.
      targets: 0 or 1, of the same shape.
      surrogate: phi.
      margin: scalar, m, 0 or more.
      mask: broadcastable to the scores, nonzero where the target is known.
      axis_name: mesh axis or axes that the batch is split over.

    Returns:
      Scalar, float32 (float64 for float64 scores).

    Raises:
      ValueError: shapes that do not fit; targets other than 0 and 1; an unknown surrogate; a negative margin.
    """
    check_surrogate(surrogate, margin)
    batch = prepare(scores, targets, mask, axis_name)
    margin = jnp.asarray(margin, batch.scores.dtype)
    if surrogate == "squared":
        centre, offset, variance = moments(batch.scores, batch.positive, axis_name)
        other_centre, other_offset, other_variance = moments(batch.scores, batch.negative, axis_name)
        gap = (centre - other_centre) + (offset - other_offset)
        loss = (margin - gap) ** 2 + variance + other_variance
    else:
        negative = gather_batch(batch.negative, axis_name)
        dtype = batch.scores.dtype
        weights = negative.astype(dtype) / jnp.maximum(batch.num_negative, 1).astype(dtype)[None]
        keys = gather_batch(batch.scores, axis_name)
        loss = mean_over_pairs(surrogate, margin, keys, weights, batch, axis_name)
    return mean_of_classes(loss, batch.both_kinds, batch)


def partial_auc(
    scores: ArrayLike,
    targets: ArrayLike,
    max_fpr: ArrayLike = 0.1,
    surrogate: Surrogate = "squared_hinge",
    margin: ArrayLike = 1.0,
    *,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """``pairwise_auc`` with the highest-scored negatives only: the ROC curve up to a false positive rate.

        loss = mean_i sum_j w_j phi(h_i - h_j),   w_j = 1 / k for the k = max_fpr * n- highest h_j, else 0

    The share of the negative at which the sum of 1 / k reaches 1 is cut there, equal scores share equally,
    and for k < 1 all weight is on the highest score. For the surrogates that never rise with t (all but
    squared) this is, for each positive, the conditional value at risk of its losses: the objective of SOPA,
    mean_i min_s [s + 1 / k sum_j max(0, phi(h_i - h_j) - s)], with the minimum taken exactly over the batch
    (Zhu et al., ICML 2022). max_fpr = 1 is ``pairwise_auc``. Only k negatives give a gradient: choose
    max_fpr and the batch so that k is not below 1. A max_fpr that is traced costs a sort and the pairs of
    each positive and all B, not max_fpr * B. Derivatives of second order are as in ``pairwise_auc``.

    Args:
      scores: [B] or [B, C], h.
      targets: 0 or 1, of the same shape.
      max_fpr: scalar above 0, at most 1.
      surrogate: phi, as in ``pairwise_auc``.
      margin: scalar, m, 0 or more.
      mask: broadcastable to the scores, nonzero where the target is known.
      axis_name: mesh axis or axes that the batch is split over.

    Returns:
      Scalar, float32 (float64 for float64 scores).

    Raises:
      ValueError: shapes that do not fit; targets other than 0 and 1; an unknown surrogate; a negative margin;
        ``max_fpr`` out of range.
    """
    check_surrogate(surrogate, margin)
    check_above_zero("max_fpr", max_fpr, at_most=1)
    batch = prepare(scores, targets, mask, axis_name)
    scores, negative = gather_batch(batch.scores, axis_name), gather_batch(batch.negative, axis_name)
    allowed = jnp.asarray(max_fpr, scores.dtype) * batch.num_negative.astype(scores.dtype)
    known, size = known_values(max_fpr), scores.shape[0]
    size = size if known is None else min(size, int(np.ceil(scores.dtype.type(known) * size)))
    top = jax.vmap(partial(highest, size=size), in_axes=(1, 1, 0), out_axes=1)
    keys, weights = top(scores, negative, allowed)
    margin = jnp.asarray(margin, scores.dtype)
    loss = mean_over_pairs(surrogate, margin, keys, weights, batch, axis_name)
    return mean_of_classes(loss, batch.both_kinds, batch)


def soft_partial_auc(
    scores: ArrayLike,
    targets: ArrayLike,
    temperature: ArrayLike = 1.0,
    surrogate: Surrogate = "squared_hinge",
    margin: ArrayLike = 1.0,
    *,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """``pairwise_auc`` with the negatives weighted by how much they cost: a smooth partial AUROC.

        loss = mean_i lambda log mean_j exp(phi(h_i - h_j) / lambda)

    The worst case over reweightings of the negatives within a Kullback-Leibler penalty lambda: SOPA-s (Zhu et
    al., ICML 2022). All negatives give a gradient. A large lambda is ``pairwise_auc``, a small one the
    hardest negative alone.

    Args:
      scores: [B] or [B, C], h.
      targets: 0 or 1, of the same shape.
      temperature: scalar above 0, lambda, in the units of phi.
      surrogate: phi, as in ``pairwise_auc``.
      margin: scalar, m, 0 or more.
      mask: broadcastable to the scores, nonzero where the target is known.
      axis_name: mesh axis or axes that the batch is split over.

    Returns:
      Scalar, float32 (float64 for float64 scores).

    Raises:
      ValueError: shapes that do not fit; targets other than 0 and 1; an unknown surrogate; a negative margin;
        a temperature not above 0.
    """
    check_surrogate(surrogate, margin)
    check_above_zero("temperature", temperature)
    batch = prepare(scores, targets, mask, axis_name)
    temperature, margin = (jnp.asarray(x, batch.scores.dtype) for x in (temperature, margin))
    keys = gather_batch(batch.scores, axis_name)
    # a class without negatives is left out of the result; with no keys at all its gradient would be NaN
    present = gather_batch(batch.negative, axis_name) | ~batch.both_kinds[None]
    log_count = jnp.log(jnp.maximum(batch.num_negative, 1).astype(keys.dtype))

    def of_anchor(score: jax.Array) -> jax.Array:
        costs = SURROGATES[surrogate](score[None] - keys, margin)
        log_sum = jax.nn.logsumexp(costs / temperature, axis=0, where=present)
        return temperature * (log_sum - log_count)

    anchors = jnp.where(
        batch.positive, batch.scores, 0
    )  # costs of other rows may overflow, they are not used
    values = map_anchors(of_anchor, anchors, keys.size, batch.positive.any(axis=1))
    return mean_of_classes(class_means(values, batch.positive, axis_name), batch.both_kinds, batch)


def smooth_ap(
    scores: ArrayLike,
    targets: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """One minus average precision, with ranks smoothed by a sigmoid.

        loss = 1 - mean_i (1 + sum_{j in P, j != i} d_ji) / (1 + sum_{j != i} d_ji),
        d_ji = sigmoid((h_j - h_i) / tau),   i in P, the positives

    The first sum is the rank of i among the positives, the second its rank among all. Brown et al., ECCV
    2020, who take tau = 0.01 for cosine similarities, in [-1, 1]. A pair gives a gradient in proportion to
    exp(-|h_j - h_i| / tau): with 0.01, logits with a standard deviation of 3 give none. The default is for
    logits, which are apart by some units.

    Args:
      scores: [B] or [B, C], h.
      targets: 0 or 1, of the same shape.
      temperature: scalar above 0, tau, in the units of the scores.
      mask: broadcastable to the scores, nonzero where the target is known.
      axis_name: mesh axis or axes that the batch is split over.

    Returns:
      Scalar, float32 (float64 for float64 scores).

    Raises:
      ValueError: shapes that do not fit; targets other than 0 and 1; a temperature not above 0.
    """
    check_above_zero("temperature", temperature)
    batch = prepare(scores, targets, mask, axis_name)
    temperature = jnp.asarray(temperature, batch.scores.dtype)
    keys = gather_batch(batch.scores, axis_name)
    positive, negative = (gather_batch(x, axis_name) for x in (batch.positive, batch.negative))
    rows = jnp.arange(keys.shape[0], dtype=jnp.int32)

    def of_anchor(anchor: tuple[jax.Array, jax.Array]) -> jax.Array:
        score, own_row = anchor
        above = sigmoid_pair((keys - score[None]) / temperature)[0]  # its slope does not round to 0
        other_positive = positive & (rows != own_row)[:, None]
        of_positives = 1 + jnp.sum(above, axis=0, where=other_positive)
        return 1 - of_positives / (of_positives + jnp.sum(above, axis=0, where=negative))

    own_rows = batch_positions(batch.scores.shape[0], axis_name)
    values = map_anchors(of_anchor, (batch.scores, own_rows), keys.size, batch.positive.any(axis=1))
    return mean_of_classes(class_means(values, batch.positive, axis_name), batch.both_kinds, batch)
