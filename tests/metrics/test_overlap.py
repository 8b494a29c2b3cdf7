"""Dice and intersection over union against sets of pixels, image by image."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax import metrics

fast = settings(max_examples=25, deadline=None)
METRICS = (metrics.dice, metrics.iou)


def by_name(metric):
    return metric.__name__


def overlap(metric, truth, decided):
    """Of two sets of pixels; NaN where the truth is empty."""
    truth, decided = set(np.flatnonzero(truth)), set(np.flatnonzero(decided))
    if not truth:
        return math.nan
    if metric is metrics.dice:
        return 2 * len(truth & decided) / (len(truth) + len(decided))
    return len(truth & decided) / len(truth | decided)


def known_mean(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5)])
@pytest.mark.parametrize("metric", METRICS, ids=by_name)
def test_one_class_or_none_is_the_mean_of_the_images_that_hold_it(metric, shape):
    rng = np.random.default_rng(0)
    labels, scores = (rng.random((7, *shape)) < 0.2).astype(int), rng.random((7, *shape))
    labels[3] = 0
    expected = known_mean([overlap(metric, labels[i], scores[i] >= 0.5) for i in range(7)])
    assert metric(labels, scores, spatial=len(shape)) == pytest.approx(expected, abs=1e-12)
    pooled = metric(labels, scores, spatial=len(shape), pooled=True)
    assert pooled == pytest.approx(overlap(metric, labels, scores >= 0.5), abs=1e-12)
    assert metric(labels.ravel(), scores.ravel()) == pooled


@pytest.mark.parametrize("metric", METRICS, ids=by_name)
def test_one_class_a_pixel_is_each_class_against_the_rest(metric):
    rng = np.random.default_rng(1)
    labels, scores = rng.choice(4, (6, 8, 8), p=[0.8, 0.15, 0.05, 0]), rng.random((6, 8, 8, 4))
    decided = scores.argmax(axis=-1)
    images = [[overlap(metric, labels[i] == c, decided[i] == c) for c in range(4)] for i in range(6)]
    expected = [known_mean(column) for column in zip(*images, strict=True)]
    found = metric(labels, scores, spatial=2, average="none")
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert math.isnan(found[3])
    assert metric(labels, scores, spatial=2) == pytest.approx(np.mean(expected[:3]), abs=1e-12)
    support = np.bincount(labels.ravel(), minlength=4)[:3]
    weighted = metric(labels, scores, spatial=2, average="weighted")
    assert weighted == pytest.approx(np.average(expected[:3], weights=support), abs=1e-12)
    one_hot, decided = np.eye(4, dtype=bool)[labels], np.eye(4, dtype=bool)[decided]
    micro = known_mean([overlap(metric, one_hot[i], decided[i]) for i in range(6)])
    assert metric(labels, scores, spatial=2, average="micro") == pytest.approx(micro, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=by_name)
def test_overlapping_classes_take_a_mask_and_a_threshold_each(metric):
    rng = np.random.default_rng(2)
    labels, scores = (rng.random((5, 6, 6, 2)) < 0.3).astype(int), rng.random((5, 6, 6, 2))
    mask, threshold = rng.random((5, 6, 6, 2)) < 0.7, np.array([0.3, 0.8])
    images = [
        [overlap(metric, labels[i, ..., c][kept], scores[i, ..., c][kept] >= threshold[c])
         for c, kept in enumerate(np.moveaxis(mask[i], -1, 0))]
        for i in range(5)
    ]  # fmt: skip
    expected = [known_mean(column) for column in zip(*images, strict=True)]
    scores[~mask] = np.nan
    found = metric(labels, scores, spatial=2, mask=mask, threshold=threshold, average="none")
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=by_name)
def test_masked_pixels_are_as_if_they_were_not_there(metric):
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 3, (4, 5, 5)), rng.random((4, 5, 5, 3))
    mask = rng.random((4, 5, 5)) < 0.6
    expected = [metric(labels[i][mask[i]], scores[i][mask[i]], average="none") for i in range(4)]
    scores[~mask] = np.nan
    found = metric(np.where(mask, labels, 255), scores, spatial=2, mask=mask, average="none")
    np.testing.assert_allclose(found, np.nanmean(expected, axis=0), atol=1e-12)
    found = metric(np.where(mask, labels, -1), scores, spatial=2, average="none")
    np.testing.assert_allclose(found, np.nanmean(expected, axis=0), atol=1e-12)


@pytest.mark.parametrize("metric", METRICS, ids=by_name)
def test_an_empty_truth_is_left_out_or_one_where_nothing_is_decided_and_else_zero(metric):
    labels = np.zeros((3, 2, 2), int)
    scores = np.zeros((3, 2, 2))
    labels[0, 0], scores[0, 0] = 1, 0.9  # perfect; nothing there and nothing decided; a false alarm
    scores[2, 1, 1] = 0.9
    assert metric(labels, scores, spatial=2) == 1
    assert metric(labels, scores, spatial=2, ignore_empty=False) == pytest.approx(2 / 3)
    assert math.isnan(metric(labels[1:], scores[1:], spatial=2))
    masked = np.ones((3, 2, 2), bool)
    masked[2] = False
    assert metric(labels, scores, spatial=2, ignore_empty=False, mask=masked) == 1


@fast
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_dice_is_two_iou_over_one_and_iou(pixels):
    labels, scores = np.array(pixels).T
    iou, dice = metrics.iou(labels, scores), metrics.dice(labels, scores)
    if labels.any():
        assert dice == pytest.approx(2 * iou / (1 + iou), abs=1e-12)
        assert dice == pytest.approx(metrics.f_beta(labels, scores), abs=1e-12)
    else:
        assert math.isnan(iou)
        assert math.isnan(dice)


@pytest.mark.parametrize("metric", METRICS, ids=by_name)
def test_no_image_and_no_pixel_are_undefined(metric):
    assert math.isnan(metric([], []))
    assert math.isnan(metric(np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), spatial=2))
    assert math.isnan(metric(np.zeros((2, 0, 4)), np.zeros((2, 0, 4)), spatial=2))
    found = metric(np.zeros((0, 4, 4)), np.zeros((0, 4, 4, 3)), spatial=2, average="none")
    assert np.isnan(found).tolist() == [True] * 3
    assert math.isnan(metric([[1, 0]], [[0.9, 0.1]], spatial=1, mask=[[False, False]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.dice(np.zeros((2, 3, 3)), np.zeros((2, 3, 4)), spatial=2), "do not fit scores"),
        (lambda: metrics.dice(np.zeros((2, 3)), np.zeros((2, 3)), spatial=2), "with spatial=2: expected"),
        (lambda: metrics.iou(np.zeros((2, 3)), np.zeros((2, 3)), spatial=-1), "spatial=-1"),
        (lambda: metrics.iou([[2, 0]], [[0.5, 0.5]], spatial=1), "label 2 is out of range"),
        (lambda: metrics.iou([[1, 0]], [[0.5, np.nan]], spatial=1), "1 of 2 scores are NaN"),
        (lambda: metrics.dice([1], [0.5], average="mean"), "unknown average 'mean'"),
        (lambda: metrics.dice(np.zeros((1, 2)), np.zeros((1, 2)), spatial=1, mask=[True]), r"mask \[1\]"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
