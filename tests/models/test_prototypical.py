"""Prototypical network against class means in numpy; its limits and laws."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_episodes import assert_causal, episodes, gradients_are_finite, random_variables

from imbal_jax.errors import InputError
from imbal_jax.models import make_model
from imbal_jax.models.class_support import UNSEEN
from imbal_jax.models.prototypical import nearness_of_prototypes

LABELS = st.lists(st.integers(-1, 3), min_size=8, max_size=8)


def in_numpy(features: np.ndarray, labels: np.ndarray, ways: int) -> np.ndarray:
    logits = np.full((*labels.shape, ways), UNSEEN)
    for b, t in np.ndindex(*labels.shape):
        for c in range(ways):
            support = features[b, :t][labels[b, :t] == c]
            if len(support):
                logits[b, t, c] = -np.sum((features[b, t] - support.mean(0)) ** 2)
    return logits


@given(LABELS, st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_logits_are_minus_the_squared_distances_to_class_means(labels: list[int], seed: int) -> None:
    features = np.random.default_rng(seed).standard_normal((1, len(labels), 5)).astype(np.float32)
    found = nearness_of_prototypes(jnp.asarray(features), jnp.asarray([labels]), 4)
    np.testing.assert_allclose(found, in_numpy(features, np.array([labels]), 4), rtol=1e-4, atol=1e-4)


def test_the_network_is_its_encoder_and_the_class_means() -> None:
    inputs = episodes(size=16)
    model = make_model("prototypical", num_outputs=3, encoder_width=8)
    variables = random_variables(model, inputs)
    both = jax.jit(model.apply, static_argnames="outputs")(variables, inputs, outputs="both")
    expected = in_numpy(np.asarray(both["features"], np.float64), np.asarray(inputs["labels"]), 3)
    np.testing.assert_allclose(both["logits"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.apply(variables, inputs), both["logits"], rtol=1e-3, atol=1e-4)


def test_with_one_example_a_class_the_best_class_is_that_of_the_nearest_neighbour() -> None:
    random = np.random.default_rng(0)
    features = random.standard_normal((8, 6, 3)).astype(np.float32)
    labels = np.array([[*random.permutation(5).tolist(), -1] for _ in range(8)])
    best = np.asarray(nearness_of_prototypes(jnp.asarray(features), jnp.asarray(labels), 5))[:, -1].argmax(-1)
    nearest = np.linalg.norm(features[:, :5] - features[:, 5:], axis=-1).argmin(-1)
    np.testing.assert_array_equal(best, np.take_along_axis(labels, nearest[:, None], 1)[:, 0])


def test_nothing_shown_gives_equal_finite_logits_and_no_gradient() -> None:
    def loss(features: Any) -> jax.Array:
        return jnp.sum(jnp.sin(nearness_of_prototypes(features, jnp.full((1, 4), -1), 3)))

    features = jnp.ones((1, 4, 2))
    np.testing.assert_array_equal(nearness_of_prototypes(features, jnp.full((1, 4), -1), 3), UNSEEN)
    np.testing.assert_array_equal(jax.grad(loss)(features), 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_network_is_causal(seed: int) -> None:
    inputs = episodes(seed=seed)
    model = make_model("prototypical", num_outputs=3, encoder="pixels")
    assert_causal(model, {}, inputs)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_gradients_are_finite(norm: str) -> None:
    inputs = episodes(size=16)
    model = make_model("prototypical", num_outputs=3, encoder_width=8, norm=norm)
    assert gradients_are_finite(model, jax.jit(model.init)(jax.random.key(0), inputs), inputs)


def test_options_of_other_networks_are_refused() -> None:
    with pytest.raises(InputError, match="option 'slots' of model 'prototypical' is unknown"):
        make_model("prototypical", num_outputs=3, slots=4)
    with pytest.raises(InputError, match=r"encoder 'vgg' .* 'pixels', 'conv', 'resnet'"):
        make_model("prototypical", num_outputs=3, encoder="vgg")
