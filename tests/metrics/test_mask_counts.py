"""Decision tables of masks against scikit-learn, the metrics of images and a bootstrap by hand."""

import numpy as np
import pytest
from sklearn.metrics import multilabel_confusion_matrix

from imbal_jax import metrics
from imbal_jax.metrics.codes import decode, encode
from imbal_jax.metrics.mask_counts import MASK_METRICS


def masks(seed=0, number=6, classes=3):
    rng = np.random.default_rng(seed)
    labels = rng.choice(
        [-1, *range(classes)], (number, 8, 8), p=[0.1, 0.6, *[0.3 / (classes - 1)] * (classes - 1)]
    )
    labels[0][labels[0] == classes - 1] = 0
    return labels.astype(np.int8), rng.dirichlet(np.ones(classes), (number, 8, 8)).astype(np.float32)


def test_the_highest_score_decides_as_scikit_learn_counts():
    labels, scores = masks()
    found = metrics.mask_tables(labels, scores, None)
    assert found.dtype == np.int64
    for i in range(6):
        known = labels[i] >= 0
        expected = multilabel_confusion_matrix(labels[i][known], scores[i][known].argmax(-1), labels=range(3))
        np.testing.assert_array_equal(found[i], expected)
    np.testing.assert_array_equal(found, metrics.mask_tables(labels, encode(scores), None))


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_threshold_a_class_decides_scores_and_codes_alike(overlapping):
    labels, scores = masks(1)
    if overlapping:
        labels = np.where(labels[..., None] < 0, -2, np.random.default_rng(2).integers(2, size=scores.shape))
    bounds = decode(encode(np.array([0.2, 0.5, 0.7])))  # edges of bins
    found = metrics.mask_tables(labels, scores, bounds)
    np.testing.assert_array_equal(found, metrics.mask_tables(labels, encode(scores), bounds))
    for i, k in np.ndindex(6, 3):
        truth = labels[i, ..., k] if overlapping else labels[i]
        known = truth >= 0
        positive, called = truth[known] == (1 if overlapping else k), scores[i, ..., k][known] >= bounds[k]
        expected = [[(~positive & ~called).sum(), (~positive & called).sum()],
                    [(positive & ~called).sum(), (positive & called).sum()]]  # fmt: skip
        np.testing.assert_array_equal(found[i, k], expected)


@pytest.mark.parametrize("ignore_empty", [True, False, "both"])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("name", ["dice", "iou"])
def test_overlap_is_that_of_the_metrics_of_images(name, pooled, ignore_empty):
    labels, scores = masks(3)
    found = metrics.mask_metric(
        metrics.mask_tables(labels, scores, None), name, pooled=pooled, ignore_empty=ignore_empty
    )
    expected = getattr(metrics, name)(
        labels, scores, spatial=2, pooled=pooled, ignore_empty=ignore_empty, average="none"
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["sensitivity", "specificity", "precision"])
def test_rates_are_those_of_the_pixels_pooled_and_image_by_image(name):
    labels, scores = masks(4)
    tables = metrics.mask_tables(labels, scores, None)
    flat = labels.ravel(), scores.reshape(-1, 3)
    metric = getattr(metrics, name)
    np.testing.assert_allclose(
        metrics.mask_metric(tables, name, pooled=True), metric(*flat, average="none"), atol=1e-12
    )
    images = [metric(labels[i].ravel(), scores[i].reshape(-1, 3), average="none") for i in range(6)]
    np.testing.assert_allclose(MASK_METRICS[name](tables, True), images, atol=1e-12)
    np.testing.assert_allclose(metrics.mask_metric(tables, name), np.nanmean(images, axis=0), atol=1e-12)


def test_a_case_is_the_sum_of_its_images():
    labels, scores = masks(5)
    tables = metrics.mask_tables(labels, scores)
    cases = np.array(["b", "a", "b", "c", "a", "b"])
    found = metrics.tables_by_case(tables, cases)
    np.testing.assert_array_equal(found, [tables[cases == name].sum(axis=0) for name in "abc"])
    with pytest.raises(ValueError, match="missing"):
        metrics.tables_by_case(tables, ["a", "b", "", "c", "a", "b"])


@pytest.mark.parametrize("pooled", [False, True])
def test_the_interval_is_that_of_the_bootstrap_of_the_images_themselves(pooled):
    rng = np.random.default_rng(6)
    labels, scores = (rng.random((20, 6, 6)) < 0.2).astype(int), rng.random((20, 6, 6))
    labels[:4] = 0
    groups = np.arange(20) // 2

    def dice(labels, scores):
        return metrics.dice(labels, scores, spatial=2, pooled=pooled)

    tables = metrics.mask_tables(labels, scores[..., None])
    options = {"groups": groups, "samples": 200, "seed": 3}
    low, high = metrics.mask_interval(tables, "dice", pooled=pooled, **options)
    expected = metrics.bootstrap(dice, labels, scores, **options)
    np.testing.assert_allclose((low[0], high[0]), expected, atol=1e-12)


def test_the_interval_of_a_macro_mean_covers_the_classes_that_are_asked_for():
    labels, scores = masks(7, number=12)
    tables = metrics.mask_tables(labels, scores, None)
    options = {"samples": 50, "method": "percentile"}
    one = metrics.mask_interval(tables, "iou", macro=[1], **options)
    each = metrics.mask_interval(tables, "iou", **options)
    assert one == (each.low[1], each.high[1])
    low, high = metrics.mask_interval(tables, "iou", macro=[1, 2], **options)
    assert low < metrics.mask_metric(tables, "iou")[1:].mean() < high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y, s: metrics.mask_tables(y[:2], s), "do not fit scores"),
        (lambda y, s: metrics.mask_tables(y, s, np.nan), "not NaN"),
        (lambda y, s: metrics.mask_tables(y, s, [0.1, 0.2]), "must be one number, or 3"),
        (lambda y, s: metrics.mask_tables(np.clip(y, 0, 1), s[..., :1], None), "two classes or more"),
        (lambda y, s: metrics.mask_metric(metrics.mask_tables(y, s), "auroc"), "metric is 'auroc'"),
        (
            lambda y, s: metrics.mask_metric(metrics.mask_tables(y, s), "dice", ignore_empty="all"),
            "ignore_empty",
        ),
        (lambda y, s: metrics.mask_interval(metrics.mask_tables(y, s), "dice", samples=0), "samples is 0"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*masks())
