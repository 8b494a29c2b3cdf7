"""Balancing methods as values: a catalogue from the literature, and combinations."""

from imbal_jax.methods.catalogue import METHODS
from imbal_jax.methods.combination import find_method, known_methods, trained_methods
from imbal_jax.methods.effect import without_effect
from imbal_jax.methods.loss import ClassArrays, Loss, LossFunction, OptimizerFactory, Scene
from imbal_jax.methods.loss_catalogue import COSINE_SCALE, LOSSES
from imbal_jax.methods.method import (
    GROWING,
    TRAINED,
    WITH_SUPPORT,
    Method,
    definition,
    first_stage,
    static_part,
)
from imbal_jax.methods.own_loss import find_loss

__all__ = [
    "COSINE_SCALE",
    "GROWING",
    "LOSSES",
    "METHODS",
    "TRAINED",
    "WITH_SUPPORT",
    "ClassArrays",
    "Loss",
    "LossFunction",
    "Method",
    "OptimizerFactory",
    "Scene",
    "definition",
    "find_loss",
    "find_method",
    "first_stage",
    "known_methods",
    "static_part",
    "trained_methods",
    "without_effect",
]
