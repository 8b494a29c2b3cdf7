"""What a method does to its predicted probabilities before they become decisions."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from imbal_jax.decisions.prior_estimation import estimate_priors
from imbal_jax.decisions.prior_shift import correct_priors, effective_prevalence, effective_priors
from imbal_jax.decisions.threshold_moving import class_multipliers
from imbal_jax.methods import Method

Corrector = Callable[[np.ndarray], np.ndarray]


def training_priors(method: Method, shared: Mapping[str, Any]) -> np.ndarray:
    """The priors [C] under which the network's softmax is a posterior, as far as its loss is proper.

    Of many labels, the prevalence of each that its sigmoid assumes; NaN where the batches are composed.

    shared: the class arrays: ``priors`` of the batches as drawn, ``class_weights`` of the loss.
    """
    if "known" in shared:  # many labels
        positives, known, weights = (
            np.asarray(shared[name], np.float64) for name in ("counts", "known", "class_weights")
        )
        if method.composition != "natural":
            return np.full(len(positives), np.nan)
        return effective_prevalence(positives, known, weights)
    stream = np.asarray(shared["priors"], np.float64)
    if method.second_stage != "none":
        return np.full(len(stream), 1 / len(stream))
    if method.loss_row.priors_removed:
        left = stream ** (1 - method.loss_row.power_removed(method.loss_options))
        return left / left.sum()
    return effective_priors(stream, shared["class_weights"])


def correction_factors(
    method: Method,
    shared: Mapping[str, Any],
    data_priors: np.ndarray | None,
    labels: np.ndarray,
    scores: np.ndarray,
) -> np.ndarray:
    """float64 [C]: the factors, up to a common one, by which ``Method.correction`` multiplies the probabilities.

    data_priors: [C], where the model will be used. labels, scores: of validation, for what is fitted there; the
    priors that images suggest (em) are those that these do.
    """
    if method.correction == "none":
        return np.ones(scores.shape[1])
    if method.correction == "threshold":
        return np.asarray(class_multipliers(labels, scores))
    source = training_priors(method, shared)
    if method.correction == "logit_adjusted":
        return source**-method.correction_tau
    if method.correction == "prior":
        return data_priors / source
    # priors that fall to 0 would forbid a class for good
    return np.maximum(estimate_priors(scores, source).priors, 1e-12) / source


def apply_correction(
    method: Method, log_factors: np.ndarray, source: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """The probabilities [N, C] as ``method`` corrects them: the only place that does, whatever the images.

    log_factors: [C], the logs of ``correction_factors``. source: [C], ``training_priors``. The priors that images
    suggest (em) are those that these images do.
    """
    if method.correction == "none":
        return scores
    if method.correction == "em":
        return estimate_priors(scores, source).scores
    factors = np.exp(log_factors - np.max(log_factors))
    return correct_priors(scores, np.full(len(factors), 1 / len(factors)), factors / factors.sum())


def make_corrector(
    method: Method,
    shared: Mapping[str, Any],
    data_priors: np.ndarray | None,
    labels: np.ndarray,
    scores: np.ndarray,
) -> Corrector:
    """``scores [N, C] -> corrected scores [N, C]``; arguments as ``correction_factors``."""
    log_factors = np.log(correction_factors(method, shared, data_priors, labels, scores))
    source = training_priors(method, shared)
    return lambda scores: apply_correction(method, log_factors, source, scores)
