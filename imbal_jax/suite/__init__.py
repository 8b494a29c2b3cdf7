"""The benchmark suite: a grid of runs, its ledger, engines that run it, statistics and a report."""

from imbal_jax.suite.definition import (
    Cell,
    Check,
    Line,
    Published,
    Setting,
    Stage,
    Suite,
    SuiteAddress,
    config_of,
    digest,
    load_suite,
)
from imbal_jax.suite.grid import grid, pending

__all__ = [
    "Cell",
    "Check",
    "Line",
    "Published",
    "Setting",
    "Stage",
    "Suite",
    "SuiteAddress",
    "config_of",
    "digest",
    "grid",
    "load_suite",
    "pending",
]
