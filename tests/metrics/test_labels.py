"""What labels say: checked, with unknown ones left out, and decided as the table of metrics decides."""

import numpy as np
import pytest

from imbal_jax.metrics import classification_summary
from imbal_jax.metrics import labels as labels_module


def test_positives_and_negatives_keep_their_dtype_and_order():
    positive, negative = labels_module.one_finding(
        [True, False, True], np.array([0.5, 0.1, 0.25], np.float32)
    )
    assert (positive.tolist(), negative.tolist()) == ([0.5, 0.25], [pytest.approx(0.1)])
    assert positive.dtype == np.float32


def test_unknown_labels_go_with_their_scores():
    labels, scores = labels_module.known_cases([2, -1, 0.0], [[1, 2, 3], [np.nan] * 3, [4, 5, 6]])
    assert labels.tolist() == [2, 0]
    assert labels.dtype == np.int64
    assert scores.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda p: p.check("x", np.array([[1.0, np.nan]]), np.array(True), "a number"), r"x\[0, 1\] is nan"),
        (lambda p: p.check("x", np.array(2.0), np.array(False), "less"), "x is 2, expected less"),
        (lambda p: p.known_cases([0.5, 1], np.zeros((2, 2))), r"labels\[0\] is 0.5, expected 0 to 1"),
        (lambda p: p.known_cases([0, 1], np.zeros((2, 1))), "C of 2 or more"),
        (lambda p: p.one_finding([0, np.nan], [0.1, 0.2]), r"labels\[1\] is nan"),
        (lambda p: p.one_finding([0, -3], [0.1, 0.2]), r"labels\[1\] is -3"),
    ],
)
def test_wrong_values_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call(labels_module)


def test_classes_are_decided_as_the_table_of_metrics_decides():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(3), 50)
    one, many = rng.integers(0, 3, 50), rng.integers(0, 2, (50, 3))
    for labels in (one, many):
        table = classification_summary(labels, scores, ["a", "b", "c"])
        truth = labels_module.one_against_rest(labels, 3)
        called = labels_module.decided_by_default(labels, scores)
        for c, name in enumerate("abc"):
            assert table[name]["sensitivity"] == pytest.approx(called[truth[:, c] == 1, c].mean())
            assert table[name]["specificity"] == pytest.approx(1 - called[truth[:, c] == 0, c].mean())


def test_classes_apart_leaves_unknown_labels_below_zero():
    truth, scores = labels_module.classes_apart([1, -1, 0], np.array([[0.2, 0.8]] * 3, np.float32))
    assert truth.tolist() == [[0, 1], [-1, -1], [1, 0]]
    assert scores.dtype == np.float64
    many = np.array([[1, 0, -1], [0, 1, -2]])
    assert labels_module.classes_apart(many, np.zeros((2, 3)))[0].tolist() == many.tolist()
    with pytest.raises(ValueError, match=r"labels\[0\] is 5, expected 0 to 1"):
        labels_module.classes_apart([5, 0], np.zeros((2, 2)))
