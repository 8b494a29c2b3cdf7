"""Losses of the order of the scores: surrogates of AUROC, of partial AUROC and of average precision.

They take scores h and binary targets, [B] or [B, C], and return a scalar: a rank depends on the whole batch,
so there is nothing per example to return. Of [B, C], each class is ranked by itself, and the result is the
mean over the classes that have a positive and a negative in the batch. Without any such class the loss is 0
and so is its gradient. (Only ``auc_margin`` with a prior needs no pairs, and says so.)

An example whose ``mask`` is 0 does not take part, whatever its target and score. A target that is neither 0
nor 1, soft ones of mixed images included, makes the loss NaN with gradient 0, and raises in a numpy array.

With ``axis_name``, the loss is that of the global batch on every device, and its gradient is the device's own
share: ``psum(grad)`` is exact, under the conditions that ``weighted_mean`` states. Scores are first cast to
``promote_types(dtype, float32)``. Margins, temperatures and priors may be traced; they are then not checked.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_broadcast, check_scalar, host_values, known_values
from imbal_jax.losses.global_batch import batch_positions, gather_batch, map_anchors
from imbal_jax.losses.reduction import AxisName, weighted_mean

_KEYS_AT_ONCE = 512

Surrogate = Literal["squared", "squared_hinge", "hinge", "logistic"]


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

    Optimise with ``minimax.pesg``. Yuan et al., ICCV 2021, who take h from a sigmoid, in [0, 1]; their
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
    batch = _prepare(scores, targets, mask, axis_name)
    h, dtype = batch.scores, batch.scores.dtype
    margin = jnp.asarray(margin, dtype)
    a, b, alpha = (_each_class(n, v, batch) for n, v in (("a", a), ("b", b), ("alpha", alpha)))
    if prior is None:
        # the terms without h are shared out over the positives, as any set with total weight 1 would do
        of_positives = _class_means(
            (h - a) ** 2 + 2 * alpha * (margin - h) - alpha**2, batch.positive, axis_name
        )
        of_negatives = _class_means((h - b) ** 2 + 2 * alpha * h, batch.negative, axis_name)
        return _mean_of_classes(of_positives + of_negatives, batch.both_kinds, batch)

    known_prior = known_values(prior)
    if known_prior is not None and not ((known_prior > 0) & (known_prior < 1)).all():
        raise ValueError(f"prior is {prior}, expected numbers between 0 and 1")
    p = _each_class("prior", prior, batch)
    of_positive = (1 - p) * (h - a) ** 2 - 2 * alpha * (1 - p) * h
    of_negative = p * (h - b) ** 2 + 2 * alpha * p * h
    values = jnp.where(batch.positive, of_positive, of_negative) + p * (1 - p) * alpha * (2 * margin - alpha)
    means = _class_means(values, batch.positive | batch.negative, axis_name)
    return _mean_of_classes(means, batch.num_positive + batch.num_negative > 0, batch)


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
    Var-[h]; the others from the B x B pairs, in blocks of 4 MB.

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
    phi = _surrogate(surrogate, margin)
    batch = _prepare(scores, targets, mask, axis_name)
    if surrogate == "squared":
        centre, offset, variance = _moments(batch.scores, batch.positive, axis_name)
        other_centre, other_offset, other_variance = _moments(batch.scores, batch.negative, axis_name)
        gap = (centre - other_centre) + (offset - other_offset)
        loss = phi(gap) + variance + other_variance
    else:
        negative = gather_batch(batch.negative, axis_name)
        weights = negative / jnp.maximum(batch.num_negative, 1).astype(batch.scores.dtype)
        loss = _mean_over_pairs(phi, weights, batch, axis_name)
    return _mean_of_classes(loss, batch.both_kinds, batch)


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
    max_fpr and the batch so that k is not below 1.

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
    phi = _surrogate(surrogate, margin)
    _check_above_zero("max_fpr", max_fpr, at_most=1)
    batch = _prepare(scores, targets, mask, axis_name)
    keys = jax.lax.stop_gradient(gather_batch(batch.scores, axis_name))
    negative = gather_batch(batch.negative, axis_name)
    allowed = jnp.asarray(max_fpr, keys.dtype) * batch.num_negative
    weights = jax.vmap(_weights_of_highest, in_axes=(1, 1, 0), out_axes=1)(keys, negative, allowed)
    return _mean_of_classes(_mean_over_pairs(phi, weights, batch, axis_name), batch.both_kinds, batch)


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
    phi = _surrogate(surrogate, margin)
    _check_above_zero("temperature", temperature)
    batch = _prepare(scores, targets, mask, axis_name)
    temperature = jnp.asarray(temperature, batch.scores.dtype)
    keys = gather_batch(batch.scores, axis_name)
    # a class without negatives is left out of the result; over no keys at all its gradient would be NaN
    present = gather_batch(batch.negative, axis_name) | ~batch.both_kinds
    log_count = jnp.log(jnp.maximum(batch.num_negative, 1).astype(keys.dtype))

    def of_anchor(score: jax.Array) -> jax.Array:
        log_sum = jax.nn.logsumexp(phi(score - keys) / temperature, axis=0, where=present)
        return temperature * (log_sum - log_count)

    values = map_anchors(of_anchor, batch.scores, keys.size, batch.positive.any(axis=1))
    return _mean_of_classes(_class_means(values, batch.positive, axis_name), batch.both_kinds, batch)


def smooth_ap(
    scores: ArrayLike,
    targets: ArrayLike,
    temperature: ArrayLike = 0.01,
    *,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """One minus average precision, with ranks smoothed by a sigmoid.

        loss = 1 - mean_i (1 + sum_{j in P, j != i} d_ji) / (1 + sum_{j != i} d_ji),
        d_ji = sigmoid((h_j - h_i) / tau),   i in P, the positives

    The first sum is the rank of i among the positives, the second its rank among all. Brown et al., ECCV
    2020, with tau = 0.01 for scores in [-1, 1]. Pairs further apart than a few tau give no gradient: raise
    tau for logits, or rank their sigmoid.

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
    _check_above_zero("temperature", temperature)
    batch = _prepare(scores, targets, mask, axis_name)
    temperature = jnp.asarray(temperature, batch.scores.dtype)
    keys = gather_batch(batch.scores, axis_name)
    positive, negative = (gather_batch(x, axis_name) for x in (batch.positive, batch.negative))
    rows = jnp.arange(keys.shape[0])

    def of_anchor(anchor: tuple[jax.Array, jax.Array]) -> jax.Array:
        score, own_row = anchor
        above = jax.nn.sigmoid((keys - score) / temperature)
        other_positive = positive & (rows != own_row)[:, None]
        of_positives = 1 + jnp.sum(above, axis=0, where=other_positive)
        return 1 - of_positives / (of_positives + jnp.sum(above, axis=0, where=negative))

    own_rows = batch_positions(batch.scores.shape[0], axis_name)
    values = map_anchors(of_anchor, (batch.scores, own_rows), keys.size, batch.positive.any(axis=1))
    return _mean_of_classes(_class_means(values, batch.positive, axis_name), batch.both_kinds, batch)


class _Batch(NamedTuple):
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


def _prepare(
    scores: ArrayLike, targets: ArrayLike, mask: ArrayLike | None, axis_name: AxisName | None
) -> _Batch:
    scores = jnp.asarray(scores)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    if scores.ndim not in (1, 2):
        raise ValueError(f"scores have shape {scores.shape}, expected [B] or [B, C]")
    if np.shape(targets) != scores.shape:
        raise ValueError(
            f"targets have shape {np.shape(targets)}, expected that of the scores, {scores.shape}"
        )
    mask = True if mask is None else mask
    check_broadcast("mask values", mask, "scores", scores.shape)
    _check_targets(targets, mask)

    num_examples = scores.shape[0]
    known = jnp.broadcast_to(jnp.asarray(mask) != 0, scores.shape).reshape(num_examples, -1)
    scores = jnp.where(known, scores.reshape(known.shape), 0)
    targets = jnp.asarray(targets).reshape(known.shape)
    positive, negative = known & (targets == 1), known & (targets == 0)
    counts = jnp.stack([jnp.sum(x, axis=0, dtype=jnp.int32) for x in (positive, negative, known)])
    if axis_name is not None:
        counts = jax.lax.psum(counts, axis_name)
    num_positive, num_negative, num_known = counts
    valid = jnp.all(num_positive + num_negative == num_known)
    return _Batch(scores, positive, negative, num_positive, num_negative, valid)


def _check_targets(targets: ArrayLike, mask: ArrayLike) -> None:
    targets, mask = host_values(targets), host_values(mask)
    if targets is None or mask is None:
        return
    wrong = (targets != 0) & (targets != 1) & (mask != 0)
    if wrong.any():
        place = np.unravel_index(np.argmax(wrong), wrong.shape)
        index = ", ".join(str(i) for i in place)
        raise ValueError(
            f"targets[{index}] is {targets[place]:g}, expected 0 or 1: hide unknown ones with mask"
        )


def _check_above_zero(name: str, value: ArrayLike, at_most: float = np.inf) -> None:
    check_scalar(name, value)
    known = known_values(value)
    if known is not None and not 0 < known <= at_most:
        limit = "" if np.isinf(at_most) else f" and at most {at_most:g}"
        raise ValueError(f"{name} is {known:g}, expected a number above zero{limit}")


def _each_class(name: str, values: ArrayLike, batch: _Batch) -> jax.Array:
    num_classes = batch.scores.shape[1]
    if np.shape(values) not in ((), (num_classes,)):
        raise ValueError(f"{name} has shape {np.shape(values)}, expected a scalar or ({num_classes},)")
    return jnp.broadcast_to(jnp.asarray(values, batch.scores.dtype), num_classes)


def _surrogate(name: str, margin: ArrayLike) -> Callable[[jax.Array], jax.Array]:
    if name not in get_args(Surrogate):
        raise ValueError(f"surrogate is {name!r}, allowed are {', '.join(map(repr, get_args(Surrogate)))}")
    check_scalar("margin", margin)
    return {
        "squared": lambda t: (jnp.asarray(margin, t.dtype) - t) ** 2,
        "squared_hinge": lambda t: jnp.maximum(jnp.asarray(margin, t.dtype) - t, 0) ** 2,
        "hinge": lambda t: jnp.maximum(jnp.asarray(margin, t.dtype) - t, 0),
        "logistic": lambda t: jax.nn.softplus(-t),
    }[name]


def _class_means(values: jax.Array, weights: jax.Array, axis_name: AxisName | None) -> jax.Array:
    """[b, C] -> [C]. Any smooth function of the means keeps the promise that ``psum(grad)`` is exact."""
    return jax.vmap(partial(weighted_mean, axis_name=axis_name), in_axes=1)(values, weights)


def _moments(
    scores: jax.Array, weights: jax.Array, axis_name: AxisName | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean of each class in two parts, centre and what rounding left, and variance; [C] each.

    About a constant centre, large scores close together do not cancel, and all derivatives stay exact.
    """
    centre = jax.lax.stop_gradient(_class_means(scores, weights, axis_name))
    offset = _class_means(scores - centre, weights, axis_name)
    square = _class_means((scores - centre) ** 2, weights, axis_name)
    return centre, offset, square - offset**2


def _mean_over_pairs(
    phi: Callable[[jax.Array], jax.Array], weights: jax.Array, batch: _Batch, axis_name: AxisName | None
) -> jax.Array:
    """[C], mean over positives of the sum over the global batch [B, C] of weights times phi."""
    keys = gather_batch(batch.scores, axis_name)
    # The few that have a weight come first, and blocks of the others are passed over.
    order = jnp.argsort(~weights.any(axis=1), stable=True)
    size = min(_KEYS_AT_ONCE, len(order))
    rows = jnp.concatenate([order, jnp.broadcast_to(order[:1], -len(order) % size)]).reshape(-1, size)
    real = (jnp.arange(rows.size) < len(order)).reshape(rows.shape)
    parts = jnp.where(real[..., None], weights[rows], 0)
    blocks = (keys[rows], parts, parts.any(axis=(1, 2)))

    def of_anchor(score: jax.Array) -> jax.Array:
        def add(total: jax.Array, block: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            some_keys, some_weights, busy = block
            more = jax.lax.cond(
                busy,
                lambda s, total: total + jnp.sum(some_weights * phi(s - some_keys), axis=0),
                lambda s, total: total + jnp.where(s == s, 0, 0),
                score,
                total,
            )
            return more, None

        nothing = jnp.where(score == score, 0, 0) + jnp.zeros_like(keys[0])
        return jax.lax.scan(add, nothing.astype(score.dtype), blocks)[0]

    values = map_anchors(of_anchor, batch.scores, keys.size, batch.positive.any(axis=1))
    return _class_means(values, batch.positive, axis_name)


def _weights_of_highest(scores: jax.Array, present: jax.Array, allowed: jax.Array) -> jax.Array:
    """[B], with sum 1 over the ``allowed`` highest of the scores that are present, a fractional number."""
    ascending = jnp.sort(jnp.where(present, scores, -jnp.inf))
    above = scores.size - jnp.searchsorted(ascending, scores, side="right")
    equal = jnp.searchsorted(ascending, scores, side="right") - jnp.searchsorted(ascending, scores)
    share = jnp.clip((allowed - above) / jnp.maximum(equal, 1), 0, 1)
    share = jnp.where(present, share, 0)
    total = jnp.sum(share)
    return share / jnp.where(total == 0, 1, total)


def _mean_of_classes(losses: jax.Array, counted: jax.Array, batch: _Batch) -> jax.Array:
    mean = jnp.sum(jnp.where(counted, losses, 0)) / jnp.maximum(jnp.sum(counted), 1)
    return jnp.where(batch.valid, mean, jnp.nan)
