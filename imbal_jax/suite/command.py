"""``imbal-jax benchmark``: runs what is left of a suite, lists it, repeats a run, or writes the report."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from imbal_jax.console import make_console, say
from imbal_jax.errors import InputError
from imbal_jax.suite.commit import code_commit
from imbal_jax.suite.curve import parse_target
from imbal_jax.suite.definition import Line, Suite, SuiteAddress, load_suite, suite_path
from imbal_jax.suite.engines.devices import default_workers
from imbal_jax.suite.engines.job import RUN, Job, Taken
from imbal_jax.suite.engines.local import run_local
from imbal_jax.suite.grid import Grid, grid
from imbal_jax.suite.ledger import FILE, Ledger, Tail, append_line, read_ledger
from imbal_jax.suite.line import completed
from imbal_jax.suite.notes import check_suite, notes
from imbal_jax.suite.options import BenchmarkOptions
from imbal_jax.suite.progress import GridProgress, outcome_text
from imbal_jax.suite.rerun import rerun
from imbal_jax.suite.shard import Shard, parse_shard


@dataclass(frozen=True)
class Benchmark:
    """One call of the command. run: the import path of the function that does a run."""

    options: BenchmarkOptions
    suite: Suite
    out: Path
    shard: Shard
    console: Console
    run: str

    @property
    def workers(self) -> int:
        return self.options.workers or default_workers()

    @property
    def words(self) -> str:
        """The command, as it is typed, without what it is to do."""
        return f"imbal-jax benchmark {self.options.suite} --out {self.out}"

    def job(self, state: Grid) -> Job:
        folder = suite_path(self.options.suite).resolve().parent
        return Job(state.suite, self.out, code_commit(), folder, self.run)

    def todo(self, state: Grid) -> list[SuiteAddress]:
        """The runs of the shard and of the stage that can be run and have no line."""
        left = set(state.pending)
        return [a for a in self.shard.of(state.suite) if a in left and self.options.stage in (None, a.stage)]


def benchmark(options: BenchmarkOptions, *, run: str = RUN, console: Console | None = None) -> None:
    """What ``options`` ask for. run: the import path of the function that does a run.

    Raises InputError for wrong input, Terminated after SIGTERM or SIGUSR1, and Stopped where no run can be done.
    """
    suite = load_suite(options.suite)
    if options.stage is not None:
        suite.stage(options.stage)
    out = options.out or Path("workdirs") / f"benchmark-{suite.name}"
    job = Benchmark(options, suite, out, parse_shard(options.shard), console or make_console(), run)
    ledger = read_ledger(out)
    check_suite(ledger.path, ledger.lines, suite.name)
    state = grid(suite, ledger.lines)
    for line in (*ledger.notes(), *notes(ledger.path, state)):
        say(job.console, line)
    if options.list:
        list_runs(job, state)
    elif options.rerun is not None:
        rerun(job.job(state), state, ledger.lines, options.rerun, workers=job.workers, console=job.console)
    elif options.report:
        write_report(job, state, ledger)
    else:
        run_grid(job, state, ledger)


def run_grid(job: Benchmark, state: Grid, ledger: Ledger) -> None:
    """Run what is left, stage after stage, and say what came of it."""
    say(job.console, f"{job.suite.title}: {job.out / FILE}")
    while todo := job.todo(state):
        finished = run_addresses(job, state, todo, Tail(job.out, ledger.end))
        ledger = read_ledger(job.out)
        state = grid(job.suite, ledger.lines)
        if finished == 0:
            break  # other commands are at what is left
    for line in conclusion(job, state):
        say(job.console, line)


def run_addresses(job: Benchmark, state: Grid, todo: Sequence[SuiteAddress], tail: Tail) -> int:
    """Run ``todo`` with the engine that was asked for; returns how many runs this or another command finished.

    tail: the lines that are written after those of ``state``.
    """
    ours: set[str] = set()
    theirs: set[str] = set()
    asked = {address.key for address in todo}
    total = len(state.definitions)
    progress = GridProgress(
        job.console,
        state.lines.values(),
        total=total,
        left=len(todo),
        workers=job.workers,
        primary=job.suite.primary,
    )

    def taken(address: SuiteAddress, line: dict[str, Any]) -> None:
        whole = completed(state.suite, address, line, work.commit)
        if note := append_line(job.out, whole):
            say(job.console, note)
        ours.add(address.key)
        progress.took(address, whole)

    def elsewhere() -> set[str]:
        new = [line for line in tail.new() if state.definitions.get(line["key"]) == line.get("definition")]
        others = {line["key"]: line for line in new if line["key"] not in ours | theirs}
        for line in others.values():
            progress.elsewhere(line, ours=line["key"] in asked)
        theirs.update(others)
        return set(others)

    work = job.job(state)
    with progress:
        engine_of(job)(work, todo, taken, elsewhere)
    return len(ours) + len(theirs)


Engine = Callable[[Job, Sequence[SuiteAddress], Taken, Callable[[], set[str]]], object]


def engine_of(job: Benchmark) -> Engine:
    """The engine of the options."""
    if job.options.engine == "ray":
        from imbal_jax.suite.engines.ray import run_ray

        return lambda work, todo, taken, elsewhere: run_ray(
            work, todo, taken, address=job.options.ray_address, elsewhere=elsewhere
        )
    logs = "worker" if job.shard.count == 1 else f"shard{job.shard.number}of{job.shard.count}-worker"
    return lambda work, todo, taken, elsewhere: run_local(
        work, todo, taken, workers=job.workers, logs=logs, elsewhere=elsewhere
    )


def conclusion(job: Benchmark, state: Grid) -> list[str]:
    """What is done, what failed, what is left and why, and the next command."""
    outcomes = [line["outcome"] for line in state.lines.values()]
    counts = ", ".join(f"{outcomes.count(name)} {name}" for name in ("done", "diverged", "failed"))
    said = [f"{len(state.lines)} of {len(state.definitions)} runs: {counts}"]
    failures = [line for line in state.lines.values() if line["outcome"] == "failed"]
    said += [f"failed: {line['key']}: {line.get('reason')}" for line in failures[:5]]
    if failures:
        more = f" and {len(failures) - 5} more failed;" if len(failures) > 5 else ""
        said.append(f"{more} {job.words} --rerun KEY tries one again".strip())
    if left := job.todo(state):
        said.append(f"{len(left)} runs are left to another command that is at them")
    elif state.pending and job.shard.count > 1:
        said.append(f"{len(state.pending)} runs are left to the other shards")
    if state.waiting:
        said.append(
            f"stage {', '.join(state.waiting)} is chosen when the runs before it are done: run the same command then"
        )
    if not state.pending and not state.waiting:
        said.append(f"{job.words} --report writes the report")
    return said


def list_runs(job: Benchmark, state: Grid) -> None:
    """Every run of the shard and the stage, a line each: its key and its outcome."""
    for address in job.shard.of(state.suite):
        if job.options.stage in (None, address.stage):
            line = state.lines.get(address.key)
            say(
                job.console,
                f"{address.key}: {'left' if line is None else outcome_text(line, job.suite.primary)}",
            )
    for name in state.waiting:
        if job.options.stage in (None, name):
            say(job.console, f"stage {name}: chosen when the runs before it are done")


def write_report(job: Benchmark, state: Grid, ledger: Ledger) -> None:
    """The report on the lines that count, or one figure of it."""
    lines: list[Line] = list(state.lines.values())
    if not lines:
        raise InputError(f"{ledger.path} has no run to report on: run {job.words} first")
    suite, target = job.suite, job.options.target
    if target is not None:
        check_target(target, lines)
        suite = replace(suite, target=target)
    from imbal_jax.suite.report import write, write_figure

    named = (
        Path(job.options.suite).is_absolute() or job.out.is_absolute()
    )  # a page names no machine's folders
    command = f"imbal-jax benchmark {job.suite.name}" if named else job.words
    if target is not None:
        command += f" --target {shlex.quote(target)}"
    if job.options.figure is not None:
        figure = write_figure(suite, lines, job.out, job.options.figure, command=command)
        say(job.console, f"figure: {figure}")
    else:
        pages = write(suite, lines, job.out, command=command)
        say(job.console, f"report: {' and '.join(map(str, pages))}")


def check_target(target: str, lines: Sequence[Line]) -> None:
    """Raise InputError for a target whose metric no curve has."""
    columns = list(dict.fromkeys(name for line in lines for name in line.get("curve") or {}))
    if parse_target(target).metric not in columns:
        raise InputError(f"target {target!r}: the curves have {', '.join(columns) or 'no columns'}")
