"""A metric of many resamples of the same cases, each told by how often a patient was drawn."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from imbal_jax.metrics.averages import check_average, defined_mean, ratio
from imbal_jax.metrics.cases import Column, check_cases, columns
from imbal_jax.metrics.ranking import RANKING_FORMULAS, Ranking

Metric = Callable[[np.ndarray, np.ndarray], float | np.ndarray]
Evaluate = Callable[[np.ndarray], np.ndarray]  # counts int64 [R, G] -> values float64 [R, ...]


def replicates_of(metric: Metric, labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> Evaluate:
    """The values of ``metric`` when patient g, who owns the cases with ``patients == g``, counts so often.

    Metrics of rank are evaluated without sorting again, and the same to rounding: see ``_of_rank``. Any other
    metric is called with the cases of each resample.
    """
    function, options = metric, {}
    if isinstance(metric, partial) and not metric.args:
        function, options = metric.func, dict(metric.keywords)
    if function in RANKING_FORMULAS and options.get("mask") is None:
        metric(labels, scores)  # raises what it has to say of its arguments
        options.pop("mask", None)
        average = options.pop("average", "macro")
        return _of_rank(partial(RANKING_FORMULAS[function], **options), labels, scores, patients, average)

    def evaluate(counts: np.ndarray) -> np.ndarray:
        cases = np.arange(len(labels))
        drawn = (np.repeat(cases, row[patients]) for row in counts)
        return np.array([metric(labels[at], scores[at]) for at in drawn], np.float64)

    return evaluate


def _of_rank(
    formula: Callable[[Ranking], np.ndarray],
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    average: str,
) -> Evaluate:
    check_average(average)
    cases = check_cases(labels, scores, None)
    judged = list(columns(cases))
    if average == "micro" and not cases.is_binary:
        patients = np.tile(patients, len(judged))
        judged = [Column(*(np.concatenate(field) for field in zip(*judged, strict=True)))]
    ranked = [_rank_once(column, patients) for column in judged]

    def evaluate(counts: np.ndarray) -> np.ndarray:
        rankings = [_ranking(column, counts) for column in ranked]
        values = np.stack([formula(ranking) for ranking in rankings], axis=-1)
        if average == "micro" or cases.is_binary:
            return values[:, 0]
        if average == "weighted":
            support = np.stack([ranking.count.sum(axis=-1) for ranking in rankings], axis=-1)
            support = np.where(np.isnan(values), 0, support)
            return ratio((support * np.nan_to_num(values)).sum(axis=-1), support.sum(axis=-1))
        return defined_mean(values, axis=-1) if average == "macro" else values

    return evaluate


class _RankedOnce(NamedTuple):
    positive: np.ndarray  # [P], the patients of the positives by ascending score
    first: np.ndarray  # [V], where each distinct score of a positive begins among them
    negative: np.ndarray  # [N], the patients of the negatives by ascending score
    below: np.ndarray  # [V], how many of these are below each distinct score
    up_to: np.ndarray  # [V], and how many below or level with it


def _rank_once(column: Column, patients: np.ndarray) -> _RankedOnce:
    sorted_scores, owners = [], []
    for side in (column.positive, column.negative):
        order = np.argsort(column.scores[side], kind="stable")
        sorted_scores.append(column.scores[side][order])
        owners.append(patients[side][order])
    values, first = np.unique(sorted_scores[0], return_index=True)
    below, up_to = (np.searchsorted(sorted_scores[1], values, side=side) for side in ("left", "right"))
    return _RankedOnce(owners[0], first, owners[1], below, up_to)


def _ranking(column: _RankedOnce, counts: np.ndarray) -> Ranking:
    """The rankings of R resamples: a case counts as often as its patient."""
    drawn = np.take(counts, column.positive, axis=1)
    count = np.add.reduceat(drawn, column.first, axis=1) if column.first.size else drawn
    sums = np.zeros((len(counts), column.negative.size + 1), np.int64)
    np.cumsum(np.take(counts, column.negative, axis=1), axis=1, out=sums[:, 1:])
    below = np.take(sums, column.below, axis=1)
    return Ranking(count, below, np.take(sums, column.up_to, axis=1) - below, sums[:, -1])
