from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.special import softmax
from small_runs import BRIEF, QUIET, small, write_pictures

from imbal_jax.engine.step import linen_apply
from imbal_jax.methods import METHODS
from imbal_jax.runs import saliency
from imbal_jax.runs.saliency import saliency_maps
from imbal_jax.tasks import MANY_LABELS
from imbal_jax.train import fit

SIDE, CHANNELS, CLASSES = 8, 2, 3


def linear(variables, inputs, *, train, rngs):
    assert not train
    return inputs.reshape(len(inputs), -1) @ variables["kernel"]


def corner(variables, inputs, *, train, rngs):
    """One finding, seen in the upper left quarter only, by the square of its pixels."""
    half = SIDE // 2
    seen = (inputs[:, :half, :half] ** 2).sum(axis=(1, 2, 3))
    return {"logits": jnp.stack([jnp.zeros_like(seen), variables["gain"] * seen], axis=1)}, {}


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, SIDE, SIDE, CHANNELS)).astype(np.float32)


@pytest.fixture
def kernel() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(SIDE * SIDE * CHANNELS, CLASSES)).astype(np.float32)


def norms(weights: np.ndarray) -> np.ndarray:
    return np.sqrt((weights.reshape(SIDE, SIDE, CHANNELS) ** 2).sum(axis=-1))


@pytest.mark.parametrize("cls", range(CLASSES))
def test_of_independent_sigmoids_the_map_of_a_linear_model_is_the_size_of_its_weights(
    images: np.ndarray, kernel: np.ndarray, cls: int
) -> None:
    maps = saliency_maps(linear, {"kernel": kernel}, images, cls, task=MANY_LABELS)
    assert maps.shape == (3, SIDE, SIDE)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, np.tile(norms(kernel[:, cls]), (3, 1, 1)), rtol=1e-5)


@pytest.mark.parametrize("cls", range(CLASSES))
def test_of_one_label_the_map_is_the_derivative_of_the_log_odds(
    images: np.ndarray, kernel: np.ndarray, cls: int
) -> None:
    maps = saliency_maps(linear, {"kernel": kernel}, images, cls, noise=0.0, samples=1)
    others = [k for k in range(CLASSES) if k != cls]
    for image, shown in zip(images.astype(np.float64), maps, strict=True):
        shares = softmax((image.reshape(-1) @ kernel)[others])
        gradient = kernel[:, cls] - kernel[:, others] @ shares
        np.testing.assert_allclose(shown, norms(gradient), rtol=1e-4)


def test_noise_averages_the_squares_of_the_gradients(images: np.ndarray) -> None:
    # m = g sum x^2, so E |grad|^2 = 4 g^2 sum over channels of (x^2 + sd^2)
    gain, noise = 0.5, 0.2
    maps = saliency_maps(corner, {"gain": gain}, images, 1, samples=4096, noise=noise)
    spread = noise * np.ptp(images.reshape(3, -1), axis=1)[:, None, None]
    expected = 2 * gain * np.sqrt((images**2).sum(axis=-1) + CHANNELS * spread**2)
    half = SIDE // 2
    np.testing.assert_allclose(maps[:, :half, :half], expected[:, :half, :half], rtol=0.1)


def test_what_the_network_does_not_look_at_is_dark(images: np.ndarray) -> None:
    maps = saliency_maps(corner, {"gain": 1.0}, images, 1)
    half = SIDE // 2
    assert (maps[:, :half, :half] > 0).all()
    maps[:, :half, :half] = 0
    assert not maps.any()


def test_of_two_classes_both_have_the_same_map(images: np.ndarray) -> None:
    first, second = (saliency_maps(corner, {"gain": 1.0}, images, cls) for cls in (0, 1))
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_maps_do_not_depend_on_the_other_images(images: np.ndarray, kernel: np.ndarray) -> None:
    variables = {"kernel": kernel}
    together = saliency_maps(linear, variables, images, 0)
    np.testing.assert_array_equal(together[1:2], saliency_maps(linear, variables, images[1:2], 0))


def test_classes_and_images_share_one_compilation(images: np.ndarray, kernel: np.ndarray) -> None:
    traces = []

    def counted(variables, inputs, *, train, rngs):
        traces.append(isinstance(inputs, jax.core.Tracer) and inputs.shape[0])
        return linear(variables, inputs, train=train, rngs=rngs)

    for cls in range(CLASSES):
        saliency_maps(counted, {"kernel": kernel}, images, cls, samples=5)
    assert traces.count(5) == 1


def test_a_linen_network_with_one_logit_has_a_map(images: np.ndarray) -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dense(1, use_bias=False)(x.reshape(len(x), -1))

    model = Model()
    variables = model.init(jax.random.key(0), images)
    maps = saliency_maps(linen_apply(model), variables, images, 0)
    weights = np.asarray(variables["params"]["Dense_0"]["kernel"])[:, 0]
    np.testing.assert_allclose(maps[0], norms(weights), rtol=1e-5)


def test_no_image_has_no_map(images: np.ndarray, kernel: np.ndarray) -> None:
    assert saliency_maps(linear, {"kernel": kernel}, images[:0], 0).shape == (0, SIDE, SIDE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cls": CLASSES}, "class 3 is out of range: the network has 3 logits"),
        ({"cls": -1}, "out of range"),
        ({"samples": 0}, "samples=0"),
        ({"noise": -0.1}, "noise=-0.1"),
        ({"inputs": np.zeros((2, 2))}, "expected \\[B, H, W, channels\\]"),
    ],
)
def test_wrong_arguments_are_named(
    images: np.ndarray, kernel: np.ndarray, changes: dict, message: str
) -> None:
    arguments = {"inputs": images, "cls": 0} | changes
    with pytest.raises(ValueError, match=message):
        saliency_maps(linear, {"kernel": kernel}, **arguments)


def test_runs_of_equal_networks_share_what_is_compiled_for_their_maps(tmp_path: Path) -> None:
    asked = small(write_pictures(tmp_path / "pictures"), methods=(METHODS["ce"], METHODS["stratified"]))
    asked = replace(asked, train=replace(asked.train, epochs=BRIEF, evaluations=1))
    before = saliency._map._cache_size()
    first, second = fit(asked, tmp_path / "w", console=QUIET)
    maps = [result.saliency(np.arange(3), 1) for result in (first, second)]
    assert saliency._map._cache_size() - before <= 1, "none where another test has filled the cache"
    assert not np.allclose(*maps)
