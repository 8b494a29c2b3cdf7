"""Train: from a config to checkpoints, metrics and a report. Reads top to bottom."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from imbal_jax import losses, parallel
from imbal_jax.checkpoint import Checkpoints
from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.pipeline import Pipeline, host_batches, resident_arrays
from imbal_jax.data.sources import Splits, load
from imbal_jax.errors import Stopped
from imbal_jax.evaluate import Scored, make_scorer, run_result, write_run_report
from imbal_jax.methods import Method
from imbal_jax.metrics import flat_metrics
from imbal_jax.recipe import augmentation, build_model, compose, make_mesh, make_optimizer
from imbal_jax.report import RunResult
from imbal_jax.sampling import Plan
from imbal_jax.selection import Criterion, best_step, parse_criterion, should_stop
from imbal_jax.state import TrainState, init_state
from imbal_jax.step import make_train_step
from imbal_jax.tasks import score, task_for
from imbal_jax.tracking import Tracker, duration, make_console, read_history, results_table
from imbal_jax.workdir import Clock, claim


def fit(config: Config, workdir: Path, console: Console | None = None) -> list[RunResult]:
    """Train every method of ``config``, score each one's best checkpoint on the test split, write the report.

    workdir: receives ``config.json``, ``report.html`` and for each method a folder with ``checkpoints/``,
        ``metrics.jsonl``, ``tensorboard/`` and ``result.json``. A run that was stopped continues where its
        last
        checkpoint is; a finished one is not trained again.
    Returns the results in the order of ``config.methods``. Raises InputError for what the user can mend.
    """
    console = console or make_console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    claim(workdir, config)
    say(f"{config.title or config.name}: {workdir}")

    # Data
    splits = load(config, workdir, say)
    for line in describe(splits):
        say(line)

    # What is wrong with any method is said before the first step of the first
    mesh = make_mesh(config)
    check_methods(config, splits, mesh)

    # Methods, one after the other
    results = [train_method(config, method, splits, workdir, mesh, console) for method in config.methods]

    # What the user came for
    write_run_report(config, workdir, results, splits)
    console.print(results_table({r.method: r.table for r in results}, console.width))
    say(f"report: {workdir / 'report.html'}")
    return results


def train_method(
    config: Config, method: Method, splits: Splits, workdir: Path, mesh: Mesh, console: Console
) -> RunResult:
    """Train one method to its end, from its last checkpoint if it has one, and score it on the test split."""
    folder = workdir / method.name
    options = config.train
    task = task_for(splits.train)
    criterion = parse_criterion(config.select)
    negative = config.data.negative_class
    if (finished := Scored.read(folder)) is not None:
        console.print(f"{method.name}: finished before, not trained again", markup=False, highlight=False)
        return run_result(config, method, splits, folder, finished)

    # Batches
    total_steps = max(1, round(options.epochs * len(splits.train) / options.batch_size))
    plan, items, shared = compose(config, method, task, splits.train, mesh.size, total_steps)

    # Model, objective, optimiser, step
    apply_fn, variables = build_model(config, splits.train)
    optimizer = make_optimizer(config.optim, total_steps)
    step = make_train_step(
        apply_fn,
        optimizer,
        task.objective(method, label_smoothing=config.optim.label_smoothing),
        None if options.backend == "jit" else parallel.AXIS,
        ema_decay=config.optim.ema_decay,
    )
    state = init_state(variables, optimizer, jax.random.key(config.seed), ema=config.optim.ema_decay > 0)
    state = parallel.replicate(state, mesh)
    scorer = make_scorer(apply_fn, task, mesh, shared, 4 * options.batch_size, options.mirror_scores)
    pipeline = Pipeline(augmentation(config, method))
    advance = make_advance(config, pipeline, step, mesh, splits.train, plan, items, shared)

    with Checkpoints(folder / "checkpoints", lambda text: console.print(text, markup=False)) as checkpoints:
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
            history = _validation_history(folder)
            every = -(-total_steps // options.evaluations)
            while int(state.step) < total_steps and not should_stop(history, criterion, options.patience):
                state = _train_until(
                    min(total_steps, (int(state.step) // every + 1) * every), state, advance, config, tracker
                )
                # Evaluate, record, then save: a resumed run drops the records after its checkpoint
                scores = scorer(state.evaluation_variables, splits.validation.images)
                values = measure(splits.validation, scores, negative)
                at = int(state.step)
                history.append({"step": at, **values})
                tracker.evaluation(
                    at, _lead_with(values, criterion), best=best_step(history, criterion) == at
                )
                clock.save()
                checkpoints.save(state, criterion.score(values))
            if should_stop(history, criterion, options.patience):
                tracker.message(f"stopped early: {options.patience} evaluations without improvement")

            # Test the best checkpoint
            best = best_step(history, criterion)
            chosen = checkpoints.restore(state, best)
            scores = scorer(chosen.evaluation_variables, splits.test.images)
            scored = Scored(best, clock.seconds(), int(state.skipped), splits.test.labels, scores)
            tracker.test(best, flat_metrics(score(scored.labels, scores, splits.classes, negative)))
            tracker.message(
                f"{method.name}: best at step {best} by {config.select}, {duration(scored.seconds)}"
            )
    scored.write(folder)
    return run_result(config, method, splits, folder, scored)


def check_methods(config: Config, splits: Splits, mesh: Mesh) -> None:
    """Raise InputError for a method, a batch size or a criterion that this data cannot be trained with."""
    task = task_for(splits.train)
    for method in config.methods:
        task.objective(method)
        compose(config, method, task, splits.train, mesh.size, total_steps=1)
    blank = np.full((len(splits.validation), len(splits.classes)), 1 / len(splits.classes))
    parse_criterion(config.select).check(measure(splits.validation, blank, config.data.negative_class))


# Update steps


def _train_until(
    target: int,
    state: TrainState,
    advance: Callable[[TrainState, int], tuple[TrainState, Mapping[str, jax.Array], int]],
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
    pipeline: Pipeline,
    step: Callable[..., Any],
    mesh: Mesh,
    train: Dataset,
    plan: Plan,
    items: np.ndarray | None,
    shared: Mapping[str, np.ndarray],
) -> Callable[[TrainState, int], tuple[TrainState, Mapping[str, jax.Array], int]]:
    """``(state, at most so many steps) -> (state, metrics, steps taken)``: on resident data, or fed by the host."""
    backend = config.train.backend
    if config.train.resident:
        resident = parallel.replicate(resident_arrays(train.images, train.labels, plan, items, shared), mesh)
        many = parallel.scan_steps(step, pipeline.from_device, mesh, backend)
        return lambda state, count: (*many(state, resident, count), count)

    def fed(state: TrainState, batch: Mapping[str, Any]) -> tuple[TrainState, Mapping[str, jax.Array]]:
        raw = {name: value for name, value in batch.items() if name != "shared"}
        return step(state, pipeline.inputs(raw, batch["shared"], state.step))

    one = parallel.parallelize(fed, mesh, backend)
    raw_batch = host_batches(train.images, train.labels, plan, items)
    shared = parallel.replicate(dict(shared), mesh)

    def advance(state: TrainState, count: int) -> tuple[TrainState, Mapping[str, jax.Array], int]:
        batch = parallel.shard_batch(raw_batch(int(state.step)), mesh)
        return (*one(state, {**batch, "shared": shared}), 1)

    return advance


# Evaluation


def measure(data: Dataset, scores: np.ndarray, negative: str | None) -> dict[str, float]:
    """Every metric that a criterion may name: the macro ones, those of each class, and the loss for one label."""
    values = flat_metrics(score(data.labels, scores, data.classes, negative))
    if not data.many_labels:
        logs = np.log(np.maximum(scores, 1e-30))
        values["loss"] = float(np.mean(np.asarray(losses.cross_entropy(logs, data.labels))))
    return values


def _lead_with(values: Mapping[str, float], criterion: Criterion) -> dict[str, float]:
    """The metrics with those that decide first, since the console shows the first few."""
    order = [*criterion.names, "sensitivity", "specificity", "f_score", "auroc"]
    return {name: values[name] for name in dict.fromkeys([*order, *values])}


def _validation_history(folder: Path) -> list[dict[str, Any]]:
    return [
        {name: np.nan if value is None else value for name, value in record.items()}
        for record in read_history(folder)
        if record["kind"] == "validation"
    ]


def describe(splits: Splits) -> list[str]:
    """One line a split: images, patients, images of each class."""
    return [
        "  ".join(
            f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in row.items()
        )
        for row in splits.table
    ]
