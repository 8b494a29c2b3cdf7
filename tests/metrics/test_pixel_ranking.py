"""AUROC and average precision of pixels against scikit-learn and every order within the bins."""

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from imbal_jax import metrics
from imbal_jax.metrics.codes import encode


def pictures(seed=0, number=4, classes=3, digits=2):
    """Labels of one class a pixel with ignored ones, and scores with ties."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        labels = rng.choice([-1, *range(classes)], (16, 16), p=[0.1, *[0.9 / classes] * classes])
        scores = rng.beta(0.3, 1, (16, 16, classes))
        scores[labels == 1, 1] += 0.3
        yield labels.astype(np.int8), np.round(np.clip(scores, 0, 1), digits).astype(np.float32)


def by_scikit_learn(images, metric):
    labels, scores = (np.concatenate(side) for side in zip(*images, strict=True))
    known = labels >= 0
    return [metric(labels[known] == k, scores[known][:, k]) for k in range(scores.shape[-1])]


def test_few_pixels_are_ranked_exactly_as_scikit_learn_does():
    found = metrics.rank_pixels(pictures())
    assert found.exact
    assert found.pixels == sum((labels >= 0).sum() for labels, _ in pictures())
    np.testing.assert_allclose(found.auroc.value, by_scikit_learn(pictures(), roc_auc_score), atol=1e-12)
    np.testing.assert_allclose(
        found.average_precision.value, by_scikit_learn(pictures(), average_precision_score), atol=1e-12
    )
    np.testing.assert_array_equal(found.auroc.low, found.auroc.high)


@pytest.mark.parametrize("coded", [False, True])
def test_many_pixels_are_binned_and_the_bounds_hold_the_exact_value(coded):
    images = [(labels, encode(s) if coded else s) for labels, s in pictures(1, digits=6)]
    found = metrics.rank_pixels(images, exact_up_to=10**7 if coded else 500)
    assert not found.exact
    for bounded, metric in (
        (found.auroc, roc_auc_score),
        (found.average_precision, average_precision_score),
    ):
        exact = by_scikit_learn(pictures(1, digits=6), metric)
        binned = by_scikit_learn([(labels, encode(s)) for labels, s in pictures(1, digits=6)], metric)
        np.testing.assert_allclose(bounded.value, binned, atol=1e-12)
        assert (bounded.low <= exact).all()
        assert (exact <= bounded.high).all()
        assert (bounded.high - bounded.low < 0.01).all()


def weak_orders(items):
    """All rankings with ties of few items: positions, higher first."""
    for ranks in itertools.product(range(len(items)), repeat=len(items)):
        if set(ranks) == set(range(max(ranks) + 1)):
            yield ranks


@pytest.mark.parametrize(
    "bins", [[(2, 2)], [(1, 2), (1, 1)], [(2, 1), (0, 2)], [(0, 2), (2, 1)], [(1, 2), (2, 0)], [(2, 0)]]
)
def test_the_bounds_are_reached_by_the_best_and_the_worst_order_within_the_bins(bins):
    histogram = np.array(bins).T  # [negatives, positives] of each bin, ascending
    if not histogram.sum(axis=1).all():
        assert np.isnan(metrics.binned_auroc(histogram).value)
        return
    sides = [[0] * negatives + [1] * positives for negatives, positives in bins]
    truth = [one for side in sides for one in side]
    results = {roc_auc_score: [], average_precision_score: []}
    for orders in itertools.product(*(list(weak_orders(side)) or [()] for side in sides)):
        scores = [10 * place + rank for place, order in enumerate(orders) for rank in order]
        for metric, values in results.items():
            values.append(metric(truth, scores))
    for bounded, values in (
        (metrics.binned_auroc(histogram), results[roc_auc_score]),
        (metrics.binned_average_precision(histogram), results[average_precision_score]),
    ):
        assert bounded.low == pytest.approx(min(values), abs=1e-12)
        assert bounded.high == pytest.approx(max(values), abs=1e-12)
        assert bounded.low <= bounded.value + 1e-12
        assert bounded.value <= bounded.high + 1e-12


def test_the_worst_order_is_summed_without_cancellation_for_large_counts():
    # 3 positives below 2 million negatives and 10,000 positives, all in order
    histogram = np.zeros((2, 4), np.int64)
    histogram[1, 3], histogram[0, 2], histogram[1, 1], histogram[0, 1] = 10_000, 2_000_000, 3, 5
    terms = [(10_000 + i) / (10_000 + i + 2_000_005) for i in (1, 2, 3)]
    expected = (10_000 + math.fsum(terms)) / 10_003
    assert metrics.binned_average_precision(histogram).low == pytest.approx(expected, abs=1e-15)


def test_a_class_without_a_positive_is_undefined():
    labels, scores = np.zeros((4, 4), int), np.random.default_rng(0).random((4, 4, 2))
    for limit in (0, 100):
        found = metrics.rank_pixels([(labels, scores)], exact_up_to=limit)
        assert np.isnan(found.auroc.value).all()
        assert np.isnan(found.average_precision.value).tolist() == [False, True]
        assert found.exact == (limit == 100)


def test_no_image_and_changing_classes_are_refused():
    with pytest.raises(ValueError, match="no images"):
        metrics.rank_pixels([])
    image = np.zeros((2, 2), int)
    with pytest.raises(ValueError, match="an image has 3 classes, those before it 2"):
        metrics.rank_pixels([(image, np.zeros((2, 2, k))) for k in (2, 3)])
