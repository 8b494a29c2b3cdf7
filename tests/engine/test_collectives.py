"""What devices exchange in a step, read from the compiled program: one all-reduce of the gradients, and scalars."""

import re
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imbal_jax import models
from imbal_jax.config import Config, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.engine import parallel
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.engine.step import TrainStep, linen_apply, make_train_step
from imbal_jax.methods import find_method
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training.composition import compose

LABELS = (np.arange(64) % 8 == 0).astype(np.int32)
# Operations by which devices exchange arrays, and those by which a program waits for the host
EXCHANGED = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
HOST = ("infeed", "outfeed", "send", "recv")
METHOD = "ce,weights=inverse"


def prepared(norm: str) -> tuple[TrainStep, TrainState, Shared]:
    """A step of a small network, its first state, and what the examples of a batch share."""
    model = models.make_model("cnn", num_outputs=2, norm=norm, axis_name="data", width=4, stages=2)
    variables = model.init(jax.random.key(0), jnp.zeros((8, 16, 16, 1)), train=False)
    optimizer = optax.sgd(optax.cosine_decay_schedule(0.1, 200), momentum=0.9)
    method = find_method(METHOD)
    step = make_train_step(linen_apply(model), optimizer, ONE_LABEL.objective(method))
    data = Dataset(np.zeros((64, 16, 16, 1), np.uint8), LABELS, np.arange(64), ("normal", "nodule"))
    config = Config(name="collectives", train=Train(batch_size=8))
    shared = compose(config, method, ONE_LABEL, data, 4, 200)[1]
    return step, init_state(variables, optimizer, jax.random.key(0)), shared


def batch_of(shared: Shared, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(8, 16, 16, 1)).astype(np.float32)
    return {"inputs": inputs, "labels": rng.integers(0, 2, 8).astype(np.int32), "shared": shared}


def operations(text: str, names: tuple[str, ...]) -> list[tuple[str, list[tuple[int, ...]]]]:
    """Name and shapes of the results of each operation of these names in a compiled program."""
    found = re.findall(rf"^\s*(?:ROOT )?%?\S+ = (.*?) ({'|'.join(names)})(?:-start)?\(", text, re.MULTILINE)
    return [
        (
            name,
            [
                tuple(map(int, filter(None, s.split(","))))
                for s in re.findall(r"[a-z]\w*\[([\d,]*)\]", result)
            ],
        )
        for result, name in found
    ]


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_gradients_are_reduced_at_once_and_only_sums_beside_them(norm: str) -> None:
    step, state, shared = prepared(norm)
    mesh = parallel.make_mesh(4)
    placed = parallel.replicate(state, mesh), parallel.shard_batch(batch_of(shared), mesh)
    run = jax.jit(parallel.parallelize(step, mesh, donate=False))
    text = run.lower(*placed).compile().as_text()
    assert operations(text, HOST) == []
    assert "callback" not in text
    exchanged = operations(text, EXCHANGED)
    assert {name for name, _ in exchanged} == {"all-reduce"}
    wanted = sorted(leaf.shape for leaf in jax.tree.leaves(state.params))
    with_gradients, others = [], []
    for _, shapes in exchanged:
        large = sorted(shape for shape in shapes if shape)
        (with_gradients if large == wanted else others).append(large)
    assert len(with_gradients) == 1, "every gradient, in one"
    if norm == "group":
        assert all(large == [] for large in others), "scalars: the loss and its weights"
        assert len(others) <= 2
    else:
        sums = {leaf.shape for leaf in jax.tree.leaves(state.model_state)}
        assert {shape for large in others for shape in large} <= sums, "BatchNorm: sums of a channel"


def test_two_hundred_steps_of_changing_weights_and_rate_are_one_program() -> None:
    step, state, shared = prepared("group")
    mesh, traces = parallel.make_mesh(4), []

    def counted(state: Any, batch: Any) -> Any:
        traces.append(1)
        return step(state, batch)

    run = parallel.parallelize(counted, mesh)
    state = parallel.replicate(state, mesh)
    for number in range(200):
        weights = np.array([1, 1 + number / 100], np.float32)
        now = replace(shared, arrays=shared.arrays._replace(class_weights=weights))
        state, metrics = run(state, parallel.shard_batch(batch_of(now, number), mesh))
        if number == 0:
            first = len(traces)
    assert int(state.step) == 200
    assert np.isfinite(float(metrics["loss"]))
    assert len(traces) == first, "nothing is traced after the first step"
