"""Classification with many labels an image, each 0, 1, uncertain (-1) or missing (-2)."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from imbal_jax import losses, priors
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.labels import MISSING, UNCERTAIN
from imbal_jax.decisions.calibration import LogitScaling
from imbal_jax.decisions.prior_shift import effective_prevalence
from imbal_jax.errors import InputError
from imbal_jax.methods import LOSSES, ClassArrays, Loss, LossFunction, Method
from imbal_jax.tasks.calibrating import fit_labels
from imbal_jax.tasks.classification import Classification

EDGE = 1e-7  # probabilities; closer to 0 or 1, a float32 sigmoid is dominated by rounding


class ManyLabels(Classification):
    """Labels int [N, L]; a sigmoid of each logit."""

    name = "many labels an image"
    dimensions = 2
    label_kind = "many"
    losses = tuple(name for name, row in LOSSES.items() if row.many_labels)
    allowed = ("mixing", "hard_negatives")

    def check(self, method: Method) -> None:
        """As in Classification; also refuses options that count images per class."""
        if method.resample != "none":
            raise InputError(f"method {method.name}: resample={method.resample} needs one label an image")
        if method.epoch == "rarest":
            raise InputError(f"method {method.name}: epoch=rarest needs one label an image")
        super().check(method)

    def function_of(self, loss: Loss) -> LossFunction | None:
        """The loss function for many labels."""
        return loss.many_labels

    def targets(self, labels: jax.Array, uncertain: str) -> tuple[jax.Array, jax.Array | None]:
        """Targets and the mask of those that are known, by the policy for uncertain labels."""
        return losses.targets_and_mask(labels, uncertain)

    def weights(self, labels: jax.Array, mask: jax.Array | None, arrays: ClassArrays) -> jax.Array:
        """1 where a label is known; losses weigh positives themselves."""
        return jnp.asarray(mask, jnp.float32)

    def smoothed(self, targets: jax.Array, classes: int, smoothing: float) -> jax.Array:
        """Targets smoothed towards 1/2."""
        return targets * (1 - smoothing) + smoothing / 2

    def positives(self, labels: jax.Array, targets: jax.Array, arrays: ClassArrays) -> jax.Array:
        """Labels that are positive, or uncertain and trained as positive."""
        return targets > 0.5

    def probabilities(self, logits: jax.Array) -> jax.Array:
        """Sigmoid."""
        return jax.nn.sigmoid(logits.astype(jnp.float32))

    def drawn_labels(self, labels: np.ndarray, uncertain: str) -> np.ndarray:
        """The labels, with 1 in place of -1 where uncertain ones are trained as positive."""
        if uncertain not in ("ones", "soft"):
            return labels
        return np.where(labels == UNCERTAIN, labels.dtype.type(1), labels)

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
        """Weights of the positives; positives and known labels, uncertain ones as they are trained."""
        targets, mask = map(np.asarray, losses.targets_and_mask(data.labels, uncertain))
        counts, known = targets.sum(axis=0, dtype=np.float64), mask.sum(axis=0)
        if method.weights == "none":
            weights = np.ones(len(data.classes))
        elif method.weights in ("inverse", "sqrt_inverse"):
            power = method.power / 2 if method.weights == "sqrt_inverse" else method.power
            weights = np.asarray(priors.positive_weights(counts, known, power))
        else:  # the scheme's weight of the positives relative to that of the negatives, label by label
            pairs = [
                priors.class_weights(
                    np.array([n - c, c]), method.weights, beta=method.beta, power=method.power
                )
                for c, n in zip(counts, known, strict=True)
            ]
            weights = np.array([positive / negative for negative, positive in pairs])
        return ClassArrays(
            class_weights=weights.astype(np.float32),
            counts=counts.astype(np.float32),
            known=known.astype(np.float32),
        )

    def use_priors(
        self, given: tuple[float, ...] | None, labels: np.ndarray, classes: tuple[str, ...]
    ) -> np.ndarray | None:
        """``given`` prevalences, one a label, checked; None where none are given."""
        if given is None:
            return None
        if len(given) != len(classes) or min(given) <= 0 or max(given) >= 1:
            raise InputError(
                f"data.deployment-priors are {' '.join(map(str, given))}: give {len(classes)} prevalences above 0 "
                f"and below 1, one for each of {', '.join(classes)}"
            )
        return np.asarray(given)

    def training_priors(self, method: Method, arrays: Any) -> np.ndarray:
        """The prevalence of each label that its sigmoid assumes; NaN where the batches are composed."""
        positives, known, weights = (
            np.asarray(values, np.float64) for values in (arrays.counts, arrays.known, arrays.class_weights)
        )
        if method.composition != "natural":
            return np.full(len(positives), np.nan)
        return effective_prevalence(positives, known, weights)

    def log_outputs(self, outputs: ArrayLike) -> np.ndarray:
        """Log odds."""
        return logit(np.clip(np.asarray(outputs, np.float64), EDGE, 1 - EDGE))

    def from_log_outputs(self, logs: np.ndarray) -> np.ndarray:
        """Sigmoid."""
        return expit(logs)

    def scaled(self, outputs: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        """Sigmoid of the scaled log odds."""
        outputs = jnp.clip(outputs, EDGE, 1 - EDGE)
        return jax.nn.sigmoid(scale * (jnp.log(outputs) - jnp.log1p(-outputs)) + bias)

    def prior_shift(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The difference of the log odds, target - source."""
        return logit(target) - logit(source)

    def fit_scaling(
        self, kind: str, logs: np.ndarray, labels: np.ndarray, source: np.ndarray, seen: np.ndarray
    ) -> tuple[LogitScaling, str]:
        """Platt's scaling of each label, whatever kind is asked."""
        return fit_labels(logs, labels), kind

    def log_odds(self, logits: jax.Array, cls: Any) -> jax.Array:
        """The logit."""
        return logits[:, cls]

    def aligned(self, data: Dataset, classes: tuple[str, ...]) -> Dataset:
        """The columns in the order of ``classes``, missing where ``data`` has none; InputError where it has none of
        them."""
        self.check_data(data)
        if not set(classes) & set(data.classes):
            raise InputError(
                f"the data set has the labels {', '.join(data.classes)}, the network knows {', '.join(classes)}"
            )
        labels = np.full((len(data), len(classes)), MISSING, data.labels.dtype)
        for c, name in enumerate(classes):
            if name in data.classes:
                labels[:, c] = data.labels[:, data.classes.index(name)]
        return replace(data, labels=labels, classes=classes)
