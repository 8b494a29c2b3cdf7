"""Scores of the validation and test images, stored with the run."""

from collections.abc import Callable

import numpy as np

from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.data.load import Splits
from imbal_jax.engine import hosts
from imbal_jax.methods import Method
from imbal_jax.runs.outputs import RunOutputs, patient_codes, pixel_digests
from imbal_jax.tasks import Task, task_name
from imbal_jax.training.correction import apply_correction, correction_factors


def score_run(
    config: Config,
    method: Method,
    task: Task,
    splits: Splits,
    shared: Shared,
    predictions: Callable[[Dataset], np.ndarray],
    *,
    step: int,
    seconds: float,
    skipped: int,
) -> RunOutputs:
    """The scores of the test and validation images, and what they are to be read with."""
    seen, outputs = predictions(splits.validation), predictions(splits.test)
    source = task.training_priors(method, shared.arrays)
    fitted_on = (use_priors(config, task, splits), splits.validation.labels, seen)
    thresholds = task.choose(splits.validation, seen)
    if thresholds and config.deploy.mask_threshold == "train":
        thresholds = task.choose(splits.train, predictions(splits.train))
    correction = np.log(correction_factors(method, source, *fitted_on))
    return RunOutputs(
        best_step=step,
        seconds=seconds,
        skipped=skipped,
        labels=splits.test.image_labels,
        groups=patient_codes(splits.test.groups),
        # of what other processes than the first score nothing is written
        digests=pixel_digests(splits.test.images)
        if hosts.is_first()
        else np.zeros(len(splits.test), np.uint64),
        scores=_corrected(task, method, correction, source, outputs),
        outputs=outputs,
        validation_labels=splits.validation.image_labels,
        validation_outputs=seen,
        validation_groups=patient_codes(splits.validation.groups),
        training_priors=source,
        correction=correction,
        mean=np.asarray(shared.mean),
        deviation=np.asarray(shared.deviation),
        # of one picture, where a test image is an episode of them
        image_shape=np.array((splits.train if config.episode.ways else splits.test).images.shape[1:]),
        image_bits=np.array(8 * splits.test.images.dtype.itemsize),
        geometry=splits.train.geometry,
        classes=splits.classes,
        task_name=task_name(config.task, splits.train),
        threshold_values=np.array(list(thresholds.values()), np.float64),
        threshold_names=np.array(list(thresholds), "U"),
    )


def _corrected(
    task: Task, method: Method, correction: np.ndarray, source: np.ndarray, outputs: np.ndarray
) -> np.ndarray:
    """The outputs as the method corrects them; those of a task that does not decide are kept as they are."""
    if not task.decides and method.correction == "none":
        return outputs
    return apply_correction(method, correction, source, outputs).astype(np.float32)


def use_priors(config: Config, task: Task, splits: Splits) -> np.ndarray | None:
    """The class priors where the model will be used (``Task.use_priors``): those of the config, or of training."""
    return task.use_priors(config.data.deployment_priors, splits.train.labels, splits.classes)


def given_priors(config: Config, task: Task, classes: tuple[str, ...]) -> np.ndarray | None:
    """``data.deployment_priors`` [C], checked: InputError unless they fit the classes; None where none are given."""
    given = config.data.deployment_priors
    return None if given is None else task.use_priors(given, np.zeros(0, np.int32), classes)
