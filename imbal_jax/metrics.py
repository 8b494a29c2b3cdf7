"""Exact metrics of classification, in numpy on the host, for classes of any rarity.

Every function takes ``(labels, scores)`` in one of three shapes; N cases, C classes, L findings:

====================  ==============  ==================================================================
labels                scores          the problem
====================  ==============  ==================================================================
int [N], 0 or 1       [N]             binary: 1 is positive; decided positive where score >= threshold
int [N], 0 to C - 1   [N, C], C >= 2  one label: decided by argmax (ties: the lowest index); a class
                                      against the rest where the metric is binary
int [N, L], 0 or 1    [N, L]          many labels: each column binary, decided as above
====================  ==============  ==================================================================

A label of -1, or False in ``mask`` (the shape of the labels), excludes an entry; its score is not looked at.
``threshold`` is a float, or float [L] for many labels. ``average`` says what becomes of the K classes:

- ``"macro"``: the mean over the classes where the metric is defined;
- ``"weighted"``: the same, weighted by the number of positives;
- ``"micro"``: the metric of all entries of all classes, pooled;
- ``"none"``: float64 [K], one a class.

A binary problem gives one float whatever the average. Counts are integers and sums are taken over them,
so results do not depend on the order of the cases. NaN where the metric is undefined (no case, no
positive, ...), never a warning; ``macro_mean`` says how many classes a mean covers. ValueError for shapes
that do not match, for labels out of range and for a NaN among the scores.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

AVERAGES = ("macro", "weighted", "micro", "none")


class _Cases(NamedTuple):
    labels: np.ndarray  # [N] without excluded cases; [N, L] with -1 for excluded entries
    scores: np.ndarray  # float32 or float64, [N], [N, C] or [N, L]

    @property
    def is_one_label(self) -> bool:
        return self.labels.ndim == 1 and self.scores.ndim == 2

    @property
    def is_binary(self) -> bool:
        return self.scores.ndim == 1


# Input


def _cases(labels: ArrayLike, scores: ArrayLike, mask: ArrayLike | None) -> _Cases:
    labels, scores = np.asarray(labels), np.asarray(scores)
    one_label = labels.ndim == 1 and scores.ndim == 2
    if labels.ndim not in (1, 2) or (scores.shape[:1] if one_label else scores.shape) != labels.shape:
        raise ValueError(
            f"labels {list(labels.shape)} do not fit scores {list(scores.shape)}: "
            "expected [N] with [N], [N] with [N, C], or [N, L] with [N, L]"
        )
    if one_label and scores.shape[1] < 2:
        raise ValueError(
            f"scores {list(scores.shape)} for one label need two classes or more: pass scores[:, 0]"
        )
    labels = _integers(labels)
    keep = labels >= 0
    classes = scores.shape[1] if one_label else 2
    if labels.size and (labels.min() < -1 or labels.max() >= classes):
        wrong = labels.min() if labels.min() < -1 else labels.max()
        raise ValueError(f"label {wrong} is out of range: expected 0 to {classes - 1}, or -1 to exclude")
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != labels.shape:
            raise ValueError(
                f"mask {list(mask.shape)} must have the shape of the labels {list(labels.shape)}"
            )
        keep &= mask.astype(bool)
    if not keep.all():
        if labels.ndim == 1:
            labels, scores = labels[keep], scores[keep]
        else:
            labels = np.where(keep, labels, -1)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    missing = np.isnan(scores)
    if labels.ndim == 2:
        missing &= keep
    if missing.any():
        raise ValueError(f"{missing.sum()} of {missing.size} scores are NaN: mask them or mend the model")
    return _Cases(labels, scores)


def _integers(labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind == "i":
        return labels
    if labels.dtype.kind not in "bu":
        labels = labels.astype(np.float64)
        if not (np.isfinite(labels) & (labels == np.rint(labels))).all():
            raise ValueError("labels must be whole numbers: soft labels have no confusion matrix")
    return labels.astype(np.int64)


# Tables of decisions


def _matrix(truth: np.ndarray, decided: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts int64 [C, C]: rows the truth, columns the decision."""
    cells = np.bincount(truth.astype(np.int64) * num_classes + decided, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def _confusion(cases: _Cases, threshold: ArrayLike) -> np.ndarray:
    """[C, C] for one label, [2, 2] for a binary problem, [L, 2, 2] for many labels."""
    labels, scores = cases
    if cases.is_one_label:
        return _matrix(labels, scores.argmax(axis=1), scores.shape[1])
    threshold = np.asarray(threshold, np.float64)
    if threshold.shape not in ((), scores.shape[1:]):
        raise ValueError(f"threshold {list(threshold.shape)} must be one number, or one per label")
    decided = scores >= threshold
    if cases.is_binary:
        return _matrix(labels, decided, 2)
    kept = labels >= 0
    columns = range(labels.shape[1])
    tables = [_matrix(labels[kept[:, c], c], decided[kept[:, c], c], 2) for c in columns]
    return np.array(tables, np.int64).reshape(-1, 2, 2)


def _tables(cases: _Cases, threshold: ArrayLike) -> np.ndarray:
    """One 2 x 2 table a class, int64 [K, 2, 2]: a class against the rest where there is one label."""
    counts = _confusion(cases, threshold)
    if cases.is_binary:
        return counts[None]
    return _one_against_rest(counts) if cases.is_one_label else counts


def _one_against_rest(matrix: np.ndarray) -> np.ndarray:
    hit = np.diagonal(matrix)
    missed, false_alarm = matrix.sum(axis=1) - hit, matrix.sum(axis=0) - hit
    rest = matrix.sum() - hit - missed - false_alarm
    return np.stack([rest, false_alarm, missed, hit], axis=-1).reshape(-1, 2, 2)


# Formulas over tables [..., 2, 2] or matrices [..., C, C]


def _ratio(numerator: ArrayLike, denominator: ArrayLike) -> np.ndarray:
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _sensitivity(tables: np.ndarray) -> np.ndarray:
    return _ratio(tables[..., 1, 1], tables[..., 1, :].sum(axis=-1))


def _specificity(tables: np.ndarray) -> np.ndarray:
    return _ratio(tables[..., 0, 0], tables[..., 0, :].sum(axis=-1))


def _precision(tables: np.ndarray) -> np.ndarray:
    return _ratio(tables[..., 1, 1], tables[..., :, 1].sum(axis=-1))


def _f_beta(tables: np.ndarray, beta: float) -> np.ndarray:
    hit, missed, false_alarm = tables[..., 1, 1], tables[..., 1, 0], tables[..., 0, 1]
    value = _ratio((1 + beta**2) * hit, (1 + beta**2) * hit + beta**2 * missed + false_alarm)
    return np.where(hit + missed > 0, value, np.nan)


def _recalls(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall [..., C] (0 for an absent class) and the number of classes present, NaN below two."""
    support = matrices.sum(axis=-1)
    present = (support > 0).sum(axis=-1).astype(np.float64)
    hit = np.diagonal(matrices, axis1=-2, axis2=-1)
    return hit / np.maximum(support, 1), np.where(present >= 2, present, np.nan)


def _balanced_accuracy(matrices: np.ndarray) -> np.ndarray:
    recalls, present = _recalls(matrices)
    return recalls.sum(axis=-1) / present


def _geometric_mean(matrices: np.ndarray) -> np.ndarray:
    recalls, present = _recalls(matrices)
    recalls = np.where(matrices.sum(axis=-1) > 0, recalls, 1.0)
    # The root before the product: the recalls of a thousand classes would underflow.
    roots = recalls ** (1 / present[..., None])
    return np.where(np.isnan(present), np.nan, roots.prod(axis=-1))


def _matthews(matrices: np.ndarray) -> np.ndarray:
    truth, decided = matrices.sum(axis=-1), matrices.sum(axis=-2)
    total, hit = truth.sum(axis=-1), np.diagonal(matrices, axis1=-2, axis2=-1).sum(axis=-1)
    covariance = hit * total - (truth * decided).sum(axis=-1)
    spread = [np.sqrt((total**2 - (side**2).sum(axis=-1)).astype(np.float64)) for side in (truth, decided)]
    return np.clip(_ratio(covariance, spread[0] * spread[1]), -1.0, 1.0)  # the roots round: -1 - 2e-16


# Ranking: the negatives below, and level with, each distinct positive score


def _columns(cases: _Cases) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The scores of the positives and of the negatives, class by class."""
    labels, scores = cases
    if cases.is_binary:
        yield scores[labels == 1], scores[labels == 0]
        return
    for c in range(scores.shape[1]):
        if cases.is_one_label:
            yield scores[labels == c, c], scores[labels != c, c]
        else:
            yield scores[labels[:, c] == 1, c], scores[labels[:, c] == 0, c]


class _Ranking(NamedTuple):
    count: np.ndarray  # positives at each distinct positive score, ascending
    below: np.ndarray  # negatives below it
    level: np.ndarray  # negatives level with it
    negatives: int


def _ranking(positive: np.ndarray, negative: np.ndarray) -> _Ranking:
    values, count = np.unique(positive, return_counts=True)
    if not values.size:
        return _Ranking(count, count, count, negative.size)
    # Only negatives between the lowest and the highest positive need sorting: few, if the model is good.
    contested = negative >= values[0]
    base = negative.size - np.count_nonzero(contested)
    contested &= negative <= values[-1]
    contested = np.sort(negative[contested])
    below = np.searchsorted(contested, values, side="left")
    level = np.searchsorted(contested, values, side="right") - below
    return _Ranking(count, base + below, level, negative.size)


def _auroc(ranking: _Ranking) -> float:
    count, below, level, negatives = ranking
    wins = int((count * (2 * below + level)).sum())
    pairs = 2 * int(count.sum()) * negatives
    return wins / pairs if pairs else np.nan


def _average_precision(ranking: _Ranking) -> float:
    count, below, _, negatives = ranking
    if not count.size:
        return np.nan
    found = np.cumsum(count[::-1])[::-1]
    return float((count * (found / (found + negatives - below))).sum() / found[0])


# Averages


def macro_mean(values: ArrayLike) -> tuple[float, int]:
    """Mean of the defined (not NaN) values, and how many they are; (NaN, 0) if there is none."""
    values = np.asarray(values, np.float64)
    defined = values[~np.isnan(values)]
    return (float(defined.mean()), int(defined.size)) if defined.size else (np.nan, 0)


def _check_average(average: str) -> None:
    if average not in AVERAGES:
        raise ValueError(f"unknown average {average!r}: expected one of {', '.join(AVERAGES)}")


def _average(values: np.ndarray, support: np.ndarray, average: str) -> float | np.ndarray:
    if average == "none":
        return values
    if average == "macro":
        return macro_mean(values)[0]
    weights = np.where(np.isnan(values), 0, support)
    return float(_ratio((weights * np.nan_to_num(values)).sum(), weights.sum()))


def _decision_metric(
    formula: Callable[[np.ndarray], np.ndarray],
    cases: _Cases,
    threshold: ArrayLike,
    average: str,
    of_matrix: bool = False,
) -> float | np.ndarray:
    _check_average(average)
    if cases.is_one_label and of_matrix and average == "macro":
        return float(formula(_confusion(cases, threshold)))
    tables = _tables(cases, threshold)
    if average == "micro" or cases.is_binary:
        return float(formula(tables.sum(axis=0)))
    return _average(formula(tables), tables[:, 1].sum(axis=-1), average)


def _ranking_metric(formula: Callable[[_Ranking], float], cases: _Cases, average: str) -> float | np.ndarray:
    _check_average(average)
    columns = list(_columns(cases))
    if average == "micro" or cases.is_binary:
        positive, negative = (np.concatenate(side) for side in zip(*columns, strict=True))
        return formula(_ranking(positive, negative))
    values = np.array([formula(_ranking(*column)) for column in columns], np.float64)
    return _average(values, np.array([positive.size for positive, _ in columns]), average)


# Metrics of decisions


def confusion_matrix(
    labels: ArrayLike,
    scores: ArrayLike,
    num_classes: int | None = None,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
) -> np.ndarray:
    """Counts int64 [C, C] (binary [2, 2], many labels [L, 2, 2]): rows the truth, columns the decision.

    With ``num_classes`` and scores of shape [N], the scores are decisions already: class numbers.
    """
    if num_classes is not None and np.ndim(scores) == 1:
        decided = _integers(np.asarray(scores))
        if decided.size and not 0 <= decided.min() <= decided.max() < num_classes:
            raise ValueError(
                f"decisions run from {decided.min()} to {decided.max()}: expected 0 to {num_classes - 1}"
            )
        scores = decided[:, None] == np.arange(max(num_classes, 2))
    cases = _cases(labels, scores, mask)
    if num_classes is not None and not (cases.is_one_label and cases.scores.shape[1] == num_classes):
        raise ValueError(f"num_classes={num_classes} does not fit scores {list(np.shape(scores))}")
    return _confusion(cases, threshold)


def sensitivity(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """TP / (TP + FN), also recall or true positive rate; NaN without a positive."""
    return _decision_metric(_sensitivity, _cases(labels, scores, mask), threshold, average)


def specificity(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """TN / (TN + FP), the true negative rate; NaN without a negative."""
    return _decision_metric(_specificity, _cases(labels, scores, mask), threshold, average)


def precision(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """TP / (TP + FP), also positive predictive value; NaN where nothing is decided positive."""
    return _decision_metric(_precision, _cases(labels, scores, mask), threshold, average)


def f_beta(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    beta: float = 1.0,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """(1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP) (van Rijsbergen 1979).

    NaN without a positive, as sensitivity is; 0 where there are positives and none is found.
    """
    if not 0 < beta < np.inf:
        raise ValueError(f"beta={beta} must be positive and finite")
    cases = _cases(labels, scores, mask)
    return _decision_metric(lambda tables: _f_beta(tables, beta), cases, threshold, average)


def balanced_accuracy(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """Mean recall of the classes present (Brodersen et al. 2010); NaN when fewer than two are present.

    For one label, "macro" is this mean over the C classes; the other averages use a class against the rest.
    """
    return _decision_metric(
        _balanced_accuracy, _cases(labels, scores, mask), threshold, average, of_matrix=True
    )


def geometric_mean(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """(product of the recalls of the C classes present)^(1/C) (Kubat and Matwin 1997; Sun et al. 2006).

    sqrt(sensitivity * specificity) for two classes; NaN when fewer than two are present. Averages as in
    ``balanced_accuracy``.
    """
    return _decision_metric(_geometric_mean, _cases(labels, scores, mask), threshold, average, of_matrix=True)


def matthews_corrcoef(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """Correlation of truth and decision: (c s - sum t_k p_k) / sqrt((s^2 - sum t_k^2)(s^2 - sum p_k^2)).

    c correct of s cases, t_k of them in class k, p_k decided k (Gorodkin 2004, eq. 8; Matthews 1975 for two
    classes). NaN when the truth, or the decision, is one class throughout. Averages as in
    ``balanced_accuracy``.
    """
    return _decision_metric(_matthews, _cases(labels, scores, mask), threshold, average, of_matrix=True)


# Metrics of rank


def auroc(
    labels: ArrayLike, scores: ArrayLike, *, mask: ArrayLike | None = None, average: str = "macro"
) -> float | np.ndarray:
    """Area under the ROC curve: P(s+ > s-) + P(s+ = s-) / 2 (Hanley and McNeil 1982).

    Mann-Whitney U with midranks over the number of pairs; NaN without a positive or without a negative.
    """
    return _ranking_metric(_auroc, _cases(labels, scores, mask), average)


def average_precision(
    labels: ArrayLike, scores: ArrayLike, *, mask: ArrayLike | None = None, average: str = "macro"
) -> float | np.ndarray:
    """sum_i (R_i - R_{i-1}) P_i over the distinct scores, no interpolation; NaN without a positive."""
    return _ranking_metric(_average_precision, _cases(labels, scores, mask), average)


# Summary

DECISION_METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "precision": _precision,
    "f_score": lambda tables: _f_beta(tables, 1.0),
    "balanced_accuracy": _balanced_accuracy,
    "geometric_mean": _geometric_mean,
    "mcc": _matthews,
}
RANKING_METRICS: dict[str, Callable[[_Ranking], float]] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
}
SUMMARY_METRICS = (*DECISION_METRICS, *RANKING_METRICS)


def classification_summary(
    labels: ArrayLike,
    scores: ArrayLike,
    classes: Sequence[str],
    *,
    negative_class: str | None = None,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
) -> dict[str, dict[str, float]]:
    """Every metric of every class, and a row "macro": their mean over the classes of interest.

    A class's row holds ``positives`` (a count), ``prevalence`` and ``SUMMARY_METRICS``, all of the class
    against the rest. The classes of interest are all but ``negative_class``. "macro" holds the total of
    ``positives``, the mean of every other column over the classes of interest where it is defined, the
    number of those as ``auroc_classes`` and so on and, where a case has one label, ``accuracy``.

    For three or more classes the macro ``balanced_accuracy``, ``geometric_mean`` and ``mcc`` are thus means
    of two-class values, not the C-class ones that the functions of those names give. ``scores`` [N] with
    two ``classes``: the first is the mirror image of the second.
    """
    cases = _cases(labels, scores, mask)
    names = list(classes)
    tables, rankings = _tables(cases, threshold), [_ranking(*column) for column in _columns(cases)]
    if cases.is_binary and len(names) == 2:
        positive, negative = next(_columns(cases))
        tables = np.concatenate([tables[:, ::-1, ::-1], tables])
        rankings = [_ranking(-negative, -positive), *rankings]
    if len(names) != len(tables):
        raise ValueError(f"{len(names)} classes do not fit scores {list(np.shape(scores))}")
    if len({*names, "macro"}) != len(names) + 1:
        raise ValueError(f"classes must be distinct, and none called 'macro': {names}")
    if negative_class is not None and (negative_class not in names or len(names) == 1):
        raise ValueError(f"negative_class {negative_class!r} must be one of several classes: {names}")

    columns = {
        "positives": tables[:, 1].sum(axis=-1).astype(np.float64),
        "prevalence": _ratio(tables[:, 1].sum(axis=-1), tables.sum(axis=(1, 2))),
        **{name: formula(tables) for name, formula in DECISION_METRICS.items()},
        **{name: np.array([formula(r) for r in rankings]) for name, formula in RANKING_METRICS.items()},
    }
    summary = {
        name: {key: float(column[c]) for key, column in columns.items()} for c, name in enumerate(names)
    }

    of_interest = [c for c, name in enumerate(names) if name != negative_class]
    macro = {
        "positives": float(columns["positives"][of_interest].sum()),
        "prevalence": macro_mean(columns["prevalence"][of_interest])[0],
    }
    for name in SUMMARY_METRICS:
        macro[name], covered = macro_mean(columns[name][of_interest])
        macro[f"{name}_classes"] = float(covered)
    if cases.labels.ndim == 1:
        counts = _confusion(cases, threshold)
        macro["accuracy"] = float(_ratio(np.trace(counts), counts.sum()))
    return {**summary, "macro": macro}


def flat_metrics(summary: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The macro row under plain names, and each class's metrics as ``sensitivity/CLASS``."""
    flat = {key: summary["macro"][key] for key in (*SUMMARY_METRICS, "accuracy") if key in summary["macro"]}
    for name, row in summary.items():
        if name != "macro":
            flat |= {f"{key}/{name}": row[key] for key in SUMMARY_METRICS}
    return flat
