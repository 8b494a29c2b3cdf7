"""Classes of many, medium and few training cases."""

import math

import numpy as np
import pytest

from imbal_jax import metrics


def test_groups_are_those_of_liu_et_al_at_their_borders():
    counts = [500, 101, 100, 20, 19, 0]
    means = metrics.shot_means([1.0, 0.5, 0.4, 0.2, 0.1, 0.0], counts)
    assert means == pytest.approx({"many": 0.75, "medium": 0.3, "few": 0.05, "all": 2.2 / 6})


def test_shot_accuracy_of_a_balanced_test_set_is_the_share_decided_rightly():
    rng = np.random.default_rng(0)
    counts = np.array([400, 200, 90, 50, 10, 5])
    labels = np.repeat(np.arange(6), 30)
    scores = rng.random((180, 6)) + np.eye(6)[labels] * 0.5
    right = scores.argmax(axis=1) == labels
    accuracy = metrics.shot_accuracy(labels, scores, counts)
    assert accuracy["many"] == pytest.approx(right[labels < 2].mean())
    assert accuracy["medium"] == pytest.approx(right[(labels == 2) | (labels == 3)].mean())
    assert accuracy["few"] == pytest.approx(right[labels > 3].mean())
    assert accuracy["all"] == pytest.approx(right.mean())


def test_masked_cases_and_absent_classes_are_left_out():
    labels, counts = np.array([0, 0, 1, 2]), [500, 50, 5]
    scores = np.eye(3)[[0, 1, 1, 0]]
    accuracy = metrics.shot_accuracy(labels, scores, counts, mask=[True, False, True, False])
    assert (accuracy["many"], accuracy["medium"], accuracy["all"]) == (1, 1, 1)
    assert math.isnan(accuracy["few"])
    assert all(math.isnan(value) for value in metrics.shot_means([], []).values())


def test_the_borders_can_be_moved():
    means = metrics.shot_means([1, 0.5, 0.25], [30, 20, 10], many=25, few=15)
    assert (means["many"], means["medium"], means["few"]) == (1, 0.5, 0.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.shot_means([1, 2], [1]), r"training_counts \[1\] do not fit values \[2\]"),
        (lambda: metrics.shot_means([1], [-1]), "training_counts hold -1"),
        (lambda: metrics.shot_means([1], [1], many=10, few=20), "few=20 is above many=10"),
        (lambda: metrics.shot_accuracy([0, 1], [0.1, 0.9], [5, 5]), "are not of one label"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
