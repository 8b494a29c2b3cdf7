"""One table with every metric of every class, for reports and model selection."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics import tables
from imbal_jax.metrics.averages import macro_mean, ratio
from imbal_jax.metrics.cases import check_cases, sides
from imbal_jax.metrics.ranking import Ranking, auroc_of, average_precision_of, rank

DECISION_METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sensitivity": tables.sensitivity,
    "specificity": tables.specificity,
    "precision": tables.precision,
    "f_score": lambda table: tables.f_beta(table, 1.0),
    "balanced_accuracy": tables.balanced_accuracy,
    "geometric_mean": tables.geometric_mean,
    "mcc": tables.matthews,
}
RANKING_METRICS: dict[str, Callable[[Ranking], np.ndarray]] = {
    "auroc": auroc_of,
    "average_precision": average_precision_of,
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
    cases = check_cases(labels, scores, mask)
    names = list(classes)
    by_class, pairs = tables.tables_of(cases, threshold), sides(cases)
    rankings = [rank(*pair) for pair in pairs]
    if cases.is_binary and len(names) == 2:
        positive, negative = pairs[0]
        by_class = np.concatenate([by_class[:, ::-1, ::-1], by_class])
        rankings = [rank(-negative, -positive), *rankings]
    if len(names) != len(by_class):
        raise ValueError(f"{len(names)} classes do not fit scores {list(np.shape(scores))}")
    if len({*names, "macro"}) != len(names) + 1:
        raise ValueError(f"classes must be distinct, and none called 'macro': {names}")
    if negative_class is not None and (negative_class not in names or len(names) == 1):
        raise ValueError(f"negative_class {negative_class!r} must be one of several classes: {names}")

    columns = {
        "positives": by_class[:, 1].sum(axis=-1).astype(np.float64),
        "prevalence": ratio(by_class[:, 1].sum(axis=-1), by_class.sum(axis=(1, 2))),
        **{name: formula(by_class) for name, formula in DECISION_METRICS.items()},
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
        counts = tables.confusion(cases, threshold)
        macro["accuracy"] = float(ratio(np.trace(counts), counts.sum()))
    return {**summary, "macro": macro}


def flat_metrics(summary: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The macro row under plain names, and each class's metrics as ``sensitivity/CLASS``."""
    flat = {key: summary["macro"][key] for key in (*SUMMARY_METRICS, "accuracy") if key in summary["macro"]}
    for name, row in summary.items():
        if name != "macro":
            flat |= {f"{key}/{name}": row[key] for key in SUMMARY_METRICS}
    return flat
