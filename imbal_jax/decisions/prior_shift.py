"""Prior correction: probabilities at the training priors become probabilities at deployment priors.

A model fitted by cross-entropy gives p(class | image) under the priors of its training stream, which
balancing has made artificial. Where only the priors differ from the place of use, and not what an image of a
class looks like, the correction is exact. Functions of ``priors`` take the softmax of one label, scores
[N, C]; those of ``prevalence`` take independent sigmoids, scores [N], or [N, L] with one prevalence a label.

Scores are probabilities: a float32 softmax has lost what it rounded to 0 or 1, which stay 0 and 1. Where the
logits are at hand, ``adjust_logits`` loses nothing.
"""

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.decisions.probabilities import (
    check,
    distribution,
    positive,
    prevalences,
    sigmoid_scores,
    softmax_scores,
)


def adjust_logits(logits: ArrayLike, priors: ArrayLike, tau: float = 1.0) -> np.ndarray:
    """Post-hoc logit adjustment: z_c - tau log p_c (Menon et al., ICLR 2021, eq. 9).

    At tau = 1 the softmax of the result is the posterior under equal priors, as far as that of z is the
    posterior under p. ``priors`` = source / target moves from the source priors to the target priors.

    Args:
      logits: [..., C], z.
      priors: [C], p, above 0; a common factor changes no softmax.
      tau: 0 (no change) or more.

    Returns:
      float64 [..., C].

    Raises:
      ValueError: shapes that do not fit; a prior that is not above 0; a negative ``tau``.
    """
    logits = np.asarray(logits, np.float64)
    if logits.ndim == 0:
        raise ValueError("logits are a scalar, expected [..., C]")
    if not 0 <= tau < np.inf:
        raise ValueError(f"tau={tau} must be zero or above, and finite")
    return logits - tau * np.log(positive("priors", priors, (logits.shape[-1],)))


def correct_priors(scores: ArrayLike, source_priors: ArrayLike, target_priors: ArrayLike) -> np.ndarray:
    """The posterior under other priors: p'_c = p_c (t_c / s_c) / sum_k p_k (t_k / s_k).

    Saerens, Latinne and Decaestecker (Neural Computation 2002).

    Args:
      scores: [N, C], p; rows of sum 1.
      source_priors: [C], s, what the scores assume (``effective_priors``); above 0, sum 1.
      target_priors: [C], t, of the place of use; above 0, sum 1. Leave out the column of a class that cannot
        occur there.

    Returns:
      float64 [N, C], rows of sum 1; scores of 0 and 1 stay as they are.

    Raises:
      ValueError: scores that are not probabilities, or rows that do not sum to 1; priors that do not fit.
    """
    scores = softmax_scores(scores)
    source = distribution("source_priors", source_priors, scores.shape[1])
    target = distribution("target_priors", target_priors, scores.shape[1])
    with np.errstate(divide="ignore"):
        logs = np.log(scores) + (np.log(target) - np.log(source))
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def correct_prevalence(
    scores: ArrayLike, source_prevalence: ArrayLike, target_prevalence: ArrayLike
) -> np.ndarray:
    """The probability of a finding at another prevalence: its odds times [t / (1 - t)] / [s / (1 - s)].

    Elkan (IJCAI 2001, theorem 2), for each label by itself.

    Args:
      scores: [N] or [N, L], p.
      source_prevalence: a number, or [L]; s, what the scores assume (``effective_prevalence``), in (0, 1).
      target_prevalence: a number, or [L]; t, of the place of use, in (0, 1).

    Returns:
      float64, the shape of the scores; scores of 0 and 1 stay as they are.

    Raises:
      ValueError: scores that are not probabilities; a prevalence outside (0, 1), or that does not fit.
    """
    scores = sigmoid_scores(scores)
    source = prevalences("source_prevalence", source_prevalence, scores.shape[1:])
    target = prevalences("target_prevalence", target_prevalence, scores.shape[1:])
    return _reweigh(scores, target * (1 - source), source * (1 - target))


def undo_undersampling(scores: ArrayLike, kept: ArrayLike) -> np.ndarray:
    """The probability before negatives were left out: p = b p_s / (b p_s - p_s + 1).

    Dal Pozzolo et al. (IEEE SSCI 2015).

    Args:
      scores: [N] or [N, L], p_s.
      kept: a number, or [L]; b, the share of the negatives that training kept, in (0, 1].

    Returns:
      float64, the shape of the scores.

    Raises:
      ValueError: scores that are not probabilities; a share outside (0, 1].
    """
    scores = sigmoid_scores(scores)
    kept = positive("kept", kept, (), scores.shape[1:])
    check("kept", kept, kept <= 1, "a share of the negatives, at most 1")
    return _reweigh(scores, kept, np.ones(()))


def undo_positive_weight(scores: ArrayLike, weight: ArrayLike) -> np.ndarray:
    """The probability without the weight of the positives in the loss: p = p_w / (p_w + w (1 - p_w)).

    The weighted binary cross-entropy is least where the odds are w times the true ones (Elkan, IJCAI 2001).

    Args:
      scores: [N] or [N, L], p_w.
      weight: a number, or [L]; w, above 0 (``priors.positive_weights``).

    Returns:
      float64, the shape of the scores.

    Raises:
      ValueError: scores that are not probabilities; a weight that is not above 0.
    """
    scores = sigmoid_scores(scores)
    return _reweigh(scores, np.ones(()), positive("weight", weight, (), scores.shape[1:]))


def effective_priors(stream_counts: ArrayLike, class_weights: ArrayLike | None = None) -> np.ndarray:
    """The priors that training assumed: q_c = n_c w_c / sum_k n_k w_k.

    The posterior under q minimises the weighted cross-entropy of the stream. Focal and other losses that are
    not proper have no such priors, and a loss that adds the log priors to its logits has equal ones.

    Args:
      stream_counts: [C], n, how often training drew each class, or its share of a batch
        (``sampling.plan_counts``); zero or above.
      class_weights: [C], w, of the loss; zero or above. None for 1.

    Returns:
      float64 [C], sum 1.

    Raises:
      ValueError: shapes that do not fit, a negative value, or nothing but zeros.
    """
    mass = np.asarray(stream_counts, np.float64)
    if mass.ndim != 1 or mass.size == 0:
        raise ValueError(f"stream_counts have shape {mass.shape}, expected [C]")
    if class_weights is not None:
        weights = np.asarray(class_weights, np.float64)
        if weights.shape != mass.shape:
            raise ValueError(f"class_weights have shape {weights.shape}, expected {mass.shape}")
        check("class_weights", weights, weights >= 0, "a finite number zero or above")
        mass = mass * weights
    check("stream_counts", mass, mass >= 0, "a finite number zero or above")
    if not mass.sum() > 0:
        raise ValueError("counts times weights sum to zero: there is no case to take a prior from")
    return mass / mass.sum()


def effective_prevalence(
    positives: ArrayLike, total: ArrayLike, positive_weight: ArrayLike = 1.0
) -> np.ndarray:
    """The prevalence that training assumed of each label: w n / (w n + N - n).

    Args:
      positives: a number, or [L]; n, the positives that training drew.
      total: a number, or [L]; N, the known entries that it drew, n among them.
      positive_weight: a number, or [L]; w, the weight of the positives in the loss, above 0.

    Returns:
      float64, a number or [L].

    Raises:
      ValueError: positives that are negative or more than the total; a weight that is not above 0.
    """
    positives, total, weight = (np.asarray(x, np.float64) for x in (positives, total, positive_weight))
    check("positive_weight", weight, weight > 0, "a finite number above zero")
    check("total", total, total > 0, "a finite number above zero")
    check("positives", positives, (positives >= 0) & (positives <= total), "a number from zero to the total")
    return weight * positives / (weight * positives + (total - positives))


def _reweigh(scores: np.ndarray, finding: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """p u / (p u + (1 - p) v), u and v above 0: the odds times u / v, which itself might overflow."""
    largest = np.maximum(finding, rest)
    weighted = scores * (finding / largest)
    return weighted / (weighted + (1 - scores) * (rest / largest))
