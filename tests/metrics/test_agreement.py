"""Intervals, calibration and overlap against scikit-learn, SciPy and the definitions."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, roc_auc_score

from imbal_jax import metrics

RNG = np.random.default_rng(0)
LABELS = (RNG.random(600) < 0.1).astype(int)
SCORES = np.round(RNG.normal(size=600) + LABELS, 1)  # with ties
PROBABILITIES = 1 / (1 + np.exp(-SCORES))


@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_partial_auroc_is_scikit_learns(max_fpr):
    expected = roc_auc_score(LABELS, SCORES, max_fpr=max_fpr)
    assert metrics.partial_auroc(LABELS, SCORES, max_fpr=max_fpr) == pytest.approx(expected, abs=1e-9)


def test_brier_is_scikit_learns():
    assert metrics.brier(LABELS, PROBABILITIES) == pytest.approx(brier_score_loss(LABELS, PROBABILITIES))


def test_rate_intervals_are_scipys():
    for hits, cases in ((0, 9), (3, 40), (40, 40), (570, 600)):
        test = stats.binomtest(hits, cases)
        for ours, method in ((metrics.wilson, "wilson"), (metrics.clopper_pearson, "exact")):
            expected = test.proportion_ci(0.95, method=method)
            np.testing.assert_allclose(ours(hits, cases), (expected.low, expected.high), atol=1e-9)


def test_the_bootstrap_is_deterministic_and_holds_the_estimate():
    low, high = metrics.bootstrap(metrics.auroc, LABELS, SCORES, samples=200, seed=3)
    assert (low, high) == tuple(metrics.bootstrap(metrics.auroc, LABELS, SCORES, samples=200, seed=3))
    assert low < roc_auc_score(LABELS, SCORES) < high
    groups = np.arange(600) // 3
    clustered = metrics.bootstrap(metrics.auroc, LABELS, SCORES, groups=groups, samples=200)
    assert clustered[0] < roc_auc_score(LABELS, SCORES) < clustered[1]


def test_delong_is_its_definition_by_placements():
    positive, negative = SCORES[LABELS == 1], SCORES[LABELS == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    variance = wins.mean(1).var(ddof=1) / len(positive) + wins.mean(0).var(ddof=1) / len(negative)
    found = metrics.delong(LABELS, SCORES)
    assert found.auroc == pytest.approx(wins.mean(), abs=1e-12)
    assert found.variance == pytest.approx(variance, rel=1e-9)
