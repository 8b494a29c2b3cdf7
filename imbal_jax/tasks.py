"""A task is a value: which losses fit, what a prediction is, how it is scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax import losses, metrics, priors
from imbal_jax.data.dataset import Dataset
from imbal_jax.engine.step import Batch, Objective
from imbal_jax.errors import InputError
from imbal_jax.methods import COSINE_SCALE, LOSSES, ClassArrays, LossFunction, Method, Scene


@dataclass(frozen=True)
class Task:
    """What differs between one label an image and many.

    losses: name -> function of a scene, of the rows of ``methods.LOSSES`` that fit.
    targets: (labels, uncertain policy) -> targets and mask (None: all count).
    weights: (labels, mask, class arrays) -> weights of the values, broadcastable to them.
    predict: logits [B, C] -> probabilities [B, C].
    """

    name: str
    losses: Mapping[str, LossFunction]
    targets: Callable[[jax.Array, str], tuple[jax.Array, jax.Array | None]]
    weights: Callable[[jax.Array, jax.Array | None, ClassArrays], jax.Array]
    predict: Callable[[jax.Array], jax.Array]
    allowed: tuple[str, ...] = ()

    def check(self, method: Method) -> None:
        """Raise InputError where the task has no such loss, or the parts of the method exclude each other."""
        for name in (method.loss, method.second_loss):
            if name not in self.losses:
                allowed = ", ".join(self.losses)
                raise InputError(
                    f"method {method.name}: loss {name} is not for {self.name}, allowed are {allowed}"
                )
        if LOSSES[method.second_loss].ranks:
            raise InputError(
                f"method {method.name}: second_loss {method.second_loss} ranks, and trains no head"
            )
        if method.loss_row.ranks and (method.mixing != "none" or method.deferred or method.hard_negatives):
            raise InputError(
                f"method {method.name}: {method.loss} ranks whole images, it takes no mixing, deferral or mining"
            )
        for part in ("mixing", "auxiliary", "second_stage", "correction", "hard_negatives"):
            if getattr(method, part) not in ("none", 0) and part not in self.allowed:
                raise InputError(f"method {method.name}: {part} is not for {self.name}")
        if method.auxiliary != "none" and method.mixing != "none":
            raise InputError(
                f"method {method.name}: a contrast of mixed images has no classes; give one of them"
            )

    def predictor(self, method: Method) -> Callable[[Any], jax.Array]:
        """Outputs of the network -> probabilities [B, C], for a network trained with ``method``."""

        def predict(outputs: Any) -> jax.Array:
            return self.predict(_scaled(_as_mapping(outputs)["logits"], method))

        return predict

    def objective(
        self, method: Method, *, label_smoothing: float = 0.0, uncertain: str = "ignore"
    ) -> Objective:
        """The loss of ``method`` as the train step wants it; InputError where the task has no such loss."""
        self.check(method)
        row, options, loss = method.loss_row, method.loss_options, self.losses[method.loss]

        def scene_of(outputs: Mapping[str, Any], labels: jax.Array, batch: Batch, axis: str | None) -> Scene:
            targets, mask = self.targets(labels, uncertain)
            if label_smoothing and not row.ranks:  # a rank has no smooth label
                targets = _smoothed(targets, outputs["logits"].shape[-1], label_smoothing)
            shared = batch["shared"]
            return Scene(
                outputs,
                targets,
                mask,
                _class_arrays_of(shared, method),
                options,
                method.beta,
                _device_key(shared, axis),
                axis,
            )

        def values_of(
            scene: Scene, labels: jax.Array, shared: Mapping[str, jax.Array]
        ) -> tuple[jax.Array, jax.Array]:
            values = loss(scene)
            if "loss" in method.deferred:
                plain = self.losses["cross_entropy"](scene)
                blend = shared["blend"]
                values = jnp.where(blend > 0, blend * values, 0) + (1 - blend) * plain
            weights = jnp.broadcast_to(self.weights(labels, scene.mask, scene.arrays), values.shape)
            if method.hard_negatives:
                positive = labels != shared["negative"] if labels.ndim == 1 else scene.targets > 0.5
                known = jnp.where(weights > 0, values, -jnp.inf)
                weights *= losses.hard_negatives(
                    known, positive, ratio=method.hard_negatives, axis_name=scene.axis_name
                )
            return values, weights

        def objective(outputs: Any, batch: Batch, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
            outputs, labels, contrasted = _views_apart(_as_mapping(outputs), batch["labels"], method)
            if row.cosine_scale is None:
                outputs["logits"] = _scaled(outputs["logits"], method)
            scene = scene_of(outputs, labels, batch, axis)
            if row.ranks:
                return loss(scene), {}
            values, weights = values_of(scene, labels, batch["shared"])
            if "partner_labels" in batch:
                # share L(own label) + (1 - share) L(partner's label), for any loss. Twice, as twice are averaged.
                share = batch["share"].reshape(-1, *[1] * (values.ndim - 1))
                partner = scene_of(outputs, batch["partner_labels"], batch, axis)
                others, their_weights = values_of(partner, batch["partner_labels"], batch["shared"])
                values = jnp.concatenate([values, others])
                weights = jnp.concatenate([2 * share * weights, 2 * (1 - share) * their_weights])
            mean = losses.weighted_mean(values, weights, axis, method.normalize)
            if method.auxiliary != "none":
                mean += method.auxiliary_weight * _contrast(scene, contrasted, method)
            return mean, {}

        return objective


def _as_mapping(outputs: Any) -> Mapping[str, Any]:
    return outputs if isinstance(outputs, Mapping) else {"logits": outputs}


def _views_apart(
    outputs: Mapping[str, Any], labels: jax.Array, method: Method
) -> tuple[dict[str, Any], jax.Array, jax.Array]:
    """Outputs as the loss of the labels and the contrast see them, labels of the one and labels of the other."""
    if not method.contrast_views:
        return dict(outputs), labels, labels
    seen = (
        len(labels) // method.views * (method.views - method.contrast_views)
    )  # views stand one after the other
    apart = {name: outputs[name][:seen] for name in ("logits", "features") if name in outputs}
    return {**outputs, **apart, "projection": outputs["projection"][seen:]}, labels[:seen], labels[seen:]


def _scaled(logits: jax.Array, method: Method) -> jax.Array:
    if method.head == "linear":
        return logits
    own = method.loss_row.cosine_scale
    return logits * (COSINE_SCALE if own is None else method.loss_options[own])


def _class_arrays_of(shared: Mapping[str, jax.Array], method: Method) -> ClassArrays:
    """The class arrays of this step: weights that are deferred grow from 1 as ``blend`` goes from 0 to 1."""
    weights = shared["class_weights"]
    if "weights" in method.deferred:
        weights = 1 + shared["blend"] * (weights - 1)
    return ClassArrays(weights, shared["counts"], shared.get("priors"), shared.get("known"))


def _device_key(shared: Mapping[str, jax.Array], axis_name: str | None) -> jax.Array | None:
    """A PRNG key of this step and device."""
    if "step_key" not in shared:
        return None
    key = jax.random.wrap_key_data(shared["step_key"])
    return key if axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(axis_name))


def _smoothed(targets: jax.Array, classes: int, smoothing: float) -> jax.Array:
    if targets.ndim == 2:  # many labels: towards 1/2
        return targets * (1 - smoothing) + smoothing / 2
    return jax.nn.one_hot(targets, classes) * (1 - smoothing) + smoothing / classes


def _contrast(scene: Scene, labels: jax.Array, method: Method) -> jax.Array:
    projection, temperature = scene.outputs["projection"], method.auxiliary_temperature
    if method.auxiliary == "sup_con":
        values = losses.sup_con(projection, labels, temperature, axis_name=scene.axis_name)
        weights = losses.has_positive(labels, axis_name=scene.axis_name)
    else:
        prototypes = scene.outputs["prototypes"]
        values = losses.balanced_contrastive(
            projection, labels, prototypes, temperature, axis_name=scene.axis_name
        )
        weights = None
    return losses.weighted_mean(values, weights, scene.axis_name)


ONE_LABEL = Task(
    name="one label an image",
    losses={name: row.one_label for name, row in LOSSES.items() if row.one_label},
    targets=lambda labels, uncertain: (labels, None),
    weights=lambda labels, mask, arrays: arrays.class_weights[labels],
    predict=lambda z: jax.nn.softmax(z.astype(jnp.float32)),
    allowed=("mixing", "auxiliary", "second_stage", "correction", "hard_negatives"),
)

MANY_LABELS = Task(
    name="many labels an image",
    losses={name: row.many_labels for name, row in LOSSES.items() if row.many_labels},
    targets=losses.targets_and_mask,
    weights=lambda labels, mask, arrays: jnp.asarray(mask, jnp.float32),
    predict=lambda z: jax.nn.sigmoid(z.astype(jnp.float32)),
    allowed=("mixing", "hard_negatives"),
)


def task_for(data: Dataset) -> Task:
    """The task that the labels of ``data`` pose."""
    return MANY_LABELS if data.many_labels else ONE_LABEL


def second_stage(method: Method) -> Method:
    """What the head of ``method`` is trained with once the features are frozen: balanced batches."""
    return Method(
        name=method.name,
        summary=method.summary,
        composition="balanced",
        loss=method.second_loss,
        options=method.second_loss_options,
        head=method.head,
    )


def class_arrays(
    method: Method,
    labels: np.ndarray,
    classes: int,
    stream_counts: np.ndarray,
    negative: int | None = None,
    uncertain: str = "ignore",
) -> dict[str, np.ndarray]:
    """The runtime arrays of a method: a sweep over ratios changes their values and recompiles nothing.

    labels: those of the training split, [N] or [N, L]. stream_counts: [C], how often each class is drawn.
    negative: index of the class that is no finding; the commonest where None. uncertain: the policy of
    ``losses.targets_and_mask``: labels of -1 count as what they are trained as.
    Returns ``class_weights`` float32 [C] (for many labels: the weight of the positives), ``counts`` float32 [C],
    ``priors`` float32 [C], those of the drawn batches, and ``negative`` (one label only), ``known`` float32 [C],
    the labels that are 0 or 1 (many labels only).
    """
    counts = priors.class_counts(labels, classes)
    if labels.ndim == 1:
        weights = priors.class_weights(counts, method.weights, beta=method.beta, power=method.power)
        stream = priors.class_priors(stream_counts)
        return {
            "class_weights": weights.astype(np.float32),
            "counts": counts.astype(np.float32),
            "priors": stream.astype(np.float32),
            "negative": np.int32(np.argmax(counts) if negative is None else negative),
        }
    targets, mask = map(np.asarray, losses.targets_and_mask(labels, uncertain))
    counts, known = targets.sum(axis=0, dtype=np.float64), mask.sum(axis=0)
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
    return {
        "class_weights": weights.astype(np.float32),
        "counts": counts.astype(np.float32),
        "known": known.astype(np.float32),
    }


def score(
    labels: np.ndarray, scores: np.ndarray, classes: tuple[str, ...], negative_class: str | None
) -> dict[str, dict[str, float]]:
    """Rows of metrics, one a class and ``macro``: see ``metrics.classification_summary``."""
    return metrics.classification_summary(labels, scores, classes, negative_class=negative_class)
