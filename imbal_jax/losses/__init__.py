"""Losses for imbalanced data: pure, unreduced, one value for each example or label; and one reduction."""

from imbal_jax.losses.reduction import weighted_mean
from imbal_jax.losses.sigmoid import binary_cross_entropy
from imbal_jax.losses.softmax import (
    balanced_softmax,
    bayesian_cross_entropy,
    cross_entropy,
    focal,
    logit_adjusted,
    weighted_cross_entropy,
)

__all__ = [
    "balanced_softmax",
    "bayesian_cross_entropy",
    "binary_cross_entropy",
    "cross_entropy",
    "focal",
    "logit_adjusted",
    "weighted_cross_entropy",
    "weighted_mean",
]
