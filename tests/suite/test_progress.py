"""Progress over a grid, on a terminal and in a log file."""

import re
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from imbal_jax.suite import SuiteAddress, progress
from imbal_jax.suite.progress import GridProgress

ADDRESS = SuiteAddress("screen", "p", 0, "ce", "default", 0)


def shown(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def line(outcome: str, **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "total_seconds": 20.0, **more}


def test_a_log_file_has_a_line_for_each_run_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    console = Console(file=StringIO(), width=200)
    before = [line("done"), line("diverged")]
    with GridProgress(console, before, total=12, left=10, workers=2, primary="auroc") as bar:
        for outcome, reason in (("done", ""), ("failed", "no memory")):
            now[0] += 30.0
            bar.took(ADDRESS, line(outcome, reason=reason, metrics={"auroc": 0.8123}))
        bar.elsewhere(line("done"), ours=False)
        bar.elsewhere(line("done"), ours=True)
    assert shown(console).splitlines() == [
        "2/12 runs: 1 done, 1 diverged, 0 failed, 10 left, 1:40 to go",  # 10 runs x 20 s / 2 workers
        "3/12  screen/p/0/ce/default/0: done in 0:20, auroc 0.812, 3:00 left",  # 30 s / 1.5 runs x 9
        "4/12  screen/p/0/ce/default/0: failed in 0:20, auroc 0.812: no memory, 3:12 left",  # 60 s / 2.5 x 8
    ]
    # two runs were done by another command, one of which was to be done by this: 60 s / 2.5 x 7
    assert bar.status() == "4 done, 1 diverged, 1 failed, 6 left, 2:48 to go"


def test_no_time_is_claimed_before_a_run_is_known() -> None:
    console = Console(file=StringIO(), width=200)
    with GridProgress(console, [], total=3, left=3, workers=1, primary="auroc"):
        pass
    assert shown(console) == "0/3 runs: 0 done, 0 diverged, 0 failed, 3 left\n"


def test_a_terminal_has_a_bar_and_the_failures() -> None:
    console = Console(file=StringIO(), width=160, force_terminal=True)
    with GridProgress(console, [line("done")], total=3, left=2, workers=1, primary="auroc") as bar:
        bar.took(ADDRESS, line("done", metrics={"auroc": None}))
        bar.took(ADDRESS, line("failed", reason="[red]no[/red] memory"))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown(console))
    assert "screen/p/0/ce/default/0: failed in 0:20: [red]no[/red] memory" in text
    assert "3/3 2 done, 0 diverged, 1 failed, 0 left" in text
    assert "done in" not in text
