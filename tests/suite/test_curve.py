"""Whole small runs that are watched: what the curve of a run holds, and what follows from it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_curve
from small_runs import QUIET, StopHere, small, stopped_after, write_pictures

from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.suite.curve import Curve, columns_of, parse_target, to_target, unlearned
from imbal_jax.suite.measure import line_of
from imbal_jax.train import fit


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def validation(folder: Path) -> list[dict]:
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == "validation"]


def close(one: list, other: list) -> None:
    np.testing.assert_allclose(np.array(one, float), np.array(other, float), rtol=1e-4)


def test_a_watched_run_of_two_stages_that_was_killed_has_the_whole_curve_and_no_report(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(pictures, methods=(METHODS["tau_norm"],))
    curve, seen = Curve(tmp_path / "curve.jsonl"), []

    def watch(watched) -> None:
        seen.append((watched.method.name, watched.is_second, watched.step, watched.outputs, watched.kept))
        held = watched.splits.validation
        bright = held.classes.index("bright")
        fpr, tpr, _ = roc_curve(held.labels == bright, watched.kept[:, bright], drop_intermediate=False)
        best.append(tpr[fpr <= 0.1 + 1e-12].max())
        curve(watched)
        last[:] = [watched.config, watched.splits]

    last: list = []
    best: list[float] = []
    stopped_after(2, monkeypatch)
    with pytest.raises(StopHere):
        fit(config, tmp_path, console=QUIET, watch=watch)
    monkeypatch.undo()
    found = fit(config, tmp_path, console=QUIET, watch=watch, report=False)
    assert not (tmp_path / "report.html").exists()
    assert "report" not in found._repr_html_()

    own, first = tmp_path / "tau_norm" / "seed0", tmp_path / "ce" / "seed0"
    before, after = validation(first), validation(own)
    columns = curve.columns("tau_norm")
    lengths = {len(values) for values in columns.values()}
    assert lengths == {len(before) + len(after)} == {4}
    assert columns["stage"] == [1, 1, 1, 2]
    steps = [record["step"] for record in before]
    assert columns["step"] == steps + [steps[-1] + record["step"] for record in after]
    assert columns["stage_step"] == [record["step"] for record in before + after]
    assert columns["seconds"] == sorted(columns["seconds"])
    assert columns["seconds"][0] > 0
    for name in ("auroc", "average_precision", "loss", "balanced_accuracy"):
        close(columns[name], [record[name] for record in before + after])
    for name in ("bright", "normal"):
        close(columns[f"recall/{name}"], [record[f"sensitivity/{name}"] for record in before + after])
        assert all(np.isfinite(value) for value in columns[f"loss/{name}"])
    close(columns["sensitivity_at_90"], best)
    assert all(-1 <= value <= 1 for name in ("gradient_cosine", "head_cosine") for value in columns[name])
    assert {(name, second) for name, second, *_ in seen} == {("ce", False), ("tau_norm", True)}
    assert len(curve.columns("ce")["step"]) == 3

    # The line of the ledger says what the report would
    scored = RunOutputs.read(own)
    assert scored is not None
    line = line_of(*last, scored, columns, cell="pictures", draw=0)
    for name in ("balanced_accuracy", "sensitivity", "auroc", "average_precision"):
        assert line["metrics"][name] == pytest.approx(found[0].shown["macro"][name])
    assert line["raw"]["balanced_accuracy"] == pytest.approx(found[0].table["macro"]["balanced_accuracy"])
    assert (line["steps"], line["best_step"]) == (columns["step"][-1], steps[-1])
    assert json.loads(json.dumps(line, allow_nan=False)) == line


def test_an_evaluation_is_watched_before_its_checkpoint_and_its_time_is_not_the_runs(
    pictures: Path, tmp_path: Path
) -> None:
    import time

    config = small(pictures, methods=(METHODS["threshold_moving"],))
    config = replace(config, train=replace(config.train, evaluations=2))
    seconds, moved = [], []

    def slow(watched) -> None:
        saved = tmp_path / watched.method.name / "seed0" / "checkpoints" / str(watched.step)
        assert not saved.exists()
        held = watched.splits.validation
        np.testing.assert_allclose(watched.score(held), watched.outputs)
        moved.append(float(np.abs(watched.kept - watched.outputs).max()))
        seconds.append(watched.seconds)
        time.sleep(30 * (len(seconds) == 1) / 10)

    found = fit(config, tmp_path, console=QUIET, watch=slow, report=False)
    slept = 3.0
    assert len(seconds) == 2
    assert max(moved) > 0  # the method corrects its outputs
    ended = found[0].seconds
    assert seconds[0] <= seconds[1] <= ended
    assert seconds[1] - seconds[0] < slept


# Columns


def record(method: str, stage: int, step: int, **values: float) -> dict:
    return {"method": method, "stage": stage, "stage_step": step, "stage_seconds": step / 10, **values}


RECORDS = [
    record("ce", 1, 20, auroc=0.6),
    record("ce", 1, 10, auroc=0.5),
    record("crt", 2, 10, auroc=0.7),
    record("ce", 1, 20, auroc=0.65),
    record("crt", 2, 20, auroc=0.6),
]


def test_steps_run_on_through_a_second_stage_and_the_last_record_of_a_step_counts() -> None:
    columns = columns_of(RECORDS, "crt")
    assert columns["step"] == [10, 20, 30, 40]
    assert columns["seconds"] == [1.0, 2.0, 3.0, 4.0]
    assert columns["auroc"] == [0.5, 0.65, 0.7, 0.6]
    assert columns_of(RECORDS, "ce")["auroc"] == [0.5, 0.65]
    assert columns_of([], "ce") == {"step": [], "seconds": []}


def test_the_run_that_compiles_is_not_slower_than_the_others() -> None:
    def record(step: int, seconds: float) -> dict[str, object]:
        return {"method": "ce", "stage": 1, "stage_step": step, "stage_seconds": seconds}

    compiles = columns_of([record(10, 31.0), record(20, 32.0), record(30, 33.0), record(35, 33.5)], "ce")
    shares = columns_of(
        [record(10, 1.0), record(20, 2.0), record(30, 9.0), record(40, 10.0)], "ce"
    )  # one pause
    assert compiles["seconds"] == pytest.approx([1.0, 2.0, 3.0, 3.5])
    assert shares["seconds"] == pytest.approx([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("target", "steps"),
    [("auroc >= 0.65", 20), ("auroc >= 0.7", 30), ("auroc >= 0.71", None), ("auroc <= 0.5", 10)],
)
def test_the_target_is_the_first_evaluation_that_reaches_it(target: str, steps: int | None) -> None:
    expected = None if steps is None else {"steps": steps, "seconds": steps / 10}
    assert to_target(columns_of(RECORDS, "crt"), target) == expected


def test_a_target_may_be_a_sensitivity_at_a_specificity() -> None:
    at_90 = parse_target("sensitivity >= 0.8 where specificity >= 0.9")
    assert (at_90.metric, at_90.bound) == ("sensitivity_at_90", 0.8)
    assert parse_target("sensitivity >= .5 where specificity >= 0.975").metric == "sensitivity_at_97.5"
    Curve(Path("unused"), target="sensitivity >= .5 where specificity >= 0.975")


@pytest.mark.parametrize(
    "target",
    ["", "auroc", "auroc > 0.5", "auroc >= much", "auroc >= 0.5 where specificity >= 0.9", "a >= 0.5"],
)
def test_a_target_that_cannot_be_reached_is_refused(target: str) -> None:
    with pytest.raises(InputError, match="target"):
        to_target(columns_of(RECORDS, "crt"), target)


def test_unlearned_is_the_best_less_the_last_in_the_sense_of_the_criterion() -> None:
    columns = {"auroc": [0.5, 0.8, 0.7], "loss": [0.9, 0.3, 0.4], "f_score": [0.1, 0.2, None]}
    assert unlearned(columns, parse_criterion("auroc + f_score")) == pytest.approx(0.1)
    assert unlearned(columns, parse_criterion("-loss")) == pytest.approx(0.1)
    assert unlearned(columns, parse_criterion("f_score")) is None
    assert unlearned({}, parse_criterion("auroc")) is None
    assert unlearned({"auroc": [0.5, 0.8]}, parse_criterion("auroc")) == 0
