"""Means and standard deviations over the seeds of a method."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from imbal_jax.metrics import Interval
from imbal_jax.report.result import RunResult, run_names
from imbal_jax.report.study import Study, Table, winner_of


def seed_places(runs: Sequence[RunResult]) -> dict[str, tuple[int, ...]]:
    """Method -> the places of its runs, in their order."""
    places: dict[str, tuple[int, ...]] = {}
    for i, run in enumerate(runs):
        places[run.method] = (*places.get(run.method, ()), i)
    return places


def mean_of(tables: Sequence[Table]) -> dict[str, dict[str, float]]:
    """Row -> metric -> mean over the tables; NaN where one of them lacks the metric."""
    return _over(tables, lambda values: float(np.mean(values)))


def deviation_of(tables: Sequence[Table]) -> dict[str, dict[str, float]]:
    """Row -> metric -> standard deviation over the tables, of a sample (n - 1); NaN as in ``mean_of``."""
    return _over(tables, lambda values: float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)


def _over(tables: Sequence[Table], formula: Callable[[list[float]], float]) -> dict[str, dict[str, float]]:
    def one(row: str, key: str) -> float:
        values = [table.get(row, {}).get(key) for table in tables]
        return formula([math.nan if value is None else value for value in values])

    return {row: {key: one(row, key) for key in metrics} for row, metrics in tables[0].items()}


@dataclass(frozen=True)
class SeedStudy(Study):
    """A study in which each run represents the runs of ``whole`` at the places ``members``.

    Its tables and replicates are means over these runs, so its intervals are those of the mean over the seeds. Its
    decisions are those of the first of them.
    """

    whole: Study
    members: tuple[tuple[int, ...], ...]

    @cached_property
    def replicates(self) -> list[dict[str, np.ndarray]]:
        of = self.whole.replicates
        return [
            {key: np.mean([of[j][key] for j in places], axis=0) for key in of[0]} for places in self.members
        ]

    @cached_property
    def aurocs(self) -> list[list[tuple[float, Interval]]]:
        return [self.whole.aurocs[places[0]] for places in self.members]

    def seeds(self, i: int) -> tuple[RunResult, ...]:
        return tuple(self.whole.runs[j] for j in self.members[i])

    def tables_of(self, i: int) -> tuple[Table, ...]:
        return tuple(self.whole.tables[j] for j in self.members[i])

    def spread(self, i: int, key: str, row: str = "macro") -> float:
        return deviation_of(self.tables_of(i)).get(row, {}).get(key, math.nan)


def over_seeds(whole: Study) -> Study:
    """A study of one run a method, with the means over its seeds; ``whole`` itself where each method has one."""
    return _study(whole, list(seed_places(whole.runs).values()), named=False)


def first_seeds(whole: Study) -> Study:
    """A study of the first run of each method; ``whole`` itself where each method has one."""
    return _study(whole, [places[:1] for places in seed_places(whole.runs).values()], named=True)


def _study(whole: Study, members: Sequence[tuple[int, ...]], *, named: bool) -> Study:
    if len(seed_places(whole.runs)) == len(whole.runs):
        return whole
    names = run_names(whole.runs)
    firsts = [places[0] for places in members]
    runs = [replace(whole.runs[j], method=names[j]) if named else whole.runs[j] for j in firsts]
    tables = tuple(mean_of([whole.tables[j] for j in places]) for places in members)
    return SeedStudy(
        runs=tuple(runs),
        decided=tuple(whole.decided[j] for j in firsts),
        tables=tables,
        images=whole.images,
        cohort=whole.cohort,
        has_groups=whole.has_groups,
        grouped_by=whole.grouped_by,
        winner=winner_of(tables),
        whole=whole,
        members=tuple(members),
    )
