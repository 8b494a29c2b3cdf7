"""Partial areas and operating points of the ROC curve: scikit-learn, every threshold tried, and laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from imbal_jax import metrics

fast = settings(max_examples=25, deadline=None)
ROC = (metrics.partial_auroc, metrics.sensitivity_at_specificity, metrics.specificity_at_sensitivity)
EVERY = (metrics.auroc, metrics.average_precision, *ROC)


def by_name(metric):
    return metric.__name__


def scores_of(kind, rng, shape):
    if kind == "random":
        return rng.normal(size=shape)
    return rng.integers(0, 5, shape) / 4 if kind == "tied" else np.full(shape, 0.25)


def roc_points(labels, scores):
    """Specificity and sensitivity of every threshold, above all scores first."""
    for threshold in [np.inf, *np.unique(scores)[::-1]]:
        decided = scores >= threshold
        yield (~decided[labels == 0]).mean(), decided[labels == 1].mean()


@st.composite
def binary_cases(draw):
    n = draw(st.integers(2, 30))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    labels[:2] = 0, 1
    return labels, np.array(draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))) / 4


@pytest.mark.parametrize("max_fpr", [0.001, 0.05, 0.1, 0.37, 1.0])
@pytest.mark.parametrize("prevalence", [0.5, 0.01, 0.99])
@pytest.mark.parametrize("kind", ["random", "tied", "constant"])
def test_partial_auroc_agrees_with_scikit_learn(kind, prevalence, max_fpr):
    rng = np.random.default_rng(0)
    labels, scores = (rng.random(800) < prevalence).astype(int), scores_of(kind, rng, 800)
    expected = sk.roc_auc_score(labels, scores, max_fpr=max_fpr)
    assert metrics.partial_auroc(labels, scores, max_fpr) == pytest.approx(expected, abs=1e-12)


@fast
@given(binary_cases(), st.floats(0.01, 1))
def test_partial_area_is_the_trapezoids_under_the_curve_up_to_the_rate(case, max_fpr):
    labels, scores = case
    fpr, sensitivity = np.array([(1 - s, t) for s, t in roc_points(labels, scores)]).T
    grid = np.union1d(fpr[fpr <= max_fpr], max_fpr)
    # at a vertical step the curve's upper end counts to the right of it, and its lower end to the left
    upper = [np.interp(x, fpr, sensitivity) if x not in fpr else sensitivity[fpr == x].max() for x in grid]
    lower = [np.interp(x, fpr, sensitivity) if x not in fpr else sensitivity[fpr == x].min() for x in grid]
    area = sum((grid[i + 1] - grid[i]) * (upper[i] + lower[i + 1]) / 2 for i in range(len(grid) - 1))
    found = metrics.partial_auroc(labels, scores, max_fpr, standardized=False)
    assert found == pytest.approx(area, abs=1e-9)


def test_standardized_partial_auroc_is_half_for_chance_and_one_for_perfect_scores():
    labels = np.repeat([0, 1], 50)
    for max_fpr in (0.02, 0.5, 1.0):
        assert metrics.partial_auroc(labels, np.zeros(100), max_fpr) == pytest.approx(0.5, abs=1e-12)
        assert metrics.partial_auroc(labels, labels, max_fpr) == pytest.approx(1, abs=1e-12)
    assert metrics.partial_auroc(labels, labels, 0.2, standardized=False) == pytest.approx(0.2, abs=1e-12)


@fast
@given(binary_cases())
def test_the_whole_partial_area_is_the_auroc(case):
    assert metrics.partial_auroc(*case, 1.0) == pytest.approx(metrics.auroc(*case), abs=1e-12)


@fast
@given(binary_cases(), st.sampled_from([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1]))
def test_operating_points_are_the_best_of_every_threshold(case, wanted):
    points = list(roc_points(*case))
    best = max(sensitivity for specificity, sensitivity in points if specificity >= wanted)
    assert metrics.sensitivity_at_specificity(*case, wanted) == pytest.approx(best, abs=1e-12)
    best = max(specificity for specificity, sensitivity in points if sensitivity >= wanted)
    assert metrics.specificity_at_sensitivity(*case, wanted) == pytest.approx(best, abs=1e-12)


def test_operating_points_computed_by_hand():
    labels, scores = [0, 0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.2, 0.5, 0.9]
    assert metrics.sensitivity_at_specificity(labels, scores, 0.75) == pytest.approx(2 / 3)
    assert metrics.sensitivity_at_specificity(labels, scores, 1) == pytest.approx(1 / 3)
    assert metrics.specificity_at_sensitivity(labels, scores, 1) == 0.25
    assert metrics.specificity_at_sensitivity(labels, scores, 0.6) == 0.75
    assert metrics.specificity_at_sensitivity(labels, scores, 0) == 1


def test_a_rate_reached_exactly_counts_as_reached():
    labels = np.repeat([0, 1], 10)
    scores = np.concatenate([np.arange(10), np.full(10, 9)])  # nine negatives of ten below the positives
    assert metrics.sensitivity_at_specificity(labels, scores, 0.9) == 1
    assert metrics.sensitivity_at_specificity(labels, scores, np.nextafter(0.9, 1)) == 0


@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "none"])
@pytest.mark.parametrize("metric", EVERY, ids=by_name)
def test_masked_many_labels_are_averages_of_the_binary_values(metric, average):
    rng = np.random.default_rng(1)
    labels, scores = (rng.random((200, 3)) < [0.4, 0.1, 0.02]).astype(int), rng.integers(0, 20, (200, 3)) / 20
    mask = rng.random((200, 3)) < 0.7
    by_class = [metric(labels[mask[:, c], c], scores[mask[:, c], c]) for c in range(3)]
    expected = {
        "none": by_class,
        "macro": np.mean(by_class),
        "weighted": np.average(by_class, weights=(labels * mask).sum(axis=0)),
        "micro": metric(labels[mask], scores[mask]),
    }[average]
    np.testing.assert_allclose(metric(labels, scores, mask=mask, average=average), expected, atol=1e-12)


@pytest.mark.parametrize("metric", ROC, ids=by_name)
def test_one_class_alone_and_no_case_have_no_roc_curve(metric):
    for labels in ([0, 0, 0], [1, 1, 1], []):
        assert math.isnan(metric(labels, np.linspace(0, 1, len(labels))))
    assert math.isnan(metric([0, 1], [0.1, 0.9], mask=[True, False]))


@pytest.mark.parametrize("metric", EVERY, ids=by_name)
def test_a_class_without_positives_is_nan_and_the_mean_tells_how_many_it_covers(metric):
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 3, 60), rng.random((60, 4))  # class 3 never
    by_class = metric(labels, scores, average="none")
    assert np.isnan(by_class).tolist() == [False, False, False, True]
    value, covered = metrics.macro_mean(by_class)
    assert covered == 3
    assert metric(labels, scores) == pytest.approx(value, abs=1e-15)
    assert metric(labels, scores) == pytest.approx(by_class[:3].mean(), abs=1e-15)


def test_masked_labels_are_not_looked_at():
    labels, mask = np.array([0, 255, 1, np.nan]), [True, False, True, False]
    assert metrics.auroc(labels, [0.1, np.nan, 0.9, np.nan], mask=mask) == 1
    assert metrics.confusion_matrix(labels, [0, 7, 1, np.nan], 2, mask=mask).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y, s: metrics.partial_auroc(y, s, 0), "max_fpr is 0: no area is left"),
        (lambda y, s: metrics.partial_auroc(y, s, 1.5), "max_fpr is 1.5, expected a rate"),
        (lambda y, s: metrics.sensitivity_at_specificity(y, s, -0.1), "specificity is -0.1"),
        (lambda y, s: metrics.specificity_at_sensitivity(y, s, np.nan), "sensitivity is nan"),
        (lambda y, s: metrics.confusion_matrix(y, s, 1), "num_classes=1, expected two or more"),
        (lambda y, s: metrics.confusion_matrix(y, [0], 2), r"labels \[2\] do not fit decisions \[1\]"),
        (lambda y, s: metrics.confusion_matrix([0, 2], s, 2), "label 2 is out of range: expected 0 to 1"),
    ],
)
def test_wrong_options_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call([0, 1], [0.1, 0.9])
