"""Histograms of pixels against loops."""

import numpy as np
import pytest

from imbal_jax import metrics
from imbal_jax.metrics.codes import BINS, encode


@pytest.mark.parametrize("kind", ["one class a pixel", "binary", "overlapping"])
@pytest.mark.parametrize("coded", [False, True])
def test_a_histogram_counts_each_known_pixel_of_each_class_once(kind, coded):
    rng = np.random.default_rng(0)
    classes = 1 if kind == "binary" else 3
    shape = (5, 6, classes) if kind == "overlapping" else (5, 6)
    labels = rng.integers(-2, 2 if kind != "one class a pixel" else 3, shape).astype(np.int8)
    scores = rng.random((5, 6, classes)).astype(np.float32)
    expected = np.zeros((classes, 2, BINS), int)
    for y, x, k in np.ndindex(scores.shape):
        label = labels[y, x, k] if kind == "overlapping" else labels[y, x]
        if label >= 0:
            positive = label == k if kind == "one class a pixel" else label == 1
            expected[k, int(positive), encode(scores[y, x, k])] += 1
    found = metrics.pixel_histogram(labels, encode(scores) if coded else scores)
    np.testing.assert_array_equal(found, expected)


def test_a_hidden_score_may_be_no_number_and_an_image_without_pixels_counts_nothing():
    labels, scores = np.array([[0, -1, 1]]), np.array([[[0.1], [np.nan], [0.9]]])
    assert metrics.pixel_histogram(labels, scores).sum(axis=2).tolist() == [[1, 1]]
    assert metrics.pixel_histogram(np.full((2, 2), -1), np.full((2, 2, 4), np.nan)).sum() == 0
    assert metrics.pixel_histogram(np.zeros((0, 2), int), np.zeros((0, 2, 3))).shape == (3, 2, BINS)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4, 1)), "do not fit scores"),
        (np.zeros(3), np.zeros(3), "do not fit scores"),
        (np.full((2, 2), 3), np.zeros((2, 2, 3)), "label 3 is out of range"),
        (np.full((2, 2), -3), np.zeros((2, 2, 3)), "label -3 is out of range"),
        (np.full((2, 2, 3), 2), np.zeros((2, 2, 3)), "label 2 is out of range"),
        (np.zeros((2, 2), int), np.full((2, 2, 3), np.nan), "are NaN"),
        (np.zeros((2, 2), int), np.full((2, 2, 3), -4.0), "outside 0 to 1"),
    ],
)
def test_wrong_input_is_named(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        metrics.pixel_histogram(labels, scores)
