"""The controllers without a memory: PyTorch's LSTM with the same weights; a layer that forgets."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_episodes import assert_causal, episodes, gradients_are_finite, num_parameters, random_variables

from imbal_jax.errors import InputError
from imbal_jax.models import make_model
from imbal_jax.models.episode_inputs import encoded_labels, one_step_late


def steps_of(inputs: Any, ways: int) -> np.ndarray:
    shown = one_step_late(encoded_labels(inputs["labels"], ways))
    images = np.asarray(inputs["images"])
    return np.concatenate([images.reshape(*images.shape[:2], -1), shown], axis=-1)


def test_the_lstm_and_its_gradient_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    inputs, hidden = episodes(batch=3), 5
    model = make_model("episode_lstm", num_outputs=3, hidden=hidden)
    params = random_variables(model, inputs)["params"]
    peer = torch.nn.LSTM(16 + 3, hidden, batch_first=True)
    forget_gate = np.zeros(4 * hidden, np.float32)
    forget_gate[hidden : 2 * hidden] = 1.0
    with torch.no_grad():
        peer.weight_ih_l0.copy_(torch.from_numpy(np.array(params["controller_input"]["kernel"]).T))
        peer.weight_hh_l0.copy_(torch.from_numpy(np.array(params["controller_kernel"]).T))
        peer.bias_ih_l0.copy_(torch.from_numpy(np.asarray(params["controller_input"]["bias"]) + forget_gate))
        peer.bias_hh_l0.zero_()
    found = peer(torch.from_numpy(steps_of(inputs, 3)))[0]
    found.sin().sum().backward()

    features = jax.jit(model.apply, static_argnames="outputs")({"params": params}, inputs, outputs="features")
    np.testing.assert_allclose(features, found.detach().numpy(), rtol=1e-4, atol=1e-5)
    gradient = jax.jit(
        jax.grad(lambda p: jnp.sum(jnp.sin(model.apply({"params": p}, inputs, outputs="features"))))
    )(params)
    for ours, theirs in (
        (gradient["controller_kernel"], peer.weight_hh_l0.grad.T),
        (gradient["controller_input"]["kernel"], peer.weight_ih_l0.grad.T),
        (gradient["controller_input"]["bias"], peer.bias_ih_l0.grad),
    ):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-4)


def test_the_layer_sees_the_picture_and_the_label_before_only() -> None:
    inputs = episodes()
    model = make_model("episode_mlp", num_outputs=3, hidden=7)
    p = random_variables(model, inputs)["params"]
    hidden = np.tanh(steps_of(inputs, 3) @ p["controller_input"]["kernel"] + p["controller_input"]["bias"])
    expected = hidden @ p["head"]["kernel"] + p["head"]["bias"]
    np.testing.assert_allclose(model.apply({"params": p}, inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_lstm_is_causal(seed: int) -> None:
    inputs = episodes(seed=seed)
    model = make_model("episode_lstm", num_outputs=3, hidden=6)
    assert_causal(model, random_variables(model, inputs, seed, spread=2.0), inputs)


@pytest.mark.parametrize("name", ["episode_lstm", "episode_mlp"])
def test_gradients_are_finite(name: str) -> None:
    inputs = episodes()
    model = make_model(name, num_outputs=3, hidden=6)
    assert gradients_are_finite(model, model.init(jax.random.key(0), inputs), inputs)


def test_dropout_acts_in_training_only() -> None:
    inputs = episodes()
    model = make_model("episode_mlp", num_outputs=3, dropout=0.5)
    variables = random_variables(model, inputs)
    np.testing.assert_array_equal(model.apply(variables, inputs), model.apply(variables, inputs))
    trained = [
        model.apply(variables, inputs, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (1, 2)
    ]
    assert not np.allclose(*trained)


def test_sizes() -> None:
    inputs = episodes(size=20, ways=5)
    assert (
        num_parameters(make_model("episode_lstm", num_outputs=5), inputs) == (405 + 200 + 1) * 800 + 201 * 5
    )
    assert num_parameters(make_model("episode_mlp", num_outputs=5), inputs) == 406 * 200 + 201 * 5


def test_a_wrong_number_of_units_is_refused() -> None:
    with pytest.raises(InputError, match="hidden 0 of model 'episode_lstm': give a whole number from 1"):
        make_model("episode_lstm", num_outputs=3, hidden=0)
