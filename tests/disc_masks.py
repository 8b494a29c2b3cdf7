"""A user's own task in one file: where in an image is the bright disc? A mask an image, its data, its network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from imbal_jax import losses
from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.engine.step import Batch, Objective
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS, ClassArrays, Method
from imbal_jax.priors import class_weights
from imbal_jax.tasks import Section, Task
from imbal_jax.tasks.task import Table
from imbal_jax.transforms.augment import Augment

SIDE = 16
CLASSES = ("background", "disc")


def read(options: Data) -> Dataset:
    """``options.phantom_images`` images, a disc of 2 to 4 pixels' radius in each, of patients with two each."""
    rng = np.random.default_rng(options.split_seed)
    count = options.phantom_images
    rows, columns = np.mgrid[:SIDE, :SIDE]
    places, radii = rng.uniform(4, SIDE - 4, (count, 2, 1, 1)), rng.uniform(2, 4, (count, 1, 1))
    masks = (rows - places[:, 0]) ** 2 + (columns - places[:, 1]) ** 2 <= radii**2
    noise = rng.normal(0, 25, (count, SIDE, SIDE))
    images = np.clip(90 + 60 * masks + noise, 0, 255).astype(np.uint8)
    return Dataset.from_arrays(images, masks.astype(np.int32), np.arange(count) // 2, CLASSES)


class Net(nn.Module):
    """Two convolutions: logits of every pixel."""

    num_outputs: int
    width: int = 8

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(self.width, (5, 5))(x))
        return nn.Conv(self.num_outputs, (3, 3))(x)


class DiscMasks(Task):
    """Labels int [N, H, W]; softmax of every pixel; kept are hits, misses and false alarms of each class."""

    name = "a mask an image"
    reads_labels = True

    def check_data(self, data: Dataset) -> None:
        if data.labels.shape != data.images.shape[:3]:
            raise InputError(f"labels are {list(data.labels.shape)}, expected masks of the images")

    def check(self, method: Method) -> None:
        super().check(method)
        if method.loss != "cross_entropy":
            raise InputError(f"method {method.name}: loss {method.loss} is not for {self.name}")

    def drawn_labels(self, labels: np.ndarray, uncertain: str) -> np.ndarray:
        return np.stack([(labels == c).any(axis=(1, 2)) for c in range(len(CLASSES))], axis=1).astype(np.int8)

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
        pixels = np.bincount(data.labels.ravel(), minlength=len(data.classes))
        weights = class_weights(pixels, method.weights, beta=method.beta, power=method.power)
        return ClassArrays(weights.astype(np.float32), pixels.astype(np.float32))

    def transform(
        self, keys: jax.Array, images: jax.Array, labels: jax.Array, augmentation: Augment, strength: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Half of the images are mirrored, and their masks with them."""
        turned = jax.vmap(jax.random.bernoulli)(keys)[:, None, None]
        masks = jnp.where(turned, labels[:, :, ::-1], labels)
        pixels = images.astype(jnp.float32) / 255
        return jnp.where(turned[..., None], pixels[:, :, ::-1], pixels), masks

    def objective(
        self, method: Method, *, label_smoothing: float = 0.0, uncertain: str = "ignore"
    ) -> Objective:
        def objective(outputs: Any, batch: Batch, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
            values = losses.cross_entropy(outputs["logits"], batch["labels"])
            weights = batch["shared"].arrays.class_weights[batch["labels"]]
            return losses.weighted_mean(values, weights, axis), {}

        return objective

    def predictor(self, method: Method) -> Callable[[Any], jax.Array]:
        return jax.nn.softmax

    def unmirrored(self, predictions: jax.Array) -> jax.Array:
        return predictions[:, :, ::-1]

    def for_evaluation(self, predictions: jax.Array, labels: jax.Array) -> jax.Array:
        classes = jnp.arange(len(CLASSES))
        called, true = predictions.argmax(axis=-1)[..., None] == classes, labels[..., None] == classes
        counts = [called & true, ~called & true, called & ~true]
        return jnp.stack([count.sum(axis=(1, 2)) for count in counts], axis=-1).astype(jnp.float32)

    def table(
        self, labels: np.ndarray, kept: np.ndarray, classes: tuple[str, ...], negative_class: str | None
    ) -> Table:
        hits, misses, alarms = kept.sum(axis=0, dtype=np.float64).T
        rows = {}
        for name, hit, miss, alarm in zip(classes, hits, misses, alarms, strict=True):
            dice = float(2 * hit / max(2 * hit + miss + alarm, 1))
            rows[name] = {"iou": float(hit / max(hit + miss + alarm, 1)), "dice": dice}
        shown = [row for name, row in rows.items() if name != negative_class]
        return {
            **rows,
            "macro": {key: float(np.mean([row[key] for row in shown])) for key in ("iou", "dice")},
        }

    def placeholder_outputs(self, data: Dataset) -> np.ndarray:
        one_class = np.zeros((*data.labels.shape, len(CLASSES)))
        one_class[..., 0] = 1
        return np.asarray(self.for_evaluation(jnp.asarray(one_class), jnp.asarray(data.labels)))

    def sections(self, data: Dataset, kept: Mapping[str, np.ndarray]) -> Sequence[Section]:
        found = [f"{name} {(counts[:, 1, 0] > 0).sum()}" for name, counts in kept.items()]
        return [
            Section(
                "discs", "Discs", f"<p>Of {len(data)} discs some pixel was found: {', '.join(found)}.</p>"
            )
        ]


def get_config() -> Config:
    """Its own parts are named by the objects themselves."""
    return Config(
        name="discs",
        task=DiscMasks,
        methods=(METHODS["ce"], METHODS["weighted_ce"]),
        select="iou",
        data=Data(source=read, phantom_images=120, negative_class="background"),
        model=Model(name=Net),
        optim=Optim(learning_rate=0.02),
        train=Train(
            epochs=64 * 20 / 76, batch_size=20, evaluations=2, steps_per_dispatch=16, mirror_scores=True
        ),
    )
