"""A user's own network over episodes: the labels of earlier pictures that look alike."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from imbal_jax.config import Config, Data, Episode, Model, Optim, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.transforms.augment import Augment

CLASSES, DRAWINGS, SIDE = 24, 8, 8


class Nearest(nn.Module):
    """Cosine attention over the pictures before, whose labels are the values."""

    num_outputs: int
    sharpness: float = 10.0

    @nn.compact
    def __call__(self, inputs: dict[str, jax.Array]) -> jax.Array:
        pictures, labels = inputs["images"], inputs["labels"]
        features = nn.Dense(32, name="embedding")(pictures.reshape(*labels.shape, -1))
        features /= jnp.linalg.norm(features, axis=-1, keepdims=True) + 1e-6
        alike = jnp.exp(self.sharpness * jnp.einsum("btd,bsd->bts", features, features))
        before = jnp.tril(jnp.ones(alike.shape[1:]), -1)
        weights = alike * before * (labels >= 0)[:, None]
        votes = weights @ jax.nn.one_hot(labels, self.num_outputs)
        return jnp.log((votes + 1e-2) / (weights.sum(axis=-1, keepdims=True) + 1e-2 * self.num_outputs))


def read(options: Data) -> Dataset:
    """Characters of random blocks, drawn with noise."""
    import numpy as np

    rng = np.random.default_rng(options.split_seed)
    shapes = np.kron(rng.integers(0, 2, (CLASSES, 4, 4)), np.ones((2, 2), int))
    pictures = np.repeat(shapes, DRAWINGS, axis=0) * 200 + rng.integers(
        0, 40, (CLASSES * DRAWINGS, SIDE, SIDE)
    )
    labels = np.repeat(np.arange(CLASSES), DRAWINGS)
    return Dataset.from_arrays(pictures.astype(np.uint8), labels, None, [f"c{c}" for c in range(CLASSES)])


def get_config() -> Config:
    """32 episodes are an epoch of 16 classes of 8 drawings, four turns each."""
    return Config(
        name="episodes",
        task="episodes",
        data=Data(source=read, image_size=SIDE, validation_share=1 / 6, test_share=1 / 6),
        episode=Episode(ways=4, shots=4, rotations=True, validation=16, test=24),
        model=Model(name=Nearest),
        optim=Optim(learning_rate=5e-3),
        train=Train(epochs=4, batch_size=8, evaluations=2, steps_per_dispatch=8),
        augment=Augment(noise=0.02),
    )
