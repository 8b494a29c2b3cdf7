"""Whole runs: what is chosen and what it rests on is said first, in the terminal and in the report."""

import io
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import roc_auc_score

from imbal_jax import train
from imbal_jax.config import Config, Data, Model, Train
from imbal_jax.console import percent
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS
from imbal_jax.runs.deployment import Deployment
from imbal_jax.runs.rescore import rescore


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 patients of two pictures, one patient in four "bright": noise that nobody can tell apart."""
    folder, rng, rows = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), ["file,patient,label"]
    for patient in range(200):
        for view in range(2):
            name = f"{patient}_{view}.png"
            Image.fromarray(rng.integers(0, 256, (16, 16)).astype(np.uint8)).save(folder / name)
            rows.append(f"{name},p{patient},{'normal' if patient % 4 else 'bright'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def config(pictures: Path) -> Config:
    return Config(
        name="small",
        methods=(METHODS["ce"],),
        select="specificity where sensitivity >= 0.95",
        data=Data(source="folder", dir=pictures, image_size=16, negative_class="normal", imbalance=20),
        model=Model(name="cnn", options={"width": 4, "stages": 1}),
        train=Train(epochs=0.2, batch_size=16, evaluations=2, steps_per_dispatch=1, devices=1),
    )


def test_a_constraint_that_was_not_met_and_a_rarer_draw_are_said_first(
    pictures: Path, tmp_path: Path
) -> None:
    console = Console(width=160, file=io.StringIO())
    results = train.fit(config(pictures), tmp_path / "run", console=console)
    trained = console.file.getvalue()
    console = Console(width=160, file=io.StringIO())
    rescore(config(pictures), tmp_path / "run", console)
    evaluated = console.file.getvalue()
    page = (tmp_path / "run" / "report.html").read_text()
    report = unescape(re.sub(r"<[^>]*>", "", page[page.index("<body") :])).replace("\N{NO-BREAK SPACE}", " ")
    unmet = "no checkpoint reached sensitivity >= 0.95 on validation; the best had 0.00"
    for text in (trained, evaluated, report):
        assert unmet in text
        assert re.search(r"validation has \d bright images? of \d patients?, fewer than 10 patients", text)
        assert "prevalence on validation and on test differs: bright" in text
        assert "at the prevalence that validation has, not the test set's" in text
        assert "best at step" not in text
        assert "at the true prevalence" not in text
        assert "two-sided 95 % intervals" in text
    for text in (trained, evaluated):
        assert text.index(unmet) < text.index("Results on the test set")
    assert report.index(unmet) < report.index("on 80 test images of 40 patients")
    # one AUROC: that of the calibrated probabilities; one sensitivity: that at the operating point
    (result,), (_, point) = results, Deployment.read(tmp_path / "run" / "ce" / "seed0").points
    area = roc_auc_score(result.labels, result.scores[:, 1])
    found = ((result.scores[:, 1] >= point.threshold) & (result.labels == 1)).sum() / 20
    for text in (trained, evaluated):
        row = next(line for line in text.splitlines() if re.match(r"│ bright +│ ce", line))
        assert f"{found:.3f}" in row
        assert f"{area:.3f}" in row
    assert f"<td>{found:.3f}</td>" in results._repr_html_()
    assert f"<td>{area:.3f}</td>" in results._repr_html_()
    assert f"{area:.3f} [" in report
    assert f"of 20, {percent(found)} [" in report
    assert re.search(
        r"prevalence of bright differs between the splits: train .*validation .*test 25.0 %", trained
    )
    assert re.search(r"split test .*bright 20 \(25.0 %\)", trained)
    # the constraint is the operating point, since none was given; and its patients are counted
    point = Deployment.read(tmp_path / "run" / "ce" / "seed0").points[0]
    assert point.rule == "sensitivity >= 0.95"
    assert point.positive_patients < point.n_positive


def test_a_promise_that_the_patients_of_validation_cannot_show_is_refused_before_training(
    pictures: Path, tmp_path: Path
) -> None:
    whole = config(pictures)
    whole = replace(whole, select="auroc", data=replace(whole.data, imbalance=None))
    # 8 patients of 2 images: 16 images would show 0.8 (0.05 ** (1 / 16) = 0.83), 8 patients show 0.69
    sure = replace(whole.deploy, points=("bright: sensitivity >= 0.8 with 95 % confidence",))
    with pytest.raises(
        InputError, match=r"8 positive patients \(16 images\) cannot show .* takes 14 positive pati"
    ):
        train.fit(replace(whole, deploy=sure), tmp_path / "run", console=Console(quiet=True))
    guarded = replace(whole, select="auroc where sensitivity/bright lower bound 95 % >= 0.8")
    with pytest.raises(InputError, match="8 positive patients"):
        train.fit(guarded, tmp_path / "other", console=Console(quiet=True))
