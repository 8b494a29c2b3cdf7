"""What a task is: all that differs between kinds of labels, so that trainer, runs and report ask nothing else."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import perturb_images
from imbal_jax.decisions.criterion import Criterion
from imbal_jax.engine.step import Objective
from imbal_jax.errors import InputError
from imbal_jax.methods import Method
from imbal_jax.metrics import flat_metrics
from imbal_jax.transforms.augment import Augment

Table = dict[str, dict[str, float]]
"""Class, and "macro" -> metric -> value."""

PARTS = ("mixing", "auxiliary", "second_stage", "correction", "hard_negatives", "resample", "perturb_repeats")
"""Fields of a ``Method`` that only some kinds of labels have a meaning for."""


class Task:
    """One kind of labels. The labels of a data set choose between the built-in ones (``tasks.task_for``).

    name: what the labels are, for messages. decides: whether predictions are probabilities [N, C] that thresholds
    and calibration turn into decisions; without them a run has metrics and no operating points.
    allowed: which of ``PARTS`` a method may use. reads_labels: whether ``keep`` needs the labels.
    """

    name: str = ""
    decides: bool = False
    allowed: tuple[str, ...] = ()
    reads_labels: bool = False

    # Training

    def check(self, method: Method) -> None:
        """Raise InputError for a method that does not suit these labels."""
        for part in PARTS:
            if getattr(method, part) not in ("none", 0, False) and part not in self.allowed:
                raise InputError(f"method {method.name}: {part} is not for {self.name}")

    def drawn_labels(self, labels: np.ndarray, uncertain: str) -> np.ndarray:
        """The labels by which batches are composed: int [N], or multi-hot [N, L]."""
        raise NotImplementedError

    def class_arrays(
        self,
        method: Method,
        data: Dataset,
        drawn_counts: np.ndarray,
        stream_counts: np.ndarray,
        *,
        negative: int | None = None,
        uncertain: str = "ignore",
    ) -> Any:
        """The runtime arrays of a method, a pytree: a sweep over ratios changes their values and recompiles nothing.

        data: the training split. drawn_counts: [C], images of each class among the items that batches are drawn
        from; stream_counts: [C], how often each class is drawn. negative: index of the class that is no finding.
        uncertain: policy for labels of -1.
        """
        raise NotImplementedError

    def transform(
        self, keys: jax.Array, images: jax.Array, labels: jax.Array, augmentation: Augment, strength: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Images and labels perturbed together, on the device: here only the images are."""
        return perturb_images(keys, images, labels, augmentation, strength)

    def objective(
        self, method: Method, *, label_smoothing: float = 0.0, uncertain: str = "ignore"
    ) -> Objective:
        """The loss of ``method``, as ``engine.make_train_step`` takes it."""
        raise NotImplementedError

    # Prediction and evaluation

    def predictor(self, method: Method) -> Callable[[Any], jax.Array]:
        """Outputs of the network -> predictions [B, ...], for a network trained with ``method``."""
        raise NotImplementedError

    def keep(self, predictions: jax.Array, labels: jax.Array) -> jax.Array:
        """What evaluation keeps of each example [B, ...]: on the device, batch by batch."""
        return predictions

    def table(
        self, labels: np.ndarray, kept: np.ndarray, classes: tuple[str, ...], negative_class: str | None
    ) -> Table:
        """Rows of metrics, one a class and ``macro``. kept: [N, ...], what ``keep`` gave."""
        raise NotImplementedError

    def measure(self, data: Dataset, kept: np.ndarray, negative_class: str | None) -> dict[str, float]:
        """Every metric that a criterion may name: ``macro`` ones by name, those of a class as ``metric/class``."""
        return flat_metrics(self.table(data.labels, kept, data.classes, negative_class))

    def uncertainty(
        self, criterion: Criterion, data: Dataset, kept: np.ndarray, negative_class: str | None
    ) -> dict[str, float]:
        """Bounds and standard errors, where ``criterion`` reads them."""
        return {}

    def uninformed(self, data: Dataset) -> np.ndarray:
        """What ``keep`` would give for a network that knows nothing: a criterion is checked with it."""
        raise NotImplementedError

    # Where the model is used

    def use_priors(
        self, given: tuple[float, ...] | None, labels: np.ndarray, classes: tuple[str, ...]
    ) -> np.ndarray | None:
        """Class priors [C] at the place of use: ``given`` ones, checked, or those of ``labels``, or None."""
        return None

    def training_priors(self, method: Method, arrays: Any) -> np.ndarray:
        """The priors [C] that the network's probabilities assume; NaN where there is no such thing."""
        return np.full(1, np.nan)


def as_mapping(outputs: Any) -> Mapping[str, Any]:
    """Outputs of a network that gives logits alone, or a mapping with ``logits``."""
    return outputs if isinstance(outputs, Mapping) else {"logits": outputs}
