"""What a method does to its predicted probabilities before they become decisions."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from imbal_jax.methods import Method
from imbal_jax.prior_estimation import estimate_priors
from imbal_jax.prior_shift import correct_priors, effective_priors
from imbal_jax.threshold_moving import class_multipliers

Corrector = Callable[[np.ndarray], np.ndarray]

ADJUSTED = ("logit_adjusted", "balanced_softmax", "vector_scaling")
"""Losses that take the priors out of the logits."""


def training_priors(method: Method, shared: Mapping[str, Any]) -> np.ndarray:
    """The priors [C] under which the network's softmax is a posterior, as far as its loss is proper.

    shared: the class arrays: ``priors`` of the batches as drawn, ``class_weights`` of the loss.
    """
    stream = np.asarray(shared["priors"], np.float64)
    if method.second_stage != "none" or method.loss == "bayesian":
        return np.full(len(stream), 1 / len(stream))
    if method.loss in ADJUSTED:
        tau = method.loss_options.get("tau", 1.0)
        left = stream ** (1 - tau)
        return left / left.sum()
    return effective_priors(stream, shared["class_weights"])


def make_corrector(
    method: Method,
    shared: Mapping[str, Any],
    data_priors: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
) -> Corrector:
    """``scores [N, C] -> corrected scores [N, C]``, as ``Method.correction`` says.

    data_priors: [C], where the model will be used. labels, scores: of validation, for what is fitted there.
    """
    if method.correction == "none":
        return lambda scores: scores
    classes = scores.shape[1]
    if method.correction == "threshold":
        multipliers = class_multipliers(labels, scores)
        return lambda scores: correct_priors(
            scores, np.full(classes, 1 / classes), multipliers / multipliers.sum()
        )
    source = training_priors(method, shared)
    if method.correction == "logit_adjusted":
        moved = source**-method.correction_tau
        return lambda scores: correct_priors(scores, np.full(classes, 1 / classes), moved / moved.sum())
    if method.correction == "prior":
        return lambda scores: correct_priors(scores, source, data_priors)
    return lambda scores: estimate_priors(scores, source).scores
