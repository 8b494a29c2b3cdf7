"""The best threshold against every threshold tried on the scores themselves."""

import numpy as np
import pytest

from imbal_jax import metrics
from imbal_jax.metrics.codes import BINS, decode, encode


def cases(seed, number=5):
    rng = np.random.default_rng(seed)
    for i in range(number):
        labels = rng.choice([-1, 0, 1], (2, 6, 6), p=[0.1, 0.7, 0.2])
        labels[labels == 1] = 0 if i == 0 else 1  # without the class
        scores = np.clip(rng.beta(0.5, 2, (2, 6, 6)) + 0.2 * (labels == 1), 0, 1)
        yield labels, np.stack([1 - scores, scores], axis=-1).astype(np.float32)


def value_at(images, threshold, metric, pooled, ignore_empty):
    tables = np.array([metrics.mask_tables(y[None], s[None], threshold)[0] for y, s in images])
    return metrics.mask_metric(tables, metric, pooled=pooled, ignore_empty=ignore_empty)


@pytest.mark.parametrize("metric", ["dice", "iou"])
@pytest.mark.parametrize("ignore_empty", [True, False, "both"])
@pytest.mark.parametrize("pooled", [False, True])
def test_no_threshold_is_better_than_the_best(metric, pooled, ignore_empty):
    images = list(cases(0))
    curve = metrics.threshold_curve(
        (metrics.pixel_histogram(*image) for image in images),
        metric,
        pooled=pooled,
        ignore_empty=ignore_empty,
    )
    threshold, value = metrics.best_threshold(curve)
    np.testing.assert_allclose(value_at(images, threshold, metric, pooled, ignore_empty), value, atol=1e-12)
    tried = np.unique(np.concatenate([s.reshape(-1, 2) for _, s in images]), axis=0)
    rng = np.random.default_rng(1)
    for bound in rng.permutation(tried)[:60]:
        at = decode(encode(bound))
        reached = value_at(images, at, metric, pooled, ignore_empty)
        np.testing.assert_allclose(curve[np.arange(2), encode(bound)], reached, atol=1e-12)
        assert (reached <= value + 1e-12).all()


def test_the_middle_of_the_gap_between_the_classes_is_chosen():
    labels, scores = np.array([[0, 0, 1, 1]]), np.float32([[[0.1], [0.2], [0.8], [0.9]]])
    threshold, value = metrics.best_threshold(
        metrics.threshold_curve([metrics.pixel_histogram(labels, scores)])
    )
    assert value == 1
    assert threshold == pytest.approx(0.5, abs=1e-3)  # codes are symmetric about 1/2


def test_a_class_that_is_never_there_has_no_threshold():
    histogram = metrics.pixel_histogram(np.zeros((3, 3), int), np.full((3, 3, 2), 0.5))
    for pooled in (False, True):
        threshold, value = metrics.best_threshold(metrics.threshold_curve([histogram], pooled=pooled))
        assert np.isnan([threshold[1], value[1]]).all()
        assert value[0] == 1
    curve = metrics.threshold_curve([histogram], pooled=True, ignore_empty=False)
    assert metrics.best_threshold(curve).value.tolist() == [1, 1]
    assert curve.shape == (2, BINS)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="no histograms"):
        metrics.threshold_curve([])
    with pytest.raises(ValueError, match="metric is 'auroc'"):
        metrics.threshold_curve([], "auroc")
