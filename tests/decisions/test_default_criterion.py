"""The criterion where the user names none: counts are by patient, of every class but the negative one."""

import numpy as np
import pytest

from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.default_criterion import AT_THRESHOLDS, RANKING, default_criterion
from imbal_jax.decisions.selection import best_step

CLASSES = ("normal", "mass", "nodule")


def labels_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(3), counts)


@pytest.mark.parametrize(
    ("counts", "criterion"),
    [((90, 10, 10), AT_THRESHOLDS), ((90, 10, 9), RANKING), ((5, 10, 10), AT_THRESHOLDS)],
)
def test_ten_patients_of_every_class_but_the_negative_one_make_thresholds_possible(
    counts: tuple[int, ...], criterion: str
) -> None:
    assert default_criterion(labels_of(*counts), None, CLASSES, "normal")[0] == criterion


def test_without_a_negative_class_all_count() -> None:
    assert default_criterion(labels_of(5, 10, 10), None, CLASSES, None)[0] == RANKING


def test_ten_images_of_one_patient_are_one_case_and_the_reason_says_how_many_there_are() -> None:
    labels = labels_of(50, 20, 20)
    patients = np.arange(90)
    patients[70:] = 70 + np.arange(20) // 5  # four patients with five images of a nodule each
    criterion, reason = default_criterion(labels, patients, CLASSES, "normal")
    assert criterion == RANKING
    assert reason.endswith("fewer than 10 patients of a class: nodule has 4")


def test_of_many_labels_an_unknown_one_is_no_case() -> None:
    labels = np.zeros((40, 2), int)
    labels[:10, 0] = 1
    labels[:10, 1] = [1] * 9 + [-1]
    assert default_criterion(labels, None, ("mass", "nodule"), None)[0] == RANKING
    labels[9, 1] = 1
    assert default_criterion(labels, None, ("mass", "nodule"), None)[0] == AT_THRESHOLDS


def test_both_are_criteria_and_ties_go_to_the_average_precision() -> None:
    for text in (AT_THRESHOLDS, RANKING):
        parse_criterion(text)
    names = ("sensitivity at operating points", "f_score at operating points", "average_precision")
    history = [
        {"step": step, **dict(zip(names, values, strict=True))}
        for step, values in ((10, (0.8, 0.4, 0.3)), (20, (0.8, 0.4, 0.5)), (30, (0.7, 0.4, 0.9)))
    ]
    assert best_step(history, parse_criterion(AT_THRESHOLDS)) == 20
