"""External validation: finished runs on images of another place, with the calibration and thresholds they have."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from imbal_jax.config import Config, Data, Episode, images_of
from imbal_jax.console import make_console, say
from imbal_jax.data.dataset import Dataset, check_labels
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.load import SPLITS, Splits, load
from imbal_jax.data.read import read
from imbal_jax.data.splits.class_split import IN_CONTEXT, episode_set, of_one_person
from imbal_jax.data.splits.patient_split import split_summary
from imbal_jax.engine import hosts
from imbal_jax.errors import InputError
from imbal_jax.files import present, write_npz
from imbal_jax.report import RunResult
from imbal_jax.report.result import run_names
from imbal_jax.runs.address import RunAddress
from imbal_jax.runs.claim import CLAIM
from imbal_jax.runs.data_claim import claim_splits, is_claimed
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.deployment_choice import check_rules, deploy
from imbal_jax.runs.evaluation_name import data_name, place_of
from imbal_jax.runs.outputs import (
    RESULT,
    RunOutputs,
    own_scores,
    patient_codes,
    read_result,
    with_deployment_priors,
)
from imbal_jax.runs.restore import Deployed, restore_deployed
from imbal_jax.runs.run_report import made_title, print_results, write_run_report
from imbal_jax.runs.run_result import ScoredImages, result_of
from imbal_jax.runs.scoring import given_priors
from imbal_jax.training.build import make_mesh
from imbal_jax.training.inference import applied

Part = Literal["all", "train", "validation", "test"]
PARTS = ("all", *SPLITS)


def validate(
    config: Config,
    runs: Sequence[RunAddress],
    out: Path,
    *,
    part: Part | None = "all",
    step: int | None = None,
    refit: bool = False,
    console: Console | None = None,
) -> list[RunResult]:
    """Score the ``runs`` on the data set of ``config.data``; print, and write the report to ``out``.

    config: of the runs, with the ``data`` of the other place, or other episodes. runs: finished ones of one workdir.
    part: of the data set, split as for training, or all of it; None: all of it, and InputError where that is the data
    set of the training. step: of the checkpoints, instead of the chosen ones, whose calibration, thresholds and
    correction they are read with. refit: choose the calibration and the thresholds again, as ``config.deploy`` says,
    on the validation images of the training.

    Raises InputError for images or classes that the runs do not know, and as ``data.load.load``.
    """
    console = (console or make_console()) if hosts.is_first() else Console(quiet=True)
    hosts.by_first(lambda: check_out(out))
    mesh = make_mesh(config)
    models = [restore_deployed(run, mesh, step) for run in runs]
    names = run_names(runs)
    for name, model in zip(names, models, strict=True):
        if (chosen := read_result(model.address.folder)["best_step"]) != model.step:
            console.print(
                f"{name}: the checkpoint is that of step {model.step}; calibration, thresholds and the "
                f"method's own correction are those of the chosen one, step {chosen}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    trained = models[0].config.episode
    models = [model.on_episodes(config.episode) for model in models]
    splits = hosts.first_then_others(lambda: _load(config, out, part, models[0], trained, console))
    found = [_result(config, model, splits.test, mesh, refit) for model in models]
    results = [result for result in found if result is not None]
    hosts.by_first(
        lambda: _write(config, models[0], part or "all", out, results, splits, names=names, console=console)
    )
    return results


def _write(
    config: Config,
    model: Deployed,
    part: Part,
    out: Path,
    results: list[RunResult],
    splits: Splits,
    *,
    names: Sequence[str],
    console: Console,
) -> None:
    """The report on ``results``, and the scores of each."""
    about = made_title(config, model.task, splits)
    title = f"{data_name(config.data)}, {part}: {about}"
    report = write_run_report(replace(config, title=title), out / "report.html", results, splits, split=part)
    for name, result in zip(names, results, strict=True):
        groups = np.arange(len(result.labels)) if result.groups is None else result.groups
        outputs = "probabilities" if result.decides else "kept"
        arrays = {"labels": result.labels, outputs: result.scores, "groups": groups}
        arrays["classes"] = np.array(model.deployment.classes)
        write_npz(out / f"{name.replace(', seed ', '-seed')}.npz", arrays, compressed=True)
    print_results(config, results, splits, report, console)


def check_out(out: Path) -> None:
    """Raise InputError where ``out`` cannot be a folder of its own: a run's report and scores would be replaced."""
    for name in (CLAIM, RESULT, "checkpoints"):
        if present(out / name):
            raise InputError(
                f"--out {out} is the folder of a run, whose report would be replaced: name another"
            )
    if present(out) and not out.is_dir():
        raise InputError(f"--out {out} is no folder: name another")


def _load(
    config: Config, out: Path, part: Part | None, model: Deployed, trained: Episode, console: Console
) -> Splits:
    """The images, as ``test``. model: made for the episodes of config. trained: those that it was trained on."""
    tell = partial(say, console)
    deployment = model.deployment
    geometry = deployment.inputs.geometry
    check_asked(config.data, model.config.data, geometry)
    asked, of_training = (
        replace(data, label_kind=model.task.label_kind) if data.label_kind == "auto" else data
        for data in (config.data, model.config.data)
    )
    config = replace(config, data=asked)
    here, there = images_of(asked), images_of(of_training)
    same = replace(here, dir=None) == replace(there, dir=None)
    of_run = same and part in SPLITS  # whether these are the run's own images, split as for training
    if part not in SPLITS:
        data = _whole(config, out, model, tell)
        if _at_same_place(here, there) or (same and _is_own(config, trained, out, model)):
            if part is None:
                raise InputError(
                    f"{data_name(here)} holds the images that the runs were trained, chosen and tested on: --split "
                    "test scores its test images, --split all all of them"
                )
            tell("the images that the runs were trained on are among these: the scores are too good")
        part = "all"
    else:
        if here != there and here.enrolled == there.enrolled:  # those of the run's own set
            config = replace(config, data=replace(config.data, enrolled=()))
        # the run's own images are where it left them
        splits = load(config, model.address.workdir if here == there else out, tell, geometry)
        if of_run:
            own = splits
            if config.episode != trained:
                own = load(replace(config, episode=trained), out, lambda _: None, geometry)
            claim_splits(model.address.workdir, own.members)
        data = getattr(splits, part)
    if not config.episode.ways:
        check_labels(data)
    elif config.task == IN_CONTEXT:
        if not of_run:
            raise InputError(
                "a run of in_context has an output for each of its own classes: evaluate it on its own data, as "
                "--split test does"
            )
    elif part == "all":
        _check_pictures(check_labels(data).images.shape[1:], data.images.dtype, deployment)
        data = of_one_person(data, tell)
        tell(f"{config.episode.test:,} episodes of all {len(data.classes):,} classes of the set")
        data = episode_set(data, config, config.episode.test, seed=config.data.split_seed)
    data = model.task.aligned(data, deployment.classes)
    if not config.episode.ways:
        height = deployment.inputs.shape[0] if model.task.any_length else data.images.shape[1]
        _check_pictures((height, *data.images.shape[2:]), data.images.dtype, deployment)
    if geometry is None:
        tell("nothing is known of how the training images were made: these are taken as if they were made so")
    nothing = data.take(np.arange(0))
    if config.episode.ways:
        return Splits(nothing, nothing, data, table=[{"split": part, "episodes": len(data)}])
    summary = split_summary(data.image_labels, data.groups, {part: np.arange(len(data))}, data.classes)
    for name, _ in summary.missing:
        tell(f"no image of {name}: its sensitivity is undefined")
    return Splits(nothing, nothing, data, table=summary.rows())


def _whole(config: Config, out: Path, model: Deployed, tell: Callable[[str], None]) -> Dataset:
    """All images of ``config.data``, whose own split is not asked for."""
    # episodes are of classes that the network has no outputs for
    classes = None if config.episode.ways else model.deployment.classes
    asked = replace(config.data, split="patient")
    return read(asked, out, tell, classes=classes, geometry=model.deployment.inputs.geometry)[0]


def _at_same_place(here: Data, there: Data) -> bool:
    """Whether both are files of one folder, or one file, with one table."""
    if here.dir is None or there.dir is None:
        return False
    of_one = (here.source, here.labels_file) == (there.source, there.labels_file)
    return of_one and place_of(here.dir) == place_of(there.dir)


def _is_own(config: Config, trained: Episode, out: Path, model: Deployed) -> bool:
    """Whether ``config.data``, split as for training, have the labels and patients that the run was trained on."""
    try:
        own = load(replace(config, episode=trained), out, lambda _: None, model.deployment.inputs.geometry)
    except InputError:
        return False  # what is wrong is said where it is read
    return is_claimed(model.address.workdir, own.members)


def _check_pictures(shape: tuple[int, ...], dtype: np.dtype, deployment: Deployment) -> None:
    """InputError for pictures of another shape or type than those of the training."""
    wanted = deployment.inputs
    if shape != wanted.shape or dtype != wanted.dtype:
        raise InputError(
            f"the images are {dtype} {list(shape)}, the network takes {wanted.dtype} {list(wanted.shape)}: set "
            f"--data.image-size {wanted.shape[0]}, and take images of as many channels"
        )


def check_asked(asked: Data, trained: Data, geometry: Geometry | None) -> None:
    """InputError for an option of the geometry that was changed from the training's to other than its geometry."""
    if geometry is None:
        return
    for name, value in (
        ("image_size", geometry.size),
        ("fit", geometry.fit),
        ("channels", geometry.channels),
        ("voi", geometry.voi),
    ):
        now = getattr(asked, name)
        if now not in (getattr(trained, name), value, None):
            option = f"--data.{name.replace('_', '-')}"
            raise InputError(
                f"{option} {now} is asked, the network was trained on pictures made with {value}: set {option} "
                f"{value}"
            )


def _check_chosen(config: Config, model: Deployed) -> None:
    """InputError for deploy options that cannot be chosen again on what a run has stored."""
    check_rules(config, model.task)
    asked = config.deploy.mask_threshold
    if model.deployment.thresholds and asked != model.config.deploy.mask_threshold:
        raise InputError(
            f"deploy.mask-threshold is {asked}, which needs the run's own images: imbal-jax evaluate "
            f"{model.address.workdir} --deploy.mask-threshold {asked} chooses it, then evaluate on others"
        )


def _result(config: Config, model: Deployed, test: Dataset, mesh: Mesh, refit: bool) -> RunResult | None:
    """The result of a run on other images; None in other processes than the first."""
    scored = RunOutputs.read(model.address.folder)
    assert scored is not None  # restore_deployed found the run
    target = given_priors(config, model.task, scored.classes)
    if refit:
        _check_chosen(config, model)
        scored = with_deployment_priors(model.method, scored, target)
    outputs = model.evaluate(mesh, 4 * config.train.batch_size)(test)
    if not hosts.is_first():
        return None
    return result_of(
        replace(config, seed=model.address.seed),
        model.method,
        model.address.folder,
        scored,
        deploy(config, scored) if refit else model.deployment,
        ScoredImages(
            images=test,
            patients=patient_codes(test.groups),
            outputs=outputs,
            own_scores=own_scores(model.method, scored, outputs),
            step=model.step,
            restored=lambda: (applied(model.network), model.variables),
            prevalence=None if target is None else tuple(target.tolist()),
        ),
    )
