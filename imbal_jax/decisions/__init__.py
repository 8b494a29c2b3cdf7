"""Decisions on probabilities: checkpoint selection, thresholds, calibration, prior correction."""

from imbal_jax.decisions.criterion import Criterion
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.operating_point import choose_threshold, predictive_values
from imbal_jax.decisions.selection import best_step

__all__ = ["Criterion", "best_step", "choose_threshold", "parse_criterion", "predictive_values"]
