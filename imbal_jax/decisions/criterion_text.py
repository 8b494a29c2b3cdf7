"""Parser of the criterion text: grammar, terms, constraints, clauses."""

import math
import re

from imbal_jax.decisions.at_points import RATES
from imbal_jax.decisions.criterion import AT_POINTS, TIE, Constraint, Criterion, LowerBound, Term
from imbal_jax.errors import InputError
from imbal_jax.metrics.summary import SUMMARY_METRICS

GRAMMAR = (
    "[NUMBER*]METRIC {+|- [NUMBER*]METRIC} [at operating points] [then METRIC] "
    "[where METRIC >=|<= NUMBER {and METRIC >=|<= NUMBER}] [smoothed COUNT] [within NUMBER standard errors], "
    "METRIC being NAME [lower bound NUMBER %]"
)

BOUNDED = ("sensitivity", "specificity", "auroc")
SHARES = (*SUMMARY_METRICS, "accuracy")  # from 0 to 1, and mcc from -1

_KEYWORDS = ("where", "and", "lower", "smoothed", "within", "at", "then")
_TOKEN = re.compile(
    r"""(?P<number>(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?(?![\w.]))
      | (?P<name>[A-Za-z_]\w*(/("[^"]+"|'[^']+'|[\w.\-]+))*)
      | (?P<sign>>=|<=|[-+*%])""",
    re.VERBOSE,
)


def parse_criterion(text: str) -> Criterion:
    """The criterion that ``text`` spells.

    A class's metric is spelled ``sensitivity/nodule``; quote the class where it holds anything but letters,
    digits, ``_``, ``.`` and ``-``, as in ``sensitivity/"no finding"``. Leave a space before a minus that
    follows a class. InputError, with the grammar, where the text does not follow it.

    >>> str(parse_criterion("specificity where sensitivity >= 0.95").constraints[0])
    'sensitivity >= 0.95'
    """
    tokens = _Tokens(text)
    terms = [_term(tokens, first=True)]
    while tokens.peek() in ("+", "-"):
        terms.append(_term(tokens, first=False))
    in_terms = list(tokens.bounds)
    if tokens.take("at"):
        tokens.expect("operating")
        tokens.expect("points")
        terms = [_at_points(term, text) for term in terms]
    if tokens.take("then"):
        terms.append(Term(TIE, _name(tokens)))
    constraints = []
    if tokens.take("where"):
        constraints.append(_constraint(tokens))
        while tokens.take("and"):
            constraints.append(_constraint(tokens))
    smoothed = _count(tokens) if tokens.take("smoothed") else 1
    within = _standard_errors(tokens) if tokens.take("within") else 0.0
    if tokens.peek() is not None:
        raise tokens.error()
    if within and any(term.name.endswith(AT_POINTS) for term in terms):
        raise InputError(
            f"criterion {text!r}: there is no standard error of rates at operating points: drop 'within'"
        )
    if within and in_terms:
        raise InputError(
            f"criterion {text!r} allows for chance twice in what is to be made large: "
            "keep the lower bound, or 'within', and drop the other"
        )
    found = tuple(dict.fromkeys(tokens.bounds))
    return Criterion(text, tuple(terms), tuple(constraints), smoothed, within, found)


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
            f"criterion {text!r} asks for {constraint}: {metric} is a share from {least:g} to 1, "
            f"{'and its lower bound is below 1' if bounded else 'such as 0.95'}{hint}"
        )
    return criterion


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


def _at_points(term: Term, text: str) -> Term:
    if term.name.partition("/")[0] not in RATES:
        raise InputError(
            f"criterion {text!r} reads {term.name!r} at operating points, where there are {', '.join(RATES)}"
        )
    return Term(term.coefficient, term.name + AT_POINTS)


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
