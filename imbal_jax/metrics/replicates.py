"""A metric on many resamples of the same cases, each given by how often a patient was drawn."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.averages import average_of, check_average
from imbal_jax.metrics.cases import Column, check_cases, columns
from imbal_jax.metrics.overlap import OVERLAP_WEIGHTS, overlap_of, tables_of_images
from imbal_jax.metrics.ranking import RANKING_FORMULAS, Ranking

Metric = Callable[[np.ndarray, np.ndarray], float | np.ndarray]
Evaluate = Callable[[np.ndarray], np.ndarray]  # counts int [R, G] -> values float64 [R, ...]


def replicates_of(metric: Metric, labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> Evaluate:
    """A function of counts int [R, G] that gives the values of ``metric`` on R resamples.

    In a resample, the cases of patient g, those with ``patients == g``, are counted ``counts[g]`` times.

    Metrics of rank are evaluated without sorting again and those of overlap without counting pixels again, the
    same to rounding: see ``_of_rank`` and ``_of_overlap``. Any other metric is called with the cases of each
    resample. ValueError for a mask bound to the metric, which would stay where it is when cases are drawn.
    """
    function: Callable[..., Any] = metric
    options: dict[str, Any] = {}
    if isinstance(metric, partial) and not metric.args:
        function, options = metric.func, dict(metric.keywords)
    if options.get("mask") is not None:
        raise ValueError("the metric has a mask of its own: give the mask to the bootstrap")
    if function in RANKING_FORMULAS or function in OVERLAP_WEIGHTS:
        metric(labels, scores)  # raises for wrong arguments
        bound = inspect.signature(function).bind(labels, scores, **options)
        bound.apply_defaults()
        options = {
            name: bound.arguments[name] for name in set(bound.arguments) - {"labels", "scores", "mask"}
        }
        if function in RANKING_FORMULAS:
            return _of_rank(RANKING_FORMULAS[function], labels, scores, patients, **options)
        if options["spatial"]:
            return _of_overlap(OVERLAP_WEIGHTS[function], labels, scores, patients, **options)

    def evaluate(counts: np.ndarray) -> np.ndarray:
        cases = np.arange(len(labels))
        drawn = (np.repeat(cases, row[patients]) for row in counts)
        return np.array([metric(labels[at], scores[at]) for at in drawn], np.float64)

    return evaluate


def _of_rank(
    formula: Callable[..., np.ndarray],
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    *,
    average: str,
    **options: Any,
) -> Evaluate:
    check_average(average)
    cases = check_cases(labels, scores, None, excluded=True)
    judged = list(columns(cases))
    if average == "micro" and not cases.is_binary:
        patients = np.tile(patients, len(judged))
        judged = [Column(*(np.concatenate(field) for field in zip(*judged, strict=True)))]
    ranked = [_rank_once(column, patients) for column in judged]

    def evaluate(counts: np.ndarray) -> np.ndarray:
        rankings = [_ranking(column, counts) for column in ranked]
        values = np.stack([formula(ranking, **options) for ranking in rankings], axis=-1)
        if average == "micro" or cases.is_binary:
            return values[:, 0]
        support = np.stack([ranking.positives.sum(axis=-1) for ranking in rankings], axis=-1)
        return np.asarray(average_of(values, support, average))

    return evaluate


def _of_overlap(
    weight: int,
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    *,
    spatial: int,
    threshold: ArrayLike,
    average: str,
    **options: Any,
) -> Evaluate:
    tables, binary = tables_of_images(labels, scores, spatial, threshold, None)

    def evaluate(counts: np.ndarray) -> np.ndarray:
        drawn = (np.repeat(tables, row[patients], axis=0) for row in counts)
        values = [overlap_of(t, weight, average="micro" if binary else average, **options) for t in drawn]
        return np.array(values, np.float64)

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
