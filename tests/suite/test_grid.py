"""What of a suite is done: lines that count, old definitions, stages that wait for others, shards."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imbal_jax.config import Config, Data, Optim
from imbal_jax.errors import InputError
from imbal_jax.suite import Cell, Line, Stage, Suite, SuiteAddress, grid, pending
from imbal_jax.suite.line import completed
from imbal_jax.suite.notes import check_suite, notes
from imbal_jax.suite.shard import Shard, parse_shard

CELL = Cell(name="p", set="phantoms", data=Data(), ratio=10, positives=None)


def best(lines: Sequence[Line], stage: Stage) -> Stage:
    """The method with the highest metric."""
    assert all(line["stage"] == "screen" for line in lines)
    winner = max(lines, key=lambda line: line["metrics"]["auroc"])["method"]
    return replace(stage, methods=("ce", winner))


def suite(base: Config | None = None, choose: Any = best) -> Suite:
    screen = Stage(name="screen", cells=(CELL,), methods=("ce", "focal", "ldam"))
    final = Stage(name="final", cells=(CELL,), methods=(), draws=(1, 2), seeds=(1, 2), choose=choose)
    return Suite(name="s", title="S", base=base or Config(name="s"), stages=(screen, final))


def done(one: Suite, address: SuiteAddress, **more: Any) -> dict[str, Any]:
    return completed(one, address, {"outcome": "done", "metrics": {"auroc": 0.5}, **more}, "abc")


def screened(one: Suite) -> list[dict[str, Any]]:
    scores = {"ce": 0.5, "focal": 0.7, "ldam": 0.6}
    return [
        done(one, address, metrics={"auroc": scores[address.method]})
        for address in one.stage("screen").addresses()
    ]


def test_a_stage_is_chosen_from_the_lines_when_the_stages_before_it_are_done() -> None:
    one = suite()
    lines = screened(one)
    assert [address.method for address in pending(one, lines[:2])] == ["ldam"]
    assert grid(one, lines[:2]).waiting == ("final",)
    state = grid(one, lines)
    assert [a.key for a in state.pending] == [
        f"final/p/{draw}/{method}/default/{draw}" for draw in (1, 2) for method in ("ce", "focal")
    ]
    assert state.waiting == ()
    assert pickle.loads(pickle.dumps(state.suite)) == state.suite, "worker processes have it"
    final = [done(state.suite, address) for address in state.pending]
    assert pending(one, lines + final) == []


def test_a_line_of_another_definition_does_not_count_and_is_said() -> None:
    one = suite()
    lines = screened(one)
    now = suite(Config(name="s", optim=Optim(learning_rate=0.5)))
    state = grid(now, lines)
    assert len(state.pending) == 3
    assert len(state.changed) == 3
    assert state.lines == {}
    (said,) = notes(Path("out/ledger.jsonl"), state)
    key = "screen/p/0/ce/default/0"
    assert said.startswith("out/ledger.jsonl: 3 lines of another definition")
    assert f"(as {key}: {lines[0]['definition']} then, {state.definitions[key]} now)" in said
    assert "restore the suite as it was" in said
    renewed = grid(now, lines + screened(now))
    assert len(renewed.lines) == 3
    assert len(renewed.changed) == 3, "the old lines are there beside the new"


def test_lines_of_a_method_that_is_not_known_any_more_are_kept_and_said() -> None:
    one = suite()
    old = {**screened(one)[0], "method": "older", "key": "screen/p/0/older/default/0"}
    state = grid(one, [old, *screened(one)])
    assert state.foreign == (old,)
    (said,) = notes(Path("ledger.jsonl"), state)
    assert "1 line of runs that suite s does not have (as screen/p/0/older/default/0" in said
    assert "of methods that this version does not know: older" in said


def test_of_two_lines_of_a_run_the_first_that_did_not_fail_counts() -> None:
    one = suite()
    first, *rest = screened(one)
    failed = {**first, "outcome": "failed", "reason": "memory"}
    again = {**first, "metrics": {"auroc": 0.9}}
    assert grid(one, [failed]).lines[first["key"]] == failed
    assert grid(one, [failed, first, again]).lines[first["key"]] == first
    assert len(grid(one, [failed, first, again, *rest]).lines) == 3


def test_a_choice_that_fails_is_one_line() -> None:
    def wrong(lines: Sequence[Line], stage: Stage) -> Stage:
        return replace(stage, methods=(lines[5]["method"],))

    lines = screened(suite())
    with pytest.raises(InputError, match="choose of stage final raised IndexError"):
        grid(suite(choose=wrong), lines)
    with pytest.raises(
        InputError, match=r"choose of stage final returned 3: return a Stage of the same name"
    ):
        grid(suite(choose=lambda lines, stage: 3), lines)


def test_a_ledger_of_another_suite_is_refused() -> None:
    check_suite(Path("l"), [], "s")
    check_suite(Path("l"), [{"suite": "t"}, {"suite": "s"}], "s")
    with pytest.raises(InputError, match="l is the ledger of suite t: choose another --out for s"):
        check_suite(Path("l"), [{"suite": "t"}], "s")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_shards_are_disjoint_and_complete_and_do_not_depend_on_what_is_done(count: int) -> None:
    stage = Stage(
        name="a", cells=(CELL,), methods=("ce", "focal", "ldam"), draws=tuple(range(7)), seeds=tuple(range(7))
    )
    one = Suite(name="s", title="S", base=Config(name="s"), stages=(stage, replace(stage, name="b")))
    parts = [[a.key for a in Shard(number, count).of(one)] for number in range(1, count + 1)]
    together = [key for part in parts for key in part]
    assert len(together) == len(set(together)) == 42
    assert set(together) == {a.key for each in one.stages for a in each.addresses()}
    assert max(map(len, parts)) - min(map(len, parts)) <= 2, "one a stage at most"


def test_a_shard_is_written_from_1_to_n() -> None:
    assert parse_shard("3/16") == Shard(3, 16)
    assert parse_shard(None) == Shard(1, 1)
    for text in ("0/4", "5/4", "1", "a/b", "-1/4", "1/0"):
        with pytest.raises(InputError, match=r"--shard is .*: give I/N, from 1/N to N/N, as 3/16"):
            parse_shard(text)
