"""Every loss of one label as a function of logits and labels over four classes."""

import jax
import numpy as np

from imbal_jax import losses

WEIGHTS = np.array([0.5, 1.0, 4.0, 2.0])
PRIORS = np.array([0.6, 0.25, 0.05, 0.1])
TARGET = np.array([0.1, 0.2, 0.3, 0.4])
COUNTS = np.array([600, 250, 50, 100])  # at a threshold of 0.2, classes 2 and 3 are rare
KEY = np.array([0, 7], np.uint32)


def features_for(logits: jax.Array) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(*logits.shape[:-1], 3))


SOFTMAX = {
    "cross_entropy": losses.cross_entropy,
    "weighted": lambda z, y: losses.weighted_cross_entropy(z, y, WEIGHTS),
    "bayesian": lambda z, y: losses.bayesian_cross_entropy(z, y, PRIORS),
    "bayesian_to_target": lambda z, y: losses.bayesian_cross_entropy(z, y, PRIORS, TARGET),
    "bayesian_batch": lambda z, y: losses.bayesian_cross_entropy(z, y, None),
    "focal_0": lambda z, y: losses.focal(z, y, 0.0),
    "focal_half": lambda z, y: losses.focal(z, y, 0.5),
    "focal_2": lambda z, y: losses.focal(z, y),
    "focal_alpha": lambda z, y: losses.focal(z, y, 2.0, alpha=WEIGHTS),
    "logit_adjusted": lambda z, y: losses.logit_adjusted(z, y, PRIORS),
    "logit_adjusted_half": lambda z, y: losses.logit_adjusted(z, y, PRIORS, 0.5),
    "balanced_softmax": lambda z, y: losses.balanced_softmax(z, y, COUNTS),
}
MARGIN = {
    "ldam": lambda z, y: losses.ldam(z, y, COUNTS),
    "ldam_wide": lambda z, y: losses.ldam(z, y, COUNTS, 2.0, 1.5),
    "vector_scaling": lambda z, y: losses.vector_scaling(z, y, COUNTS),
    "vector_scaling_strong": lambda z, y: losses.vector_scaling(z, y, COUNTS, 0.5, 1.25),
    "temperature": lambda z, y: losses.class_dependent_temperature(z, y, COUNTS),
    "temperature_strong": lambda z, y: losses.class_dependent_temperature(z, y, COUNTS, 0.6),
}
# with gamma 1, chance has no part in equalization
REWEIGHTING = {
    "equalization": lambda z, y: losses.equalization(z, y, COUNTS, KEY, 0.2, 1.0),
    "influence": lambda z, y: losses.influence_balanced(z, y, features_for(z), WEIGHTS, 10.0),
    "influence_through": lambda z, y: losses.influence_balanced(
        z, y, features_for(z), WEIGHTS, 10.0, constant_weight=False
    ),
    "smoothing_concave": lambda z, y: losses.label_aware_smoothing(z, y, COUNTS),
    "smoothing_convex": lambda z, y: losses.label_aware_smoothing(z, y, COUNTS, 0.3, 0.0, shape="convex"),
    "poly1": lambda z, y: losses.poly1(z, y),
    "class_balanced_focal": lambda z, y: losses.class_balanced_focal(z, y, COUNTS),
    "class_balanced_focal_2": lambda z, y: losses.class_balanced_focal(z, y, COUNTS, 0.99, 2.0),
}
