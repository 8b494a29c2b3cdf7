"""The speed of two commits: their own benchmarks, run in turn, and the ratios.

    python benchmarks/compare_speed.py COMMIT_A COMMIT_B --out FILE.json [--rounds 3] [--only host_time sampler]

Each round runs balancing_cost, host_time, sampler and loader of both trees, reduced in size, A first in one round and
B first in the next. Printed are medians over the rounds and the median of the ratios within a round, B over A: of
seconds and microseconds less than 1 is faster, of rates (images and indices a second) more is. One round takes about
four minutes on two idle cores. It is to be run on an idle machine; the load is written down.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from commit_trees import Failed, Tree, add_tree_options, last_lines, two_trees

REDUCED = {
    "balancing_cost": ("--model", "cnn", "--steps", "8", "--repeats", "5"),
    "host_time": ("--repeats", "5"),
    "sampler": ("--items", "2000000", "--repeats", "3"),
    "loader": ("--repeats", "3"),
}
NOT_MEASURED = (
    *(
        "repeats",
        "lowest",
        "highest",
        "versions",
        "data_versions",
        "projection_to_16_cores",
        "cores",
        "items",
    ),
    *("rare_items", "batch_size", "image_size", "load_average", "load_average_at_start"),
)
"""Keys of the results that say on what, how or how often was measured."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_tree_options(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=tuple(REDUCED), default=tuple(REDUCED), metavar="NAME")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if (len(options.commits) == 2) == bool(options.trees):
        parser.error("give two commits, or --trees A B")
    report: dict[str, Any] = {"load_average": os.getloadavg()[0], "rounds": options.rounds}
    with (
        tempfile.TemporaryDirectory(prefix="compare_speed_") as temporary,
        two_trees(options, Path(temporary)) as both,
    ):
        report["commits"] = [tree.commit for tree in both]
        for name in options.only:
            rounds = []
            for number in range(options.rounds):
                order = both if number % 2 == 0 else both[::-1]
                rounds.append({tree.name: measured(name, tree, Path(temporary)) for tree in order})
            report[name] = summary(rounds)
            print_rows(name, report[name])
            options.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def measured(name: str, tree: Tree, cwd: Path) -> dict[str, float]:
    """The numbers that benchmark ``name`` of ``tree`` writes; Failed where it ends with an error."""
    out = cwd / f"{name}.json"
    done = subprocess.run(
        [tree.python, str(tree.folder / "benchmarks" / f"{name}.py"), *REDUCED[name], "--out", str(out)],
        cwd=cwd,
        env=tree.environment(devices=None),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Failed(f"{name} of {tree.name} ended with status {done.returncode}: {last_lines(done.stderr)}")
    return numbers(json.loads(out.read_text()))


def numbers(value: Any, prefix: str = "") -> dict[str, float]:
    """What was measured, by its path."""
    if isinstance(value, dict):
        parts = [
            numbers(inner, f"{prefix}/{key}" if prefix else key)
            for key, inner in value.items()
            if key not in NOT_MEASURED
        ]
        return {name: number for part in parts for name, number in part.items()}
    return {prefix: float(value)} if isinstance(value, int | float) else {}


def summary(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Of each number that both have: the medians, and the median, lowest and highest ratio of B to A in a round."""
    rows = {}
    for key in rounds[0]["A"]:
        if all(row[name].get(key) for row in rounds for name in "AB"):
            ratios = [row["B"][key] / row["A"][key] for row in rounds]
            rows[key] = {
                "a": median(row["A"][key] for row in rounds),
                "b": median(row["B"][key] for row in rounds),
                "ratio": median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
            }
    return rows


def print_rows(name: str, rows: dict[str, dict[str, float]]) -> None:
    print(f"{name:60}{'A':>12}{'B':>12}{'B / A':>8}  lowest to highest")
    for key, row in rows.items():
        spread = f"{row['lowest']:.2f} to {row['highest']:.2f}"
        print(f"  {key:58}{row['a']:12.4g}{row['b']:12.4g}{row['ratio']:8.2f}  {spread}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
