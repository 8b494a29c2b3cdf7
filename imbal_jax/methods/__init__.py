"""A balancing method is a value; the catalogue names those of the literature; any others are combinations."""

from imbal_jax.methods.catalogue import METHODS
from imbal_jax.methods.combination import find_method
from imbal_jax.methods.effect import without_effect
from imbal_jax.methods.method import LOSSES, Method, first_stage

__all__ = ["LOSSES", "METHODS", "Method", "find_method", "first_stage", "without_effect"]
