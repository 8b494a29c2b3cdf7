"""Decision metrics: sensitivity, specificity and others, at a threshold or by the highest score."""

from collections.abc import Callable
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics import tables
from imbal_jax.metrics.averages import average_of, check_average
from imbal_jax.metrics.cases import Cases, check_cases, known_labels, whole_numbers


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
    if num_classes is not None and num_classes < 2:
        raise ValueError(f"num_classes={num_classes}, expected two or more")
    if num_classes is not None and np.ndim(scores) == 1:
        return _count_given_decisions(np.asarray(labels), np.asarray(scores), num_classes, mask)
    cases = check_cases(labels, scores, mask)
    if num_classes is not None and not (cases.is_one_label and cases.scores.shape[1] == num_classes):
        raise ValueError(f"num_classes={num_classes} does not fit scores {list(np.shape(scores))}")
    return tables.confusion(cases, threshold)


def _count_given_decisions(
    labels: np.ndarray, decided: np.ndarray, num_classes: int, mask: ArrayLike | None
) -> np.ndarray:
    if labels.shape != decided.shape:
        raise ValueError(f"labels {list(labels.shape)} do not fit decisions {list(decided.shape)}")
    labels = known_labels(labels, mask, num_classes)
    known = labels >= 0
    labels, decided = labels[known], whole_numbers(decided[known])
    if decided.size and not 0 <= decided.min() <= decided.max() < num_classes:
        raise ValueError(
            f"decisions run from {decided.min()} to {decided.max()}: expected 0 to {num_classes - 1}"
        )
    return tables.count_decisions(labels, decided, num_classes)


def sensitivity(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """TP / (TP + FN), also recall or true positive rate; NaN without a positive."""
    return _averaged(tables.sensitivity, check_cases(labels, scores, mask), threshold, average)


def specificity(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """TN / (TN + FP), the true negative rate; NaN without a negative."""
    return _averaged(tables.specificity, check_cases(labels, scores, mask), threshold, average)


def precision(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    mask: ArrayLike | None = None,
    average: str = "macro",
) -> float | np.ndarray:
    """TP / (TP + FP), also positive predictive value; NaN where nothing is decided positive.

    A class without a positive that was decided has 0. A macro mean leaves out the classes that were never decided, as
    scikit-learn's with ``zero_division=np.nan``; its default counts them as 0.
    """
    return _averaged(tables.precision, check_cases(labels, scores, mask), threshold, average)


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

    NaN where a class is neither present nor decided; 0 where it is one of the two and none is found. So a macro mean
    counts a class without positives that was decided as 0, as scikit-learn does, and leaves out one that was not, as
    scikit-learn's with ``zero_division=np.nan`` (its default counts that as 0 too; torchmetrics leaves it out).
    """
    if not isinstance(beta, Real) or not 0 < beta < np.inf:
        raise ValueError(f"beta={beta!r} must be positive and finite")
    cases = check_cases(labels, scores, mask)
    return _averaged(lambda table: tables.f_beta(table, beta), cases, threshold, average)


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
    return _averaged(
        tables.balanced_accuracy, check_cases(labels, scores, mask), threshold, average, of_matrix=True
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
    return _averaged(
        tables.geometric_mean, check_cases(labels, scores, mask), threshold, average, of_matrix=True
    )


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
    return _averaged(tables.matthews, check_cases(labels, scores, mask), threshold, average, of_matrix=True)


def _averaged(
    formula: Callable[[np.ndarray], np.ndarray],
    cases: Cases,
    threshold: ArrayLike,
    average: str,
    of_matrix: bool = False,
) -> float | np.ndarray:
    check_average(average)
    if cases.is_one_label and of_matrix and average == "macro":
        return float(formula(tables.confusion(cases, threshold)))
    by_class = tables.tables_of(cases, threshold)
    if average == "micro" or cases.is_binary:
        return float(formula(by_class.sum(axis=0)))
    return average_of(formula(by_class), by_class[:, 1].sum(axis=-1), average)
