"""One method in one data condition, beside the reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from imbal_jax.runs.paired_difference import holm
from imbal_jax.suite.conclusions.runs import (
    Line,
    Pairs,
    Place,
    Runs,
    mean,
    median,
    number,
    numbers,
    time_to_target,
)
from imbal_jax.suite.statistics import (
    Estimate,
    Probabilities,
    SignedRank,
    bayesian_signed_rank,
    detectable_difference,
    hierarchical_bootstrap,
    signed_rank,
)

FEWEST_PAIRS = 6  # the exact two-sided test cannot fall below 0.0625 with 5
LEVEL = 0.05
SURE = 0.95  # probability of equivalence at which "no difference" is said

REFERENCE = "reference"
BETTER = "better"
WORSE = "worse"
NO_DIFFERENCE = "no difference"
NOT_SHOWN = "not shown"
DESCRIPTIVE = "descriptive only"

UNKNOWN = Estimate(math.nan, math.nan, math.nan, math.nan)
_NO_RANKS = SignedRank(math.nan, 1.0, 0)
_NO_PROBABILITIES = Probabilities(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Failures:
    """Runs without a result. diverged: stopped by their own training. failed: for any other reason. reasons: each
    once.
    """

    runs: int
    diverged: int
    failed: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a method takes, medians over its runs; NaN where no run tells.

    seconds: of training. seconds_ratio: to the reference in the same units. calibration_error: mean.
    calibration_change: mean difference to the reference in the same units; above 0 is worse. unlearned: mean of best
    less final validation value. steps_to_target, seconds_to_target: inf where half of the runs or more missed.
    """

    seconds: float
    seconds_ratio: float
    calibration_error: float
    calibration_change: float
    unlearned: float
    steps_to_target: float
    seconds_to_target: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A method in a cell, by the primary metric.

    seeds: runs with a value. mean: over them, 95 % interval over seeds and patients. deviation: standard deviation
        over seeds.
    difference: mean paired difference to the reference; ``pairs`` of them are finite.
    ranks: exact signed-rank test; a run that diverged where the reference did not counts as the worst difference.
    p_holm: p-value of ``p_value_of``, adjusted over the cells of the method; NaN where none is possible.
    probabilities: Bayesian signed-rank test, with patients where ``patients``.
    detectable: difference that so many seeds would have shown with probability 0.8, at the level that Holm asks of
        the first test of a family; inf if none.
    patients: whether intervals and probabilities include the chance in the test patients.
    verdict: see ``verdict_of``.
    """

    place: Place
    method: str
    seeds: int
    failures: Failures
    mean: Estimate
    deviation: float
    difference: Estimate = UNKNOWN
    pairs: int = 0
    ranks: SignedRank = _NO_RANKS
    p_holm: float = math.nan
    probabilities: Probabilities = _NO_PROBABILITIES
    detectable: float = math.nan
    patients: bool = False
    cost: Cost
    verdict: str = REFERENCE


def compare(
    place: Place, method: str, runs: Runs, reference: Runs | None, values: Pairs, paired: Pairs | None
) -> Comparison:
    """The comparison of a method in a cell, not yet adjusted for the number of tests (``adjusted``).

    reference: None for the reference itself. values: of the runs. paired: differences of the runs to the reference.
    """
    alone = Comparison(
        place=place,
        method=method,
        seeds=len(values.finite),
        failures=failures(list(runs.values())),
        mean=_in_range(estimate(values)),
        deviation=_deviation(values.finite),
        patients=values.patients is not None,
        cost=_cost(runs, reference),
    )
    if paired is None:
        return alone
    return replace(
        alone,
        difference=estimate(paired),
        pairs=len(paired.finite),
        ranks=signed_rank(paired.differences),
        probabilities=bayesian_signed_rank(paired.differences, paired.patients),
        detectable=_detectable(paired, LEVEL),
        patients=paired.patients is not None,
        verdict="",
    )


def estimate(of: Pairs) -> Estimate:
    """Mean of the finite values with its interval."""
    return hierarchical_bootstrap(of.finite, [of.patients])


def adjusted(comparisons: Sequence[Comparison], paired: Sequence[Pairs | None]) -> list[Comparison]:
    """The comparisons of one method in all cells, with p_holm, detectable and verdict.

    The family of tests is the cells of a method: the chance that it is called better or worse in any cell where it is
    not is 5 %, for each method by itself. Over all methods together exact tests of 12 seeds could show nothing (least
    p-value 0.0005, times 120). A comparison that no outcome of its few pairs could make significant is not counted
    (Tarone, Biometrics 46, 1990). paired: the differences of each; None for the reference.
    """
    tests = [n for n, each in enumerate(comparisons) if each.ranks.pairs >= FEWEST_PAIRS]
    p_values = holm([p_value_of(comparisons[n]) for n in tests])
    found = list(comparisons)
    for n, p in zip(tests, p_values, strict=True):
        detectable = _detectable(paired[n], LEVEL / len(tests))
        found[n] = replace(found[n], p_holm=float(p), detectable=detectable)
    return [each if each.verdict == REFERENCE else replace(each, verdict=verdict_of(each)) for each in found]


def p_value_of(comparison: Comparison) -> float:
    """The larger of the p-values of the signed-rank test and of the bootstrap.

    The first knows the seeds alone. Where all seeds, or re-splits of one pool, share test patients, it takes an
    accident of the patients for a difference (in simulated re-splits with an overlap of 0.2: 16 % false alarms of 5),
    which the second does not. Where runs diverged, and those that did not are no better, the first stands alone.
    """
    lost = comparison.ranks.pairs > comparison.pairs
    if lost and not comparison.difference.low > 0:
        return comparison.ranks.p_value
    return max(comparison.ranks.p_value, comparison.difference.p_value)


def verdict_of(comparison: Comparison) -> str:
    """What a comparison shows; of several that hold, the first.

    "descriptive only": fewer than 6 pairs. "no difference": the probability that the difference is inside the region
    of practical equivalence is at least 0.95. "better", "worse": p_holm below 0.05, and the interval, which includes
    the patients where they are known, leaves out 0; "worse" also where runs diverged that the reference finished.
    "not shown": all else. It does not mean that there is no difference: ``detectable`` says what could have been
    missed.
    """
    if comparison.ranks.pairs < FEWEST_PAIRS:
        return DESCRIPTIVE
    if comparison.probabilities.equal >= SURE:
        return NO_DIFFERENCE
    if not comparison.p_holm < LEVEL:
        return NOT_SHOWN
    if comparison.difference.low > 0:
        return BETTER
    lost = comparison.ranks.pairs > comparison.pairs and comparison.probabilities.worse >= SURE
    return WORSE if comparison.difference.high < 0 or lost else NOT_SHOWN


def failures(lines: Sequence[Line]) -> Failures:
    """Of runs, how many ended without a result."""
    lost = [line for line in lines if line["outcome"] != "done"]
    diverged = sum(line["outcome"] == "diverged" for line in lost)
    reasons = tuple(dict.fromkeys(str(line.get("reason") or "") for line in lost))
    return Failures(len(lines), diverged, len(lost) - diverged, reasons)


def _in_range(of: Estimate) -> Estimate:
    """The mean of a metric, whose interval ends at 0 and 1 however few seeds tell it; a test of 0 says nothing."""
    low, high = (float(np.clip(bound, 0, 1)) for bound in (of.low, of.high))
    return Estimate(of.value, low, high, math.nan)


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _detectable(paired: Pairs | None, level: float) -> float:
    if paired is None or len(paired.finite) < 2:
        return math.nan
    patients = paired.patients
    moved = 0.0
    if patients is not None:
        draws = len(np.unique(patients.draws))
        shared = 1 / draws if patients.overlap is None or draws == 1 else patients.overlap
        moved = float(np.sqrt(shared) * patients.deviations.std(axis=1).mean())
    return detectable_difference(_deviation(paired.finite), len(paired.finite), patients=moved, level=level)


def _cost(runs: Runs, reference: Runs | None) -> Cost:
    done = [line for line in runs.values() if line["outcome"] == "done"]
    ratios, changes = [], []
    for unit, line in runs.items():
        if reference is not None and unit in reference:
            ratios.append(top(line, "seconds") / (top(reference[unit], "seconds") or math.nan))
            changes.append(number(line, "calibration_error") - number(reference[unit], "calibration_error"))
    known = any("to_target" in line for line in done)
    steps, times = (
        [time_to_target(line, unit) for line in runs.values() if known] for unit in ("steps", "seconds")
    )
    return Cost(
        seconds=median([top(line, "seconds") for line in done]),
        seconds_ratio=1.0 if reference is None else median(ratios),
        calibration_error=mean(numbers(done, "calibration_error")),
        calibration_change=0.0 if reference is None else mean(changes),
        unlearned=mean([top(line, "unlearned") for line in done]),
        steps_to_target=median(steps),
        seconds_to_target=median(times),
    )


def top(line: Line, name: str) -> float:
    """A number that a line holds itself; NaN where it is null, absent, or the run did not finish."""
    value = line.get(name) if line["outcome"] == "done" else None
    return math.nan if value is None else float(value)
