"""weighted_mean: the same number and the same gradient on one device and on four."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from imbal_jax import losses

BACKENDS = ("pmap", "shard_map", "shard_map_vma")
every_backend = pytest.mark.parametrize("backend", BACKENDS)

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(16, 5)).astype(np.float32)
PARAMS = RANDOM.normal(size=(5, 3)).astype(np.float32)
WEIGHTS = np.array([0.1, 1.0, 20.0])
# All that is rare (class 2) sits on the last of four devices, which has nothing of class 0.
LABELS = np.array([0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2, 2, 1])


def on_four_devices(function, backend: str, params, *batch):
    """Run ``function(params, *batch) -> (value, gradient)`` on each device and sum the gradients."""

    def step(params, *batch):
        if backend == "shard_map_vma":
            params = jax.lax.pcast(params, "data", to="varying")
        value, gradient = function(params, *batch)
        return jax.lax.pmax(value, "data"), jax.lax.pmin(value, "data"), jax.lax.psum(gradient, "data")

    devices = jax.devices()[:4]
    if backend == "pmap":
        sharded = [np.reshape(x, (4, len(x) // 4, *np.shape(x)[1:])) for x in batch]
        stacked = np.broadcast_to(params, (4, *params.shape))
        outputs = jax.pmap(step, axis_name="data", devices=devices)(stacked, *sharded)
        high, low, gradient = jax.tree.map(lambda x: np.asarray(x)[0], outputs)
    else:
        mesh = Mesh(np.array(devices), ("data",))
        specs = (P(), *(P("data") for _ in batch))
        mapped = jax.shard_map(
            step, mesh=mesh, in_specs=specs, out_specs=(P(), P(), P()), check_vma=backend == "shard_map_vma"
        )
        high, low, gradient = jax.block_until_ready(jax.jit(mapped)(params, *batch))
    assert high == low, "the value is not the same on every device"
    return np.asarray(high), np.asarray(gradient)


def reference_mean_and_gradient(numerators: np.ndarray, size: float) -> tuple[float, np.ndarray]:
    """sum_i numerators_i ce_i / size, and its gradient for the linear model, in NumPy float64."""
    logits = INPUTS.astype(np.float64) @ PARAMS.astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ce = -np.log(p[np.arange(16), LABELS])
    slope = (p - np.eye(3)[LABELS]) * numerators[:, None] / size
    return (numerators * ce).sum() / size, INPUTS.T.astype(np.float64) @ slope


# One device


def test_mean_has_the_value_computed_by_hand():
    values, weights = np.array([1.0, 2.0, 6.0]), np.array([3.0, 1.0, 0.0])
    np.testing.assert_allclose(losses.weighted_mean(values, weights), 5 / 4)
    np.testing.assert_allclose(losses.weighted_mean(values, weights, normalize="count"), 5 / 3)
    np.testing.assert_allclose(losses.weighted_mean(values, None), 3)
    np.testing.assert_allclose(losses.weighted_mean(values, 0.5), 3)
    np.testing.assert_allclose(losses.weighted_mean(values, 0.5, normalize="count"), 1.5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_mean_agrees_with_numpy_average_and_ignores_the_scale_of_the_weights(seed):
    random = np.random.default_rng(seed)
    values, weights = random.normal(size=(3, 4)), random.uniform(size=(3, 1)) + 1e-3
    expected = np.average(values, weights=np.broadcast_to(weights, (3, 4)))
    np.testing.assert_allclose(losses.weighted_mean(values, weights), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses.weighted_mean(values, 1000 * weights), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("normalize", ["weights", "count"])
def test_batch_without_weight_has_mean_0_and_gradient_0(normalize):
    mean = partial(losses.weighted_mean, weights=np.zeros(3), normalize=normalize)
    for values in ([1.0, 2.0, 3.0], [np.nan, np.inf, -np.inf]):
        value, gradient = jax.value_and_grad(mean)(jnp.array(values))
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


def test_value_of_weight_0_does_not_enter_nan_included():
    mean = partial(losses.weighted_mean, weights=np.array([True, False, True, False]))
    value, gradient = jax.value_and_grad(mean)(jnp.array([1.0, np.nan, 5.0, np.inf]))
    assert value == 3
    np.testing.assert_allclose(gradient, [0.5, 0, 0.5, 0])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_values_are_summed_in_float32(dtype):
    mean = losses.weighted_mean(jnp.full(4096, 100, dtype), None)  # the sum is beyond float16
    assert mean.dtype == jnp.float32
    assert mean == 100


def test_no_gradient_flows_into_the_weights():
    gradient = jax.grad(lambda w: losses.weighted_mean(jnp.array([1.0, 2.0]), w))(jnp.array([1.0, 3.0]))
    np.testing.assert_array_equal(gradient, 0)


def test_bad_static_input_raises_naming_the_value():
    values = np.ones((4, 3))
    with pytest.raises(ValueError, match="normalize is 'mean', allowed are 'weights' and 'count'"):
        losses.weighted_mean(values, None, normalize="mean")
    for shape in ((4,), (2, 4, 3), (4, 2)):
        with pytest.raises(ValueError, match="do not broadcast to the values"):
            losses.weighted_mean(values, np.ones(shape))
    with pytest.raises(ValueError, match="do not broadcast to the values"):
        losses.weighted_mean(1.0, values)


# Four devices


@every_backend
@pytest.mark.parametrize("normalize", ["weights", "count"])
def test_value_and_gradient_are_the_same_on_four_devices_with_all_positives_on_one(backend, normalize):
    def loss(params, inputs, labels):
        ce = losses.cross_entropy(inputs @ params, labels)
        return losses.weighted_mean(ce, jnp.asarray(WEIGHTS)[labels], "data", normalize)

    size = WEIGHTS[LABELS].sum() if normalize == "weights" else 16
    expected_value, expected_gradient = reference_mean_and_gradient(WEIGHTS[LABELS], size)
    value, gradient = on_four_devices(jax.value_and_grad(loss), backend, PARAMS, INPUTS, LABELS)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


def test_mean_of_per_device_means_would_have_been_another_number():
    expected, _ = reference_mean_and_gradient(WEIGHTS[LABELS], WEIGHTS[LABELS].sum())
    ce = losses.cross_entropy(INPUTS @ PARAMS, LABELS)
    of_means = np.mean(
        [losses.weighted_mean(ce[i : i + 4], WEIGHTS[LABELS][i : i + 4]) for i in (0, 4, 8, 12)]
    )
    assert abs(of_means - expected) > 0.05


@every_backend
def test_five_steps_of_sgd_give_the_same_parameters_on_one_and_four_devices(backend):
    def loss(params, inputs, labels, axis_name):
        ce = losses.cross_entropy(inputs @ params, labels)
        return losses.weighted_mean(ce, jnp.asarray(WEIGHTS)[labels], axis_name)

    one = four = PARAMS
    for _ in range(5):
        one = one - 0.5 * jax.grad(loss)(one, INPUTS, LABELS, None)
        local = jax.value_and_grad(partial(loss, axis_name="data"))
        four = four - 0.5 * on_four_devices(local, backend, four, INPUTS, LABELS)[1]
    assert np.abs(one - PARAMS).max() > 0.1
    np.testing.assert_allclose(four, one, rtol=1e-4, atol=1e-5)


@every_backend
def test_bayesian_loss_with_batch_priors_is_that_of_the_global_batch(backend):
    def loss(params, inputs, labels):
        values = losses.bayesian_cross_entropy(inputs @ params, labels, None, axis_name="data")
        return losses.weighted_mean(values, None, "data")

    factor = 1 / (3 * np.bincount(LABELS) / 16)
    expected_value, expected_gradient = reference_mean_and_gradient(factor[LABELS], 16)
    value, gradient = on_four_devices(jax.value_and_grad(loss), backend, PARAMS, INPUTS, LABELS)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


@every_backend
def test_devices_without_weight_are_left_out_and_a_batch_without_any_gives_0(backend):
    def loss(params, inputs, labels, mask):
        return losses.weighted_mean(losses.cross_entropy(inputs @ params, labels), mask, "data")

    run = partial(on_four_devices, jax.value_and_grad(loss), backend, PARAMS, INPUTS, LABELS)
    mask = np.arange(16) < 6
    expected_value, expected_gradient = reference_mean_and_gradient(mask.astype(np.float64), 6)
    value, gradient = run(mask)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)

    value, gradient = run(np.zeros(16, bool))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_gradient_of_replicated_parameters_is_summed_already_under_vma_without_pcast():
    def step(params, inputs, labels):
        def loss(params):
            ce = losses.cross_entropy(inputs @ params, labels)
            return losses.weighted_mean(ce, jnp.asarray(WEIGHTS)[labels], "data")

        return jax.grad(loss)(params)

    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P())
    gradient = jax.jit(mapped)(PARAMS, INPUTS, LABELS)
    expected = reference_mean_and_gradient(WEIGHTS[LABELS], WEIGHTS[LABELS].sum())[1]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_mean_runs_over_two_mesh_axes():
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("host", "data"))
    axes = ("host", "data")
    mean = jax.jit(
        jax.shard_map(
            lambda v, w: jax.lax.pmax(losses.weighted_mean(v, w, axes), axes),
            mesh=mesh,
            in_specs=(P(axes), P(axes)),
            out_specs=P(),
        )
    )
    values, weights = np.arange(16.0), np.arange(16) % 5
    np.testing.assert_allclose(mean(values, weights), np.average(values, weights=weights), rtol=1e-6)
