"""Two commits side by side: the same commands in both, and every number that they leave on disk compared.

    python benchmarks/compare_commits.py COMMIT_A COMMIT_B --data DIR --cache DIR --out FILE.json [--only NAME ...]
    python benchmarks/compare_commits.py --trees FOLDER_A FOLDER_B --out FILE.json
    python benchmarks/compare_commits.py COMMIT_A COMMIT_B --tests --out FILE.json

Run by hand around a change that may not change behaviour. The cases (``--list`` names them, commit_cases.py defines
them) are small command lines: every method of the catalogue for five steps, second stages, switches, BatchNorm with
bfloat16 and averaged parameters, masked labels, records, three backends on one, two and four simulated devices, a run
that is killed and resumed, evaluate, predict, export. Compared are the arrays of every checkpoint, metrics.jsonl,
scores, results.json, predictions and what exported programs give; folders called seedN are left out of the names.
A line a case: equal to the bit, the largest difference and where, or what failed. Exit status 1 if a case failed or
differs by more than --tolerance; a case that is announced to differ has to run in both with a finite loss.

The package need not be installed: PYTHONPATH leads to each tree. --cache keeps the outputs of A for later calls; B is
always run. --tests compares the collected tests instead.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import numpy as np
import run_outputs
from collected_tests import compare_tests
from commit_cases import LIKE, Case, make_cases, write_data
from commit_trees import Failed, Tree, add_tree_options, two_trees
from run_outputs import Comparison, Outputs, compare, digest, read_outputs


@dataclass
class Outcome:
    """What a case left in one tree, or why it failed."""

    outputs: Outputs | None
    failure: str = ""
    seconds: float = 0.0
    cached: bool = False


@dataclass(frozen=True)
class Bench:
    """Where cases run. cache: of outputs, or None. key: what they depend on besides tree and case."""

    data: Path
    real: Path | None
    scratch: Path
    cache: Path | None
    key: str


def main() -> int:
    options = parse_options()
    cases = chosen(options.only)
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="compare_commits_") as temporary,
        two_trees(options, Path(temporary)) as both,
    ):
        if options.tests:
            report = compare_tests(*both)
            options.out.write_text(json.dumps(report, indent=1) + "\n")
        else:
            report = compare_cases(both, cases, make_bench(options, Path(temporary)), options)
    return 0 if report["passed"] else 1


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_tree_options(parser)
    parser.add_argument(
        "--data", type=Path, help="the folder of real data sets; without it their cases are left out"
    )
    parser.add_argument("--cache", type=Path, help="keeps the outputs of A")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="names of cases, or the beginnings of names"
    )
    parser.add_argument(
        "--fill-cache", action="store_true", help="run what --cache lacks of A, and nothing of B"
    )
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest absolute difference allowed")
    parser.add_argument("--tests", action="store_true", help="compare the collected tests, and run no case")
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("--out", type=Path, help="the report, as JSON")
    options = parser.parse_args()
    if not options.list and (len(options.commits) == 2) == bool(options.trees):
        parser.error("give two commits, or --trees A B")
    if not options.list and options.out is None:
        parser.error("give --out FILE.json")
    return options


def chosen(only: list[str] | None) -> list[Case]:
    cases = make_cases()
    picked = [case for case in cases if not only or any(case.name.startswith(name) for name in only)]
    if not picked:
        raise SystemExit(f"no case is called {' or '.join(only or [])}: --list names them")
    missing = {case.like for case in picked if case.like} - {case.name for case in picked}
    return [case for case in cases if case in picked or case.name in missing]


def make_bench(options: argparse.Namespace, temporary: Path) -> Bench:
    data, real = temporary / "data", options.data and options.data.resolve()
    write_data(data, real)
    total = blake2b(digest_size=16)
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(data)}\0".encode() + path.read_bytes())
    versions = [version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")]
    if options.cache is not None:
        options.cache.mkdir(parents=True, exist_ok=True)
    key = f"{total.hexdigest()} {versions} {run_outputs.VERSION}"
    return Bench(data, real, temporary, options.cache, key)


def compare_cases(
    both: list[Tree], cases: list[Case], bench: Bench, options: argparse.Namespace
) -> dict[str, Any]:
    """Run and compare, a line a case; the report is written after each."""
    rows: dict[str, Any] = {}
    report = {"commits": [tree.commit for tree in both], "tolerance": options.tolerance, "cases": rows}
    kept: dict[tuple[str, str], Outputs] = {}
    for case in cases:
        if case.needs_real_data and bench.real is None:
            rows[case.name] = {"line": "left out: it needs --data", "passed": True}
        else:
            outcomes = [outcome(case, tree, bench) for tree in (both[:1] if options.fill_cache else both)]
            rows[case.name] = judged(case, outcomes, options.tolerance)
            for tree, one in zip(both, outcomes, strict=False):  # A alone fills a cache
                if one.outputs is not None:
                    if any(other.like == case.name for other in cases):
                        kept[tree.name, case.name] = one.outputs
                    check_inside(case, tree, one.outputs, kept, rows[case.name])
        print(f"{case.name:28} {rows[case.name]['line']}", flush=True)
        report["passed"] = all(row["passed"] for row in rows.values())
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    failed = [name for name, row in rows.items() if not row["passed"]]
    print(
        f"{len(rows) - len(failed)} of {len(rows)} cases passed{': not ' if failed else ''}{', '.join(failed)}"
    )
    return report


def outcome(case: Case, tree: Tree, bench: Bench) -> Outcome:
    """Run ``case`` in ``tree``, or, for A, read what an earlier call kept of it."""
    entry = None
    if bench.cache is not None and tree.commit and tree.name == "A":
        name = blake2b(f"{case.definition} {bench.key}".encode(), digest_size=8).hexdigest()
        entry = bench.cache / tree.commit[:12] / f"{case.name}-{name}.npz"
        if entry.is_file():
            with np.load(entry) as arrays:
                names = arrays["names"]
                return Outcome({str(n): arrays[f"a{i}"] for i, n in enumerate(names)}, cached=True)
    work = bench.scratch / f"work_{tree.name}_{case.name}"
    work.mkdir()
    began = time.monotonic()
    try:
        run_case(case, tree, bench, work)
        outputs = read_outputs(work)
    except (Failed, TimeoutExpired, ValueError) as error:
        return Outcome(None, str(error), time.monotonic() - began)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if entry is not None:
        entry.parent.mkdir(parents=True, exist_ok=True)
        partial = entry.with_suffix(".partial.npz")
        arrays = {f"a{i}": values for i, values in enumerate(outputs.values())}
        np.savez_compressed(partial, names=np.array(list(outputs)), **arrays)
        partial.rename(entry)
    return Outcome(outputs, seconds=time.monotonic() - began)


def run_case(case: Case, tree: Tree, bench: Bench, work: Path) -> None:
    places = {"data": bench.data, "work": work, "tree": tree.folder, "real": bench.real}
    commands = [[word.format(**places) for word in words] for words in case.commands]
    if case.killed_at:
        tree.run_and_kill(commands[0], work, case.killed_at, case.devices)
    for words in commands:
        tree.run(words, work, case.devices)


def judged(case: Case, outcomes: list[Outcome], tolerance: float) -> dict[str, Any]:
    """The row of a case in the report."""
    a, b = outcomes[0], outcomes[-1]
    row: dict[str, Any] = {"seconds": [round(one.seconds, 1) for one in outcomes]}
    failures = {name: one.failure for name, one in zip("AB", outcomes, strict=False) if one.outputs is None}
    if failures:
        line = "; ".join(f"failed in {name}: {why}" for name, why in failures.items())
        return {**row, "line": line, "passed": False}
    found: Comparison = compare(a.outputs, b.outputs)
    row |= {"digests": [digest(one.outputs) for one in outcomes], **asdict(found)}
    line, passed = found.line(), found.within(tolerance)
    if len(outcomes) == 1:
        return {**row, "line": f"kept ({found.compared} arrays)", "passed": not found.skipped}
    if case.differs:
        passed = found.finite and not found.lost and not found.skipped
        line = f"expected to differ, {'finite' if found.finite else 'LOSS NOT FINITE'}: {line}"
    if not found.compared:
        line, passed = "nothing was written that could be compared", False
    return {**row, "line": line, "passed": passed}


def check_inside(
    case: Case, tree: Tree, outputs: Outputs, kept: dict[tuple[str, str], Outputs], row: dict[str, Any]
) -> None:
    """Compare inside one tree: a resumed run with an unbroken one, several devices with one; adds to ``row``."""
    if case.twin:
        first, second = (
            {
                name.partition("/")[2]: values
                for name, values in outputs.items()
                if name.startswith(f"{folder}/")
            }
            for folder in case.twin
        )
        found, tolerance, what = compare(first, second), 0.0, f"{case.twin[1]} against {case.twin[0]}"
        passed = found.within(tolerance) and not found.new
    elif case.like and (tree.name, case.like) in kept:
        first, second = (
            {name: v for name, v in values.items() if "/checkpoints/" in name or ".npz:" in name}
            for values in (kept[tree.name, case.like], outputs)
        )
        found, what = compare(first, second), f"against {case.like}"
        passed = found.within(LIKE) and found.compared > 0
    else:
        return
    row[f"inside_{tree.name}"] = asdict(found)
    row["passed"] = row["passed"] and passed
    row["line"] += f"\n{'':28} inside {tree.name}, {what}: {'' if passed else 'FAILED, '}{found.line()}"


if __name__ == "__main__":
    sys.exit(main())
