"""Segmentation: a mask an image, one class a pixel or overlapping labels, from the objective to the table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax import losses, priors
from imbal_jax.config import Patch
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.places import Pools, list_places
from imbal_jax.data.labels import occurrence
from imbal_jax.engine import keys
from imbal_jax.engine.step import Batch, Objective
from imbal_jax.errors import InputError, named
from imbal_jax.methods import LOSSES, ClassArrays, Loss, LossFunction, Method, Scene
from imbal_jax.tasks.mask_table import (
    MaskScores,
    best_thresholds,
    encode,
    known_pixels,
    pixel_counts,
)
from imbal_jax.tasks.task import Table, Task, as_mapping
from imbal_jax.transforms.augment import Augment, augment_with_masks

LOST = 0.1
"""Of its best Dice: a class that falls below this share of it has been un-learned."""

LEARNED = 0.1
"""Dice from which on a class counts as learned."""


@dataclass(frozen=True)
class Segmentation(Task):
    """Logits [B, H, W, C] for images; a subclass says how the classes of a pixel relate.

    thresholds: of the findings, at which tables call a pixel; None: the ones that the labels themselves prefer.
    background: how many of the first classes are no finding.
    """

    allowed: ClassVar[tuple[str, ...]] = ("hard_negatives",)
    background: ClassVar[int]
    dimensions: ClassVar[int]
    thresholds: tuple[float, ...] | None = None

    def function_of(self, loss: Loss) -> LossFunction | None:
        """The function of a loss for labels of images of this kind."""
        raise NotImplementedError

    def probabilities(self, logits: jax.Array) -> jax.Array:
        """float32 [B, H, W, C]."""
        raise NotImplementedError

    def one_hot(self, labels: jax.Array, classes: int) -> tuple[jax.Array, jax.Array]:
        """Targets float32 [B, H, W, C], and which are known, bool, broadcastable to them."""
        raise NotImplementedError

    def targets(self, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What a pixelwise loss takes as targets, and bool, shaped like them: which are known."""
        raise NotImplementedError

    def pixel_weights(self, labels: jax.Array, arrays: ClassArrays) -> jax.Array:
        """The weight of each value of a pixelwise loss; 0 where it is not known."""
        raise NotImplementedError

    def pixelwise(self, loss: Loss) -> LossFunction | None:
        """The function of a loss that gives a value a pixel: that of images, where it looks at the logits alone."""
        alone = not loss.ranks and not {"features", "key"} & set(loss.reads) and loss.variables is None
        return self.function_of(loss) if alone else None

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses of the catalogue that fit."""
        return tuple(name for name, row in LOSSES.items() if row.overlap or self.pixelwise(row))

    def check_data(self, data: Dataset) -> None:
        """InputError where the labels are no masks of the images."""
        if data.labels.ndim != self.dimensions or data.labels.shape[1:3] != data.images.shape[1:3]:
            raise InputError(
                f"labels are {list(data.labels.shape)} for images {list(data.images.shape)}, and the task of "
                f"{self.name} reads masks {'[N, H, W]' if self.dimensions == 3 else '[N, H, W, labels]'}"
            )
        if len(data.classes) <= self.background:
            raise InputError(
                f"the masks have one class, {data.classes[0]}: give the background and what is to be found"
            )

    # Training

    def check(self, method: Method) -> None:
        """Raise InputError for a method that does not suit masks."""
        super().check(method)
        row = method.loss_row
        for term in [term for _, term in row.terms] or [row]:
            if term.overlap is None and self.pixelwise(term) is None:
                raise InputError(
                    f"method {method.name}: loss {term.name} is not for {self.name}, allowed are "
                    f"{', '.join(self.losses)}, and sums of them, as dice+cross_entropy"
                )
        if method.head != "linear":
            raise InputError(f"method {method.name}: head={method.head} is not for {self.name}")

    def drawn_labels(self, labels: np.ndarray, uncertain: str) -> np.ndarray:
        """int8 [N, C]: which class occurs in which image."""
        return occurrence(labels, int(labels.max(initial=0)) + 1).astype(np.int8)

    def drawn_counts(self, data: Dataset, drawn: np.ndarray) -> np.ndarray:
        """int64 [C]: the pixels of each class in the training split."""
        return pixel_counts(data.labels, len(data.classes))[0].sum(axis=0)

    def stream_counts(self, data: Dataset, quotas: np.ndarray, pools: Pools | None) -> np.ndarray:
        """float64 [C]: the share of each class among the pixels of a batch, as it is drawn."""
        if pools is not None:
            shares = pools.shares
        else:
            counts, known = pixel_counts(data.labels, len(data.classes))
            shares_of_images, occurs = counts / np.maximum(known, 1), counts > 0
            members = [*occurs.T, ~occurs.any(axis=1)]
            shares = np.stack(
                [shares_of_images[of].mean(axis=0) if of.any() else 0 * counts[0] for of in members]
            )
        return quotas @ shares[: len(quotas)]

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
        """Weights and counts of the pixels of the training split, priors of the pixels as they are drawn."""
        counts = np.maximum(drawn_counts, 1)
        late = "composition" in method.deferred
        floor = 1 / counts.sum()  # a class that the batches lack has a prior above 0
        stream = np.maximum(stream_counts / stream_counts.sum(), floor)
        return ClassArrays(
            class_weights=self.class_weights(method, data, counts).astype(np.float32),
            counts=counts.astype(np.float32),
            priors=(stream / stream.sum()).astype(np.float32),
            known=None if self.background else known_pixels(data.labels).astype(np.float32),
            negative=np.int32(0),
            priors_before=(counts / counts.sum()).astype(np.float32) if late else None,
        )

    def class_weights(self, method: Method, data: Dataset, counts: np.ndarray) -> np.ndarray:
        """[C], of the pixels of each class; of overlapping labels, of its positives."""
        raise NotImplementedError

    def patch_pools(self, data: Dataset, patch: Patch, *, seed: int, by_image: bool) -> Pools | None:
        """The places of the patches of each class and case."""
        if not patch.size:
            return None
        return list_places(
            data.labels,
            data.groups,
            len(data.classes),
            patch.size,
            share=patch.share,
            most=patch.places,
            seed=seed,
            by_image=by_image,
        )

    def transform(
        self, keys: jax.Array, images: jax.Array, labels: jax.Array, augmentation: Augment, strength: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Images and masks moved by one geometry."""
        return augment_with_masks(keys, images, labels, augmentation, strength)

    def objective(
        self, method: Method, *, label_smoothing: float = 0.0, uncertain: str = "ignore"
    ) -> Objective:
        """The sum of the terms of the loss, each averaged over the pixels, or over the images and classes."""
        self.check(method)
        if label_smoothing:
            raise InputError(f"optim.label-smoothing is {label_smoothing:g}: it is not for {self.name}")
        row = method.loss_row
        terms = row.terms or ((1.0, row),)

        def of_logits(
            logits: jax.Array, labels: jax.Array, outputs: Any, shared: Any, axis: str | None
        ) -> jax.Array:
            scene_of = partial(self._scene, method, {**outputs, "logits": logits}, labels, shared, axis)
            total = jnp.zeros((), jnp.float32)
            for factor, term in terms:
                options = row.options_of(term, method.loss_options) if row.terms else method.loss_options
                scene = scene_of(options)
                mean = self._overlap if term.overlap else self._pixels
                total += factor * mean(method, term, scene, labels, shared)
            return total

        def objective(outputs: Any, batch: Batch, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
            outputs, labels, shared = as_mapping(outputs), batch["labels"], batch["shared"]
            levels = [outputs["logits"], *outputs.get("deep", ())]
            shares = [logits.shape[1] / levels[0].shape[1] for logits in levels]  # of W-Net's first net 1
            total = sum(
                share * of_logits(logits, _at_size(labels, logits.shape[1:3]), outputs, shared, axis)
                for share, logits in zip(shares, levels, strict=True)
            )
            return jnp.asarray(total / sum(shares)), {}

        return objective

    def _scene(
        self,
        method: Method,
        outputs: Mapping[str, Any],
        labels: jax.Array,
        shared: Any,
        axis: str | None,
        options: Mapping[str, float],
    ) -> Scene:
        targets, known = self.targets(labels)
        arrays = shared.arrays
        if "weights" in method.deferred:  # weights grow from 1 as ``blend`` goes from 0 to 1
            arrays = arrays._replace(class_weights=1 + shared.blend * (arrays.class_weights - 1))
        key = None if shared.loss_key is None else keys.loss_of_device(shared.loss_key, axis)
        return Scene(outputs, targets, known, arrays, options, method.beta, key, axis)

    def _pixels(self, method: Method, term: Loss, scene: Scene, labels: jax.Array, shared: Any) -> jax.Array:
        """The weighted mean of a loss that gives a value a pixel."""
        values = self._values(term, scene)
        if "loss" in method.deferred:
            plain, blend = self._values(LOSSES["cross_entropy"], scene), shared.blend
            values = jnp.where(blend > 0, blend * values, 0) + (1 - blend) * plain
        weights = jnp.broadcast_to(self.pixel_weights(labels, scene.arrays), values.shape)
        if method.hard_negatives:
            flat = values.reshape(-1, *values.shape[3:])
            positive = (scene.targets > 0).reshape(flat.shape)
            kept = losses.hard_negatives(
                flat,
                positive,
                ratio=method.hard_negatives,
                axis_name=scene.axis_name,
                mask=(weights > 0).reshape(flat.shape),
            )
            weights *= kept.reshape(weights.shape)
        return losses.weighted_mean(values, weights, scene.axis_name, method.normalize)

    def _values(self, term: Loss, scene: Scene) -> jax.Array:
        function = self.pixelwise(term)
        assert function is not None  # check refused it
        values = jnp.asarray(function(scene))
        if values.shape != scene.targets.shape:
            raise InputError(
                f"loss {term.name} gives values {list(values.shape)}, expected {list(scene.targets.shape)}, one a "
                "pixel"
            )
        return values

    def _overlap(self, method: Method, term: Loss, scene: Scene, labels: jax.Array, shared: Any) -> jax.Array:
        """The mean of an overlap loss over the findings of the images that hold them.

        An image without the finding is left out: its overlap with nothing is flat, and the pixelwise term, which
        belongs beside it, answers for false alarms.
        """
        logits = scene.logits
        targets, known = self.one_hot(labels, logits.shape[-1])
        probabilities = jnp.where(known, self.probabilities(logits), 0)  # hidden pixels are in no sum
        targets = jnp.where(known, targets, 0)
        assert term.overlap is not None
        with named(f"loss {term.name}"):
            values = term.overlap(probabilities, targets, mask=self._mask(known), **scene.options)
        there = losses.present(targets)[:, self.background :]
        if values.ndim == 1:
            there = there.max(axis=1)
        else:
            values = values[:, self.background :]
        return losses.weighted_mean(values, there, scene.axis_name)

    def _mask(self, known: jax.Array) -> jax.Array | None:
        """bool [B, H, W], where one answer holds for all classes of a pixel."""
        return known[..., 0] if known.shape[-1] == 1 else None

    # Prediction and evaluation

    def predictor(self, method: Method) -> Callable[[Any], jax.Array]:
        """Outputs of the network -> probabilities [B, H, W, C]."""
        return lambda outputs: self.probabilities(as_mapping(outputs)["logits"])

    def unmirrored(self, predictions: jax.Array) -> jax.Array:
        """Turned back."""
        return predictions[:, :, ::-1]

    def for_evaluation(self, predictions: jax.Array, labels: jax.Array) -> jax.Array:
        """uint16 [B, H, W, findings]: the probabilities as codes (``metrics.codes``)."""
        return encode(predictions[..., self.background :])

    def findings(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """The classes but the background."""
        return classes[self.background :]

    def table(
        self, labels: np.ndarray, kept: np.ndarray, classes: tuple[str, ...], negative_class: str | None
    ) -> Table:
        """See ``MaskScores.table``: of what is called at ``thresholds``, or at those that the labels prefer.

        With thresholds, which a finished run has, also of the surfaces (``MaskScores.surfaces``).
        """
        scores = self._scores(labels, kept, classes)
        if self.thresholds is None:
            return scores.table
        surfaces = scores.surfaces()
        return {name: row | surfaces[name] for name, row in scores.table.items()}

    def _scores(self, labels: np.ndarray, kept: np.ndarray, classes: tuple[str, ...]) -> MaskScores:
        thresholds = self.thresholds or best_thresholds(labels, kept, self.background)
        return MaskScores(self.findings(classes), labels, kept, thresholds, self.background)

    def default_criterion(self, data: Dataset, negative_class: str | None) -> tuple[str, str]:
        """IoU of the findings."""
        return "iou", "the overlap with the truth, of the pixels of all images together"

    def placeholder_outputs(self, data: Dataset) -> np.ndarray:
        """Equal probabilities."""
        shape = (*data.labels.shape[:3], len(data.classes) - self.background)
        return np.full(shape, 2**15, np.uint16)

    def choose(self, data: Dataset, kept: np.ndarray) -> dict[str, float]:
        """The thresholds at which the Dice of the pixels of all images together is highest."""
        chosen = best_thresholds(data.labels, kept, self.background)
        return dict(zip(self.findings(data.classes), chosen, strict=True))

    def deciding_at(self, thresholds: Mapping[str, float]) -> Task:
        """The same task, whose tables are of what is called at these thresholds."""
        return replace(self, thresholds=tuple(thresholds.values()))

    def mask_scores(self, data: Dataset, kept: np.ndarray) -> MaskScores:
        """What is called at the thresholds beside the true masks."""
        return self._scores(data.labels, kept, data.classes)

    def lost(self, history: Sequence[Mapping[str, Any]], classes: tuple[str, ...]) -> Sequence[str]:
        """A line for each finding whose Dice has fallen to a tenth of what it was."""
        lines = []
        for name in self.findings(classes):
            values = [record[f"dice/{name}"] for record in history if f"dice/{name}" in record]
            if len(values) < 2 or max(values[:-1]) < LEARNED:
                continue
            best = max(values[:-1])
            if not values[-1] >= LOST * best:
                lines.append(
                    f"{name} was learned and is lost again: its Dice on validation fell from {best:.3f} to "
                    f"{values[-1]:.3f}; weights, an overlap loss or balanced patches keep a rare class"
                )
        return lines


class Masks(Segmentation):
    """Labels int [N, H, W], the class of each pixel; class 0 is the background. Softmax of the logits."""

    name = "masks with one class a pixel"
    background = 1
    dimensions = 3

    def function_of(self, loss: Loss) -> LossFunction | None:
        """The function for one label."""
        return loss.one_label

    def probabilities(self, logits: jax.Array) -> jax.Array:
        """Softmax."""
        return jax.nn.softmax(logits.astype(jnp.float32))

    def targets(self, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The classes, 0 where none is known."""
        return jnp.maximum(labels, 0).astype(jnp.int32), labels >= 0

    def one_hot(self, labels: jax.Array, classes: int) -> tuple[jax.Array, jax.Array]:
        """One-hot; a pixel is known or not."""
        return jax.nn.one_hot(labels, classes), (labels >= 0)[..., None]

    def pixel_weights(self, labels: jax.Array, arrays: ClassArrays) -> jax.Array:
        """Each pixel's class weight."""
        return jnp.where(labels >= 0, arrays.class_weights[jnp.maximum(labels, 0)], 0)

    def class_weights(self, method: Method, data: Dataset, counts: np.ndarray) -> np.ndarray:
        """From the counts of pixels."""
        return priors.class_weights(counts, method.weights, beta=method.beta, power=method.power)


class OverlappingMasks(Segmentation):
    """Labels int8 [N, H, W, L] with 1, 0, -1 (uncertain) and -2 (missing). Sigmoid of each logit."""

    name = "masks of overlapping labels"
    label_kind = "many"
    background = 0
    dimensions = 4

    def function_of(self, loss: Loss) -> LossFunction | None:
        """The function for many labels."""
        return loss.many_labels

    def probabilities(self, logits: jax.Array) -> jax.Array:
        """Sigmoid."""
        return jax.nn.sigmoid(logits.astype(jnp.float32))

    def targets(self, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """0 and 1."""
        return jnp.maximum(labels, 0).astype(jnp.float32), labels >= 0

    def one_hot(self, labels: jax.Array, classes: int) -> tuple[jax.Array, jax.Array]:
        """The labels; each is known or not."""
        return self.targets(labels)

    def pixel_weights(self, labels: jax.Array, arrays: ClassArrays) -> jax.Array:
        """1 where the label is known: the loss itself weighs its positives."""
        return (labels >= 0).astype(jnp.float32)

    def class_weights(self, method: Method, data: Dataset, counts: np.ndarray) -> np.ndarray:
        """Of the positives, as many labels an image have them."""
        if method.weights == "none":
            return np.ones(len(counts))
        if method.weights not in ("inverse", "sqrt_inverse"):
            raise InputError(
                f"weights={method.weights} are not for {self.name}, inverse and sqrt_inverse are"
            )
        power = method.power / 2 if method.weights == "sqrt_inverse" else method.power
        return np.asarray(priors.positive_weights(counts, known_pixels(data.labels), power))


def _at_size(labels: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Labels [B, h, w, ...] of another resolution, by the nearest pixel."""
    height, width = labels.shape[1:3]
    if (height, width) == tuple(size):
        return labels
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(int)
    return labels[:, rows][:, :, columns]
