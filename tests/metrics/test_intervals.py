"""Intervals of rates, and DeLong's variance against its definition, pair by pair and patient by patient."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from imbal_jax import metrics

fast = settings(max_examples=25, deadline=None)
Z = stats.norm.ppf(0.975)


def cases_of(seed, n=120, prevalence=0.3, ties=True):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < prevalence).astype(int)
    scores = labels + rng.normal(size=(2, n))
    return labels, *(np.round(scores, 1) if ties else scores)


def placements(labels, scores):
    """V+ of each positive and V- of each negative, by comparing every pair; 0 for cases of the other side."""
    above = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    positive, negative = labels == 1, labels == 0
    up = np.where(positive, above[:, negative].mean(axis=1), 0)
    down = np.where(negative, above[positive].mean(axis=0), 0)
    return up, down


def clustered_covariance(labels, scores, groups):
    """Obuchowski (Biometrics 1997), of the areas of S scores: sums over patients, one after the other."""
    positive, negative = labels == 1, labels == 0
    P, N = positive.sum(), negative.sum()
    patients = np.unique(groups)
    up, down = np.zeros((2, len(scores), len(patients)))
    for s, score in enumerate(scores):
        v_up, v_down = placements(labels, score)
        area = v_up.sum() / P
        for g, patient in enumerate(patients):
            own = groups == patient
            up[s, g] = v_up[own].sum() - (own & positive).sum() * area
            down[s, g] = v_down[own].sum() - (own & negative).sum() * area
    with_positive = len(np.unique(groups[positive]))
    with_negative = len(np.unique(groups[negative]))
    cross = up @ down.T
    return (
        with_positive / (with_positive - 1) * up @ up.T / P**2
        + with_negative / (with_negative - 1) * down @ down.T / N**2
        + len(patients) / (len(patients) - 1) * (cross + cross.T) / (P * N)
    )


# Rates


@fast
@given(st.integers(1, 10**6), st.data(), st.sampled_from([0.8, 0.95, 0.999]))
def test_wilson_and_clopper_pearson_agree_with_scipy(trials, data, confidence):
    successes = data.draw(st.integers(0, trials))
    test = stats.binomtest(successes, trials)
    for ours, name in ((metrics.wilson, "wilson"), (metrics.clopper_pearson, "exact")):
        expected = test.proportion_ci(confidence, method=name)
        np.testing.assert_allclose(ours(successes, trials, confidence), expected, rtol=1e-6, atol=1e-9)


def test_wilson_solves_its_quadratic():
    """The bounds are the rates p at which (k / n - p)^2 = z^2 p (1 - p) / n."""
    for k, n in ((1, 10), (37, 40), (3, 5000)):
        for p in metrics.wilson(k, n):
            assert (k / n - p) ** 2 == pytest.approx(Z**2 * p * (1 - p) / n, rel=1e-9)


def test_clopper_pearson_bounds_are_where_the_tails_hold_a_fortieth():
    for k, n in ((1, 10), (37, 40), (3, 5000)):
        low, high = metrics.clopper_pearson(k, n)
        assert stats.binom.sf(k - 1, n, low) == pytest.approx(0.025, rel=1e-6)
        assert stats.binom.cdf(k, n, high) == pytest.approx(0.025, rel=1e-6)


def test_rates_of_nothing_of_none_and_of_all():
    for interval in (metrics.wilson, metrics.clopper_pearson):
        assert all(math.isnan(bound) for bound in interval(0, 0))
        assert interval(0, 20).low == 0
        assert interval(20, 20).high == 1
        low, high = interval([0, 5, 0], [10, 10, 0])
        assert (low[0], np.isnan(low).tolist()) == (0, [False, False, True])
        assert (low[1], high[1]) == tuple(interval(5, 10))
    assert metrics.clopper_pearson(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.wilson(3, 2), "3 successes in 2 trials"),
        (lambda: metrics.wilson(0.5, 2), "0.5 successes in 2 trials"),
        (lambda: metrics.clopper_pearson([1, -1], [2, 2]), "-1 successes in 2 trials"),
        (lambda: metrics.clopper_pearson(1, 2, 95), "confidence is 95, expected a share"),
        (lambda: metrics.delong([0, 1], [0, 1], confidence=1), "confidence is 1"),
        (lambda: metrics.delong([0, 1], [0, 1], scale="log"), "unknown scale 'log'"),
        (lambda: metrics.delong([0, 1], [0, 1], groups=[1]), r"groups \[1\] must be one a case, \[2\]"),
        (lambda: metrics.delong([0, 1], [0, 1], groups=[1.0, np.nan]), "1 of 2 groups are missing"),
        (lambda: metrics.delong([0, 1], [0, 1], groups=np.array(["a", None])), "1 of 2 groups are missing"),
        (lambda: metrics.delong_difference([0, 1], [0, 1], [[0, 1], [1, 0]]), "must have one shape"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# DeLong


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("prevalence", [0.3, 0.05])
def test_delong_is_the_variance_of_the_placements(prevalence, ties):
    labels, scores, _ = cases_of(0, 300, prevalence, ties)
    up, down = placements(labels, scores)
    up, down = up[labels == 1], down[labels == 0]
    found = metrics.delong(labels, scores, scale="linear")
    assert found.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    variance = up.var(ddof=1) / up.size + down.var(ddof=1) / down.size
    assert found.variance == pytest.approx(variance, rel=1e-9)
    assert found.low == pytest.approx(max(found.auroc - Z * np.sqrt(variance), 0), abs=1e-9)
    assert found.high == pytest.approx(min(found.auroc + Z * np.sqrt(variance), 1), abs=1e-9)


@pytest.mark.parametrize("prevalence", [0.5, 0.1])
def test_the_logit_interval_has_the_degrees_of_freedom_of_brunner_and_munzel(prevalence):
    labels, scores, _ = cases_of(1, 80, prevalence)
    up, down = placements(labels, scores)
    parts = np.array([side.var(ddof=1) / side.size for side in (up[labels == 1], down[labels == 0])])
    freedom = parts.sum() ** 2 / (parts**2 / (np.bincount(labels)[::-1] - 1)).sum()
    area, sd = up[labels == 1].mean(), np.sqrt(parts.sum())
    test = stats.brunnermunzel(scores[labels == 1], scores[labels == 0])
    assert test.statistic == pytest.approx((0.5 - area) / sd, rel=1e-9)
    assert test.pvalue == pytest.approx(2 * stats.t.sf(abs(test.statistic), freedom), rel=1e-9)

    odds, spread = np.log(area / (1 - area)), sd / (area * (1 - area))
    expected = 1 / (1 + np.exp(-(odds + stats.t.ppf([0.05, 0.95], freedom) * spread)))
    found = metrics.delong(labels, scores, confidence=0.9)
    np.testing.assert_allclose((found.low, found.high), expected, atol=1e-9)


def test_scores_that_tell_nothing_apart_have_an_area_of_one_half_and_no_variance():
    for scale in ("logit", "linear"):
        assert metrics.delong([0, 0, 1, 1], [7, 7, 7, 7], scale=scale) == (0.5, 0, 0.5, 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_the_difference_is_the_contrast_of_the_covariance_of_the_placements(seed):
    labels, first, second = cases_of(seed)
    up, down = zip(*(placements(labels, scores) for scores in (first, second)), strict=True)
    P, N = (labels == 1).sum(), (labels == 0).sum()
    covariance = np.cov(np.array(up)[:, labels == 1]) / P + np.cov(np.array(down)[:, labels == 0]) / N
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    difference = roc_auc_score(labels, first) - roc_auc_score(labels, second)
    found = metrics.delong_difference(labels, first, second)
    assert found.difference == pytest.approx(difference, abs=1e-12)
    assert found.variance == pytest.approx(variance, rel=1e-9)
    expected = difference + np.array([-1, 1]) * Z * np.sqrt(variance)
    np.testing.assert_allclose((found.low, found.high), expected, atol=1e-9)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(difference) / np.sqrt(variance)), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_with_groups_the_variance_is_obuchowskis(seed):
    labels, first, second = cases_of(seed, 90)
    groups = np.random.default_rng(seed).integers(0, 25, 90)  # patients with positives and negatives both
    covariance = clustered_covariance(labels, (first, second), groups)
    names = np.array([f"patient {g}" for g in groups])
    assert metrics.delong(labels, first, groups=names).variance == pytest.approx(covariance[0, 0], rel=1e-9)
    found = metrics.delong_difference(labels, first, second, groups=groups)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert found.variance == pytest.approx(variance, rel=1e-9)


def test_every_case_its_own_patient_is_no_clustering():
    labels, first, second = cases_of(2)
    groups = np.arange(len(labels))[::-1]
    np.testing.assert_allclose(
        metrics.delong(labels, first, groups=groups), metrics.delong(labels, first), rtol=1e-12
    )
    np.testing.assert_allclose(
        metrics.delong_difference(labels, first, second, groups=groups),
        metrics.delong_difference(labels, first, second),
        rtol=1e-9,
    )


def test_ten_copies_of_each_image_are_no_evidence_once_patients_are_told():
    labels, scores, _ = cases_of(3)
    many = np.repeat(labels, 10), np.repeat(scores, 10)
    alone = metrics.delong(labels, scores)
    clustered = metrics.delong(*many, groups=np.repeat(np.arange(len(labels)), 10))
    assert clustered.variance == pytest.approx(alone.variance, rel=1e-9)
    assert metrics.delong(*many).variance < alone.variance / 5


@fast
@given(st.integers(0, 1000))
def test_exchanging_the_scores_mirrors_the_difference_and_exchanging_the_classes_the_area(seed):
    labels, first, second = cases_of(seed, 60)
    one = metrics.delong_difference(labels, first, second)
    other = metrics.delong_difference(labels, second, first)
    mirrored = (-other.difference, other.variance, -other.high, -other.low, other.p_value)
    np.testing.assert_allclose(one, mirrored, atol=1e-12)
    one, other = metrics.delong(labels, first), metrics.delong(1 - labels, -first)
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_many_labels_and_one_label_give_a_row_for_each_class():
    rng = np.random.default_rng(4)
    labels, scores = rng.integers(0, 3, 90), rng.random((90, 4))
    found = metrics.delong(labels, scores)
    for c in range(3):
        np.testing.assert_allclose(
            [column[c] for column in found], metrics.delong(labels == c, scores[:, c]), rtol=1e-12
        )
    assert all(np.isnan(column[3]) for column in found)

    labels, mask = rng.integers(0, 2, (90, 4)), rng.random((90, 4)) < 0.6
    groups = rng.integers(0, 40, 90)
    found = metrics.delong(labels, scores, mask=mask, groups=groups)
    for c in range(4):
        m = mask[:, c]
        alone = metrics.delong(labels[m, c], scores[m, c], groups=groups[m])
        np.testing.assert_allclose([column[c] for column in found], alone, rtol=1e-12)


def test_a_perfect_area_has_the_bound_of_as_many_wins_in_pairs():
    labels = np.repeat([0, 1], [100, 8])
    for scale in ("logit", "linear"):
        found = metrics.delong(labels, labels, scale=scale)
        assert (found.auroc, found.variance, found.high) == (1, 0, 1)
        assert found.low == pytest.approx(metrics.clopper_pearson(8, 8).low)
        found = metrics.delong(labels, -labels, scale=scale)
        assert (found.auroc, found.low) == (0, 0)
        assert found.high == pytest.approx(metrics.clopper_pearson(0, 8).high)


def test_patients_who_bring_both_classes_make_half_as_many_pairs():
    labels, groups = np.tile([0, 1], 5), np.repeat(np.arange(5), 2)
    found = metrics.delong(labels, labels, groups=groups)  # two disjoint pairs of different patients
    assert found.low == pytest.approx(0.025 ** (1 / 2))
    assert metrics.delong(labels, labels).low == pytest.approx(0.025 ** (1 / 5))


def test_what_cannot_be_known_is_nan():
    for labels in ([0, 0, 0], [1, 1], []):
        scores = np.linspace(0, 1, len(labels))
        assert all(math.isnan(value) for value in metrics.delong(labels, scores))
        assert all(math.isnan(value) for value in metrics.delong_difference(labels, scores, scores))
    found = metrics.delong([1, 0, 0, 0], [0.5, 0.2, 0.6, 0.1])  # one positive has no variance
    assert found.auroc == pytest.approx(2 / 3)
    assert all(math.isnan(value) for value in found[1:])
    clustered = metrics.delong([1, 1, 0, 0], [0.5, 0.2, 0.4, 0.1], groups=[7, 7, 8, 9])
    assert math.isnan(clustered.variance)


def test_scores_of_one_order_do_not_differ():
    labels, scores, _ = cases_of(5)
    assert metrics.delong_difference(labels, scores, 3 * scores + 1) == (0, 0, 0, 0, 1)
