"""Train: from a config to checkpoints, metrics and a report. Reads top to bottom."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console
from scipy.special import log_softmax

from imbal_jax.config import Config
from imbal_jax.console import duration, make_console, say
from imbal_jax.data.dataset import Dataset, Images
from imbal_jax.data.feeding.pipeline import Pipeline, Plans, resident_arrays
from imbal_jax.data.feeding.stream import HostBatches, stream_steps
from imbal_jax.data.load import Splits, load
from imbal_jax.data.splits.patient_split import row_line
from imbal_jax.decisions.confidence import bounds, standard_error
from imbal_jax.decisions.criterion import Criterion
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.selection import best_step, choice_line, keep_value, should_stop
from imbal_jax.engine import parallel
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.engine.step import make_train_step
from imbal_jax.errors import InputError, Stopped
from imbal_jax.files import DamagedError
from imbal_jax.methods import TRAINED, Method, first_stage, known_methods, without_effect
from imbal_jax.metrics import flat_metrics
from imbal_jax.report import RunResult
from imbal_jax.report.use import few_positives, split_gaps
from imbal_jax.runs.deployment_choice import check_deploy
from imbal_jax.runs.evaluate import data_priors, print_results, run_result, score_run, write_run_report
from imbal_jax.runs.outputs import Scored
from imbal_jax.runs.restore import restore_state
from imbal_jax.runs.workdir import (
    Clock,
    check_claim,
    claim,
    claim_geometry,
    claim_splits,
    claim_training,
    read_claim,
)
from imbal_jax.tasks import Task, score, second_stage, task_for
from imbal_jax.training.build import (
    augmentation,
    build,
    build_network,
    compose,
    make_mesh,
    make_optimizer,
    second_steps_of,
    steps_of,
)
from imbal_jax.training.checkpoint import Checkpoints
from imbal_jax.training.correction import make_corrector
from imbal_jax.training.inference import make_scorer
from imbal_jax.training.network import Network, SecondStageNetwork
from imbal_jax.training.second_stage import FeaturePipeline, choose_tau, nearest_mean, still_falling
from imbal_jax.training.tracking import HISTORY, Tracker, plain_record, read_history

Advance = Callable[[TrainState, int], tuple[TrainState, Mapping[str, jax.Array], int]]


def fit(config: Config, workdir: Path, console: Console | None = None) -> list[RunResult]:
    """Train every method of ``config``, score each one's best checkpoint on the test split, write the report.

    workdir: receives ``config.json``, ``report.html`` and for each method a folder with ``checkpoints/``,
        ``metrics.jsonl``, ``tensorboard/`` and ``result.json``. A run that was stopped continues where its
        last checkpoint is; a finished one is not trained again.
    Returns the results in the order of ``config.methods``. Raises InputError for what the user can mend.
    """
    console = console or make_console()

    check_claim(workdir, config)
    say(console, f"{config.title or config.name}: {workdir}")

    # Data
    splits = load(config, workdir, partial(say, console))
    for line in (*describe(splits), *split_gaps(splits.table, splits.classes, config.data.negative_class)):
        say(console, line)
    negative, held = config.data.negative_class, splits.validation
    for line in few_positives(held.labels, held.groups, splits.classes, negative):
        say(console, line)

    # What is wrong with any method is said before the first step of the first, and before the workdir is taken
    mesh = make_mesh(config)
    for line in check_methods(config, splits, mesh):
        say(console, line)
    claim_geometry(workdir, splits.train)
    claim_splits(workdir, splits.members)
    claim(workdir, config)

    # Methods, one after the other
    results = [train_method(config, method, splits, workdir, mesh, console) for method in config.methods]

    # What the user came for: every run of the workdir, whenever it was trained
    known = {result.method: result for result in results}
    for method in read_claim(workdir).methods:
        folder = workdir / method.name
        if method.name not in known and (scored := Scored.read(folder)) is not None:
            known[method.name] = run_result(config, method, splits, folder, scored, mesh)
    shown = [m for m in read_claim(workdir).methods if m.name in known]
    every = [known[method.name] for method in shown]
    report = write_run_report(replace(config, methods=tuple(shown)), workdir / "report.html", every, splits)
    print_results(config, every, splits.classes, report, console)
    return results


def train_method(
    config: Config, method: Method, splits: Splits, workdir: Path, mesh: Mesh, console: Console
) -> RunResult:
    """Train one method to its end, from its last checkpoint if it has one, and score it on the test split.

    A second stage builds on a run of its first stage in the same workdir, which is trained if it is not there.
    """
    folder = workdir / method.name
    options = config.train
    task = task_for(splits.train)
    criterion = parse_criterion(config.select)
    if (finished := Scored.read(folder)) is not None:
        say(console, f"{method.name}: finished before, not trained again")
        return run_result(config, method, splits, folder, finished, mesh)

    # What is trained, on which batches
    if method.second_stage == "none":
        stage = begin(config, method, task, splits, mesh)
    else:
        first = first_stage(method, known_methods(config.methods))
        done = train_method(config, first, splits, workdir, mesh, console)
        _, state = restore_state(config, first, splits.train, workdir / first.name, mesh, done.best_step)
        stage = begin_second(config, method, task, splits, mesh, jax.device_get(state.evaluation_variables))
    state = parallel.replicate(stage.state, mesh)
    scorer = make_scorer(
        stage.network.apply,
        task.predictor(method),
        mesh,
        stage.shared,
        4 * options.batch_size,
        options.mirror_scores,
    )
    total_steps = stage.total_steps
    asked = round(method.second_epochs * len(splits.train) / options.batch_size)
    if method.second_stage in TRAINED and total_steps > asked:
        console.print(
            f"{method.name}: its head takes {total_steps} steps, the least; {method.second_epochs:g} epochs of this "
            f"data would be {asked}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    claim_training(folder, stage.state, total_steps)
    with Checkpoints(folder / "checkpoints", partial(say, console)) as checkpoints:
        # Resume
        restored = checkpoints.restore(state)
        state = restored or state
        start = int(state.step)
        clock = Clock(folder, fresh=start == 0)
        with Tracker(
            folder,
            total_steps=total_steps,
            title=f"{method.name}: {method.summary}" + (f" Resumed at step {start}." if start else ""),
            resume_step=start,
            console=console,
        ) as tracker:
            history = _validation_history(folder, checkpoints, start, tracker.message)
            every = max(1, -(-total_steps // options.evaluations))
            planned = max(1, -(-total_steps // every))
            if criterion.smoothed > planned:
                tracker.message(
                    f"{method.name}: smoothed {criterion.smoothed} needs as many evaluations, and the run has "
                    f"{planned}: its last is taken"
                )
            # A head in closed form takes no step, and is evaluated once
            while int(state.step) < total_steps or not history:
                if should_stop(history, criterion, options.patience):
                    tracker.message(f"stopped early: {options.patience} evaluations without improvement")
                    break
                target = min(total_steps, (int(state.step) // every + 1) * every)
                state = _train_until(target, state, stage.advance, config, tracker)
                # Evaluate, record, then save: a resumed run drops the records after its checkpoint
                scores = scorer(state.evaluation_variables, splits.validation.images)
                corrected = _corrected(config, method, splits, stage, scores)
                values = evaluation(config, criterion, splits.validation, corrected)
                at = int(state.step)
                history.append({"step": at, **values})
                tracker.evaluation(
                    at, _lead_with(values, criterion), best=best_step(history, criterion) == at
                )
                clock.save()
                checkpoints.save(state, keep_value(history, criterion), list(map(plain_record, history)))

            if method.second_stage in TRAINED:
                head_losses = [r for r in read_history(folder) if r["kind"] == "train"]
                if still_falling([r["step"] for r in head_losses], [_or_nan(r["loss"]) for r in head_losses]):
                    tracker.message(
                        f"{method.name}: the loss of its head still falls after {total_steps} steps: give more "
                        f"second_epochs than {method.second_epochs:g}"
                    )

            # Test the best checkpoint
            best, chosen = restore_best(checkpoints, state, history, criterion, tracker.message)
            scored = score_run(
                config,
                method,
                splits,
                stage.shared,
                scorer,
                chosen.evaluation_variables,
                step=best,
                seconds=clock.seconds(),
                skipped=int(state.skipped),
            )
            table = score(scored.labels, scored.scores, splits.classes, config.data.negative_class)
            tracker.test(best, flat_metrics(table))
            tracker.message(
                f"{method.name}: {choice_line(history, criterion, best)}, {duration(scored.seconds)}"
            )
    scored.write(folder)
    return run_result(config, method, splits, folder, scored, mesh)


def check_methods(config: Config, splits: Splits, mesh: Mesh) -> list[str]:
    """Raise InputError for a method, a batch size, a rule or a criterion that does not suit this data.

    Returns a line for each part of a method that changes nothing on it.
    """
    task = task_for(splits.train)
    lines: list[str] = []
    data_priors(config, splits)
    check_deploy(config, splits.validation.labels, splits.classes, splits.validation.groups)
    for method in config.methods:
        task.check(method)
        steps_of(config, method, splits.train)
        _, arrays = compose(config, method, task, splits.train, mesh.size, total_steps=1)
        lines += without_effect(method, arrays)
    check_criterion(config, splits.validation)
    return lines


# Stages


@dataclass(frozen=True)
class Stage:
    """What is trained, from where, on which batches, for how long."""

    network: Network | SecondStageNetwork
    state: TrainState
    shared: Mapping[str, np.ndarray]
    total_steps: int
    advance: Advance


def begin(config: Config, method: Method, task: Task, splits: Splits, mesh: Mesh) -> Stage:
    """The first stage of ``method``, at its start."""
    total_steps = steps_of(config, method, splits.train)
    plans, shared = compose(config, method, task, splits.train, mesh.size, total_steps)
    network, variables = build(config, method, splits.train)
    return _stage(
        config,
        method,
        network,
        variables,
        make_optimizer(config.optim, total_steps, method),
        task,
        mesh,
        Pipeline(augmentation(config, method), method.image_mixing, method.views),
        splits.train.images,
        splits.train.labels,
        plans,
        shared,
        total_steps,
    )


def begin_second(
    config: Config, method: Method, task: Task, splits: Splits, mesh: Mesh, trained: Mapping[str, Any]
) -> Stage:
    """The second stage of ``method``, on the variables that the first left."""
    training = second_stage(method)
    total_steps = second_steps_of(config, method, splits.train)
    plans, shared = compose(config, training, task, splits.train, mesh.size, max(1, total_steps))
    network, _ = build_network(config, method, splits.train)
    stage = SecondStageNetwork(network, method.second_stage)
    variables = stage.init(jax.random.key(config.seed + 2), trained)
    pipeline: Any = Pipeline(augmentation(config, method))
    images, extra = splits.train.images, {}

    if method.second_stage in ("tau_norm", "nearest_mean", "smote", "smoothed_bootstrap"):
        look = make_scorer(
            lambda v, x, train, rngs: network.features(v, x),
            lambda x: x,
            mesh,
            shared,
            config.train.batch_size,
        )
        if method.second_stage == "tau_norm":
            seen = look(trained, splits.validation.images)
            # where the last checkpoint counts, the criterion cannot tell one tau from another
            criterion = parse_criterion(config.select)
            if set(criterion.names) == {"step"}:
                criterion = parse_criterion("balanced_accuracy")

            def criterion_of(head: Mapping[str, Any]) -> float:
                scores = np.asarray(task.predict(seen @ head["kernel"] + head["bias"]))
                return criterion.merit(
                    {"step": 0, **evaluation(config, criterion, splits.validation, scores)}
                )

            variables["params"] = {"head": choose_tau(trained["params"]["head"], criterion_of)[1]}
        else:
            seen = look(trained, images)
            if method.second_stage == "nearest_mean":
                head = nearest_mean(seen, splits.train.labels, len(splits.classes))
                variables["params"] = {"head": head}
            else:
                pipeline = FeaturePipeline(method.second_stage)
                images, extra = seen, pipeline.arrays(seen, splits.train.labels, len(splits.classes))
    return _stage(
        config,
        training,
        stage,
        variables,
        make_optimizer(config.optim, max(1, total_steps)),
        task,
        mesh,
        pipeline,
        images,
        splits.train.labels,
        plans,
        shared,
        total_steps,
        extra,
    )


def _stage(
    config: Config,
    method: Method,
    network: Network | SecondStageNetwork,
    variables: dict[str, Any],
    optimizer: Any,
    task: Task,
    mesh: Mesh,
    pipeline: Any,
    images: Images,
    labels: np.ndarray,
    plans: Plans,
    shared: Mapping[str, np.ndarray],
    total_steps: int,
    extra: Mapping[str, np.ndarray] | None = None,
) -> Stage:
    step = make_train_step(
        network.apply,
        optimizer,
        task.objective(method, label_smoothing=config.optim.label_smoothing, uncertain=config.data.uncertain),
        None if config.train.backend == "jit" else parallel.AXIS,
        ema_decay=config.optim.ema_decay,
        average_from=round(config.optim.swa_start * total_steps) if config.optim.swa_start < 1 else None,
    )
    state = init_state(variables, optimizer, jax.random.key(config.seed), ema=config.optim.averages)
    advance = make_advance(config, pipeline, step, mesh, images, labels, plans, shared, extra)
    return Stage(network, state, shared, total_steps, advance)


# Update steps


def _train_until(
    target: int,
    state: TrainState,
    advance: Advance,
    config: Config,
    tracker: Tracker,
) -> TrainState:
    at = int(state.step)
    while at < target:
        began = time.monotonic()
        state, metrics, count = advance(state, min(config.train.steps_per_dispatch, target - at))
        at += count
        values = {name: float(value) for name, value in metrics.items()}
        seconds = time.monotonic() - began
        tracker.train(at, values)
        tracker.progress(at, loss=values["loss"], images_per_second=count * config.train.batch_size / seconds)
        if values["skipped"] and int(state.skipped_in_row) >= config.train.max_nonfinite:
            raise Stopped(
                f"{int(state.skipped_in_row)} updates in a row had no finite loss or gradient (step {at}): stopped; "
                "lower --optim.learning-rate, or set --optim.clip-norm, and start in a new --workdir"
            )
    return state


def make_advance(
    config: Config,
    pipeline: Any,
    step: Callable[..., Any],
    mesh: Mesh,
    images: Images,
    labels: np.ndarray,
    plans: Plans,
    shared: Mapping[str, np.ndarray],
    extra: Mapping[str, np.ndarray] | None = None,
) -> Advance:
    """``(state, at most so many steps) -> (state, metrics, steps taken)``: on resident data, or fed by the host.

    pipeline: a ``Pipeline``, or another with its ``from_device``, which reads ``extra`` too and is never fed.
    """
    backend = config.train.backend
    if (config.train.resident and isinstance(images, np.ndarray)) or extra:
        arrays = {**resident_arrays(images, labels, plans, shared), **(extra or {})}
        resident = parallel.replicate(arrays, mesh)
        many = parallel.scan_steps(step, pipeline.from_device, mesh, backend)
        return lambda state, count: (*many(state, resident, count), count)

    def fed(state: TrainState, batch: Mapping[str, Any]) -> tuple[TrainState, Mapping[str, jax.Array]]:
        raw = {name: value for name, value in batch.items() if name != "shared"}
        return step(state, pipeline.inputs(raw, batch["shared"], state.step))

    one = parallel.parallelize(fed, mesh, backend)
    batches = HostBatches(
        images=images,
        labels=labels,
        plans=plans,
        switch=int(shared["switch"][0]) if "switch" in shared else 0,
        places=parallel.local_places(config.train.batch_size, mesh),
    )
    shared = parallel.replicate(dict(shared), mesh)
    return stream_steps(one, batches, mesh, shared=shared, workers=config.data.workers)


# Evaluation


def _corrected(
    config: Config, method: Method, splits: Splits, stage: Stage, scores: np.ndarray
) -> np.ndarray:
    """Validation's scores as ``method`` corrects them."""
    labels = splits.validation.labels
    return make_corrector(method, stage.shared, data_priors(config, splits), labels, scores)(scores)


NEED_CASES = (
    "sensitivity",
    "specificity",
    "balanced_accuracy",
    "geometric_mean",
    "auroc",
    "average_precision",
)
"""Metrics that are undefined where cases are missing, whatever the scores."""


def evaluation(config: Config, criterion: Criterion, data: Dataset, scores: np.ndarray) -> dict[str, float]:
    """What an evaluation records: ``measure``, and what chance allows, where ``criterion`` reads it."""

    def replicate(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        return {"step": 0, **measure(replace(data, labels=labels), scores, config)}

    return {
        **measure(data, scores, config),
        **_bounds(config, criterion, data, scores),
        **standard_error(criterion, replicate, data.labels, scores, groups=data.groups),
    }


def _bounds(config: Config, criterion: Criterion, data: Dataset, scores: np.ndarray) -> dict[str, float]:
    negative = config.data.negative_class
    return bounds(criterion, data.labels, scores, data.classes, negative_class=negative, groups=data.groups)


def check_criterion(config: Config, data: Dataset) -> None:
    """InputError before any training where ``data``, validation, cannot give what the criterion reads."""
    criterion = parse_criterion(config.select)
    blank = np.full((len(data), len(data.classes)), 1 / len(data.classes))
    values = {"step": 0, **measure(data, blank, config), **_bounds(config, criterion, data, blank)}
    criterion.check(values)
    for name in criterion.names:
        metric, _, cls = name.partition(" lower bound ")[0].partition("/")
        if metric in NEED_CASES and not np.isfinite(values[name]):
            of = f" of {cls}" if cls else " of any class"
            raise InputError(
                f"select {config.select!r}: {name} is undefined, for validation has no case{of}, or no other; "
                "name another metric, or make --data.validation-share larger"
            )


def measure(data: Dataset, scores: np.ndarray, config: Config) -> dict[str, float]:
    """Every metric that a criterion may name: the macro ones, those of each class, and the loss for one label."""
    values = flat_metrics(score(data.labels, scores, data.classes, config.data.negative_class))
    if not data.many_labels:
        # on the host: replicates of a bootstrap have any number of images, and each would be compiled
        logs = log_softmax(np.log(np.maximum(scores, 1e-30, dtype=np.float64)), axis=1)
        values["loss"] = float(-logs[np.arange(len(logs)), data.labels].mean())
    return values


def _lead_with(values: Mapping[str, float], criterion: Criterion) -> dict[str, float]:
    """The metrics with those that decide first, since the console shows the first few."""
    order = [*criterion.names, "sensitivity", "specificity", "f_score", "auroc"]
    return {name: values[name] for name in dict.fromkeys([*order, *values]) if name in values}


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def restore_best(
    checkpoints: Checkpoints,
    like: TrainState,
    history: Sequence[Mapping[str, Any]],
    criterion: Criterion,
    say: Callable[[str], None],
) -> tuple[int, TrainState]:
    """The best step and its state; where its checkpoint is damaged or gone, the best of those that are left."""
    best = best_step(history, criterion)
    while True:
        try:
            if best in checkpoints.steps():
                return best, checkpoints.restore(like, best)
            lost = f"the checkpoint of step {best} is gone"
        except DamagedError as error:
            lost = f"{error}; {checkpoints.set_aside(best)}"
        left = [record for record in history if record["step"] in checkpoints.steps()]
        if not left:
            raise Stopped(f"{lost}, and no other is left: run the same command in a new --workdir")
        best = best_step(left, criterion)
        say(f"{lost}; the best of the checkpoints that are left is taken, step {best}")


def _validation_history(
    folder: Path, checkpoints: Checkpoints, start: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The evaluations up to step ``start``, as the checkpoint there holds them."""
    kept = ("kind", "best")
    recorded = [
        {name: value for name, value in record.items() if name not in kept}
        for record in read_history(folder)
        if record["kind"] == "validation"
    ]
    saved = checkpoints.history(start) if start in checkpoints.steps() else recorded
    if saved != recorded:
        say(
            f"{HISTORY} was shortened or changed: it has {len(recorded)} of the {len(saved)} evaluations up to step "
            f"{start}, or other values; the best checkpoint is chosen by those that the checkpoint holds"
        )
    return [{name: np.nan if value is None else value for name, value in record.items()} for record in saved]


def describe(splits: Splits) -> list[str]:
    """One line a split: images, patients, label-ratio error, images of each class and their share."""
    return [row_line(row, splits.classes) for row in splits.table]
