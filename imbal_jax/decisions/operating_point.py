"""Operating points: a threshold chosen by a rule on validation cases, with the rates that it reached.

Rules are lines of text such as ``sensitivity >= 0.95 with 95 % confidence``: see ``threshold_rules``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.decisions.probabilities import prevalences, sigmoid_scores
from imbal_jax.decisions.threshold_rules import Rule, parse_rule, threshold_curve
from imbal_jax.errors import InputError
from imbal_jax.metrics.labels import check, classes_apart, is_exclusive, one_finding


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, the rule that chose it, and the rates on the cases on which it was chosen.

    n_positive, n_negative: number of these cases. positive_patients, negative_patients: number of their patients;
    None where not known.
    """

    threshold: float
    rule: str
    sensitivity: float
    specificity: float
    n_positive: int
    n_negative: int
    positive_patients: int | None = None
    negative_patients: int | None = None

    def decide(self, scores: ArrayLike) -> np.ndarray:
        """bool, the shape of the scores: score >= threshold."""
        return np.asarray(scores) >= self.threshold

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "OperatingPoint":
        """InputError where a value is missing or unknown."""
        try:
            return OperatingPoint(**values)
        except TypeError as error:
            raise InputError(f"operating point {dict(values)} is damaged: {error}") from None


def choose_threshold(
    labels: ArrayLike, scores: ArrayLike, rule: str | Rule, groups: ArrayLike | None = None
) -> OperatingPoint:
    """The operating point of one finding.

    Args:
      labels: [N], 1 with the finding, 0 without, -1 unknown (left out).
      scores: [N], larger for more suspicious; or [N, 2], the probabilities of two classes, of which the
        second is the finding.
      rule: as ``parse_rule`` reads it, or a rule.
      groups: [N], the patient of each case: what a rule promises "with 95 % confidence" is a one-sided lower bound
        that counts patients. None: each case is a patient of its own.

    Raises:
      InputError: a malformed rule; no positive or no negative; a rule that the cases cannot satisfy.
      ValueError: labels or scores of other values or shapes.

    >>> labels, scores = [0, 0, 0, 1, 1], [0.1, 0.4, 0.6, 0.5, 0.9]
    >>> point = choose_threshold(labels, scores, "sensitivity >= 0.9")
    >>> print(point.threshold, point.sensitivity, point.specificity)
    0.5 1.0 0.667
    """
    rule = parse_rule(rule) if isinstance(rule, str) else rule
    values = np.asarray(scores)
    if values.ndim == 2 and values.shape[1] == 2 and is_exclusive(labels):
        values = values[:, 1]
    curve = threshold_curve(labels, values, groups)
    _check_both(curve.positives, curve.negatives, "a threshold")
    at = rule.choose(curve)
    return OperatingPoint(
        threshold=float(curve.thresholds[at]),
        rule=str(rule),
        sensitivity=float(curve.hits[at] / curve.positives),
        specificity=float((curve.negatives - curve.false_alarms[at]) / curve.negatives),
        n_positive=curve.positives,
        n_negative=curve.negatives,
        positive_patients=None if groups is None else curve.positive.patients,
        negative_patients=None if groups is None else curve.negative.patients,
    )


def choose_thresholds(
    labels: ArrayLike,
    scores: ArrayLike,
    rules: str | Rule | Sequence[str | Rule],
    groups: ArrayLike | None = None,
) -> tuple[OperatingPoint, ...]:
    """The operating point of each of many labels, or of each class against the rest.

    Args:
      labels: [N, L], 1, 0 or -1 each; or [N], 0 to C - 1, or -1 for unknown.
      scores: [N, L] or [N, C].
      rules: one for all, or one for each column of the scores.
      groups: [N], as for ``choose_threshold``.

    Raises: as ``choose_threshold``; the message names the column.
    """
    shape = np.shape(scores)
    if len(shape) != 2 or np.shape(labels) not in (shape, shape[:1]):
        raise ValueError(
            f"labels {list(np.shape(labels))} do not fit scores {list(shape)}: "
            "expected [N, L] with [N, L], or [N] with [N, C]"
        )
    if groups is not None and np.shape(groups) != shape[:1]:
        raise ValueError(f"groups {list(np.shape(groups))} must be one a case, {list(shape[:1])}")
    truths, values = classes_apart(labels, scores)
    columns = shape[1]
    if isinstance(rules, str | Rule):
        rules = [rules] * columns
    if len(rules) != columns:
        raise ValueError(f"{len(rules)} rules do not fit {columns} columns of scores: give one, or one each")
    points = []
    for c, rule in enumerate(rules):
        truth = truths[:, c]
        known = truth >= 0  # a column alone may lack a 0
        try:
            own = None if groups is None else np.asarray(groups)[known]
            points.append(choose_threshold(truth[known], values[known, c], rule, own))
        except ValueError as error:
            raise type(error)(f"column {c}: {error}") from None
    return tuple(points)


def decide(scores: ArrayLike, points: Sequence[OperatingPoint], negative: int | None = None) -> np.ndarray:
    """bool [N, C]: which of C findings each case is called; scores [N, C], a point a column.

    negative: the column of the class that is no finding, called where no other is; None: there is none such.
    """
    scores = np.asarray(scores)
    called = scores >= np.array([point.threshold for point in points])
    if negative is not None:
        others = np.arange(called.shape[1]) != negative
        called[:, negative] = ~called[:, others].any(axis=1)
    return called


# Value of decisions


class PredictiveValues(NamedTuple):
    """P(finding | called positive) and P(no finding | called negative); NaN where nobody is called so."""

    ppv: np.ndarray
    npv: np.ndarray

    @property
    def number_needed_to_review(self) -> np.ndarray:
        """1 / PPV: the cases called positive for each one that has the finding; infinite at a PPV of 0."""
        with np.errstate(divide="ignore"):
            return 1 / self.ppv


def predictive_values(
    sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike
) -> PredictiveValues:
    """Bayes' rule: PPV = s q / (s q + (1 - c)(1 - q)), NPV = c (1 - q) / (c (1 - q) + (1 - s) q).

    Args:
      sensitivity, specificity, prevalence: s, c, q, from 0 to 1, of shapes that broadcast.

    Returns:
      PredictiveValues, float64 of the common shape; ``ppv, npv = predictive_values(...)``.

    Raises:
      ValueError: a value outside 0 to 1.

    >>> predictive_values(sensitivity=0.9, specificity=0.9, prevalence=0.01).ppv  # 0.009 / 0.108
    np.float64(0.083)
    """
    values = {"sensitivity": sensitivity, "specificity": specificity, "prevalence": prevalence}
    arrays = {name: np.asarray(value, np.float64) for name, value in values.items()}
    for name, array in arrays.items():
        check(name, array, (array >= 0) & (array <= 1), "a share from 0 to 1")
    s, c, q = arrays.values()
    hit, missed, clear, alarm = s * q, (1 - s) * q, c * (1 - q), (1 - c) * (1 - q)
    with np.errstate(invalid="ignore"):
        return PredictiveValues(hit / (hit + alarm), clear / (clear + missed))


class NetBenefit(NamedTuple):
    """A decision curve, in true positives a case; calling nobody has 0."""

    thresholds: np.ndarray  # [T]
    model: np.ndarray  # [T], of calling those whose score reaches the threshold
    treat_all: np.ndarray  # [T], of calling everybody


def net_benefit(
    labels: ArrayLike, scores: ArrayLike, thresholds: ArrayLike, prevalence: float | None = None
) -> NetBenefit:
    """The decision curve s q - (1 - c)(1 - q) t / (1 - t) (Vickers and Elkin, Med Decis Making 2006).

    s and c are sensitivity and specificity at the threshold t: the probability at which one would just call
    a case positive, so that a miss is worth (1 - t) / t false alarms. Calling everybody has s = 1, c = 0.

    Args:
      labels: [N], 1 with the finding, 0 without, -1 unknown (left out).
      scores: [N], probabilities that hold at the prevalence q: correct them for it before
        (``prior_shift.correct_prevalence``).
      thresholds: [T], t, 0 or above and below 1.
      prevalence: q, in (0, 1); None for that of the cases, where it is TP / N - FP / N t / (1 - t).

    Raises:
      InputError: no positive or no negative.
      ValueError: labels, scores, thresholds or a prevalence of other values or shapes.
    """
    positive, negative = (np.sort(sigmoid_scores(side)) for side in one_finding(labels, scores))
    _check_both(positive.size, negative.size, "a net benefit")
    t = np.asarray(thresholds, np.float64)
    if t.ndim != 1:
        raise ValueError(f"thresholds have shape {list(t.shape)}, expected [T]")
    check("thresholds", t, (t >= 0) & (t < 1), "0 or above and below 1")
    if prevalence is None:
        q = positive.size / (positive.size + negative.size)
    else:
        q = float(prevalences("prevalence", prevalence))
    sensitivity = 1 - np.searchsorted(positive, t) / positive.size
    false_alarms = 1 - np.searchsorted(negative, t) / negative.size
    harm = (1 - q) * t / (1 - t)
    return NetBenefit(t, sensitivity * q - false_alarms * harm, q - harm)


def _check_both(positives: int, negatives: int, what: str) -> None:
    if not (positives and negatives):
        raise InputError(f"{what} needs positives and negatives: there are {positives} and {negatives}")
