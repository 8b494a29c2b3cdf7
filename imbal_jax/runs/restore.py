"""A finished run, restored for use: its network, its calibration, its thresholds; no training data is needed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from imbal_jax.config import Config, Episode
from imbal_jax.data.dataset import Dataset, Images
from imbal_jax.data.splits.class_split import IN_CONTEXT, episode_steps, label_names
from imbal_jax.engine import keys
from imbal_jax.engine.parallel import is_local, replicate
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.errors import InputError
from imbal_jax.methods import Method, static_part
from imbal_jax.runs.address import RunAddress
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.outputs import read_result
from imbal_jax.tasks import Task
from imbal_jax.training.build import build
from imbal_jax.training.checkpoint import Checkpoints
from imbal_jax.training.composition import predicting_method
from imbal_jax.training.inference import (
    Predict,
    batch_of,
    evaluator,
    on_data,
    shard_predict,
    tiles_of,
)
from imbal_jax.training.network import Network, SecondStageNetwork
from imbal_jax.training.optimizer import make_optimizer

Outputs = Callable[[Images], np.ndarray]


@dataclass(frozen=True)
class Deployed:
    """address: which run. step: of the checkpoint that ``variables`` are from."""

    address: RunAddress
    config: Config
    method: Method
    deployment: Deployment
    network: Network | SecondStageNetwork
    variables: Mapping[str, Any]
    step: int

    @property
    def task(self) -> Task:
        """What kind of labels the network was trained for."""
        return self.deployment.task

    def on_episodes(self, episode: Episode) -> "Deployed":
        """The same variables for episodes of other ways, shots or queries than those of training.

        Raises InputError where the network has variables for the episodes of its training: outputs that are ways, or
        layers for so many pictures.
        """
        if episode == self.config.episode:
            return self
        if self.config.task == IN_CONTEXT or not self.config.episode.ways:
            raise InputError(f"--episode.*: a run of {self.task.name} is scored on the images it has")
        config = replace(self.config, episode=episode)
        deployment = replace(self.deployment, classes=label_names(config))
        network, wanted = build(config, self.method, deployment.no_images())
        if _shapes_of(wanted) != _shapes_of(self.variables):
            then, now = (
                f"{of.ways} ways of {episode_steps(replace(config, episode=of))} pictures"
                for of in (self.config.episode, episode)
            )
            raise InputError(
                f"model {config.model.name} was made for episodes of {then} and has other variables for {now}: "
                "prototypical and matching compare pictures whatever their number"
            )
        return replace(self, config=config, deployment=deployment, network=network)

    def predict(self, mesh: Mesh, batch_size: int) -> Outputs:
        """``images [N, H, W, C] -> outputs float32 [N, ...]``; of classification probabilities [N, C]."""
        run = self._evaluator(mesh, batch_size, for_evaluation=False)
        return partial(run, replicate(self.variables, mesh), self.deployment.inputs.statistics)

    def evaluate(self, mesh: Mesh, batch_size: int) -> Callable[[Dataset], np.ndarray]:
        """``data -> what the task keeps of each example``."""
        run, statistics = (
            self._evaluator(mesh, batch_size, for_evaluation=True),
            self.deployment.inputs.statistics,
        )
        return on_data(run, self.task, replicate(self.variables, mesh), statistics)

    def _evaluator(self, mesh: Mesh, batch_size: int, *, for_evaluation: bool) -> Predict:
        method = static_part(predicting_method(self.method))
        mirror = self.deployment.inputs.mirror
        patch, shape = self.config.patch, self.deployment.inputs.shape
        return evaluator(
            self.network,
            self.task,
            method,
            mesh,
            batch_of(patch, batch_size, shape),
            mirror,
            for_evaluation=for_evaluation,
            tiles=tiles_of(patch),
        )

    def probabilities(self, images: np.ndarray, mesh: Mesh, batch_size: int = 64) -> np.ndarray:
        """Calibrated probabilities float64 [N, C]; of a task that does not decide, its predictions.

        images: uint8 or uint16 [N, H, W, C], as the training images were. Raises InputError for images of another
        shape or type.
        """
        inputs = self.deployment.inputs
        if np.shape(images)[1:] != inputs.shape or images.dtype != inputs.dtype:
            raise InputError(
                f"images are {images.dtype} {list(np.shape(images))}, the network takes {inputs.dtype} "
                f"[N, {', '.join(map(str, inputs.shape))}]"
            )
        outputs = self.predict(mesh, batch_size)(images)
        return self.deployment.probabilities(outputs) if self.task.decides else outputs

    def outputs(self, images: jax.Array) -> jax.Array:
        """As ``predict``, float32 [B, ...] of images [B, H, W, C]: pure and jittable, on one device."""
        inputs = self.deployment.inputs
        predictor = self.task.predictor(predicting_method(self.method))
        unmirrored = self.task.unmirrored if inputs.mirror else None
        tiles = tiles_of(self.config.patch)
        pure = shard_predict(
            self.network.apply, predictor, inputs.statistics, unmirrored, tiles, self.task.inputs
        )
        return pure(self.variables, images)


def _shapes_of(variables: Mapping[str, Any]) -> Any:
    """The tree of ``variables`` and the shape of each, to compare."""
    return jax.tree.map(np.shape, dict(variables))


def restore_deployed(address: RunAddress, mesh: Mesh, step: int | None = None) -> Deployed:
    """The finished run at ``address``, ready for use.

    step: of one of the checkpoints that were kept, instead of the chosen one; the calibration and the thresholds
    remain those of the chosen one. Raises InputError for a damaged or absent checkpoint.
    """
    config, method, folder = address.config(), address.definition(), address.folder
    deployment = Deployment.read(folder)
    step = read_result(folder)["best_step"] if step is None else step
    network, state = restore_state(config, method, deployment.no_images(), folder, mesh, step)
    variables = jax.device_get(state.evaluation_variables)
    return Deployed(address, config, method, deployment, network, variables, step)


def restore_state(
    config: Config, method: Method, like: Dataset, folder: Path, mesh: Mesh, step: int
) -> tuple[Network | SecondStageNetwork, TrainState]:
    """The network of a finished run and its state at ``step``; InputError where the checkpoint is damaged.

    like: a data set of the training images' shape and classes; it may be empty. Where several processes train, all
    restore together onto a mesh of all, or the first one alone onto its own devices.
    """
    network, variables = build(config, method, like)
    own = method.loss_row.optimizer if method.second_stage == "none" else None
    optimizer = make_optimizer(config.optim, 1, own=own)
    empty = init_state(variables, optimizer, keys.run(config.seed), ema=config.optim.averages)
    with Checkpoints(folder / "checkpoints", alone=is_local(mesh)) as checkpoints:
        return network, checkpoints.restore_step(replicate(empty, mesh), step)
