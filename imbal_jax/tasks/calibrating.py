"""Calibration of network outputs on validation: mutually exclusive classes, and many labels."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from imbal_jax.decisions.calibration import (
    LogitScaling,
    fit_bias_corrected_temperature,
    fit_platt,
    fit_vector_scaling,
)
from imbal_jax.errors import InputError

# Weights of the squared parameters, tried in this order where the likelihood has no maximum: validation separates the
# classes, lacks one, or ranks them in reverse
PENALTIES = (0.01, 1.0)
FITS = {
    "vector": fit_vector_scaling,
    "bias_corrected": fit_bias_corrected_temperature,
}


def fit_classes(
    kind: str, logs: np.ndarray, labels: np.ndarray, shift: np.ndarray
) -> tuple[LogitScaling, str]:
    """The scaling of the log probabilities of classes that exclude each other, and how it was found.

    kind: temperature, vector or bias_corrected. logs: [V, C]. labels: int [V]; below 0 where unknown. shift: [C], by
    which the priors alone move the log probabilities: the fit starts from it, so that a penalty keeps it near. A
    temperature comes before the shift, which knows nothing of it.
    """
    if kind == "temperature":
        scale = _scale_before(logs, labels, shift)
        return LogitScaling((scale,), tuple(shift.tolist())), kind
    for penalty in (0.0, *PENALTIES):
        try:
            fit = FITS[kind](logs + shift, labels, penalty=penalty)
        except InputError:
            continue
        bias = np.multiply(fit.scale, shift) + fit.bias
        return LogitScaling(fit.scale, tuple(bias.tolist())), kind + ", penalised" * (penalty > 0)
    return LogitScaling((1.0,), tuple(shift.tolist())), "prior, since nothing could be fitted"


def fit_labels(log_odds: np.ndarray, labels: np.ndarray) -> LogitScaling:
    """Platt scaling of each label; a label that cannot be fitted is left unscaled.

    log_odds: [V, L]. labels: int [V, L]; below 0 where unknown.
    """
    scales, biases = [], []
    for column, truth in zip(log_odds.T, labels.T, strict=True):
        try:
            fit = fit_platt(column[truth >= 0], truth[truth >= 0])
        except InputError:
            fit = LogitScaling((1.0,), (0.0,))
        # a calibration must not reverse the ranking, or thresholds would call the least suspicious
        keep = fit.scale[0] > 0
        scales.append(fit.scale[0] if keep else 1.0)
        biases.append(fit.bias[0] if keep else 0.0)
    return LogitScaling(tuple(scales), tuple(biases))


def _scale_before(logs: np.ndarray, labels: np.ndarray, shift: np.ndarray) -> float:
    """The a in [1/50, 50] that maximises the likelihood of softmax(a z + shift), which is concave in a."""
    known = np.flatnonzero(labels >= 0)
    rows, columns = logs[known], labels[known]

    def loss(log_scale: float) -> float:
        log_p = log_softmax(np.exp(log_scale) * rows + shift, axis=1)
        return float(-log_p[np.arange(len(rows)), columns].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-np.log(50), np.log(50)), method="bounded").x))
