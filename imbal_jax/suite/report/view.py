"""Runs that are compared with each other, as the figures read them: those of one stage and one setting."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from imbal_jax.suite.conclusions.comparison import (
    BETTER,
    DESCRIPTIVE,
    NO_DIFFERENCE,
    NOT_SHOWN,
    WORSE,
    Comparison,
)
from imbal_jax.suite.conclusions.overall import Overall
from imbal_jax.suite.conclusions.runs import POST_HOC, Place, Runs, Unit, by_run, number, with_post_hoc
from imbal_jax.suite.definition import Line
from imbal_jax.suite.findings import Table

VERDICTS = (BETTER, WORSE, NO_DIFFERENCE, NOT_SHOWN, DESCRIPTIVE)
"""Of a comparison with the reference, in the order in which they are told."""


@dataclass(frozen=True)
class View:
    """A table of the findings beside its lines.

    Its methods include the post-hoc adjustment of the reference, which is a rival without runs of its own.
    """

    table: Table
    lines: tuple[Line, ...]
    reference: str
    primary: str

    @property
    def name(self) -> str:
        """``final, tuned``."""
        return f"{self.table.stage}, {self.table.setting}"

    @property
    def places(self) -> tuple[Place, ...]:
        return self.table.places

    @property
    def methods(self) -> tuple[str, ...]:
        """The reference, then the others by their mean difference to it, best first."""
        return self.table.methods

    @property
    def rival(self) -> str:
        """The reference with post-hoc logit adjustment; a method only where the lines have it."""
        return self.reference + POST_HOC

    @property
    def trained(self) -> tuple[str, ...]:
        """The methods with runs of their own."""
        return tuple(method for method in self.methods if method != self.rival)

    @cached_property
    def done(self) -> tuple[Line, ...]:
        """Runs that ended with numbers."""
        return tuple(line for line in self.lines if line["outcome"] == "done")

    @cached_property
    def sets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(place.set for place in self.places))

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        return tuple(sorted({(int(line["draw"]), int(line["seed"])) for line in self.lines}))

    @cached_property
    def comparisons(self) -> Mapping[tuple[str, str], Comparison]:
        """By method and cell."""
        return {(each.method, each.place.cell): each for each in self.table.comparisons}

    @cached_property
    def overall(self) -> Mapping[str, Overall]:
        """By method."""
        return {each.method: each for each in self.table.overall}

    @cached_property
    def _by_run(self) -> dict[tuple[str, str], dict[Unit, Line]]:
        return by_run(with_post_hoc(self.lines, self.reference))

    def runs(self, method: str, cell: str) -> Runs:
        """The runs of a method in a cell, finished or not."""
        return self._by_run.get((cell, method), {})

    def finished(self, method: str, cell: str) -> list[Line]:
        """Those that ended with numbers."""
        return [line for line in self.runs(method, cell).values() if line["outcome"] == "done"]

    def values(self, method: str, cell: str, metric: str, part: str = "metrics") -> list[float]:
        """A number of each finished run in which it is known. part: "metrics", "raw", "post_hoc" or "bayes"."""
        found = [number(line, metric, part) for line in self.finished(method, cell)]
        return [value for value in found if math.isfinite(value)]

    def mean(self, method: str, cell: str, metric: str, part: str = "metrics") -> float:
        return mean(self.values(method, cell, metric, part))

    def gain(self, method: str) -> float:
        """Mean over the cells of the mean paired difference to the reference; 0 of the reference."""
        return 0.0 if method == self.reference else self.overall[method].difference.value


def mean(values: Iterable[float]) -> float:
    """NaN where there is none; those that are not finite are left out."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def ratio_text(ratio: float) -> str:
    """``1:100``."""
    return f"1:{ratio:,.0f}" if ratio >= 9.5 or float(ratio).is_integer() else f"1:{ratio:.2g}"


def label(place: Place) -> str:
    """``1:100, 50 positives``."""
    ratio = ratio_text(place.ratio)
    return ratio if place.positives is None else f"{ratio}, {place.positives:,} positives"


def lines_of(lines: Sequence[Line], table: Table) -> tuple[Line, ...]:
    """The lines of the stage and the setting of a table."""
    return tuple(line for line in lines if (line["stage"], line["setting"]) == (table.stage, table.setting))
