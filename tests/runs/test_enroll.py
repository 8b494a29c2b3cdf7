"""Classes that are added to a finished run: its memory grows, nothing else changes."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import recall_score, roc_auc_score
from small_runs import BRIEF, COMMAND, QUIET, small, write_pictures

from imbal_jax import cli
from imbal_jax.data.load import load
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.methods import METHODS
from imbal_jax.runs.address import find_run
from imbal_jax.runs.claim import read_claim
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.restore import restore_deployed
from imbal_jax.train import fit
from imbal_jax.training.inference import feature_extractor
from imbal_jax.training.support import write_support


def write_dark(folder: Path, number: int, *, seed: int = 1) -> None:
    """Pictures of a class that the run does not know: dark where "bright" ones are bright."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for k in range(number):
        pixels = rng.integers(60, 120, (16, 16))
        pixels[4:9, 4:9] -= 60
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"patient{seed}{k}.png")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of both heads and of their first stage; the folders new (train and test) and plain (nothing held out)."""
    folder = tmp_path_factory.mktemp("enroll")
    write_dark(folder / "new" / "train" / "dark", 5)
    write_dark(folder / "new" / "test" / "dark", 6, seed=2)
    write_dark(folder / "plain" / "dark", 70, seed=3)
    memory = replace(METHODS["memory_head"], memory_size=40)
    config = small(write_pictures(folder / "pictures"), methods=(METHODS["prototype_head"], memory))
    fit(replace(config, train=replace(config.train, epochs=4 * BRIEF)), folder / "runs", console=QUIET)
    return folder / "runs"


def command(*words: object) -> subprocess.CompletedProcess[str]:
    """The installed command."""
    return subprocess.run(
        [COMMAND, *map(str, words)], capture_output=True, text=True, check=False, env=os.environ
    )


@pytest.fixture(scope="module")
def enrolled(workdir: Path) -> tuple[Path, str]:
    """The run of memory_head with the class dark, and what the command printed."""
    done = command("enroll", workdir / "memory_head", workdir.parent / "new")
    assert done.returncode == 0, done.stderr
    return workdir.with_name("runs-new"), done.stdout


def test_the_memory_grows_by_the_features_of_the_images_and_nothing_else_changes(
    workdir: Path, enrolled: tuple[Path, str]
) -> None:
    mesh = make_mesh(1)
    old, new = (restore_deployed(find_run(path / "memory_head"), mesh) for path in (workdir, enrolled[0]))
    assert new.deployment.classes == ("normal", "bright", "dark")
    before, after = old.variables["memory"], new.variables["memory"]
    assert after["filled"].tolist() == [*before["filled"].tolist(), 5]
    np.testing.assert_array_equal(after["keys"][:2], before["keys"])
    assert new.variables["params"]["strength"] == old.variables["params"]["strength"]
    trunk = {name: part for name, part in new.variables["frozen"].items() if name != "head"}
    jax.tree.map(
        np.testing.assert_array_equal, trunk, {name: old.variables["frozen"][name] for name in trunk}
    )
    assert new.deployment.inputs == old.deployment.inputs


@pytest.mark.parametrize("name", ["prototype_head", "memory_head"])
def test_enrolling_is_writing_the_memory_with_the_class_from_the_start(
    name: str, workdir: Path, tmp_path: Path
) -> None:
    run, out, mesh = workdir / name, tmp_path / "out", make_mesh(1)
    assert cli.main(["enroll", str(run), str(workdir.parent / "plain"), "--out", str(out)]) == 0
    old, new = restore_deployed(find_run(run), mesh), restore_deployed(find_run(out), mesh)
    splits = load(read_claim(out), out, lambda _: None)
    assert splits.train.labels.tolist().count(2) == 70
    layers = {**old.variables, "params": old.variables["frozen"]}
    del layers["frozen"], layers["memory"]
    extract = feature_extractor(old.network.network, mesh, 8)
    seen = extract(layers, old.deployment.inputs.statistics, splits.train.images)
    fixed = replace(old.method, memory_strength=1.0)
    whole = write_support(fixed, seen, splits.train.labels, 3, old.address.seed)
    np.testing.assert_array_equal(new.variables["memory"]["filled"], whole.filled)
    np.testing.assert_allclose(new.variables["memory"]["keys"], whole.keys, atol=1e-6)


def test_the_cost_is_that_of_the_stored_scores(workdir: Path, enrolled: tuple[Path, str]) -> None:
    out, said = enrolled
    old, new = RunOutputs.read(workdir / "memory_head/seed0"), RunOutputs.read(out / "memory_head/seed0")
    assert old is not None
    assert new is not None
    count = len(old.labels)
    np.testing.assert_array_equal(new.labels[:count], old.labels)
    assert (new.labels[count:] == 2).all()
    assert len(new.labels) == count + 6
    for scores in (old.scores, new.scores[:count]):
        recalls = recall_score(
            old.labels, scores.argmax(axis=1), labels=[0, 1], average=None, zero_division=0
        )
        assert f"{recalls.mean():.3f}" in said
        assert all(f"{recall:.3f}" in said for recall in recalls)
    assert f"{roc_auc_score(new.labels == 2, new.scores[:, 2]):.3f}" in said
    assert "6 images held out" in said
    assert "not calibrated" in said, "validation has no image of the class"
    assert str(workdir.parent) not in (out / "report.html").read_text(), "the report names no folder"


def test_training_again_finds_the_enrolled_run_finished(enrolled: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(enrolled[0], tmp_path / "runs")
    (result,) = fit(read_claim(tmp_path / "runs"), tmp_path / "runs", console=QUIET, report=False)
    stored = RunOutputs.read(enrolled[0] / "memory_head/seed0")
    assert stored is not None
    np.testing.assert_array_equal(result.raw_scores, stored.scores)


def test_evaluate_predict_and_export_know_the_class(
    workdir: Path, enrolled: tuple[Path, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "runs"
    shutil.copytree(enrolled[0], copy)
    before = RunOutputs.read(copy / "memory_head/seed0")
    done = command("evaluate", copy)
    assert done.returncode == 0, done.stderr
    after = RunOutputs.read(copy / "memory_head/seed0")
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after.scores, before.scores, atol=1e-6)
    rows = json.loads((copy / "results.json").read_text())["runs"][0]["rows"]
    assert rows["dark"]["positives"] == 6
    out = tmp_path / "p.csv"
    assert cli.main(["predict", str(copy), str(workdir.parent / "plain"), "--out", str(out)]) == 0
    said = capfd.readouterr().out
    assert "validation has no positive case); probabilities are those of the network, not calibrated" in said
    assert "at a prevalence of 0 %" not in said
    heading, *lines = out.read_text().splitlines()
    assert "probability/dark" in heading
    assert len(lines) == 70
    dark, bright = (
        np.mean([float(line.split(",")[heading.split(",").index(f"probability/{name}")]) for line in lines])
        for name in ("dark", "bright")
    )
    assert dark > 2 * bright
    assert cli.main(["export", str(copy), "--out", str(tmp_path / "x")]) == 0
    assert json.loads((tmp_path / "x" / "model.json").read_text())["classes"] == ["normal", "bright", "dark"]


def test_a_second_class_is_added_to_an_enrolled_run_by_a_table_with_a_split(
    workdir: Path, enrolled: tuple[Path, str], tmp_path: Path
) -> None:
    write_dark(tmp_path / "more" / "files", 9, seed=7)
    rows = [
        f"files/patient7{k}.png,{'grey' if k else 'normal'},{['train', 'validation', 'test'][k % 3]}"
        for k in range(9)
    ]
    (tmp_path / "more" / "labels.csv").write_text("\n".join(["file,label,split", *rows]) + "\n")
    done = command("enroll", enrolled[0], tmp_path / "more", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "1 images of classes that the run knows are left out" in done.stdout
    read = RunOutputs.read(tmp_path / "out/memory_head/seed0")
    assert read is not None
    assert read.classes == ("normal", "bright", "dark", "grey")
    assert (read.validation_labels == 3).sum() == 3
    assert "grey: 3 images held out" in done.stdout


@pytest.mark.parametrize(
    ("run", "new", "out", "said"),
    [
        ("ce", "plain", "x", "has no memory that a class can be added to, its method is ce: train one of"),
        ("memory_head", "absent", "x", "no folder"),
        ("memory_head", "known", "x", "has no further class: its images are of bright, which the run knows"),
        ("memory_head", "empty", "x", "there is no image in"),
        ("memory_head", "held", "x", "has no image of dark to keep, all are held out"),
        ("memory_head", "plain", "pictures", "is there already: name a folder that is not"),
        ("absent", "plain", "x", "there is no method absent in"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(
    run: str, new: str, out: str, said: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workdir.parent
    for name, inside in (("known", "bright"), ("held/train", "grey"), ("held/test", "dark")):
        if not (folder / name).exists():
            write_dark(folder / name / inside, 3, seed=len(name))
    (folder / "empty").mkdir(exist_ok=True)
    words = ["enroll", str(workdir / run), str(folder / new), "--out", str(folder / out)]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (folder / "x").exists()
