"""Threshold moving: class multipliers, chosen on validation cases, that shift the argmax.

The decision argmax_c p_c t_c trades the classes against each other without training again. On probabilities
that are right, t_c = 1 / prior_c is best for balanced accuracy (Provost, AAAI 2000 workshop; Collell et al.,
Neurocomputing 2018); on those of a network, and for other objectives, other t are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax import metrics
from imbal_jax.decisions.probabilities import softmax_scores
from imbal_jax.metrics.labels import known_cases

# Per class: (hits, cases decided for it, cases that it has) -> a number; arrays of one shape.
Term = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Objective(NamedTuple):
    terms: tuple[tuple[float, Term], ...]  # (weight, term), summed over the classes that have cases
    metric: Callable[..., Any]  # the objective, which increases with the sum


OBJECTIVES = {
    "balanced_accuracy": Objective(
        ((1.0, lambda hits, decided, cases: hits / cases),),
        metrics.balanced_accuracy,
    ),
    "f_score": Objective(
        ((1.0, lambda hits, decided, cases: 2 * hits / (cases + decided)),),
        metrics.f_beta,
    ),
    # zero if any class has no hit: the number of such classes is compared first
    "geometric_mean": Objective(
        (
            (1.0, lambda hits, decided, cases: np.log(np.maximum(hits, 1) / cases)),
            (-1e5, lambda hits, decided, cases: 1.0 * (hits == 0)),
        ),
        metrics.geometric_mean,
    ),
}


def class_multipliers(
    labels: ArrayLike, scores: ArrayLike, objective: str = "balanced_accuracy"
) -> np.ndarray:
    """t [C], such that the decisions argmax_c p_c t_c make the objective large on the cases given.

    Ascends one class at a time from t = 1 / prior and from t = 1, and keeps the better end. Each move is
    exact: the objective is computed in every interval between two values of t_c where a decision changes, and
    t_c goes to the middle of the best interval, on ties the nearest one. The result is a point that no change of
    a single t_c improves; for two classes it is the optimum.

    Args:
      labels: [N], 0 to C - 1, or -1 for unknown (left out).
      scores: [N, C], p, rows of sum 1.
      objective: of ``metrics``: balanced_accuracy, geometric_mean, or f_score (the macro mean of F_1).

    Returns:
      float64 [C], above 0; only ratios matter. Ones where nothing is better; otherwise the objective is at
      least that of argmax p. The same cases give the same t. Takes O(N C^2) a round.

    Raises:
      ValueError: an unknown objective; fewer than two classes among the labels; labels or scores of other
        values or shapes.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"unknown objective {objective!r}: expected one of {', '.join(OBJECTIVES)}")
    terms, metric = OBJECTIVES[objective]
    labels, scores = known_cases(labels, scores)
    scores = softmax_scores(scores)
    support = np.bincount(labels, minlength=scores.shape[1])
    if (support > 0).sum() < 2:
        raise ValueError(f"the labels hold {(support > 0).sum()} class: multipliers trade two or more")
    ones = np.ones(len(support))
    # a class without cases cannot gain: it starts at the minimum of the others
    inverse = support.max() / np.where(support > 0, support, support.max())
    ends = [ones, *(_ascend(labels, scores, support, start, terms) for start in (ones, inverse))]
    return max(ends, key=lambda t: metric(labels, scores * t))  # the first on ties


def _ascend(
    labels: np.ndarray,
    scores: np.ndarray,
    support: np.ndarray,
    start: np.ndarray,
    terms: tuple[tuple[float, Term], ...],
) -> np.ndarray:
    multipliers, value, moved = start.copy(), -np.inf, True
    while moved:
        moved = False
        for c in range(len(support)):
            turns = _turns(labels, scores, multipliers, c)
            values = np.sum([weight * _objective(turns, support, c, term) for weight, term in terms], axis=0)
            found, at = _best_interval(turns.at, values, multipliers[c])
            if found > value + 1e-9:
                multipliers[c], value, moved = at, found, True
    return multipliers


class _Turns(NamedTuple):
    """The cases in the order in which their decision becomes class c as t_c grows and the others stay."""

    at: np.ndarray  # [N], the t_c above which the case is decided c: 0 always, infinite never
    rival: np.ndarray  # [N], the decision below that t_c
    truth: np.ndarray  # [N]


def _turns(labels: np.ndarray, scores: np.ndarray, multipliers: np.ndarray, c: int) -> _Turns:
    others = scores * multipliers
    others[:, c] = -1.0
    rival = others.argmax(axis=1)
    with np.errstate(divide="ignore", over="ignore"):
        at = others[np.arange(len(labels)), rival] / scores[:, c]
    at = np.where(at > 1e100, np.inf, np.where(at < 1e-100, 0.0, at))  # so that no product overflows
    order = np.argsort(at, kind="stable")
    return _Turns(at[order], rival[order], labels[order])


def _objective(turns: _Turns, support: np.ndarray, c: int, term: Term) -> np.ndarray:
    """float64 [N + 1]: the sum of the term over the classes after the first 0, 1, ... N cases have turned."""
    _, rival, truth = turns
    cases = np.maximum(support, 1)

    # Each turn takes one decision, and perhaps a hit, from the rival: count them rival by rival
    decided = np.bincount(rival, minlength=len(support))
    hits = np.bincount(rival[rival == truth], minlength=len(support))
    grouped = np.argsort(rival, kind="stable")
    k, lost = rival[grouped], rival[grouped] == truth[grouped]
    nth = np.arange(len(k)) - (np.cumsum(decided) - decided)[k]
    lost_before = np.cumsum(lost) - lost - (np.cumsum(hits) - hits)[k]
    hits_left, decided_left = hits[k] - lost_before, decided[k] - nth
    change = np.zeros(len(k))
    change[grouped] = (support[k] > 0) * (
        term(hits_left - lost, decided_left - 1, cases[k]) - term(hits_left, decided_left, cases[k])
    )
    rest = (support > 0) & (np.arange(len(support)) != c)
    values = term(hits[rest], decided[rest], support[rest]).sum() + np.concatenate([[0], np.cumsum(change)])
    if support[c] > 0:
        gained = np.concatenate([[0], np.cumsum(truth == c)])
        values = values + term(gained, np.arange(len(gained)), cases[c])
    return values


def _best_interval(turns: np.ndarray, values: np.ndarray, present: float) -> tuple[float, float]:
    """The largest value over the intervals between turns, and the middle of that nearest to ``present``."""
    edges = np.concatenate([[0.0], turns, [np.inf]])
    low, high = edges[:-1], edges[1:]
    # leave room for t_c, so that rounding does not decide
    room = np.flatnonzero((high > low * (1 + 1e-9)) & np.isfinite(low))
    low, high, values = low[room], high[room], values[room]
    low = np.where(low == 0, np.minimum(high, 2) / 4, low)
    high = np.where(np.isinf(high), 4 * low, high)
    best = np.flatnonzero(values >= values.max() - 1e-10)
    middle = np.sqrt(low[best]) * np.sqrt(high[best])
    nearest = np.argmin(np.abs(np.log(middle / present)))
    return float(values[best[nearest]]), float(middle[nearest])
