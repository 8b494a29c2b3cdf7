"""Cross-entropy for one label, with margins or temperatures from the class counts.

Logits, labels, the dtype of the result and an index outside the classes are as in softmax.py. Counts matter
only relative to each other, so priors do as well. Counts, margins and exponents may be traced: a sweep does
not recompile.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_scalar, per_class
from imbal_jax.losses.single_label import (
    along_classes,
    are_indices,
    at_labels,
    expectation,
    finite_or_zero,
    log_per_class,
    log_probability,
    log_sum_of_others,
    prepare,
)


def ldam(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    max_margin: ArrayLike = 0.5,
    scale: ArrayLike = 30.0,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy after a margin, wider for rarer classes, is taken off the label's logit.

        loss = CE(s (z - m_y e_y), y),   m_c = max_margin (n_min / n_c)^(1/4),   e_y the unit vector of y
        for probabilities t: sum_c t_c times the loss of y = c

    Cao et al., NeurIPS 2019, eq. 12 and 13. The logits must be cosines, of a dense layer whose weights and
    inputs have norm 1: margin and scale are made for these. Margin 0 and scale 1 is ``cross_entropy``. The
    authors add weights in the last fifth of training (DRW): average the loss with
    ``weighted_mean(loss, w[y])``, w of ``priors.class_weights(counts, "effective")``.

    Args:
      logits: [..., C], z, -1 to 1.
      labels: int [...], y, or probabilities [..., C], t.
      counts: [C], n, above 0 (``priors.class_counts``); a class with a traced 0 has the widest margin.
      max_margin: scalar, 0 or more, the margin of the rarest class.
      scale: scalar, 0 or more, s.
      mask, ignore_index: what is left out, as in softmax.py.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; counts not [C], not above 0, or not finite; a negative margin or
        scale.
    """
    check_scalar("max_margin", max_margin)
    check_scalar("scale", scale)
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    counts = per_class("counts", counts, logits.shape[-1], logits.dtype, bound="above zero")
    fewest = jnp.min(jnp.where(counts > 0, counts, jnp.inf))
    margins = jnp.asarray(max_margin, logits.dtype) * (fewest / jnp.maximum(counts, fewest)) ** 0.25
    scale = jnp.asarray(scale, logits.dtype)
    logits *= scale
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    others = log_sum_of_others(logits - top, labels)
    own = at_labels(logits, labels) - (top[..., 0] if are_indices(labels) else top)
    gap = others - own + scale * at_labels(margins, labels)
    if not are_indices(labels):
        gap = finite_or_zero(gap, labels)  # inf for a logit of -inf
    # log(1 + exp(gap)) is the cross-entropy, and has its digits also where it is tiny.
    return expectation(jax.nn.softplus(gap), labels, known)


def vector_scaling(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    gamma: ArrayLike = 0.15,
    tau: ArrayLike = 1.0,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy of logits divided by a temperature, higher for rarer classes, and moved by log counts.

        loss = CE(z_c / D_c + tau log n_c, t),   D_c = (n_max / n_c)^gamma

    Kini et al., NeurIPS 2021 (VS loss). gamma = 0 is ``logit_adjusted``, tau = 0 is
    ``class_dependent_temperature``, both 0 are ``cross_entropy``. Predict with argmax z.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      counts: [C], n, above 0 (``priors.class_counts``); a traced 0 is read as in ``logit_adjusted``.
      gamma: scalar, 0 or more.
      tau: scalar, 0 or more.
      mask, ignore_index: what is left out, as in softmax.py.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; counts not [C], not above 0, or not finite; a negative gamma or
        tau.
    """
    check_scalar("gamma", gamma)
    check_scalar("tau", tau)
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    log_counts = log_per_class("counts", counts, logits)
    log_ratio = log_counts - jnp.max(log_counts)
    logits *= along_classes(jnp.exp(jnp.asarray(gamma, logits.dtype) * log_ratio), logits)
    logits += along_classes(jnp.asarray(tau, logits.dtype) * log_ratio, logits)
    return expectation(-log_probability(logits, labels), labels, known)


def class_dependent_temperature(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    gamma: ArrayLike = 0.15,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy of logits divided by a temperature, higher for rarer classes.

        loss = CE(z_c / a_c, t),   a_c = (n_max / n_c)^gamma

    Ye et al., 2020, Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning. Only in
    training: predict with argmax z. gamma = 0 is ``cross_entropy``.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      counts: [C], n, above 0 (``priors.class_counts``); a traced 0 is read as in ``logit_adjusted``.
      gamma: scalar, 0 or more.
      mask, ignore_index: what is left out, as in softmax.py.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; counts not [C], not above 0, or not finite; a negative gamma.
    """
    return vector_scaling(logits, labels, counts, gamma, 0.0, mask=mask, ignore_index=ignore_index)
