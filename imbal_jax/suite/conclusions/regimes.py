"""Recommendations: a method for each range of ratios and of positives, and what speaks against it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imbal_jax.runs.paired_difference import holm
from imbal_jax.suite.conclusions.comparison import FEWEST_PAIRS, LEVEL, WORSE, Comparison
from imbal_jax.suite.conclusions.overall import pooled
from imbal_jax.suite.conclusions.runs import Pairs, Place, Runs, mean, pairs
from imbal_jax.suite.statistics import Estimate

RATIOS = (
    30.0,
    300.0,
    3000.0,
)  # upper ends of the bands but the last: half-decades around 10, 100, 1,000, 10,000
POSITIVES = (25, 100)
MOST_DIVERGED = 0.1  # share of the runs; a method that diverges more often is not recommended


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A method that may be as good as the recommended one, which is ahead by ``lead``, mean over the cells."""

    method: str
    lead: Estimate


@dataclass(frozen=True, kw_only=True)
class Regime:
    """A range of ratios and of numbers of positives.

    ratios: above the first, up to the second. positives: likewise; None where no cell tells a number.
    recommended: of the methods shown to be better than the reference (mean difference over the cells, hierarchical
        bootstrap, Holm over the methods), worse in no cell, and with at most a tenth of their runs diverged, the one
        with the highest mean difference; the reference where there is none; None where fewer than 6 seeds tell.
    difference: of the recommended to the reference, with p_holm. mean: of the primary metric of the recommended.
    missed: where the reference is recommended, the upper end of the highest interval of a method: so much may have
        been missed.
    lost: cells in which the mean difference is below 0, with it and the verdict. diverged, failed, runs: of the
        recommended. seconds_ratio, calibration_change: beside the reference, over the cells.
    rivals: the methods whose distance to the recommended is not shown; best first.
    """

    ratios: tuple[float, float]
    positives: tuple[int, float] | None
    cells: tuple[Place, ...]
    recommended: str | None
    mean: float
    difference: Estimate
    p_holm: float
    missed: float
    lost: tuple[tuple[str, float, str], ...]
    runs: int
    diverged: int
    failed: int
    seconds_ratio: float
    calibration_change: float
    rivals: tuple[Rival, ...]

    def evidence_against(self) -> tuple[str, ...]:
        """What speaks against the recommendation, a sentence each; empty where nothing does."""
        found = []
        if self.lost:
            cells = ", ".join(f"{cell} ({value:+.3f}, {verdict})" for cell, value, verdict in self.lost)
            found.append(f"Behind the reference in {len(self.lost)} of {len(self.cells)} cells: {cells}.")
        if self.diverged or self.failed:
            found.append(f"Of {self.runs} runs {self.diverged} diverged and {self.failed} failed.")
        if self.seconds_ratio > 1.05:
            found.append(f"Training takes {self.seconds_ratio:.2f} times as long as that of the reference.")
        if self.calibration_change > 0.01:
            found.append(f"The calibration error is higher by {self.calibration_change:.3f}.")
        if self.rivals:
            found.append(f"Not shown to be better than {', '.join(each.method for each in self.rivals)}.")
        if self.missed > 0:
            found.append(f"A method that is better by up to {self.missed:.3f} may have been missed.")
        return tuple(found)


@dataclass(frozen=True)
class Evidence:
    """What a table knows. comparisons and paired (differences to the reference) by (cell, method); runs likewise."""

    reference: str
    metric: str
    comparisons: Mapping[tuple[str, str], Comparison]
    paired: Mapping[tuple[str, str], Pairs]
    runs: Mapping[tuple[str, str], Runs]
    overlaps: Mapping[str, float]


def regimes(evidence: Evidence, found: Sequence[Place], methods: Sequence[str]) -> list[Regime]:
    """A regime for each pair of bands that has cells; rarer last."""
    groups: dict[tuple[int, int], list[Place]] = {}
    for place in found:
        of_ratio = int(np.searchsorted(RATIOS, place.ratio))
        of_positives = -1 if place.positives is None else int(np.searchsorted(POSITIVES, place.positives))
        groups.setdefault((of_ratio, of_positives), []).append(place)
    order = sorted(groups, key=lambda band: (band[0], -band[1]))
    return [_regime(evidence, band, groups[band], methods) for band in order]


def _regime(
    evidence: Evidence, band: tuple[int, int], cells: Sequence[Place], methods: Sequence[str]
) -> Regime:
    names = [place.cell for place in cells]
    whole = [
        method
        for method in methods
        if method != evidence.reference and all(_pairs(evidence, cell, method) > 0 for cell in names)
    ]
    gains = {method: pooled([evidence.paired[cell, method] for cell in names]) for method in whole}
    tested = [m for m in whole if min(_pairs(evidence, cell, m) for cell in names) >= FEWEST_PAIRS]
    p_holm = dict(zip(tested, holm([gains[m].p_value for m in tested]), strict=True))
    better = [m for m in tested if _may_be_recommended(evidence, names, m, gains[m], p_holm[m])]
    choice = max(better, key=lambda m: gains[m].value, default=evidence.reference if tested else None)
    return Regime(
        ratios=_bounds(RATIOS, band[0], 1.0),
        positives=None if band[1] < 0 else _bounds(POSITIVES, band[1], 0),
        cells=tuple(cells),
        recommended=choice,
        difference=gains.get(choice or "", Estimate(0.0, math.nan, math.nan, math.nan)),
        p_holm=float(p_holm.get(choice or "", math.nan)),
        missed=max((gains[m].high for m in tested), default=math.nan)
        if choice == evidence.reference
        else 0.0,
        rivals=_rivals(evidence, names, choice, gains, tested),
        **_record(evidence, names, choice),
    )


def _pairs(evidence: Evidence, cell: str, method: str) -> int:
    paired = evidence.paired.get((cell, method))
    return 0 if paired is None else len(paired.finite)


def _may_be_recommended(
    evidence: Evidence, cells: Sequence[str], method: str, gain: Estimate, p: float
) -> bool:
    own = [evidence.comparisons[cell, method] for cell in cells]
    runs, diverged = (sum(getattr(each.failures, name) for each in own) for name in ("runs", "diverged"))
    shown = gain.low > 0 and p < LEVEL
    return shown and diverged <= MOST_DIVERGED * runs and all(each.verdict != WORSE for each in own)


def _rivals(
    evidence: Evidence,
    cells: Sequence[str],
    choice: str | None,
    gains: Mapping[str, Estimate],
    tested: Sequence[str],
) -> tuple[Rival, ...]:
    """Of the tested methods those that ``choice`` is not shown to be ahead of; none beside the reference."""
    if choice is None or choice == evidence.reference:
        return ()
    found = []
    for method in sorted(tested, key=lambda m: -gains[m].value):
        if method == choice:
            continue
        between = [
            pairs(
                evidence.runs[cell, choice],
                evidence.runs[cell, method],
                evidence.metric,
                evidence.overlaps.get(cell),
            )
            for cell in cells
        ]
        lead = pooled([each for each in between if len(each.finite)])
        if not lead.low > 0:
            found.append(Rival(method=method, lead=lead))
    return tuple(found)


def _record(evidence: Evidence, cells: Sequence[str], choice: str | None) -> dict[str, Any]:
    """The fields of a regime that sum up the comparisons of the recommended method."""
    of_cells = [evidence.comparisons.get((cell, choice or "")) for cell in cells]
    own = [each for each in of_cells if each is not None]
    lost = [
        (each.place.cell, each.difference.value, each.verdict) for each in own if each.difference.value < 0
    ]
    return {
        "mean": mean([each.mean.value for each in own]),
        "lost": tuple(lost),
        "runs": sum(each.failures.runs for each in own),
        "diverged": sum(each.failures.diverged for each in own),
        "failed": sum(each.failures.failed for each in own),
        "seconds_ratio": mean([each.cost.seconds_ratio for each in own]),
        "calibration_change": mean([each.cost.calibration_change for each in own]),
    }


def _bounds(ends: Sequence[float], band: int, least: float) -> tuple[Any, float]:
    return ends[band - 1] if band else least, ends[band] if band < len(ends) else math.inf
