"""The projection head: on the unit sphere, as PyTorch has it, and no NaN for a vector of zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.models.projection import ProjectionHead, unit_length

FEATURES = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)


def initialised(head: ProjectionHead, features=FEATURES):
    return head.init(jax.random.key(0), features)


def test_unit_length_has_the_values_computed_by_hand():
    np.testing.assert_allclose(unit_length(np.array([[3.0, 4.0], [0.0, -2.0]])), [[0.6, 0.8], [0, -1]])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(6, 10), (3, 2, 10), (10,)])
def test_result_is_float32_of_length_1_for_any_leading_dimensions(shape, dtype):
    head = ProjectionHead(num_features=4, dtype=dtype)
    features = FEATURES.ravel()[: np.prod(shape)].reshape(shape)
    projected = head.apply(initialised(head, features), features)
    assert projected.shape == (*shape[:-1], 4)
    assert projected.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(projected, axis=-1), 1, rtol=1e-6)


def test_head_is_dense_relu_dense_normalise_in_numpy():
    head = ProjectionHead(num_features=4, hidden=7)
    variables = initialised(head)
    p = variables["params"]
    hidden = np.maximum(FEATURES @ p["dense0"]["kernel"] + p["dense0"]["bias"], 0)
    expected = hidden @ p["dense1"]["kernel"] + p["dense1"]["bias"]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(head.apply(variables, FEATURES), expected, rtol=1e-5, atol=1e-6)


def test_hidden_layer_is_as_wide_as_the_input_unless_given():
    for hidden, width in ((None, 10), (7, 7)):
        kernels = {
            name: layer["kernel"].shape
            for name, layer in initialised(ProjectionHead(4, hidden))["params"].items()
        }
        assert kernels == {"dense0": (10, width), "dense1": (width, 4)}
    assert initialised(ProjectionHead())["params"]["dense1"]["bias"].shape == (128,)


def test_gradient_of_unit_length_agrees_with_torch():
    torch = pytest.importorskip("torch")
    direction = np.random.default_rng(1).normal(size=FEATURES.shape)
    x = torch.tensor(FEATURES, dtype=torch.float64, requires_grad=True)
    (torch.nn.functional.normalize(x, dim=-1) * torch.tensor(direction)).sum().backward()
    gradient = jax.grad(lambda x: jnp.sum(unit_length(x) * direction))(FEATURES)
    np.testing.assert_allclose(gradient, x.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-10, 1e4, 1e15])
def test_unit_length_has_no_nan_in_value_or_gradient(length):
    x = np.array([[length, -length, length]], np.float32)
    value, pull = jax.vjp(unit_length, x)
    (gradient,) = pull(jnp.ones_like(value))
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    if length < 1e-12:
        np.testing.assert_array_equal(value, 0)
        np.testing.assert_array_equal(gradient, 0)
    else:
        np.testing.assert_allclose(np.linalg.norm(value), 1, rtol=1e-6)


def test_head_of_features_that_are_all_0_trains_without_nan():
    head = ProjectionHead(num_features=4)
    gradients = jax.grad(lambda v: head.apply(v, jnp.zeros((2, 10))).sum())(initialised(head))
    for leaf in jax.tree.leaves(gradients):
        np.testing.assert_array_equal(leaf, 0)
