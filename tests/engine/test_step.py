"""The train step: what it computes, what it skips, whose models it takes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

from imbal_jax import losses
from imbal_jax.engine.parallel import make_mesh, parallelize, replicate, shard_batch
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.engine.step import linen_apply, make_eval_step, make_train_step


def objective(logits: jax.Array, batch: Any, axis_name: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
    values = losses.cross_entropy(logits, batch["labels"])
    accuracy = losses.weighted_mean(jnp.argmax(logits, -1) == batch["labels"], None, axis_name)
    return losses.weighted_mean(values, None, axis_name), {"accuracy": accuracy}


def linear(variables: Any, inputs: jax.Array, *, train: bool, rngs: Any) -> jax.Array:
    return inputs @ variables["params"]["w"]


def batch(seed: int = 0, size: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "inputs": rng.normal(size=(size, 4)).astype(np.float32),
        "labels": rng.integers(0, 3, size).astype(np.int32),
    }


def fresh(optimizer: optax.GradientTransformation, *, ema: bool = False) -> TrainState:
    return init_state(
        {"params": {"w": jnp.ones((4, 3)) * jnp.arange(3)}}, optimizer, jax.random.key(0), ema=ema
    )


@pytest.mark.parametrize("poison", ["inputs", "inf"])
def test_a_nonfinite_loss_or_gradient_changes_nothing_but_the_counters(poison: str) -> None:
    step = jax.jit(make_train_step(linear, optax.adam(0.1), objective, None, ema_decay=0.9))
    state, _ = step(fresh(optax.adam(0.1), ema=True), batch())
    bad = batch(1)
    bad["inputs"][0, 0] = np.nan if poison == "inputs" else np.inf
    after, metrics = step(state, bad)
    assert int(metrics["skipped"]) == 1
    for name in ("params", "opt_state", "ema_params"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(state, name))
    assert (int(after.step), int(after.skipped), int(after.skipped_in_row)) == (2, 1, 1)
    twice, _ = step(after, bad)
    assert (int(twice.skipped), int(twice.skipped_in_row)) == (2, 2)
    well, metrics = step(twice, batch(2))
    assert (int(well.skipped), int(well.skipped_in_row), int(metrics["skipped"])) == (2, 0, 0)
    assert not np.array_equal(well.params["w"], state.params["w"])


def test_a_finite_loss_with_an_infinite_gradient_is_skipped() -> None:
    def steep(variables: Any, inputs: jax.Array, *, train: bool, rngs: Any) -> jax.Array:
        return jnp.sqrt(variables["params"]["w"][:1] * 0.0) + inputs @ variables["params"]["w"]

    step = jax.jit(make_train_step(steep, optax.sgd(0.1), objective, None))
    state, metrics = step(fresh(optax.sgd(0.1)), batch())
    assert np.isfinite(metrics["loss"])
    assert int(state.skipped) == 1


def test_the_moving_average_follows_its_formula() -> None:
    step = jax.jit(make_train_step(linear, optax.sgd(0.1), objective, None, ema_decay=0.25))
    state = fresh(optax.sgd(0.1), ema=True)
    average = np.asarray(state.params["w"])
    for t in range(5):
        decay = min(0.25, (1 + t) / (10 + t))
        state, _ = step(state, batch(t))
        average = decay * average + (1 - decay) * np.asarray(state.params["w"])
    np.testing.assert_allclose(state.ema_params["w"], average, rtol=1e-6)
    np.testing.assert_array_equal(state.evaluation_variables["params"]["w"], state.ema_params["w"])


def test_metrics_of_the_objective_are_global() -> None:
    data = batch(3, 16)
    _, expected = jax.jit(make_train_step(linear, optax.sgd(0.1), objective, None))(
        fresh(optax.sgd(0.1)), data
    )
    mesh = make_mesh(4)
    run = parallelize(make_train_step(linear, optax.sgd(0.1), objective), mesh)
    _, metrics = run(replicate(fresh(optax.sgd(0.1)), mesh), shard_batch(data, mesh))
    assert float(metrics["accuracy"]) == pytest.approx(float(expected["accuracy"]))


def test_dropout_differs_between_steps_and_devices_and_repeats_from_the_key() -> None:
    class Drop(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
            x = nn.Dropout(0.5, deterministic=not train)(x)
            return x @ self.param("w", nn.initializers.ones, (4, 3))

    seen = []

    def spy(logits: jax.Array, data: Any, axis_name: str | None) -> tuple[jax.Array, dict[str, jax.Array]]:
        return 0.0 * logits.sum(), {"kept": jax.lax.all_gather(logits[:, 0], axis_name)}

    step = make_train_step(linen_apply(Drop()), optax.sgd(0.0), spy)
    mesh = make_mesh(2)
    run = parallelize(step, mesh)
    ones = {"inputs": np.ones((64, 4), np.float32), "labels": np.zeros(64, np.int32)}
    for _ in range(2):
        state = init_state({"params": {"w": jnp.ones((4, 3))}}, optax.sgd(0.0), jax.random.key(7))
        state = replicate(state, mesh)
        for _ in range(2):
            state, metrics = run(state, ones)
            seen.append(np.asarray(metrics["kept"]))
    first, second, again, _ = seen
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_an_nnx_model_runs_through_the_same_step_as_its_linen_twin() -> None:
    class Linen(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
            x = nn.relu(nn.Dense(8)(x))
            return nn.Dense(3)(x)

    class Nnx(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(4, 8, rngs=rngs)
            self.second = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.second(jax.nn.relu(self.first(x)))

    graph, weights = nnx.split(Nnx(nnx.Rngs(0)))
    pure = nnx.to_pure_dict(weights)

    def apply(variables: Any, inputs: jax.Array, *, train: bool, rngs: Any) -> jax.Array:
        filled = nnx.clone(weights)
        nnx.replace_by_pure_dict(filled, variables["params"])
        return nnx.merge(graph, filled)(inputs)

    twin = {"Dense_0": pure["first"], "Dense_1": pure["second"]}
    mesh = make_mesh(2)
    results = []
    for apply_fn, params in ((apply, pure), (linen_apply(Linen()), twin)):
        step = make_train_step(apply_fn, optax.sgd(0.5, momentum=0.9), objective)
        state = replicate(
            init_state({"params": jax.tree.map(jnp.copy, params)}, step.optimizer, jax.random.key(0)), mesh
        )
        run = parallelize(step, mesh)
        for t in range(5):
            state, metrics = run(state, shard_batch(batch(t), mesh))
            float(metrics["loss"])
        results.append(state.params)
    np.testing.assert_allclose(results[0]["second"]["kernel"], results[1]["Dense_1"]["kernel"], atol=1e-6)
    assert not np.allclose(results[0]["second"]["kernel"], pure["second"]["kernel"])


def test_the_evaluation_step_predicts_from_the_model_in_evaluation_mode() -> None:
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
            x = nn.BatchNorm(use_running_average=not train)(x)
            return nn.Dropout(0.9, deterministic=not train)(x)

    model = Noisy()
    x = batch()["inputs"]
    variables = model.init(jax.random.key(0), x)
    scores = make_eval_step(linen_apply(model), jax.nn.softmax)(variables, x)
    shifted = x / np.sqrt(1 + 1e-5)
    expected = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_stochastic_weight_averaging_is_the_mean_of_the_parameters_from_its_step_on() -> None:
    step = jax.jit(make_train_step(linear, optax.sgd(0.1), objective, None, average_from=3))
    state, seen = fresh(optax.sgd(0.1), ema=True), []
    for t in range(7):
        state, _ = step(state, batch(t))
        seen.append(np.asarray(state.params["w"], np.float64))
        expected = np.mean(seen[3:], axis=0) if t >= 3 else seen[-1]
        np.testing.assert_allclose(state.ema_params["w"], expected, rtol=1e-5)


@pytest.mark.parametrize("average_from", [None, 1])
def test_a_step_with_averaged_parameters_runs_under_strict_flags(average_from):
    def apply(variables, inputs, *, train, rngs):
        return inputs @ variables["params"]["w"]

    def objective(outputs, batch, axis_name):
        return losses.weighted_mean(losses.cross_entropy(outputs, batch["labels"]), None, axis_name), {}

    optimizer = optax.sgd(0.1)
    state = init_state({"params": {"w": jnp.ones((4, 3))}}, optimizer, jax.random.key(0), ema=True)
    step = make_train_step(apply, optimizer, objective, None, ema_decay=0.9, average_from=average_from)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"), jax.debug_nans(True):
        state, metrics = jax.jit(step)(state, {"inputs": jnp.ones((2, 4)), "labels": jnp.array([0, 1])})
    assert metrics["skipped"] == 0
