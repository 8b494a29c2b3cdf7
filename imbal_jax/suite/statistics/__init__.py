"""Statistics of a benchmark over seeds, patients and data conditions; pure functions on numpy arrays."""

from imbal_jax.suite.statistics.bayesian import Probabilities, bayesian_signed_rank
from imbal_jax.suite.statistics.detectable import detectable_difference
from imbal_jax.suite.statistics.interquartile import interquartile_mean
from imbal_jax.suite.statistics.paired_bootstrap import Estimate, hierarchical_bootstrap
from imbal_jax.suite.statistics.patients import Patients, patient_shifts
from imbal_jax.suite.statistics.performance_profile import (
    integrated_score,
    median_of_minima,
    performance_profile,
    ratios_to_fastest,
)
from imbal_jax.suite.statistics.ratio_area import area_over_log_ratio
from imbal_jax.suite.statistics.signed_rank import (
    SignedRank,
    attainable_level,
    critical_rank_sum,
    least_p_value,
    signed_rank,
)

__all__ = [
    "Estimate",
    "Patients",
    "Probabilities",
    "SignedRank",
    "area_over_log_ratio",
    "attainable_level",
    "bayesian_signed_rank",
    "critical_rank_sum",
    "detectable_difference",
    "hierarchical_bootstrap",
    "integrated_score",
    "interquartile_mean",
    "least_p_value",
    "median_of_minima",
    "patient_shifts",
    "performance_profile",
    "ratios_to_fastest",
    "signed_rank",
]
