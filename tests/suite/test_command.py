"""imbal-jax benchmark: what it lists, repeats, reports and says of wrong input."""

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from suite_files import write_suite

from imbal_jax.cli import main
from imbal_jax.errors import InputError, Stopped
from imbal_jax.suite import grid, load_suite
from imbal_jax.suite import rerun as reruns
from imbal_jax.suite.command import benchmark, conclusion
from imbal_jax.suite.definition import SuiteAddress
from imbal_jax.suite.engines.job import Job
from imbal_jax.suite.ledger import append_line, read_ledger
from imbal_jax.suite.line import completed
from imbal_jax.suite.options import BenchmarkOptions
from imbal_jax.suite.rerun import agreement

KEY = "screen/phantom-10/0/ce/default/0"


def done(address: SuiteAddress, **more: Any) -> dict[str, Any]:
    return {"outcome": "done", "total_seconds": 26.1, "metrics": {"balanced_accuracy": 0.81}, **more}


def fill(suite: Path, out: Path, count: int, line: Callable[..., dict[str, Any]] = done) -> None:
    one = load_suite(suite)
    for address in grid(one, []).pending[:count]:
        append_line(out, completed(one, address, line(address), "abc"))


def run(suite: Path, out: Path, **options: Any) -> str:
    console = Console(file=StringIO(), width=250)
    benchmark(BenchmarkOptions(suite=str(suite), out=out, **options), run="suite_runs:quick", console=console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_list_shows_every_run_of_the_shard_with_its_outcome(tmp_path: Path) -> None:
    suite, out = write_suite(tmp_path), tmp_path / "out"
    fill(suite, out, 3)
    lines = run(suite, out, list=True).splitlines()
    assert len(lines) == 8
    assert lines[0] == f"{KEY}: done in 0:26, balanced_accuracy 0.810"
    assert [line.partition(": ")[2] for line in lines[3:]] == ["left"] * 5
    part = run(suite, out, list=True, shard="2/4").splitlines()
    assert [line.partition(":")[0] for line in part] == [lines[i].partition(":")[0] for i in (1, 5)]
    assert not (tmp_path / "out" / "logs").exists(), "nothing was run"


def test_the_report_is_on_the_lines_that_count(tmp_path: Path) -> None:
    suite, out = write_suite(tmp_path), tmp_path / "out"
    with pytest.raises(InputError, match="has no run to report on"):
        run(suite, out, report=True)
    fill(suite, out, 4)
    append_line(
        out, {**read_ledger(out).lines[0], "definition": "0" * 16, "metrics": {"balanced_accuracy": 0.1}}
    )
    said = run(suite, out, report=True)
    assert "1 line of another definition" in said
    assert f"report: {out / 'report.html'} and {out / 'report.md'}" in said
    page = (out / "report.md").read_text()
    assert page.startswith("# Two ratios of phantoms\n")
    assert "4 of 4 runs ended with numbers" in page
    assert "4 runs of the suite are not in the ledger yet" in page
    assert "0.810" in page
    assert "0.100" not in page
    assert str(tmp_path) not in page + (out / "report.html").read_text(), "a page names no machine's folders"


def test_one_figure_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    suite, out = write_suite(tmp_path), tmp_path / "out"
    fill(suite, out, 4)
    assert run(suite, out, report=True, figure="ratio") == f"figure: {out / 'figures' / 'ratio.svg'}\n"
    assert not (out / "report.md").exists()
    with pytest.raises(InputError, match="the figures are ratio, target"):
        run(suite, out, report=True, figure="pie")
    with pytest.raises(InputError, match="--figure is of --report"):
        run(suite, out, figure="ratio")


def test_the_report_may_have_another_target(tmp_path: Path) -> None:
    suite, out = write_suite(tmp_path), tmp_path / "out"
    curve = {"step": [10, 20], "seconds": [1.0, 2.0], "auroc": [0.5, 0.7]}
    fill(suite, out, 8, lambda address: done(address, curve=curve, to_target=None))
    run(suite, out, report=True, target="auroc >= 0.6")
    page = (out / "report.md").read_text()
    assert "Target on validation images: auroc \\>= 0.6" in page
    assert "--target 'auroc >= 0.6' --report --figure target" in page
    with pytest.raises(InputError, match="the curves have step, seconds, auroc"):
        run(suite, out, report=True, target="dice >= 0.6")
    with pytest.raises(InputError, match="write METRIC >= NUMBER"):
        run(suite, out, report=True, target="soon")
    with pytest.raises(InputError, match="--target is of --report"):
        run(suite, out, target="auroc >= 0.6")


def test_what_is_left_says_which_command_comes_next(tmp_path: Path) -> None:
    from imbal_jax.suite.command import Benchmark
    from imbal_jax.suite.shard import Shard

    suite, out = write_suite(tmp_path), tmp_path / "out"
    options = BenchmarkOptions(suite=str(suite), out=out)
    one = load_suite(suite)

    def said(shard: Shard) -> list[str]:
        state = grid(one, read_ledger(out).lines)
        return conclusion(Benchmark(options, one, out, shard, Console(), "x:y"), state)

    fill(suite, out, 8, lambda address: {"outcome": "failed", "reason": "no memory"})
    lines = said(Shard())
    assert lines[0] == "8 of 8 runs: 0 done, 0 diverged, 8 failed"
    assert lines[1] == f"failed: {KEY}: no memory"
    assert (
        lines[6] == f"and 3 more failed; imbal-jax benchmark {suite} --out {out} --rerun KEY tries one again"
    )
    assert lines[7] == f"imbal-jax benchmark {suite} --out {out} --report writes the report"


def repeated(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, Any], now: dict[str, Any], tmp_path: Path
) -> tuple[str, Path]:
    """What --rerun says where a run gave ``before`` and gives ``now``."""
    suite, out = write_suite(tmp_path), tmp_path / "out"
    fill(suite, out, 1, lambda _: before)

    def local(job: Job, addresses: list[SuiteAddress], taken: Any, *, workers: int) -> None:
        assert job.out == out / "rerun"
        taken(addresses[0], now)

    monkeypatch.setattr(reruns, "run_local", local)
    return run(suite, out, rerun=KEY), out


PLACE = {"versions": {"jax": "0.10"}, "hardware": "a processor"}


def result(value: float, **more: Any) -> dict[str, Any]:
    return {
        "outcome": "done",
        "metrics": {"auroc": value},
        "seconds": value,
        "curve": {"recall/a": [value]},
        **more,
    }


def test_a_repeated_run_agrees_within_a_millionth_on_the_same_versions_and_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, _ = repeated(monkeypatch, result(0.8, **PLACE), result(0.8 + 5e-7, **PLACE), tmp_path)
    assert f"{KEY} agrees: " in said
    assert "largest difference 5e-07 (tolerance 1e-06, the same versions and processor" in said
    with pytest.raises(
        Stopped,
        match=r"does not agree \(tolerance 1e-06.*metrics.auroc is 0.8 in the ledger and 0.800002 now",
    ):
        repeated(monkeypatch, result(0.8, **PLACE), result(0.800002, **PLACE), tmp_path / "second")


def test_on_other_versions_the_test_metrics_agree_within_a_stated_tolerance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**PLACE, "versions": {"jax": "0.12"}}
    said, _ = repeated(monkeypatch, result(0.8, **PLACE), result(0.84, **other), tmp_path)
    assert "agrees" in said
    assert "tolerance 0.05, other versions, another processor or number of cores" in said
    with pytest.raises(Stopped, match=r"does not agree \(tolerance 0.05, other versions"):
        repeated(monkeypatch, result(0.8, **PLACE), result(0.86, **other), tmp_path / "second")


def test_another_number_of_cores_is_another_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = {**PLACE, "cores": 1}, {**PLACE, "cores": 2}
    said, _ = repeated(monkeypatch, result(0.8, **one), result(0.81, **two), tmp_path)
    assert "agrees" in said
    with pytest.raises(Stopped, match=r"does not agree .* does not say on how many cores"):
        repeated(monkeypatch, result(0.8, **PLACE), result(0.81, **two), tmp_path / "second")


def test_a_failed_run_that_is_repeated_gets_the_line_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"outcome": "failed", "reason": "no memory"}
    said, out = repeated(monkeypatch, before, result(0.7), tmp_path)
    assert f"{KEY}: failed before (no memory), done now" in said
    lines = read_ledger(out).lines
    assert [line["outcome"] for line in lines] == ["failed", "done"]
    assert grid(load_suite(tmp_path / "small.py"), lines).lines[KEY]["outcome"] == "done"


def test_a_run_that_cannot_be_repeated_is_one_line(tmp_path: Path) -> None:
    suite, out = write_suite(tmp_path), tmp_path / "out"
    fill(suite, out, 1)
    with pytest.raises(InputError, match=rf"the ledger has no run {KEY[:-1]}1: did you mean {KEY}\? --list"):
        run(suite, out, rerun=KEY[:-1] + "1")
    write_suite(tmp_path, more="settings=(Setting(name='default', overrides=('--optim.clip-norm', '2')),)")
    with pytest.raises(InputError, match=r"was run with another definition \(\w{16} then, \w{16} now\)"):
        run(suite, out, rerun=KEY)
    write_suite(tmp_path, methods=("focal",))
    with pytest.raises(InputError, match=f"suite small does not have the run {KEY} now"):
        run(suite, out, rerun=KEY)


def test_agreement_compares_every_value_but_times_and_places() -> None:
    before = {"a": {"b": [1.0, 2.0, None], "seconds": 3.0}, "time": "x", "outcome": "done", "n": 5}
    same = json.loads(json.dumps(before | {"time": "y"}))
    assert agreement(before, same) == reruns.Agreement(5, 0.0, ())
    assert agreement(before, same | {"n": 6}).differing == ("n is 5 in the ledger and 6 now",)
    assert agreement(before, {**same, "a": {"b": [1.0, 2.0, 3.0]}}).differing == (
        "a.b.2 is missing in the ledger and 3 now",
    )
    assert agreement(before, {**same, "a": {"b": [1.0, 2.0]}}, 0.1).differing == ()
    assert agreement({"x": 1e6}, {"x": 1e6 + 0.9}).differing == (), "relative above 1"
    assert agreement({"x": True}, {"x": 1.5}).differing != ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "benchmark needs SUITE"),
        (["nothing"], "unknown suite 'nothing'"),
        (["{suite}", "--shard", "5/4"], "--shard is '5/4'"),
        (["{suite}", "--workers", "0"], "--workers is 0: 1 or more"),
        (["{suite}", "--stage", "scren"], "unknown stage of suite small: 'scren': did you mean screen?"),
        (["{suite}", "--list", "--report"], "--list and --report exclude each other"),
        (["{suite}", "--ray-address", "auto"], "--ray-address is of --engine ray"),
        (["{suite}", "--engine", "ray", "--workers", "2"], "--workers is of the local engine"),
        (["{suite}", "--engine", "slurm"], "--engine"),
        (["{suite}", "--rerun", "a/b"], "'a/b' is no key of a run"),
        (["{suite}", "--gpus", "2"], "benchmark does not know --gpus"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write_suite(tmp_path)
    given = [word.format(suite=suite) for word in words]
    assert main(["benchmark", *given, *(["--out", str(tmp_path / "out")] if given else [])]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("imbal-jax: ")
    assert said in shown
    assert shown.count("\n") == 1


def test_ray_that_is_not_installed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--engine ray needs Ray: pip install 'imbal-jax\[ray\]'"):
        run(write_suite(tmp_path), tmp_path / "out", engine="ray")
