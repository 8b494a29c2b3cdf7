"""Shared data of the report sections, computed once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from imbal_jax.data.dataset import Images
from imbal_jax.metrics import Interval, auroc, average_precision, delong
from imbal_jax.metrics.averages import macro_mean
from imbal_jax.metrics.replicates import replicates_of
from imbal_jax.metrics.summary import DECISION_METRICS
from imbal_jax.report.decisions import Decisions, decide
from imbal_jax.report.resampling import Cohort, cohort_of, decision_tables
from imbal_jax.report.result import RunResult
from imbal_jax.report.use import Use, use_of

NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f_score": "F\N{NON-BREAKING HYPHEN}score",
    "geometric_mean": "geometric mean",
    "mcc": "MCC",
    "auroc": "AUROC",
    "average_precision": "average precision",
}
Table = Mapping[str, Mapping[str, float]]  # class, and "macro" -> metrics
RANKS = {"auroc": auroc, "average_precision": average_precision}


@dataclass(frozen=True)
class Study:
    """The runs, what they decided, and the run that comes out ahead (``winner_of``)."""

    runs: tuple[RunResult, ...]
    decided: tuple[Decisions, ...]
    tables: tuple[Table, ...]
    images: Images
    cohort: Cohort
    has_groups: bool
    winner: int
    grouped_by: str

    @property
    def classes(self) -> tuple[str, ...]:
        return self.decided[0].classes

    @property
    def shown(self) -> tuple[int, ...]:
        return self.decided[0].shown

    @property
    def rule(self) -> str:
        """How an image is called, in words."""
        rules = {decided.rule for decided in self.decided}
        return rules.pop() if len(rules) == 1 else "its operating point where there is one"

    @property
    def rival(self) -> int:
        """The run that the winner is compared with: the next best; itself where it is alone."""
        others = [i for i in range(len(self.runs)) if i != self.winner]
        return others[winner_of([self.tables[i] for i in others])] if others else self.winner

    def use(self, k: int) -> Use:
        """The prevalence at which predictive values and calibration of a class are given."""
        return use_of(self.runs[0], k, len(self.classes))

    def seeds(self, i: int) -> tuple[RunResult, ...]:
        """The runs that run ``i`` represents: itself, or those of all seeds of its method."""
        return (self.runs[i],)

    def spread(self, i: int, key: str, row: str = "macro") -> float:
        """The standard deviation of a metric over those runs; NaN of a single one."""
        return math.nan

    def tables_of(self, i: int) -> tuple[Table, ...]:
        """The tables of those runs."""
        return (self.tables[i],)

    def value(self, i: int, key: str, row: str = "macro") -> float:
        """A metric of a run, as called; NaN where its table has no such number."""
        value = self.tables[i].get(row, {}).get(key)
        return math.nan if value is None else float(value)

    @cached_property
    def replicates(self) -> list[dict[str, np.ndarray]]:
        """For each run and metric: the values of every class in the replicates, [R, C]."""
        return [self._replicates(decided) for decided in self.decided]

    @cached_property
    def aurocs(self) -> list[list[tuple[float, Interval]]]:
        """AUROC for each run and class, with DeLong's interval."""
        cohort = self.cohort
        found = [delong(cohort.truth, d.scores[cohort.kept], groups=cohort.patients) for d in self.decided]
        return [
            [(float(a), Interval(low, high)) for a, low, high in zip(*of_classes, strict=True)]
            for of_classes in (map(np.atleast_1d, (d.auroc, d.low, d.high)) for d in found)
        ]

    def _replicates(self, decided: Decisions) -> dict[str, np.ndarray]:
        cohort = self.cohort
        tables = cohort.replicates(decision_tables(cohort, decided.called))
        values = {name: formula(tables) for name, formula in DECISION_METRICS.items()}
        for name, metric in RANKS.items():
            evaluate = replicates_of(
                partial(metric, average="none"), cohort.truth, decided.scores[cohort.kept], cohort.patients
            )
            values[name] = cohort.replicates(evaluate)
        return values


def study_of(
    runs: Sequence[RunResult],
    classes: tuple[str, ...],
    negative_class: str | None,
    images: Images,
    grouped_by: str = "patient",
) -> Study:
    decided = tuple(decide(run, classes, negative_class) for run in runs)
    groups = next((run.groups for run in runs if run.groups is not None), None)
    cohort = cohort_of(decided[0].truth, groups)
    tables = tuple(table_of(run, d) for run, d in zip(runs, decided, strict=True))
    return Study(
        tuple(runs), decided, tables, images, cohort, groups is not None, winner_of(tables), grouped_by
    )


def deployed_table(
    run: RunResult, classes: tuple[str, ...], negative_class: str | None
) -> dict[str, dict[str, float]]:
    """The metrics of a run as it is deployed, called at its operating points where it has them.

    Class, and "macro" -> metric -> value; ``run.table`` has those of the raw calls.
    """
    return table_of(run, decide(run, classes, negative_class))


def table_of(run: RunResult, decided: Decisions) -> dict[str, dict[str, float]]:
    """``deployed_table`` of a run whose decisions are known.

    AUROC and average precision are those of the probabilities after calibration, as the curves are.
    """
    if not decided.at_points:
        return run.table
    known = decided.truth >= 0
    cells = 2 * (decided.truth == 1) + decided.called
    counted = np.stack([(known & (cells == cell)).sum(axis=0) for cell in range(4)], axis=-1)
    found = {
        key: formula(counted.reshape(-1, 2, 2).astype(float)) for key, formula in DECISION_METRICS.items()
    }
    if run.raw_scores is not None:
        for key, metric in RANKS.items():
            found[key] = np.asarray(metric(decided.truth, decided.scores, average="none"))
    table = {name: dict(run.table.get(name, {})) for name in (*decided.classes, "macro")}
    table["macro"].pop("accuracy", None)  # of the raw calls
    for key, values in found.items():
        table["macro"][key], covered = macro_mean(values[list(decided.shown)])
        table["macro"][f"{key}_classes"] = float(covered)
        for name, value in zip(decided.classes, values, strict=True):
            table[name][key] = float(value)
    return table


def winner_of(tables: Sequence[Table]) -> int:
    """The run of the highest macro balanced accuracy on the test set; of equals, that of the highest AUROC.

    Balanced accuracy counts misses and false alarms of every class alike: a method that calls everything, or
    nothing, has 0.5. Where it is undefined, the next metric that is defined.
    """
    keys = ("balanced_accuracy", "auroc", "average_precision", "specificity")
    values = [[_macro(table, key) for key in keys] for table in tables]
    return max(range(len(tables)), key=lambda i: values[i])


def _macro(table: Table, key: str) -> float:
    """The macro value; -1 where it is undefined."""
    value = table.get("macro", {}).get(key)
    return -1.0 if value is None or math.isnan(value) else float(value)
