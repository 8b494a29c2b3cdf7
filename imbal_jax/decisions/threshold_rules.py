"""Threshold rules, each one line of text::

    sensitivity >= 0.95                         the largest threshold that reaches it
    specificity >= 0.9                          the smallest threshold that reaches it
    sensitivity >= 0.95 with 95 % confidence    the same, of the one-sided lower bound, which counts patients
    youden                                      largest sensitivity + specificity - 1 (Youden 1950)
    max f2                                      largest F_beta, here with beta = 2
    cost 20:1 at prevalence 0.01                least expected cost, a miss costing 20 false alarms;
                                                without "at prevalence", at that of the cases given

A case is called positive where score >= threshold. Thresholds are taken at observed scores, equal scores fall
on the same side, and of thresholds that the last three rules value equally the lowest is taken, which misses
least.

With a confidence, the promise covers new cases of new patients too, although the threshold was chosen on these. With
one image a patient the bound is that of Clopper and Pearson (1934), and among new cases the sensitivity at the k-th
highest score of n positives has the distribution Beta(k, n - k + 1) (Wilks 1941), of which the bound for k of n is a
quantile; ties only add to it. With several images a patient the bound counts patients (``metrics.guarantees``).
"Confidence" is one-sided here and in the lower bounds of ``--select``; the intervals in tables are two-sided.
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.errors import InputError
from imbal_jax.metrics.clusters import patient_numbers
from imbal_jax.metrics.guarantees import clopper_pearson_lower, patient_lower, shows
from imbal_jax.metrics.labels import one_finding

GRAMMAR = (
    "'sensitivity >= NUMBER' or 'specificity >= NUMBER', either one 'with NUMBER % confidence'; 'youden'; "
    "'max fBETA'; 'cost NUMBER:NUMBER', also 'at prevalence NUMBER'"
)


class Side(NamedTuple):
    """The positives, or the negatives: scores [n], ascending, and their patients, int [n], 0 to patients - 1."""

    scores: np.ndarray
    of: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """int [G], of each patient."""
        return np.bincount(self.of)

    @property
    def patients(self) -> int:
        return len(self.images)


class Curve(NamedTuple):
    """True and false positives at each threshold, the distinct scores in ascending order."""

    thresholds: np.ndarray  # [T]
    hits: np.ndarray  # [T], positives at or above it
    false_alarms: np.ndarray  # [T], negatives at or above it
    positive: Side
    negative: Side

    @property
    def positives(self) -> int:
        return len(self.positive.scores)

    @property
    def negatives(self) -> int:
        return len(self.negative.scores)


def threshold_curve(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> Curve:
    """The counts of every threshold.

    labels: [N], 1, 0, or -1 for unknown (left out). scores: [N], finite. groups: [N], the patient of each case;
    None: each case is a patient of its own.
    Raises ValueError on other values or shapes.
    """
    values = one_finding(labels, scores)
    labels = np.asarray(labels)
    positive, negative = (
        _side(side, None if groups is None else patient_numbers(groups, labels == truth))
        for side, truth in zip(values, (1, 0), strict=True)
    )
    thresholds = np.unique(np.concatenate([positive.scores, negative.scores]))
    hits = positive.scores.size - np.searchsorted(positive.scores, thresholds)
    false_alarms = negative.scores.size - np.searchsorted(negative.scores, thresholds)
    return Curve(thresholds, hits, false_alarms, positive, negative)


def _side(scores: np.ndarray, of: np.ndarray | None) -> Side:
    order = np.argsort(scores, kind="stable")
    return Side(scores[order], np.arange(scores.size) if of is None else of[order])


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
            if self.confidence < 0.01:
                per_cent, meant = (_plain(round(factor * self.confidence, 10)) for factor in (100, 10_000))
                raise InputError(
                    f"rule '{self}': a confidence of {per_cent} % promises nothing: did you mean {meant} %?"
                )
        sure = self.confidence is not None  # a target of 1 cannot be shown
        _check_range(self, "target", self.target, 0 < self.target < 1 or (self.target == 1 and not sure))

    def choose(self, curve: Curve) -> int:
        sensitivity = self.rate == "sensitivity"
        side = curve.positive if sensitivity else curve.negative
        trials = len(side.scores)
        right = curve.hits if sensitivity else trials - curve.false_alarms
        self.check_reachable(side.images)
        if self.confidence is None:
            enough = np.asarray(right / trials >= self.target)
        elif side.patients == trials:
            enough = np.asarray(clopper_pearson_lower(right, trials, self.confidence) >= self.target)
        else:
            enough = self._shown(side, curve.thresholds, self.confidence)
        places = np.flatnonzero(enough)
        if not places.size:  # never of a sensitivity: the lowest threshold finds every positive
            raise InputError(
                f"{self} is out of reach: {trials - right[-1]} of {trials} negatives score as high as the "
                f"highest score, {curve.thresholds[-1]:g}, where it is {right[-1] / trials:.4g}"
            )
        return int(places[-1] if sensitivity else places[0])

    def _shown(self, side: Side, thresholds: np.ndarray, confidence: float) -> np.ndarray:
        """bool [T], where the bound by patient reaches the target; it is monotone, so bisection finds the edge."""
        images, sensitivity = side.images, self.rate == "sensitivity"

        def shown(at: int) -> bool:
            below = np.searchsorted(side.scores, thresholds[at])
            of = side.of[below:] if sensitivity else side.of[:below]
            return shows(np.bincount(of, minlength=len(images)), images, self.target, confidence)

        first, last = 0, len(thresholds)  # how many thresholds show it, counted from the safest
        while first < last:
            middle = (first + last) // 2
            if shown(middle if sensitivity else len(thresholds) - 1 - middle):
                first = middle + 1
            else:
                last = middle
        places = np.arange(len(thresholds))
        return places < first if sensitivity else places >= len(thresholds) - first

    def check_reachable(self, images: ArrayLike) -> None:
        """InputError where the bound would miss the target even if every case were decided correctly.

        images: int [G], of each patient; a number: so many patients of one image.
        """
        if self.confidence is None:
            return
        held = np.asarray(images)
        held = np.ones(int(held), int) if held.ndim == 0 else held
        bound = patient_lower(held, held, self.confidence)
        if bound >= self.target:
            return
        needed = math.ceil(math.log1p(-self.confidence) / math.log(self.target) - 1e-9)
        side, count = "positive" if self.rate == "sensitivity" else "negative", len(held)
        several = bool(held.sum() > count)
        unit = f"{side} patients" if several else f"{side}s"
        given = f"{count:,} {unit}" + f" ({held.sum():,} images)" * several
        reached = "undefined" if math.isnan(bound) else f"{bound:.4g} even if all are called correctly"
        unequal = " of equally many images" if len(set(held.tolist())) > 1 else ""
        raise InputError(
            f"{given} cannot show {self}: the lower bound{', by patient,' if several else ''} is {reached}; it takes "
            f"{needed} {unit}{unequal}, a lower target or less confidence"
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
        share = name in ("target", "prevalence") and 1 < value < 100
        hint = f": a share, did you mean {_plain(round(value / 100, 12))}?" if share else ""
        raise InputError(f"rule '{rule}': the {name}, {_plain(value)}, is out of range{hint}")
