"""A task is a value: which losses fit, what a prediction is, how it is scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax import losses, metrics, priors
from imbal_jax.data.dataset import Dataset
from imbal_jax.errors import InputError
from imbal_jax.methods import Method
from imbal_jax.step import Batch, Objective

LossFn = Callable[[jax.Array, Batch, Method, str | None], jax.Array]


@dataclass(frozen=True)
class Task:
    """What differs between one label an image and many.

    losses: name -> (logits [B, C], batch, method, axis name) -> values, [B] or [B, C].
    weights: batch -> weights of those values, broadcastable to them.
    predict: logits [B, C] -> probabilities [B, C].
    """

    name: str
    losses: Mapping[str, LossFn]
    weights: Callable[[Batch], jax.Array]
    predict: Callable[[jax.Array], jax.Array]

    def objective(self, method: Method, *, label_smoothing: float = 0.0) -> Objective:
        """The loss of ``method`` as the train step wants it; InputError where the task has no such loss."""
        if method.loss not in self.losses:
            raise InputError(
                f"method {method.name}: loss {method.loss} is not for {self.name}, allowed are "
                f"{', '.join(self.losses)}"
            )
        loss_of = self.losses[method.loss]

        def objective(
            logits: Any, batch: Batch, axis_name: str | None
        ) -> tuple[jax.Array, dict[str, jax.Array]]:
            if label_smoothing:
                batch = {**batch, "targets": _smoothed(batch["labels"], logits.shape[-1], label_smoothing)}
            else:
                batch = {**batch, "targets": batch["labels"]}
            values = loss_of(logits, batch, method, axis_name)
            return losses.weighted_mean(values, self.weights(batch), axis_name, method.normalize), {}

        return objective


def _smoothed(labels: jax.Array, classes: int, smoothing: float) -> jax.Array:
    if labels.ndim == 2:  # many labels: towards 1/2
        return labels * (1 - smoothing) + smoothing / 2
    return jax.nn.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes


ONE_LABEL = Task(
    name="one label an image",
    losses={
        "cross_entropy": lambda z, batch, method, axis: losses.cross_entropy(z, batch["targets"]),
        "bayesian": lambda z, batch, method, axis: losses.bayesian_cross_entropy(
            z, batch["targets"], None, axis_name=axis
        ),
        "focal": lambda z, batch, method, axis: losses.focal(z, batch["targets"], method.gamma),
        "logit_adjusted": lambda z, batch, method, axis: losses.logit_adjusted(
            z, batch["targets"], batch["shared"]["priors"], method.tau
        ),
        "balanced_softmax": lambda z, batch, method, axis: losses.balanced_softmax(
            z, batch["targets"], batch["shared"]["priors"]
        ),
    },
    weights=lambda batch: batch["shared"]["class_weights"][batch["labels"]],
    predict=lambda z: jax.nn.softmax(z.astype(jnp.float32)),
)

MANY_LABELS = Task(
    name="many labels an image",
    losses={
        "cross_entropy": lambda z, batch, method, axis: losses.binary_cross_entropy(
            z, batch["targets"], batch["shared"]["class_weights"], batch["labels"] >= 0
        ),
    },
    weights=lambda batch: (batch["labels"] >= 0).astype(jnp.float32),
    predict=lambda z: jax.nn.sigmoid(z.astype(jnp.float32)),
)


def task_for(data: Dataset) -> Task:
    """The task that the labels of ``data`` pose."""
    return MANY_LABELS if data.many_labels else ONE_LABEL


def class_arrays(
    method: Method, labels: np.ndarray, classes: int, stream_counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The runtime arrays of a method: a sweep over ratios changes their values and recompiles nothing.

    labels: those of the training split, [N] or [N, L]. stream_counts: [C], how often each class is drawn.
    Returns ``class_weights`` float32 [C] (for many labels: the weight of the positives) and ``priors`` float32
    [C], those of the drawn batches (one label only).
    """
    counts = priors.class_counts(labels, classes)
    if labels.ndim == 1:
        weights = priors.class_weights(counts, method.weights, beta=method.beta, power=method.power)
        stream = priors.class_priors(stream_counts)
        return {"class_weights": weights.astype(np.float32), "priors": stream.astype(np.float32)}
    known = (labels >= 0).sum(axis=0)
    if method.weights == "none":
        weights = np.ones(classes)
    elif method.weights in ("inverse", "sqrt_inverse"):
        power = method.power / 2 if method.weights == "sqrt_inverse" else method.power
        weights = priors.positive_weights(counts, known, power)
    else:  # the scheme's weight of the positives relative to that of the negatives, label by label
        pairs = [
            priors.class_weights(np.array([n - c, c]), method.weights, beta=method.beta, power=method.power)
            for c, n in zip(counts, known, strict=True)
        ]
        weights = np.array([positive / negative for negative, positive in pairs])
    return {"class_weights": weights.astype(np.float32)}


def score(
    labels: np.ndarray, scores: np.ndarray, classes: tuple[str, ...], negative_class: str | None
) -> dict[str, dict[str, float]]:
    """Rows of metrics, one a class and ``macro``: see ``metrics.classification_summary``."""
    return metrics.classification_summary(labels, scores, classes, negative_class=negative_class)
