"""Several seeds of one method in one workdir: trained, resumed, reported, evaluated, predicted and compared."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_once import made_once, own_copy
from sklearn import metrics as oracle
from small_runs import QUIET, TWICE, small, write_pictures

from imbal_jax import cli, train
from imbal_jax.config import Config
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.methods import METHODS
from imbal_jax.runs.address import find_runs
from imbal_jax.runs.ensemble import ensemble_of
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.predict import predict
from imbal_jax.runs.restore import restore_deployed


def config_of(folder: Path) -> Config:
    base = small(folder / "pictures", methods=(METHODS["ce"], METHODS["crt"]))
    return replace(base, train=replace(base.train, epochs=TWICE, evaluations=1), seeds=(0, 1))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """crt of seeds 0 and 1 first, which trains ce of both; then ce is there already."""

    def make(folder: Path) -> None:
        write_pictures(folder / "pictures")
        config = config_of(folder)
        train.fit(replace(config, methods=(METHODS["crt"],)), folder, console=QUIET)
        train.fit(config, folder, console=QUIET)

    return own_copy(tmp_path_factory, made_once(tmp_path_factory, "several_seeds", make))


def results(workdir: Path) -> dict[tuple[str, int], dict]:
    runs = json.loads((workdir / "results.json").read_text())["runs"]
    return {(run["method"], run["seed"]): run for run in runs}


def test_every_seed_is_a_run_of_its_own_and_a_second_stage_builds_on_its_seed(workdir: Path) -> None:
    assert set(results(workdir)) == {("ce", 0), ("ce", 1), ("crt", 0), ("crt", 1)}
    scores = {(run.method, run.seed): RunOutputs.read(run.folder).outputs for run in find_runs(workdir)}
    assert np.abs(scores["ce", 0] - scores["ce", 1]).max() > 1e-4
    mesh = make_mesh(1)
    for seed in (0, 1):
        ce, crt = (restore_deployed(find_runs(workdir / m / f"seed{seed}")[0], mesh) for m in ("ce", "crt"))
        backbone = ce.variables["params"]
        kept = crt.variables["frozen"]
        for name in set(backbone) & set(kept) - {"head"}:
            for one, other in zip(*map(_leaves, (backbone[name], kept[name])), strict=True):
                np.testing.assert_array_equal(one, other)


def _leaves(tree: object) -> list[np.ndarray]:
    return [leaf for value in tree.values() for leaf in _leaves(value)] if isinstance(tree, dict) else [tree]


def test_a_seed_gives_the_run_of_that_seed_alone(workdir: Path, tmp_path: Path) -> None:
    config = replace(config_of(workdir), methods=(METHODS["ce"],), seeds=(), seed=1)
    alone = train.fit(config, tmp_path, console=QUIET)[0]
    np.testing.assert_array_equal(alone.raw_scores, RunOutputs.read(workdir / "ce" / "seed1").scores)


def test_the_report_shows_mean_and_spread_and_the_terminal_each_seed(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (workdir / "report.html").read_text()
    assert "2 methods trained 4 times" in page
    assert "mean of 2 seeds, sd" in page
    assert "ce, seed 1" in page
    assert cli.main(["evaluate", str(workdir / "ce")]) == 0
    shown = capsys.readouterr().out
    for text in ("ce, 2 seeds", "ce, seed 1", "± standard deviation over the seeds"):
        assert text in shown
    runs = results(workdir)
    values = [runs["ce", seed]["rows"]["macro"]["auroc"] for seed in (0, 1)]
    row = next(line for line in shown.splitlines() if "macro" in line)
    assert f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" in row


def test_predict_averages_calibrated_probabilities_and_chooses_thresholds_on_the_mean(
    workdir: Path, tmp_path: Path
) -> None:
    pictures = workdir / "pictures"
    tables = []
    for name in ("ce", "ce/seed0", "ce/seed1"):
        predict(workdir / name, pictures, tmp_path / "o.csv", key_file=tmp_path / "o.key", console=QUIET)
        with (tmp_path / "o.csv").open() as file:
            tables.append({row["id"]: row for row in csv.DictReader(file)})
    mean, *seeds = tables
    model = ensemble_of(find_runs(workdir / "ce"), make_mesh(1))
    for key, row in mean.items():
        p = np.mean([float(table[key]["probability/bright"]) for table in seeds])
        assert float(row["probability/bright"]) == pytest.approx(p, abs=2e-6)
        assert int(row["called/bright"]) == (float(row["probability/bright"]) >= model.points[1].threshold)


def test_what_predict_uses_is_scored_beside_the_seeds(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(workdir)]) == 0
    assert "ce, probabilities averaged" in capsys.readouterr().out
    stored = {run["method"]: run for run in json.loads((workdir / "results.json").read_text())["averages"]}
    model = ensemble_of(find_runs(workdir / "ce"), make_mesh(1))
    outputs = [RunOutputs.read(workdir / "ce" / f"seed{seed}") for seed in (0, 1)]
    p = np.mean(
        [m.deployment.probabilities(o.outputs)[:, 1] for m, o in zip(model.members, outputs, strict=True)], 0
    )
    labels, called = outputs[0].labels, p >= model.points[1].threshold
    values = stored["ce"]["metrics"]["bright"]
    assert stored["ce"]["operating_points"]["bright"]["threshold"] == pytest.approx(model.points[1].threshold)
    assert values["auroc"] == pytest.approx(oracle.roc_auc_score(labels, p))
    assert values["average_precision"] == pytest.approx(oracle.average_precision_score(labels, p))
    assert values["sensitivity"] == pytest.approx(oracle.recall_score(labels, called))
    assert "As predict uses them" in (workdir / "report.html").read_text()


def test_compare_takes_methods_by_their_seeds(workdir: Path, tmp_path: Path) -> None:
    assert cli.main(["compare", str(workdir), "--json", str(tmp_path / "c.json")]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["first"], {row["run"] for row in found["differences"]}) == ("crt", {"ce"})
    assert [spread["runs"] for spread in found["seeds"]] == [
        ["crt/seed0", "crt/seed1"],
        ["ce/seed0", "ce/seed1"],
    ]
