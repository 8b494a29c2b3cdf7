"""Runs that are compared with each other: those of one stage and one setting of a ledger."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from imbal_jax.suite.definition import Line

Unit = tuple[int, int]
"""Draw and seed: runs of two methods with the same unit had the same data, first weights and batches."""


class Place(NamedTuple):
    """A data condition as the ledger names it."""

    cell: str
    set: str
    ratio: float
    positives: int | None

    @property
    def label(self) -> str:
        """``1:100, 50 positives``."""
        ratio = ratio_text(self.ratio)
        return ratio if self.positives is None else f"{ratio}, {self.positives:,} positives"


def ratio_text(ratio: float) -> str:
    """``1:100``."""
    return f"1:{ratio:,.0f}" if ratio >= 9.5 or float(ratio).is_integer() else f"1:{ratio:.2g}"


@dataclass(frozen=True)
class View:
    """Runs of one stage and one setting."""

    stage: str
    setting: str
    lines: tuple[Line, ...]
    reference: str
    primary: str

    @cached_property
    def done(self) -> tuple[Line, ...]:
        """Runs that ended with numbers."""
        return tuple(line for line in self.lines if line["outcome"] == "done")

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Data conditions: set by set, rarer and smaller ones last."""
        found = {
            Place(line["cell"], line["set"], float(line["ratio"]), line.get("positives"))
            for line in self.lines
        }
        order = list(dict.fromkeys(line["set"] for line in self.lines))
        return tuple(sorted(found, key=lambda p: (order.index(p.set), p.ratio, -(p.positives or 0), p.cell)))

    @cached_property
    def sets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(place.set for place in self.places))

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        return tuple(sorted({_unit(line) for line in self.lines}))

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The reference, then the others by their mean difference to it, best first."""
        names = list(dict.fromkeys(line["method"] for line in self.lines))
        others = [name for name in names if name != self.reference]
        others.sort(key=lambda name: _last_if_nan(self.gain(name)))
        return (*([self.reference] if self.reference in names else []), *others)

    @cached_property
    def _by_run(self) -> dict[tuple[str, str], dict[Unit, Line]]:
        runs: dict[tuple[str, str], dict[Unit, Line]] = {}
        for line in self.lines:
            runs.setdefault((line["method"], line["cell"]), {})[_unit(line)] = line
        return runs

    def runs(self, method: str, cell: str) -> dict[Unit, Line]:
        """The runs of a method in a cell, finished or not."""
        return self._by_run.get((method, cell), {})

    def values(self, method: str, cell: str, metric: str, part: str = "metrics") -> dict[Unit, float]:
        """A number of each finished run in which it is known. part: "metrics", "raw", "post_hoc", "bayes"."""
        known = {unit: number_of(line, metric, part) for unit, line in self.runs(method, cell).items()}
        return {unit: value for unit, value in known.items() if math.isfinite(value)}

    def mean(self, method: str, cell: str, metric: str, part: str = "metrics") -> float:
        return mean(self.values(method, cell, metric, part).values())

    def differences(self, method: str, cell: str, metric: str = "") -> np.ndarray:
        """Method less reference in the runs of the same draw and seed, float64 [pairs]."""
        metric = metric or self.primary
        own, other = (self.values(name, cell, metric) for name in (method, self.reference))
        return np.array([own[unit] - other[unit] for unit in sorted(own.keys() & other.keys())])

    def gain(self, method: str) -> float:
        """Mean over the cells of the mean paired difference to the reference; each cell counts alike."""
        return mean(mean(self.differences(method, place.cell)) for place in self.places)


def mean(values: Iterable[float]) -> float:
    """NaN where there is none; those that are not finite are left out."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def number_of(line: Line, metric: str, part: str = "metrics") -> float:
    """NaN where the line lacks it, or where it is null."""
    if line["outcome"] != "done":
        return math.nan
    value = (line.get(part) or {}).get(metric)
    return math.nan if value is None else float(value)


def views_of(lines: Sequence[Line], reference: str, primary: str) -> dict[tuple[str, str], View]:
    """A view of each stage and setting, in the order of the ledger; trials of the tuning are left out."""
    parts: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if not is_trial(line):
            parts.setdefault((line["stage"], line["setting"]), []).append(line)
    return {key: View(*key, tuple(part), reference, primary) for key, part in parts.items()}


def is_trial(line: Line) -> bool:
    """Whether the run served to choose options: ``trial3``."""
    return str(line["setting"]).startswith("trial")


def _unit(line: Line) -> Unit:
    return int(line["draw"]), int(line["seed"])


def _last_if_nan(gain: float) -> float:
    return math.inf if math.isnan(gain) else -gain
