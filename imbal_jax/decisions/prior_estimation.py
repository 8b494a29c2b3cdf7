"""Class priors at deployment, estimated from scores without labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.decisions.probabilities import distribution, prevalences, sigmoid_scores, softmax_scores


@dataclass(frozen=True)
class PriorEstimate:
    """What ``estimate_priors`` and ``estimate_prevalence`` return; for many labels, one entry a label."""

    priors: np.ndarray  # [C]; or the prevalence, a number or [L]
    scores: np.ndarray  # the scores under them, float64
    iterations: int | np.ndarray
    converged: bool | np.ndarray


def estimate_priors(
    scores: ArrayLike, source_priors: ArrayLike, *, tolerance: float = 1e-8, max_iterations: int = 1000
) -> PriorEstimate:
    """The priors that maximise the likelihood of unlabelled scores, by expectation-maximisation.

        t <- s;   then   t_c <- t_c g_c,   g_c = mean_n (p_nc / s_c) / sum_k p_nk t_k / s_k

    Saerens, Latinne and Decaestecker (Neural Computation 2002). The log-likelihood is concave, and its
    mean over the cases is within max_c g_c - 1 of its maximum: where that is at most ``tolerance``, the
    estimate has converged. If it has not, ``converged`` is False and nothing is raised. The scores must be calibrated
    under s: ``calibration.fit_bias_corrected_temperature`` before (Alexandari et al., ICML 2020).

    Args:
      scores: [N, C], p, of the place of use; rows of sum 1.
      source_priors: [C], s, what the scores assume; above 0, sum 1.
      tolerance: above 0.
      max_iterations: 1 or more.

    Returns:
      PriorEstimate: t [C], ``correct_priors(scores, s, t)``, the iterations made, whether t converged. The t
      of a class that no score speaks for falls towards 0.

    Raises:
      ValueError: as ``correct_priors``; no case; a tolerance or a limit out of range.
    """
    scores = softmax_scores(scores)
    source = distribution("source_priors", source_priors, scores.shape[1])
    priors, iterations, converged = _maximise(scores / source, source, tolerance, max_iterations)
    # the last iteration may have left a class at exactly 0, of which no log can be taken
    weighted = scores * (priors / source)
    return PriorEstimate(priors, weighted / weighted.sum(axis=1, keepdims=True), iterations, converged)


def estimate_prevalence(
    scores: ArrayLike, source_prevalence: ArrayLike, *, tolerance: float = 1e-8, max_iterations: int = 1000
) -> PriorEstimate:
    """``estimate_priors`` for each label by itself: the two classes are without and with the finding.

    Args:
      scores: [N] or [N, L], p, of the place of use.
      source_prevalence: a number, or [L]; what the scores assume, in (0, 1).
      tolerance: above 0.
      max_iterations: 1 or more.

    Returns:
      PriorEstimate: the prevalence, the scores at it, the iterations, whether it converged; a number each for
      scores [N], arrays [L] for [N, L].

    Raises:
      ValueError: as ``correct_prevalence``; no case; a tolerance or a limit out of range.
    """
    scores = sigmoid_scores(scores)
    source = prevalences("source_prevalence", source_prevalence, scores.shape[1:])
    columns = scores.reshape(len(scores), -1)
    sources = np.broadcast_to(source, scores.shape[1:]).reshape(-1)
    found = [
        estimate_priors(
            np.stack([1 - column, column], axis=1),
            [1 - s, s],
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        for column, s in zip(columns.T, sources, strict=True)
    ]
    if scores.ndim == 1:
        return PriorEstimate(
            found[0].priors[1], found[0].scores[:, 1], found[0].iterations, found[0].converged
        )
    return PriorEstimate(
        np.array([estimate.priors[1] for estimate in found]),
        np.stack([estimate.scores[:, 1] for estimate in found], axis=1),
        np.array([estimate.iterations for estimate in found]),
        np.array([estimate.converged for estimate in found]),
    )


def _maximise(
    likelihoods: np.ndarray, start: np.ndarray, tolerance: float, max_iterations: int
) -> tuple[np.ndarray, int, bool]:
    """The weights [C] of a mixture that maximise the likelihood, given likelihoods [N, C]; by EM from ``start``."""
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance={tolerance} must be positive and finite")
    if max_iterations < 1:
        raise ValueError(f"max_iterations={max_iterations} must be 1 or more")
    if len(likelihoods) == 0:
        raise ValueError("there is no case to estimate priors from")
    weights = start
    for iteration in range(max_iterations + 1):
        gain = (1 / (likelihoods @ weights)) @ likelihoods / len(likelihoods)
        converged = bool(gain.max() - 1 <= tolerance)
        if converged or iteration == max_iterations:
            break
        weights = weights * gain
        weights /= weights.sum()
    return weights, iteration, converged
