"""Train: from a config to checkpoints, metrics and a report. Reads top to bottom."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from imbal_jax.config import Config, retitled
from imbal_jax.console import duration, make_console, say
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits, check_splits, load, split_as_asked
from imbal_jax.data.read import ARRAYS
from imbal_jax.data.splits.patient_split import row_line
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.selection import best_step, choice_line, saved_value, should_stop
from imbal_jax.engine import hosts, parallel
from imbal_jax.engine.state import TrainState
from imbal_jax.errors import InputError, Terminated
from imbal_jax.methods import TRAINED, Method, first_stage, known_methods, without_effect
from imbal_jax.report import RunResult
from imbal_jax.report.use import few_cases, few_positives, split_gaps
from imbal_jax.runs.address import RunAddress, run_title
from imbal_jax.runs.claim import check_claim, claim
from imbal_jax.runs.clock import Clock
from imbal_jax.runs.data_claim import claim_geometry, claim_splits, discard_other_phantoms, members_digest
from imbal_jax.runs.deployment_choice import check_deploy, check_rules
from imbal_jax.runs.fit_results import FitResults
from imbal_jax.runs.lock import locked
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.restore import restore_state
from imbal_jax.runs.run_report import report_workdir
from imbal_jax.runs.run_result import deploy_run
from imbal_jax.runs.scoring import score_run, use_priors
from imbal_jax.runs.training_claim import claim_training
from imbal_jax.tasks import Task, task_for
from imbal_jax.training import stage as stages
from imbal_jax.training.build import make_mesh
from imbal_jax.training.checkpoint import Checkpoints, digest
from imbal_jax.training.composition import compose, second_steps_asked, steps_of
from imbal_jax.training.correction import correct
from imbal_jax.training.dry_run import dry_run
from imbal_jax.training.evaluation import check_criterion, evaluation, lead_with, with_criterion
from imbal_jax.training.history import loss_still_falls, restore_best, validation_history
from imbal_jax.training.inference import batch_of, evaluator, on_data, tiles_of
from imbal_jax.training.loop import train_until
from imbal_jax.training.stage import Stage
from imbal_jax.training.stopping import Pace, StopRequest
from imbal_jax.training.tracking import Tracker, plain_record
from imbal_jax.training.watch import Watch, Watched


@dataclass(frozen=True)
class Job:
    """What all runs of one call of ``fit`` share. config: with the seed of the run. watch: sees every evaluation."""

    config: Config
    workdir: Path
    splits: Splits
    task: Task
    mesh: Mesh
    console: Console
    stop: StopRequest
    watch: Watch | None = None

    def address(self, method: Method) -> RunAddress:
        return RunAddress(self.workdir, method.name, self.config.seed)


def fit(
    config: Config,
    workdir: Path | str,
    data: Dataset | Splits | None = None,
    *,
    console: Console | None = None,
    watch: Watch | None = None,
    report: bool = True,
) -> FitResults:
    """Train every method of ``config``, score each one's best checkpoint on the test split, write the report.

    workdir: receives ``config.json``, ``report.html`` and for each run a folder METHOD/seedN with ``checkpoints/``,
        ``metrics.jsonl``, ``tensorboard/`` and ``result.json``. A run that was stopped continues where its
        last checkpoint is; a finished one is not trained again.
    data: in place of that of ``config.data``: a data set, which is split as ``config.data`` says, or splits.
    watch: called at every evaluation, in every process, before its checkpoint is saved; of a first stage that is
        trained for a second, too. After a kill an evaluation that was not saved is watched again.
    report: False writes and prints none.
    Returns the results in the order of ``config.methods``, of each method in the order of the seeds. Raises
    InputError for wrong input, and Terminated after SIGTERM or SIGUSR1, once the state is saved.

    Of several processes (``jax.distributed``) every one calls this with the same config and a workdir that all share.
    The first decides, writes and prints; the others return no results.
    """
    if not isinstance(config, Config):
        raise InputError(f"config is {config!r}: give an imbal_jax.Config, as imbal_jax.load_config returns")
    if not isinstance(data, Dataset | Splits | None):
        raise InputError(f"data is {type(data).__name__}: give an imbal_jax.Dataset, or Splits")
    if data is not None:
        config = retitled(replace(config, data=replace(config.data, source=ARRAYS)), config)
    workdir = Path(workdir)
    with locked(workdir):
        shown = (console or make_console()) if hosts.is_first() else Console(quiet=True)
        results = fit_runs(config, workdir, data, shown, watch, report=report)
        return FitResults(results, workdir)


def fit_runs(
    config: Config,
    workdir: Path,
    data: Dataset | Splits | None,
    console: Console,
    watch: Watch | None = None,
    *,
    report: bool = True,
) -> list[RunResult]:
    """``fit`` in a workdir that this process holds."""
    hosts.by_first(lambda: check_claim(workdir, config))
    discard_other_phantoms(config, workdir)
    say(console, f"{config.title or config.name}: {workdir}")
    mesh = make_mesh(config)

    # Data: phantoms and caches are made by the first process, and found by the others
    splits = hosts.first_then_others(lambda: splits_of(config, workdir, data, console))
    hosts.check_same("data set", lambda: members_digest(splits.members), "give all of them the same files")
    task = task_for(config.task, splits.train, config.metrics).for_options(config.data)
    splits = on_host(splits, mesh)
    for line in describe(config, task, splits):
        say(console, line)
    config, line = with_criterion(config, task, splits.validation)
    if line:
        say(console, line)

    # All methods are checked before the first step, and before the workdir is claimed
    for line in check_methods(config, task, splits, mesh):
        say(console, line)
    asked = config.train.resident and isinstance(splits.train.images, np.ndarray)
    if asked and not stages.is_resident(config, splits.train.images, mesh):
        say(
            console,
            f"training images, {splits.train.resident_bytes / 2**30:.1f} GiB, are streamed from the host",
        )
    if config.train.dry_run:
        say_what_it_takes(config, task, splits, mesh, console)
        return []
    claim_geometry(workdir, splits.train)
    claim_splits(workdir, splits.members)
    claim(workdir, config)

    # Runs, one after the other
    with StopRequest() as stop:
        job = Job(config, workdir, splits, task, mesh, console, stop, watch)
        done = [
            train_run(replace(job, config=replace(config, seed=seed)), method)
            for method in config.methods
            for seed in config.run_seeds
        ]
        results = [result for result in done if result is not None]

        # Report on every run of the workdir, whenever it was trained
        def reported() -> None:
            with stop.at_once("all runs are finished; the same command writes the report"):
                report_workdir(config, workdir, splits, mesh, console, known=results)

        if report:
            hosts.by_first(reported)
    return results


def splits_of(config: Config, workdir: Path, data: Dataset | Splits | None, console: Console) -> Splits:
    """The splits that were given, or those that the config asks for."""
    if isinstance(data, Splits):
        return check_splits(config.data, data)
    if isinstance(data, Dataset):
        return split_as_asked(config, data, say=partial(say, console))
    return load(config, workdir, partial(say, console))


def train_run(job: Job, method: Method) -> RunResult | None:
    """Train one method to its end, from its last checkpoint if it has one, and score it on the test split.

    A second stage builds on a run of its first stage in the same workdir, which is trained if it is not there.
    Returns None in other processes than the first.
    """
    config, splits = job.config, job.splits
    folder, title = job.address(method).folder, run_title(config, method.name)
    finished = RunOutputs.read(folder) if hosts.is_first() else None
    if hosts.from_first(lambda: finished is not None):
        say(job.console, f"{title}: finished before, not trained again")
        return deploy_run(config, method, splits, folder, finished, job.mesh) if finished else None

    # Stage: network, optimiser, batches
    stage = begin(job, method)
    hosts.check_same("initial state", lambda: digest(stage.state), "run one version on all")
    state = stage.program.place(stage.state)
    claim_training(folder, stage.state, stage.total_steps)

    with Checkpoints(folder / "checkpoints", partial(say, job.console)) as checkpoints:
        # Resume
        checkpoints.delete_unfinished()
        state = checkpoints.restore(state) or state
        start = int(state.step)
        clock = Clock(folder, fresh=start == 0)
        with Tracker(
            folder if hosts.is_first() else None,
            total_steps=stage.total_steps,
            title=f"{title}: {method.summary}" + (f" Resumed at step {start}." if start else ""),
            resume_step=start,
            console=job.console,
            example=job.task.example,
        ) as tracker:
            history = validation_history(folder, checkpoints, start, tracker.message)
            state = train(job, method, stage, state, history, checkpoints, tracker=tracker, clock=clock)

            # Test the best checkpoint
            scored = tested(job, method, stage, state, history, checkpoints, tracker=tracker, clock=clock)
    if not hosts.is_first():
        return None
    scored.write(folder)
    return deploy_run(config, method, splits, folder, scored, job.mesh)


def tested(
    job: Job,
    method: Method,
    stage: Stage,
    state: TrainState,
    history: list[dict[str, Any]],
    checkpoints: Checkpoints,
    *,
    tracker: Tracker,
    clock: Clock,
) -> RunOutputs:
    """The scores of the best checkpoint; the table of the test split is recorded. state: after the last step."""
    config, splits, task = job.config, job.splits, job.task
    folder, title = job.address(method).folder, run_title(config, method.name)
    criterion = parse_criterion(config.select)
    best, chosen = restore_best(checkpoints, state, history, criterion, tracker.message)
    scored = score_run(
        config,
        method,
        task,
        splits,
        stage.shared,
        predictions(job, stage, chosen),
        step=best,
        seconds=clock.seconds(),
        skipped=int(state.skipped),
    )
    test, negative = splits.test, config.data.negative_class
    of_calls = task.deciding_at(scored.thresholds)
    table = of_calls.table_of(test, scored.scores, negative)
    tracker.test(best, task.flat(table))
    if method.second_stage in TRAINED and hosts.is_first() and loss_still_falls(folder):
        tracker.message(
            f"{title}: the loss of its head still falls after {stage.total_steps} steps: give more "
            f"second_epochs than {method.second_epochs:g}"
        )
    tracker.message(f"{title}: {choice_line(history, criterion, best)}, {duration(scored.seconds)}")
    return scored


def begin(job: Job, method: Method) -> Stage:
    """What is trained for ``method``, at its start."""
    if method.second_stage == "none":
        return stages.first_stage(job.config, method, job.task, job.splits, job.mesh)
    first = first_stage(method, known_methods(job.config.methods))
    done = train_run(job, first)
    folder = job.address(first).folder
    best = hosts.from_first(lambda: done.best_step if done else 0)
    _, state = restore_state(job.config, first, job.splits.train, folder, job.mesh, best)
    trained = jax.device_get(state.evaluation_variables)
    stage = stages.second_stage(job.config, method, job.task, job.splits, job.mesh, trained)
    asked = second_steps_asked(job.config, method, job.splits.train)
    if method.second_stage in TRAINED and stage.total_steps > asked:
        say(
            job.console,
            f"{run_title(job.config, method.name)}: its head takes {stage.total_steps} steps, the least; "
            f"{method.second_epochs:g} epochs of this data would be {asked}",
        )
    return stage


def train(
    job: Job,
    method: Method,
    stage: Stage,
    state: TrainState,
    history: list[dict[str, Any]],
    checkpoints: Checkpoints,
    *,
    tracker: Tracker,
    clock: Clock,
) -> TrainState:
    """Train ``stage`` to its end from ``state``; evaluate and save on the way, and append to ``history``."""
    options, total = job.config.train, stage.total_steps
    criterion = parse_criterion(job.config.select)
    every = max(1, -(-total // options.evaluations))
    pace = Pace(options.steps_per_dispatch, options.save_minutes)
    if criterion.smoothed > (planned := max(1, -(-total // every))):
        tracker.message(
            f"{run_title(job.config, method.name)}: smoothed {criterion.smoothed} needs as many evaluations, and the "
            f"run has {planned}: its last is taken"
        )

    # A head in closed form takes no step, and is evaluated once
    while int(state.step) < total or not history:
        if should_stop(history, criterion, options.patience):
            tracker.message(f"stopped early: {options.patience} evaluations without improvement")
            break

        # Update steps
        target = min(total, (int(state.step) // every + 1) * every)
        state = train_until(target, state, stage.advance, job.config, tracker, pace=pace, stop=job.stop)
        at, value = int(state.step), None

        # Evaluate: the records come before the checkpoint, as a resumed run drops those that are later
        if at == target:
            seen = evaluated(job, method, stage, state, clock)
            history.append({"step": at, **seen.values})
            best = best_step(history, criterion) == at
            tracker.evaluation(at, lead_with(seen.values, criterion), best=best)
            value = saved_value(history, criterion)
            for line in job.task.lost(history, job.splits.classes):
                tracker.message(line)
            if job.watch is not None:
                with clock.paused():
                    job.watch(seen)

        # Checkpoint
        clock.save()
        checkpoints.save(state, value, list(map(plain_record, history)))
        pace.saved()
        if job.stop.asked():
            raise Terminated(
                f"{job.stop.reason} at step {at} of {total}: saved; the same command resumes there"
            )
    return state


def evaluated(job: Job, method: Method, stage: Stage, state: TrainState, clock: Clock) -> Watched:
    """What the network of ``state`` gives for validation."""
    held, score = job.splits.validation, predictions(job, stage, state)
    outputs = score(held)
    kept = corrected(job, method, stage, outputs)
    criterion = parse_criterion(job.config.select)
    return Watched(
        config=job.config,
        method=method,
        stage=stage,
        splits=job.splits,
        state=state,
        outputs=outputs,
        kept=kept,
        values=hosts.from_first(lambda: evaluation(job.config, job.task, criterion, held, kept)),
        seconds=clock.seconds(),
        score=score,
    )


def predictions(job: Job, stage: Stage, state: TrainState) -> Callable[[Dataset], np.ndarray]:
    """``data -> what the task keeps of each example`` for the network of ``state``."""
    options, program = job.config.train, stage.program
    run = evaluator(
        program.network,
        job.task,
        program.method,
        job.mesh,
        batch_of(job.config.patch, 4 * options.batch_size, job.splits.train.images.shape[1:]),
        options.mirror_scores,
        tiles=tiles_of(job.config.patch),
    )
    return on_data(run, job.task, state.evaluation_variables, stage.shared.statistics)


def corrected(job: Job, method: Method, stage: Stage, kept: np.ndarray) -> np.ndarray:
    """What validation keeps, as ``method`` corrects it."""
    if method.correction == "none":
        return kept
    labels = job.splits.validation.labels
    priors = use_priors(job.config, job.task, job.splits)
    return correct(method, job.task.training_priors(method, stage.shared.arrays), priors, labels, kept)


# Before the first step


def say_what_it_takes(config: Config, task: Task, splits: Splits, mesh: Mesh, console: Console) -> None:
    """Time a few steps of every method's first stage, and print what a run would take."""
    for method in dict.fromkeys(
        first_stage(method, known_methods(config.methods)) for method in config.methods
    ):
        stage = stages.first_stage(config, method, task, splits, mesh)
        job = Job(config, Path(), splits, task, mesh, console, StopRequest())
        for line in dry_run(config, method.name, stage, splits, partial(predictions, job, stage)):
            say(console, line)


def describe(config: Config, task: Task, splits: Splits) -> list[str]:
    """A line for each split, and what is to be known of them before any training."""
    negative, held = config.data.negative_class, splits.validation
    few = few_positives if task.decides else few_cases
    return [
        *(row_line(row, splits.classes) for row in splits.table),
        *split_gaps(splits.table, splits.classes, negative),
        *(few(held.image_labels, held.groups, splits.classes, negative) if task.counts_cases else ()),
    ]


def check_methods(config: Config, task: Task, splits: Splits, mesh: Mesh) -> list[str]:
    """Raise InputError for a method, a batch size, a rule or a criterion that does not suit this data.

    Returns a line for each part of a method that changes nothing on it.
    """
    lines: list[str] = []
    use_priors(config, task, splits)
    held = splits.validation
    check_rules(config, task)
    if task.decides:
        check_deploy(config, held.labels, splits.classes, held.groups)
    for method in config.methods:
        task.check(method)
        steps_of(config, method, splits.train)
        _, shared = compose(config, method, task, splits.train, mesh.size, total_steps=1)
        lines += without_effect(method, shared.arrays)
    check_criterion(config, task, held)
    return lines


def on_host(splits: Splits, mesh: Mesh) -> Splits:
    """The splits with training images where the devices of a CPU can read them in place."""
    images = splits.train.images
    if mesh.devices.flat[0].platform != "cpu" or not isinstance(images, np.ndarray):
        return splits
    return replace(splits, train=replace(splits.train, images=parallel.aligned(images)))
