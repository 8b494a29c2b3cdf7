"""The stacked LSTM beside PyTorch's with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.models import LSTM
from imbal_jax.models.lstm import gates_bias

torch = pytest.importorskip("torch")


def test_it_gives_what_pytorchs_lstm_gives_with_the_same_weights() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 11, 5)).astype(np.float32)
    model = LSTM(3, size=6, layers=3)
    variables = jax.jit(model.init)(jax.random.key(1), x)
    params = variables["params"]
    other = torch.nn.LSTM(5, 6, num_layers=3, batch_first=True)
    with torch.no_grad():
        for layer in range(3):
            for theirs, own in (("ih", "inputs"), ("hh", "hidden")):
                weight = torch.tensor(np.asarray(params[f"layer{layer}_{own}"]).T)
                getattr(other, f"weight_{theirs}_l{layer}").copy_(weight)
            getattr(other, f"bias_ih_l{layer}").copy_(torch.tensor(np.array(params[f"layer{layer}_bias"])))
            getattr(other, f"bias_hh_l{layer}").zero_()
    states = other(torch.tensor(x))[0]
    expected = states @ torch.tensor(np.asarray(params["head"]["kernel"]))
    expected = expected + torch.tensor(np.array(params["head"]["bias"]))
    np.testing.assert_allclose(
        jax.jit(model.apply)(variables, x), expected.detach().numpy(), rtol=1e-4, atol=1e-5
    )
    torch.sin(expected).sum().backward()
    slopes = jax.jit(jax.grad(lambda p: jnp.sin(model.apply({"params": p}, x)).sum()))(params)
    for layer in range(3):
        for theirs, own in (("weight_ih", "inputs"), ("weight_hh", "hidden"), ("bias_ih", "bias")):
            expected_slope = getattr(other, f"{theirs}_l{layer}").grad.numpy().T
            np.testing.assert_allclose(slopes[f"layer{layer}_{own}"], expected_slope, rtol=1e-3, atol=1e-5)


def test_a_fresh_network_remembers() -> None:
    np.testing.assert_array_equal(gates_bias(jax.random.key(0), (8,)), [0, 0, 1, 1, 0, 0, 0, 0])


def test_the_baseline_for_copying_has_as_many_parameters_as_the_published_one_but_one_vector_of_biases() -> (
    None
):
    """1,352,969 published for 3 layers of 256; here 9 inputs and 8 outputs, one bias a gate, no learned start."""
    shapes = jax.eval_shape(lambda: LSTM(8).init(jax.random.key(0), np.zeros((1, 3, 9), np.float32)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    layers = [(9 + 256) * 1024 + 1024, 2 * 256 * 1024 + 1024, 2 * 256 * 1024 + 1024]
    assert count == sum(layers) + 256 * 8 + 8
