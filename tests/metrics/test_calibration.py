"""Calibration error and Brier score against their definitions, written as loops over bins and cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from imbal_jax import metrics

fast = settings(max_examples=25, deadline=None)
BINNINGS = ("equal_width", "equal_mass")


def in_equal_widths(p, bins):
    """The bin of each probability: (0, 1/b], (1/b, 2/b], ... with 0 in the first."""
    edges = [b / bins for b in range(1, bins)]
    return np.array([sum(value > edge for edge in edges) for value in p], int)


def in_equal_masses(p, bins):
    """The bin of the middle rank, from 0 to 1, of the cases with that probability."""
    ranks = [(sum(p < value) + sum(p <= value)) / 2 for value in p]
    return np.array([int(bins * rank / len(p)) for rank in ranks], int)


def calibration_error(outcome, p, bins, binning):
    bin_of = {"equal_width": in_equal_widths, "equal_mass": in_equal_masses}[binning](p, bins)
    total = 0.0
    for b in range(bins):
        inside = bin_of == b
        if inside.any():
            total += inside.mean() * abs(outcome[inside].mean() - p[inside].mean())
    return total


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


@st.composite
def probabilities(draw):
    n = draw(st.integers(1, 40))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    # sixteenths are exact, so that the edges of four bins, 0 and 1 occur
    return labels, np.array(draw(st.lists(st.integers(0, 16), min_size=n, max_size=n))) / 16


@pytest.mark.parametrize("bins", [1, 4, 10, 15, 100])
@pytest.mark.parametrize("binning", BINNINGS)
def test_binary_calibration_error_is_its_definition(binning, bins):
    rng = np.random.default_rng(0)
    p = rng.random(500)
    labels = (rng.random(500) < p**2).astype(int)
    expected = calibration_error(labels, p, bins, binning)
    found = metrics.expected_calibration_error(labels, p, bins=bins, binning=binning)
    assert found == pytest.approx(expected, abs=1e-12)


@fast
@given(probabilities(), st.sampled_from([1, 2, 4, 8]))
def test_probabilities_on_the_edges_of_bins_and_ties_are_binned_as_defined(case, bins):
    for binning in BINNINGS:
        found = metrics.expected_calibration_error(*case, bins=bins, binning=binning)
        assert found == pytest.approx(calibration_error(*case, bins, binning), abs=1e-12)


def test_calibration_errors_computed_by_hand():
    labels, p = [1, 0, 1, 1], [0.25, 0.25, 0.75, 1.0]
    assert metrics.expected_calibration_error(labels, p, bins=2) == pytest.approx(0.5 * 0.25 + 0.5 * 0.125)
    assert metrics.expected_calibration_error(labels, p, bins=1) == pytest.approx(0.75 - 0.5625)
    assert metrics.expected_calibration_error([1, 0], [1.0, 0.0]) == 0
    assert metrics.expected_calibration_error([0, 1], [1.0, 0.0]) == 1


def test_equal_masses_hold_as_many_cases_each_and_never_divide_equal_probabilities():
    labels = np.array([0, 1] * 50)
    p = np.arange(100) / 1000  # one bin of fifteen equal widths holds two thirds of them
    expected = np.mean([abs(0.5 - p[10 * b : 10 * b + 10].mean()) for b in range(10)])
    found = metrics.expected_calibration_error(labels, p, bins=10, binning="equal_mass")
    assert found == pytest.approx(expected, abs=1e-12)
    constant = metrics.expected_calibration_error(labels, np.full(100, 0.3), bins=10, binning="equal_mass")
    assert constant == pytest.approx(0.2, abs=1e-12)


@pytest.mark.parametrize("binning", BINNINGS)
def test_calibration_error_of_one_label_is_of_the_class_decided_for(binning):
    rng = np.random.default_rng(1)
    p, labels = softmax(2 * rng.normal(size=(400, 4))), rng.integers(0, 4, 400)
    right = (p.argmax(axis=1) == labels).astype(float)
    expected = calibration_error(right, p.max(axis=1), 15, binning)
    found = metrics.expected_calibration_error(labels, p, binning=binning)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("binning", BINNINGS)
def test_class_wise_error_is_that_of_each_class_against_the_rest(binning):
    rng = np.random.default_rng(2)
    p, labels = softmax(rng.normal(size=(300, 3))), rng.choice(3, 300, p=[0.9, 0.09, 0.01])
    expected = [calibration_error((labels == c).astype(float), p[:, c], 15, binning) for c in range(3)]
    options = {"binning": binning, "class_wise": True}
    found = metrics.expected_calibration_error(labels, p, average="none", **options)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    macro = metrics.expected_calibration_error(labels, p, **options)
    assert macro == pytest.approx(np.mean(expected), abs=1e-12)


def test_many_labels_with_a_mask_are_so_many_binary_problems():
    rng = np.random.default_rng(3)
    p, mask = rng.random((200, 3)), rng.random((200, 3)) < 0.6
    labels = (rng.random((200, 3)) < p / 3).astype(int)
    p[~mask] = np.nan
    kept = [(labels[mask[:, c], c], p[mask[:, c], c]) for c in range(3)]
    expected = [calibration_error(*case, 15, "equal_width") for case in kept]
    found = metrics.expected_calibration_error(labels, p, mask=mask, average="none")
    np.testing.assert_allclose(found, expected, atol=1e-12)
    expected = [sk.brier_score_loss(*case) for case in kept]
    np.testing.assert_allclose(metrics.brier(labels, p, mask=mask, average="none"), expected, atol=1e-12)
    assert metrics.brier(labels, p, mask=mask) == pytest.approx(np.mean(expected), abs=1e-12)
    pooled = sk.brier_score_loss(labels[mask], p[mask])
    assert metrics.brier(labels, p, mask=mask, average="micro") == pytest.approx(pooled, abs=1e-12)


def test_brier_of_one_label_sums_over_the_classes_as_in_1950():
    rng = np.random.default_rng(4)
    p, labels = softmax(rng.normal(size=(200, 5))), rng.integers(0, 5, 200)
    assert metrics.brier(labels, p) == pytest.approx(
        ((p - np.eye(5)[labels]) ** 2).sum(axis=1).mean(), abs=1e-12
    )
    by_class = metrics.brier(labels, p, class_wise=True, average="none")
    expected = [sk.brier_score_loss(labels == c, p[:, c]) for c in range(5)]
    np.testing.assert_allclose(by_class, expected, atol=1e-12)
    assert by_class.sum() == pytest.approx(metrics.brier(labels, p), abs=1e-12)


def test_brier_among_the_positives_shows_what_the_whole_hides():
    labels = np.zeros(1000, int)
    labels[0] = 1
    p = np.full(1000, 0.001)
    assert metrics.brier(labels, p) < 0.0011
    assert metrics.brier(labels, p, among="positives") == pytest.approx(0.999**2)
    assert metrics.brier(labels, p, among="negatives") == pytest.approx(1e-6)
    assert math.isnan(metrics.brier(labels[1:], p[1:], among="positives"))


def test_no_case_and_one_class_alone():
    for metric in (metrics.expected_calibration_error, metrics.brier):
        assert math.isnan(metric([], []))
        assert math.isnan(metric([], np.zeros((0, 3))))
        assert math.isnan(metric([], np.zeros((0, 3)), class_wise=True))
        assert np.isnan(metric(np.zeros((0, 2)), np.zeros((0, 2)), average="none")).tolist() == [True] * 2
        assert math.isnan(metric([0, 1], [0.5, 0.5], mask=[False, False]))
    assert metrics.expected_calibration_error([0, 0], [0.25, 0.5]) == pytest.approx(0.375)
    assert metrics.brier([1, 1], [0.5, 1.0]) == 0.125


def test_a_float32_softmax_a_little_above_one_is_a_probability():
    above = np.nextafter(np.float32(1), np.float32(2))
    assert metrics.brier([1, 0], np.array([above, 0], np.float32)) == 0
    assert metrics.expected_calibration_error([1], np.array([above], np.float32)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.brier([0, 1], [-1.0, 2.0]), "scores run from -1 to 2: expected probabilities"),
        (lambda: metrics.brier([0, 1], [[0.9, 0.9], [0.5, 0.5]]), "scores of a case sum to 1.8"),
        (lambda: metrics.brier([0, 1], [0.5, 0.5], among="both"), "among is 'both': expected one of all"),
        (
            lambda: metrics.brier([0, 1], [[0.5, 0.5]] * 2, among="positives"),
            "among='positives' needs class_wise=True",
        ),
        (lambda: metrics.expected_calibration_error([0, 1], [0.5, 7]), "scores run from 0.5 to 7"),
        (
            lambda: metrics.expected_calibration_error([0], [0.5], bins=0),
            "bins is 0, expected a whole number",
        ),
        (lambda: metrics.expected_calibration_error([0], [0.5], bins=2.5), "bins is 2.5"),
        (lambda: metrics.expected_calibration_error([0], [0.5], binning="log"), "unknown binning 'log'"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
