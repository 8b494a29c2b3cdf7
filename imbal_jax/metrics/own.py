"""The user's own metrics of one class against the rest, found by their import paths."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from imbal_jax.errors import InputError
from imbal_jax.import_paths import explained, import_object, is_import_path
from imbal_jax.metrics.averages import macro_mean
from imbal_jax.metrics.labels import one_against_rest
from imbal_jax.metrics.summary import SUMMARY_METRICS

Metric = Callable[[np.ndarray, np.ndarray], float]
"""``(truth bool [N], probabilities float [N]) -> value``, of one class."""

TAKEN = (*SUMMARY_METRICS, "accuracy", "loss", "step", "positives", "prevalence", "kind", "time", "best")


def metric_name(path: str) -> str:
    """The name of the metric at an import path: that of the function."""
    return path.rpartition(":")[2].rpartition(".")[2]


def check_metrics(paths: Sequence[str]) -> None:
    """InputError for text that is not an import path, and for a name that is taken."""
    for path in paths:
        name = metric_name(path)
        if not is_import_path(path):
            raise InputError(f"metrics has {path!r}: give the import path of a function, package.module:name")
        if name in TAKEN or name.endswith("_classes"):
            raise InputError(
                f"metrics has {path}: {name} is the name of a metric already, call the function otherwise"
            )
    names = [metric_name(path) for path in paths]
    if len(set(names)) < len(names):
        raise InputError(
            f"metrics are {' '.join(paths)}: two have one name, call one of the functions otherwise"
        )


@functools.cache
def find_metric(path: str) -> Metric:
    """The function at an import path; InputError where there is none."""
    found = import_object(path, "metrics")
    if not callable(found):
        raise InputError(f"metrics has {path}, which is {type(found).__name__}: give a function")
    return found


def add_own(
    table: dict[str, dict[str, float]],
    paths: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    negative_class: str | None,
) -> dict[str, dict[str, float]]:
    """``table``, of ``classification_summary``, with the user's own metrics in every row.

    labels: [N] or [N, C]. probabilities: [N, C]. As AUROC is, a value is NaN where a class has no positive or no
    negative example, and macro is the mean over the classes but the negative one, of those that are defined.
    """
    classes = [name for name in table if name != "macro"]
    truth = one_against_rest(labels, len(classes))
    rows = {name: dict(row) for name, row in table.items()}
    for path in paths:
        key = metric_name(path)
        for c, name in enumerate(classes):
            known = truth[:, c] >= 0
            rows[name][key] = _value(path, truth[known, c] == 1, probabilities[known, c])
        of_interest = [rows[name][key] for name in classes if name != negative_class]
        rows["macro"][key], covered = macro_mean(np.array(of_interest))
        rows["macro"][f"{key}_classes"] = float(covered)
    return rows


def _value(path: str, truth: np.ndarray, probabilities: np.ndarray) -> float:
    if truth.all() or not truth.any():
        return math.nan
    with explained(f"metric {path}"):
        found = find_metric(path)(truth, probabilities)
    try:
        return float(found)
    except (TypeError, ValueError):
        raise InputError(f"metric {path} gives {type(found).__name__}: a number is expected") from None
