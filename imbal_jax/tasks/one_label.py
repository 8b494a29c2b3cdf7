"""Classification with one label an image."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, softmax

from imbal_jax import priors
from imbal_jax.data.dataset import Dataset
from imbal_jax.decisions.calibration import LogitScaling
from imbal_jax.decisions.prior_shift import effective_priors
from imbal_jax.errors import InputError
from imbal_jax.methods import LOSSES, ClassArrays, Loss, LossFunction, Method
from imbal_jax.tasks.calibrating import fit_classes
from imbal_jax.tasks.classification import Classification
from imbal_jax.tasks.task import PARTS

SMALLEST = 1e-30  # probabilities below this were rounded to 0 by the float32 softmax


class OneLabel(Classification):
    """Labels int [N]; softmax of the logits."""

    name = "one label an image"
    dimensions = 1
    losses = tuple(name for name, row in LOSSES.items() if row.one_label)
    allowed = PARTS

    def function_of(self, loss: Loss) -> LossFunction | None:
        """The loss function for one label."""
        return loss.one_label

    def targets(self, labels: jax.Array, uncertain: str) -> tuple[jax.Array, None]:
        """The labels; all count."""
        return labels, None

    def weights(self, labels: jax.Array, mask: jax.Array | None, arrays: ClassArrays) -> jax.Array:
        """Each image's class weight [B]."""
        return arrays.class_weights[labels]

    def smoothed(self, targets: jax.Array, classes: int, smoothing: float) -> jax.Array:
        """Targets mixed with the uniform distribution."""
        return jax.nn.one_hot(targets, classes) * (1 - smoothing) + smoothing / classes

    def positives(self, labels: jax.Array, targets: jax.Array, arrays: ClassArrays) -> jax.Array:
        """Images of another class than the negative one."""
        return labels != arrays.negative

    def probabilities(self, logits: jax.Array) -> jax.Array:
        """Softmax."""
        return jax.nn.softmax(logits.astype(jnp.float32))

    def drawn_labels(self, labels: np.ndarray, uncertain: str) -> np.ndarray:
        """The labels themselves."""
        return labels

    def class_arrays(
        self,
        method: Method,
        data: Dataset,
        drawn_counts: np.ndarray,
        stream_counts: np.ndarray,
        *,
        negative: int | None = None,
        uncertain: str = "ignore",
    ) -> ClassArrays:
        """Weights and counts of the training split, priors of the batches as drawn.

        The negative class is the commonest where none is given.
        """
        counts = priors.class_counts(data.labels, len(data.classes))
        weights = priors.class_weights(counts, method.weights, beta=method.beta, power=method.power)
        late = "composition" in method.deferred
        return ClassArrays(
            class_weights=weights.astype(np.float32),
            counts=counts.astype(np.float32),
            priors=priors.class_priors(stream_counts).astype(np.float32),
            negative=np.int32(np.argmax(counts) if negative is None else negative),
            priors_before=(drawn_counts / drawn_counts.sum()).astype(np.float32) if late else None,
        )

    def measure(self, data: Dataset, kept: np.ndarray, negative_class: str | None) -> dict[str, float]:
        """As every task's, and ``loss``: the mean negative log probability of the labels."""
        values = super().measure(data, kept, negative_class)
        # on the host: bootstrap replicates differ in size, and each size would be compiled
        logs = log_softmax(np.log(np.maximum(kept, 1e-30, dtype=np.float64)), axis=1)
        values["loss"] = float(-logs[np.arange(len(logs)), data.labels].mean())
        return values

    def use_priors(
        self, given: tuple[float, ...] | None, labels: np.ndarray, classes: tuple[str, ...]
    ) -> np.ndarray | None:
        """``given``, checked to be a distribution over the classes, or the shares of ``labels``."""
        if given is None:
            return np.asarray(priors.class_priors(priors.class_counts(labels, len(classes))))
        if len(given) != len(classes) or min(given) <= 0 or not np.isclose(sum(given), 1):
            raise InputError(
                f"data.deployment-priors are {' '.join(map(str, given))}: give {len(classes)} shares above 0, "
                f"one for each of {', '.join(classes)}, with sum 1"
            )
        return np.asarray(given)

    def training_priors(self, method: Method, arrays: Any) -> np.ndarray:
        """The priors under which the softmax is a posterior, as far as the loss is proper."""
        stream = np.asarray(arrays.priors, np.float64)
        if method.second_stage == "memory_head":  # every slot has one say
            slots = np.minimum(np.asarray(arrays.counts, np.float64), method.memory_size)
            return slots / slots.sum()
        if method.second_stage != "none":
            return np.full(len(stream), 1 / len(stream))
        if method.loss_row.priors_removed:
            left = stream ** (1 - method.loss_row.power_removed(method.loss_options))
            return left / left.sum()
        return effective_priors(stream, arrays.class_weights)

    def log_outputs(self, outputs: ArrayLike) -> np.ndarray:
        """Log probabilities; the rows of a float32 softmax sum to 1 only nearly."""
        return log_softmax(np.log(np.maximum(np.asarray(outputs, np.float64), SMALLEST)), axis=-1)

    def from_log_outputs(self, logs: np.ndarray) -> np.ndarray:
        """Softmax."""
        return softmax(logs, axis=-1)

    def scaled(self, outputs: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        """Softmax of the scaled log probabilities."""
        logs = jax.nn.log_softmax(jnp.log(jnp.maximum(outputs, SMALLEST)))
        return jax.nn.softmax(scale * logs + bias)

    def prior_shift(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """log target - log source."""
        return np.log(target) - np.log(source)

    def without_extremes(self, priors: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """As every classification's, with sum 1."""
        found = super().without_extremes(priors, otherwise)
        return found / found.sum()

    def fit_scaling(
        self, kind: str, logs: np.ndarray, labels: np.ndarray, source: np.ndarray, seen: np.ndarray
    ) -> tuple[LogitScaling, str]:
        """Calibration of the kind asked for, starting from the prior shift where the priors are known."""
        known = np.isfinite(source).all() and (seen > 0).all()
        shift = self.prior_shift(source, seen) if known else np.zeros(len(seen))
        return fit_classes(kind, logs, labels, shift)

    def log_odds(self, logits: jax.Array, cls: Any) -> jax.Array:
        """z_c - log sum_{k != c} exp z_k; of a single logit itself."""
        own = logits[:, cls]
        if logits.shape[1] == 1:
            return own
        others = jnp.where(jnp.arange(logits.shape[1]) == cls, -jnp.inf, logits)
        return own - jax.nn.logsumexp(others, axis=1)

    def aligned(self, data: Dataset, classes: tuple[str, ...]) -> Dataset:
        """The labels as places among ``classes``; InputError for images of a class that is none of them."""
        self.check_data(data)
        present = [data.classes[c] for c in np.unique(data.labels)]
        unknown = [name for name in present if name not in classes]
        if unknown:
            raise InputError(
                f"the data set has images of {', '.join(unknown)}, the network knows {', '.join(classes)}: "
                "rename the labels, or leave those images out"
            )
        place = np.array([classes.index(name) if name in classes else -1 for name in data.classes])
        return replace(data, labels=place[data.labels].astype(np.int32), classes=classes)
