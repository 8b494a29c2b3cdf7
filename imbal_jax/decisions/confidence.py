"""Lower bounds and the standard error that a criterion reads from an evaluation."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from imbal_jax.decisions.criterion import STANDARD_ERROR, Criterion, Metrics, classes_read
from imbal_jax.metrics import bootstrap, delong, macro_mean
from imbal_jax.metrics.guarantees import patient_lower
from imbal_jax.metrics.labels import decided_by_default, one_against_rest


def bounds(
    criterion: Criterion,
    labels: ArrayLike,
    scores: ArrayLike,
    classes: Sequence[str],
    *,
    negative_class: str | None = None,
    groups: ArrayLike | None = None,
) -> dict[str, float]:
    """The lower bounds that ``criterion`` reads, by name: one-sided, by patient, as those of the decision rules.

    Of a class's sensitivity or specificity that of ``metrics.guarantees``, which counts patients and not their
    images (``groups`` [N], whose an image is); of its AUROC that of DeLong, by patient. Of the macro metric the mean
    over the classes of interest, all but ``negative_class``: it is below the bound of the mean.
    InputError for a class that is not among ``classes``.
    """
    if not criterion.bounds:
        return {}
    names = list(classes)
    truth = one_against_rest(labels, len(names))
    numbers = (
        np.arange(len(truth)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    )
    called = decided_by_default(labels, scores)

    def of_class(metric: str, c: int, confidence: float) -> float:
        if metric == "auroc":
            two_sided = 2 * confidence - 1  # confidence of the two-sided interval with the same lower end
            return float(np.asarray(delong(labels, scores, groups=numbers, confidence=two_sided).low)[c])
        positive = metric == "sensitivity"
        among = truth[:, c] == positive
        of = np.unique(numbers[among], return_inverse=True)[1]
        right = called[among, c] == positive
        return patient_lower(np.bincount(of, right), np.bincount(of), confidence)

    found = {}
    for bound in criterion.bounds:
        metric, _, name = bound.metric.partition("/")
        chosen = classes_read(bound.name, name, names, negative_class)
        values = [of_class(metric, c, bound.confidence) for c in chosen]
        found[bound.name] = macro_mean(values)[0]
    return found


def standard_error(
    criterion: Criterion,
    measure: Callable[[np.ndarray, np.ndarray], Metrics],
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    samples: int = 100,
) -> dict[str, float]:
    """``{STANDARD_ERROR: standard error of the sum of the terms}`` where ``criterion`` has ``within``, else ``{}``.

    Half the interval of 68 % of a bootstrap over patients (``groups`` [N]) of ``measure(labels, scores)``,
    the metrics of some cases, in the same ``samples`` replicates each time: 100 give it to about 10 %.
    """
    if not criterion.within:
        return {}
    low, high = bootstrap(
        lambda *cases: criterion.value(measure(*cases)),
        labels,
        scores,
        groups=groups,
        samples=samples,
        confidence=float(2 * ndtr(1.0) - 1),
    )
    return {STANDARD_ERROR: float(high - low) / 2}
