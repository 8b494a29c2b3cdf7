"""Claims that one method is better than another, or as good, judged in every cell of a ledger that fits."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from imbal_jax.suite.conclusions.runs import Line, Runs, by_run, counted, is_trial, number
from imbal_jax.suite.statistics import Estimate, hierarchical_bootstrap

Verdict = tuple[bool | None, str]
"""Whether a claim holds (None: the lines do not tell), and the figures."""

# Assumed of the accuracy of a single run; on CIFAR-10-LT seeds deviate by 0.3 to 0.6 points
SEED_DEVIATION = 0.005
ALIKE = 0.02  # accuracy; the published differences of what is alike are 0.004 and 0.006


class Side(NamedTuple):
    """A method, and a number of its lines: ``raw`` (highest probability), ``post_hoc``, ``metrics`` (deployed)."""

    method: str
    part: str = "raw"


class Cell(NamedTuple):
    """The runs of a cell at one stage and setting, by method."""

    name: str
    set: str
    ratio: float
    classes: int
    runs: Mapping[str, Runs]


class Claim(NamedTuple):
    """One part of a check: ``more`` less ``less`` is above 0, or (least is None) both are alike.

    least: the smallest difference that counts as the published effect, half of it. metric: of raw calls.
    """

    more: Side
    less: Side
    least: float | None
    metric: str = "accuracy"


def judged(
    lines: Iterable[Line],
    claims: Sequence[Claim] | Callable[[Cell], Sequence[Claim]],
    fits: Callable[[Cell], bool],
    kind: str,
) -> Verdict:
    """Claims in every cell that fits: false where one is refuted, true where all of a cell hold, else None.

    kind: the cells that fit, in words.
    """
    cells = [cell for cell in _cells(lines) if fits(cell)]
    if not cells:
        return None, f"no cell of the kind: {kind}"
    results: list[bool | None] = []
    figures = []
    missing = set()
    for cell in cells:
        answers: list[bool | None] = []
        for claim in claims(cell) if callable(claims) else claims:
            estimate, runs = _difference(cell, claim)
            if math.isnan(estimate.value):
                missing |= {s.method for s in (claim.more, claim.less) if not cell.runs.get(s.method)}
                answers.append(None)
                continue
            answers.append(_answer(claim, estimate))
            figures.append(_figure(cell, claim, estimate, runs))
        results.append(False if False in answers else None if None in answers else True)
    verdict = False if False in results else True if True in results else None
    lacking = f"no runs of {', '.join(sorted(missing))}" if missing else ""
    return verdict, "; ".join(filter(None, [*figures, lacking])) or "no pair of finished runs"


def _cells(lines: Iterable[Line]) -> list[Cell]:
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in counted(lines):
        if not is_trial(line):
            groups.setdefault((line["cell"], line["stage"], line["setting"]), []).append(line)
    found = []
    for (name, _, _), group in groups.items():
        classes = max((len(line.get("classes") or ()) for line in group), default=0)
        runs = {method: of for (_, method), of in by_run(group).items()}
        found.append(Cell(name, group[0]["set"], float(group[0]["ratio"]), classes, runs))
    return found


def _difference(cell: Cell, claim: Claim) -> tuple[Estimate, int]:
    """``more`` less ``less`` over the units that both have, with the number of them."""
    more, less = (
        {u: number(line, claim.metric, s.part) for u, line in cell.runs.get(s.method, {}).items()}
        for s in (claim.more, claim.less)
    )
    values = np.array([more[unit] - less[unit] for unit in more.keys() & less.keys()], np.float64)
    values = values[~np.isnan(values)]
    return mean_of_runs(values, 0.95), len(values)


def mean_of_runs(values: np.ndarray, confidence: float) -> Estimate:
    """Mean with its interval over seeds; of a single run that of two runs of the assumed deviation."""
    if len(values) != 1:
        return hierarchical_bootstrap(values, confidence=confidence)
    half = 1.96 * math.sqrt(2) * SEED_DEVIATION
    return Estimate(float(values[0]), float(values[0]) - half, float(values[0]) + half, math.nan)


def _answer(claim: Claim, estimate: Estimate) -> bool | None:
    _, low, high, _ = estimate
    if claim.least is None:
        inside, outside = low > -ALIKE and high < ALIKE, low > ALIKE or high < -ALIKE
        return True if inside else False if outside else None
    return True if low > 0 else False if high < claim.least else None


def _figure(cell: Cell, claim: Claim, estimate: Estimate, runs: int) -> str:
    names = [s.method if s.part == "raw" else f"{s.method} {s.part.replace('_', '-')}" for s in claim[:2]]
    assumed = ", seed deviation 0.005 assumed" if runs == 1 else ""
    counted_runs = "1 run" if runs == 1 else f"{runs} runs"
    return (
        f"{cell.name}: {names[0]} less {names[1]} {estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}] "
        f"({counted_runs}{assumed})"
    )
