"""One method over all data conditions of a table."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imbal_jax.suite.conclusions.comparison import UNKNOWN, Comparison
from imbal_jax.suite.conclusions.runs import Line, Pairs, Runs, Unit, mean, median, time_to_target
from imbal_jax.suite.statistics import (
    Estimate,
    Probabilities,
    area_over_log_ratio,
    bayesian_signed_rank,
    hierarchical_bootstrap,
    integrated_score,
    interquartile_mean,
    median_of_minima,
    performance_profile,
)

TIMES = ("steps", "seconds")


@dataclass(frozen=True, kw_only=True)
class Overall:
    """A method over the cells in which it has a value; complete: these are all cells of the table.

    interquartile_mean: of all runs of these cells; interval over seeds. mean: of the means of the cells.
    difference: mean over the cells of the paired difference to the reference; UNKNOWN of the reference itself.
    probabilities: Bayesian signed-rank test over the mean differences of the cells (Benavoli et al. 2017).
    areas: by (set, positives), area over log10 of the ratio divided by its width, where there are two ratios. area:
        their mean; only comparable between methods with the same cells.
    verdicts: how many cells have each. diverged, failed, runs: over all cells. seconds_ratio: median over the cells.
    calibration_change, unlearned: mean over the cells.
    """

    method: str
    cells: int
    complete: bool
    interquartile_mean: Estimate
    mean: float
    difference: Estimate
    probabilities: Probabilities
    areas: Mapping[tuple[str, int | None], float]
    area: float
    verdicts: Mapping[str, int]
    runs: int
    diverged: int
    failed: int
    seconds_ratio: float
    calibration_change: float
    unlearned: float


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Times to the target of each method in each cell.

    unit: "steps" or "seconds". times: float64 [M, C]; of the runs of a cell the median, where a miss is inf; NaN
    where a method did not run. scores: [M], area under the profile from 1 to 4 (AlgoPerf). reached: cells in which
    some method did.
    """

    unit: str
    methods: tuple[str, ...]
    cells: tuple[str, ...]
    times: np.ndarray
    scores: np.ndarray
    reached: int

    def shares(self, factors: Sequence[float] | np.ndarray) -> np.ndarray:
        """Share of the cells in which a method takes at most each factor [T] of the least time, [M, T]."""
        return performance_profile(self.times, factors)


def overall(
    method: str,
    cells: Sequence[Comparison],
    paired: Sequence[Pairs | None],
    values: Sequence[Pairs],
    total: int,
) -> Overall:
    """Sums up ``cells``, the comparisons of a method; ``paired`` and ``values``: the differences and values of each.

    total: cells of the table.
    """
    held = [n for n, each in enumerate(cells) if each.seeds]
    means = [cells[n].mean.value for n in held]
    chains: dict[tuple[str, int | None], list[tuple[float, float]]] = {}
    for n in held:
        place = cells[n].place
        chains.setdefault((place.set, place.positives), []).append((place.ratio, cells[n].mean.value))
    areas = {chain: area_over_log_ratio(*zip(*points, strict=True)) for chain, points in chains.items()}
    areas = {chain: area for chain, area in areas.items() if not math.isnan(area)}
    differences = [each for each in paired if each is not None and len(each.finite)]
    return Overall(
        method=method,
        cells=len(held),
        complete=len(held) == total,
        interquartile_mean=interquartile_mean([values[n].finite for n in held]),
        mean=mean(means),
        difference=pooled(differences) if differences else UNKNOWN,
        probabilities=bayesian_signed_rank([each.finite.mean() for each in differences]),
        areas=areas,
        area=mean(list(areas.values())),
        verdicts=Counter(each.verdict for each in cells),
        runs=sum(each.failures.runs for each in cells),
        diverged=sum(each.failures.diverged for each in cells),
        failed=sum(each.failures.failed for each in cells),
        seconds_ratio=median([each.cost.seconds_ratio for each in cells]),
        calibration_change=mean([each.cost.calibration_change for each in cells]),
        unlearned=mean([each.cost.unlearned for each in cells]),
    )


def pooled(cells: Sequence[Pairs]) -> Estimate:
    """Mean over cells of their mean differences; seeds are resampled together in all cells, then patients in each."""
    units = sorted({unit for each in cells for unit in each.units})
    return hierarchical_bootstrap([each.over(units) for each in cells], [each.patients for each in cells])


def profile(
    runs: Mapping[tuple[str, str], Runs], methods: Sequence[str], cells: Sequence[str], unit: str
) -> Profile:
    """The profile of a table. A run that diverged missed; one that failed for another reason is left out."""
    times = [[_typical(runs.get((cell, method), {}).values(), unit) for cell in cells] for method in methods]
    return profile_of(times, methods, cells, unit)


def tuned_profile(trials: Mapping[tuple[str, str], Mapping[Unit, Sequence[Line]]], unit: str) -> Profile:
    """The profile of tuning: of each study (draw and seed) the best trial, of the studies the median (AlgoPerf).

    trials: the lines of each study, by cell and method.
    """
    cells, methods = (tuple(dict.fromkeys(key[n] for key in trials)) for n in (0, 1))
    times = []
    for method in methods:
        row = []
        for cell in cells:
            studies = trials.get((cell, method), {}).values()
            best = [
                [min([time_to_target(line, unit) for line in study], default=math.inf)] for study in studies
            ]
            row.append(median_of_minima(best) if best else math.nan)
        times.append(row)
    return profile_of(times, methods, cells, unit)


def profile_of(
    times: Sequence[Sequence[float]], methods: Sequence[str], cells: Sequence[str], unit: str
) -> Profile:
    """The profile of times [M, C]; methods that never ran to a target of any kind are left out."""
    table = np.array(times, np.float64).reshape(len(methods), len(cells))
    timed = [m for m in range(len(methods)) if not np.isnan(table[m]).all()]
    table = table[timed]
    reached = int(np.isfinite(table).any(axis=0).sum()) if len(timed) else 0
    names = tuple(methods[m] for m in timed)
    scores = integrated_score(table) if len(timed) else np.zeros(0)
    return Profile(unit=unit, methods=names, cells=tuple(cells), times=table, scores=scores, reached=reached)


def _typical(lines: Iterable[Line], unit: str) -> float:
    times = [time for time in (time_to_target(line, unit) for line in lines) if not math.isnan(time)]
    return float(np.median(times)) if times else math.nan
