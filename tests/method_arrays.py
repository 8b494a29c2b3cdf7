"""Class arrays of a method on labels alone, as the task makes them for a training split."""

from typing import Any

import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.methods import ClassArrays, Method
from imbal_jax.tasks import task_for


def class_arrays(
    method: Method, labels: np.ndarray, classes: int, stream_counts: Any, *, uncertain: str = "ignore"
) -> ClassArrays:
    """labels: [N] or [N, L]. stream_counts: [C], how often each class is drawn."""
    names = tuple(f"class{c}" for c in range(classes))
    data = Dataset(np.zeros((len(labels), 1, 1, 1), np.uint8), labels, np.arange(len(labels)), names)
    stream = np.asarray(stream_counts)
    return task_for("auto", data).class_arrays(method, data, stream, stream, uncertain=uncertain)


def shared_arrays(
    method: Method, labels: np.ndarray, classes: int, stream_counts: Any, *, uncertain: str = "ignore"
) -> Shared:
    """The same as what a batch shares, without pixels."""
    return Shared(class_arrays(method, labels, classes, stream_counts, uncertain=uncertain))
