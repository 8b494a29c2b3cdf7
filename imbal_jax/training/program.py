"""The compiled part of a training. Within a process, runs with equal static parts share one compilation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from imbal_jax.config import Optim
from imbal_jax.data.feeding.pipeline import Pipeline, Resident
from imbal_jax.engine import parallel
from imbal_jax.engine.fully_sharded import fully_shard
from imbal_jax.engine.parallel import Backend
from imbal_jax.engine.state import TrainState
from imbal_jax.engine.step import TrainStep, make_train_step
from imbal_jax.methods import Method
from imbal_jax.tasks import Task
from imbal_jax.training.network import Network, SecondStageNetwork
from imbal_jax.training.optimizer import make_optimizer
from imbal_jax.training.second_stage import FeaturePipeline


@dataclass(frozen=True)
class Program:
    """The static parts of a training; counts, priors, weights, plans and seeds are arrays that it is called with.

    method: its static part (``methods.static_part``). rate_change: from which step on, and by how much, the
    learning rate is multiplied.
    """

    network: Network | SecondStageNetwork
    task: Task
    method: Method
    optim: Optim
    total_steps: int
    rate_change: tuple[int, float]
    uncertain: str
    pipeline: Pipeline | FeaturePipeline
    mesh: Mesh
    backend: Backend
    accumulation: int = 1
    sharded: bool = False
    spread_labels: bool = False

    @property
    def resident_specs(self) -> Any:
        """How resident arrays lie on the mesh."""
        if not self.pipeline.spread:
            return parallel.WHOLE
        parts: list[Any] = [parallel.WHOLE] * 5
        parts[0] = P(parallel.AXIS)
        parts[1] = P(parallel.AXIS) if self.spread_labels else parallel.WHOLE
        return Resident(*parts)

    def place(self, state: TrainState) -> TrainState:
        """The state on the devices of the mesh: whole on each, or in parts."""
        return (fully_shard if self.sharded else parallel.replicate)(state, self.mesh)

    def optimizer(self) -> optax.GradientTransformation:
        """The optimiser over the steps of this training."""
        loss = self.method.loss_row
        return make_optimizer(self.optim, self.total_steps, self.rate_change, loss.optimizer)

    def step(self) -> TrainStep:
        """The pure step of one device."""
        optim, total = self.optim, self.total_steps
        return make_train_step(
            self.network.apply,
            self.optimizer(),
            self.task.objective(self.method, label_smoothing=optim.label_smoothing, uncertain=self.uncertain),
            None if self.backend == "jit" else parallel.AXIS,
            ema_decay=optim.ema_decay,
            average_from=round(optim.swa_start * total) if optim.swa_start < 1 else None,
            accumulation=self.accumulation,
        )


@lru_cache(maxsize=8)
def resident_steps(program: Program) -> Callable[[TrainState, Any, int], tuple[TrainState, Any]]:
    """``(state, resident arrays, count) -> (state, metrics)``: so many steps in one dispatch."""
    return parallel.scan_steps(
        program.step(),
        program.pipeline.from_device,
        program.mesh,
        program.backend,
        sharded=program.sharded,
        resident_specs=program.resident_specs,
    )


@lru_cache(maxsize=8)
def fed_step(program: Program) -> Callable[[TrainState, Any], tuple[TrainState, Any]]:
    """``(state, raw batch) -> (state, metrics)``: one step on a batch that the host gathered."""
    return parallel.parallelize(_fed(program), program.mesh, program.backend, sharded=program.sharded)


def step_bytes(program: Program, state: TrainState, batch: Any) -> int:
    """``parallel.temporary_bytes`` of a step. batch: as ``fed_step`` takes it."""
    return parallel.temporary_bytes(
        _fed(program), program.mesh, program.backend, state, batch, sharded=program.sharded
    )


def _fed(program: Program) -> Callable[[TrainState, Any], tuple[TrainState, Any]]:
    step, pipeline = program.step(), program.pipeline
    assert isinstance(pipeline, Pipeline)  # features are always resident

    def fed(state: TrainState, batch: Mapping[str, Any]) -> tuple[TrainState, Mapping[str, jax.Array]]:
        raw = {name: value for name, value in batch.items() if name != "shared"}
        return step(state, pipeline.inputs(raw, batch["shared"], state.step))

    return fed
