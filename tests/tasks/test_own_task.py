"""A third task, which one file adds: from training to a report, and from there to other processes."""

import json
import re
from pathlib import Path

import disc_masks
import jax
import numpy as np
import pytest
from disc_masks import CLASSES, DiscMasks
from jax import export
from own_process import command
from sklearn.metrics import jaccard_score

import imbal_jax
from imbal_jax.config import from_json, load_config, to_json
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import load, split_dataset
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS, find_method
from imbal_jax.runs.address import find_run
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.restore import restore_deployed
from imbal_jax.tasks import MANY_LABELS, ONE_LABEL, find_task, task_for
from imbal_jax.training.tracking import read_history

FOLDER = Path(disc_masks.__file__).parent
PACKAGE = Path(imbal_jax.__file__).parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workdir that the command made, and what it printed."""
    folder = tmp_path_factory.mktemp("discs")
    done = command(folder, "train", str(FOLDER / "disc_masks.py"), "--workdir", "work")
    assert done.returncode == 0, done.stderr
    return folder / "work", done.stdout


def results_of(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    values = json.loads((folder / "results.json").read_text())
    assert all(run["operating_points"] == {} for run in values["runs"])
    return {run["method"]: run["rows"] for run in values["runs"]}


def test_the_network_finds_the_disc_and_the_metrics_are_those_of_its_predictions(
    trained: tuple[Path, str],
) -> None:
    workdir, _ = trained
    rows = results_of(workdir)
    assert list(rows) == ["ce", "weighted_ce"]
    splits = load(disc_masks.get_config(), workdir, lambda line: None)
    for method, of in rows.items():
        assert of["macro"]["iou"] > 0.5
        deployed = restore_deployed(find_run(workdir / method), make_mesh(1))
        called = deployed.probabilities(splits.test.images, make_mesh(1)).argmax(axis=-1)
        expected = jaccard_score(splits.test.labels.ravel(), called.ravel(), average=None)
        found = [of[name]["iou"] for name in CLASSES]
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert of["macro"] == of["disc"]


def test_the_checkpoint_is_the_one_of_the_best_iou(trained: tuple[Path, str]) -> None:
    workdir, _ = trained
    run = json.loads((workdir / "results.json").read_text())["runs"][0]
    history = [r for r in read_history(workdir / "ce" / "seed0") if r["kind"] == "validation"]
    assert len(history) == 2
    assert run["step"] == max(history, key=lambda record: record["iou"])["step"]
    assert {"iou", "dice", "iou/disc", "dice/background"} <= set(history[0])


def test_the_console_and_the_report_show_its_metrics_and_its_own_section(trained: tuple[Path, str]) -> None:
    workdir, said = trained
    assert "discs" in said
    assert re.search(r"macro +. weighted_ce +. +0\.\d+ . +0\.\d+", said)
    assert "sensitivity" not in said
    page = (workdir / "report.html").read_text()
    assert "some pixel was found: ce 24, weighted_ce 24" in page
    for heading in ("Summary", "Class by class", "Learning curves", "Data and split"):
        assert f"<h2>{heading}</h2>" in page
    for heading in ("Operating points", "Calibration", "ROC and precision-recall"):
        assert heading not in page


def test_its_parts_are_stored_by_their_import_paths(trained: tuple[Path, str]) -> None:
    workdir, _ = trained
    values = json.loads((workdir / "config.json").read_text())
    assert values["task"] == "disc_masks:DiscMasks"
    assert values["model"]["name"] == "disc_masks:Net"
    assert values["data"]["source"] == "disc_masks:read"
    deployment = Deployment.read(workdir / "ce" / "seed0")
    assert deployment.task is find_task("disc_masks:DiscMasks")
    assert deployment.points == ()


def test_another_process_evaluates_it_again_and_on_other_data(trained: tuple[Path, str]) -> None:
    workdir, _ = trained
    before = results_of(workdir)
    done = command(workdir.parent, "evaluate", "work")
    assert done.returncode == 0, done.stderr
    assert results_of(workdir) == before
    done = command(
        workdir.parent, "evaluate", "work/ce", "--data.split-seed", "3", "--data.phantom-images", "40"
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (workdir / "evaluations").iterdir()
    other = results_of(folder)
    assert list(other) == ["ce"]
    assert 0.5 < other["ce"]["disc"]["iou"] < 1
    assert other["ce"] != before["ce"]


def test_the_exported_program_gives_its_predictions(trained: tuple[Path, str]) -> None:
    workdir, _ = trained
    done = command(workdir.parent, "export", "work/ce", "--out", "program")
    assert done.returncode == 0, done.stderr
    program = export.deserialize(bytearray((workdir.parent / "program" / "model.stablehlo").read_bytes()))
    images = disc_masks.read(disc_masks.get_config().data).images[:5]
    deployed = restore_deployed(find_run(workdir / "ce"), make_mesh(1))
    (name, found), *others = program.call(images).items()
    assert name == "predictions"
    assert not others
    np.testing.assert_allclose(found, deployed.probabilities(images, make_mesh(1)), atol=1e-5)


@pytest.mark.parametrize("words", [("predict", "work/ce", ".", "--out", "o.csv"), ("compare", "work")])
def test_what_needs_decisions_says_so_in_a_line(trained: tuple[Path, str], words: tuple[str, ...]) -> None:
    workdir, _ = trained
    done = command(workdir.parent, *words)
    assert done.returncode == 2
    assert "was trained for a mask an image, which has no probabilities and no decisions" in done.stderr
    assert done.stderr.count("\n") == 1


def test_images_and_masks_are_moved_together() -> None:
    data = disc_masks.read(disc_masks.get_config().data)
    keys = jax.random.split(jax.random.key(0), 20)
    images, masks = DiscMasks().transform(keys, data.images[:20], data.labels[:20], None, 1.0)
    turned = [not np.array_equal(a, b) for a, b in zip(masks, data.labels[:20], strict=True)]
    assert 3 < sum(turned) < 17
    for image, mask, before, labels, other in zip(
        images, masks, data.images, data.labels, turned, strict=False
    ):
        step = -1 if other else 1
        np.testing.assert_array_equal(mask, labels[:, ::step])
        np.testing.assert_allclose(image, before[:, ::step] / 255, rtol=1e-6)


def test_a_method_that_has_no_meaning_for_the_task_is_refused() -> None:
    task = task_for("disc_masks:DiscMasks", disc_masks.read(disc_masks.get_config().data))
    for method in ("mixup", "crt", "focal", "logit_adjusted_posthoc"):
        if method in METHODS:
            with pytest.raises(InputError, match=f"method {method}: .* is not for a mask an image"):
                task.check(find_method(method))


# Which task


def images_and(labels: np.ndarray, classes: int = 2) -> Dataset:
    return Dataset(
        np.zeros((len(labels), 4, 4, 1), np.uint8), labels, np.arange(len(labels)), tuple("abc"[:classes])
    )


def test_labels_of_another_shape_need_a_task_that_reads_them_and_a_task_needs_its_labels() -> None:
    masks, other = images_and(np.zeros((3, 4, 4), np.int32)), images_and(np.zeros((3, 5, 5), np.int32))
    with pytest.raises(InputError, match=r"labels are int32 \[3, 5, 5\], .* name the task that reads them"):
        task_for("auto", other)
    with pytest.raises(InputError, match="the data set has masks, the task is classification with one label"):
        task_for("one_label", masks)
    one, many = images_and(np.zeros(3, np.int32)), images_and(np.zeros((3, 2), np.int8))
    assert task_for("auto", one) is task_for("one_label", one) is ONE_LABEL
    assert task_for("auto", many) is task_for("many_labels", many) is MANY_LABELS
    with pytest.raises(InputError, match=r"the data set has many labels an image, the task is .* one label"):
        task_for("one_label", many)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "mask",
            "task is .mask., allowed are auto, one_label, many_labels, masks, overlapping_masks, sequences and pack",
        ),
        ("disc_masks:Disc", "task disc_masks:Disc: disc_masks has no Disc; did you mean"),
        (
            "own_parts:Unfinished",
            "own_parts:Unfinished does not say class_arrays, objective, predictor, table, placeholder_outputs: see",
        ),
        ("own_parts:Demanding", "own_parts:Demanding cannot be made without arguments: .*what"),
        ("disc_masks:Net", "task disc_masks:Net is .*: give a subclass of imbal_jax.tasks.Task"),
    ],
)
def test_what_is_no_task_is_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_task(name)


def test_a_config_of_own_parts_goes_to_json_and_back() -> None:
    config = load_config(disc_masks.__file__)
    assert from_json(to_json(config)) == config
    assert config.task == "disc_masks:DiscMasks"


def test_splits_and_draws_take_an_image_by_the_classes_in_its_mask() -> None:
    masks = np.zeros((40, 4, 4), np.int32)
    masks[:8, 1, 2] = 1
    data = Dataset.from_arrays(np.zeros((40, 4, 4), np.uint8), masks, np.arange(40), ("background", "disc"))
    np.testing.assert_array_equal(data.image_labels.sum(axis=0), [40, 8])
    config = disc_masks.get_config()
    splits = split_dataset(config.data, data, say=lambda line: None)
    counts = [int(part.image_labels[:, 1].sum()) for part in (splits.train, splits.validation, splits.test)]
    assert sum(counts) == 8
    assert min(counts) >= 1


# What the others do not ask


def test_only_tasks_labels_and_the_library_ask_for_the_kind_of_labels() -> None:
    """Trainer, runs and report are the same for every task: they do not look at the labels' shape."""
    asking = re.compile(r"\.many_labels|is_many\(|labels\.ndim|ndim\(labels\)|method\.loss ==|task\.name ==")
    allowed = ("tasks", "metrics", "losses", "sampling", "methods", "data", "priors.py")
    found = [
        f"{file.relative_to(PACKAGE)}: {line.strip()}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0] not in allowed
        for line in file.read_text().splitlines()
        if asking.search(line)
    ]
    assert found == []
