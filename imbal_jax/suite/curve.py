"""The curve of a run: a record at each evaluation, kept in a file so that a resumed run has the earlier ones too."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.decisions.criterion import Criterion
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.errors import InputError
from imbal_jax.files import read_jsonl, write_text
from imbal_jax.metrics import sensitivity_at_specificity
from imbal_jax.metrics.averages import macro_mean
from imbal_jax.metrics.labels import one_against_rest
from imbal_jax.suite.dynamics import Numbers, Probe, dynamics_of, finite, probe_of
from imbal_jax.training.watch import Watched

METRICS = ("balanced_accuracy", "sensitivity", "specificity", "average_precision", "auroc", "loss")
"""Of validation, as the network calls; ``loss`` is the mean negative log probability of the labels."""
TARGET = "sensitivity >= 0.8 where specificity >= 0.9"
AT_SPECIFICITY = "sensitivity_at_"
SIGNIFICANT = 5  # digits of a number in a curve

Columns = dict[str, list[Any]]
"""``step``, ``seconds``, ``stage``, ``stage_step`` and the numbers of ``dynamics_of``, each a list over evaluations.

Steps and seconds run on through a second stage; ``stage`` is 1 or 2, ``stage_step`` counts within it. ``seconds``
contain neither the watching itself nor compilation (``_steady``).
"""


class Curve:
    """A ``Watch`` that writes a line at each evaluation to a file.

    path: of the file; what it holds already is kept. seed: chooses the probe of training images, which is the same
    for all methods of a draw. per_class: as for ``probe_of``; 0 watches the metrics alone.
    target: what ``to_target`` will be asked for.
    """

    def __init__(
        self, path: Path, *, seed: int = 0, per_class: int | None = None, target: str = TARGET
    ) -> None:
        metric = parse_target(target).metric
        own = [float(metric.removeprefix(AT_SPECIFICITY))] if metric.startswith(AT_SPECIFICITY) else []
        self._percents = sorted({90.0, *own})
        self.path = path
        self.seed = seed
        self.per_class = per_class
        self._probe: Probe | None = None

    def __call__(self, seen: Watched) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(record, allow_nan=False) for record in (*self.records(), self._record(seen))]
        write_text(self.path, "\n".join(lines) + "\n")  # whole or not at all: a kill leaves no half line

    def _record(self, seen: Watched) -> dict[str, Any]:
        names = (*METRICS, *parse_criterion(seen.config.select).names)
        values: Numbers = {name: finite(seen.values[name]) for name in names if name in seen.values}
        if seen.task.decides:
            values |= {f"{AT_SPECIFICITY}{at:g}": sensitivity_at(at / 100, seen) for at in self._percents}
            if self.per_class != 0:
                if self._probe is None:
                    self._probe = probe_of(seen.splits.train, per_class=self.per_class, seed=self.seed)
                values |= dynamics_of(seen, self._probe)
        return {
            "method": seen.method.name,
            "stage": 2 if seen.is_second else 1,
            "stage_step": seen.step,
            "stage_seconds": round(seen.seconds, 3),
            **{name: None if value is None else _short(value) for name, value in values.items()},
        }

    def columns(self, method: str) -> Columns:
        """The curve of the run of ``method``, the first stage that it builds on included."""
        return columns_of(self.records(), method)

    def records(self) -> list[dict[str, Any]]:
        """Of every evaluation that was seen, in that order."""
        return read_jsonl(self.path, "delete the run's folder", _is_record) if self.path.is_file() else []


def _is_record(record: Any) -> bool:
    return {"method", "stage", "stage_step", "stage_seconds"} <= set(record)


def columns_of(records: Sequence[dict[str, Any]], method: str) -> Columns:
    """Records of one method and of its first stage as columns; of a step that was seen twice the last counts."""
    own = [record for record in records if record["method"] == method]
    second = any(record["stage"] == 2 for record in own)
    if second:
        own = [record for record in records if record["method"] != method or record["stage"] == 2]
    last = {(record["stage"], record["stage_step"]): record for record in own}
    ordered = [last[key] for key in sorted(last)]
    names = dict.fromkeys(name for record in ordered for name in record)
    first = [record for record in ordered if record["stage"] == 1]
    took = {stage: _steady([record for record in ordered if record["stage"] == stage]) for stage in (1, 2)}
    steps, seconds = (first[-1]["stage_step"], took[1][-1]) if first and second else (0, 0.0)
    at = {stage: iter(of_stage) for stage, of_stage in took.items()}
    columns: Columns = {"step": [], "seconds": []}
    columns |= {name: [] for name in names if name not in ("method", "stage_seconds")}
    for record in ordered:
        on = record["stage"] == 2
        columns["step"].append(record["stage_step"] + (steps if on else 0))
        columns["seconds"].append(round(next(at[record["stage"]]) + (seconds if on else 0.0), 3))
        for name in columns:
            if name not in ("step", "seconds"):
                columns[name].append(record.get(name))
    return columns


def _steady(records: Sequence[dict[str, Any]]) -> list[float]:
    """Seconds to each evaluation of a stage, without compilation.

    Which run of several compiles is chance, and it compiles before its first evaluation: a step takes the median of
    the intervals between evaluations. Of one evaluation the time is as it was.
    """
    if len(records) < 2:
        return [record["stage_seconds"] for record in records]
    steps, seconds = ([record[name] for record in records] for name in ("stage_step", "stage_seconds"))
    step = float(np.median(np.diff(seconds) / np.diff(steps)))
    return [each * step for each in steps]


@dataclass(frozen=True)
class Target:
    """Where a training has got somewhere: the column of a curve, 1 for >= or -1 for <=, and the bound."""

    metric: str
    sign: int
    bound: float

    def reached(self, value: float | None) -> bool:
        return value is not None and self.sign * value >= self.sign * self.bound


def parse_target(text: str) -> Target:
    """``METRIC >= NUMBER`` or ``<=``, or ``sensitivity >= NUMBER where specificity >= NUMBER``.

    The latter is the largest sensitivity that any threshold has with at least that specificity on validation, mean
    over the findings: ``sensitivity_at_90`` for a specificity of 0.9. InputError for other text.
    """
    wanted, _, given = text.partition(" where ")
    found = re.fullmatch(r"\s*(\S.*?)\s*(>=|<=)\s*(\d*\.?\d+)\s*", wanted)
    at = re.fullmatch(r"\s*specificity\s*>=\s*(0?\.\d+)\s*", given)
    if found and not given:
        return Target(found[1], 1 if found[2] == ">=" else -1, float(found[3]))
    if found and at and (found[1], found[2]) == ("sensitivity", ">="):
        return Target(f"{AT_SPECIFICITY}{100 * float(at[1]):g}", 1, float(found[3]))
    raise InputError(
        f"target is {text!r}: write METRIC >= NUMBER, or sensitivity >= 0.8 where specificity >= 0.9"
    )


def to_target(curve: Columns, target: str) -> dict[str, float] | None:
    """Steps and seconds to the first evaluation that reaches ``target``; None: it was missed.

    InputError for a target that ``parse_target`` refuses, or of a metric that the curve has not.
    """
    aim = parse_target(target)
    if not curve["step"]:
        return None
    if aim.metric not in curve:
        raise InputError(f"target {target!r}: a curve has no {aim.metric}, it has {', '.join(curve)}")
    for step, seconds, value in zip(curve["step"], curve["seconds"], curve[aim.metric], strict=True):
        if aim.reached(value):
            return {"steps": step, "seconds": seconds}
    return None


def aimed(line: Mapping[str, Any], target: str) -> Mapping[str, Any]:
    """A line of a ledger with its time to ``target``, read from its curve: it may have been run with another one."""
    curve = line.get("curve") or {}
    if "to_target" not in line or parse_target(target).metric not in curve:
        return line
    return {**line, "to_target": to_target(curve, target)}


def unlearned(curve: Columns, criterion: Criterion) -> float | None:
    """How far the criterion's first metric is behind its best validation value at the end: 0 or more."""
    first = criterion.terms[0]
    sign = -1 if first.coefficient < 0 else 1
    values = [None if v is None else sign * v for v in curve.get(first.name, ())]
    known = [value for value in values if value is not None]
    if not known or values[-1] is None:
        return None
    return _short(max(known) - values[-1])


def sensitivity_at(specificity: float, seen: Watched) -> float | None:
    """The largest sensitivity at this specificity or a higher one on validation, mean over the findings."""
    held, negative = seen.splits.validation, seen.config.data.negative_class
    truth = one_against_rest(held.labels, len(held.classes))
    of_classes = np.asarray(sensitivity_at_specificity(truth, seen.kept, specificity, average="none"))
    findings = [c for c, name in enumerate(held.classes) if name != negative]
    return finite(macro_mean(of_classes[findings])[0])


def _short(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT}g}")
