"""Prints and reports the results of the runs of a workdir."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from rich.console import Console
from rich.text import Text

import imbal_jax
from imbal_jax.config import Config, to_json
from imbal_jax.console import say
from imbal_jax.data.load import Splits
from imbal_jax.methods import Method
from imbal_jax.report import RunResult, write_report
from imbal_jax.report.result import run_names
from imbal_jax.report.results_table import results_table, seeds_table
from imbal_jax.report.seeds import deviation_of, mean_of, seed_places
from imbal_jax.report.title import title_of
from imbal_jax.report.use import said_first, shared_cautions
from imbal_jax.runs.address import find_runs
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.points_table import points_table
from imbal_jax.runs.results import write_results
from imbal_jax.runs.run_result import deploy_run
from imbal_jax.runs.seed_average import seed_averages
from imbal_jax.tasks import Task, task_for

CALLED = "called at the operating points"


class Reported(NamedTuple):
    """path: of the report. averages: of methods with several seeds (``seed_averages``)."""

    path: Path
    averages: tuple[RunResult, ...]


def report_workdir(
    config: Config,
    workdir: Path,
    splits: Splits,
    mesh: Mesh,
    console: Console,
    known: Sequence[RunResult] = (),
) -> None:
    """Print and report the results of all finished runs in ``workdir``, whenever they were trained.

    known: the results that were computed already.
    """
    at_hand = {(result.method, result.seed): result for result in known}
    results = []
    for address in find_runs(workdir):
        result = at_hand.get((address.method, address.seed))
        if result is None:
            scored = RunOutputs.read(address.folder)
            assert scored is not None  # the run is finished
            of_seed = replace(config, seed=address.seed)
            result = deploy_run(of_seed, address.definition(), splits, address.folder, scored, mesh)
        results.append(result)
    finished = replace(config, methods=trained_in(workdir))
    report = write_run_report(finished, workdir / "report.html", results, splits)
    print_results(config, results, splits, report, console)


def trained_in(workdir: Path) -> tuple[Method, ...]:
    """The methods of ``workdir`` with a finished run."""
    return tuple({address.method: address.definition() for address in find_runs(workdir)}.values())


def write_run_report(
    config: Config, path: Path, results: list[RunResult], splits: Splits, *, split: str = "test"
) -> Reported:
    """Write the report of the given results, which are all of ``splits.test``; beside it ``results.json``.

    split: which part of the data set that is.
    """
    averages = seed_averages(config, results, splits.classes)
    write_results(path.parent, config, results, splits.classes, split, averages)
    task = task_for(config.task, splits.test)
    kept = {name: result.scores for name, result in zip(run_names(results), results, strict=True)}
    written = write_report(
        path,
        title=config.title or made_title(config, task, splits),
        runs=results,
        averages=averages,
        classes=splits.classes,
        negative_class=config.data.negative_class,
        images=splits.test.images,
        grouped_by=splits.test.grouped_by,
        split_table=splits.table,
        example=task.example,
        sections=task.sections(splits.test, kept),
        config=_without_paths(to_json(config)),
        environment={
            "imbal_jax": imbal_jax.__version__,
            "jax": jax.__version__,
            "python": platform.python_version(),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        },
    )
    return Reported(written, averages)


def made_title(config: Config, task: Task, splits: Splits) -> str:
    """Made from the classes and their counts; of a task whose classes are no findings, the config's name."""
    if task.example != "image":
        return config.name
    return title_of(splits.table, splits.classes, config.data.negative_class, splits.test.grouped_by)


def _without_paths(values: dict[str, Any]) -> dict[str, Any]:
    """The report may be passed on: leave out the folders' names, which may identify their source."""
    return {**values, "data": {k: v for k, v in values["data"].items() if k not in ("dir", "enrolled")}}


def print_results(
    config: Config, results: list[RunResult], splits: Splits, report: Reported, console: Console
) -> None:
    """Prints the warnings, the table of results as they are deployed, the thresholds and the path of the report.

    The numbers are those of the report: decisions at the operating points, ranks of the calibrated probabilities.
    Those of the raw calls are in the report too, and in ``results.json`` as ``rows``. The task has the last word
    (``Task.closing``).
    """
    classes = splits.classes

    def warn(text: str) -> None:
        console.print(Text(text, "bold"), soft_wrap=True)

    negative = config.data.negative_class
    for line in shared_cautions(results[0], classes, negative):
        warn(line)
    for line in said_first(results):
        warn(line)
    names = run_names(results)
    of_runs = [result.shown for result in results]
    tables, deviations = {}, {}
    for method, places in seed_places(results).items():
        of_seeds = [of_runs[i] for i in places]
        label = f"{method}, {len(places)} seeds" if len(places) > 1 else method
        tables[label] = mean_of(of_seeds)
        if len(places) > 1:
            deviations[label] = deviation_of(of_seeds)
    how = CALLED if all(result.points for result in results) else ""
    console.print(results_table(tables, console.width, deviations, how=how))
    if deviations:
        each = dict(zip(names, of_runs, strict=True))
        steps = {name: result.best_step for name, result in zip(names, results, strict=True)}
        averaged = {run.method: run.shown for run in report.averages}
        console.print(seeds_table(each, steps, averaged, console.width))
    if results[0].decides:
        console.print(points_table(results, classes, config.data.negative_class, console.width))
    say(console, f"report: {report.path}")
    for line in task_for(config.task, splits.test).closing([result.table for result in results]):
        say(console, line)
