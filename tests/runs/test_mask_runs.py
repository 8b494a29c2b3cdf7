"""A run on masks where it is used: evaluated again, elsewhere, and as a program without this package."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from jax import export
from masked_pictures import METHOD, dice, mask_of, table, unresized, write_masked

from imbal_jax import cli
from imbal_jax.config import Patch
from imbal_jax.data.load import load
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.engine.tiles import Tiles
from imbal_jax.runs.address import find_run
from imbal_jax.runs.restore import Deployed, restore_deployed


def rows_of(folder: Path) -> dict[str, float]:
    (run,) = json.loads((folder / "results.json").read_text())["runs"]
    return run["rows"]["foreground"]


@pytest.fixture(scope="module")
def deployed(finished_masks: Path) -> Deployed:
    return restore_deployed(find_run(finished_masks / METHOD), make_mesh(1))


def test_the_report_of_a_run_has_the_sections_of_masks_and_no_name(finished_masks: Path) -> None:
    page = (finished_masks / "report.html").read_text()
    text = Page(page).text
    for words in ("Patient by patient", "of the pixels of foreground", "Called and not so".lower()):
        assert words in text
    assert "pictures/" not in page
    assert ".png" not in page
    (run,) = json.loads((finished_masks / "results.json").read_text())["runs"]
    assert {"iou", "dice", "dice_by_image", "hausdorff_95", "surface_dice", "auroc"} <= set(
        run["rows"]["foreground"]
    )
    assert set(run["operating_points"]["foreground"]) == {"threshold", "rule", "intervals"}


def test_evaluate_gives_the_same_again_and_the_threshold_is_kept_elsewhere(
    finished_masks: Path, deployed: Deployed, tmp_path: Path
) -> None:
    before = (finished_masks / "results.json").read_text()
    assert cli.main(["evaluate", str(finished_masks)]) == 0
    assert json.loads((finished_masks / "results.json").read_text()) == json.loads(before)
    masks = write_masked(tmp_path / "other", unresized(20), seed=9)
    run = str(finished_masks / METHOD)
    assert cli.main(["evaluate", run, "--data.dir", str(tmp_path / "other"), "--split", "all"]) == 0
    (folder,) = (finished_masks / "evaluations").iterdir()
    (found,) = json.loads((folder / "results.json").read_text())["runs"]
    (threshold,) = deployed.deployment.thresholds.values()
    assert found["operating_points"]["foreground"]["threshold"] == threshold
    out = tmp_path / "areas.csv"
    words = ["predict", run, str(tmp_path / "other" / "images"), "--out", str(out)]
    assert cli.main([*words, "--names", str(tmp_path / "names.csv")]) == 0
    names = {row["id"]: row["path"] for row in table(tmp_path / "names.csv")}
    pairs = [(mask_of(out, row) > 0, masks[names[row["id"]]]) for row in table(out)]
    assert rows_of(folder)["dice"] == pytest.approx(dice(pairs), abs=0.005)


def test_the_exported_program_gives_the_probabilities_of_the_run_tiles_included(
    finished_masks: Path, deployed: Deployed, tmp_path: Path
) -> None:
    assert deployed.config.patch == Patch(size=16)
    assert len(Tiles(16).starts(32)) == 3  # nine tiles an image
    assert cli.main(["export", str(finished_masks / METHOD), "--out", str(tmp_path / "program")]) == 0
    program = export.deserialize(bytearray((tmp_path / "program" / "model.stablehlo").read_bytes()))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1)).astype(np.uint8)
    (name, found), *others = program.call(images).items()
    assert (name, others) == ("predictions", [])
    assert found.shape == (3, 32, 32, 2)
    expected = deployed.probabilities(images, make_mesh(1))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.asarray(found).sum(axis=-1), 1, atol=1e-5)
    described = json.loads((tmp_path / "program" / "model.json").read_text())
    assert described["thresholds"] == deployed.deployment.thresholds
    assert described["classes"] == ["background", "foreground"]


@pytest.mark.parametrize("more", [[], ["--split", "validation"]])
def test_rules_of_thresholds_are_refused_in_a_line(
    finished_masks: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(finished_masks), "--deploy.points", "sensitivity >= 0.9", *more]
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "deploy.points is given, and a run on masks with one class a pixel has no operating points" in line


def test_the_threshold_may_be_that_of_the_training_images_and_says_so(
    finished_masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = own_copy_of(finished_masks, tmp_path)
    train = ["--deploy.mask-threshold", "train"]
    assert cli.main(["evaluate", str(workdir), "--split", "validation", *train]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "deploy.mask-threshold is train, which needs the run's own images: imbal-jax evaluate" in line
    assert cli.main(["evaluate", str(workdir), *train]) == 0
    (run,) = json.loads((workdir / "results.json").read_text())["runs"]
    point = run["operating_points"]["foreground"]
    assert point["rule"] == "largest Dice of the pixels of all train images together"
    # no other threshold is better on the training images
    deployed = restore_deployed(find_run(workdir / METHOD), make_mesh(1))
    data = load(deployed.config, workdir, lambda line: None).train
    p, known = deployed.probabilities(data.images, make_mesh(1))[..., 1], data.labels >= 0
    truth = data.labels[known] == 1

    def dice_at(threshold: float) -> float:
        called = p[known] >= threshold
        return 2 * (called & truth).sum() / (called.sum() + truth.sum())

    best = max(map(dice_at, np.linspace(0.02, 0.98, 97)))
    assert dice_at(point["threshold"]) >= best - 5e-4


def own_copy_of(workdir: Path, folder: Path) -> Path:
    shutil.copytree(workdir, folder / "work")
    config = folder / "work" / "config.json"
    config.write_text(config.read_text().replace(str(workdir), str(folder / "work")))
    return folder / "work"
