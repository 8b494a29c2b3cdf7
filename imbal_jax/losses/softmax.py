"""One label of C classes: cross-entropy, and its kin that balance by weights or by moving the logits.

Every loss here takes logits [..., C] and labels of one of two kinds, told apart by their rank:

- class indices, int [...]. An index outside 0..C-1 gives NaN with gradient 0, so that a mistake shows; with
  weight 0 in ``weighted_mean`` it serves as padding or as a pixel to ignore. In a numpy array it raises.
- probabilities, [..., C], soft or one-hot. Class weights and modulators apply to each class inside the sum.

Nothing is reduced: the result is float32 [...]. Logits are first cast to ``promote_types(dtype, float32)``:
float16 and bfloat16 are computed in float32, and float64 (x64 enabled) stays float64. Weights, priors, counts
and exponents may be traced, so that sweeping them does not recompile; their values are then not checked.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_scalar, host_values, per_class
from imbal_jax.losses.reduction import AxisName


def cross_entropy(logits: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Cross-entropy of the softmax.

        loss = -sum_c t_c log p_c,   p = softmax(z);   for a class index y: -log p_y

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit the logits.
    """
    logits, labels, valid = prepare(logits, labels)
    return expectation(-log_probability(logits, labels), labels, valid)


def weighted_cross_entropy(logits: ArrayLike, labels: ArrayLike, class_weights: ArrayLike) -> jax.Array:
    """Cross-entropy with a weight on each class.

        loss = -sum_c w_c t_c log p_c;   for a class index y: -w_y log p_y

    Its mean over a batch has two conventions, which differ by the mean weight. PyTorch's
    ``CrossEntropyLoss(weight)`` is ``weighted_mean(cross_entropy(z, y), w[y])``, the sum over the sum of
    the weights; the class-balanced loss of Cui et al. 2019 is ``weighted_mean(loss, None)``.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      class_weights: [C], w, 0 or more (``priors.class_weights``).

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; weights not [C], negative, or not finite.
    """
    logits, labels, valid = prepare(logits, labels)
    weights = per_class("class_weights", class_weights, logits.shape[-1], logits.dtype, bound="zero or above")
    return expectation(at_labels(weights, labels) * -log_probability(logits, labels), labels, valid)


def bayesian_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    priors: ArrayLike | None,
    target_priors: ArrayLike | None = None,
    axis_name: AxisName | None = None,
) -> jax.Array:
    """Cross-entropy under the target priors q, of data drawn with the priors p.

        loss = -sum_c (q_c / p_c) t_c log s_c,   s = softmax(z);   for a class index y: -(q_y / p_y) log s_y

    Its minimiser is the posterior under q. With ``priors=None``, p_c is the share of class c in the batch of
    N examples, and the plain mean of the loss over the batch (``weighted_mean(loss, None)``: not divided by
    the sum of the weights) is

        E = sum over the classes c in the batch of q_c * (mean of -log s_c over the examples of c)

    With q = 1/C that is the Bayesian cross-entropy of Dalyac (2014): E = sum_n -log s_{n,y_n} / (C N p_{y_n})
    and dE/dz_nj = (s_nj - [j = y_n]) / (C N p_{y_n}). A class that the batch lacks adds 0, and its share of q
    is not given to the others: for two classes, E of an all-negative batch is half its mean cross-entropy.

    Batch priors bound the weight of an example by q_c N; the priors of the data set have no such bound. For a
    deployment with priors r, predict softmax(z) r / q, normalised. (Elsewhere "Bayesian" can mean the
    cross-entropy of z + log p: that is ``logit_adjusted``.)

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t. An index outside 0..C-1 does not
        enter the batch priors.
      priors: [C], p, above 0 with sum 1 (``priors.class_priors``), or None for the frequencies of the batch.
        A traced 0 gives weight 0.
      target_priors: [C], q, 0 or more with sum 1; None for 1/C.
      axis_name: mesh axis or axes that the batch is split over, so that ``priors=None`` means the frequencies
        of the global batch. Given priors do not depend on it.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; priors not [C], out of range, or without sum 1.
    """
    logits, labels, valid = prepare(logits, labels)
    num_classes, dtype = logits.shape[-1], logits.dtype
    if priors is None:
        targets = jnp.where(valid[..., None], one_hot(labels, logits), 0)
        mass = jax.lax.stop_gradient(jnp.sum(targets, axis=range(targets.ndim - 1)))
        if axis_name is not None:
            mass = jax.lax.psum(mass, axis_name)
        total = jnp.sum(mass)
        source = mass / jnp.where(total == 0, 1, total)
    else:
        source = per_class("priors", priors, num_classes, dtype, bound="above zero", distribution=True)
    if target_priors is None:
        target = jnp.full(num_classes, 1 / num_classes, dtype)
    else:
        target = per_class(
            "target_priors", target_priors, num_classes, dtype, bound="zero or above", distribution=True
        )
    weights = jnp.where(source > 0, target / jnp.where(source > 0, source, 1), 0)
    return expectation(at_labels(weights, labels) * -log_probability(logits, labels), labels, valid)


def focal(
    logits: ArrayLike, labels: ArrayLike, gamma: ArrayLike = 2.0, alpha: ArrayLike | None = None
) -> jax.Array:
    """Focal loss of the softmax: what is already classified well counts less.

        loss = -sum_c alpha_c t_c (1 - p_c)^gamma log p_c
        for a class index y: -alpha_y (1 - p_y)^gamma log p_y

    Lin et al., ICCV 2017, eq. 4 and, with alpha, eq. 5, for C classes. gamma = 0 is ``cross_entropy``, with
    alpha ``weighted_cross_entropy``.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      gamma: scalar, 0 or more.
      alpha: [C], 0 or more (``priors.class_weights``); None for 1.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; a negative ``gamma``; alpha not [C], negative, or not finite.
    """
    check_scalar("gamma", gamma)
    logits, labels, valid = prepare(logits, labels)
    log_p = log_probability(logits, labels)
    gamma = jnp.asarray(gamma, log_p.dtype)
    # For gamma < 1 the power has no finite slope at p = 1, though the loss has slope 0: keep 0 out of it.
    rest = -jnp.expm1(log_p)
    power = jnp.where(rest > 0, jnp.where(rest > 0, rest, 1) ** gamma, gamma == 0)
    if alpha is not None:
        alpha = per_class("alpha", alpha, logits.shape[-1], logits.dtype, bound="zero or above")
        power *= at_labels(alpha, labels)
    return expectation(power * -log_p, labels, valid)


def logit_adjusted(
    logits: ArrayLike, labels: ArrayLike, priors: ArrayLike, tau: ArrayLike = 1.0
) -> jax.Array:
    """Cross-entropy of the logits moved by the log priors.

        loss = CE(z + tau log p, t)

    Menon et al., ICLR 2021, eq. 10. At tau = 1, softmax(z) becomes the posterior under equal priors: predict
    with argmax z. tau = 0 is ``cross_entropy``. Their code takes log(p + 1e-12), an offset of -28 for a class
    without examples; here a prior of 0 raises, and a traced 0 is read as the smallest normal number of the
    dtype (an offset of -87 in float32).

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      priors: [C], p, above 0 (``priors.class_priors``); a common factor changes nothing.
      tau: scalar, 0 or more.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; priors not [C], not above 0, or not finite; a negative ``tau``.
    """
    check_scalar("tau", tau)
    logits, labels, valid = prepare(logits, labels)
    logits += jnp.asarray(tau, logits.dtype) * log_per_class("priors", priors, logits)
    return expectation(-log_probability(logits, labels), labels, valid)


def balanced_softmax(logits: ArrayLike, labels: ArrayLike, counts: ArrayLike) -> jax.Array:
    """Cross-entropy of the softmax weighted by the class counts.

        loss = CE(z + log n, t),   so that p_c = n_c exp(z_c) / sum_k n_k exp(z_k)

    Ren et al., NeurIPS 2020. The softmax ignores a common factor of n, so this is ``logit_adjusted``
    at tau = 1 with the priors n / sum n.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      counts: [C], n, above 0 (``priors.class_counts``); a traced 0 is read as in ``logit_adjusted``.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; counts not [C], not above 0, or not finite.
    """
    logits, labels, valid = prepare(logits, labels)
    logits += log_per_class("counts", counts, logits)
    return expectation(-log_probability(logits, labels), labels, valid)


# What the losses of one label share. A loss is a value of the label: for class indices it is computed at the
# label alone, [...]; for probabilities at every class, [..., C], then weighted with them and summed.


def prepare(logits: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits in the dtype to compute in; labels, int32 [...] within 0..C-1 or probabilities [..., C] of
    that dtype; and where the labels were valid, bool [...]."""
    logits = jnp.asarray(logits)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if logits.ndim == 0:
        raise ValueError("logits are a scalar, expected [..., C]")
    shape, num_classes = np.shape(labels), logits.shape[-1]
    if shape == logits.shape:
        return logits, jnp.asarray(labels, dtype=logits.dtype), jnp.ones(shape[:-1], bool)
    if shape != logits.shape[:-1]:
        raise ValueError(
            f"labels have shape {shape} and logits {logits.shape}: "
            f"expected class indices {logits.shape[:-1]} or probabilities {logits.shape}"
        )
    labels = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    dtype = jnp.result_type(labels)
    if not (jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_)):
        raise ValueError(f"labels of shape {shape} are {dtype}, expected integers: class indices")
    known = host_values(labels)
    if known is not None:
        outside = known[(known < 0) | (known >= num_classes)]
        if outside.size:
            raise ValueError(f"labels hold {outside.flat[0]}, allowed are 0 to {num_classes - 1}")
    labels = jnp.asarray(labels, dtype=jnp.int32)
    valid = (labels >= 0) & (labels < num_classes)
    return logits, jnp.where(valid, labels, 0), valid


def are_indices(labels: jax.Array) -> bool:
    """Whether prepared labels are class indices, not probabilities."""
    return jnp.issubdtype(labels.dtype, jnp.integer)


def one_hot(labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Prepared labels as probabilities [..., C]."""
    return jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype) if are_indices(labels) else labels


def at_labels(values: jax.Array, labels: jax.Array) -> jax.Array:
    """Values [C] or [..., C] at the class index; unchanged where labels are probabilities."""
    if not are_indices(labels):
        return values
    if values.ndim == 1 and labels.ndim > 0:
        return values[labels]
    return jnp.take_along_axis(values, labels[..., None], axis=-1)[..., 0]


def normalizer(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest logit and log sum_c exp(z_c - largest), [..., 1] both. log p = (z - largest) - log sum
    keeps its digits where z is large, as z - (largest + log sum) would not."""
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    return top, jnp.log(jnp.sum(jnp.exp(logits - top), axis=-1, keepdims=True))


def log_probability(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """log p at the class index, [...]; or of each class, [..., C], but 0 where the label has no probability:
    of a logit of -inf it is -inf, and 0 * -inf is NaN."""
    top, log_total = normalizer(logits)
    if are_indices(labels):
        # Gathered from the logits themselves: XLA would write logits - top out to gather from it.
        return at_labels(logits, labels) - top[..., 0] - log_total[..., 0]
    return jnp.where(labels == 0, 0, logits - top - log_total)


def expectation(values: jax.Array, labels: jax.Array, valid: jax.Array) -> jax.Array:
    """sum_c t_c v_c of values [..., C] for probabilities t; for class indices the values [...] themselves,
    and NaN with gradient 0 where not valid."""
    if are_indices(labels):
        return jnp.where(valid, values, jnp.nan)
    return jnp.sum(labels * values, axis=-1)


def log_per_class(name: str, values: ArrayLike, logits: jax.Array) -> jax.Array:
    """log of values [C] above zero; of a traced 0, of the smallest normal number."""
    values = per_class(name, values, logits.shape[-1], logits.dtype, bound="above zero")
    return jnp.log(jnp.maximum(values, jnp.finfo(logits.dtype).tiny))
