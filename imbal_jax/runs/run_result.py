"""The result of a finished run, on its own test images or on others: its table, its decisions, its saliency maps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import standardize
from imbal_jax.data.load import Splits
from imbal_jax.engine.parallel import own_mesh
from imbal_jax.engine.step import ApplyFn
from imbal_jax.files import DamagedError
from imbal_jax.methods import Method
from imbal_jax.report import RunResult
from imbal_jax.report.study import deployed_table
from imbal_jax.runs.address import RunAddress
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.deployment_choice import deploy
from imbal_jax.runs.outputs import RESULT, SCORES, RunOutputs
from imbal_jax.runs.restore import restore_deployed, restore_state
from imbal_jax.runs.saliency import saliency_maps
from imbal_jax.training.inference import applied
from imbal_jax.training.tracking import read_history
from imbal_jax.transforms.augment import intensities


def deploy_run(
    config: Config, method: Method, splits: Splits, folder: Path, scored: RunOutputs, mesh: Mesh
) -> RunResult:
    """Choose calibration and thresholds of a finished run, write them to its folder; give all the report shows.

    Of several processes it is for the first alone, whose own devices read the checkpoint where maps are asked for.
    """
    if scored.classes != splits.classes or len(scored.labels) != len(splits.test):
        raise DamagedError(
            f"{folder / SCORES} is of other classes or images than the test split: delete {folder / RESULT} and run "
            "again"
        )
    deployment = deploy(config, scored)
    deployment.write(folder)
    task, mesh = scored.task, own_mesh(mesh)

    @cache  # read when the first map is asked for
    def restored() -> tuple[ApplyFn, Mapping[str, Any]]:
        network, state = restore_state(config, method, splits.train, folder, mesh, scored.best_step)
        return applied(network), jax.device_get(state.evaluation_variables)

    def predict(images: np.ndarray) -> np.ndarray:
        address = RunAddress(folder.parent.parent, method.name, config.seed)
        return restore_deployed(address, mesh).probabilities(images, mesh)

    result = result_of(
        config,
        method,
        folder,
        scored,
        deployment,
        ScoredImages(
            images=splits.test,
            patients=scored.groups,
            outputs=scored.outputs,
            own_scores=scored.scores,
            step=scored.best_step,
            restored=restored,
            prevalence=deployment.prevalence if task.decides else None,
        ),
    )
    return replace(result, predict=predict)


@dataclass(frozen=True, kw_only=True)
class ScoredImages:
    """What the network of a run gave for some images, its own test images or others.

    patients: [M]. outputs: of the network; own_scores: the same as the method corrects them, before calibration.
    step: of its checkpoint. restored: gives its apply function and variables, for saliency maps. prevalence: of each
    class where the model is used; None: that of ``images``.
    """

    images: Dataset
    patients: np.ndarray
    outputs: np.ndarray
    own_scores: np.ndarray
    step: int
    restored: Callable[[], tuple[ApplyFn, Mapping[str, Any]]]
    prevalence: tuple[float, ...] | None = None


def result_of(
    config: Config,
    method: Method,
    folder: Path,
    own: RunOutputs,
    deployment: Deployment,
    scored: ScoredImages,
) -> RunResult:
    """The result of a run on the images of ``scored``. own: what it left of its own test and validation."""

    def maps(indices: np.ndarray, cls: int) -> np.ndarray:
        mean, deviation = (jnp.asarray(v) for v in deployment.inputs.statistics.values())
        # one by one: each number of images would be compiled by itself
        pixels = [intensities(jnp.asarray(image)) for image in test.images[indices]]
        inputs = np.stack([standardize(each, mean, deviation) for each in pixels])
        # own.task: with thresholds of its own, each run would be compiled by itself
        return saliency_maps(*scored.restored(), inputs, cls, task=own.task)

    test, task = scored.images, own.task.deciding_at(deployment.thresholds)
    result = RunResult(
        method=method.name,
        summary=method.summary,
        history=read_history(folder),
        criterion=config.select,
        best_step=scored.step,
        table=task.with_metrics(config.metrics)
        .for_options(config.data)
        .table_of(test, scored.own_scores, config.data.negative_class),
        labels=test.image_labels,
        scores=scored.outputs,
        seconds=own.seconds,
        skipped_steps=own.skipped,
        seed=config.seed,
        groups=scored.patients,
        decides=task.decides,
        thresholds=dict(deployment.thresholds),
        masks=task.mask_scores(test, scored.outputs),
    )
    if not task.decides:
        return result
    result = replace(
        result,
        scores=deployment.probabilities(scored.outputs),
        points=deployment.points,
        validation_labels=own.validation_labels,
        validation_scores=deployment.probabilities(own.validation_outputs),
        validation_groups=own.validation_groups,
        raw_scores=scored.own_scores,
        calibration=deployment.calibration,
        saliency=maps,
        prevalence=scored.prevalence,
        prevalence_source="validation has"
        if config.data.deployment_priors is None
        else "data.deployment-priors say",
    )
    negative = config.data.negative_class
    return replace(result, deployed=deployed_table(result, test.classes, negative))
