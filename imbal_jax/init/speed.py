"""Measures how fast a config trains on this machine."""

import time

import jax

from imbal_jax.config import Config
from imbal_jax.data.load import Splits
from imbal_jax.engine import parallel
from imbal_jax.tasks import task_for
from imbal_jax.training.build import make_mesh
from imbal_jax.training.stage import first_stage

SECONDS = 4.0  # of measuring, behind the compilation
STEPS = 4  # of a dispatch


def images_per_second(config: Config, splits: Splits) -> float:
    """Training images a second of the first method of ``config``, compilation not counted."""
    mesh = make_mesh(config)
    task = task_for(config.task, splits.train, config.metrics)
    stage = first_stage(config, config.methods[0], task, splits, mesh)
    state, metrics, _ = stage.advance(parallel.replicate(stage.state, mesh), STEPS)
    jax.block_until_ready((state, metrics))
    began, taken = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < SECONDS:
        state, metrics, steps = stage.advance(state, STEPS)
        jax.block_until_ready((state, metrics))
        taken += steps
    return taken * config.train.batch_size / seconds
