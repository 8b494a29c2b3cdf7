"""Exact metrics of classification and their intervals, in numpy on the host, for classes of any rarity.

Every metric takes ``(labels, scores)`` in one of three shapes; N cases, C classes, L findings:

====================  ==============  ==================================================================
labels                scores          the problem
====================  ==============  ==================================================================
int [N], 0 or 1       [N]             binary: 1 is positive; decided positive where score >= threshold
int [N], 0 to C - 1   [N, C], C >= 2  one label: decided by argmax (ties: the lowest index); a class
                                      against the rest where the metric is binary
int [N, L], 0 or 1    [N, L]          many labels: each column binary, decided as above
====================  ==============  ==================================================================

A label of -1 or -2 (uncertain and missing, as in ``losses.targets_and_mask``), or False in ``mask`` (the shape
of the labels), excludes an entry; its score is not looked at, so the padding of a last batch that a mask marks
changes no bit of any metric. ``threshold`` is a float, or float [L] for many labels. ``average`` says how the
values of the K classes are combined:

- ``"macro"``: the mean over the classes where the metric is defined;
- ``"weighted"``: the same, weighted by the number of positives;
- ``"micro"``: the metric of all entries of all classes, pooled;
- ``"none"``: float64 [K], one a class.

A binary problem gives one float whatever the average. Metrics of decisions and of rank, and those of overlap
within an image, sum integer counts, so they do not depend on the order of the cases. NaN where a metric is
undefined (no case, no positive, ...), never a warning; ``macro_mean`` says how many classes a mean covers.
ValueError for shapes that do not match, for labels out of range and for a NaN among the scores.

Segmentation: ``dice`` and ``iou`` above; of whole sets of images, ``rank_pixels`` (AUROC and average precision in
bounded memory), ``mask_tables`` and what follows from them, ``threshold_curve`` and ``best_threshold``; of one mask
``surface_metrics``; of lesions ``froc``. In the first three the last axis of the scores is that of the classes
(``metrics.pixels``).

Intervals: ``wilson`` and ``clopper_pearson`` of a rate, ``delong`` of an AUROC and ``delong_difference`` of two,
``bootstrap`` of any metric and ``paired_bootstrap`` of the difference of two scores. The last four take
``groups``, the patient of each case: images of one patient are not independent.
"""

from imbal_jax.metrics.averages import AVERAGES, macro_mean
from imbal_jax.metrics.calibration import brier, expected_calibration_error
from imbal_jax.metrics.decisions import (
    balanced_accuracy,
    confusion_matrix,
    f_beta,
    geometric_mean,
    matthews_corrcoef,
    precision,
    sensitivity,
    specificity,
)
from imbal_jax.metrics.intervals import Interval, clopper_pearson, wilson
from imbal_jax.metrics.lesions import Froc, froc, froc_score, lesion_sensitivity
from imbal_jax.metrics.mask_counts import (
    MASK_METRICS,
    mask_interval,
    mask_metric,
    mask_tables,
    tables_by_case,
)
from imbal_jax.metrics.overlap import dice, iou
from imbal_jax.metrics.pixel_ranking import (
    Bounded,
    PixelRanking,
    binned_auroc,
    binned_average_precision,
    rank_pixels,
)
from imbal_jax.metrics.pixel_thresholds import BestThreshold, best_threshold, threshold_curve
from imbal_jax.metrics.pixels import pixel_histogram
from imbal_jax.metrics.ranking import (
    auroc,
    average_precision,
    partial_auroc,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)
from imbal_jax.metrics.resampling import PairedBootstrap, bootstrap, paired_bootstrap
from imbal_jax.metrics.roc_variance import DeLong, DeLongDifference, delong, delong_difference
from imbal_jax.metrics.shots import shot_accuracy, shot_means
from imbal_jax.metrics.summary import (
    DECISION_METRICS,
    RANKING_METRICS,
    SUMMARY_METRICS,
    classification_summary,
    flat_metrics,
)
from imbal_jax.metrics.surface import (
    SurfaceMetrics,
    average_surface_distance,
    hausdorff,
    surface_dice,
    surface_distances,
    surface_metrics,
)

__all__ = [
    "AVERAGES",
    "DECISION_METRICS",
    "MASK_METRICS",
    "RANKING_METRICS",
    "SUMMARY_METRICS",
    "BestThreshold",
    "Bounded",
    "DeLong",
    "DeLongDifference",
    "Froc",
    "Interval",
    "PairedBootstrap",
    "PixelRanking",
    "SurfaceMetrics",
    "auroc",
    "average_precision",
    "average_surface_distance",
    "balanced_accuracy",
    "best_threshold",
    "binned_auroc",
    "binned_average_precision",
    "bootstrap",
    "brier",
    "classification_summary",
    "clopper_pearson",
    "confusion_matrix",
    "delong",
    "delong_difference",
    "dice",
    "expected_calibration_error",
    "f_beta",
    "flat_metrics",
    "froc",
    "froc_score",
    "geometric_mean",
    "hausdorff",
    "iou",
    "lesion_sensitivity",
    "macro_mean",
    "mask_interval",
    "mask_metric",
    "mask_tables",
    "matthews_corrcoef",
    "paired_bootstrap",
    "partial_auroc",
    "pixel_histogram",
    "precision",
    "rank_pixels",
    "sensitivity",
    "sensitivity_at_specificity",
    "shot_accuracy",
    "shot_means",
    "specificity",
    "specificity_at_sensitivity",
    "surface_dice",
    "surface_distances",
    "surface_metrics",
    "tables_by_case",
    "threshold_curve",
    "wilson",
]
