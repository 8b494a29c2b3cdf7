"""Calibration: scale and shift logits so that probabilities match frequencies; fitted on validation.

One label of C classes, softmax(a z + b), by maximum likelihood:

- temperature scaling: a = 1 / T, one number; b = 0 (Guo et al., ICML 2017);
- vector scaling: a and b [C], a number for each class (Guo et al., ICML 2017);
- bias-corrected temperature scaling: a = 1 / T, b [C] (Alexandari et al., ICML 2020), the one to take before
  ``prior_estimation.estimate_priors``.

Many labels, sigmoid(a z + b), each by itself: Platt scaling (Platt 1999).

The negative log-likelihood is convex in a and b. Newton's method minimises it to rounding. If it has no minimum (the
logits separate the validation cases without an error, or a class has none), the fit raises. A ``penalty`` gives it
one: penalty / 2 times the squared distance of a from 1 and of b from 0, per case.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import block_diag
from scipy.special import log_softmax, softmax

from imbal_jax.errors import InputError
from imbal_jax.metrics.cases import refuse_signs
from imbal_jax.metrics.labels import known_cases, one_finding


@dataclass(frozen=True)
class LogitScaling:
    """``apply``: scale * logits + bias, for the softmax or the sigmoid that the logits were made for."""

    scale: tuple[float, ...]  # one number for all columns of the logits, or one each
    bias: tuple[float, ...]  # the same

    @property
    def temperature(self) -> float:
        """1 / scale. ValueError where the columns have scales of their own."""
        if len(self.scale) != 1:
            raise ValueError(f"{len(self.scale)} scales have no one temperature")
        return 1 / self.scale[0]

    def apply(self, logits: ArrayLike) -> np.ndarray:
        """float64, the shape of the logits: [..., C], or [N] where there is one of each number.

        Raises ValueError where the columns of the logits are not as many as the numbers.
        """
        logits = np.asarray(logits, np.float64)
        columns = logits.shape[-1] if logits.ndim else 0
        for name in ("scale", "bias"):
            numbers = len(getattr(self, name))
            if numbers not in (1, columns):
                raise ValueError(f"logits {list(logits.shape)} do not fit {numbers} numbers of {name}")
        return np.array(self.scale) * logits + np.array(self.bias)

    def to_json(self) -> dict[str, Any]:
        return {name: list(numbers) for name, numbers in asdict(self).items()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "LogitScaling":
        """InputError where a value is missing or no list of numbers."""
        try:
            scale, bias = (tuple(float(x) for x in values[name]) for name in ("scale", "bias"))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"logit scaling {dict(values)} is damaged: {error!r}") from None
        return LogitScaling(scale, bias)


def fit_temperature(logits: ArrayLike, labels: ArrayLike, *, penalty: float = 0.0) -> LogitScaling:
    """The temperature T that maximises the likelihood of softmax(z / T). It does not change decisions.

    Args:
      logits: [N, C], z.
      labels: [N], 0 to C - 1, or -1 for unknown (left out).
      penalty: 0 or more; see the module.

    Raises:
      InputError: the likelihood has no maximum, or its T is not positive; no case.
      ValueError: logits, labels or a penalty of other values or shapes.
    """
    labels, logits = known_cases(labels, logits, "logits")
    scale, _ = _fit(logits, np.eye(logits.shape[1])[labels], penalty, shared=True, biased=False)
    return LogitScaling(_temperature_scale(scale), (0.0,))


def fit_vector_scaling(logits: ArrayLike, labels: ArrayLike, *, penalty: float = 0.0) -> LogitScaling:
    """The scale and bias of each class that maximise the likelihood of softmax(a z + b); the sum of b is 0.

    Arguments and errors as ``fit_temperature``; a scale may be negative.
    """
    labels, logits = known_cases(labels, logits, "logits")
    scale, bias = _fit(logits, np.eye(logits.shape[1])[labels], penalty, shared=False, biased=True)
    return LogitScaling(tuple(scale.tolist()), tuple(bias.tolist()))


def fit_bias_corrected_temperature(
    logits: ArrayLike, labels: ArrayLike, *, penalty: float = 0.0
) -> LogitScaling:
    """The temperature and the biases that maximise the likelihood of softmax(z / T + b); the sum of b is 0.

    Arguments and errors as ``fit_temperature``.
    """
    labels, logits = known_cases(labels, logits, "logits")
    scale, bias = _fit(logits, np.eye(logits.shape[1])[labels], penalty, shared=True, biased=True)
    return LogitScaling(_temperature_scale(scale), tuple(bias.tolist()))


def fit_platt(logits: ArrayLike, labels: ArrayLike) -> LogitScaling:
    """The scale and shift of each label that maximise the likelihood of sigmoid(a z + b), with Platt's targets.

    They are (n+ + 1) / (n+ + 2) for a positive and 1 / (n- + 2) for a negative, of n+ positives and n-
    negatives (Platt 1999), which always gives a maximum.

    Args:
      logits: [N] or [N, L], z.
      labels: the shape of the logits; 1, 0, or -1 for unknown (left out).

    Raises:
      InputError: a label without a positive or without a negative, or whose logits are all equal.
      ValueError: logits or labels of other values or shapes.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim not in (1, 2) or labels.shape != logits.shape:
        raise ValueError(
            f"labels {list(labels.shape)} do not fit logits {list(logits.shape)}: "
            "expected [N] with [N], or [N, L] with [N, L]"
        )
    refuse_signs(labels)
    columns = logits.reshape(len(logits), -1)
    fits = [
        _platt(z, y, c)
        for c, (z, y) in enumerate(zip(columns.T, labels.reshape(columns.shape).T, strict=True))
    ]
    return LogitScaling(tuple(a for a, _ in fits), tuple(b for _, b in fits))


def _platt(logits: np.ndarray, labels: np.ndarray, column: int) -> tuple[float, float]:
    known = labels >= 0
    positive, negative = one_finding(labels[known], logits[known])
    if not (positive.size and negative.size):
        raise InputError(
            f"Platt scaling of column {column} needs positives and negatives: "
            f"there are {positive.size} and {negative.size}"
        )
    z = np.concatenate([positive, negative])
    if z.min() == z.max():
        raise InputError(f"the logits of column {column} are all {z[0]:g}: there is nothing to scale")
    target = np.repeat(
        [(positive.size + 1) / (positive.size + 2), 1 / (negative.size + 2)], [positive.size, negative.size]
    )
    both = np.stack([np.zeros_like(z), z], axis=1), np.stack([1 - target, target], axis=1)
    scale, bias = _fit(*both, 0.0, shared=True, biased=True)
    return float(scale[0]), float(bias[1] - bias[0])


def _temperature_scale(scale: np.ndarray) -> tuple[float]:
    value = float(scale[0])
    if not value > 0:
        raise InputError(
            f"1 / T is likeliest at {value:.4g}: the logits do not rise with the class that the labels name"
        )
    return (value,)


def _fit(
    logits: np.ndarray, targets: np.ndarray, penalty: float, *, shared: bool, biased: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Scale, [1] where shared or [C], and bias [C], that minimise the mean cross-entropy; targets [N, C]."""
    cases, classes = logits.shape
    if not 0 <= penalty < np.inf:
        raise ValueError(f"penalty={penalty} must be zero or above, and finite")
    if cases == 0:
        raise InputError("there is no case to calibrate on")
    if shared:  # shifting a row then changes nothing, and this shift keeps the precision of the Hessian
        logits = logits - logits.max(axis=1, keepdims=True)
    absent = np.flatnonzero(targets.sum(axis=0) == 0)
    if biased and absent.size and penalty == 0:
        raise InputError(
            f"class {absent[0]} has no validation case, so its bias has no best value: "
            "give a penalty, such as 0.001"
        )

    scale_basis = np.ones((classes, 1)) if shared else np.eye(classes)
    bias_basis = np.eye(classes) if biased else np.zeros((classes, 0))
    basis = block_diag(scale_basis, bias_basis)  # basis @ theta: scale [C], bias [C]
    scales, biases = scale_basis.shape[1], bias_basis.shape[1]
    identity = np.repeat([1.0, 0.0], [scales, biases])

    def loss(theta: np.ndarray) -> float:
        log_p = log_softmax(_affine(logits, basis @ theta), axis=1)
        return float(-(targets * log_p).sum() / cases + penalty / 2 * ((theta - identity) ** 2).sum())

    theta, flat = np.zeros(scales + biases), 0
    for _ in range(200):  # 10 to 30 are usual
        p = softmax(_affine(logits, basis @ theta), axis=1)
        gradient, hessian = _derivatives(logits, targets, p)
        gradient = basis.T @ gradient + penalty * (theta - identity)
        hessian = basis.T @ hessian @ basis + penalty * np.eye(len(theta))
        step = _solve(hessian, gradient, biases)
        decrement = float(gradient @ step)
        moved = np.abs(_affine(logits, basis @ step)).max()
        if moved <= 1e-9 * max(1.0, np.abs(_affine(logits, basis @ theta)).max()):
            theta = theta - step
            return theta[:scales], theta[scales:]
        # The likelihood has stalled while the logits still move: its maximum is at infinity
        flat = flat + 1 if cases * decrement < 1e-6 and moved > 0.1 else 0
        if flat == 5:
            break
        # A step that moves no logit by more than 1/2 is a descent step (Bach, Electronic Journal of Statistics 2010)
        size = 1.0
        while size * moved > 0.5 and loss(theta - size * step) > loss(theta) - 1e-4 * size * decrement:
            size /= 2
        theta = theta - size * step
    raise InputError(
        f"the likelihood of the {cases} validation cases has no maximum: the logits separate the classes "
        "without an error. Add cases, or give a penalty, such as 0.001"
    )


def _affine(logits: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    scale, bias = np.split(parameters, 2)
    return scale * logits + bias


def _derivatives(z: np.ndarray, targets: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient [2 C] and Hessian [2 C, 2 C] of the mean cross-entropy in a scale and a bias of each class."""
    cases, classes = z.shape
    residual, pz = (p - targets) / cases, p * z
    gradient = np.concatenate([(residual * z).sum(axis=0), residual.sum(axis=0)])
    both = np.concatenate([pz, p], axis=1)
    hessian = -(both.T @ both) / cases
    rest = p @ (1 - np.eye(classes))  # 1 - p to its last digit, where p is near 1
    ww, wb, bb = ((x * rest).mean(axis=0) for x in (pz * z, pz, p))
    first = np.arange(classes)
    second = first + classes
    hessian[first, first], hessian[second, second] = ww, bb
    hessian[first, second] = hessian[second, first] = wb
    return gradient, hessian


def _solve(hessian: np.ndarray, gradient: np.ndarray, biases: int) -> np.ndarray:
    """The Newton step. A common shift of the biases changes nothing: the step has none."""
    unit = np.sqrt(np.maximum(np.diagonal(hessian), 0.0))
    unit = np.where(unit > 0, unit, 1.0)
    scaled = hessian / np.outer(unit, unit)
    step = np.linalg.lstsq(scaled, gradient / unit, rcond=1e-13)[0] / unit
    if biases:
        step[-biases:] -= step[-biases:].mean()
    return step
