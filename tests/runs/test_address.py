"""Runs are found by WORKDIR, WORKDIR/METHOD and WORKDIR/METHOD/seedN."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import small

from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS
from imbal_jax.runs.address import RunAddress, find_run, find_runs, shortest_paths
from imbal_jax.runs.claim import claim


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """ce of seeds 2 and 10 is finished, crt of seed 2, and ce of seed 3 was begun."""
    config = replace(small(Path("in"), methods=(METHODS["ce"], METHODS["crt"])), seeds=(2, 10, 3))
    claim(tmp_path, config)
    for run in ("ce/seed10", "ce/seed2", "ce/seed3", "crt/seed2", "ce/seed02", "ce/notes"):
        (tmp_path / run).mkdir(parents=True)
        if run != "ce/seed3":
            (tmp_path / run / "result.json").write_text("{}")
    return tmp_path


def test_every_way_to_name_runs(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ce2, ce10, crt2 = (RunAddress(workdir, *run) for run in (("ce", 2), ("ce", 10), ("crt", 2)))
    assert find_runs(workdir) == [ce2, ce10, crt2]
    assert find_runs(workdir / "ce") == [ce2, ce10]
    assert find_runs(workdir / "ce" / "seed10") == [ce10]
    assert find_run(workdir / "crt") == crt2
    assert (ce10.config().seed, crt2.definition()) == (10, METHODS["crt"])
    monkeypatch.chdir(workdir / "ce")
    assert find_runs(Path()) == [ce2, ce10]
    assert find_runs(Path("seed2")) == [ce2]
    assert shortest_paths([ce2, ce10, crt2]) == [ce2.folder, ce10.folder, workdir / "crt"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ce/seed3", "no run in .*seed3 is finished"),
        ("ce/seed7", "no run in .*seed7 is finished"),
        ("focal", "there is no method focal in .*: its config has ce, crt"),
        ("focal/seed2", "there is no method focal"),
        ("ce/notes", r"there is no config\.json"),
        ("..", r"there is no config\.json"),
    ],
)
def test_what_is_no_finished_run_is_named(workdir: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_runs(workdir / name)


def test_one_run_is_asked_for_where_there_are_several(workdir: Path) -> None:
    with pytest.raises(InputError, match=r"holds several runs: name one of .*ce/seed2, .*ce/seed10$"):
        find_run(workdir / "ce")
