"""A run on masks where it is used: evaluated again, elsewhere, and as a program without this package."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from jax import export
from masked_pictures import METHOD, dice, mask_of, masked, table, unresized, write_masked
from PIL import Image
from small_runs import QUIET

from imbal_jax import cli
from imbal_jax.config import Patch
from imbal_jax.data.load import load
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.engine.tiles import Tiles
from imbal_jax.methods import find_method
from imbal_jax.runs.address import find_run
from imbal_jax.runs.predict import predict
from imbal_jax.runs.restore import Deployed, restore_deployed
from imbal_jax.train import fit


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


def write_coco(folder: Path, count: int) -> dict[str, np.ndarray]:
    """Pictures 32 x 24 with a bright bar and, over it, a bright column: polygons of COCO; masks [h, w, 2] by name."""
    rng, masks, pictures, regions = np.random.default_rng(3), {}, [], []
    folder.mkdir(parents=True)
    for number in range(count):
        truth = np.zeros((32, 24, 2), bool)
        boxes = [(2, int(rng.integers(4, 24)), 20, 5), (int(rng.integers(3, 15)), 2, 5, 28)]
        for label, (x, y, width, height) in enumerate(boxes):
            truth[y : y + height, x : x + width, label] = True
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            region = {"id": len(regions) + 1, "image_id": number, "category_id": label + 1, "iscrowd": 0}
            regions.append(
                {**region, "segmentation": [corners], "bbox": [x, y, width, height], "area": width * height}
            )
        pixels = 60 + 70 * truth[..., 0] + 100 * truth[..., 1] + rng.normal(0, 8, (32, 24))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        pictures.append({"id": number, "file_name": f"{number}.png", "height": 32, "width": 24})
        masks[f"{number}.png"] = truth
    kinds = [{"id": 1, "name": "bar"}, {"id": 2, "name": "column"}]
    (folder / "regions.json").write_text(
        json.dumps({"images": pictures, "annotations": regions, "categories": kinds})
    )
    return masks


def test_overlapping_labels_are_trained_scored_and_written_each_on_its_own(tmp_path: Path) -> None:
    truths = write_coco(tmp_path / "in", 40)
    base = masked(tmp_path / "in")
    data = replace(base.data, masks="regions.json", label_kind="many", negative_class=None)
    method = find_method("weighted_ce,loss=dice+cross_entropy")
    config = replace(base, data=data, methods=(method,), patch=Patch())
    config = replace(config, train=replace(base.train, epochs=40))
    fit(config, tmp_path / "work", console=QUIET)
    (run,) = json.loads((tmp_path / "work" / "results.json").read_text())["runs"]
    assert set(run["rows"]) == {"bar", "column", "macro"}
    assert run["rows"]["macro"]["dice"] > 0.7
    out, names = tmp_path / "areas.csv", tmp_path / "names.csv"
    of = tmp_path / "work" / method.name
    predict(of, tmp_path / "in", out, names=names)
    paths = {row["id"]: row["path"] for row in table(names)}
    rows = table(out)
    assert list(rows[0]) == ["id", "pixels/bar", "share/bar", "pixels/column", "share/column", "flags"]
    found: dict[str, float] = {}
    for label, name in enumerate(("bar", "column")):
        pairs = []
        for row in rows:
            mask = mask_of(out, {"id": f"{row['id']}.{label + 1}"}) == 255
            assert int(row[f"pixels/{name}"]) == mask.sum()
            pairs.append((mask, truths[paths[row["id"]]][..., label]))
        found[name] = dice(pairs)
    words = ["evaluate", str(tmp_path / "work"), "--split", "all"]
    assert cli.main(words) == 0
    (folder,) = (tmp_path / "work" / "evaluations").iterdir()
    (every,) = json.loads((folder / "results.json").read_text())["runs"]
    for name, value in found.items():
        assert every["rows"][name]["dice"] == pytest.approx(value, abs=0.005)
        assert value > 0.5
