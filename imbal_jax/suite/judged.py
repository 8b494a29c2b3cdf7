"""Test images as a run or an ideal observer judges them: metrics, and replicates that are paired over runs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics import (
    auroc,
    average_precision,
    brier,
    expected_calibration_error,
    macro_mean,
    sensitivity_at_specificity,
)
from imbal_jax.metrics.replicates import replicates_of
from imbal_jax.metrics.resampling import patient_draws
from imbal_jax.metrics.summary import DECISION_METRICS
from imbal_jax.report.resampling import Cohort, cohort_of, decision_tables, macro
from imbal_jax.suite.dynamics import Numbers, finite

DECISIONS = ("balanced_accuracy", "sensitivity", "specificity")
RANKS: dict[str, Callable[..., Any]] = {
    "sensitivity_at_90": partial(sensitivity_at_specificity, specificity=0.9),
    "average_precision": average_precision,
    "auroc": auroc,
}
"""``sensitivity_at_90``: the largest sensitivity of a threshold with specificity 0.9 or more on the same images; a
point of the ROC curve, nothing is interpolated."""
RESAMPLED = ("balanced_accuracy", *RANKS)


@dataclass(frozen=True)
class Judged:
    """M test images as a run, or an ideal observer, judges them.

    truth: int8 [M, C], 1, 0, or -1 for unknown. probabilities: float64 [M, C]. called: bool [M, C].
    groups: [M], the patients; None: each image has its own. findings: the classes that means are taken over.
    prevalence: [C], at which the probabilities are to hold.
    """

    truth: np.ndarray
    probabilities: np.ndarray
    called: np.ndarray
    groups: ArrayLike | None
    findings: tuple[int, ...]
    prevalence: tuple[float, ...]

    @cached_property
    def cohort(self) -> Cohort:
        """The images with a known label, by patient."""
        return cohort_of(self.truth, self.groups)

    @cached_property
    def by_class(self) -> dict[str, np.ndarray]:
        """Metric -> [C], undefined ones NaN."""
        tables = decision_tables(self.cohort, self.called)(np.ones((1, self.cohort.size), np.int64))[0]
        found = {name: DECISION_METRICS[name](tables) for name in DECISIONS}
        for name, metric in RANKS.items():
            found[name] = np.asarray(metric(self.truth, self.probabilities, average="none"))
        weighed = [self._calibration(c) for c in range(self.truth.shape[1])]
        found["calibration_error"], found["brier"] = np.array(weighed).T
        return found

    def _calibration(self, c: int) -> tuple[float, float]:
        """Calibration error (15 bins of equal mass) and Brier score of a class against the rest, with positives and
        negatives weighed to its prevalence."""
        truth, p = self.truth[:, c], np.clip(self.probabilities[:, c], 0, 1)
        at = self.prevalence[c] if 0 < self.prevalence[c] < 1 else None
        error = expected_calibration_error(truth, p, binning="equal_mass", prevalence=at)
        return float(error), float(brier(truth, p, prevalence=at))

    @property
    def metrics(self) -> Numbers:
        """Means over the findings. ``worst_class``: the lowest sensitivity at the operating points of any class, the
        negative one too: the share of its images that no finding is called for."""
        found = {name: self.over_findings(name) for name in self.by_class}
        return {**found, "worst_class": _lowest(self.by_class["sensitivity"])}

    def over_findings(self, name: str) -> float | None:
        """The mean of a metric over the findings where it is defined."""
        return finite(macro_mean(self.by_class[name][list(self.findings)])[0])

    def replicates(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Metric -> [R], means over the findings, where patients are drawn as often as ``counts`` [R, G] say."""
        cohort, kept = self.cohort, list(self.findings)
        tables = decision_tables(cohort, self.called)(counts)[:, kept]
        found = {name: macro(DECISION_METRICS[name](tables)) for name in DECISIONS}
        truth, scores = cohort.truth[:, kept], self.probabilities[cohort.kept][:, kept]
        for name, metric in RANKS.items():
            evaluate = replicates_of(partial(metric, average="none"), truth, scores, cohort.patients)
            found[name] = macro(evaluate(counts))
        return found


def paired_draws(cohort: Cohort, cell: str, draw: int, samples: int) -> np.ndarray:
    """int32 [samples, G]: how often each replicate draws each patient, within strata by rarest class.

    Replicate r depends on (cell, draw, r) and on whose the test images are: it is the same for every method, setting
    and seed, so differences between them may be taken replicate by replicate.
    """
    of_cell = int.from_bytes(blake2b(cell.encode(), digest_size=8).digest(), "little")
    size = max(cohort.size, 1)
    rows = [
        next(patient_draws(cohort.strata, size, 1, np.random.default_rng([of_cell, draw, r]), in_flight=size))
        for r in range(samples)
    ]
    return np.concatenate(rows)


def _lowest(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.min()) if known.size else None
