"""The result of a finished run, on its own test images or on others: its table, its decisions, its saliency maps."""

from collections.abc import Callable, Mapping
from dataclasses import replace
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
from imbal_jax.training.tracking import read_history
from imbal_jax.transforms.augment import intensities


def run_result(
    config: Config, method: Method, splits: Splits, folder: Path, scored: RunOutputs, mesh: Mesh
) -> RunResult:
    """Everything the report shows of one finished run; what it deploys is written to its folder."""
    if scored.classes != splits.classes or len(scored.labels) != len(splits.test):
        raise DamagedError(
            f"{folder / SCORES} is of other classes or images than the test split: delete {folder / RESULT} and run "
            "again"
        )
    deployment = deploy(config, scored)
    deployment.write(folder)
    task = scored.task

    @cache  # read when the first map is asked for
    def restored() -> tuple[ApplyFn, Mapping[str, Any]]:
        network, state = restore_state(config, method, splits.train, folder, mesh, scored.best_step)
        return network.apply, jax.device_get(state.evaluation_variables)

    def predict(images: np.ndarray) -> np.ndarray:
        address = RunAddress(folder.parent.parent, method.name, config.seed)
        return restore_deployed(address, mesh).probabilities(images, mesh)

    result = result_of(
        config,
        method,
        folder,
        scored,
        deployment,
        splits.test,
        patients=scored.groups,
        outputs=scored.outputs,
        own_scores=scored.scores,
        step=scored.best_step,
        restored=restored,
        prevalence=deployment.prevalence if task.decides else None,
    )
    return replace(result, predict=predict)


def result_of(
    config: Config,
    method: Method,
    folder: Path,
    scored: RunOutputs,
    deployment: Deployment,
    test: Dataset,
    *,
    patients: np.ndarray,
    outputs: np.ndarray,
    own_scores: np.ndarray,
    step: int,
    restored: Callable[[], tuple[ApplyFn, Mapping[str, Any]]],
    prevalence: tuple[float, ...] | None = None,
) -> RunResult:
    """The result of a run on the images of ``test``, whichever they are.

    scored: what the run left of its own test and validation. outputs: of the network for ``test``; own_scores: the
    same as the method corrects them, before calibration. restored: gives apply function and variables. prevalence: of
    each class where the model is used; None: that of ``test``.
    """

    def maps(indices: np.ndarray, cls: int) -> np.ndarray:
        pixels = intensities(jnp.asarray(test.images[indices]))
        mean, deviation = (jnp.asarray(v) for v in deployment.inputs.statistics.values())
        inputs = np.asarray(standardize(pixels, mean, deviation))
        return saliency_maps(*restored(), inputs, cls, task=task)

    task = scored.task
    result = RunResult(
        method=method.name,
        summary=method.summary,
        history=read_history(folder),
        criterion=config.select,
        best_step=step,
        table=task.with_metrics(config.metrics).table(
            test.labels, own_scores, test.classes, config.data.negative_class
        ),
        labels=test.image_labels,
        scores=outputs,
        seconds=scored.seconds,
        skipped_steps=scored.skipped,
        seed=config.seed,
        groups=patients,
        decides=task.decides,
    )
    if not task.decides:
        return result
    result = replace(
        result,
        scores=deployment.probabilities(outputs),
        points=deployment.points,
        validation_labels=scored.validation_labels,
        validation_scores=deployment.probabilities(scored.validation_outputs),
        validation_groups=scored.validation_groups,
        raw_scores=own_scores,
        calibration=deployment.calibration,
        saliency=maps,
        prevalence=prevalence,
        prevalence_source="validation has"
        if config.data.deployment_priors is None
        else "data.deployment-priors say",
    )
    negative = config.data.negative_class
    return replace(result, deployed=deployed_table(result, test.classes, negative))
