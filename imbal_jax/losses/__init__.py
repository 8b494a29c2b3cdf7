"""Losses for imbalanced data: pure and unreduced, one value per example or label; and one reduction."""

from imbal_jax.losses.contrastive import balanced_contrastive, has_positive, sup_con
from imbal_jax.losses.distances import batch_distances, boundary, hausdorff, signed_distances
from imbal_jax.losses.lovasz import lovasz_hinge, lovasz_softmax
from imbal_jax.losses.margin import class_dependent_temperature, ldam, vector_scaling
from imbal_jax.losses.mining import hard_negatives
from imbal_jax.losses.multilabel import class_balanced_sigmoid_focal, distribution_balanced
from imbal_jax.losses.overlap import (
    dice,
    focal_tversky,
    generalized_dice,
    jaccard,
    matthews,
    present,
    tversky,
    unified_focal,
)
from imbal_jax.losses.ranking import auc_margin, pairwise_auc, partial_auc, smooth_ap, soft_partial_auc
from imbal_jax.losses.reduction import weighted_mean
from imbal_jax.losses.reweighting import (
    class_balanced_focal,
    equalization,
    influence_balanced,
    label_aware_smoothing,
    poly1,
)
from imbal_jax.losses.sigmoid import asymmetric, binary_cross_entropy, sigmoid_focal
from imbal_jax.losses.skeletons import cl_dice, soft_skeleton
from imbal_jax.losses.softmax import (
    balanced_softmax,
    bayesian_cross_entropy,
    cross_entropy,
    focal,
    logit_adjusted,
    weighted_cross_entropy,
)
from imbal_jax.losses.uncertainty import targets_and_mask

__all__ = [
    "asymmetric",
    "auc_margin",
    "balanced_contrastive",
    "balanced_softmax",
    "batch_distances",
    "bayesian_cross_entropy",
    "binary_cross_entropy",
    "boundary",
    "cl_dice",
    "class_balanced_focal",
    "class_balanced_sigmoid_focal",
    "class_dependent_temperature",
    "cross_entropy",
    "dice",
    "distribution_balanced",
    "equalization",
    "focal",
    "focal_tversky",
    "generalized_dice",
    "hard_negatives",
    "has_positive",
    "hausdorff",
    "influence_balanced",
    "jaccard",
    "label_aware_smoothing",
    "ldam",
    "logit_adjusted",
    "lovasz_hinge",
    "lovasz_softmax",
    "matthews",
    "pairwise_auc",
    "partial_auc",
    "poly1",
    "present",
    "sigmoid_focal",
    "signed_distances",
    "smooth_ap",
    "soft_partial_auc",
    "soft_skeleton",
    "sup_con",
    "targets_and_mask",
    "tversky",
    "unified_focal",
    "vector_scaling",
    "weighted_cross_entropy",
    "weighted_mean",
]
