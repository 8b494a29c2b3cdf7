"""imbal-jax compare: finished runs beside the first of them, on the same test images."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imbal_jax.console import UNDEFINED, make_console, number, percent, say
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError, present, read_json, write_csv, write_json
from imbal_jax.metrics.labels import one_against_rest
from imbal_jax.runs.address import RunAddress, find_runs, shortest_paths
from imbal_jax.runs.claim import CLAIM, CONFIG_REMEDY, read_claim
from imbal_jax.runs.deployment import FILE as DEPLOYED
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.outputs import RESULT, SCORES, Scored
from imbal_jax.runs.paired_difference import (
    MACRO,
    METRICS,
    SAMPLES,
    Difference,
    Run,
    adjusted,
    check_same_test,
    differences,
    seed_spread,
)

ALPHA = 0.05
FEW = 20  # positives: with as many, 95 % intervals of the bootstrap cover 90 % (metrics.bootstrap)


def compare(
    paths: Sequence[Path], console: Console | None = None, out: Mapping[str, Path] | None = None
) -> list[Difference]:
    """Print the differences of all runs from the first, and return them.

    paths: of finished runs, WORKDIR/METHOD, or of a WORKDIR for all that are finished there. out: files to write,
    by their kind: "csv", the differences; "json", those, the test set and the spread over seeds.
    Raises InputError where there are fewer than two runs or one twice, where one is of other test images or
    classes, and where a file cannot be written.
    """
    console, out = console or make_console(), out or {}
    if len({path.resolve() for path in out.values()}) < len(out):
        raise InputError("--csv and --json name one file: give two")
    for path in out.values():
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}")
        if path.exists() and (present(path.parent / RESULT) or present(path.parent / "config.json")):
            raise InputError(f"{path} is a file of a run, which would be replaced: name another")
    runs = read_runs(paths, console)
    for run in runs[1:]:
        check_same_test(runs[0], run)
    test, seeds = _test_set(runs[0]), seed_spread(runs)

    say(
        console, _heading(runs[0], test), wrap=True
    )  # before the bootstrap, which takes a while for many images
    found = adjusted([row for run in runs[1:] for row in differences(runs[0], run, runs[0].groups)])
    console.print(_table(runs, found))
    if seeds:
        console.print(_seed_table(seeds, len(runs[0].findings) > 1))
    say(console, _notes(runs, found, test), wrap=True)
    values = {"first": runs[0].name, "test": test, "differences": list(map(dataclasses.asdict, found))}
    for kind, path in out.items():
        _write(path, kind, {**values, "seeds": seeds})
        say(console, f"written: {path}")
    return found


# Folders


def read_runs(paths: Sequence[Path], console: Console) -> list[Run]:
    """The finished runs that ``paths`` name, in that order; InputError for fewer than two, or one twice."""
    found: list[RunAddress] = []
    for path in map(Path, paths):
        for address in find_runs(path):
            if address in found:
                raise InputError(f"{address.folder} is named twice: name each run once")
            found.append(address)
        if present(path / CLAIM):
            _say_unfinished(path, console)
    if len(found) < 2:
        raise InputError(
            f"compare needs two finished runs or more, got {len(found)}: imbal-jax compare RUN RUN ..., each a "
            "WORKDIR/METHOD, or a WORKDIR for all that are finished there"
        )
    return [_read(address, name) for address, name in zip(found, shortest_names(found), strict=True)]


def _say_unfinished(workdir: Path, console: Console) -> None:
    named = [method.name for method in read_claim(workdir).methods]
    finished = {address.method for address in find_runs(workdir)}
    if left := [name for name in named if name not in finished]:
        say(console, f"left out, not finished: {', '.join(left)}")


def shortest_names(found: Sequence[RunAddress]) -> list[str]:
    """The shortest ends of the runs' folders that tell them apart; of a method with one seed, without the seed."""
    folders = shortest_paths(found)
    deepest = max(len(folder.parts) for folder in folders)
    ends = [["/".join(f.parts[-n:]) for f in folders] for n in range(1, 1 + deepest)]
    if any(f.name.startswith("seed") for f in folders):
        ends = ends[1:]
    return next(end for end in ends if len(set(end)) == len(folders))


def _read(address: RunAddress, name: str) -> Run:
    folder = address.folder
    config = {**_config(address.workdir), "seed": address.seed}
    scored, deployment = Scored.read(folder), Deployment.read(folder)
    assert scored is not None  # find_runs looked
    if scored.classes != deployment.classes:
        raise DamagedError(
            f"{folder / DEPLOYED} is of other classes than {folder / SCORES}: imbal-jax evaluate {address.workdir} "
            "writes both anew"
        )
    of = list(deployment.findings)
    probabilities = deployment.probabilities(scored.outputs)
    return Run(
        name=name,
        method=address.method,
        config=config,
        labels=scored.labels,
        truth=one_against_rest(scored.labels, len(scored.classes))[:, of],
        probabilities=probabilities[:, of],
        called=deployment.called(probabilities)[:, of],
        findings=tuple(scored.classes[c] for c in of),
        groups=scored.groups,
        digests=scored.digests,
    )


def _config(workdir: Path) -> dict[str, Any]:
    path = workdir / "config.json"
    values = read_json(path, CONFIG_REMEDY)
    methods = values.get("methods")
    named = isinstance(methods, list) and all(
        isinstance(m, dict) and isinstance(m.get("name"), str) for m in methods
    )
    if not (named and isinstance(values.get("data"), dict) and isinstance(values.get("train"), dict)):
        raise DamagedError(f"{path} is damaged (its data, train or methods are none): {CONFIG_REMEDY}")
    return values


# What is shown


def _test_set(run: Run) -> dict[str, Any]:
    """Images, patients, and of each finding its positives and prevalence."""
    positives, known = (run.truth == 1).sum(axis=0), (run.truth >= 0).sum(axis=0)
    counts = {
        finding: {"positives": int(p), "prevalence": float(p / k) if k else math.nan}
        for finding, p, k in zip(run.findings, positives, known, strict=True)
    }
    return {"images": len(run.truth), "patients": len(np.unique(run.groups)), "findings": counts}


def _heading(first: Run, test: Mapping[str, Any]) -> str:
    images, patients = test["images"], test["patients"]
    whose = f" of {patients:,} patients" if patients != images else ""
    counts = [
        f"{finding} {count['positives']:,} ({percent(count['prevalence'])})"
        for finding, count in test["findings"].items()
    ]
    return f"Differences from {first.name} on the same {images:,} test images{whose}; positives: {', '.join(counts)}"


def _table(runs: Sequence[Run], rows: Sequence[Difference]) -> Table:
    """By metric, the first run's value and each other's with its difference; by finding, the AUROC alone."""
    several = len(runs[0].findings) > 1
    headings = ["value", "difference", "95 % interval", "p"] + ["p (Holm)"] * (len(rows) > len(METRICS))
    table = _empty_table("metric, run", headings)
    top, *findings = runs[0].rows
    for metric, finding in [*((m, top) for m in METRICS), *(("auroc", f) for f in findings)]:
        of = [row for row in rows if (row.metric, row.finding) == (metric, finding)]
        table.add_row(Text(METRICS[metric] + f", {finding}" * several, "italic"))
        table.add_row(Text(f"  {runs[0].name}"), number(of[0].first_value))
        for row in of:
            interval = f"{_signed(row.low)} to {_signed(row.high)}" if math.isfinite(row.low) else UNDEFINED
            cells = [f"  {row.run}", number(row.run_value), _signed(row.difference), interval]
            cells += [_p(row.p_value), _p(row.p_holm)][: len(headings) - 3]
            table.add_row(*(Text(cell, "bold" if row.p_holm < ALPHA else "") for cell in cells))
        table.add_section()
    return table


def _seed_table(spread: Sequence[Mapping[str, Any]], several: bool) -> Table:
    table = _empty_table("metric, method", ["seeds", "mean", "sd"])
    table.title = "Seeds of one method" + f", {MACRO} values" * several
    for metric, label in METRICS.items():
        table.add_row(Text(label, "italic"))
        for row in spread:
            cells = [str(len(row["runs"])), number(row["mean"][metric]), number(row["sd"][metric])]
            table.add_row(Text(f"  {row['method']}"), *cells)
        table.add_section()
    return table


def _empty_table(left: str, headings: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    table.add_column(left)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _notes(runs: Sequence[Run], rows: Sequence[Difference], test: Mapping[str, Any]) -> str:
    tests = (len(runs) - 1) * len(runs[0].findings)
    several = len(runs[0].findings) > 1
    drawn = "images" if test["patients"] == test["images"] else "patients"
    lines = [
        f"DeLong for the AUROC{' of a finding' * several}, else a paired bootstrap of {SAMPLES:,} draws of {drawn}; "
        "p is two-sided.",
        f"This is the chance in which {drawn} the test set holds, not that of training, which several seeds show.",
        "A finding is called at the run's operating point; probabilities are calibrated, both on validation.",
    ]
    few = [finding for finding, count in test["findings"].items() if 0 < count["positives"] <= FEW]
    if few:
        names = ", ".join(few)
        lines.append(
            f"{FEW} positives or fewer, so intervals too short and p too small (bootstrap above all): {names}."
        )
    if several:
        lines.append(
            f"{MACRO}: mean over the findings where it is defined. All metrics by finding: --csv, --json."
        )
    if tests > 1:
        apart = f"; a macro mean for {len(runs) - 1}" * several
        lines.append(f"p (Holm): adjusted for the {tests} tests of a metric{apart}. Bold: below {ALPHA}.")
    else:
        lines.append(f"Bold: p below {ALPHA}, not adjusted for the number of metrics.")
    if not all(math.isfinite(row.p_value) for row in rows):
        lines.append(f"{UNDEFINED} undefined: too few positives or negatives.")
    return "\n".join([*lines, "Of the Brier score lower is better."])


def _signed(value: float) -> str:
    return f"{value:+.3f}" if math.isfinite(value) else UNDEFINED


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else number(value)


def _write(path: Path, kind: str, values: Mapping[str, Any]) -> None:
    if kind == "json":
        write_json(path, _finite(values))
        return
    names = [field.name for field in dataclasses.fields(Difference)]
    rows = [_finite(row) for row in values["differences"]]  # None: an empty cell
    write_csv(path, names, [[row[name] for name in names] for row in rows])


def _finite(value: Any) -> Any:
    """With None for every NaN."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
