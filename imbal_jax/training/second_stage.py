"""Second stage, on frozen features: heads in closed form, and batches of features to train a head on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import linregress

from imbal_jax.data.feeding.pipeline import Resident
from imbal_jax.data.feeding.plans import draw
from imbal_jax.engine import keys
from imbal_jax.errors import InputError
from imbal_jax.transforms.synthesis import kernel_deviations, nearest_neighbours, smoothed_bootstrap, smote

TAUS = np.linspace(0.0, 2.0, 21)
"""The exponents that are tried; the grid of Kang et al., ICLR 2020."""


def tau_normalized(head: Mapping[str, Any], tau: float) -> dict[str, np.ndarray]:
    """The linear head with column c divided by |w_c|^tau, and no bias (Kang et al., ICLR 2020, eq. 4).

    head: ``kernel`` [D, C] and ``bias`` [C]. tau: 0 drops the bias only, 1 gives every column length 1.
    """
    kernel = np.asarray(head["kernel"], np.float32)
    length = np.linalg.norm(kernel, axis=0)
    return {
        "kernel": kernel / np.maximum(length, 1e-12) ** np.float32(tau),
        "bias": np.zeros(kernel.shape[1], np.float32),
    }


def choose_tau(
    head: Mapping[str, Any], score: Callable[[Mapping[str, Any]], float], taus: np.ndarray = TAUS
) -> tuple[float, dict[str, np.ndarray]]:
    """The exponent whose head has the best validation ``score`` (the smallest on ties), and that head."""
    scores = [score(tau_normalized(head, tau)) for tau in taus]
    best = int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))
    return float(taus[best]), tau_normalized(head, taus[best])


def nearest_mean(features: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """A linear head whose logits are the cosine between a feature and each class's mean, times the feature's length.

    Kang et al., ICLR 2020, section 4.2. features: [N, D], of the training split. labels: int [N], every class
    present. Raises InputError for a class without items or whose mean is zero.
    """
    means = np.zeros((classes, features.shape[1]))
    np.add.at(means, labels, features.astype(np.float64))
    length = np.linalg.norm(means, axis=1)
    if not (length > 0).all():
        raise InputError(
            f"class {int(np.argmin(length))} has no mean feature: it has no items, or they are zero"
        )
    return {
        "kernel": (means / length[:, None]).T.astype(np.float32),
        "bias": np.zeros(classes, np.float32),
    }


def still_falling(steps: Sequence[int], losses: Sequence[float]) -> bool:
    """Whether a training loss still falls in the second half of a training, beyond the noise of its batches.

    steps: at which each loss was recorded, rising; losses: the means since the record before. A line through the
    records of the second half falls by more than 1 % of their mean, with p < 0.05 (one-sided); of fewer than three
    records the last is more than 5 % below the first.
    """
    at, values = np.asarray(steps, np.float64), np.asarray(losses, np.float64)
    kept = np.isfinite(values) & (at > at[-1] / 2 if len(at) else at > 0)
    at, values = at[kept], values[kept]
    if len(at) < 2:
        return False
    if len(at) < 3:
        return bool(values[-1] < 0.95 * values[0])
    line = linregress(at, values, alternative="less")
    fall = -line.slope * (at[-1] - at[0])
    return bool(fall > 0.01 * abs(values.mean()) and line.pvalue < 0.05)


@dataclass(frozen=True)
class FeaturePipeline:
    """Batches of real and synthetic features for the training of a head, in place of ``data.pipeline.Pipeline``.

    Every class is drawn as if it had been filled up to n_max items, the size of the largest class. For a class of n_c
    items, a share n_c / n_max of its draws are real items; the others are points between an item and a neighbour of
    its class (smote, Chawla et al., JAIR 2002) or from a kernel around an item (smoothed_bootstrap). The largest
    class has real items only. Of originals, every draw is a real item.
    """

    kind: Literal["smote", "smoothed_bootstrap", "originals"]
    spread: ClassVar[bool] = False  # features are small

    def from_device(self, resident: Resident, step: jax.Array, shard: jax.Array | None) -> dict[str, Any]:
        """The batch of ``step``; pure, and the same global batch for any number of shards.

        ``resident.images`` are the features, ``resident.extra`` is what ``arrays`` gives.
        """
        drawn = draw(resident.plans, step, shard)
        items, places = drawn.items, drawn.places
        step_key = keys.images_of_step(resident.shared.images_key, step)
        item_keys, gates = keys.in_two(keys.of_places(step_key, places))
        features, labels, extra = resident.images, resident.labels, resident.extra
        points = features[items]
        if self.kind == "smote":
            made = smote(item_keys, items, features, extra["neighbours"])
        elif self.kind == "smoothed_bootstrap":
            made = smoothed_bootstrap(item_keys, items, features, labels, extra["deviations"])
        else:
            made = points
        chosen = jax.vmap(jax.random.uniform)(gates) < extra["synthetic_share"][labels[items]]
        points = jnp.where(chosen[:, None], made, points)
        shared = replace(resident.shared, loss_key=jax.random.key_data(step_key))
        return {"inputs": points, "labels": labels[items], "shared": shared}

    def arrays(self, features: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, np.ndarray]:
        """The arrays that ``from_device`` reads besides the features; neighbours only of classes to be filled up."""
        counts = np.bincount(labels, minlength=classes)
        share = (1 - counts / counts.max()).astype(np.float32)
        if self.kind == "originals":
            return {"synthetic_share": np.zeros_like(share)}
        if self.kind == "smote":
            neighbours = nearest_neighbours(features, labels, classes=np.flatnonzero(share > 0).tolist())
            return {"synthetic_share": share, "neighbours": neighbours}
        return {"synthetic_share": share, "deviations": kernel_deviations(features, labels, classes)}
