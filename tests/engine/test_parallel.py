"""The same run on 1, 2 and 4 devices under every backend: the loss does not know how many devices there are."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from imbal_jax import losses, sampling
from imbal_jax.engine import parallel
from imbal_jax.engine.parallel import BACKENDS, make_mesh, parallelize, scan_steps
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.engine.step import linen_apply, make_train_step

BATCH, CLASSES, STEPS = 16, 3, 20
WEIGHTS = np.array([0.2, 3.0, 90.0], np.float32)
DEVICES = (1, 2, 4)


class Net(nn.Module):
    """A convolution, the normalisation under test, a dense layer."""

    norm: str
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.Conv(8, (3, 3))(x)
        if self.norm == "group":
            x = nn.GroupNorm(num_groups=2)(x)
        else:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name)(x)
        return nn.Dense(CLASSES)(nn.relu(x).mean((1, 2)))


def objective(logits: jax.Array, batch: Any, axis_name: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
    values = losses.cross_entropy(logits, batch["labels"])
    return losses.weighted_mean(values, batch["shared"]["weights"][batch["labels"]], axis_name), {}


def batches() -> list[dict[str, Any]]:
    """Batches whose rare class sits on the first of 4 shards, where a mean of means is furthest off."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(STEPS):
        labels = np.zeros(BATCH, np.int32)
        labels[1::4] = 1
        labels[:4] = 2
        images = rng.normal(size=(BATCH, 6, 6, 1)).astype(np.float32) + labels[:, None, None, None]
        made.append({"inputs": images, "labels": labels, "shared": {"weights": WEIGHTS}})
    return made


def trained(norm: str, devices: int, backend: str, data: list[dict[str, Any]]) -> tuple[Any, list[float]]:
    axis = None if backend == "jit" else parallel.AXIS
    model = Net(norm, axis)
    variables = model.init(jax.random.key(0), data[0]["inputs"])
    optimizer = optax.sgd(0.05)  # an adaptive optimiser would hide a gradient that is N times too large
    step = make_train_step(linen_apply(model), optimizer, objective, axis)
    mesh = make_mesh(devices)
    run = parallelize(step, mesh, backend)
    state = parallel.replicate(init_state(variables, optimizer, jax.random.key(1)), mesh)
    seen = []
    for batch in data:
        state, metrics = run(state, parallel.shard_batch(batch, mesh))
        seen.append(float(metrics["loss"]))  # blocks: steps in flight on simulated devices can deadlock
    return jax.device_get((state.params, state.model_state)), seen


def assert_close(first: Any, second: Any, tolerance: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), first, second)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_parameters_after_20_sgd_steps_agree_on_1_2_and_4_devices_under_every_backend(norm: str) -> None:
    data = batches()
    reference, losses_seen = trained(norm, 1, "jit", data)
    assert losses_seen[-1] < 0.7 * losses_seen[0], "nothing was learned, so nothing is compared"
    for devices, backend in itertools.product(DEVICES, BACKENDS):
        result, seen = trained(norm, devices, backend, data)
        assert_close(result, reference, 1e-5)
        np.testing.assert_allclose(seen, losses_seen, atol=1e-4)


def linear(variables: Any, inputs: jax.Array, *, train: bool, rngs: Any) -> jax.Array:
    return inputs @ variables["params"]["w"]


@pytest.mark.parametrize("check_vma", [False, True])
def test_the_gradient_is_not_multiplied_by_the_number_of_devices(check_vma: bool) -> None:
    """Against numpy: one SGD step of weighted softmax regression, written out."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(BATCH, 5)).astype(np.float32)
    y = np.repeat([0, 1, 2], [10, 5, 1]).astype(np.int32)
    w = rng.normal(size=(5, CLASSES)).astype(np.float32)

    z = x.astype(np.float64) @ w
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    weight = WEIGHTS[y].astype(np.float64)
    expected = w - 0.1 * x.T @ ((p - np.eye(CLASSES)[y]) * weight[:, None]) / weight.sum()

    step = make_train_step(linear, optax.sgd(0.1), objective)
    state = init_state({"params": {"w": jnp.asarray(w)}}, step.optimizer, jax.random.key(0))
    P = jax.sharding.PartitionSpec
    specs = {"inputs": P("data"), "labels": P("data"), "shared": P()}
    run = jax.jit(
        jax.shard_map(step, mesh=make_mesh(4), in_specs=(P(), specs), out_specs=P(), check_vma=check_vma)
    )
    state, _ = run(state, {"inputs": x, "labels": y, "shared": {"weights": WEIGHTS}})
    np.testing.assert_allclose(state.params["w"], expected, atol=1e-6)


def resident_batch(resident: Any, step: jax.Array, shard: jax.Array | None) -> dict[str, Any]:
    items = sampling.batch_indices(resident["plan"], step, shard)
    return {"inputs": resident["x"][items], "labels": resident["y"][items], "shared": resident["shared"]}


def scan_fixture(devices: int) -> tuple[TrainState, Any, Any]:
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1, 2], [80, 15, 5]).astype(np.int32)
    x = rng.normal(size=(100, 5)).astype(np.float32)
    plan = sampling.make_plan(y, 12, "balanced", num_shards=devices)
    step = make_train_step(linear, optax.sgd(0.1, momentum=0.9), objective)
    params = {"w": jnp.zeros((5, CLASSES))}
    return (
        init_state({"params": params}, step.optimizer, jax.random.key(0)),
        {"plan": plan, "x": x, "y": y, "shared": {"weights": WEIGHTS}},
        step,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_steps_in_one_dispatch_are_the_steps_one_by_one_on_any_number_of_devices(backend: str) -> None:
    state, resident, step = scan_fixture(1)
    expected = state
    plain = jax.jit(lambda s, b: make_train_step(linear, step.optimizer, objective, None)(s, b))
    losses_seen = []
    for t in range(7):
        expected, metrics = plain(expected, resident_batch(resident, t, None))
        losses_seen.append(float(metrics["loss"]))
    for devices in DEVICES:
        state, resident, step = scan_fixture(devices)
        mesh = make_mesh(devices)
        many = scan_steps(step, resident_batch, mesh, backend)
        resident = parallel.replicate(resident, mesh)
        state, first = many(parallel.replicate(state, mesh), resident, 5)
        state, second = many(state, resident, 2)
        assert int(state.step) == 7
        np.testing.assert_allclose(state.params["w"], expected.params["w"], atol=1e-6)
        total = 5 * float(first["loss"]) + 2 * float(second["loss"])
        np.testing.assert_allclose(total, sum(losses_seen), rtol=1e-5)


def test_any_number_of_steps_is_one_compilation() -> None:
    traces = []

    def counted(resident: Any, step: jax.Array, shard: jax.Array | None) -> dict[str, Any]:
        traces.append(1)
        return resident_batch(resident, step, shard)

    state, resident, step = scan_fixture(1)
    mesh = make_mesh(1)
    state = parallel.replicate(state, mesh)
    many = scan_steps(step, counted, mesh)
    state, _ = many(state, resident, 5)
    before = len(traces)
    for count in (1, 3, 9):
        state, _ = many(state, resident, count)
    resident["shared"] = {"weights": WEIGHTS * 3}
    many(state, resident, 2)
    assert len(traces) == before


def test_the_state_is_donated() -> None:
    state, resident, step = scan_fixture(1)
    batch = resident_batch(resident, 0, None)
    run = parallelize(step, make_mesh(1))
    new, _ = run(state, batch)
    jax.block_until_ready(new)
    assert state.params["w"].is_deleted()


def test_what_cannot_run_says_so() -> None:
    _, _, step = scan_fixture(1)
    with pytest.raises(ValueError, match="unknown backend 'ddp': one of shard_map, pmap, jit"):
        parallelize(step, make_mesh(1), "ddp")
    with pytest.raises(ValueError, match="9 devices asked for, 4 present"):
        make_mesh(9)
    state, resident, step = scan_fixture(1)
    batch = resident_batch(resident, 0, None)
    short = {name: value if name == "shared" else value[:6] for name, value in batch.items()}
    with pytest.raises(ValueError, match="a batch of 6 does not divide over 4 devices"):
        parallelize(step, make_mesh(4))(state, short)


def test_resident_arrays_are_read_from_one_copy_by_all_devices_of_a_cpu() -> None:
    images = parallel.aligned(np.arange(4 * 2**16, dtype=np.uint8).reshape(4, -1))
    placed = parallel.place_resident({"images": images, "few": np.arange(3)}, parallel.make_mesh(4))
    at = {shard.data.unsafe_buffer_pointer() for shard in placed["images"].addressable_shards}
    assert at == {images.ctypes.data}
    np.testing.assert_array_equal(placed["images"], images)
    np.testing.assert_array_equal(placed["few"], [0, 1, 2])
    unaligned = np.empty(images.size + 1, np.uint8)[1:].reshape(images.shape)
    unaligned[...] = images
    again = parallel.place_resident(unaligned, parallel.make_mesh(4))
    assert len({shard.data.unsafe_buffer_pointer() for shard in again.addressable_shards}) == 1
    np.testing.assert_array_equal(again, images)
