"""Scores: padded, sharded, mirrored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.engine.parallel import make_mesh
from imbal_jax.methods import METHODS
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training.inference import make_predict

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 4, 6, 1)).astype(np.uint8)
KERNEL = np.random.default_rng(1).normal(size=(24, 3)).astype(np.float32)
STATISTICS = {"mean": np.float32(0.4), "deviation": np.float32(0.2)}


def linear(variables, inputs, *, train, rngs):
    return inputs.reshape(len(inputs), -1) @ variables["params"]


def by_hand(images):
    pixels = ((images.astype(np.float64) / 255 - 0.4) / 0.2).reshape(len(images), -1)
    return np.asarray(jax.nn.softmax(jnp.asarray(pixels @ KERNEL)))


@pytest.mark.parametrize(("devices", "batch"), [(1, 3), (1, 64), (4, 2), (4, 8)])
def test_neither_devices_nor_padding_change_the_scores(devices, batch):
    predict = make_predict(linear, ONE_LABEL.predictor(METHODS["ce"]), make_mesh(devices), batch)
    np.testing.assert_allclose(predict({"params": KERNEL}, STATISTICS, IMAGES), by_hand(IMAGES), atol=1e-5)


def test_mirrored_scores_are_the_mean_of_both_views():
    predict = make_predict(
        linear, ONE_LABEL.predictor(METHODS["ce"]), make_mesh(2), 8, unmirrored=lambda p: p
    )
    expected = (by_hand(IMAGES) + by_hand(IMAGES[:, :, ::-1])) / 2
    np.testing.assert_allclose(predict({"params": KERNEL}, STATISTICS, IMAGES), expected, atol=1e-5)
