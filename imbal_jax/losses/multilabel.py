"""Losses for many labels that weigh a label by the other labels of its item and by their frequency.

Targets, masks, soft targets and dtypes are those of ``losses.sigmoid``. The last axis is the labels of one
item. A label hidden by the mask neither counts nor tells about the others. Weights are constants: no gradient
flows into them.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_scalar, known_values, per_class
from imbal_jax.losses.reweighting import effective_weights
from imbal_jax.losses.sigmoid import focal_terms, known_labels, per_label, where_known
from imbal_jax.losses.single_label import along_classes


def distribution_balanced(
    logits: ArrayLike,
    targets: ArrayLike,
    counts: ArrayLike,
    total: ArrayLike,
    *,
    alpha: ArrayLike = 0.1,
    beta: ArrayLike = 10.0,
    mu: ArrayLike = 0.2,
    scale: ArrayLike = 2.0,
    kappa: ArrayLike = 0.05,
    gamma: ArrayLike = 2.0,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Distribution-balanced loss: weights that know which labels come together, and gentler negatives.

        loss = W [t (1 - s+)^gamma softplus(-z') + (1 - t) s-^gamma softplus(lambda z') / lambda]

        W_c = alpha + sigmoid(beta (r_c - mu)),   r_c = (1 / n_c) / sum_j (t_j / n_j)
        z'_c = z_c - (kappa / lambda) log(N / n_c - 1),   s+ = sigmoid(z'),   s- = sigmoid(lambda z')

    Wu et al., ECCV 2020; the shift is divided by lambda as in their code. In class-aware sampling, which the
    loss is meant for, r_c is how often label c alone would have the item drawn, over how often all its labels
    do. An item without a positive has r = infinity and W = alpha + 1, the largest.

    With kappa = 0, lambda = 1 and gamma = 0 it is the binary cross-entropy times W. gamma = 0 is the loss
    without focus; their runs use gamma = 2 and double the loss, which is left to the learning rate here. The
    other defaults are theirs for COCO-MLT; for VOC-MLT they take mu = 0.3 and lambda = 5.

    Args:
      logits: [..., C], z.
      targets: [..., C], t: 0, 1, or between.
      counts: [C], n, the positives of each label, above 0 and below ``total`` (``priors.class_counts``). A
        traced count outside that is read as the nearest one that keeps everything finite.
      total: scalar, N, the items; or [C], the items for which each label is known.
      alpha: scalar, 0 or more: the least weight is between alpha and alpha + 1/2.
      beta: scalar, 0 or more, how sharply W goes from the least to the largest.
      mu: scalar, 0 or more, the r in the middle.
      scale: scalar, lambda, above 0: how much sooner negatives stop pulling; 1 is the plain loss.
      kappa: scalar, 0 or more, how far the logits are moved by the prior of the label.
      gamma: scalar, 0 or more, the focus.
      mask: broadcastable to [..., C], nonzero where the target is known.

    Returns:
      [..., C], float32 (float64 for float64 logits).

    Raises:
      ValueError: shapes that do not fit; a count not above 0 or not below ``total``; a parameter out of
        range.
    """
    parameters = {"alpha": alpha, "beta": beta, "mu": mu, "scale": scale, "kappa": kappa, "gamma": gamma}
    for name, value in parameters.items():
        check_scalar(name, value)
    if known_values(scale) == 0:
        raise ValueError("scale is 0, expected a number above 0: 1 leaves the negatives as they are")
    logits, targets, known = known_labels(logits, targets, mask)
    alpha, beta, mu, scale, kappa = (jnp.asarray(x, logits.dtype) for x in (alpha, beta, mu, scale, kappa))
    tiny, largest = jnp.finfo(logits.dtype).tiny, jnp.finfo(logits.dtype).max
    _check_below(counts, total)
    counts = per_class("counts", counts, logits.shape[-1], logits.dtype, bound="above zero")
    counts = along_classes(jnp.maximum(counts, tiny), logits)
    negatives = jnp.maximum(per_label("total", total, logits) - counts, tiny)

    item = jnp.sum(targets / counts, axis=-1, keepdims=True)
    ratio = jnp.minimum(1 / counts / jnp.maximum(item, tiny), largest)
    weights = jax.lax.stop_gradient(alpha + jax.nn.sigmoid(beta * (ratio - mu)))

    logits = logits - kappa / scale * (jnp.log(negatives) - jnp.log(counts))
    positive = targets * focal_terms(logits, gamma)[0]
    negative = (1 - targets) * focal_terms(scale * logits, gamma)[1] / scale
    return where_known(weights * (positive + negative), known)


def class_balanced_sigmoid_focal(
    logits: ArrayLike,
    targets: ArrayLike,
    counts: ArrayLike,
    beta: ArrayLike = 0.9999,
    gamma: ArrayLike = 2.0,
    mask: ArrayLike | None = None,
    *,
    weigh: Literal["item", "positives"] = "item",
) -> jax.Array:
    """Focal loss of each label, weighted by the effective number of its examples.

        w_c proportional to (1 - beta) / (1 - beta^n_c), summing to C
        weigh="item":       loss = W F(z, t) for all labels,   W = sum_c t_c w_c / sum_c t_c
        weigh="positives":  loss_c = w_c F(z_c, t_c) for t_c = 1,   F(z_c, t_c) for t_c = 0

    with F = ``sigmoid_focal``. Cui et al., CVPR 2019, define it for items of one label y: W = w_y on all C
    terms. For many labels "item" takes the mean over the item's positives (one of the ways in the code of Wu
    et al., ECCV 2020), and for an item without any the mean over all labels, which is 1. "positives" weighs
    each label by itself, as ``pos_weight`` does. beta = 0 is ``sigmoid_focal``.

    Cui et al. divide the sum by the number of positives: that is 0 for an all-negative batch. Divide by the
    count (``weighted_mean(loss, mask, normalize="count")``) or by ``max(targets.sum(), 1)``.

    Args:
      logits: [..., C], z.
      targets: [..., C], t: 0, 1, or between.
      counts: [C], n, the positives of each label, above 0 (``priors.class_counts``). A traced 0 gives
        weight 0.
      beta: scalar, from 0 to below 1. Better a Python number than an array: as float32, 0.9999 leaves three
        digits of 1 - beta.
      gamma: scalar, 0 or more.
      mask: broadcastable to [..., C], nonzero where the target is known.
      weigh: what the weight applies to.

    Returns:
      [..., C], float32 (float64 for float64 logits).

    Raises:
      ValueError: shapes that do not fit; counts not above 0, or all below 1; a ``beta`` outside [0, 1); a
        negative ``gamma``; an unknown ``weigh``.
    """
    if weigh not in ("item", "positives"):
        raise ValueError(f"weigh is {weigh!r}, allowed are 'item' and 'positives'")
    check_scalar("gamma", gamma)
    logits, targets, known = known_labels(logits, targets, mask)
    weights = along_classes(effective_weights(counts, beta, logits), logits)
    positive, negative = focal_terms(logits, gamma)
    positive, negative = targets * positive, (1 - targets) * negative
    if weigh == "positives":
        return where_known(weights * positive + negative, known)
    present = jnp.sum(targets, axis=-1, keepdims=True)
    some = present > 0
    mean = jnp.sum(targets * weights, axis=-1, keepdims=True) / jnp.where(some, present, 1)
    item = jax.lax.stop_gradient(jnp.where(some, mean, 1))
    return where_known(item * (positive + negative), known)


def _check_below(counts: ArrayLike, total: ArrayLike) -> None:
    known_counts, known_total = known_values(counts), known_values(total)
    if known_counts is None or known_total is None or np.ndim(known_counts) != 1:
        return
    if known_total.shape not in ((), known_counts.shape):
        return
    wrong = known_counts >= known_total
    if wrong.any():
        label = int(np.argmax(wrong))
        bound = np.broadcast_to(known_total, wrong.shape)[label]
        raise ValueError(
            f"counts[{label}] is {known_counts[label]:g} of a total of {bound:g}, expected fewer: "
            "a label needs positives and negatives"
        )
