"""Rules that choose a threshold, each one line of text::

    sensitivity >= 0.95                         the largest threshold that reaches it
    specificity >= 0.9                          the smallest threshold that reaches it
    sensitivity >= 0.95 with 95 % confidence    the same, of the lower bound of Clopper and Pearson (1934)
    youden                                      largest sensitivity + specificity - 1 (Youden 1950)
    max f2                                      largest F_beta, here with beta = 2
    cost 20:1 at prevalence 0.01                least expected cost, a miss costing 20 false alarms;
                                                without "at prevalence", at that of the cases given

A case is called positive where score >= threshold. Thresholds are taken at observed scores, equal scores fall
on the same side, and of thresholds that the last three rules value equally the lowest is taken, which misses
least.

With a confidence, the promise covers new cases too, although the threshold was chosen on these: among new
cases the sensitivity at the k-th highest score of n positives has the distribution Beta(k, n - k + 1) (Wilks
1941), of which the Clopper-Pearson bound for k of n is a quantile. Ties only add to it.
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from imbal_jax.errors import InputError
from imbal_jax.probabilities import one_finding

GRAMMAR = (
    "'sensitivity >= NUMBER' or 'specificity >= NUMBER', either one 'with NUMBER % confidence'; 'youden'; "
    "'max fBETA'; 'cost NUMBER:NUMBER', also 'at prevalence NUMBER'"
)


class Curve(NamedTuple):
    """What every threshold reaches: counts at each distinct score, ascending."""

    thresholds: np.ndarray  # [T]
    hits: np.ndarray  # [T], positives at or above it
    false_alarms: np.ndarray  # [T], negatives at or above it
    positives: int
    negatives: int


def threshold_curve(labels: ArrayLike, scores: ArrayLike) -> Curve:
    """The counts of every threshold.

    labels: [N], 1, 0, or -1 for unknown (left out). scores: [N], finite.
    Raises ValueError on other values or shapes.
    """
    positive, negative = (np.sort(side) for side in one_finding(labels, scores))
    thresholds = np.unique(np.concatenate([positive, negative]))
    hits = positive.size - np.searchsorted(positive, thresholds)
    false_alarms = negative.size - np.searchsorted(negative, thresholds)
    return Curve(thresholds, hits, false_alarms, positive.size, negative.size)


# Rules: each chooses an index of a curve


@dataclass(frozen=True)
class AtLeast:
    """Among thresholds whose rate, or its lower bound, reaches the target: the best in the other rate."""

    rate: str  # "sensitivity" or "specificity"
    target: float
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.rate not in ("sensitivity", "specificity"):
            raise InputError(f"rule of the rate {self.rate!r}: expected sensitivity or specificity")
        if self.confidence is not None:
            _check_range(self, "confidence", self.confidence, 0 < self.confidence < 1)
        sure = self.confidence is not None  # of 1, nobody can be
        _check_range(self, "target", self.target, 0 < self.target < 1 or (self.target == 1 and not sure))

    def choose(self, curve: Curve) -> int:
        sensitivity = self.rate == "sensitivity"
        trials = curve.positives if sensitivity else curve.negatives
        right = curve.hits if sensitivity else trials - curve.false_alarms
        if self.confidence is None:
            reached = right / trials
        else:
            self.check_reachable(trials)
            reached = clopper_pearson_lower(right, trials, self.confidence)
        enough = np.flatnonzero(reached >= self.target)
        if not enough.size:  # never of a sensitivity: the lowest threshold finds every positive
            raise InputError(
                f"{self} is out of reach: {trials - right[-1]} of {trials} negatives score as high as the "
                f"highest score, {curve.thresholds[-1]:g}, where it is {reached[-1]:.4g}"
            )
        return int(enough[-1] if sensitivity else enough[0])

    def check_reachable(self, trials: int) -> None:
        """InputError where even ``trials`` cases that are all right could not show it."""
        if self.confidence is None:
            return
        bound = float(clopper_pearson_lower(trials, trials, self.confidence))
        if bound < self.target:
            needed = math.ceil(math.log1p(-self.confidence) / math.log(self.target) - 1e-9)
            cases = "positives" if self.rate == "sensitivity" else "negatives"
            raise InputError(
                f"{trials} {cases} cannot show {self}: the lower bound is {bound:.4g} even where all are "
                f"right; it takes {needed} {cases}, a lower target or less confidence"
            )

    def __str__(self) -> str:
        text = f"{self.rate} >= {_plain(self.target)}"
        if self.confidence is None:
            return text
        return f"{text} with {_plain(round(100 * self.confidence, 10))} % confidence"


@dataclass(frozen=True)
class Youden:
    """The largest sensitivity + specificity - 1."""

    def choose(self, curve: Curve) -> int:
        return int(np.argmax(curve.hits * curve.negatives - curve.false_alarms * curve.positives))

    def __str__(self) -> str:
        return "youden"


@dataclass(frozen=True)
class MaxFBeta:
    """The largest (1 + b^2) TP / (b^2 P + TP + FP)."""

    beta: float

    def __post_init__(self) -> None:
        _check_range(self, "beta", self.beta, 0 < self.beta < math.inf)

    def choose(self, curve: Curve) -> int:
        called = curve.hits + curve.false_alarms
        return int(np.argmax(curve.hits / (self.beta**2 * curve.positives + called)))

    def __str__(self) -> str:
        return f"max f{_plain(self.beta)}"


@dataclass(frozen=True)
class LeastCost:
    """The least r q (1 - sensitivity) + (1 - q) (1 - specificity), a miss costing r false alarms."""

    ratio: float
    prevalence: float | None = None

    def __post_init__(self) -> None:
        _check_range(self, "cost of a miss", self.ratio, 0 < self.ratio < math.inf)
        if self.prevalence is not None:
            _check_range(self, "prevalence", self.prevalence, 0 < self.prevalence < 1)

    def choose(self, curve: Curve) -> int:
        cases = curve.positives + curve.negatives
        prevalence = curve.positives / cases if self.prevalence is None else self.prevalence
        missed = (curve.positives - curve.hits) / curve.positives
        cost = self.ratio * prevalence * missed + (1 - prevalence) * curve.false_alarms / curve.negatives
        best = int(np.argmin(cost))
        if cost[best] > self.ratio * prevalence:
            raise InputError(
                f"{self} finds no threshold worth its false alarms: the best costs {cost[best]:.4g} a case, "
                f"calling nobody costs {self.ratio * prevalence:.4g} (prevalence {prevalence:.4g})"
            )
        return best

    def __str__(self) -> str:
        where = "" if self.prevalence is None else f" at prevalence {_plain(self.prevalence)}"
        return f"cost {_plain(self.ratio)}:1{where}"


Rule = AtLeast | Youden | MaxFBeta | LeastCost

_NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_AT_LEAST = re.compile(rf"(sensitivity|specificity) ?>= ?{_NUMBER}(?: with {_NUMBER} ?% confidence)?")
_F_BETA = re.compile(rf"max f_?{_NUMBER}")
_COST = re.compile(rf"cost {_NUMBER} ?: ?{_NUMBER}(?: at prevalence {_NUMBER})?")


def parse_rule(text: str) -> Rule:
    """The rule that ``text`` spells, as the module's docstring shows, in any case; ``str`` of it spells it again.

    Raises InputError, with the grammar, where the text does not follow it, and for a target, a confidence, a
    beta, a cost or a prevalence out of range.
    """
    words = " ".join(text.lower().split())
    if words == "youden":
        return Youden()
    if match := _AT_LEAST.fullmatch(words):
        confidence = None if match[3] is None else round(float(match[3]) / 100, 14)
        return AtLeast(match[1], float(match[2]), confidence)
    if match := _F_BETA.fullmatch(words):
        return MaxFBeta(float(match[1]))
    if match := _COST.fullmatch(words):
        alarm = float(match[2])
        if not 0 < alarm < math.inf:
            raise InputError(f"rule {text!r}: the cost of a false alarm, {match[2]}, is out of range")
        return LeastCost(float(match[1]) / alarm, None if match[3] is None else float(match[3]))
    raise InputError(f"rule {text!r} is malformed: expected {GRAMMAR}")


def _plain(value: float) -> str:
    """The shortest text that reads as ``value``: 20, 0.95."""
    return repr(float(value)).removesuffix(".0")


def _check_range(rule: object, name: str, value: float, allowed: bool) -> None:
    if not allowed:
        raise InputError(f"rule '{rule}': the {name}, {_plain(value)}, is out of range")


def clopper_pearson_lower(successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95) -> np.ndarray:
    """The lower bound of a proportion: the 1 - confidence quantile of Beta(k, n - k + 1); 0 at k = 0.

    Clopper and Pearson (Biometrika 1934): with at least this confidence the true proportion is not below it.
    successes, trials: k of n, whole numbers of any shapes that broadcast. Returns float64.
    """
    successes, trials = np.broadcast_arrays(np.asarray(successes), np.asarray(trials))
    some = successes > 0
    k = np.where(some, successes, 1)
    return np.where(some, betaincinv(k, np.maximum(trials - k + 1, 1), 1 - confidence), 0.0)
