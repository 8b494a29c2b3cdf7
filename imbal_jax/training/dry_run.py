"""What a training would take, measured over a few steps: memory of a device, images a second, time."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from imbal_jax.config import Config
from imbal_jax.console import duration
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits
from imbal_jax.engine import hosts, parallel
from imbal_jax.engine.fully_sharded import bytes_a_device
from imbal_jax.training.program import step_bytes
from imbal_jax.training.stage import Stage, is_resident, is_spread

SECONDS = 5.0  # for which steps are timed, once they are compiled
MIB = 2**20


def dry_run(
    config: Config,
    name: str,
    stage: Stage,
    splits: Splits,
    predictions: Callable[[Any], Callable[[Dataset], Any]],
) -> Iterator[str]:
    """Lines on one run: its size, the memory of a device, speed and time, and how arrays lie on the devices.

    name: of the run. predictions: ``state -> (data -> what is kept of each example)``, as evaluations have it.
    """
    mesh, state = stage.program.mesh, stage.program.place(stage.state)
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    evaluations = min(config.train.evaluations, stage.total_steps)
    yield (
        f"{name}: {config.model.name}, {count:,} parameters; {stage.total_steps:,} steps of "
        f"{config.train.batch_size} examples, {evaluations} evaluations, on {mesh.size} "
        f"{mesh.devices.flat[0].device_kind}"
    )
    yield from memory(config, stage, state, splits.train)
    state, rate, compiling = speed(config, stage, state)
    took, scored = scoring(predictions(state), splits.validation, config.train.batch_size)
    training = stage.total_steps * config.train.batch_size / rate
    validating = evaluations * took * len(splits.validation) / scored
    yield (
        f"  {rate:,.0f} examples/s, {scored / took:,.0f} scored/s: {duration(training)} of steps and "
        f"{duration(validating)} of evaluations, after {compiling:.0f} s of compiling"
    )
    if mesh.size > 1:
        yield from layout(state.params, mesh.size)


def memory(config: Config, stage: Stage, state: Any, train: Dataset) -> Iterator[str]:
    parts = {
        "parameters": state.params,
        "optimiser": state.opt_state,
        "averages": state.ema_params,
        "statistics": state.model_state,
    }
    held = {what: bytes_a_device(tree) for what, tree in parts.items()}
    said = ", ".join(f"{what} {size / MIB:,.1f}" for what, size in held.items() if size)
    mesh = stage.program.mesh
    images = train.resident_bytes if is_resident(config, train.images, mesh) else 0
    if is_spread(config, train.images, mesh):
        images = -(-images // mesh.size)
    where = f"{images / MIB:,.1f} of training images" if images else "no training images, which are streamed"
    batch = parallel.shard_batch({**stage.batches[0]}, stage.program.mesh)
    shared = parallel.replicate(stage.shared, stage.program.mesh)
    needed = step_bytes(stage.program, state, {**batch, "shared": shared})
    yield (
        f"  MiB a device: {sum(held.values()) / MIB:,.1f} of state ({said}), {where}, {needed / MIB:,.1f} for a step"
    )


def speed(config: Config, stage: Stage, state: Any) -> tuple[Any, float, float]:
    """The state after the steps that were timed, examples a second, and the seconds before the first step ended."""
    begun = time.perf_counter()
    state, metrics, _ = stage.advance(state, 1)
    jax.block_until_ready((state, metrics))
    compiling, dispatch = time.perf_counter() - begun, config.train.steps_per_dispatch

    def timed(state: Any, dispatches: int) -> tuple[Any, float, int]:
        begun, taken = time.perf_counter(), 0
        for _ in range(dispatches):
            state, metrics, steps = stage.advance(state, dispatch)
            jax.block_until_ready((state, metrics))
            taken += steps
        return state, time.perf_counter() - begun, taken

    state, seconds, _ = timed(state, 1)
    # decided once: all processes take the same steps
    count = hosts.from_first(lambda: max(1, round(SECONDS / seconds)))
    state, seconds, taken = timed(state, count)
    return state, taken * config.train.batch_size / seconds, compiling


def scoring(score: Callable[[Dataset], Any], held: Dataset, batch: int) -> tuple[float, int]:
    """Seconds to score so many images, compiled before."""
    some = held.take(np.arange(min(len(held), 4 * batch)))
    score(some)
    begun = time.perf_counter()
    score(some)
    return time.perf_counter() - begun, len(some)


def layout(params: Any, devices: int) -> Iterator[str]:
    """How the largest arrays are spread."""
    leaves = sorted(jax.tree.leaves_with_path(params), key=lambda leaf: -leaf[1].size)
    for path, leaf in leaves[:3]:
        name = "/".join(str(getattr(part, "key", part)) for part in path)
        own = leaf.addressable_shards[0].data.shape
        how = "whole on each device" if own == leaf.shape else f"{list(own)} on each of {devices} devices"
        yield f"  {name} {list(leaf.shape)}: {how}"
