"""The chance in which patients are tested, which is common to runs that are tested on the same ones."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Patients:
    """Replicates of a value of U runs over resampled patients.

    deviations: float64 [U, R], replicate less the value on all patients. Equal r of runs of one draw are of the same
        resample. draws: int [U], the split of each run.
    overlap: expected share of the test patients of one draw that another draw tests too; 0 where draws have patients
        of their own. None: the textbook's bootstrap, which takes draws for independent and resamples each.
    """

    deviations: np.ndarray
    draws: np.ndarray
    overlap: float | None = None


def patient_shifts(patients: Patients, samples: int, rng: np.random.Generator) -> np.ndarray:
    """How far the mean over the runs moves with resampled patients, float64 [samples].

    Of each draw one replicate is taken, the same for all its runs, and the deviations are averaged over the runs.
    Re-splits of one pool share patients: if s2 is the variance that the patients give the value of one draw, and f
    the overlap, the mean over D draws varies with the pool by f s2, however large D is, not by s2 / D (the covariance
    of two draws is f s2; compare Nadeau and Bengio, Machine Learning 52, 2003). So shifts of several draws are
    multiplied by sqrt(D f). What is left of the variance, s2 (1 - f) / D, is part of the spread over the runs.
    """
    draws, runs_of = np.unique(patients.draws, return_inverse=True)
    units, replicates = patients.deviations.shape
    by_draw = np.zeros((len(draws), replicates))
    np.add.at(by_draw, runs_of, patients.deviations)
    taken = rng.integers(0, replicates, (samples, len(draws)))
    shifts = by_draw[np.arange(len(draws)), taken].sum(axis=1) / units
    if patients.overlap is None or len(draws) == 1:
        return shifts
    return shifts * np.sqrt(len(draws) * patients.overlap)
