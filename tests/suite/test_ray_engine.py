"""Runs as tasks of a Ray cluster of two workers, one of which is killed."""

import json
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from suite_files import write_suite

from imbal_jax.suite.command import benchmark
from imbal_jax.suite.ledger import read_ledger
from imbal_jax.suite.options import BenchmarkOptions

pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own
]


def run(suite: Path, out: Path, how: str, address: str) -> str:
    console = Console(file=StringIO(), width=200)
    options = BenchmarkOptions(suite=str(suite), out=out, engine="ray", ray_address=address)
    benchmark(options, run=f"suite_runs:{how}", console=console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def tries(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "tries.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:  # where its workers find the stand-in
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        made.add_node(num_cpus=1)
        made.wait_for_nodes()
        yield made
        made.shutdown()


def test_ray_repeats_a_run_whose_worker_was_killed(tmp_path: Path, cluster: Any) -> None:
    suite, out = write_suite(tmp_path, draws=(0, 1, 2)), tmp_path / "out"
    said = run(suite, out, "once_killed", cluster.address)
    lines = read_ledger(out).lines
    assert len({line["key"] for line in lines}) == len(lines) == 12
    assert {line["outcome"] for line in lines} == {"done"}
    assert "12 of 12 runs: 12 done" in said
    assert len(tries(out)) == 12 + 6, "each run of focal was tried twice"
    assert {line["threads"] for line in lines} == {"1"}


def test_a_run_that_ends_its_worker_twice_fails_alone(tmp_path: Path, cluster: Any) -> None:
    suite, out = (
        write_suite(tmp_path, methods=("ce", "focal", "crt", "weighted_ce"), draws=(0,)),
        tmp_path / "out",
    )
    run(suite, out, "troubled", cluster.address)
    lines = {(line["cell"], line["method"]): line for line in read_ledger(out).lines}
    outcomes = {"ce": "done", "focal": "failed", "crt": "failed", "weighted_ce": "diverged"}
    assert {key: line["outcome"] for key, line in lines.items()} == {
        (cell, method): outcome
        for cell in ("phantom-10", "phantom-100")
        for method, outcome in outcomes.items()
    }
    assert "Ray gave it up after 2 tries, WorkerCrashedError" in lines["phantom-10", "focal"]["reason"]
    assert lines["phantom-10", "crt"]["reason"] == "ValueError: no features for the head"


def test_the_runs_of_a_machine_that_is_lost_are_done_by_the_other(tmp_path: Path, cluster: Any) -> None:
    suite, out = write_suite(tmp_path, draws=tuple(range(6))), tmp_path / "out"
    node = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()

    def lose() -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end and len(read_ledger(out).lines) < 4:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    said = run(suite, out, "slow", cluster.address)
    thread.join()
    lines = read_ledger(out).lines
    assert len({line["key"] for line in lines}) == len(lines) == 24
    assert "24 of 24 runs: 24 done" in said
    assert len(tries(out)) > 24, "a run was lost and repeated"
