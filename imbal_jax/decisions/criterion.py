"""Which checkpoint is best, and when to stop: pure functions of the metrics of every evaluation.

A criterion is one line of text over the metrics of an evaluation; larger is better::

    f_score
    sensitivity + f_score
    0.5*auroc + sensitivity/nodule - loss
    specificity where sensitivity >= 0.95 and sensitivity/"no finding" <= 0.2

With few positives the best of many evaluations is the luckiest. Three clauses allow for that:

- ``auroc smoothed 3``: every metric, a constraint's too, is its mean over the last 3 evaluations. The first 2
  have no such mean and are never chosen; a run of fewer than 3 takes its last.
- ``auroc within 1 standard error``: of the evaluations at most so many standard errors below the best, which
  chance does not tell from it, the latest. It is the rule of Breiman, Friedman, Olshen and Stone
  (Classification and Regression Trees, 1984) that ties go to the simplest choice: here the end of the
  training, which a run that selects nothing takes. Where training goes on for too long that costs up to the
  margin. The standard error is that of one evaluation, more than that of a difference on the same cases.
- ``specificity where sensitivity lower bound 95 % >= 0.8``: the one-sided lower confidence bound, by patient (see
  ``bounds``), in place of the metric. Over the same cases the bound of a rate ranks as the rate does: it serves in
  constraints and sums.

Without ``within`` the earliest of equals is best; of evaluations that are equally far from satisfying the constraints
the latest. Whatever the clauses, the best evaluation is the last or the
one that was best before it, so a run keeps one best checkpoint; and a run that is resumed with its history
decides as the run that was never interrupted.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from imbal_jax.decisions.probabilities import one_against_rest
from imbal_jax.errors import InputError
from imbal_jax.metrics import bootstrap, delong, macro_mean
from imbal_jax.metrics.guarantees import patient_lower
from imbal_jax.metrics.summary import SUMMARY_METRICS

GRAMMAR = (
    "[NUMBER*]METRIC {+|- [NUMBER*]METRIC} [where METRIC >=|<= NUMBER {and METRIC >=|<= NUMBER}] "
    "[smoothed COUNT] [within NUMBER standard errors], METRIC being NAME [lower bound NUMBER %]"
)

# Every evaluation that violates a constraint scores at most FLOOR; every one that satisfies all, more.
FLOOR = -1e6

STANDARD_ERROR = "standard_error"  # of the terms' sum, in the history of a criterion with ``within``
BOUNDED = ("sensitivity", "specificity", "auroc")
SHARES = (*SUMMARY_METRICS, "accuracy")  # from 0 to 1, and mcc from -1

Metrics = Mapping[str, float | None]

_KEYWORDS = ("where", "and", "lower", "smoothed", "within")
_TOKEN = re.compile(
    r"""(?P<number>(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![\w.]))
      | (?P<name>[A-Za-z_]\w*(/("[^"]+"|'[^']+'|[\w.\-]+))*)
      | (?P<sign>>=|<=|[-+*%])""",
    re.VERBOSE,
)


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
        """How far the metric is on the wrong side of the bound; 0 on the right side."""
        return max(0.0, self.sign * (self.bound - float(metrics[self.name])))


@dataclass(frozen=True)
class LowerBound:
    """Of a metric, or of one class's: ``sensitivity/nodule``."""

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
        return tuple(dict.fromkeys(part.name for part in (*self.terms, *self.constraints)))

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
        values = [(term.coefficient, metrics[term.name]) for term in self.terms]
        return sum(c * (math.nan if value is None else float(value)) for c, value in values)

    def score(self, metrics: Metrics) -> float:
        """One number for one evaluation, larger is better.

        - A metric that is read is NaN (None in metrics.jsonl) or infinite, or the sum overflows: -inf.
        - Constraints, all satisfied: the sum of the terms, at least ``FLOOR`` + 1.
        - Constraints, some violated: ``FLOOR`` - the sum of the violations, so the nearest miss is the best.
          (Misses that differ by less than 1e-9 tie.)
        - No constraints: the sum of the terms.

        InputError for a metric that ``metrics`` lacks.
        """
        self.check(metrics)
        if any(metrics[name] is None or not math.isfinite(metrics[name]) for name in self.names):
            return -math.inf
        violations = [constraint.violation(metrics) for constraint in self.constraints]
        if any(violations):
            return FLOOR - sum(violations)
        value = self.value(metrics)
        if not math.isfinite(value):
            return -math.inf
        return max(value, FLOOR + 1) if self.constraints else value


# From a history: one mapping an evaluation, and nothing else, oldest first, with the metrics and "step"


def best_step(history: Sequence[Metrics], criterion: Criterion) -> int:
    """The ``"step"`` of the best evaluation. InputError if there is no evaluation, or it lacks a metric."""
    if not history:
        raise InputError("no evaluation to choose from: train until the first evaluation is done")
    evaluations = smooth(history, criterion)
    scores = [criterion.score(metrics) for metrics in evaluations]
    best = _highest(scores, criterion)
    floor = FLOOR if criterion.constraints else -math.inf
    if (
        criterion.constraints and -math.inf < scores[best] <= floor
    ):  # equally far from what is asked: trained longest
        best = max(n for n in range(best, len(scores)) if scores[n] == scores[best])
    error = evaluations[best].get(STANDARD_ERROR, math.nan)
    if scores[best] > floor and math.isfinite(error):
        least = scores[best] - criterion.within * error
        best = max(n for n in range(best, len(scores)) if scores[n] >= least and scores[n] > floor)
    return int(history[best]["step"])


def keep_value(history: Sequence[Metrics], criterion: Criterion) -> float:
    """What the newest evaluation's checkpoint is saved with: the largest of a run is that of the best."""
    newest = int(history[-1]["step"])
    return float(newest) if best_step(history, criterion) == newest else -math.inf


def should_stop(history: Sequence[Metrics], criterion: Criterion, patience: int) -> bool:
    """Whether the last ``patience`` evaluations, or more, have not bettered the highest score before them.

    A patience of 0 never stops. An evaluation that equals the best does not better it, so a run whose
    criterion is never defined stops after 1 + ``patience`` evaluations; ``within`` changes nothing here.
    """
    if patience < 0:
        raise InputError(f"patience={patience} must be 0 (never stop early) or more evaluations")
    if patience == 0 or not history:
        return False
    scores = [criterion.score(metrics) for metrics in smooth(history, criterion)]
    return len(history) - 1 - _highest(scores, criterion) >= patience


def smooth(history: Sequence[Metrics], criterion: Criterion) -> list[dict[str, float]]:
    """What the criterion reads of each evaluation: means over the last ``smoothed``, or as many as there are.

    NaN where one of them is undefined. InputError for a metric that an evaluation lacks.
    """
    names = (*criterion.names, *((STANDARD_ERROR,) if criterion.within else ()))
    for metrics in history:
        criterion.check(metrics)
        if criterion.within and STANDARD_ERROR not in metrics:
            raise InputError(
                f"the history has no {STANDARD_ERROR}, which {criterion.text!r} needs: train anew"
            )
    read = np.array([[metrics[name] for name in names] for metrics in history], np.float64)
    read[~np.isfinite(read)] = np.nan
    ends = range(1, len(history) + 1)
    means = [read[max(0, end - criterion.smoothed) : end].mean(axis=0) for end in ends]
    return [dict(zip(names, mean.tolist(), strict=True)) for mean in means]


def _highest(scores: Sequence[float], criterion: Criterion) -> int:
    """The place of the highest, of equals the first, among those of a whole mean; the last if there is none."""
    first = min(criterion.smoothed, len(scores)) - 1
    return first + int(np.argmax(scores[first:]))


# What is said of the choice


def unmet(history: Sequence[Metrics], criterion: Criterion, step: int | None = None) -> str:
    """What no checkpoint reached, in one line; empty where the chosen one satisfies every constraint.

    step: of the checkpoint that is used; None: the chosen one. Says too where the criterion is undefined in every
    evaluation, so that nothing was chosen.
    """
    if not history:
        return ""
    evaluations = smooth(history, criterion)
    steps = [int(metrics["step"]) for metrics in history]
    step = best_step(history, criterion) if step is None else step
    if step not in steps:
        return ""
    at = evaluations[steps.index(step)]
    scores = [criterion.score(metrics) for metrics in evaluations]
    if max(scores) == -math.inf:
        lacking = [name for name in criterion.names if not math.isfinite(at[name])]
        return (
            f"{' and '.join(lacking) or criterion.text} undefined on validation in every evaluation: nothing was "
            f"chosen by {criterion.text!r}; used is step {step:,}"
        )
    violated = [c for c in criterion.constraints if math.isnan(at[c.name]) or c.violation(at) > 0]
    if not violated:
        return ""
    whole = min(criterion.smoothed, len(history)) - 1  # the first of a whole mean
    wanted, had, alone = [], [], True
    for constraint in violated:
        values = [m[constraint.name] for m in evaluations[whole:] if math.isfinite(m[constraint.name])]
        best = max(values, key=lambda value: constraint.sign * value) if values else math.nan
        alone = alone and constraint.sign * (constraint.bound - best) > 0
        wanted.append(_written(constraint))
        had.append(_two_digits(best))
    if alone:
        reached = (
            f"no checkpoint reached {' or '.join(wanted)} on validation; the best had {' and '.join(had)}"
        )
    else:
        together = " and ".join(map(_written, criterion.constraints))
        reached = (
            f"no checkpoint reached {together} {'together ' * (len(criterion.constraints) > 1)}on validation"
        )
    value = " and ".join(f"{c.name} {_two_digits(at[c.name])}" for c in violated)
    return f"{reached}; chosen is step {step:,}, with {value}"


def choice_line(history: Sequence[Metrics], criterion: Criterion, step: int) -> str:
    """How the checkpoint of ``step`` was chosen, in one line."""
    return unmet(history, criterion, step) or f"best at step {step:,} by {criterion.text}"


def _two_digits(value: float) -> str:
    return f"{value:.3g}" if 0 < abs(value) < 0.01 else f"{value:.2f}"


def check_criterion(text: str) -> Criterion:
    """The criterion that ``text`` spells; InputError for a bound that no value, or every value, of a share satisfies.

    A share is from 0 to 1: ``sensitivity >= 95`` is refused, with 0.95 as the hint.
    """
    criterion = parse_criterion(text)
    for constraint in criterion.constraints:
        metric, bound = constraint.name.split(" ")[0].split("/")[0], constraint.bound
        least = -1.0 if metric == "mcc" else 0.0
        bounded = " lower bound " in constraint.name
        if metric not in SHARES or (least <= bound <= 1 and not (bounded and bound == 1)):
            continue
        hint = f", did you mean {round(bound / 100, 12):g}?" if 1 < bound <= 100 else ""
        raise InputError(
            f"criterion {text!r} asks for {_written(constraint)}: {metric} is a share from {least:g} to 1, "
            f"{'and its lower bound is below 1' if bounded else 'such as 0.95'}{hint}"
        )
    return criterion


def _written(constraint: Constraint) -> str:
    return f"{constraint.name} {'>=' if constraint.sign > 0 else '<='} {constraint.bound:g}"


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


# Chance: what an evaluation adds to the history for the criterion to read


def bounds(
    criterion: Criterion,
    labels: ArrayLike,
    scores: ArrayLike,
    classes: Sequence[str],
    *,
    negative_class: str | None = None,
    groups: ArrayLike | None = None,
) -> dict[str, float]:
    """The lower bounds that ``criterion`` reads, by name: one-sided, by patient, as those of the decision rules.

    Of a class's sensitivity or specificity that of ``metrics.guarantees``, which counts patients and not their
    images (``groups`` [N], whose an image is); of its AUROC that of DeLong, by patient. Of the macro metric the mean
    over the classes of interest, all but ``negative_class``: it is below the bound of the mean.
    InputError for a class that is not among ``classes``.
    """
    if not criterion.bounds:
        return {}
    labels, names = np.asarray(labels), list(classes)
    numbers = (
        np.arange(len(labels)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    )
    truth = one_against_rest(labels, len(names))
    one_label = labels.ndim == 1  # decided as ``classification_summary`` does
    called = (
        np.argmax(scores, axis=1)[:, None] == np.arange(len(names))
        if one_label
        else np.asarray(scores) >= 0.5
    )

    def of_class(metric: str, c: int, confidence: float) -> float:
        if metric == "auroc":
            two_sided = 2 * confidence - 1  # whose lower end it is
            return float(delong(labels, scores, groups=numbers, confidence=two_sided).low[c])
        positive = metric == "sensitivity"
        among = truth[:, c] == positive
        of = np.unique(numbers[among], return_inverse=True)[1]
        right = called[among, c] == positive
        return patient_lower(np.bincount(of, right), np.bincount(of), confidence)

    found = {}
    for bound in criterion.bounds:
        metric, _, name = bound.metric.partition("/")
        if name and name not in names:
            raise InputError(f"unknown class in {bound.name!r}: expected one of {', '.join(names)}")
        of_interest = [name] if name else [n for n in names if n != negative_class]
        values = [of_class(metric, names.index(n), bound.confidence) for n in of_interest]
        found[bound.name] = macro_mean(values)[0]
    return found


def standard_error(
    criterion: Criterion,
    measure: Callable[[np.ndarray, np.ndarray], Metrics],
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    samples: int = 100,
) -> dict[str, float]:
    """``{STANDARD_ERROR: of the sum of the terms}`` where ``criterion`` has ``within``, else nothing.

    Half the interval of 68 % of a bootstrap over patients (``groups`` [N]) of ``measure(labels, scores)``,
    the metrics of some cases, in the same ``samples`` replicates each time: 100 tell it to about a tenth.
    """
    if not criterion.within:
        return {}
    low, high = bootstrap(
        lambda *cases: criterion.value(measure(*cases)),
        labels,
        scores,
        groups=groups,
        samples=samples,
        confidence=float(2 * ndtr(1.0) - 1),
    )
    return {STANDARD_ERROR: float(high - low) / 2}


# Text


def parse_criterion(text: str) -> Criterion:
    """The criterion that ``text`` spells.

    A class's metric is spelled ``sensitivity/nodule``; quote the class where it holds anything but letters,
    digits, ``_``, ``.`` and ``-``, as in ``sensitivity/"no finding"``. Leave a space before a minus that
    follows a class. InputError, with the grammar, where the text does not follow it.
    """
    tokens = _Tokens(text)
    terms = [_term(tokens, first=True)]
    while tokens.peek() in ("+", "-"):
        terms.append(_term(tokens, first=False))
    in_terms = list(tokens.bounds)
    constraints = []
    if tokens.take("where"):
        constraints.append(_constraint(tokens))
        while tokens.take("and"):
            constraints.append(_constraint(tokens))
    smoothed = _count(tokens) if tokens.take("smoothed") else 1
    within = _standard_errors(tokens) if tokens.take("within") else 0.0
    if tokens.peek() is not None:
        raise tokens.error()
    if within and in_terms:
        raise InputError(
            f"criterion {text!r} allows for chance twice in what is to be made large: "
            "keep the lower bound, or 'within', and drop the other"
        )
    found = tuple(dict.fromkeys(tokens.bounds))
    return Criterion(text, tuple(terms), tuple(constraints), smoothed, within, found)


class _Tokens:
    """The words of a criterion, read from left to right, and the lower bounds met among them."""

    def __init__(self, text: str):
        self.text = text
        self.words: list[tuple[str, str]] = []
        self.bounds: list[LowerBound] = []
        at = 0
        while at < len(text.rstrip()):
            if text[at].isspace():
                at += 1
                continue
            match = _TOKEN.match(text, at)
            if match is None:
                self.words.append(("unknown", text[at]))
                raise self.error()
            self.words.append((match.lastgroup or "unknown", match.group()))
            at = match.end()
        self.words.reverse()

    def peek(self) -> str | None:
        return self.words[-1][1] if self.words else None

    def take(self, word: str) -> bool:
        """Moves past ``word`` if it comes next."""
        if self.peek() == word:
            self.words.pop()
            return True
        return False

    def expect(self, *words: str) -> None:
        """Moves past one of ``words``; InputError where another comes next."""
        if not any(self.take(word) for word in words):
            raise self.error()

    def take_kind(self, kind: str) -> str:
        if not self.words or self.words[-1][0] != kind or self.peek() in _KEYWORDS:
            raise self.error()
        return self.words.pop()[1]

    def error(self) -> InputError:
        found = "its end" if self.peek() is None else repr(self.peek())
        return InputError(f"criterion {self.text!r} is malformed at {found}: expected {GRAMMAR}")


def _term(tokens: _Tokens, *, first: bool) -> Term:
    sign = -1.0 if tokens.take("-") else 1.0
    if sign > 0 and not first:
        tokens.take("+")
    coefficient = 1.0
    if tokens.words and tokens.words[-1][0] == "number":
        coefficient = _number(tokens)
        tokens.expect("*")
    return Term(sign * coefficient, _name(tokens))


def _constraint(tokens: _Tokens) -> Constraint:
    name = _name(tokens)
    if tokens.peek() not in (">=", "<="):
        raise tokens.error()
    sign = 1 if tokens.take_kind("sign") == ">=" else -1
    negative = tokens.take("-")
    bound = -_number(tokens) if negative else _number(tokens)
    return Constraint(name, sign, bound)


def _count(tokens: _Tokens) -> int:
    number = _number(tokens)
    if number != int(number) or number < 1:
        raise InputError(f"criterion {tokens.text!r} is smoothed {number:g}: 1 or more whole evaluations")
    return int(number)


def _standard_errors(tokens: _Tokens) -> float:
    number = _number(tokens)
    if number <= 0:
        raise InputError(f"criterion {tokens.text!r} is within {number:g}: more than 0 standard errors")
    tokens.expect("standard")
    tokens.expect("error", "errors")
    return number


def _number(tokens: _Tokens) -> float:
    text = tokens.take_kind("number")
    if math.isinf(float(text)):
        raise InputError(f"criterion {tokens.text!r} is malformed at {text!r}: the number is too large")
    return float(text)


def _name(tokens: _Tokens) -> str:
    """A metric's name without the quotes around a class, ``sensitivity/no finding``, or that of its bound."""
    name = re.sub("/(\"([^\"]+)\"|'([^']+)')", lambda m: "/" + (m[2] or m[3]), tokens.take_kind("name"))
    if not tokens.take("lower"):
        return name
    tokens.expect("bound")
    percent = _number(tokens)
    tokens.expect("%")
    if name.partition("/")[0] not in BOUNDED:
        raise InputError(
            f"criterion {tokens.text!r} asks for a lower bound of {name!r}: "
            f"there is one of {', '.join(BOUNDED)}, or of a class's, such as sensitivity/CLASS"
        )
    if not 50 < percent < 100:
        hint = f", did you mean {100 * percent:g} %?" if 0.5 < percent < 1 else ""
        raise InputError(
            f"criterion {tokens.text!r} asks for a bound of {percent:g} %: above 50 and below 100{hint}"
        )
    tokens.bounds.append(LowerBound(name, percent / 100))
    return tokens.bounds[-1].name
