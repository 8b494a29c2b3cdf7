"""imbal-jax compare: differences of finished runs from the first, on the same test images."""

import dataclasses
import math
import os
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
from imbal_jax.runs.deployment import Deployment, require_decisions
from imbal_jax.runs.outputs import RESULT, SCORES, RunOutputs
from imbal_jax.runs.paired_difference import (
    MACRO,
    METRICS,
    SAMPLES,
    Difference,
    Run,
    adjusted,
    check_same_test,
    seed_spread,
)
from imbal_jax.runs.seed_means import Arm, arm_differences

ALPHA = 0.05
FEW = 20  # positives: with as many, 95 % intervals of the bootstrap cover 90 % (metrics.bootstrap)


def compare(
    paths: Sequence[Path], console: Console | None = None, out: Mapping[str, Path] | None = None
) -> list[Difference]:
    """Print the differences of all methods or runs from the first, and return them.

    paths: WORKDIR/METHOD, by the mean over its seeds; WORKDIR, for all methods that are finished there; or
    WORKDIR/METHOD/seedN, a run by itself. out: files to write,
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
    arms = read_arms(paths, console)
    runs = [run for arm in arms for run in arm.runs]
    for run in runs[1:]:
        check_same_test(runs[0], run)
    test, seeds = _test_set(runs[0]), seed_spread(runs)

    say(
        console, _heading(arms[0], test), wrap=True
    )  # before the bootstrap, which takes a while for many images
    found = adjusted([row for arm in arms[1:] for row in arm_differences(arms[0], arm, runs[0].groups)])
    console.print(_table(arms, found))
    if seeds:
        console.print(_seed_table(seeds, len(runs[0].findings) > 1))
    say(console, _notes(arms, found, test), wrap=True)
    values = {"first": arms[0].name, "test": test, "differences": list(map(dataclasses.asdict, found))}
    for kind, path in out.items():
        _write(path, kind, {**values, "seeds": seeds})
        say(console, f"written: {path}")
    return found


# Folders


def read_arms(paths: Sequence[Path], console: Console) -> list[Arm]:
    """The methods and runs that ``paths`` name, in that order; InputError for fewer than two, or a run twice."""
    found: list[RunAddress] = []
    arms: dict[Path, list[RunAddress]] = {}
    for path in map(Path, paths):
        for address in find_runs(path):
            if address in found:
                raise InputError(f"{address.folder} is named twice: name each run once")
            found.append(address)
            alone = address.folder == Path(os.path.abspath(path))
            arms.setdefault(address.folder if alone else address.folder.parent, []).append(address)
        if present(path / CLAIM):
            _say_unfinished(path, console)
    if len(arms) < 2:
        raise InputError(
            f"compare needs two finished runs or more, got {len(arms)}: imbal-jax compare RUN RUN ..., each a "
            "WORKDIR/METHOD (all its seeds together), a WORKDIR for all methods that are finished there, or a "
            "WORKDIR/METHOD/seedN"
        )
    names = dict(zip(found, shortest_names(found), strict=True))
    made = []
    for runs in arms.values():
        name = names[runs[0]].rpartition("/")[0] if len(runs) > 1 else names[runs[0]]
        made.append(Arm(name, tuple(_read(address, names[address]) for address in runs)))
    return made


def _say_unfinished(workdir: Path, console: Console) -> None:
    named = [method.name for method in read_claim(workdir).methods]
    finished = {address.method for address in find_runs(workdir)}
    if left := [name for name in named if name not in finished]:
        say(console, f"left out, not finished: {', '.join(left)}")


def shortest_names(found: Sequence[RunAddress]) -> list[str]:
    """The shortest path suffixes that distinguish the runs; for a method with one seed, without the seed."""
    folders = shortest_paths(found)
    deepest = max(len(folder.parts) for folder in folders)
    ends = [["/".join(f.parts[-n:]) for f in folders] for n in range(1, 1 + deepest)]
    if any(f.name.startswith("seed") for f in folders):
        ends = ends[1:]
    return next(end for end in ends if len(set(end)) == len(folders))


def _read(address: RunAddress, name: str) -> Run:
    folder = address.folder
    config = {**_config(address.workdir), "seed": address.seed}
    scored, deployment = RunOutputs.read(folder), Deployment.read(folder)
    assert scored is not None  # find_runs looked
    require_decisions(deployment, folder, "compare")
    if scored.classes != deployment.classes:
        raise DamagedError(
            f"{folder / DEPLOYED} is of other classes than {folder / SCORES}: imbal-jax evaluate {address.workdir} "
            "writes both again"
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


def _heading(first: Arm, test: Mapping[str, Any]) -> str:
    images, patients = test["images"], test["patients"]
    whose = f" of {patients:,} patients" if patients != images else ""
    counts = [
        f"{finding} {count['positives']:,} ({percent(count['prevalence'])})"
        for finding, count in test["findings"].items()
    ]
    return f"Differences from {first.name} on the same {images:,} test images{whose}; positives: {', '.join(counts)}"


def _table(arms: Sequence[Arm], rows: Sequence[Difference]) -> Table:
    """By metric, the first run's value and each other's with its difference; by finding, the AUROC alone."""
    several = len(arms[0].first.findings) > 1
    headings = ["value", "difference", "95 % interval", "p"] + ["p (Holm)"] * (len(rows) > len(METRICS))
    table = _empty_table("metric, run", headings)
    top, *findings = arms[0].first.rows
    for metric, finding in [*((m, top) for m in METRICS), *(("auroc", f) for f in findings)]:
        of = [row for row in rows if (row.metric, row.finding) == (metric, finding)]
        table.add_row(Text(METRICS[metric] + f", {finding}" * several, "italic"))
        table.add_row(Text(f"  {arms[0].name}"), number(of[0].first_value))
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


def _notes(arms: Sequence[Arm], rows: Sequence[Difference], test: Mapping[str, Any]) -> str:
    findings = arms[0].first.findings
    tests, several = (len(arms) - 1) * len(findings), len(findings) > 1
    drawn = "images" if test["patients"] == test["images"] else "patients"
    lines = [
        f"DeLong for the AUROC{' of a finding' * several}, else a paired bootstrap of {SAMPLES:,} draws of {drawn}; "
        "p is two-sided.",
        f"This is the chance in which {drawn} the test set holds, not that of training, which several seeds show.",
        "A finding is called at the run's operating point; probabilities are calibrated, both on validation.",
    ]
    if counted := [f"{arm.name} {len(arm.runs)}" for arm in arms if len(arm.runs) > 1]:
        lines.append(
            f"Means over seeds ({', '.join(counted)}), for which all intervals are those of the bootstrap."
        )
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
        apart = f"; a macro mean for {len(arms) - 1}" * several
        lines.append(f"p (Holm): adjusted for the {tests} tests of a metric{apart}. Bold: below {ALPHA}.")
    else:
        lines.append(f"Bold: p below {ALPHA}, not adjusted for the number of metrics.")
    if not all(math.isfinite(row.p_value) for row in rows):
        lines.append(f"{UNDEFINED} undefined: too few positives or negatives.")
    return "\n".join([*lines, "A lower Brier score is better."])


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
