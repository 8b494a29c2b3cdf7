"""Cross-entropy for one label, and variants that balance by weights or by logit offsets.

Every loss here takes logits [..., C] and labels of one of two kinds, distinguished by their rank:

- class indices, int [...]. An index outside 0..C-1 gives NaN with gradient 0, so that a mistake shows. In a
  numpy array it raises.
- probabilities, floats [..., C], soft or one-hot. Class weights and modulators apply to each class inside the
  sum. Outside a transformation (jit, grad with respect to them, vmap) their values are checked: 0 or more, with
  sum 1 within 0.01. Integers of this shape raise: cast one-hot labels to float.

Two keywords, the same in every loss, leave examples out. Their value and their gradient are 0, whatever their
logits and labels hold, NaN and infinity included:

- ``mask``, broadcastable to [...], nonzero for what counts: ``weighted_mean(loss, mask)`` is the mean over it.
- ``ignore_index``, a class index that is left out (padding, a void pixel): as in PyTorch, but without a default.

Logits [C] with probabilities [C] raise: they could be B scores and B labels. Pass logits [1, C].

Nothing is reduced: the result is float32 [...]. Logits are first cast to ``promote_types(dtype, float32)``:
float16 and bfloat16 are computed in float32, and float64 (x64 enabled) stays float64. Weights, priors, counts
and exponents may be traced, so that sweeping them does not recompile; their values are then not checked.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import (
    check_scalar,
    per_class,
)
from imbal_jax.losses.reduction import AxisName
from imbal_jax.losses.single_label import (
    along_classes,
    at_labels,
    expectation,
    log_per_class,
    log_probability,
    one_hot,
    prepare,
)


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy of the softmax.

        loss = -sum_c t_c log p_c,   p = softmax(z);   for a class index y: -log p_y

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      mask, ignore_index: what is left out, as the module's docstring says.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit the logits.

    >>> logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 3.0]]))  # probabilities 1/4 and 3/4
    >>> labels = jnp.array([0, 1])
    >>> print(cross_entropy(logits, labels))
    [1.386 0.288]
    """
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    return expectation(-log_probability(logits, labels), labels, known)


def weighted_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    class_weights: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy with a weight on each class.

        loss = -sum_c w_c t_c log p_c;   for a class index y: -w_y log p_y

    Its mean over a batch has two conventions, which differ by the mean weight. PyTorch's
    ``CrossEntropyLoss(weight)`` is ``weighted_mean(cross_entropy(z, y), w[y])``, the sum over the sum of
    the weights; the class-balanced loss of Cui et al. 2019 is ``weighted_mean(loss, None)``.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      class_weights: [C], w, 0 or more (``priors.class_weights``).
      mask, ignore_index: what is left out, as the module's docstring says.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; weights not [C], negative, or not finite.

    >>> logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 3.0]]))  # probabilities 1/4 and 3/4
    >>> labels = jnp.array([0, 1])
    >>> print(weighted_cross_entropy(logits, labels, jnp.array([2.0, 1.0])))
    [2.773 0.288]
    """
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    weights = per_class("class_weights", class_weights, logits.shape[-1], logits.dtype, bound="zero or above")
    return expectation(at_labels(weights, labels) * -log_probability(logits, labels), labels, known)


def bayesian_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    priors: ArrayLike | None,
    target_priors: ArrayLike | None = None,
    *,
    axis_name: AxisName | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
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
      labels: int [...], y, or probabilities [..., C], t. An index outside 0..C-1, or an
        example that is left out, does not enter the batch priors.
      priors: [C], p, above 0 with sum 1 (``priors.class_priors``), or None for the frequencies of the batch.
        A traced 0 gives weight 0.
      target_priors: [C], q, 0 or more with sum 1; None for 1/C.
      axis_name: mesh axis or axes that the batch is split over, so that ``priors=None`` means the frequencies
        of the global batch. Given priors do not depend on it.
      mask, ignore_index: what is left out, as the module's docstring says.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; priors not [C], out of range, or without sum 1.

    >>> logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 3.0]]))  # probabilities 1/4 and 3/4
    >>> labels = jnp.array([0, 1])
    >>> print(bayesian_cross_entropy(logits, labels, jnp.array([0.25, 0.75])))  # weights 2 and 2/3
    [2.773 0.192]
    """
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    num_classes, dtype = logits.shape[-1], logits.dtype
    if priors is None:
        targets = known.only(one_hot(labels, logits), 0)
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
    return expectation(at_labels(weights, labels) * -log_probability(logits, labels), labels, known)


def focal(
    logits: ArrayLike,
    labels: ArrayLike,
    gamma: ArrayLike = 2.0,
    *,
    alpha: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
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
      mask, ignore_index: what is left out, as the module's docstring says.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; a negative ``gamma``; alpha not [C], negative, or not finite.

    >>> logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 3.0]]))  # probabilities 1/4 and 3/4
    >>> labels = jnp.array([0, 1])
    >>> print(focal(logits, labels))  # factors 9/16 and 1/16
    [0.78  0.018]
    """
    check_scalar("gamma", gamma)
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    log_p = log_probability(logits, labels)
    gamma = jnp.asarray(gamma, log_p.dtype)
    # For gamma < 1 the power has no finite slope at p = 1, though the loss has slope 0: keep 0 out of it.
    rest = -jnp.expm1(log_p)
    at_one = (gamma == 0).astype(log_p.dtype)
    power = jnp.where(rest > 0, jnp.where(rest > 0, rest, 1) ** gamma, at_one)
    if alpha is not None:
        alpha = per_class("alpha", alpha, logits.shape[-1], logits.dtype, bound="zero or above")
        power *= at_labels(alpha, labels)
    return expectation(power * -log_p, labels, known)


def logit_adjusted(
    logits: ArrayLike,
    labels: ArrayLike,
    priors: ArrayLike,
    tau: ArrayLike = 1.0,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
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
      mask, ignore_index: what is left out, as the module's docstring says.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; priors not [C], not above 0, or not finite; a negative ``tau``.

    >>> logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 3.0]]))  # probabilities 1/4 and 3/4
    >>> labels = jnp.array([0, 1])
    >>> print(logit_adjusted(logits, labels, jnp.array([0.75, 0.25])))  # both probabilities 1/2
    [0.693 0.693]
    """
    check_scalar("tau", tau)
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    logits += along_classes(jnp.asarray(tau, logits.dtype) * log_per_class("priors", priors, logits), logits)
    return expectation(-log_probability(logits, labels), labels, known)


def balanced_softmax(
    logits: ArrayLike,
    labels: ArrayLike,
    counts: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Cross-entropy of the softmax weighted by the class counts.

        loss = CE(z + log n, t),   so that p_c = n_c exp(z_c) / sum_k n_k exp(z_k)

    Ren et al., NeurIPS 2020. The softmax ignores a common factor of n, so this is ``logit_adjusted``
    at tau = 1 with the priors n / sum n.

    Args:
      logits: [..., C], z.
      labels: int [...], y, or probabilities [..., C], t.
      counts: [C], n, above 0 (``priors.class_counts``); a traced 0 is read as in ``logit_adjusted``.
      mask, ignore_index: what is left out, as the module's docstring says.

    Returns:
      float32 [...].

    Raises:
      ValueError: labels that do not fit; counts not [C], not above 0, or not finite.

    >>> logits = jnp.log(jnp.array([[1.0, 3.0], [1.0, 3.0]]))  # probabilities 1/4 and 3/4
    >>> labels = jnp.array([0, 1])
    >>> print(balanced_softmax(logits, labels, jnp.array([30, 10])))  # both probabilities 1/2
    [0.693 0.693]
    """
    logits, labels, known = prepare(logits, labels, mask, ignore_index)
    logits += along_classes(log_per_class("counts", counts, logits), logits)
    return expectation(-log_probability(logits, labels), labels, known)
