"""hard_negatives: the kept set is the hardest of the global batch, on one device and on four."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from imbal_jax import losses
from imbal_jax.losses.mining import hard_negatives


def reference(values, positives, ratio=3.0, minimum=1, mask=None) -> np.ndarray:
    """Item by item in Python: take the hardest negative that is left, the first of equals, to the quota."""
    values = np.asarray(values, np.float64)
    if values.ndim == 2:
        masks = [None] * values.shape[1] if mask is None else np.broadcast_to(mask, values.shape).T
        columns = zip(values.T, positives.T, masks, strict=True)
        return np.stack([reference(v, p, ratio, minimum, m) for v, p, m in columns], axis=1)
    known = np.ones(len(values), bool) if mask is None else np.asarray(mask) != 0
    kept = positives & known
    quota = max(minimum, round(ratio * int(kept.sum())))
    left = [i for i in range(len(values)) if known[i] and not positives[i]]
    for _ in range(min(quota, len(left))):
        hardest = max(left, key=lambda i: (np.inf if np.isnan(values[i]) else values[i], -i))
        kept[hardest] = True
        left.remove(hardest)
    return kept.astype(np.float32)


def random_batch(seed: int, shape: tuple[int, ...], ties: bool = True):
    random = np.random.default_rng(seed)
    values = random.exponential(size=shape)
    values = np.round(values * 2) / 2 if ties else values
    return values.astype(np.float32), random.uniform(size=shape) < 0.15, random.uniform(size=shape) < 0.8


def test_kept_set_is_the_one_found_by_hand():
    values = jnp.array([0.1, 5.0, 0.2, 0.9, 0.9, 0.3, 0.9, 0.4])
    positives = jnp.array([True, False, False, False, False, False, False, False])
    np.testing.assert_array_equal(hard_negatives(values, positives), [1, 1, 0, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(hard_negatives(values, positives, 1.0), [1, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(hard_negatives(values, positives, 0.0, 0), [1, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(hard_negatives(values, positives, 100.0), np.ones(8))
    np.testing.assert_array_equal(hard_negatives(values, ~positives), np.ones(8))
    none = jnp.zeros(8, bool)
    np.testing.assert_array_equal(hard_negatives(values, none), [0, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(hard_negatives(values, none, minimum=3), [0, 1, 0, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(hard_negatives(values, none, minimum=0), np.zeros(8))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 1.0, 3.0]), st.sampled_from([0, 1, 4]))
def test_kept_set_agrees_with_a_search_in_python(seed, ratio, minimum):
    for shape in ((24,), (24, 3)):
        values, positives, mask = random_batch(seed, shape)
        weights = hard_negatives(values, positives, ratio, minimum)
        assert weights.dtype == jnp.float32
        np.testing.assert_array_equal(weights, reference(values, positives, ratio, minimum))
        weights = hard_negatives(values, positives, ratio, minimum, mask=mask)
        np.testing.assert_array_equal(weights, reference(values, positives, ratio, minimum, mask))


def test_kept_set_agrees_with_two_sorts_in_torch():
    torch = pytest.importorskip("torch")
    for seed in range(5):
        values, positives, _ = random_batch(seed, (64, 5), ties=False)
        negative = torch.tensor(values).masked_fill(torch.tensor(positives), -torch.inf)
        rank = negative.sort(dim=0, descending=True)[1].sort(dim=0)[1]
        quota = torch.clamp(3 * torch.tensor(positives).sum(dim=0), min=1)
        expected = torch.tensor(positives) | (rank < quota)
        np.testing.assert_array_equal(hard_negatives(values, positives), expected.numpy())


@pytest.mark.parametrize("backend", ["shard_map", "shard_map_vma", "pmap"])
@pytest.mark.parametrize("case", ["mixed", "one device holds all positives", "no positive", "all equal"])
@pytest.mark.parametrize("shape", [(32,), (32, 3)])
def test_kept_set_is_that_of_the_global_batch_on_four_devices(backend, case, shape):
    values, positives, mask = random_batch(3, shape)
    if case == "one device holds all positives":
        positives[:24], positives[24:28] = False, True
        values[:8] += 10  # and another the hardest negatives
    elif case == "no positive":
        positives[:] = False
    elif case == "all equal":
        values[:] = 1
    expected = reference(values, positives, mask=mask)
    np.testing.assert_array_equal(hard_negatives(values, positives, mask=mask), expected)

    def choose(values, positives, mask):
        return hard_negatives(values, positives, axis_name="data", mask=mask)

    if backend == "pmap":
        parts = [x.reshape(4, 8, *shape[1:]) for x in (values, positives, mask)]
        found = jax.pmap(choose, axis_name="data", devices=jax.devices()[:4])(*parts)
    else:
        mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
        found = jax.jit(
            jax.shard_map(
                choose,
                mesh=mesh,
                in_specs=(P("data"),) * 3,
                out_specs=P("data"),
                check_vma=backend == "shard_map_vma",
            )
        )(values, positives, mask)
    np.testing.assert_array_equal(np.asarray(found).reshape(shape), expected)


def test_kept_set_is_global_over_a_mesh_of_two_axes():
    values, positives, _ = random_batch(5, (32,))
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("hosts", "data"))
    axes = ("hosts", "data")
    found = jax.jit(
        jax.shard_map(
            lambda *x: hard_negatives(*x, axis_name=axes),
            mesh=mesh,
            in_specs=(P(axes),) * 2,
            out_specs=P(axes),
        )
    )(values, positives)
    np.testing.assert_array_equal(found, reference(values, positives))


def test_no_gradient_flows_through_the_choice_and_what_is_left_out_has_none():
    positives = jnp.array([True, False, False, False, False, False])
    logits = jnp.array([0.5, -3.0, 2.0, 0.1, -0.5, 1.0])

    def mean(logits):
        values = losses.binary_cross_entropy(logits, positives.astype(jnp.float32))
        return losses.weighted_mean(values, hard_negatives(values, positives, 2.0))

    value, gradient = jax.jit(jax.value_and_grad(mean))(logits)
    kept = np.array([0, 2, 5])
    z, t = np.asarray(logits, np.float64)[kept], np.array([1.0, 0, 0])
    np.testing.assert_allclose(value, np.mean(np.log1p(np.exp(z)) - t * z), rtol=1e-6)
    expected = np.zeros(6)
    expected[kept] = (1 / (1 + np.exp(-z)) - t) / 3
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)
    weights_alone = jax.jit(jax.grad(lambda v: hard_negatives(v, positives).sum()))(logits)
    np.testing.assert_array_equal(weights_alone, 0)


def test_nan_shows_unless_the_mask_hides_it():
    values = jnp.array([1.0, 2.0, np.nan, 3.0, np.inf, 0.5])
    positives = jnp.array([True, False, False, False, False, False])
    np.testing.assert_array_equal(hard_negatives(values, positives, 1.0), [1, 0, 1, 0, 0, 0])
    mask = ~jnp.isnan(values)
    np.testing.assert_array_equal(hard_negatives(values, positives, 2.0, mask=mask), [1, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(hard_negatives(values, positives, mask=jnp.zeros(6)), np.zeros(6))


def test_mask_of_an_item_covers_all_its_labels():
    values, positives, _ = random_batch(7, (16, 3))
    mask = (np.arange(16) % 3 > 0)[:, None]
    found = hard_negatives(values, positives, mask=mask)
    np.testing.assert_array_equal(found, reference(values, positives, mask=mask))


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_values_of_any_precision_give_float32_weights(dtype):
    with jax.enable_x64(dtype == np.float64):
        values, positives, _ = random_batch(1, (24,))
        weights = hard_negatives(jnp.asarray(values, dtype), positives)
        assert weights.dtype == jnp.float32
        np.testing.assert_array_equal(weights, reference(values, positives))


def test_values_that_differ_in_float64_only_are_told_apart():
    with jax.enable_x64(True):
        values = jnp.array([1.0, 1.0 + 1e-12, 1.0 - 1e-12])
        np.testing.assert_array_equal(hard_negatives(values, jnp.zeros(3, bool)), [0, 1, 0])


def test_ratio_and_minimum_are_traced_so_that_a_sweep_compiles_once():
    values, positives, _ = random_batch(2, (32,))
    traces = []

    @jax.jit
    def run(ratio, minimum):
        traces.append(1)
        return hard_negatives(values, positives, ratio, minimum)

    for ratio, minimum in ((1.0, 1), (2.5, 1), (0.0, 7)):
        np.testing.assert_array_equal(run(ratio, minimum), reference(values, positives, ratio, minimum))
    assert len(traces) == 1


def test_bad_static_input_raises_naming_the_value():
    values, positives = np.ones(4), np.zeros(4, bool)
    for arguments, message in (
        ((np.ones((2, 2, 2)), np.zeros((2, 2, 2), bool)), r"values have shape \(2, 2, 2\)"),
        ((values, np.zeros(3, bool)), r"positives are bool \(3,\), expected bool \(4,\)"),
        ((values, np.array([1, 0, -1, 0], np.int32)), r"positives are int32 \(4,\), expected bool"),
        ((values, positives, -1.0), "ratio is -1, expected a finite number zero or above"),
        ((values, positives, 3.0, -1), "minimum is -1"),
        ((values, positives, 3.0, 1, None, np.ones(3)), r"mask values of shape \(3,\) do not broadcast"),
    ):
        with pytest.raises(ValueError, match=message):
            hard_negatives(*arguments)
