"""Classification: what one label an image and many labels share, from the objective to the decisions."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax import losses, metrics
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.decisions.confidence import bounds, standard_error
from imbal_jax.decisions.criterion import Criterion
from imbal_jax.decisions.default_criterion import default_criterion
from imbal_jax.engine import keys
from imbal_jax.engine.step import Batch, Objective
from imbal_jax.errors import InputError, named
from imbal_jax.import_paths import is_import_path
from imbal_jax.methods import COSINE_SCALE, ClassArrays, Loss, LossFunction, Method, Scene, find_loss
from imbal_jax.metrics.own import add_own, find_metric, metric_name
from imbal_jax.tasks.task import Table, Task, as_mapping


@dataclass(frozen=True)
class Classification(Task):
    """Logits [B, C] for images; a subclass says what the labels are.

    losses: the names of those of the catalogue that fit. dimensions: of the labels.
    metrics: import paths of the user's own metrics of a class against the rest (``Config.metrics``).
    """

    decides: ClassVar[bool] = True
    dimensions: ClassVar[int]
    losses: ClassVar[tuple[str, ...]]
    metrics: tuple[str, ...] = ()

    def function_of(self, loss: Loss) -> LossFunction | None:
        """The function of a loss for this kind of labels."""
        raise NotImplementedError

    def with_metrics(self, paths: tuple[str, ...]) -> Task:
        """A copy of the task whose tables include these metrics."""
        for path in paths:
            find_metric(path)
        return replace(self, metrics=paths)

    def targets(self, labels: jax.Array, uncertain: str) -> tuple[jax.Array, jax.Array | None]:
        """Targets and mask (None: all count)."""
        raise NotImplementedError

    def weights(self, labels: jax.Array, mask: jax.Array | None, arrays: ClassArrays) -> jax.Array:
        """Weights of the values of a loss, broadcastable to them."""
        raise NotImplementedError

    def smoothed(self, targets: jax.Array, classes: int, smoothing: float) -> jax.Array:
        """Smoothed targets."""
        raise NotImplementedError

    def positives(self, labels: jax.Array, targets: jax.Array, arrays: ClassArrays) -> jax.Array:
        """bool, shaped like the loss values: positives, which hard-negative mining always keeps."""
        raise NotImplementedError

    def probabilities(self, logits: jax.Array) -> jax.Array:
        """float32 [B, C]."""
        raise NotImplementedError

    def check_data(self, data: Dataset) -> None:
        """InputError where the labels are of another kind."""
        if data.labels.ndim != self.dimensions:
            kind = {1: "one label an image", 2: "many labels an image"}.get(data.labels.ndim, "masks")
            raise InputError(
                f"the data set has {kind}, the task is classification with {self.name}: give --data.label-kind, or "
                "another task"
            )

    def check(self, method: Method) -> None:
        """Raise InputError where the task has no such loss, or the parts of the method exclude each other."""
        for name in (method.loss, method.second_loss):
            if self.function_of(find_loss(name)) is None:
                allowed = ", ".join(self.losses)
                raise InputError(
                    f"method {method.name}: loss {name} is not for {self.name}, allowed are {allowed}"
                )
        if find_loss(method.second_loss).ranks:
            raise InputError(
                f"method {method.name}: second_loss {method.second_loss} ranks, and trains no head"
            )
        if method.loss_row.ranks and (method.mixing != "none" or method.deferred or method.hard_negatives):
            raise InputError(
                f"method {method.name}: {method.loss} ranks whole images, it takes no mixing, deferral or mining"
            )
        super().check(method)
        if method.auxiliary != "none" and method.mixing != "none":
            raise InputError(
                f"method {method.name}: a contrast of mixed images has no classes; give one of them"
            )

    def predictor(self, method: Method) -> Callable[[Any], jax.Array]:
        """Outputs of the network -> probabilities [B, C], for a network trained with ``method``."""

        def predict(outputs: Any) -> jax.Array:
            return self.probabilities(_scaled(as_mapping(outputs)["logits"], method))

        return predict

    def objective(
        self, method: Method, *, label_smoothing: float = 0.0, uncertain: str = "ignore"
    ) -> Objective:
        """The loss of ``method`` as the train step wants it; InputError where the task has no such loss."""
        self.check(method)
        row = method.loss_row
        smoothing = 0.0 if row.ranks else label_smoothing  # a ranking loss takes no soft labels

        def objective(outputs: Any, batch: Batch, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
            outputs, labels, contrasted = _views_apart(as_mapping(outputs), batch["labels"], method)
            if row.cosine_scale is None:
                outputs["logits"] = _scaled(outputs["logits"], method)
            scene_of = partial(
                self._scene, method, outputs, batch["shared"], axis, smoothing=smoothing, uncertain=uncertain
            )
            scene = scene_of(labels)
            if row.ranks:
                return self._loss(method.loss, scene, ()), {}
            values, weights = self._values(method, scene, labels, batch["shared"])
            if "partner_labels" in batch:
                # share L(own label) + (1 - share) L(partner's label); doubled, as the mean runs over 2B values
                share = batch["share"].reshape(-1, *[1] * (values.ndim - 1))
                partner = scene_of(batch["partner_labels"])
                others, their_weights = self._values(
                    method, partner, batch["partner_labels"], batch["shared"]
                )
                values = jnp.concatenate([values, others])
                weights = jnp.concatenate([2 * share * weights, 2 * (1 - share) * their_weights])
            mean = losses.weighted_mean(values, weights, axis, method.normalize)
            if method.auxiliary != "none":
                mean += method.auxiliary_weight * _contrast(scene, contrasted, method)
            return mean, {}

        return objective

    def _scene(
        self,
        method: Method,
        outputs: Mapping[str, Any],
        shared: Shared,
        axis: str | None,
        labels: jax.Array,
        *,
        smoothing: float,
        uncertain: str,
    ) -> Scene:
        targets, mask = self.targets(labels, uncertain)
        if smoothing:
            targets = self.smoothed(targets, outputs["logits"].shape[-1], smoothing)
        arrays = shared.arrays
        if "weights" in method.deferred:  # weights grow from 1 as ``blend`` goes from 0 to 1
            arrays = arrays._replace(class_weights=1 + shared.blend * (arrays.class_weights - 1))
        key = None if shared.loss_key is None else keys.loss_of_device(shared.loss_key, axis)
        return Scene(outputs, targets, mask, arrays, method.loss_options, method.beta, key, axis)

    def _values(
        self, method: Method, scene: Scene, labels: jax.Array, shared: Shared
    ) -> tuple[jax.Array, jax.Array]:
        """The loss of each value, and its weight."""
        shape = labels.shape if self.dimensions == 1 else scene.logits.shape
        values = self._loss(method.loss, scene, shape)
        if "loss" in method.deferred:
            plain, blend = self._loss("cross_entropy", scene, shape), shared.blend
            values = jnp.where(blend > 0, blend * values, 0) + (1 - blend) * plain
        weights = jnp.broadcast_to(self.weights(labels, scene.mask, scene.arrays), values.shape)
        if method.hard_negatives:
            known = jnp.where(weights > 0, values, -jnp.inf)
            positive = self.positives(labels, scene.targets, scene.arrays)
            weights *= losses.hard_negatives(
                known, positive, ratio=method.hard_negatives, axis_name=scene.axis_name
            )
        return values, weights

    def _loss(self, name: str, scene: Scene, shape: tuple[int, ...]) -> jax.Array:
        """The values of a loss; InputError unless they have ``shape``, or they would be weighted wrong."""
        function = self.function_of(find_loss(name))
        assert function is not None  # check refused it
        # An option out of its range; what a loss of the user's own raises keeps its traceback
        with nullcontext() if is_import_path(name) else named(f"loss {name}"):
            values = jnp.asarray(function(scene))
        if values.shape != shape:
            what = {0: "one number, of a loss that ranks", 1: "one value an image, [B]"}.get(len(shape))
            raise InputError(
                f"loss {name} gives values {list(values.shape)}, expected {list(shape)}: "
                f"{what or 'one value a label, [B, C]'}"
            )
        return values

    def table(
        self, labels: np.ndarray, kept: np.ndarray, classes: tuple[str, ...], negative_class: str | None
    ) -> Table:
        """See ``metrics.classification_summary``, and the user's own. kept: probabilities [N, C]."""
        table = metrics.classification_summary(labels, kept, classes, negative_class=negative_class)
        return add_own(table, self.metrics, labels, kept, negative_class) if self.metrics else table

    def flat(self, table: Table) -> dict[str, float]:
        """See ``metrics.flat_metrics``; the user's own as well."""
        own = [metric_name(path) for path in self.metrics]
        of_classes = {
            f"{key}/{name}": row[key] for key in own for name, row in table.items() if name != "macro"
        }
        return {**metrics.flat_metrics(table), **{key: table["macro"][key] for key in own}, **of_classes}

    def default_criterion(self, data: Dataset, negative_class: str | None) -> tuple[str, str]:
        """The article's rule, or average precision where there are few positives."""
        return default_criterion(data.labels, data.groups, data.classes, negative_class)

    def uncertainty(
        self, criterion: Criterion, data: Dataset, kept: np.ndarray, negative_class: str | None
    ) -> dict[str, float]:
        """Lower bounds and standard errors by patient, where ``criterion`` reads them."""

        def replicate(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
            return {"step": 0, **self.measure(replace(data, labels=labels), scores, negative_class)}

        return {
            **bounds(
                criterion, data.labels, kept, data.classes, negative_class=negative_class, groups=data.groups
            ),
            **standard_error(criterion, replicate, data.labels, kept, groups=data.groups),
        }

    def placeholder_outputs(self, data: Dataset) -> np.ndarray:
        """Equal probabilities."""
        return np.full((len(data), len(data.classes)), 1 / len(data.classes))

    def without_extremes(self, priors: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """``priors`` [C]; a prior of 0 or 1 is replaced by that of ``otherwise``."""
        return np.where((priors > 0) & (priors < 1), priors, otherwise)


def _views_apart(
    outputs: Mapping[str, Any], labels: jax.Array, method: Method
) -> tuple[dict[str, Any], jax.Array, jax.Array]:
    """Split the views into those for the label loss and those for the contrast: outputs, labels, labels."""
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
