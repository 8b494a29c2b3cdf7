"""Gradient accumulation: parts of a batch give the loss, the gradient and the metrics of the whole."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from imbal_jax import losses
from imbal_jax.config import Config, Data, Model, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.engine.parallel import Backend, make_mesh, parallelize, replicate, shard_batch
from imbal_jax.engine.state import init_state
from imbal_jax.engine.step import linen_apply, make_train_step
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS
from imbal_jax.models.dropout import Dropout
from imbal_jax.train import fit

AXIS = "data"


def batch(size: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "inputs": rng.normal(size=(size, 6, 6, 2)).astype(np.float32),
        "labels": rng.integers(0, 2, size).astype(np.int32),
    }


class Net(nn.Module):
    axis_name: str | None = None
    rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        x = Dropout(self.rate, self.axis_name)(x, train)
        return nn.Dense(2)(nn.GroupNorm(2)(x).mean((1, 2)))


def weighted(logits: jax.Array, data: Any, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A weighted mean, whose denominator is that of the whole batch."""
    weights = jnp.where(data["labels"] == 1, 3.0, 1.0)
    right = losses.weighted_mean(jnp.argmax(logits, -1) == data["labels"], None, axis)
    return losses.weighted_mean(losses.cross_entropy(logits, data["labels"]), weights, axis), {
        "accuracy": right
    }


def ranks(logits: jax.Array, data: Any, axis: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A loss of pairs within a device: no sum over images."""
    score = logits[:, 1] - logits[:, 0]
    pairs = (data["labels"][:, None] == 1) & (data["labels"] == 0)
    value = jnp.where(pairs, jnp.square(1 - score[:, None] + score), 0).sum()
    total = pairs.sum()
    if axis is not None:
        value, total = jax.lax.psum(value, axis), jax.lax.psum(total, axis)
    return value / jnp.maximum(total, 1), {}


def stepped(
    objective: Any,
    accumulation: int,
    devices: int | None = None,
    backend: Backend = "shard_map",
    rate: float = 0.0,
) -> tuple[Any, dict[str, float]]:
    """The parameters after two steps of SGD, whose changes are the gradients, and the metrics."""
    axis = None if devices is None or backend == "jit" else AXIS
    model, data = Net(axis, rate), batch()
    variables = Net().init(jax.random.key(1), data["inputs"])
    step = make_train_step(linen_apply(model), optax.sgd(0.1), objective, axis, accumulation=accumulation)
    state = init_state(variables, optax.sgd(0.1), jax.random.key(3))
    if devices is None:
        run = jax.jit(step)
    else:
        mesh = make_mesh(devices)
        run, state, data = parallelize(step, mesh, backend), replicate(state, mesh), shard_batch(data, mesh)
    for _ in range(2):
        state, metrics = run(state, data)
        jax.block_until_ready(metrics)
    return jax.device_get(state.params), {
        name: float(value) for name, value in jax.device_get(metrics).items()
    }


def same(found: Any, expected: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), found[0], expected[0])
    assert found[1] == pytest.approx(expected[1], rel=1e-5)


@pytest.mark.parametrize("objective", [weighted, ranks])
@pytest.mark.parametrize("parts", [2, 8, 16])
def test_parts_of_a_batch_make_the_step_of_the_whole(objective: Any, parts: int) -> None:
    same(stepped(objective, parts), stepped(objective, 1))


@pytest.mark.parametrize("backend", ["shard_map", "pmap", "jit"])
def test_parts_are_the_same_on_several_devices_by_every_backend(backend: Backend) -> None:
    same(stepped(weighted, 2, 4, backend), stepped(weighted, 1))


@pytest.mark.parametrize("devices", [None, 2])
def test_dropout_falls_on_the_same_values_whatever_the_parts(devices: int | None) -> None:
    whole = stepped(weighted, 1, rate=0.5)
    assert whole[1] != stepped(weighted, 1)[1]
    same(stepped(weighted, 4, devices, rate=0.5), whole)


def test_batch_norm_normalises_each_part_and_its_averages_pass_over_them() -> None:
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5, use_bias=False, use_scale=False)(x)
            return x @ self.param("w", nn.initializers.ones, (3, 2))

    x = np.random.default_rng(1).normal(2.0, 1.0, (8, 3)).astype(np.float32)
    data = {"inputs": x, "labels": np.arange(8) % 2}
    variables = Normed().init(jax.random.key(0), x)
    step = make_train_step(linen_apply(Normed()), optax.sgd(0.0), weighted, None, accumulation=2)
    state, _ = jax.jit(step)(init_state(variables, optax.sgd(0.0), jax.random.key(0)), data)
    average = np.zeros(3)
    for part in (x[::2], x[1::2]):
        average = 0.5 * average + 0.5 * part.mean(axis=0)
    np.testing.assert_allclose(state.model_state["batch_stats"]["BatchNorm_0"]["mean"], average, rtol=1e-5)


def test_activations_take_the_memory_of_one_part() -> None:
    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
            for _ in range(6):
                x = nn.relu(nn.Conv(16, (3, 3))(x))
            return nn.Dense(2)(x.mean((1, 2)))

    data = {"inputs": np.zeros((64, 32, 32, 2), np.float32), "labels": np.zeros(64, np.int32)}
    variables = Deep().init(jax.random.key(0), data["inputs"][:1])
    state = init_state(variables, optax.sgd(0.1), jax.random.key(0))

    def temporary(parts: int) -> int:
        step = make_train_step(linen_apply(Deep()), optax.sgd(0.1), weighted, None, accumulation=parts)
        return int(jax.jit(step).lower(state, data).compile().memory_analysis().temp_size_in_bytes)

    assert temporary(8) < temporary(1) / 4


def test_a_batch_that_does_not_divide_and_outputs_of_more_than_an_image_are_refused() -> None:
    with pytest.raises(InputError, match=r"train\.accumulation is 3 and a device's share of the batch 16"):
        stepped(weighted, 3)

    def prototypes(variables: Any, inputs: Any, *, train: bool, rngs: Any) -> Any:
        return {"logits": inputs.mean((1, 2)), "prototypes": variables["params"]["w"]}

    step = make_train_step(prototypes, optax.sgd(0.1), weighted, None, accumulation=2)
    state = init_state({"params": {"w": jnp.ones((3, 2))}}, optax.sgd(0.1), jax.random.key(0))
    with pytest.raises(InputError, match="not all of single images"):
        step(state, batch())
    config = Config(name="parts", train=Train(batch_size=8, devices=1, accumulation=3))
    from imbal_jax.training.build import make_mesh as mesh_of

    with pytest.raises(InputError, match=r"train\.accumulation 3 does not divide the 8 images of a device"):
        mesh_of(config)


@pytest.mark.parametrize("method", ["weighted_ce", "sup_con"])
def test_a_whole_run_in_parts_is_the_run(tmp_path: Any, method: str) -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(60) % 3 == 0).astype(np.int32)
    images = rng.integers(0, 120, (60, 12, 12, 1)).astype(np.uint8)
    images[labels == 1, 3:8, 3:8] += 90
    data = Dataset.from_arrays(images, labels, groups=np.arange(60) // 2, classes=("normal", "bright"))
    found = []
    for parts in (1, 2):
        config = Config(
            name="parts",
            methods=(METHODS[method],),
            data=Data(source="arrays", negative_class="normal"),
            model=Model(name="cnn", options={"patch": 2, "width": 4, "stages": 1}, dropout=0.2),
            train=Train(epochs=3, batch_size=8, evaluations=1, devices=2, accumulation=parts),
        )
        (result,) = fit(config, tmp_path / str(parts), data, report=False)
        found.append(result.predict(images[:10]))
    np.testing.assert_allclose(found[1], found[0], atol=2e-4)
