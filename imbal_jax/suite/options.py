"""The options of ``imbal-jax benchmark``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from imbal_jax.errors import InputError
from imbal_jax.suite.curve import parse_target


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """Run what is left of a suite, a grid of runs over data, methods, settings and seeds.

    Every run is a line of OUT/ledger.jsonl. Stopped or killed anywhere, the same command goes on.
    """

    # A Python file with get_suite(), or the name of a suite that ships, as smoke.
    suite: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SUITE")]
    # The folder of the ledger; workdirs/benchmark-NAME if left out.
    out: Path | None = None
    # Runs at a time on this machine; one a core, or one a GPU, if left out.
    workers: int | None = None
    # The I-th of N parts, from 1/N to N/N, for N commands on one or more machines.
    shard: str | None = None
    # Processes of this machine, or a Ray cluster (pip install 'imbal-jax[ray]').
    engine: Literal["local", "ray"] = "local"
    # Of a running Ray cluster, as auto or HOST:PORT; one on this machine is started if left out.
    ray_address: str | None = None
    # The only stage that is run or listed.
    stage: str | None = None
    # List the runs and what became of them, and run nothing.
    list: bool = False
    # Write the report on the runs that are done, and run nothing.
    report: bool = False
    # With --report: the only figure that is written, as ratio.
    figure: str | None = None
    # With --report: another target than the suite's for the time to it, as 'sensitivity_at_90 >= 0.5'; any column of
    # the curves, on validation images.
    target: str | None = None
    # Repeat the run of a line, STAGE/CELL/DRAW/METHOD/SETTING/SEED, and say whether the results agree.
    rerun: str | None = None

    def __post_init__(self) -> None:
        asked = [
            flag
            for flag, given in (("--list", self.list), ("--report", self.report), ("--rerun", self.rerun))
            if given
        ]
        if len(asked) > 1:
            raise InputError(f"{asked[0]} and {asked[1]} exclude each other: give one of them")
        if self.figure is not None and not self.report:
            raise InputError("--figure is of --report: give that too")
        if self.target is not None:
            if not self.report:
                raise InputError("--target is of --report: give that too")
            parse_target(self.target)
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers is {self.workers}: 1 or more")
        if self.engine == "ray" and self.workers is not None:
            raise InputError(
                "--workers is of the local engine: a Ray cluster has as many as its machines give"
            )
        if self.engine != "ray" and self.ray_address is not None:
            raise InputError("--ray-address is of --engine ray: give that too")
        if self.rerun is not None and self.engine == "ray":
            raise InputError("--rerun runs on this machine: leave --engine out")
