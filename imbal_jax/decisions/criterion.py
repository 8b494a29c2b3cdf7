"""A criterion: a weighted sum of metrics, made large under constraints, by which the best checkpoint is chosen.

It is one line of text over the metrics of an evaluation (``criterion_text``); larger is better::

    f_score
    sensitivity + f_score
    0.5*auroc + sensitivity/nodule - loss
    specificity where sensitivity >= 0.95 and sensitivity/"no finding" <= 0.2

``at operating points`` behind the sum reads its rates at the thresholds that validation chooses by the rules of
``deploy.points``, not at the most probable class (``at_points``), and ``then METRIC`` lets a metric decide between
equal sums::

    sensitivity + f_score at operating points then average_precision

With few positives the best of many evaluations is the luckiest. Three clauses allow for that:

- ``auroc smoothed 3``: every metric, a constraint's too, is its mean over the last 3 evaluations. The first 2
  have no such mean and are never chosen; a run of fewer than 3 takes its last.
- ``auroc within 1 standard error``: the latest of the evaluations that are at most so many standard errors below
  the best, a difference that chance explains. It is the rule of Breiman, Friedman, Olshen and Stone
  (Classification and Regression Trees, 1984) that ties go to the simplest choice: here the end of the
  training, which a run that selects nothing takes. Where training goes on for too long that costs up to the
  margin. The standard error is that of one evaluation, more than that of a difference on the same cases.
- ``specificity where sensitivity lower bound 95 % >= 0.8``: the one-sided lower confidence bound, by patient
  (``confidence.bounds``), in place of the metric. Over the same cases the bound of a rate ranks as the rate does: it
  serves in constraints and sums.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imbal_jax.errors import InputError

# Merit of an evaluation that violates a constraint: at most FLOOR; of one that satisfies all: more.
FLOOR = -1e6

AT_POINTS = " at operating points"  # ends the name of a rate that is read there
TIE = 1e-6  # of the metric behind ``then``: sums that differ by more are not equal

STANDARD_ERROR = "standard_error"  # history key: standard error of the sum of the terms, for ``within``

Metrics = Mapping[str, float | None]
Evaluation = Mapping[str, float]  # where an undefined metric is NaN, never None


@dataclass(frozen=True)
class Term:
    coefficient: float
    name: str


@dataclass(frozen=True)
class Constraint:
    """``name >= bound`` where ``sign`` is 1, ``name <= bound`` where it is -1."""

    name: str
    sign: int
    bound: float

    def violation(self, metrics: Metrics) -> float:
        """How far the metric is on the wrong side of the bound; 0 on the right side or where it is undefined."""
        return max(0.0, self.sign * (self.bound - defined(metrics[self.name])))

    def __str__(self) -> str:
        return f"{self.name} {'>=' if self.sign > 0 else '<='} {self.bound:g}"


@dataclass(frozen=True)
class LowerBound:
    """The lower confidence bound of a metric, or of one class's: ``sensitivity/nodule``."""

    metric: str
    confidence: float

    @property
    def name(self) -> str:
        """As the history and ``Term`` call it."""
        return f"{self.metric} lower bound {100 * self.confidence:g} %"


@dataclass(frozen=True)
class Criterion:
    """A weighted sum of metrics, to be made large, under constraints; made by ``parse_criterion``.

    smoothed: evaluations in the mean of a metric. within: standard errors below the best that count as equal.
    bounds: those among the names of the terms and constraints.
    """

    text: str
    terms: tuple[Term, ...]
    constraints: tuple[Constraint, ...] = ()
    smoothed: int = 1
    within: float = 0.0
    bounds: tuple[LowerBound, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that the criterion reads, each once."""
        read = [term.name for term in self.terms] + [constraint.name for constraint in self.constraints]
        return tuple(dict.fromkeys(read))

    def check(self, names: Iterable[str]) -> None:
        """InputError unless every metric that the criterion reads is among ``names``."""
        allowed = list(names)
        for name in self.names:
            if name not in allowed:
                raise InputError(
                    f"unknown metric {name!r} in the criterion {self.text!r}: "
                    f"expected one of {', '.join(allowed) or 'none'}"
                )

    def value(self, metrics: Metrics) -> float:
        """The sum of the terms, whatever the constraints; NaN where one is undefined."""
        return sum(term.coefficient * defined(metrics[term.name]) for term in self.terms)

    def merit(self, metrics: Metrics) -> float:
        """One number for one evaluation, larger is better.

        - A metric that is read is NaN (None in metrics.jsonl) or infinite, or the sum overflows: -inf.
        - Constraints, all satisfied: the sum of the terms, at least ``FLOOR`` + 1.
        - Constraints, some violated: ``FLOOR`` - the sum of the violations, so the nearest miss is the best.
          (Misses that differ by less than 1e-9 tie.)
        - No constraints: the sum of the terms.

        InputError for a metric that ``metrics`` lacks.
        """
        self.check(metrics)
        if not all(math.isfinite(defined(metrics[name])) for name in self.names):
            return -math.inf
        violations = [constraint.violation(metrics) for constraint in self.constraints]
        if any(violations):
            return FLOOR - sum(violations)
        value = self.value(metrics)
        if not math.isfinite(value):
            return -math.inf
        return max(value, FLOOR + 1) if self.constraints else value


def defined(value: float | None) -> float:
    """NaN for None, which is how JSON keeps it."""
    return math.nan if value is None else float(value)


def classes_read(name: str, cls: str, classes: Sequence[str], negative_class: str | None) -> list[int]:
    """Indices of the classes whose values make up a metric: ``cls``, or for "" all but ``negative_class``.

    name: the metric as it is spelled, for the InputError where ``cls`` is no class.
    """
    if cls and cls not in classes:
        raise InputError(f"unknown class in {name!r}: expected one of {', '.join(classes)}")
    return [c for c, each in enumerate(classes) if (each == cls if cls else each != negative_class)]


def rules_from(criterion: Criterion) -> dict[str, str]:
    """The operating points that the constraints ask for: class, or "" for all, -> the rule.

    A constraint ``sensitivity >= 0.95`` (or specificity, of a class, or of its lower bound) is what the user wants
    where the network is used, so it is the rule of the threshold too. The first of a class counts.
    """
    lower = {bound.name: bound for bound in criterion.bounds}
    rules: dict[str, str] = {}
    for constraint in criterion.constraints:
        bound = lower.get(constraint.name)
        rate, _, name = (bound.metric if bound else constraint.name).partition("/")
        if constraint.sign < 0 or rate not in ("sensitivity", "specificity") or constraint.bound <= 0:
            continue
        sure = f" with {100 * bound.confidence:g} % confidence" if bound else ""
        rules.setdefault(name, f"{rate} >= {constraint.bound!r}{sure}")
    return rules
