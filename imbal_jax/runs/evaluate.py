"""Restore a checkpoint, score images with it, say what the scores are worth."""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from rich.console import Console
from rich.text import Text

import imbal_jax
from imbal_jax.config import Config, to_json
from imbal_jax.console import make_console, say
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import standardize
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.data.load import Splits, load
from imbal_jax.engine.step import ApplyFn
from imbal_jax.files import DamagedError
from imbal_jax.methods import Method, static_part
from imbal_jax.report import RunResult, write_report
from imbal_jax.report.result import run_names
from imbal_jax.report.results_table import results_table, seeds_table
from imbal_jax.report.seeds import deviation_of, mean_of, seed_places
from imbal_jax.report.use import first_said, shared_cautions
from imbal_jax.runs.address import RunAddress, find_runs
from imbal_jax.runs.claim import claim
from imbal_jax.runs.data_claim import claim_geometry, claim_splits
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.deployment_choice import check_deploy, deploy
from imbal_jax.runs.lock import locked
from imbal_jax.runs.outputs import (
    RESULT,
    SCORES,
    RunOutputs,
    patient_codes,
    pixel_digests,
    read_result,
    with_deployment_priors,
)
from imbal_jax.runs.points_table import points_table
from imbal_jax.runs.restore import restore_deployed, restore_state
from imbal_jax.runs.results import write_results
from imbal_jax.runs.saliency import saliency_maps
from imbal_jax.tasks import Task, task_for, task_name
from imbal_jax.training.build import make_mesh
from imbal_jax.training.composition import compose, predicting_method, steps_of
from imbal_jax.training.correction import apply_correction, correction_factors
from imbal_jax.training.inference import evaluator
from imbal_jax.training.tracking import read_history
from imbal_jax.transforms.augment import intensities


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
    correction = np.log(correction_factors(method, source, *fitted_on))
    return RunOutputs(
        best_step=step,
        seconds=seconds,
        skipped=skipped,
        labels=splits.test.image_labels,
        groups=patient_codes(splits.test.groups),
        digests=pixel_digests(splits.test.images),
        scores=apply_correction(method, correction, source, outputs).astype(np.float32),
        outputs=outputs,
        validation_labels=splits.validation.image_labels,
        validation_outputs=seen,
        validation_groups=patient_codes(splits.validation.groups),
        training_priors=source,
        correction=correction,
        mean=np.asarray(shared.mean),
        deviation=np.asarray(shared.deviation),
        image_shape=np.array(splits.test.images.shape[1:]),
        image_bits=np.array(8 * splits.test.images.dtype.itemsize),
        geometry=splits.train.geometry,
        classes=splits.classes,
        task_name=task_name(config.task, splits.train),
    )


def use_priors(config: Config, task: Task, splits: Splits) -> np.ndarray | None:
    """The class priors where the model will be used (``Task.use_priors``): those of the config, or of training."""
    return task.use_priors(config.data.deployment_priors, splits.train.labels, splits.classes)


def given_priors(config: Config, task: Task, classes: tuple[str, ...]) -> np.ndarray | None:
    """``data.deployment_priors`` [C], checked: InputError unless they fit the classes; None where none are given."""
    given = config.data.deployment_priors
    return None if given is None else task.use_priors(given, np.zeros(0, np.int32), classes)


def report_workdir(
    config: Config,
    workdir: Path,
    splits: Splits,
    mesh: Mesh,
    console: Console,
    known: Sequence[RunResult] = (),
) -> None:
    """Print and report the results of all finished runs in ``workdir``, whenever they were trained.

    known: the results that are at hand already.
    """
    at_hand = {(result.method, result.seed): result for result in known}
    results = []
    for address in find_runs(workdir):
        result = at_hand.get((address.method, address.seed))
        if result is None:
            scored = RunOutputs.read(address.folder)
            assert scored is not None  # the run is finished
            of_seed = replace(config, seed=address.seed)
            result = run_result(of_seed, address.definition(), splits, address.folder, scored, mesh)
        results.append(result)
    finished = replace(config, methods=trained_in(workdir))
    report = write_run_report(finished, workdir / "report.html", results, splits)
    print_results(config, results, splits.classes, report, console)


def trained_in(workdir: Path) -> tuple[Method, ...]:
    """The methods of ``workdir`` with a finished run."""
    return tuple({address.method: address.definition() for address in find_runs(workdir)}.values())


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
    return replace(
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


def write_run_report(
    config: Config, path: Path, results: list[RunResult], splits: Splits, *, split: str = "test"
) -> Path:
    """The report of the given results, which are all of ``splits.test``; beside it ``results.json``.

    split: which part of the data set that is.
    """
    write_results(path.parent, config, results, splits.classes, split)
    kept = {name: result.scores for name, result in zip(run_names(results), results, strict=True)}
    return write_report(
        path,
        title=config.title or config.name,
        runs=results,
        classes=splits.classes,
        negative_class=config.data.negative_class,
        images=splits.test.images,
        split_table=splits.table,
        sections=task_for(config.task, splits.test).sections(splits.test, kept),
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
    names = run_names(results)
    for name, result in zip(names, results, strict=True):
        for line in first_said(replace(result, method=name)):
            warn(line)
    tables, deviations = {}, {}
    for method, places in seed_places(results).items():
        of_seeds = [results[i].table for i in places]
        label = f"{method}, {len(places)} seeds" if len(places) > 1 else method
        tables[label] = mean_of(of_seeds)
        if len(places) > 1:
            deviations[label] = deviation_of(of_seeds)
    console.print(results_table(tables, console.width, deviations))
    if deviations:
        each = {name: result.table for name, result in zip(names, results, strict=True)}
        steps = {name: result.best_step for name, result in zip(names, results, strict=True)}
        console.print(seeds_table(each, steps, console.width))
    if results[0].decides:
        console.print(points_table(results, classes, config.data.negative_class, console.width))
    say(console, f"report: {report}")


def rescore(
    config: Config,
    workdir: Path,
    console: Console | None = None,
    runs: Sequence[RunAddress] | None = None,
) -> list[RunResult]:
    """Score the chosen checkpoint of each finished run in ``workdir`` on the test split again; print and report.

    runs: those that are scored again; None: all. The operating points and the calibration of all are
    those that ``config.deploy`` asks for now. Raises InputError where no run is finished or a checkpoint is damaged.
    """
    with locked(workdir):
        return _rescore(config, workdir, console or make_console(), runs)


def _rescore(
    config: Config, workdir: Path, console: Console, runs: Sequence[RunAddress] | None
) -> list[RunResult]:
    finished = find_runs(workdir)
    splits = load(config, workdir, partial(say, console))
    claim_geometry(workdir, splits.train)
    claim_splits(workdir, splits.members)
    task = task_for(config.task, splits.train, config.metrics)
    if task.decides:
        check_deploy(config, splits.validation.labels, splits.classes, splits.validation.groups)
    target = given_priors(config, task, splits.classes)
    claim(workdir, config, trained=True)  # what is deployed may have changed
    mesh = make_mesh(config)
    results = []
    for address in finished:
        folder, method = address.folder, address.definition()
        of_seed = replace(config, seed=address.seed)
        if runs is None or address in runs:
            _score_again(of_seed, method, splits, folder, mesh).write(folder)
        scored = RunOutputs.read(folder)
        assert scored is not None  # the run is finished
        scored = with_deployment_priors(method, scored, target)
        results.append(run_result(of_seed, method, splits, folder, scored, mesh))
    report = write_run_report(config, workdir / "report.html", results, splits)
    print_results(config, results, splits.classes, report, console)
    return results


def _score_again(config: Config, method: Method, splits: Splits, folder: Path, mesh: Mesh) -> RunOutputs:
    before = read_result(folder)
    network, state = restore_state(config, method, splits.train, folder, mesh, before["best_step"])
    task, total = task_for(config.task, splits.train, config.metrics), steps_of(config, method, splits.train)
    _, shared = compose(config, method, task, splits.train, mesh.size, total)
    run = evaluator(
        network,
        task,
        static_part(predicting_method(method)),
        mesh,
        4 * config.train.batch_size,
        config.train.mirror_scores,
    )

    def predictions(data: Dataset) -> np.ndarray:
        labels = data.labels if task.reads_labels else None
        return run(state.evaluation_variables, shared.statistics, data.images, labels)

    numbers = {"step": before["best_step"], "seconds": before["seconds"], "skipped": before["skipped"]}
    return score_run(config, method, task, splits, shared, predictions, **numbers)
