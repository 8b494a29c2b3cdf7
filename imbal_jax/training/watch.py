"""What a run shows at each evaluation to a function that watches it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits
from imbal_jax.engine.state import TrainState
from imbal_jax.methods import Method
from imbal_jax.tasks import Task
from imbal_jax.training.network import SecondStageNetwork
from imbal_jax.training.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One evaluation, before its checkpoint is saved.

    config: with the seed of the run and its criterion. method: the run's; stage: what of it is trained.
    state: the trainer overwrites its arrays in the next step, so copy what is kept of them.
    seconds: of this stage, over all restarts, without those of the watching function.
    outputs: what the task keeps of each validation image, [V, C] for classification; kept: as the method corrects it.
    values: the metrics of ``kept``, by name.
    score: ``data -> outputs`` of the network at this step, for other images.
    """

    config: Config
    method: Method
    stage: Stage
    splits: Splits
    state: TrainState
    seconds: float
    outputs: np.ndarray
    kept: np.ndarray
    values: Mapping[str, float]
    score: Callable[[Dataset], np.ndarray]

    @property
    def step(self) -> int:
        """Steps taken in this stage."""
        return int(self.state.step)

    @property
    def task(self) -> Task:
        """What kind of labels."""
        return self.stage.program.task

    @property
    def is_second(self) -> bool:
        """Whether this is a second stage; its first was watched as a run of its own, named as its method."""
        return isinstance(self.stage.network, SecondStageNetwork)


Watch = Callable[[Watched], None]
