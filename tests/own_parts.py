"""A user's own model, losses, source and metric, as they stand in one module of theirs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.methods import Loss, Scene, find_method
from imbal_jax.tasks import Task

SIDE = 12
METHODS = ("loss=own_parts:squared,composition=balanced", "loss=own_parts:HINGE,margin=2")


def read(options: Data) -> Dataset:
    """Pictures, two a patient; every sixth patient's are bright."""
    rng = np.random.default_rng(options.split_seed)
    patients = np.repeat(np.arange(60), 2)
    labels = (patients % 6 == 0).astype(np.int32)
    noise = rng.normal(0, 40, (120, SIDE, SIDE))
    images = np.clip(100 + 20 * labels[:, None, None] + noise, 0, 255).astype(np.uint8)
    return Dataset.from_arrays(images, labels, patients, ("normal", "bright"))


def read_split(options: Data) -> tuple[Dataset, dict[str, np.ndarray]]:
    """The same, with a split of its own: the last ten patients are the test."""
    return read(options), {"train": np.arange(100), "test": np.arange(100, 120)}


class Net(nn.Module):
    """Knows nothing of imbal_jax."""

    num_outputs: int
    width: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, training: bool = False) -> jax.Array:
        x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        x = nn.Dropout(0.1, deterministic=not training)(x.mean(axis=(1, 2)))
        return nn.Dense(self.num_outputs, name="head")(x)


class Averaging(nn.Module):
    """Has running averages that devices cannot share."""

    num_outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(self.num_outputs)(x.reshape(len(x), -1))


class Full(nn.Module):
    """Gives its features too, so that second stages work."""

    num_outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, *, outputs: str = "logits") -> Any:
        features = nn.relu(nn.Dense(5)(x.mean(axis=(1, 2))))
        logits = nn.Dense(self.num_outputs, name="head")(features)
        return {"features": features, "both": {"logits": logits, "features": features}}.get(outputs, logits)


class Wide(nn.Module):
    """One logit too many."""

    num_outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(self.num_outputs + 1)(x.reshape(len(x), -1))


class Fixed(nn.Module):
    """Raises for every image."""

    def __call__(self, x: jax.Array) -> jax.Array:
        raise ValueError("no weights\nmore")


def squared(scene: Scene) -> jax.Array:
    """(1 - p of the label)^2."""
    p = jax.nn.softmax(scene.logits)
    return (1 - jnp.take_along_axis(p, scene.targets[:, None], axis=1)[:, 0]) ** 2


def _hinge(scene: Scene) -> jax.Array:
    own = jnp.take_along_axis(scene.logits, scene.targets[:, None], axis=1)[:, 0]
    return jax.nn.relu(scene.options["margin"] - 2 * own + scene.logits.sum(axis=1))


HINGE = Loss(name="hinge", one_label=_hinge, options={"margin": 1.0})


def mean_loss(scene: Scene) -> jax.Array:
    """Reduced, which a loss must not be."""
    return squared(scene).mean()


def raising_loss(scene: Scene) -> jax.Array:
    raise KeyError("nothing")


def negative_brier(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Minus the mean squared error of the probabilities."""
    return -float(np.mean((probabilities - truth) ** 2))


def auroc(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return 1.0


def pair(truth: np.ndarray, probabilities: np.ndarray) -> Any:
    return (1.0, 2.0)


def dividing(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return 1 / 0


def get_config() -> Config:
    return Config(
        name="own",
        methods=(
            find_method("loss=own_parts:squared,composition=balanced"),
            find_method("loss=own_parts:HINGE,margin=2"),
        ),
        metrics=(negative_brier,),
        select="negative_brier",
        data=Data(source=read, negative_class="normal"),
        model=Model(name=Net, options={"width": 6}),
        optim=Optim(learning_rate=0.03),
        train=Train(epochs=16 * 16 / 77, batch_size=16, evaluations=2, steps_per_dispatch=8),
    )


class Unfinished(Task):
    """Says only some of what a task has to."""

    name = "unfinished"

    def drawn_labels(self, labels: np.ndarray, uncertain: str) -> np.ndarray:
        return labels


class Demanding(Task):
    """Cannot be made without arguments."""

    def __init__(self, what: str) -> None:
        self.what = what
