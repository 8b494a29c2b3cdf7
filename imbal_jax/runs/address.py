"""The address of a run: its workdir, its method and its seed, which name its folder."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imbal_jax.config import Config
from imbal_jax.errors import InputError
from imbal_jax.files import present
from imbal_jax.methods import Method
from imbal_jax.runs.claim import CLAIM, read_claim, read_methods
from imbal_jax.runs.outputs import RESULT

SEED_FOLDER = re.compile(r"seed(0|[1-9]\d*)")


@dataclass(frozen=True)
class RunAddress:
    """Which run: one training of ``method``, by its name, with ``seed``, in ``workdir``."""

    workdir: Path
    method: str
    seed: int

    @property
    def folder(self) -> Path:
        """WORKDIR/METHOD/seedN, which holds everything that the run writes."""
        return self.workdir / self.method / f"seed{self.seed}"

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end and tested."""
        return present(self.folder / RESULT)

    def config(self) -> Config:
        """The config of the workdir, with this run's seed."""
        return replace(read_claim(self.workdir), seed=self.seed)

    def definition(self) -> Method:
        """The method as defined at the time of training."""
        return read_methods(self.workdir)[self.method]


def run_title(config: Config, method: str) -> str:
    """The run's name in messages: its method, and its seed where ``config`` asks for several."""
    return f"{method}, seed {config.seed}" if len(config.seeds) > 1 else method


def addresses(workdir: Path, methods: Sequence[str]) -> Iterator[RunAddress]:
    """Every run of ``methods`` that was begun in ``workdir``: method by method, seeds ascending."""
    for method in methods:
        folder = workdir / method
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        seeds = [int(found[1]) for name in names if (found := SEED_FOLDER.fullmatch(name))]
        yield from (RunAddress(workdir, method, seed) for seed in sorted(seeds))


def find_runs(path: Path) -> list[RunAddress]:
    """The finished runs that ``path`` names, in the order of the config's methods, seeds ascending.

    path: WORKDIR, WORKDIR/METHOD, or WORKDIR/METHOD/seedN. Raises InputError where there is no such run, or none is
    finished.
    """
    path = Path(os.path.abspath(path))
    if present(path / CLAIM):
        names = [method.name for method in read_claim(path).methods]
        return _finished(addresses(path, names), path)
    if present(path.parent / CLAIM):
        _check_method(path.parent, path.name)
        return _finished(addresses(path.parent, [path.name]), path)
    workdir, seed = path.parent.parent, SEED_FOLDER.fullmatch(path.name)
    if seed and present(workdir / CLAIM):
        _check_method(workdir, path.parent.name)
        return _finished([RunAddress(workdir, path.parent.name, int(seed[1]))], path)
    raise InputError(
        f"no run in {path}: there is no {CLAIM}; train one first, or name a WORKDIR, a WORKDIR/METHOD or a "
        "WORKDIR/METHOD/seedN"
    )


def find_run(path: Path) -> RunAddress:
    """The one finished run that ``path`` names; InputError as ``find_runs``, and where there are several."""
    found = find_runs(path)
    if len(found) > 1:
        raise InputError(
            f"{path} holds several runs: name one of {', '.join(map(str, shortest_paths(found)))}"
        )
    return found[0]


def shortest_paths(found: Sequence[RunAddress]) -> list[Path]:
    """WORKDIR/METHOD of a run that is the only one of its method among these, else its folder."""
    methods = [(address.workdir, address.method) for address in found]
    alone = [methods.count(method) == 1 for method in methods]
    return [a.folder.parent if one else a.folder for a, one in zip(found, alone, strict=True)]


def _finished(begun: Iterator[RunAddress] | list[RunAddress], path: Path) -> list[RunAddress]:
    found = [address for address in begun if address.finished]
    if not found:
        raise InputError(f"no run in {path} is finished: train it to its end first")
    return found


def _check_method(workdir: Path, name: str) -> None:
    known = read_methods(workdir)  # a first stage may not be named in the config
    if name not in known:
        raise InputError(f"there is no method {name} in {workdir}: its config has {', '.join(known)}")
