"""Runs of equal static parts share one compilation; dropout gives one run on any number of devices."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from imbal_jax.config import Config, Data, Model, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits
from imbal_jax.engine import parallel
from imbal_jax.methods import find_method
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training.program import resident_steps
from imbal_jax.training.stage import Stage, first_stage

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1)).astype(np.uint8)
CONFIG = Config(
    name="program",
    data=Data(negative_class="normal"),
    model=Model(name="cnn", options={"width": 2, "stages": 1}),
    train=Train(batch_size=12, epochs=2, devices=1),
)


def stage(config: Config, method: str, rare: int, devices: int = 1) -> Stage:
    labels = np.repeat([0, 1], [60 - rare, rare]).astype(np.int32)
    data = Dataset(IMAGES, labels, np.arange(60), ("normal", "rare"))
    splits = Splits(data, data, data, table=[])
    return first_stage(config, find_method(method), ONE_LABEL, splits, parallel.make_mesh(devices))


def test_a_sweep_over_ratios_weights_and_seeds_compiles_the_steps_once() -> None:
    traced: list[Any] = []
    resident_steps.cache_clear()
    real = type(stage(CONFIG, "ce", 6).program).step

    def counted(program: Any) -> Any:
        traced.append(program)
        return real(program)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("imbal_jax.training.program.Program.step", counted)
        resident_steps.cache_clear()
        losses = []
        with jax.log_compiles(False):
            for rare in (3, 6, 12):
                for seed in (0, 1):
                    for method in ("ce", "weighted_ce", "effective_number", "weights=sqrt_inverse"):
                        begun = stage(replace(CONFIG, seed=seed), method, rare)
                        state = parallel.replicate(begun.state, begun.program.mesh)
                        _, metrics, _ = begun.advance(state, 3)
                        losses.append(float(metrics["loss"]))
    assert len(traced) == 1, "the step was built again"
    assert resident_steps.cache_info().currsize == 1
    assert len(set(losses)) > 12, "the runs differ"


def test_dropout_gives_the_same_run_on_one_two_and_four_devices() -> None:
    config = replace(CONFIG, model=replace(CONFIG.model, dropout=0.5))
    params = []
    for devices in (1, 2, 4):
        begun = stage(config, "ce", 12, devices)
        state = parallel.replicate(begun.state, begun.program.mesh)
        for _ in range(10):
            state, metrics, _ = begun.advance(state, 1)
            jax.block_until_ready(metrics)
        params.append(jax.device_get(state.params))
    for other in params[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), params[0], other)
