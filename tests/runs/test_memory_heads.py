"""Heads with a memory through every command: train, resume, evaluate, predict, export, compare."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from small_runs import BRIEF, QUIET, StopHere, small, stopped_after, write_pictures, written

from imbal_jax import cli
from imbal_jax.data.load import load
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.methods import METHODS, find_method
from imbal_jax.runs.address import find_run
from imbal_jax.runs.claim import read_claim
from imbal_jax.runs.restore import Deployed, restore_deployed
from imbal_jax.train import fit
from imbal_jax.training.inference import feature_extractor

HEADS = ("prototype_head", "memory_head", "attention_head")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    methods = tuple(
        replace(METHODS[name], second_epochs=min(METHODS[name].second_epochs, 1.0), second_steps=0)
        for name in HEADS
    )
    nearest = find_method("memory_head,memory_strength=1e6,memory_size=50")
    config = small(write_pictures(folder / "pictures"), methods=(*methods, replace(nearest, name="nearest")))
    path = written(config, folder / "config.py")
    assert cli.main(["train", str(path), "--workdir", str(folder / "runs")]) == 0
    return folder / "runs"


def features(run: Path, workdir: Path) -> tuple[Deployed, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The restored run, and of its splits the features and the labels."""
    mesh = make_mesh(1)
    deployed = restore_deployed(find_run(run), mesh)
    splits = load(read_claim(workdir), workdir, lambda _: None)
    extract = feature_extractor(deployed.network.network, mesh, 8)
    variables = {**deployed.variables, "params": deployed.variables["frozen"]}
    del variables["frozen"], variables["memory"]
    parts = {"train": splits.train, "test": splits.test}
    statistics = deployed.deployment.inputs.statistics
    found = {name: extract(variables, statistics, part.images) for name, part in parts.items()}
    return deployed, found, {name: part.labels for name, part in parts.items()}


def outputs(workdir: Path, method: str) -> np.ndarray:
    with np.load(workdir / method / "seed0" / "test_scores.npz") as stored:
        return stored["outputs"]


def test_a_prototype_head_decides_as_the_centroids_of_the_training_features(workdir: Path) -> None:
    _, found, labels = features(workdir / "prototype_head", workdir)
    peer = NearestCentroid().fit(found["train"], labels["train"])
    decided = outputs(workdir, "prototype_head").argmax(axis=1)
    np.testing.assert_array_equal(decided, peer.predict(found["test"]))


def test_a_memory_of_all_at_an_extreme_strength_is_the_nearest_neighbour(workdir: Path) -> None:
    deployed, found, labels = features(workdir / "nearest", workdir)
    rare = int((labels["train"] == 1).sum())
    assert deployed.variables["memory"]["filled"].tolist() == [50, rare]
    memory = deployed.variables["memory"]
    rows = np.concatenate([memory["keys"][c, :n] for c, n in enumerate(memory["filled"])])
    peer = KNeighborsClassifier(1, metric="cosine").fit(rows, np.repeat([0, 1], memory["filled"]))
    decided = outputs(workdir, "nearest").argmax(axis=1)
    # features of this small network nearly coincide: the order of two nearest may be lost to rounding
    assert (decided == peer.predict(found["test"])).mean() > 0.95


def test_each_head_separates_the_classes_and_evaluates_to_what_training_gave(
    workdir: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "runs"
    shutil.copytree(workdir, copy)
    before = {name: outputs(copy, name) for name in HEADS}
    assert cli.main(["evaluate", str(copy)]) == 0
    results = json.loads((copy / "results.json").read_text())["runs"]
    for row in results:
        assert row["rows"]["bright"]["auroc"] > 0.8
    for name in HEADS:
        np.testing.assert_allclose(outputs(copy, name), before[name], atol=1e-6)
        np.testing.assert_allclose(before[name].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_predicts_and_is_exported(name: str, workdir: Path, tmp_path: Path) -> None:
    run, pictures = str(workdir / name), str(workdir.parent / "pictures")
    assert cli.main(["predict", run, pictures, "--out", str(tmp_path / "p.csv")]) == 0
    assert (tmp_path / "p.csv").read_text().count("\n") == 121
    assert cli.main(["export", run, "--out", str(tmp_path / "x")]) == 0
    assert (tmp_path / "x" / "model.stablehlo").is_file()


def test_heads_are_compared(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(workdir / name) for name in HEADS]
    assert cli.main(["compare", *runs]) == 0
    assert "Differences from prototype_head" in capsys.readouterr().out


def test_training_of_attention_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = replace(METHODS["attention_head"], second_epochs=24 * 8 / 76, second_steps=0)
    config = small(write_pictures(tmp_path / "pictures"), methods=(method,))
    config = replace(config, train=replace(config.train, epochs=3 * BRIEF))
    whole = fit(config, tmp_path / "whole", console=QUIET)[0]
    with monkeypatch.context() as patch:
        stopped_after(4, patch)  # three of the first stage, one of the second
        with pytest.raises(StopHere):
            fit(config, tmp_path / "stopped", console=QUIET)
    resumed = fit(config, tmp_path / "stopped", console=QUIET)[0]
    np.testing.assert_array_equal(resumed.scores, whole.scores)


def test_attention_trains_alike_on_one_and_four_devices(tmp_path: Path) -> None:
    method = replace(METHODS["attention_head"], second_epochs=BRIEF, second_steps=0)
    config = small(write_pictures(tmp_path / "pictures"), methods=(method,))
    scores = []
    for devices in (1, 4):
        train = replace(config.train, epochs=BRIEF, evaluations=1, devices=devices)
        (result,) = fit(replace(config, train=train), tmp_path / str(devices), console=QUIET, report=False)
        scores.append(result.raw_scores)
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-4)


def test_many_labels_have_no_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small(write_pictures(tmp_path / "pictures", many_labels=True), methods=(METHODS["ce"],))
    config = replace(config, data=replace(config.data, negative_class=None))
    path = written(config, tmp_path / "config.py")
    words = ["train", str(path), "--workdir", str(tmp_path / "w"), "--methods", "memory_head"]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "method memory_head: second_stage is not for many labels an image" in said


def test_methods_shows_what_a_head_keeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods", "prototype_head"]) == 0
    shown = capsys.readouterr().out
    assert "memory_distance = euclidean" in shown
    assert "Snell" in shown
