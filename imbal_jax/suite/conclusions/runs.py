"""Lines of a ledger as arrays: the values of runs, and of pairs of runs with the same draw and seed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from imbal_jax.suite.statistics import Patients

Line = Mapping[str, Any]
"""One run of the ledger."""

Unit = tuple[int, int]
"""Draw and seed. Runs of one unit had the same data, first weights and order of batches."""

Runs = Mapping[Unit, Line]
"""Runs of one method, setting and cell."""

POST_HOC = " + post-hoc"
_SAME_TEST = 0.1  # test sets whose sizes differ by less are of one split; patients are not divided exactly


class Place(NamedTuple):
    """A data condition. positives: rare training images; None where nothing tells."""

    cell: str
    set: str
    ratio: float
    positives: int | None


def counted(lines: Iterable[Line]) -> list[Line]:
    """One line of each run: of several of one key the first that did not fail, else the last."""
    kept: dict[str, Line] = {}
    for line in lines:
        if line["key"] not in kept or kept[line["key"]]["outcome"] == "failed":
            kept[line["key"]] = line
    return list(kept.values())


def is_trial(line: Line) -> bool:
    """Whether the run served to choose options, as ``trial3``."""
    return str(line["setting"]).startswith("trial")


def place_of(line: Line) -> Place:
    """The data condition of a line; where it names no number of positives, that of the rarest class."""
    positives = line.get("positives")
    train = (line.get("counts") or {}).get("train")
    if positives is None and train:
        positives = int(min(train))
    return Place(line["cell"], line["set"], float(line["ratio"]), positives)


def places(lines: Iterable[Line]) -> list[Place]:
    """The data conditions, set by set; rarer, then smaller ones last. A failed line does not hide a number."""
    found: dict[str, Place] = {}
    for line in lines:
        place = place_of(line)
        if line["cell"] not in found or found[line["cell"]].positives is None:
            found[line["cell"]] = place
    order = list(dict.fromkeys(place.set for place in found.values()))
    return sorted(found.values(), key=lambda p: (order.index(p.set), p.ratio, -(p.positives or 0), p.cell))


def by_run(lines: Iterable[Line]) -> dict[tuple[str, str], dict[Unit, Line]]:
    """Runs by cell and method."""
    found: dict[tuple[str, str], dict[Unit, Line]] = {}
    for line in lines:
        unit = int(line["draw"]), int(line["seed"])
        found.setdefault((line["cell"], line["method"]), {})[unit] = line
    return found


def number(line: Line, metric: str, part: str = "metrics") -> float:
    """A number of a finished run; NaN where it is null or absent."""
    if line["outcome"] != "done":
        return math.nan
    value = (line.get(part) or {}).get(metric)
    return math.nan if value is None else float(value)


def numbers(runs: Iterable[Line], metric: str, part: str = "metrics") -> np.ndarray:
    """Those of the runs in which it is known, float64 [runs]."""
    values = np.array([number(line, metric, part) for line in runs], np.float64)
    return values[~np.isnan(values)]


def time_to_target(line: Line, unit: str) -> float:
    """Steps or seconds to the target; inf where the run missed it or diverged, NaN where the line does not tell."""
    if line["outcome"] == "diverged":
        return math.inf
    if line["outcome"] != "done" or "to_target" not in line:
        return math.nan
    value = (line["to_target"] or {}).get(unit)
    return math.inf if value is None else float(value)


def mean(values: Iterable[float]) -> float:
    """Of the values that are not NaN; NaN where there is none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def median(values: Iterable[float]) -> float:
    """Of the values that are not NaN, inf among them; NaN where there is none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def with_post_hoc(lines: Iterable[Line], reference: str) -> list[Line]:
    """The lines, and beside each of the reference one of the same network with post-hoc logit adjustment.

    Its metrics are those under "post_hoc"; its replicates those named "post_hoc/METRIC", where the ledger has them.
    """
    found: list[Line] = []
    for line in lines:
        found.append(line)
        if line["method"] != reference or (line["outcome"] == "done" and not line.get("post_hoc")):
            continue
        begin = "post_hoc/"
        replicates = {
            name.removeprefix(begin): values
            for name, values in (line.get("replicates") or {}).items()
            if name.startswith(begin)
        }
        left_out = ("raw", "by_class", "bayes", "to_target", "unlearned", "curve", "intervals")
        rest = {key: value for key, value in line.items() if key not in left_out}
        method = reference + POST_HOC
        changed = {"method": method, "metrics": line.get("post_hoc"), "replicates": replicates}
        found.append(rest | changed | {"key": f"{line['key']}{POST_HOC}"})
    return found


@dataclass(frozen=True)
class Pairs:
    """Values of runs, or differences of two methods in the same units, with what resampled patients do to them.

    differences: float64 [U], method less reference; -inf where the method diverged and the reference did not, inf the
        other way. units: of the same order. patients: of those that are finite; None where a run has no replicates.
    """

    units: tuple[Unit, ...]
    differences: np.ndarray
    patients: Patients | None

    @property
    def finite(self) -> np.ndarray:
        """Differences of runs that both gave a value, float64 [pairs]."""
        return self.differences[np.isfinite(self.differences)]

    def over(self, units: Sequence[Unit]) -> np.ndarray:
        """Finite differences in the order of ``units``, NaN where there is none."""
        known = dict(zip(self.units, self.differences, strict=True))
        values = np.array([known.get(unit, np.nan) for unit in units], np.float64)
        return np.where(np.isfinite(values), values, np.nan)


def pairs(runs: Runs, reference: Runs | None, metric: str, overlap: float | None) -> Pairs:
    """Differences of the runs to those of the reference; without one, the values themselves.

    A run that is absent, or failed for another reason than its method (outcome "failed"), is no pair.
    """
    units, differences, deviations = [], [], []
    for unit in sorted(runs):
        parts = [runs[unit]] if reference is None else [runs[unit], reference.get(unit)]
        if None in parts:
            continue
        value = _difference(parts, metric)
        if math.isnan(value):
            continue
        units.append(unit)
        differences.append(value)
        if math.isfinite(value):
            deviations.append(_deviations(parts, metric))
    values = np.array(differences, np.float64)
    draws = np.array(
        [draw for (draw, _), value in zip(units, differences, strict=True) if math.isfinite(value)], int
    )
    lengths = {len(each) for each in deviations}
    known = len(lengths) == 1 and lengths != {0}
    patients = Patients(_known(np.stack(deviations)), draws, overlap) if known else None
    return Pairs(tuple(units), values, patients)


def _difference(parts: Sequence[Any], metric: str) -> float:
    values = [-math.inf if line["outcome"] == "diverged" else number(line, metric) for line in parts]
    if len(values) == 1:
        return values[0] if math.isfinite(values[0]) else math.nan
    return math.nan if values[0] == values[1] == -math.inf else values[0] - values[1]


def _deviations(parts: Sequence[Any], metric: str) -> np.ndarray:
    """Replicates less value, [R], method less reference; empty where a line has none."""
    found = []
    for line in parts:
        replicates = (line.get("replicates") or {}).get(metric) or []
        found.append(np.array(replicates, np.float64) - number(line, metric))
    if len({len(each) for each in found}) > 1:
        return np.zeros(0)
    return found[0] if len(found) == 1 else found[0] - found[1]


def _known(deviations: np.ndarray) -> np.ndarray:
    """With 0 where a replicate is unknown."""
    return np.where(np.isfinite(deviations), deviations, 0.0)


def overlaps(lines: Iterable[Line]) -> dict[str, float]:
    """For each cell, at most which share of the test images of one draw another draw tests too.

    A draw tests at random a share of a pool of images. The pool is not smaller than the largest split of the set that
    has a test set of the same size (the ratio is drawn in the training part).
    """
    sizes: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in lines:
        if counts := line.get("counts"):
            parts = [float(sum(counts[part])) for part in ("test", "train", "validation")]
            sizes.setdefault(line["set"], {}).setdefault(line["cell"], []).append((parts[0], sum(parts)))
    found = {}
    for cells in sizes.values():
        splits = {cell: np.array(of).T for cell, of in cells.items()}
        largest = [(tested.mean(), total.max()) for tested, total in splits.values()]
        for cell, (tested, _) in splits.items():
            size = tested.mean()
            pool = max(total for other, total in largest if abs(other - size) <= _SAME_TEST * size)
            found[cell] = float(size / pool) if pool else 1.0
    return found
