"""Sensitivity, specificity and precision of one class as called, with intervals by patient."""

import math

from imbal_jax.metrics import Interval
from imbal_jax.report.resampling import rate_interval
from imbal_jax.report.study import Study


def rates(study: Study, i: int, k: int, confidence: float = 0.95) -> dict[str, tuple[float, Interval]]:
    """Sensitivity, specificity and precision of class ``k`` as run ``i`` calls it, with their intervals."""
    cohort, called = study.cohort, study.decided[i].called[study.cohort.kept, k]
    truth = cohort.truth[:, k]
    cases = {
        "sensitivity": (truth == 1, called),
        "specificity": (truth == 0, ~called),
        "precision": ((truth >= 0) & called, truth == 1),
    }
    return {
        name: (
            float(right[among].mean()) if among.any() else math.nan,
            rate_interval(right[among], cohort.patients[among], confidence),
        )
        for name, (among, right) in cases.items()
    }


def opposite(rate: tuple[float, Interval]) -> tuple[float, Interval]:
    """The rate of the other outcome: of false alarms, for specificity."""
    value, (low, high) = rate
    return 1 - value, Interval(1 - high, 1 - low)
