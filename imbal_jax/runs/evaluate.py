"""Restore a checkpoint, score images with it, say what the scores are worth."""

import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console
from rich.text import Text

import imbal_jax
from imbal_jax import priors
from imbal_jax.config import Config, to_json
from imbal_jax.console import make_console, say
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import standardize
from imbal_jax.data.load import Splits, load
from imbal_jax.engine.step import ApplyFn
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError
from imbal_jax.methods import Method
from imbal_jax.report import RunResult, write_report
from imbal_jax.report.results_table import results_table
from imbal_jax.report.use import first_said, shared_cautions
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.deployment_choice import check_deploy, deploy
from imbal_jax.runs.outputs import (
    RESULT,
    SCORES,
    Scored,
    patient_codes,
    pixel_digests,
    read_result,
    with_deployment_priors,
)
from imbal_jax.runs.points_table import points_table
from imbal_jax.runs.restore import finished_methods, restore_state
from imbal_jax.runs.results import write_results
from imbal_jax.runs.saliency import saliency_maps
from imbal_jax.runs.workdir import claim, claim_geometry, claim_splits
from imbal_jax.tasks import score, task_for
from imbal_jax.training.build import compose, make_mesh, steps_of
from imbal_jax.training.correction import apply_correction, correction_factors, training_priors
from imbal_jax.training.inference import Scorer, make_scorer
from imbal_jax.training.tracking import read_history
from imbal_jax.transforms.augment import intensities


def score_run(
    config: Config,
    method: Method,
    splits: Splits,
    shared: Mapping[str, Any],
    scorer: Scorer,
    variables: Mapping[str, Any],
    *,
    step: int,
    seconds: float,
    skipped: int,
) -> Scored:
    """The scores of the test and validation images, and what they are to be read with."""
    seen, outputs = (scorer(variables, part.images) for part in (splits.validation, splits.test))
    given = (method, shared, data_priors(config, splits), splits.validation.labels, seen)
    source, correction = training_priors(method, shared), np.log(correction_factors(*given))
    return Scored(
        best_step=step,
        seconds=seconds,
        skipped=skipped,
        labels=splits.test.labels,
        groups=patient_codes(splits.test.groups),
        digests=pixel_digests(splits.test.images),
        scores=apply_correction(method, correction, source, outputs).astype(np.float32),
        outputs=outputs,
        validation_labels=splits.validation.labels,
        validation_outputs=seen,
        validation_groups=patient_codes(splits.validation.groups),
        training_priors=source,
        correction=correction,
        mean=np.asarray(shared["mean"]),
        deviation=np.asarray(shared["deviation"]),
        image_shape=np.array(splits.test.images.shape[1:]),
        image_bits=np.array(8 * splits.test.images.dtype.itemsize),
        geometry=splits.train.geometry,
        classes=splits.classes,
    )


def data_priors(config: Config, splits: Splits) -> np.ndarray | None:
    """The class priors where the model will be used: those of the config, or of the training split.

    Of many labels the prevalence of each, or None where the config gives none. InputError for what is none.
    """
    given = deployment_priors(config, splits.classes, many_labels=splits.train.many_labels)
    if given is not None or splits.train.many_labels:
        return given
    return priors.class_priors(priors.class_counts(splits.train.labels, len(splits.classes)))


def deployment_priors(config: Config, classes: tuple[str, ...], *, many_labels: bool) -> np.ndarray | None:
    """``data.deployment_priors`` [C], checked: InputError unless they fit the classes; None where none are given."""
    given = config.data.deployment_priors
    if given is None:
        return None
    fits = len(given) == len(classes) and min(given) > 0
    if not fits or (max(given) >= 1 if many_labels else not np.isclose(sum(given), 1)):
        asked, end = (
            ("prevalences above 0 and below 1", "") if many_labels else ("shares above 0", ", with sum 1")
        )
        raise InputError(
            f"data.deployment-priors are {' '.join(map(str, given))}: give {len(classes)} {asked}, "
            f"one for each of {', '.join(classes)}{end}"
        )
    return np.asarray(given)


def run_result(
    config: Config, method: Method, splits: Splits, folder: Path, scored: Scored, mesh: Mesh
) -> RunResult:
    """Everything the report shows of one finished run; what it deploys is written to its folder."""
    if scored.classes != splits.classes or len(scored.labels) != len(splits.test):
        raise DamagedError(
            f"{folder / SCORES} is of other classes or images than the test split: delete {folder / RESULT} and run "
            "again"
        )
    deployment = deploy(config, scored)
    deployment.write(folder)

    @cache  # read when the first map is asked for
    def restored() -> tuple[ApplyFn, Mapping[str, Any]]:
        network, state = restore_state(config, method, splits.train, folder, mesh, scored.best_step)
        return network.apply, jax.device_get(state.evaluation_variables)

    return result_of(
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
        prevalence=deployment.prevalence,
    )


def result_of(
    config: Config,
    method: Method,
    folder: Path,
    scored: Scored,
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
        pixels = intensities(np.asarray(test.images[indices]))
        inputs = np.asarray(standardize(pixels, **deployment.inputs.statistics))
        return saliency_maps(*restored(), inputs, cls, many_labels=test.many_labels)

    return RunResult(
        method=method.name,
        summary=method.summary,
        history=read_history(folder),
        criterion=config.select,
        best_step=step,
        table=score(test.labels, own_scores, test.classes, config.data.negative_class),
        labels=test.labels,
        scores=deployment.probabilities(outputs),
        seconds=scored.seconds,
        skipped_steps=scored.skipped,
        points=deployment.points,
        groups=patients,
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


def write_run_report(
    config: Config, path: Path, results: list[RunResult], splits: Splits, *, split: str = "test"
) -> Path:
    """The report of the given results, which are all of ``splits.test``; beside it ``results.json``.

    split: which part of the data set that is.
    """
    write_results(path.parent, config, results, splits.classes, split)
    return write_report(
        path,
        title=config.title or config.name,
        runs=results,
        classes=splits.classes,
        negative_class=config.data.negative_class,
        images=splits.test.images,
        split_table=splits.table,
        config=_without_paths(to_json(config)),
        environment={
            "imbal_jax": imbal_jax.__version__,
            "jax": jax.__version__,
            "python": platform.python_version(),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        },
    )


def _without_paths(values: dict[str, Any]) -> dict[str, Any]:
    """A report is handed on: the folder's name may say whose data it is."""
    return {**values, "data": {k: v for k, v in values["data"].items() if k != "dir"}}


def print_results(
    config: Config, results: list[RunResult], classes: tuple[str, ...], report: Path, console: Console
) -> None:
    """What the numbers rest on, what the methods call by themselves and at the operating points, the report."""

    def warn(text: str) -> None:
        console.print(Text(text, "bold"), soft_wrap=True)

    negative = config.data.negative_class
    for line in shared_cautions(results[0], classes, negative):
        warn(line)
    for result in results:
        for line in first_said(result):
            warn(line)
    console.print(results_table({r.method: r.table for r in results}, console.width))
    console.print(points_table(results, classes, config.data.negative_class, console.width))
    say(console, f"report: {report}")


def rescore(
    config: Config, workdir: Path, console: Console | None = None, methods: Sequence[str] | None = None
) -> list[RunResult]:
    """Score the chosen checkpoint of each finished run in ``workdir`` on the test split again; print and report.

    methods: names of those that are scored again; None: all. The operating points and the calibration of all are
    those that ``config.deploy`` asks for now. Raises InputError where no run is finished or a checkpoint is damaged.
    """
    console = console or make_console()
    finished = finished_methods(config, workdir)
    splits = load(config, workdir, partial(say, console))
    claim_geometry(workdir, splits.train)
    claim_splits(workdir, splits.members)
    check_deploy(config, splits.validation.labels, splits.classes, splits.validation.groups)
    target = deployment_priors(config, splits.classes, many_labels=splits.train.many_labels)
    claim(workdir, config, trained=True)  # what is deployed may have changed
    mesh = make_mesh(config)
    results = []
    for method in finished:
        folder = workdir / method.name
        if methods is None or method.name in methods:
            _score_again(config, method, splits, folder, mesh).write(folder)
        scored = with_deployment_priors(method, Scored.read(folder), target)
        results.append(run_result(config, method, splits, folder, scored, mesh))
    report = write_run_report(config, workdir / "report.html", results, splits)
    print_results(config, results, splits.classes, report, console)
    return results


def _score_again(config: Config, method: Method, splits: Splits, folder: Path, mesh: Mesh) -> Scored:
    before = read_result(folder)
    network, state = restore_state(config, method, splits.train, folder, mesh, before["best_step"])
    task, total = task_for(splits.train), steps_of(config, method, splits.train)
    _, shared = compose(config, method, task, splits.train, mesh.size, total)
    predict = task.predictor(method)
    scorer = make_scorer(
        network.apply, predict, mesh, shared, 4 * config.train.batch_size, config.train.mirror_scores
    )
    numbers = {"step": before["best_step"], "seconds": before["seconds"], "skipped": before["skipped"]}
    return score_run(config, method, splits, shared, scorer, state.evaluation_variables, **numbers)
