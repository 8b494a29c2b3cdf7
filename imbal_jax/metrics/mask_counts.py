"""Decision tables of masks, image by image or by case, and the metrics and intervals that follow from them.

A table int64 [2, 2] of pixels has the truth in rows and the decision in columns: [1, 1] are the true positives,
[0, 1] the false positives, [1, 0] the false negatives. The table of a case is the sum of those of its images.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics import tables as formulas
from imbal_jax.metrics.averages import average_of, ratio
from imbal_jax.metrics.clusters import patient_numbers
from imbal_jax.metrics.codes import encode
from imbal_jax.metrics.intervals import Interval
from imbal_jax.metrics.overlap import overlap_values
from imbal_jax.metrics.pixels import class_pixels
from imbal_jax.metrics.resampling import bootstrap_values

IgnoreEmpty = bool | Literal["both"]
MASK_METRICS: dict[str, Callable[[np.ndarray, IgnoreEmpty], np.ndarray]] = {
    "dice": lambda tables, ignore_empty: overlap_values(tables, 2, ignore_empty),
    "iou": lambda tables, ignore_empty: overlap_values(tables, 1, ignore_empty),
    "sensitivity": lambda tables, _: formulas.sensitivity(tables),
    "specificity": lambda tables, _: formulas.specificity(tables),
    "precision": lambda tables, _: formulas.precision(tables),
}


def mask_tables(labels: ArrayLike, scores: ArrayLike, threshold: ArrayLike | None = 0.5) -> np.ndarray:
    """Tables int64 [N, K, 2, 2] of N images, counted one after the other without a copy of the set.

    Args:
      labels: [N, *space] or [N, *space, K], as in ``metrics.pixels``.
      scores: [N, *space, K], probabilities or uint16 codes.
      threshold: a probability or [K]: positive where the score is at or above it (codes: at or above the bin that
        holds it). None decides for the class of the highest score, the first on ties; for one class a pixel.

    Raises:
      ValueError: shapes or labels that do not fit; a threshold that is NaN; None with classes that overlap
        or one class.
    """
    truth, values = np.asarray(labels), np.asarray(scores)
    if values.ndim < 3 or len(truth) != len(values):
        raise ValueError(
            f"labels {list(truth.shape)} do not fit scores {list(values.shape)}: expected [N, *space, K]"
        )
    classes = values.shape[-1]
    if threshold is None:
        if truth.ndim == values.ndim or classes < 2:
            raise ValueError("the highest score decides between two classes or more that exclude each other")
        bounds = np.ones(classes)
    else:
        bounds = np.asarray(threshold, np.float64)
        if bounds.shape not in ((), (classes,)) or np.isnan(bounds).any():
            raise ValueError(f"threshold {list(bounds.shape)} must be one number, or {classes}, and not NaN")
        bounds = np.broadcast_to(encode(bounds) if values.dtype == np.uint16 else bounds, (classes,))
    counts = np.zeros((len(values), classes, 2, 2), np.int64)
    for table, image, of_image in zip(counts, truth, values, strict=True):
        decided = (
            of_image if threshold is not None else of_image.argmax(axis=-1)[..., None] == np.arange(classes)
        )
        for k, sides in enumerate(class_pixels(image, decided)):
            for side, of_side in enumerate(sides):
                called = np.count_nonzero(of_side >= bounds[k])
                table[k, side] = of_side.size - called, called
    return counts


def tables_by_case(tables: np.ndarray, cases: ArrayLike) -> np.ndarray:
    """Tables int64 [G, K, 2, 2] of G cases, from tables [N, K, 2, 2] and the case of each image [N].

    In the order of the sorted names of the cases. Raises ValueError where a case is missing.
    """
    numbers = patient_numbers(cases, np.ones(len(tables), bool))
    summed = np.zeros((int(numbers.max(initial=-1)) + 1, *tables.shape[1:]), np.int64)
    np.add.at(summed, numbers, tables)
    return summed


def mask_metric(
    tables: np.ndarray, metric: str, *, pooled: bool = False, ignore_empty: IgnoreEmpty = True
) -> np.ndarray:
    """A metric of each class, float64 [K]: the mean over the images or cases of tables [N, K, 2, 2], or pooled.

    Args:
      tables: of images, or of cases by ``tables_by_case``.
      metric: "dice", "iou", "sensitivity", "specificity" or "precision". Of each image, [N, K], it is
        ``MASK_METRICS[metric](tables, ignore_empty)``.
      pooled: of all pixels together.
      ignore_empty: as in ``dice``; of Dice and IoU only. Sensitivity is NaN, and left out of the mean, without a
        pixel of the class; specificity without one that is not of it; precision where none is decided for it.

    Raises:
      ValueError: another metric or ``ignore_empty``.
    """
    formula = _formula(metric, ignore_empty)
    if pooled:
        return formula(tables.sum(axis=0), ignore_empty)
    values = formula(tables, ignore_empty)
    return ratio(np.nansum(values, axis=0), (~np.isnan(values)).sum(axis=0))


def mask_interval(
    tables: np.ndarray,
    metric: str,
    *,
    groups: ArrayLike | None = None,
    pooled: bool = False,
    ignore_empty: IgnoreEmpty = True,
    macro: Sequence[int] | None = None,
    **options: Any,
) -> Interval:
    """The bootstrap interval of ``mask_metric``, clustered by patient, without counting pixels again.

    Args:
      tables, metric, pooled, ignore_empty: as in ``mask_metric``.
      groups: [N], whose an image or case is; None where every one has its own patient.
      macro: the classes whose mean the interval is for; None gives one interval a class.
      options: samples, seed, confidence and method of ``bootstrap``.

    Returns:
      (low, high), float64 [K], or floats with ``macro``; strata, NaN and errors as ``bootstrap``.
    """
    formula = _formula(metric, ignore_empty)
    patients = patient_numbers(groups, np.ones(len(tables), bool))
    number = int(patients.max(initial=-1)) + 1
    holds = np.zeros((number, tables.shape[1]), bool)
    np.logical_or.at(holds, patients, tables[..., 1, :].sum(axis=-1) > 0)
    values = np.zeros((0,)) if pooled else formula(tables, ignore_empty)
    summed = tables if pooled else np.stack([np.nan_to_num(values), ~np.isnan(values)], axis=-1)
    of_patient = np.zeros(
        (number, *summed.shape[1:])
    )  # float64: whole numbers up to 2^53, multiplied by BLAS
    np.add.at(of_patient, patients, summed)

    def evaluate(counts: np.ndarray) -> np.ndarray:
        drawn = np.tensordot(counts.astype(np.float64), of_patient, axes=1)
        drawn = formula(drawn, ignore_empty) if pooled else ratio(drawn[..., 0], drawn[..., 1])
        return drawn if macro is None else np.asarray(average_of(drawn[:, list(macro)], np.ones(1), "macro"))

    return bootstrap_values(evaluate, patients, holds, **options)


def _formula(metric: str, ignore_empty: object) -> Callable[[np.ndarray, IgnoreEmpty], np.ndarray]:
    if metric not in MASK_METRICS:
        raise ValueError(f"metric is {metric!r}, expected one of {', '.join(MASK_METRICS)}")
    if ignore_empty not in (True, False, "both"):
        raise ValueError(f"ignore_empty is {ignore_empty!r}, expected True, False or 'both'")
    return MASK_METRICS[metric]
