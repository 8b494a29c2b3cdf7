"""What the checks let pass, and in which form; what they refuse is tested where it is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.decisions import probabilities


def test_scores_of_any_float_come_out_as_float64():
    for dtype in (np.float16, np.float32, jnp.bfloat16):
        rows = jnp.asarray([[0.7, 0.2, 0.1]], dtype)
        assert probabilities.softmax_scores(rows).dtype == np.float64
        assert probabilities.sigmoid_scores(rows).shape == (1, 3)


def test_a_bfloat16_softmax_of_a_thousand_classes_passes():
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.dirichlet(np.ones(1000), 20), jnp.bfloat16)
    assert probabilities.softmax_scores(rows).shape == (20, 1000)


def test_priors_are_made_to_sum_to_one():
    values = probabilities.distribution("priors", np.array([0.3, 0.3, 0.395], np.float32), 3)
    assert values.sum() == pytest.approx(1, abs=1e-15)


def test_positives_and_negatives_keep_their_dtype_and_order():
    positive, negative = probabilities.one_finding(
        [True, False, True], np.array([0.5, 0.1, 0.25], np.float32)
    )
    assert (positive.tolist(), negative.tolist()) == ([0.5, 0.25], [pytest.approx(0.1)])
    assert positive.dtype == np.float32


def test_unknown_labels_go_with_their_scores():
    labels, scores = probabilities.one_label([2, -1, 0.0], [[1, 2, 3], [np.nan] * 3, [4, 5, 6]])
    assert labels.tolist() == [2, 0]
    assert labels.dtype == np.int64
    assert scores.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda p: p.check("x", np.array([[1.0, np.nan]]), np.array(True), "a number"), r"x\[0, 1\] is nan"),
        (lambda p: p.check("x", np.array(2.0), np.array(False), "less"), "x is 2, expected less"),
        (lambda p: p.one_label([0.5, 1], np.zeros((2, 2))), r"labels\[0\] is 0.5, expected 0 to 1"),
        (lambda p: p.one_label([0, 1], np.zeros((2, 1))), "C of 2 or more"),
        (lambda p: p.one_finding([0, np.nan], [0.1, 0.2]), r"labels\[1\] is nan"),
        (lambda p: p.one_finding([0, -3], [0.1, 0.2]), r"labels\[1\] is -3"),
        (lambda p: p.sigmoid_scores(0.5), r"scores have shape \[\]"),
    ],
)
def test_wrong_values_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call(probabilities)
