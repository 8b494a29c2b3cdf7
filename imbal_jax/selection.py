"""Which checkpoint is best, and when to stop: pure functions of the metrics of every evaluation.

A criterion is one line of text over the metrics of an evaluation; larger is better::

    f_score
    sensitivity + f_score
    0.5*auroc + sensitivity/nodule - loss
    specificity where sensitivity >= 0.95 and sensitivity/"no finding" <= 0.2

A run that is resumed with its history decides as the run that was never interrupted.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from imbal_jax.errors import InputError

GRAMMAR = "[NUMBER*]NAME {+|- [NUMBER*]NAME} [where NAME >=|<= NUMBER {and NAME >=|<= NUMBER}]"

# Every evaluation that violates a constraint scores at most FLOOR; every one that satisfies all, more.
FLOOR = -1e6

_TOKEN = re.compile(
    r"""(?P<number>(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![\w.]))
      | (?P<name>[A-Za-z_]\w*(/("[^"]+"|'[^']+'|[\w.\-]+))*)
      | (?P<sign>>=|<=|[-+*])""",
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

    def violation(self, metrics: Mapping[str, float]) -> float:
        """How far the metric is on the wrong side of the bound; 0 on the right side."""
        return max(0.0, self.sign * (self.bound - float(metrics[self.name])))


@dataclass(frozen=True)
class Criterion:
    """A weighted sum of metrics, to be made large, under constraints; made by ``parse_criterion``."""

    text: str
    terms: tuple[Term, ...]
    constraints: tuple[Constraint, ...] = ()

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

    def score(self, metrics: Mapping[str, float | None]) -> float:
        """One number, larger is better; Orbax takes it as ``best_fn``.

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
        value = sum(term.coefficient * float(metrics[term.name]) for term in self.terms)
        if not math.isfinite(value):
            return -math.inf
        return max(value, FLOOR + 1) if self.constraints else value


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
    constraints = []
    if tokens.take("where"):
        constraints.append(_constraint(tokens))
        while tokens.take("and"):
            constraints.append(_constraint(tokens))
    if tokens.peek() is not None:
        raise tokens.error()
    return Criterion(text, tuple(terms), tuple(constraints))


def best_step(history: Sequence[Mapping[str, float | None]], criterion: Criterion) -> int:
    """The ``"step"`` of the best evaluation; of equals the earliest. InputError if there is none.

    ``history``: one mapping an evaluation, and nothing else, oldest first, with the metrics and ``"step"``.
    """
    if not history:
        raise InputError("no evaluation to choose from: train until the first evaluation is done")
    return int(history[_best(history, criterion)]["step"])


def should_stop(history: Sequence[Mapping[str, float | None]], criterion: Criterion, patience: int) -> bool:
    """Whether the last ``patience`` evaluations, or more, have not bettered the best before them.

    A patience of 0 never stops. An evaluation that equals the best does not better it, so a run whose
    criterion is never defined stops after 1 + ``patience`` evaluations.
    """
    if patience < 0:
        raise InputError(f"patience={patience} must be 0 (never stop early) or more evaluations")
    if patience == 0 or not history:
        return False
    return len(history) - 1 - _best(history, criterion) >= patience


def _best(history: Sequence[Mapping[str, float | None]], criterion: Criterion) -> int:
    scores = [criterion.score(metrics) for metrics in history]
    return scores.index(max(scores))


class _Tokens:
    """The words of a criterion, read from left to right."""

    def __init__(self, text: str):
        self.text = text
        self.words: list[tuple[str, str]] = []
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

    def take_kind(self, kind: str) -> str:
        if not self.words or self.words[-1][0] != kind or self.peek() in ("where", "and"):
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
        if not tokens.take("*"):
            raise tokens.error()
    return Term(sign * coefficient, _name(tokens))


def _constraint(tokens: _Tokens) -> Constraint:
    name = _name(tokens)
    if tokens.peek() not in (">=", "<="):
        raise tokens.error()
    sign = 1 if tokens.take_kind("sign") == ">=" else -1
    negative = tokens.take("-")
    bound = _number(tokens)
    return Constraint(name, sign, -bound if negative else bound)


def _number(tokens: _Tokens) -> float:
    text = tokens.take_kind("number")
    if math.isinf(float(text)):
        raise InputError(f"criterion {tokens.text!r} is malformed at {text!r}: the number is too large")
    return float(text)


def _name(tokens: _Tokens) -> str:
    """A metric's name without the quotes around a class: ``sensitivity/no finding``."""
    return re.sub("/(\"([^\"]+)\"|'([^']+)')", lambda m: "/" + (m[2] or m[3]), tokens.take_kind("name"))
