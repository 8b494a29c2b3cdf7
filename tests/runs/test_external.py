"""Finished runs on images of another place, and other checkpoints on their own."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import QUIET, small, write_pictures

from imbal_jax.data.dataset import Dataset
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.errors import InputError
from imbal_jax.metrics import sensitivity
from imbal_jax.runs.address import RunAddress, find_run, find_runs
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.external import validate
from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.restore import restore_deployed
from imbal_jax.tasks import MANY_LABELS, ONE_LABEL


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another hospital: fewer images, darker, and the first column of the table in another order."""
    folder = write_pictures(tmp_path / "elsewhere", patients=20)
    for file in folder.glob("*.png"):
        dark = np.asarray(Image.open(file)) * 0.9
        Image.fromarray(dark.astype(np.uint8)).save(file)
    return folder


def of(finished_runs: Path, **data: object):
    config = small(finished_runs / "pictures")
    return replace(config, data=replace(config.data, **data))


def test_all_images_of_another_place_are_scored_at_the_stored_thresholds(
    finished_runs: Path, elsewhere: Path, tmp_path: Path
) -> None:
    runs = find_runs(finished_runs)
    assert [run.method for run in runs] == ["ce", "crt"]
    first, second = validate(of(finished_runs, dir=elsewhere), runs, tmp_path / "out", console=QUIET)
    assert len(first.labels) == 40
    for run, result in zip(runs, (first, second), strict=True):
        deployment = Deployment.read(run.folder)
        assert result.points == deployment.points
        deployed = restore_deployed(run, make_mesh(1))
        rows = [line.split(",") for line in (elsewhere / "labels.csv").read_text().split()[1:]]
        files = {name: int(label == "bright") for name, _, label in rows}
        images = np.stack([np.asarray(Image.open(elsewhere / name))[..., None] for name in sorted(files)])
        expected = deployment.probabilities(deployed.predict(make_mesh(1), 64)(images))
        np.testing.assert_allclose(result.scores, expected, atol=1e-6)
        np.testing.assert_array_equal(result.labels, [files[name] for name in sorted(files)])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "40 test images" in page
    with np.load(tmp_path / "out" / "ce.npz") as stored:
        np.testing.assert_array_equal(stored["probabilities"], first.scores)
    assert 0 <= sensitivity(first.labels, first.scores[:, 1]) <= 1


def test_the_test_split_of_the_same_data_gives_the_scores_of_training(
    finished_runs: Path, tmp_path: Path
) -> None:
    (result,) = validate(
        of(finished_runs), find_runs(finished_runs / "ce"), tmp_path / "out", part="test", console=QUIET
    )
    scored = RunOutputs.read(finished_runs / "ce" / "seed0")
    np.testing.assert_allclose(result.raw_scores, scored.outputs, atol=1e-6)
    np.testing.assert_array_equal(result.labels, scored.labels)


def test_the_test_split_is_refused_after_the_folder_of_the_run_has_changed(
    finished_runs: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished_runs, copy)
    table = copy / "pictures" / "labels.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-4]) + "\n")
    for label_kind in ("auto", "one"):
        with pytest.raises(InputError, match="holds runs on another split"):
            validate(
                of(copy, label_kind=label_kind),
                find_runs(copy / "ce"),
                tmp_path / "out",
                part="test",
                console=QUIET,
            )


def test_any_checkpoint_that_was_kept_can_be_scored(finished_runs: Path, tmp_path: Path) -> None:
    steps = sorted(int(p.name) for p in (finished_runs / "ce" / "seed0" / "checkpoints").iterdir())
    scores = [
        validate(
            of(finished_runs),
            find_runs(finished_runs / "ce"),
            tmp_path / str(s),
            part="test",
            step=s,
            console=QUIET,
        )[0].raw_scores
        for s in steps
    ]
    assert len(steps) >= 2
    assert np.abs(scores[0] - scores[-1]).max() > 1e-3
    with pytest.raises(InputError, match="no checkpoint of step 1 "):
        validate(of(finished_runs), find_runs(finished_runs / "ce"), tmp_path / "x", step=1, console=QUIET)


def test_thresholds_are_chosen_anew_on_validation_where_that_is_asked(
    finished_runs: Path, elsewhere: Path, tmp_path: Path
) -> None:
    config = of(finished_runs, dir=elsewhere)
    config = replace(config, deploy=replace(config.deploy, points=("max f2",)))
    (result,) = validate(
        config, find_runs(finished_runs / "crt"), tmp_path / "out", refit=True, console=QUIET
    )
    assert result.points[1].rule == "max f2"
    assert Deployment.read(finished_runs / "crt" / "seed0").points[1].rule == "youden", (
        "the run itself is left alone"
    )


def test_images_of_another_size_or_class_are_refused_with_what_is_allowed(
    finished_runs: Path, elsewhere: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"--data.image-size 24 is asked, the network was trained on pictures made with 16"
    ):
        validate(
            of(finished_runs, dir=elsewhere, image_size=24),
            find_runs(finished_runs / "ce"),
            tmp_path / "o",
            console=QUIET,
        )
    table = elsewhere / "labels.csv"
    table.write_text(table.read_text().replace("bright", "mass"))
    with pytest.raises(InputError, match="its label is not one of normal, bright"):
        validate(
            of(finished_runs, dir=elsewhere), find_runs(finished_runs / "ce"), tmp_path / "o", console=QUIET
        )


# Labels


def dataset(labels: np.ndarray, classes: tuple[str, ...]) -> Dataset:
    return Dataset(np.zeros((len(labels), 8, 8, 1), np.uint8), labels, np.arange(len(labels)), classes)


def test_classes_in_another_order_and_classes_without_an_image_are_found_by_name() -> None:
    data = dataset(np.array([0, 1, 1, 2]), ("effusion", "normal", "nodule"))
    found = ONE_LABEL.aligned(data, ("normal", "nodule", "mass", "effusion"))
    np.testing.assert_array_equal(found.labels, [3, 0, 0, 1])
    with pytest.raises(InputError, match="images of nodule, the network knows normal, effusion"):
        ONE_LABEL.aligned(data, ("normal", "effusion"))
    unused = dataset(np.array([0, 0]), ("normal", "nodule"))
    assert ONE_LABEL.aligned(unused, ("normal", "effusion")).classes == ("normal", "effusion")


def test_labels_that_the_set_lacks_are_missing() -> None:
    data = dataset(np.array([[1, 0], [-1, 1]], np.int8), ("effusion", "nodule"))
    found = MANY_LABELS.aligned(data, ("nodule", "mass", "effusion"))
    np.testing.assert_array_equal(found.labels, [[0, -2, 1], [1, -2, -1]])
    with pytest.raises(InputError, match="the network knows mass"):
        MANY_LABELS.aligned(data, ("mass",))
    with pytest.raises(InputError, match="many labels an image, the task is classification with one label"):
        ONE_LABEL.aligned(data, ("nodule",))


# Which run


def test_a_run_is_named_by_its_folder_or_by_the_workdir_that_holds_it_alone(
    finished_runs: Path, tmp_path: Path
) -> None:
    found = find_run(finished_runs / "crt")
    assert found == RunAddress(finished_runs, "crt", 0) == find_run(finished_runs / "crt" / "seed0")
    assert (found.config().name, found.definition().name) == ("small", "crt")
    assert found.folder == finished_runs / "crt" / "seed0"
    with pytest.raises(InputError, match=r"holds several runs: name one of .*ce, .*crt"):
        find_run(finished_runs)
    for name in ("config.json", "ce"):
        (shutil.copytree if (finished_runs / name).is_dir() else shutil.copy)(
            finished_runs / name, tmp_path / name
        )
    assert find_run(tmp_path).folder == tmp_path / "ce" / "seed0"
    (tmp_path / "ce" / "seed0" / "result.json").unlink()
    with pytest.raises(InputError, match=r"no run in .* is finished"):
        find_run(tmp_path)
    with pytest.raises(InputError, match="there is no method nowhere in"):
        find_run(tmp_path / "nowhere")
