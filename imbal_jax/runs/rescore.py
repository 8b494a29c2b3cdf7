"""``imbal-jax evaluate`` on a run's own data: the chosen checkpoints score the test split again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from imbal_jax.config import Config
from imbal_jax.console import make_console, say
from imbal_jax.data.load import Splits, load
from imbal_jax.engine import hosts
from imbal_jax.engine.state import TrainState
from imbal_jax.methods import Method, static_part
from imbal_jax.report import RunResult
from imbal_jax.runs.address import RunAddress, find_runs
from imbal_jax.runs.claim import claim
from imbal_jax.runs.data_claim import claim_geometry, claim_splits
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.deployment_choice import check_deploy, check_rules
from imbal_jax.runs.lock import locked
from imbal_jax.runs.outputs import RunOutputs, read_result, with_deployment_priors
from imbal_jax.runs.restore import restore_state
from imbal_jax.runs.run_report import print_results, write_run_report
from imbal_jax.runs.run_result import deploy_run
from imbal_jax.runs.scoring import given_priors, score_run
from imbal_jax.tasks import Task, task_for
from imbal_jax.training.build import make_mesh
from imbal_jax.training.composition import compose, predicting_method, steps_of
from imbal_jax.training.inference import batch_of, evaluator, on_data, tiles_of
from imbal_jax.training.network import Network, SecondStageNetwork


def rescore(
    config: Config,
    workdir: Path,
    console: Console | None = None,
    runs: Sequence[RunAddress] | None = None,
) -> list[RunResult]:
    """Score the chosen checkpoint of each finished run in ``workdir`` on the test split again; print and report.

    runs: those that are scored again; None: all. The operating points and the calibration of all are
    those that ``config.deploy`` asks for now. Raises InputError where no run is finished or a checkpoint is damaged.
    Of several processes the first writes and prints; the others return no results.
    """
    with locked(workdir):
        shown = (console or make_console()) if hosts.is_first() else Console(quiet=True)
        return _rescore(config, workdir, shown, runs)


def _rescore(
    config: Config, workdir: Path, console: Console, runs: Sequence[RunAddress] | None
) -> list[RunResult]:
    finished = find_runs(workdir)
    # a first stage that only others needed is no method of the workdir, but may be asked for
    finished += [run for run in runs or () if run not in finished]
    splits = hosts.first_then_others(lambda: load(config, workdir, partial(say, console)))
    claim_geometry(workdir, splits.train)
    claim_splits(workdir, splits.members)
    task = task_for(config.task, splits.train, config.metrics).for_options(config.data)
    check_rules(config, task)
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
            before = read_result(folder)
            restored = restore_state(of_seed, method, splits.train, folder, mesh, before["best_step"])
            # only then do they differ from those of the training split, and a damaged file is written again
            statistics = Deployment.read(folder).inputs.statistics if config.data.enrolled else None
            again = score_restored(
                of_seed, method, task, splits, restored, mesh, numbers=before, statistics=statistics
            )
            if hosts.is_first():
                again.write(folder)
        if not hosts.is_first():
            continue
        scored = RunOutputs.read(folder)
        assert scored is not None  # the run is finished
        moved = with_deployment_priors(method, scored, target)
        if moved is not scored:
            moved.write(folder)  # what is deployed now is corrected for these
        scored = moved
        results.append(deploy_run(of_seed, method, splits, folder, scored, mesh))

    def report() -> None:
        written = write_run_report(config, workdir / "report.html", results, splits)
        print_results(config, results, splits, written, console)

    hosts.by_first(report)
    return results


def score_restored(
    config: Config,
    method: Method,
    task: Task,
    splits: Splits,
    restored: tuple[Network | SecondStageNetwork, TrainState],
    mesh: Mesh,
    *,
    numbers: Mapping[str, Any],
    statistics: Mapping[str, np.ndarray] | None = None,
) -> RunOutputs:
    """``score_run`` of a network and its state.

    numbers: best_step, seconds and skipped of the run. statistics: by which the training standardised images; None:
    those of ``splits.train``.
    """
    network, state = restored
    total = steps_of(config, method, splits.train)
    _, shared = compose(config, method, task, splits.train, mesh.size, total)
    run = evaluator(
        network,
        task,
        static_part(predicting_method(method)),
        mesh,
        batch_of(config.patch, 4 * config.train.batch_size, splits.train.images.shape[1:]),
        config.train.mirror_scores,
        tiles=tiles_of(config.patch),
    )
    if statistics is not None:
        shared = replace(shared, **statistics)
    predictions = on_data(run, task, state.evaluation_variables, shared.statistics)
    return score_run(
        config,
        method,
        task,
        splits,
        shared,
        predictions,
        step=numbers["best_step"],
        seconds=numbers["seconds"],
        skipped=numbers["skipped"],
    )
