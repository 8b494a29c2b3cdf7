"""Patient-clustered intervals of a report: bootstrap, or Wilson with a design effect."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics import Interval, wilson
from imbal_jax.metrics.averages import average_of
from imbal_jax.metrics.cases import has_known
from imbal_jax.metrics.clusters import classes_held, patient_numbers, strata_of
from imbal_jax.metrics.intervals import normal_quantile
from imbal_jax.metrics.replicates import Evaluate
from imbal_jax.metrics.resampling import patient_draws

CONFIDENCE = 0.95
WORK = 2e8  # images x classes x replicates of one metric: about two seconds
CHUNK = 2**21  # counts in memory at a time


@dataclass(frozen=True)
class Cohort:
    """The test images with a known label, by patient; the same replicates for every curve and method.

    truth: int8 [N, C], 1, 0 or -1. kept: bool [M], the N images among all. patients: int [N], 0 to G - 1.
    strata: the patients of each, by the rarest class that they have: no replicate loses one.
    """

    truth: np.ndarray
    kept: np.ndarray
    patients: np.ndarray
    strata: list[np.ndarray]

    @property
    def size(self) -> int:
        """G, the patients."""
        return int(self.patients.max(initial=-1)) + 1

    @property
    def clustered(self) -> bool:
        return self.size < len(self.patients)

    def samples(self, most: int) -> int:
        """How many replicates are affordable: from 200 to ``most``."""
        return int(np.clip(WORK / max(self.truth.size, 1), 200, most))

    def replicates(self, evaluate: Evaluate, most: int = 1000) -> np.ndarray:
        """Values [R, ...] of ``evaluate``, of how often each patient is drawn: int32 [r, G] at a time."""
        rng = np.random.default_rng(0)
        draws = patient_draws(self.strata, self.size, self.samples(most), rng, in_flight=CHUNK)
        return np.concatenate([evaluate(counts) for counts in draws])


def cohort_of(truth: np.ndarray, groups: ArrayLike | None) -> Cohort:
    """truth: [M, C], 1, 0 or -1. groups: [M], the patient of each image; None: each image is a patient of its own."""
    kept = has_known(truth)
    patients = patient_numbers(groups, kept)
    strata = strata_of(classes_held(truth[kept], patients))
    return Cohort(truth[kept], kept, patients, strata)


def decision_tables(cohort: Cohort, called: np.ndarray) -> Evaluate:
    """Tables [r, C, 2, 2] of replicates, rows the truth and columns the decision; called: bool [M, C]."""
    classes = cohort.truth.shape[1]
    cell = 2 * (cohort.truth == 1) + called[cohort.kept]
    flat = (cohort.patients[:, None] * classes + np.arange(classes)) * 4 + cell
    held = np.bincount(flat[cohort.truth >= 0], minlength=cohort.size * classes * 4)
    held = held.reshape(cohort.size, classes * 4).astype(np.float64)
    return lambda counts: (counts @ held).reshape(-1, classes, 2, 2)


def macro(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis, of what is defined."""
    return np.asarray(average_of(values, np.ones(values.shape[-1]), "macro"))


def percentile_interval(values: np.ndarray) -> Interval:
    """Percentile interval of replicates [R, ...], along the first axis; NaN is left out, NaN where all are."""
    tail = (1 - CONFIDENCE) / 2
    ordered = np.sort(values, axis=0)  # NaN last
    known = (~np.isnan(ordered)).sum(axis=0)
    bounds = []
    for share in (tail, 1 - tail):
        place = share * np.maximum(known - 1, 0)
        low, high = (
            np.take_along_axis(ordered, f(place).astype(int)[None], axis=0)[0] for f in (np.floor, np.ceil)
        )
        bounds.append(low + (high - low) * (place % 1))
    return Interval(*bounds)


def rate_interval(right: np.ndarray, patients: np.ndarray, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's interval of the share of ``right``, bool [n], of cases whose ``patients`` [n] are given.

    Where patients have several of the cases, n is divided by the design effect, the variance of the share by
    patient over that of independent cases, 1 at least (Rao and Scott, Biometrics 1992). A share of 0 or 1 has
    no such variance: each patient counts once.
    """
    right = np.asarray(right, bool)
    n, hits = right.size, int(right.sum())
    of = np.bincount(patients)
    share_of = np.bincount(patients, right)[of > 0]
    of = of[of > 0]
    if of.size == n:
        return wilson(hits, n, confidence)
    if hits in (0, n):
        return wilson(of.size if hits else 0, of.size, confidence)
    p = hits / n
    effect = float(n)
    if of.size > 1:
        variance = of.size / (of.size - 1) * ((share_of - p * of) ** 2).sum() / n**2
        effect = max(1.0, variance / (p * (1 - p) / n))
    m, z = n / effect, normal_quantile(confidence)
    half = z * np.sqrt(p * (1 - p) / m + (z / m) ** 2 / 4)
    return Interval(*((p + z**2 / (2 * m) + sign * half) / (1 + z**2 / m) for sign in (-1, 1)))
