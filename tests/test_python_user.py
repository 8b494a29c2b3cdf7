"""A Python program with arrays of its own: from two arrays to a report, predictions, and a second process."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import imbal_jax
from imbal_jax.config import Data, Model, Train
from imbal_jax.data.load import Splits
from imbal_jax.errors import InputError

QUIET = Console(quiet=True)


def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and patients; the rare class has a bright square."""
    rng = np.random.default_rng(0)
    labels = (np.arange(240) % 6 == 0).astype(np.int32)
    images = rng.integers(60, 120, (240, 16, 16, 1)).astype(np.uint8)
    images[labels == 1, 4:9, 4:9] += 90
    return images, labels, np.arange(240) // 2


def config(**changes: object) -> imbal_jax.Config:
    return imbal_jax.Config(
        name="arrays",
        methods=(imbal_jax.METHODS["stratified"],),
        data=Data(negative_class="normal"),
        model=Model(name="cnn", options={"width": 4, "stages": 2}),
        train=Train(epochs=8, batch_size=16, evaluations=2, devices=1),
        **changes,
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    images, labels, patients = arrays()
    data = imbal_jax.Dataset.from_arrays(images, labels, groups=patients, classes=("normal", "bright"))
    workdir = tmp_path_factory.mktemp("python") / "run"
    return workdir, imbal_jax.fit(config(), workdir, data, console=QUIET)


def test_two_arrays_become_a_report_and_predictions(fitted: tuple[Path, list]) -> None:
    workdir, results = fitted
    images, labels, _ = arrays()
    (result,) = results
    assert result.table["bright"]["auroc"] > 0.9
    assert [record["kind"] for record in result.history].count("validation") == 2
    found = result.predict(images)
    assert found.shape == (240, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert found[labels == 1, 1].mean() > found[labels == 0, 1].mean() + 0.3
    assert (workdir / "report.html").is_file()
    assert "<td>stratified</td>" in results._repr_html_()
    assert "stratified" in repr(results)
    with pytest.raises(InputError, match=r"images are uint8 \[3, 8, 8, 1\], the network takes uint8"):
        result.predict(np.zeros((3, 8, 8, 1), np.uint8))


def test_the_same_arrays_go_on_and_others_are_refused(fitted: tuple[Path, list]) -> None:
    workdir, results = fitted
    images, labels, patients = arrays()
    names = ("normal", "bright")
    again = imbal_jax.fit(
        config(),
        workdir,
        imbal_jax.Dataset.from_arrays(images, labels, groups=patients, classes=names),
        console=QUIET,
    )
    np.testing.assert_array_equal(again[0].scores, results[0].scores)
    other = imbal_jax.Dataset.from_arrays(images, labels[::-1].copy(), groups=patients, classes=names)
    with pytest.raises(InputError, match="runs on another split"):
        imbal_jax.fit(config(), workdir, other, console=QUIET)


def test_ready_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    images, labels, patients = arrays()
    whole = imbal_jax.Dataset.from_arrays(images, labels, groups=patients, classes=("normal", "bright"))
    parts = [whole.take(np.arange(*ends)) for ends in ((0, 160), (160, 200), (200, 240))]
    results = imbal_jax.fit(config(), tmp_path, Splits(*parts, table=[]), console=QUIET)
    np.testing.assert_array_equal(results[0].labels, labels[200:])


def test_another_process_exports_and_says_that_arrays_are_not_on_disk(
    fitted: tuple[Path, list], tmp_path: Path
) -> None:
    workdir, _ = fitted
    command = [sys.executable, "-m", "imbal_jax"]
    done = subprocess.run([*command, "evaluate", str(workdir)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "arrays that a Python program gave" in done.stderr
    from PIL import Image

    for k, image in enumerate(arrays()[0][:12]):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(tmp_path / "pictures" / f"{k}.png")
    words = ["predict", str(workdir), str(tmp_path / "pictures"), "--out", str(tmp_path / "p.csv")]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, "how files become such arrays is not known"
    assert "nothing is known of how they were made" in done.stderr
    words = ["export", str(workdir / "stratified"), "--out", str(tmp_path / "x")]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x" / "model.stablehlo").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"), [(("quickstart",), "config is 'quickstart'"), ((None,), "None")]
)
def test_what_is_no_config_is_refused(arguments: tuple, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        imbal_jax.fit(*arguments, tmp_path)


def test_splits_that_share_a_patient_or_name_no_class_are_refused(tmp_path: Path) -> None:
    images, labels = np.zeros((40, 16, 16), np.uint8), np.arange(40) % 2
    whole = imbal_jax.Dataset.from_arrays(images, labels, np.arange(40), ("normal", "bright"))
    parts = [whole.take(rows) for rows in (np.arange(20), np.arange(19, 30), np.arange(30, 40))]
    shared = "the split that was given shares 1 of 30 patients between train and validation"
    with pytest.raises(InputError, match=shared):
        imbal_jax.fit(config(), tmp_path, Splits(*parts, table=[]), console=QUIET)
    # names in some parts and numbers in others
    named = [replace(parts[0], groups=np.array([f"p{i}" for i in range(20)], dtype=object)), *parts[1:]]
    named[1] = replace(parts[1], groups=named[0].groups[9:])
    with pytest.raises(InputError, match="shares 11 of 20 patients between train and validation"):
        imbal_jax.fit(config(), tmp_path, Splits(*named, table=[]), console=QUIET)
    parts[1] = whole.take(np.arange(20, 30))
    misspelt = replace(config(), data=replace(config().data, negative_class="norml"))
    with pytest.raises(InputError, match=r"data.negative-class is 'norml', the classes are normal, bright"):
        imbal_jax.fit(misspelt, tmp_path, Splits(*parts, table=[]), console=QUIET)
    others = replace(parts[2], classes=("a", "b"))
    with pytest.raises(InputError, match="the test split has the classes a, b, not those of train"):
        imbal_jax.fit(config(), tmp_path, Splits(*parts[:2], others, table=[]), console=QUIET)
