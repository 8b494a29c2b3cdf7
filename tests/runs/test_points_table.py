"""The table of operating points, against counts made here."""

import io

import numpy as np
import pytest
from rich.console import Console

from imbal_jax.decisions.operating_point import OperatingPoint
from imbal_jax.metrics import wilson
from imbal_jax.report import RunResult
from imbal_jax.runs.points_table import points_table

CLASSES = ("normal", "nodule", "mass")


def result(points: tuple[OperatingPoint, ...] | None, labels: np.ndarray, scores: np.ndarray) -> RunResult:
    return RunResult("ce", "", [], "auroc", 1, {}, labels, scores, 1.0, points=points)


def shown(*results: RunResult) -> str:
    console = Console(width=160, file=io.StringIO())
    console.print(points_table(results, CLASSES, "normal"))
    return console.file.getvalue()


def point(threshold: float, rule: str = "youden") -> OperatingPoint:
    return OperatingPoint(threshold, rule, 1.0, 1.0, 1, 1)


def test_rates_are_those_of_the_decisions_with_wilsons_intervals() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10 % 3 * (np.arange(200) % 10 < 3)
    scores = rng.dirichlet((3, 1, 1), 200)
    text = shown(result((point(0.5), point(0.3), point(2.0, "cost 2:1: nobody")), labels, scores))
    called = scores[:, 1] >= 0.3
    hits, positives = (called & (labels == 1)).sum(), (labels == 1).sum()
    low, high = wilson(hits, positives)
    assert f"{hits / positives:.2f} ({low:.2f}–{high:.2f})" in text
    right, negatives = (~called & (labels != 1)).sum(), (labels != 1).sum()
    low, high = wilson(right, negatives)
    assert f"{right / negatives:.2f} ({low:.2f}–{high:.2f})" in text
    row = next(line for line in text.splitlines() if "nodule" in line)
    assert f"{1000 * called.mean():.0f}" in row
    assert "normal" not in text
    mass = next(line for line in text.splitlines() if line.lstrip("│ ").startswith("mass"))
    assert "nobody" in mass
    assert "0.00 (0.00–" in mass  # sensitivity
    assert " – " in mass  # and no PPV
    assert "youden: nodule" in text


def test_images_of_one_patient_that_agree_count_for_one() -> None:
    labels = np.repeat([0, 1], [50, 50])
    found = np.tile(
        np.repeat([True, False], 5), 10
    )  # five images of a patient in a row, found or missed together
    scores = np.where(found[:, None], [[0.1, 0.8, 0.1]], [[0.8, 0.1, 0.1]])
    points = (point(0.5), point(0.5), point(0.5))
    alone = result(points, labels, scores)
    clustered = RunResult(**{**vars(alone), "groups": np.arange(100) // 5})
    assert "0.50 ({:.2f}–{:.2f})".format(*wilson(25, 50)) in shown(alone)
    low, high = wilson(4, 8)  # ten patients; the variance of a share of ten is estimated over nine
    text = shown(clustered)
    assert "0.50 ({:.2f}–{:.2f})".format(*wilson(25, 50)) not in text
    row = next(line for line in text.splitlines() if "nodule" in line)
    bounds = row.split("0.50 (")[1].split(")")[0].split("–")
    assert low < float(bounds[0]) < wilson(25, 50).low
    assert wilson(25, 50).high < float(bounds[1]) < high


def test_a_run_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="ce has no operating points"):
        shown(result(None, np.zeros(2, int), np.ones((2, 3)) / 3))


def test_at_80_columns_no_number_is_cut() -> None:
    rng = np.random.default_rng(0)
    labels, scores = np.arange(200) % 3, rng.dirichlet((3, 1, 1), 200)
    console = Console(width=80, file=io.StringIO())
    console.print(points_table([result((point(0.5),) * 3, labels, scores)], CLASSES, "normal", 80))
    assert "…" not in console.file.getvalue()
    assert max(map(len, console.file.getvalue().splitlines())) <= 80
