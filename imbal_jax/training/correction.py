"""Prior correction of a method: predicted probabilities are multiplied by a factor for each class."""

import numpy as np

from imbal_jax.decisions.prior_estimation import estimate_priors
from imbal_jax.decisions.prior_shift import correct_priors
from imbal_jax.decisions.threshold_moving import class_multipliers
from imbal_jax.methods import Method


def correction_factors(
    method: Method,
    source: np.ndarray,
    use_priors: np.ndarray | None,
    labels: np.ndarray,
    scores: np.ndarray,
) -> np.ndarray:
    """float64 [C]: the factors, up to a common one, by which ``Method.correction`` multiplies the probabilities.

    source: [C], the priors that the probabilities assume (``Task.training_priors``). use_priors: [C], where the model
    will be used. labels, scores: of validation, for what is fitted there; the
    priors that images suggest (em) are those that these do.
    """
    if method.correction == "none":
        return np.ones(len(source))
    if method.correction == "threshold":
        return np.asarray(class_multipliers(labels, scores))
    if method.correction == "logit_adjusted":
        return source**-method.correction_tau
    if method.correction == "prior":
        assert use_priors is not None  # a task of many labels takes no correction
        return use_priors / source
    # a prior of 0 would exclude a class
    return np.maximum(estimate_priors(scores, source).priors, 1e-12) / source


def apply_correction(
    method: Method, log_factors: np.ndarray, source: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """The probabilities [N, C] as ``method`` corrects them: the only place that does, whatever the images.

    log_factors: [C], the logs of ``correction_factors``. source: [C], as for these. The priors that images
    suggest (em) are those that these images do.
    """
    if method.correction == "none":
        return scores
    if method.correction == "em":
        return estimate_priors(scores, source).scores
    factors = np.exp(log_factors - np.max(log_factors))
    return correct_priors(scores, np.full(len(factors), 1 / len(factors)), factors / factors.sum())


def correct(
    method: Method,
    source: np.ndarray,
    use_priors: np.ndarray | None,
    labels: np.ndarray,
    scores: np.ndarray,
) -> np.ndarray:
    """The probabilities [N, C] of labelled images, corrected by factors fitted on them; arguments as in
    ``correction_factors``."""
    factors = correction_factors(method, source, use_priors, labels, scores)
    return apply_correction(method, np.log(factors), source, scores)
