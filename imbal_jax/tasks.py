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
from imbal_jax.losses.sigmoid import sigmoid_pair
from imbal_jax.losses.softmax import log_odds
from imbal_jax.methods import LOSSES, Method

COSINE_SCALE = LOSSES["ldam"]["scale"]
"""What logits of a cosine head are multiplied by; Cao et al. 2019 give it for LDAM."""


@dataclass(frozen=True)
class Scene:
    """What a loss may look at: one batch, as one device sees it.

    outputs: of the network: ``logits`` [B, C], and ``features``, ``auc_margin``, ... where the method has them.
    targets: int [B] or soft [B, C]; mask: bool, of the targets, or None. shared: class arrays.
    """

    outputs: Mapping[str, Any]
    targets: jax.Array
    mask: jax.Array | None
    shared: Mapping[str, jax.Array]
    options: Mapping[str, float]
    method: Method
    axis_name: str | None

    @property
    def logits(self) -> jax.Array:
        return self.outputs["logits"]

    @property
    def key(self) -> jax.Array:
        """A PRNG key of this step and device."""
        key = jax.random.wrap_key_data(self.shared["step_key"])
        return key if self.axis_name is None else jax.random.fold_in(key, jax.lax.axis_index(self.axis_name))


LossFn = Callable[[Scene], jax.Array]


@dataclass(frozen=True)
class Task:
    """What differs between one label an image and many.

    losses: name -> scene -> values, [B] or [B, C], to be averaged.
    ranking: name -> scene -> one number for the global batch.
    targets: (labels, uncertain policy) -> targets and mask (None: all count).
    weights: (targets, mask, shared) -> weights of the values, broadcastable to them.
    predict: logits [B, C] -> probabilities [B, C].
    """

    name: str
    losses: Mapping[str, LossFn]
    ranking: Mapping[str, LossFn]
    targets: Callable[[jax.Array, str], tuple[jax.Array, jax.Array | None]]
    weights: Callable[[jax.Array, jax.Array | None, Mapping[str, jax.Array]], jax.Array]
    predict: Callable[[jax.Array], jax.Array]
    allowed: tuple[str, ...] = ()

    def check(self, method: Method) -> None:
        """Raise InputError where the task has no such loss, or the parts of the method exclude each other."""
        having = [*self.losses, *self.ranking]
        for name in (method.loss, method.second_loss):
            if name not in having:
                raise InputError(
                    f"method {method.name}: loss {name} is not for {self.name}, allowed are {', '.join(having)}"
                )
        if method.second_loss in self.ranking:
            raise InputError(
                f"method {method.name}: second_loss {method.second_loss} ranks, and trains no head"
            )
        if method.loss in self.ranking and (
            method.mixing != "none" or method.deferred or method.hard_negatives
        ):
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

        def scene_of(outputs: Mapping[str, Any], labels: jax.Array, batch: Batch, axis: str | None) -> Scene:
            targets, mask = self.targets(labels, uncertain)
            if label_smoothing and method.loss not in self.ranking:  # a rank has no smooth label
                targets = _smoothed(targets, outputs["logits"].shape[-1], label_smoothing)
            return Scene(
                outputs, targets, mask, _blended(batch["shared"], method), method.loss_options, method, axis
            )

        def values_of(scene: Scene, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
            values = self.losses[method.loss](scene)
            if "loss" in method.deferred:
                plain = self.losses["cross_entropy"](scene)
                blend = scene.shared["blend"]
                values = jnp.where(blend > 0, blend * values, 0) + (1 - blend) * plain
            weights = jnp.broadcast_to(self.weights(labels, scene.mask, scene.shared), values.shape)
            if method.hard_negatives:
                positive = labels != scene.shared["negative"] if labels.ndim == 1 else scene.targets > 0.5
                known = jnp.where(weights > 0, values, -jnp.inf)
                weights *= losses.hard_negatives(
                    known, positive, ratio=method.hard_negatives, axis_name=scene.axis_name
                )
            return values, weights

        def objective(outputs: Any, batch: Batch, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
            outputs, labels, contrasted = _views_apart(_as_mapping(outputs), batch["labels"], method)
            if method.loss != "ldam":  # which has the scale among its options
                outputs["logits"] = _scaled(outputs["logits"], method)
            scene = scene_of(outputs, labels, batch, axis)
            if method.loss in self.ranking:
                return self.ranking[method.loss](scene), {}
            values, weights = values_of(scene, labels)
            if "partner_labels" in batch:
                # share L(own label) + (1 - share) L(partner's label), for any loss. Twice, as twice are averaged.
                share = batch["share"].reshape(-1, *[1] * (values.ndim - 1))
                partner = scene_of(outputs, batch["partner_labels"], batch, axis)
                others, their_weights = values_of(partner, batch["partner_labels"])
                values = jnp.concatenate([values, others])
                weights = jnp.concatenate([2 * share * weights, 2 * (1 - share) * their_weights])
            loss = losses.weighted_mean(values, weights, axis, method.normalize)
            if method.auxiliary != "none":
                loss += method.auxiliary_weight * _contrast(scene, contrasted)
            return loss, {}

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
    return logits * (method.loss_options["scale"] if method.loss == "ldam" else COSINE_SCALE)


def _blended(shared: Mapping[str, jax.Array], method: Method) -> Mapping[str, jax.Array]:
    """The class arrays of this step: weights that are deferred grow from 1 as ``blend`` goes from 0 to 1."""
    if "weights" not in method.deferred:
        return shared
    weights = 1 + shared["blend"] * (shared["class_weights"] - 1)
    return {**shared, "class_weights": weights}


def _smoothed(targets: jax.Array, classes: int, smoothing: float) -> jax.Array:
    if targets.ndim == 2:  # many labels: towards 1/2
        return targets * (1 - smoothing) + smoothing / 2
    return jax.nn.one_hot(targets, classes) * (1 - smoothing) + smoothing / classes


def _contrast(scene: Scene, labels: jax.Array) -> jax.Array:
    projection, temperature = scene.outputs["projection"], scene.method.auxiliary_temperature
    if scene.method.auxiliary == "sup_con":
        values = losses.sup_con(projection, labels, temperature, axis_name=scene.axis_name)
        weights = losses.has_positive(labels, axis_name=scene.axis_name)
    else:
        prototypes = scene.outputs["prototypes"]
        values = losses.balanced_contrastive(
            projection, labels, prototypes, temperature, axis_name=scene.axis_name
        )
        weights = None
    return losses.weighted_mean(values, weights, scene.axis_name)


def _class_odds(scene: Scene) -> tuple[jax.Array, jax.Array]:
    """For each class the log odds against the rest, [B, C], and who is of it; one column of two classes."""
    logits = scene.logits.astype(jnp.float32)
    targets = jax.nn.one_hot(scene.targets, logits.shape[-1])
    if logits.shape[-1] == 2:
        return logits[:, 1:] - logits[:, :1], targets[:, 1:]
    return log_odds(logits), targets


def _labels_apart(scene: Scene) -> tuple[jax.Array, jax.Array]:
    """The logits, and which labels are positive: an uncertain one that is trained as 0.7 ranks with the positives."""
    return scene.logits.astype(jnp.float32), (scene.targets > 0.5).astype(jnp.float32)


def _ranking(of: Callable[[Scene], tuple[jax.Array, jax.Array]]) -> Mapping[str, LossFn]:
    def arguments(scene: Scene) -> dict[str, Any]:
        return {"mask": scene.mask, "axis_name": scene.axis_name, **scene.options}

    def auc_margin(scene: Scene) -> jax.Array:
        scores, targets = of(scene)
        dual = scene.outputs["auc_margin"]
        return losses.auc_margin(
            sigmoid_pair(scores)[0], targets, dual["a"], dual["b"], dual["alpha"], **arguments(scene)
        )

    return {
        "auc_margin": auc_margin,
        "pairwise_auc": lambda scene: losses.pairwise_auc(*of(scene), **arguments(scene)),
        "partial_auc": lambda scene: losses.partial_auc(*of(scene), **arguments(scene)),
        "smooth_ap": lambda scene: losses.smooth_ap(*of(scene), **arguments(scene)),
    }


def _positive_weights(values: jax.Array, scene: Scene) -> jax.Array:
    return values * (1 + scene.targets * (scene.shared["class_weights"] - 1))


ONE_LABEL = Task(
    name="one label an image",
    losses={
        "cross_entropy": lambda s: losses.cross_entropy(s.logits, s.targets),
        "bayesian": lambda s: losses.bayesian_cross_entropy(s.logits, s.targets, None, axis_name=s.axis_name),
        "focal": lambda s: losses.focal(s.logits, s.targets, **s.options),
        "class_balanced_focal": lambda s: losses.class_balanced_focal(
            s.logits, s.targets, s.shared["counts"], beta=s.method.beta, **s.options
        ),
        "poly1": lambda s: losses.poly1(s.logits, s.targets, **s.options),
        "logit_adjusted": lambda s: losses.logit_adjusted(
            s.logits, s.targets, s.shared["priors"], **s.options
        ),
        "balanced_softmax": lambda s: losses.balanced_softmax(s.logits, s.targets, s.shared["priors"]),
        "vector_scaling": lambda s: losses.vector_scaling(
            s.logits, s.targets, s.shared["priors"], **s.options
        ),
        "class_dependent_temperature": lambda s: losses.class_dependent_temperature(
            s.logits, s.targets, s.shared["counts"], **s.options
        ),
        "ldam": lambda s: losses.ldam(s.logits, s.targets, s.shared["counts"], **s.options),
        "equalization": lambda s: losses.equalization(
            s.logits,
            s.targets,
            s.shared["counts"],
            s.key,
            s.options["relative_threshold"] / s.logits.shape[-1],
            s.options["gamma"],
        ),
        "influence_balanced": lambda s: losses.influence_balanced(
            s.logits, s.targets, s.outputs["features"], constant_weight=False, **s.options
        ),
        "label_aware_smoothing": lambda s: losses.label_aware_smoothing(
            s.logits, s.targets, s.shared["counts"], **s.options
        ),
    },
    ranking=_ranking(_class_odds),
    targets=lambda labels, uncertain: (labels, None),
    weights=lambda labels, mask, shared: shared["class_weights"][labels],
    predict=lambda z: jax.nn.softmax(z.astype(jnp.float32)),
    allowed=("mixing", "auxiliary", "second_stage", "correction", "hard_negatives"),
)

MANY_LABELS = Task(
    name="many labels an image",
    losses={
        "cross_entropy": lambda s: losses.binary_cross_entropy(
            s.logits, s.targets, s.shared["class_weights"], s.mask
        ),
        "focal": lambda s: _positive_weights(
            losses.sigmoid_focal(s.logits, s.targets, mask=s.mask, **s.options), s
        ),
        "asymmetric": lambda s: _positive_weights(
            losses.asymmetric(s.logits, s.targets, mask=s.mask, **s.options), s
        ),
        "distribution_balanced": lambda s: losses.distribution_balanced(
            s.logits, s.targets, s.shared["counts"], s.shared["known"], mask=s.mask, **s.options
        ),
        "class_balanced_sigmoid_focal": lambda s: losses.class_balanced_sigmoid_focal(
            s.logits, s.targets, s.shared["counts"], beta=s.method.beta, mask=s.mask, **s.options
        ),
    },
    ranking=_ranking(_labels_apart),
    targets=losses.targets_and_mask,
    weights=lambda labels, mask, shared: mask.astype(jnp.float32),
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
