"""What is said first, and numbers at the prevalence of use: against counts of repeated cases and Bayes' rule."""

import io

import numpy as np
import pytest
from rich.console import Console

from imbal_jax.decisions.operating_point import OperatingPoint, predictive_values
from imbal_jax.metrics import brier, expected_calibration_error
from imbal_jax.report import RunResult
from imbal_jax.report.reliability import reliability
from imbal_jax.report.use import few_positives, first_said, shared_cautions, split_gaps, use_of
from imbal_jax.runs.points_table import points_table

CLASSES = ("normal", "nodule")


def labels_with(positives: int, negatives: int) -> np.ndarray:
    return np.repeat([1, 0], [positives, negatives])


def run(**changes: object) -> RunResult:
    """Test: 20 of 200 have the finding, 15 are found, 36 of 180 others called; validation: 4 of 400."""
    labels = labels_with(20, 180)
    p = np.where(np.concatenate([np.arange(20) < 15, np.arange(180) < 36]), 0.9, 0.1)
    seen = labels_with(4, 396)
    base = {
        "points": (OperatingPoint(0.5, "youden", 1, 1, 396, 4), OperatingPoint(0.5, "youden", 1, 1, 4, 396)),
        "validation_labels": seen,
        "validation_scores": np.full((400, 2), 0.5),
        "validation_groups": np.arange(400) // 2,
        "prevalence": (0.99, 0.01),
        "prevalence_source": "validation has",
        "history": [],
        "criterion": "auroc",
        "best_step": 1,
    }
    scores = np.stack([1 - p, p], axis=1)
    base |= {"method": "ce", "summary": "", "table": {}, "seconds": 1.0}
    return RunResult(labels=labels, scores=scores, **{**base, **changes})


def test_validation_patients_are_counted_and_not_their_images():
    labels, groups = labels_with(30, 70), np.arange(100) // 10
    (line,) = few_positives(labels, groups, CLASSES, "normal")
    assert line.startswith(
        "validation has 30 nodule images of 3 patients, fewer than 10 patients: the checkpoint,"
    )
    assert "only 36.8 % of new ones" in line  # 0.05 ** (1 / 3)
    assert few_positives(labels, np.arange(100), CLASSES, "normal") == []
    assert few_positives(labels, None, CLASSES, "normal") == []
    (line,) = few_positives(np.zeros(9, int), None, CLASSES, "normal")
    assert line.startswith("validation has no nodule image")
    many = np.array([[1, 0], [-1, 0], [0, -2]])
    assert [line[:20] for line in few_positives(many, None, ("a", "b"), None)] == [
        "validation has 1 a i",
        "validation has no b ",
    ]


def test_the_prevalence_of_use_is_the_tests_unless_it_differs_by_three_times():
    assert use_of(run(), 1, 2).prevalence == 0.01
    assert not use_of(run(), 1, 2).own
    for prevalence in (None, (0.95, 0.05), (1.0, 0.0)):
        use = use_of(run(prevalence=prevalence), 1, 2)
        assert (use.own, use.prevalence) == (True, 0.1)
    assert not use_of(run(prevalence=(0.7, 0.3)), 1, 2).own


def test_splits_that_differ_by_three_times_are_named_with_their_shares():
    rows = [
        {"split": s, "images": 1000, "normal": 1000 - n, "nodule": n}
        for s, n in (("train", 10), ("test", 100))
    ]
    assert split_gaps(rows, CLASSES, "normal") == [
        "the prevalence of nodule differs between the splits: train 1.0 %, test 10.0 %"
    ]
    rows[1]["nodule"] = 29
    assert split_gaps(rows, CLASSES, "normal") == []


def test_the_table_of_points_gives_ppv_and_calls_at_the_prevalence_of_use_and_says_so():
    console = Console(width=160, file=io.StringIO())
    console.print(points_table([run()], CLASSES, "normal"))
    text = console.file.getvalue()
    ppv = predictive_values(0.75, 0.8, 0.01).ppv
    assert f"{ppv:.2f} (" in text
    assert f"{15 / 51:.2f} (" not in text  # at the test set's prevalence
    assert " 205 " in text or " 206 " in text  # 1000 (0.75 0.01 + 0.2 0.99) = 205.5
    assert "at the prevalence that validation has, not the test set's: nodule 1.0 %" in text
    assert "two-sided 95 % intervals, by patient" in text


def test_what_rests_on_few_and_what_differs_is_said():
    few, differs = shared_cautions(run(), CLASSES, "normal")
    assert few.startswith("validation has 4 nodule images of 2 patients")
    assert differs == (
        "prevalence on validation and on test differs: nodule 1.0 % and 10.0 %. PPV, NPV, calls per 1,000 and "
        "calibration are given at the prevalence that validation has, not the test set's"
    )
    history = [{"kind": "train", "step": 1, "loss": 1.0}]
    history += [{"kind": "validation", "step": 2, "specificity": 1.0, "sensitivity": None, "best": True}]
    guarded = run(history=history, criterion="specificity where sensitivity >= 0.95", best_step=2)
    assert "undefined on validation" in first_said(guarded)[0]
    history[1]["sensitivity"] = 0.5
    assert first_said(guarded) == [
        "ce: no checkpoint reached sensitivity >= 0.95 on validation; the best had 0.50; chosen is step 2, with "
        "sensitivity 0.50"
    ]


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_calibration_at_a_prevalence_is_that_of_cases_repeated_to_have_it(binning):
    rng = np.random.default_rng(0)
    labels, scores = labels_with(40, 60), rng.random(100).round(1)
    repeats = np.where(labels == 1, 1, 6)  # 40 of 400
    alone = {"binning": binning, "bins": 5}
    expected = expected_calibration_error(np.repeat(labels, repeats), np.repeat(scores, repeats), **alone)
    assert expected_calibration_error(labels, scores, prevalence=0.1, **alone) == pytest.approx(
        expected, abs=1e-12
    )
    expected = brier(np.repeat(labels, repeats), np.repeat(scores, repeats))
    assert brier(labels, scores, prevalence=0.1) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="prevalence is 1"):
        brier(labels, scores, prevalence=1.0)


def test_a_reliability_diagram_at_a_prevalence_has_the_frequencies_of_repeated_cases():
    positive, scores = labels_with(50, 150) == 1, np.repeat([0.2, 0.6, 0.2, 0.6], [10, 40, 90, 60])
    predicted, observed, (low, high) = reliability(positive, scores, np.arange(200), 0.05)
    weight = 0.05 / 0.95 * 150 / 50  # of a positive, for a negative of 1
    np.testing.assert_allclose(observed, [10 * weight / (10 * weight + 90), 40 * weight / (40 * weight + 60)])
    np.testing.assert_allclose(predicted, [0.2, 0.6])
    assert (low < observed).all()
    assert (observed < high).all()
