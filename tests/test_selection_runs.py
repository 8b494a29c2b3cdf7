"""Every clause of ``--select`` in whole runs that are stopped and go on."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_runs import COMMAND, QUIET, StopHere, small, stopped_after, write_pictures, written

from imbal_jax import train
from imbal_jax.decisions.default_criterion import AT_THRESHOLDS
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS

EVALUATIONS = 5


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"))


def of(pictures: Path, select: str, **changes: object):
    base = small(pictures, select=select, methods=(METHODS["stratified"],))
    return replace(base, train=replace(base.train, evaluations=EVALUATIONS, **changes))


def history(folder: Path) -> list[dict]:
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["kind"] == "validation"]


def column(folder: Path, name: str) -> np.ndarray:
    return np.array([record[name] for record in history(folder)], np.float64)


def means(values: np.ndarray, count: int) -> np.ndarray:
    """The mean of each value and the ``count`` - 1 before it; NaN for the first ones."""
    full = np.convolve(values, np.full(count, 1 / count), mode="valid")
    return np.concatenate([np.full(count - 1, np.nan), full])


def earliest_best(values: np.ndarray) -> int:
    return int(np.flatnonzero(np.isclose(values, np.nanmax(values), rtol=0, atol=1e-12))[0])


def latest_within(values: np.ndarray, margin: float) -> int:
    return int(np.flatnonzero(values >= np.nanmax(values) - margin)[-1])


def plain(folder: Path) -> int:
    return earliest_best(0.5 * column(folder, "auroc") + column(folder, "f_score") - column(folder, "loss"))


def constrained(folder: Path) -> int:
    short = np.maximum(0, 0.9 - column(folder, "sensitivity/bright"))
    return earliest_best(np.where(short > 0, -1000 - short, column(folder, "specificity")))


def smoothed(folder: Path) -> int:
    return earliest_best(means(-column(folder, "loss"), 3))


def within(folder: Path) -> int:
    values, errors = -column(folder, "loss"), column(folder, "standard_error")
    return latest_within(values, 2 * errors[earliest_best(values)])


def bounded(folder: Path) -> int:
    return earliest_best(column(folder, "auroc/bright lower bound 95 %"))


def bound_constraint(folder: Path) -> int:
    short = np.maximum(0, 0.3 - column(folder, "sensitivity lower bound 80 %"))
    return earliest_best(np.where(short > 0, -1000 - short, column(folder, "specificity")))


def at_thresholds(folder: Path) -> int:
    points = " at operating points"
    values = column(folder, f"sensitivity{points}") + column(folder, f"f_score{points}")
    ties = np.flatnonzero(np.isclose(values, values.max(), rtol=0, atol=1e-12))
    return int(ties[np.argmax(column(folder, "average_precision")[ties])])


CLAUSES = {
    "auto": lambda folder: earliest_best(column(folder, "average_precision")),  # 2 patients
    AT_THRESHOLDS: at_thresholds,
    "0.5*auroc + f_score - loss": plain,
    "specificity where sensitivity/bright >= 0.9": constrained,
    "-loss smoothed 3": smoothed,
    "-loss within 2 standard errors": within,
    "auroc/bright lower bound 95 %": bounded,
    "specificity where sensitivity lower bound 80 % >= 0.3": bound_constraint,
    "step": lambda folder: EVALUATIONS - 1,
}


def assert_chosen(folder: Path, choose) -> None:
    expected = history(folder)[choose(folder)]["step"]
    assert json.loads((folder / "result.json").read_text())["best_step"] == expected
    assert (folder / "checkpoints" / str(expected)).is_dir()


@pytest.mark.parametrize("select", CLAUSES)
def test_every_clause_chooses_what_numpy_does_in_a_run_that_was_stopped(
    select: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = of(pictures, select)
    stopped_after(3, monkeypatch)
    with pytest.raises(StopHere):
        train.fit(config, tmp_path, console=QUIET)
    monkeypatch.undo()
    train.fit(config, tmp_path, console=QUIET)
    assert len(history(tmp_path / "stratified" / "seed0")) == EVALUATIONS
    assert_chosen(tmp_path / "stratified" / "seed0", CLAUSES[select])


def test_all_clauses_together_through_the_installed_command_killed_and_resumed(
    pictures: Path, tmp_path: Path
) -> None:
    select = "-loss where specificity lower bound 95 % >= 0.01 smoothed 2 within 1 standard error"
    config = written(of(pictures, select), tmp_path / "c.py")
    words = [str(COMMAND), "train", str(config), "--workdir", str(tmp_path / "w")]
    folder = tmp_path / "w" / "stratified" / "seed0"
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=os.environ)
    while first.poll() is None:
        if (folder / "metrics.jsonl").is_file() and (folder / "metrics.jsonl").read_text().count("best") >= 3:
            first.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    first.wait()
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr

    def choose(folder: Path) -> int:
        allowed = means(column(folder, "specificity lower bound 95 %"), 2) >= 0.01
        values = np.where(allowed, means(-column(folder, "loss"), 2), np.nan)
        return latest_within(values, means(column(folder, "standard_error"), 2)[earliest_best(values)])

    assert_chosen(folder, choose)


def test_a_run_that_stops_early_has_kept_what_it_chooses(pictures: Path, tmp_path: Path) -> None:
    config = of(pictures, "auroc smoothed 2", patience=2)
    config = replace(config, optim=replace(config.optim, learning_rate=1e-9))
    train.fit(config, tmp_path, console=QUIET)
    folder = tmp_path / "stratified" / "seed0"
    assert len(history(folder)) == 4  # the best is the first of a whole mean, the second evaluation
    assert_chosen(folder, lambda folder: earliest_best(means(column(folder, "auroc"), 2)))


def test_heads_in_closed_form_are_chosen_by_any_clause(pictures: Path, tmp_path: Path) -> None:
    select = "auroc where sensitivity lower bound 60 % >= 0.1 smoothed 2 within 1 standard error"
    config = replace(of(pictures, select), methods=(METHODS["tau_norm"], METHODS["nearest_mean"]))
    config = replace(config, train=replace(config.train, epochs=1, evaluations=2))
    for result in train.fit(config, tmp_path, console=QUIET):
        assert np.isfinite(result.scores).all()


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ("sensitivity/mass lower bound 95 %", "unknown class in 'sensitivity/mass lower bound 95 %'"),
        ("specificty within 1 standard error", "unknown metric 'specificty'"),
        ("auroc where sensitivty lower bound 95 % >= 0.5", "there is one of sensitivity, specificity, auroc"),
        ("auroc/bright lower bound 95 % within 1 standard error", "allows for chance twice"),
        ("standard_error", "unknown metric 'standard_error'"),
    ],
)
def test_a_clause_that_cannot_be_is_refused_before_training(
    select: str, said: str, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        train.fit(of(pictures, select), tmp_path, console=QUIET)
    assert said in str(caught.value)
    assert not (tmp_path / "stratified").exists()
