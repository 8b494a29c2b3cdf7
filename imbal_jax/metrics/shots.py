"""Many-, medium- and few-shot classes: long-tailed results grouped by training count."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.metrics.averages import macro_mean
from imbal_jax.metrics.decisions import sensitivity

MANY, FEW = 100, 20  # Liu et al., CVPR 2019: more than 100, 20 to 100, fewer than 20


def shot_means(
    values: ArrayLike, training_counts: ArrayLike, *, many: int = MANY, few: int = FEW
) -> dict[str, float]:
    """Means of a value of each class over the classes of many, medium and few training cases, and over all.

    Args:
      values: [C], such as ``auroc(..., average="none")``; NaN where undefined, and left out.
      training_counts: [C].
      many, few: a class has many with more than ``many``, few with fewer than ``few``.

    Returns:
      ``{"many": ..., "medium": ..., "few": ..., "all": ...}``, NaN where there is no class.

    Raises:
      ValueError: values and counts that are not both [C]; a negative count; ``few`` above ``many``.
    """
    values, counts = np.asarray(values, np.float64), np.asarray(training_counts)
    if values.ndim != 1 or counts.shape != values.shape:
        raise ValueError(
            f"training_counts {list(counts.shape)} do not fit values {list(values.shape)}: expected [C] both"
        )
    if counts.size and not counts.min() >= 0:
        raise ValueError(f"training_counts hold {counts.min()}: expected numbers of cases")
    if few > many:
        raise ValueError(f"few={few:g} is above many={many:g}: a class would be both")
    groups: Mapping[str, np.ndarray] = {
        "many": counts > many,
        "medium": (counts >= few) & (counts <= many),
        "few": counts < few,
        "all": np.ones(counts.shape, bool),
    }
    return {name: macro_mean(values[members])[0] for name, members in groups.items()}


def shot_accuracy(
    labels: ArrayLike,
    scores: ArrayLike,
    training_counts: ArrayLike,
    *,
    many: int = MANY,
    few: int = FEW,
    mask: ArrayLike | None = None,
) -> dict[str, float]:
    """Many-, medium- and few-shot accuracy: ``shot_means`` of the recall of each class (Liu et al. 2019).

    labels [N], 0 to C - 1; scores [N, C]; training_counts [C]. Where every class has as many test cases, as in
    the long-tailed benchmarks, this is the share of the group's cases that are decided rightly.
    """
    if np.ndim(labels) != 1 or np.ndim(scores) != 2:
        raise ValueError(
            f"labels {list(np.shape(labels))} and scores {list(np.shape(scores))} are not of one label: "
            "expected [N] with [N, C]"
        )
    recalls = sensitivity(labels, scores, mask=mask, average="none")
    return shot_means(recalls, training_counts, many=many, few=few)
