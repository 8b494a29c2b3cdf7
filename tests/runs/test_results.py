"""results.json, the numbers of train and evaluate for programs; and that both give the same ones."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from small_runs import BRIEF, COMMAND, QUIET, TWICE, small, write_pictures, written

from imbal_jax import cli, train
from imbal_jax.data.load import load
from imbal_jax.methods import METHODS, find_method
from imbal_jax.runs.address import find_runs
from imbal_jax.runs.claim import read_claim
from imbal_jax.runs.external import validate
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.rescore import rescore


def command(*words: object) -> str:
    """What the installed command prints."""
    done = subprocess.run(
        [COMMAND, *map(str, words)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def runs(folder: Path) -> dict[str, dict]:
    return {run["method"]: run for run in json.loads((folder / "results.json").read_text())["runs"]}


def flat(value, name: str = "") -> dict[str, object]:
    """Every number and text of a run by its place."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, inner in pairs for k, v in flat(inner, f"{name}/{key}").items()}
    return {name: value}


def assert_same(one: dict, other: dict) -> None:
    """To 1e-6, the contract between train and evaluate."""
    first, second = flat(one), flat(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, float) and second[name] is not None:
            assert abs(value - second[name]) <= 1e-6, (name, value, second[name])
        else:
            assert value == second[name], name


CORRECTIONS = (
    "post_hoc_logit_adjusted,correction_tau=0.5",
    "threshold_moving",
    "stratified_corrected",
    "saerens_em",
)


def test_evaluate_gives_the_numbers_of_train_for_every_correction(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    base = small(pictures)
    config = replace(
        base,
        methods=tuple(map(find_method, CORRECTIONS)),
        select="step",
        train=replace(base.train, epochs=TWICE, evaluations=1, mirror_scores=True),
    )
    work = tmp_path / "work"
    command("train", written(config, tmp_path / "c.py"), "--workdir", work)
    trained = runs(work)
    assert set(trained) == {method.name for method in config.methods}
    (step,) = {run["step"] for run in trained.values()}
    ways = {
        "split": ["--split", "test"],
        "elsewhere": ["--data.dir", pictures, "--split", "test"],
        "step": ["--step", step],
    }
    for way, words in ways.items():
        assert cli.main(["evaluate", *map(str, (work, *words, "--out", tmp_path / way))]) == 0
        found = runs(tmp_path / way)
        for name, run in trained.items():
            assert_same(run, found[name])
    # the corrections do something here, or the test would be empty
    for name in CORRECTIONS:
        scored = RunOutputs.read(work / name / "seed0")
        assert np.abs(scored.scores - scored.outputs).max() > 0.01, name


def test_the_numbers_are_those_of_the_stored_scores_by_an_independent_formula(finished_runs: Path) -> None:
    values = json.loads((finished_runs / "results.json").read_text())
    assert set(values) == {"runs"}
    assert [run["method"] for run in values["runs"]] == ["ce", "crt"]
    for run in values["runs"]:
        assert set(run) == {"method", "seed", "step", "split", "rows", "operating_points"}
        scored = RunOutputs.read(finished_runs / run["method"] / "seed0")
        assert (run["seed"], run["step"], run["split"]) == (0, scored.best_step, "test")
        assert set(run["rows"]) == {"normal", "bright", "macro"}
        bright, called = scored.labels == 1, scored.scores.argmax(axis=1) == 1
        row = run["rows"]["bright"]
        assert row["auroc"] == pytest.approx(roc_auc_score(bright, scored.scores[:, 1]))
        assert row["sensitivity"] == pytest.approx(called[bright].mean())
        assert row["specificity"] == pytest.approx((~called[~bright]).mean())
        deployment = json.loads((finished_runs / run["method"] / "seed0" / "deployment.json").read_text())
        point = run["operating_points"]["bright"]
        assert set(run["operating_points"]) == {"bright"}
        assert point["threshold"] == deployment["points"][1]["threshold"]
        assert set(point["intervals"]) == {"sensitivity", "specificity", "ppv"}
        low, high = point["intervals"]["sensitivity"]
        assert low <= point["sensitivity"] <= high


def test_what_is_undefined_is_null(tmp_path: Path) -> None:
    """No bright image elsewhere: its sensitivity and AUROC do not exist."""
    workdir = tmp_path / "work"
    config = small(write_pictures(tmp_path / "here"), methods=(METHODS["ce"],))
    config = replace(config, train=replace(config.train, epochs=BRIEF, evaluations=1))
    train.fit(config, workdir, console=QUIET)
    elsewhere = write_pictures(tmp_path / "elsewhere", patients=13)
    table = elsewhere / "labels.csv"
    lines = [line for line in table.read_text().split() if not line.endswith(",bright")]
    table.write_text("\n".join(lines) + "\n")
    for name in [path.name for path in elsewhere.glob("*.png") if path.name not in table.read_text()]:
        (elsewhere / name).unlink()
    config = replace(config, data=replace(config.data, dir=elsewhere))
    validate(config, find_runs(workdir / "ce"), tmp_path / "out", console=QUIET)
    text = (tmp_path / "out" / "results.json").read_text()
    assert "NaN" not in text
    (run,) = json.loads(text)["runs"]
    assert run["split"] == "all"
    assert run["rows"]["bright"]["sensitivity"] is None
    assert run["rows"]["bright"]["auroc"] is None
    assert run["operating_points"]["bright"]["sensitivity"] is None
    assert run["operating_points"]["bright"]["intervals"]["sensitivity"] == [None, None]


def test_other_priors_of_the_place_of_use_move_the_correction_wherever_it_is_evaluated(
    tmp_path: Path,
) -> None:
    pictures, work = write_pictures(tmp_path / "pictures"), tmp_path / "work"
    config = small(pictures, methods=(METHODS["stratified_corrected"], METHODS["ce"]))
    config = replace(config, train=replace(config.train, epochs=BRIEF, evaluations=1))
    train.fit(config, work, console=QUIET)
    shutil.copytree(work, tmp_path / "copy")
    for where in (work, tmp_path / "copy"):
        given = read_claim(where)
        given = replace(given, data=replace(given.data, deployment_priors=(0.5, 0.5)))
        if where == work:
            validate(
                given, find_runs(work / "stratified_corrected"), tmp_path / "out", part="test", refit=True
            )
        else:
            rescore(given, where, QUIET, find_runs(where / "ce"))  # the other is not scored again
    one, other = (runs(p)["stratified_corrected"] for p in (tmp_path / "out", tmp_path / "copy"))
    assert_same(one, other)
    before = runs(work)["stratified_corrected"]
    assert one["rows"]["bright"]["sensitivity"] >= before["rows"]["bright"]["sensitivity"]
    scored = RunOutputs.read(work / "stratified_corrected" / "seed0")
    # balanced batches, corrected to equal priors: nothing is left of the correction
    np.testing.assert_allclose(scored.training_priors, 0.5)


def test_a_second_stage_on_a_cosine_head_predicts_with_the_scale_that_it_was_trained_with(
    tmp_path: Path,
) -> None:
    method = find_method("ldam,scale=10,second_stage=retrain,second_epochs=1,second_steps=1")
    base = small(write_pictures(tmp_path / "pictures"), methods=(method,))
    config = replace(base, train=replace(base.train, epochs=1, evaluations=1))
    result = train.fit(config, tmp_path / "work", console=QUIET)[0]
    folder = tmp_path / "work" / method.name
    validate(read_claim(tmp_path / "work"), find_runs(folder), tmp_path / "out", part="test", console=QUIET)
    assert_same(runs(tmp_path / "work")[method.name], runs(tmp_path / "out")[method.name])
    images = load(config, tmp_path / "work", lambda line: None).test.images
    np.testing.assert_allclose(result.predict(images), result.scores, atol=1e-5)


def test_a_head_with_a_correction_is_evaluated_as_it_was_trained(tmp_path: Path) -> None:
    method = find_method("lws,second_epochs=1,second_steps=1,correction=prior")
    base = small(write_pictures(tmp_path / "pictures"), methods=(method,))
    config = replace(base, train=replace(base.train, epochs=BRIEF, evaluations=1))
    train.fit(config, tmp_path / "work", console=QUIET)
    folder = tmp_path / "work" / method.name
    validate(read_claim(tmp_path / "work"), find_runs(folder), tmp_path / "out", part="test", console=QUIET)
    assert_same(runs(tmp_path / "work")[method.name], runs(tmp_path / "out")[method.name])
    scored = RunOutputs.read(folder / "seed0")
    assert np.abs(scored.scores - scored.outputs).max() > 0.01
