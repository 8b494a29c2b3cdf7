"""Each statistic against an independent source: scipy, baycomp, a closed form, numbers worked by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from imbal_jax.suite import statistics as of

RNG = np.random.default_rng(0)
SOME = RNG.normal(0.01, 0.02, 12)
fast = settings(max_examples=30, deadline=None)


# Signed ranks


@given(st.lists(st.floats(-1, 1).filter(lambda x: abs(x) > 1e-6), min_size=1, max_size=14, unique_by=abs))
@fast
def test_without_ties_the_p_value_is_that_of_scipy(values):
    assert of.signed_rank(values).p_value == pytest.approx(
        stats.wilcoxon(values, method="exact").pvalue, rel=1e-9
    )


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
@fast
def test_with_ties_and_zeros_the_p_value_is_that_of_all_signs_in_turn(values):
    ranks = stats.rankdata(np.abs(values))[np.array(values) != 0]
    signs = np.sign([v for v in values if v])
    sums = np.array([ranks @ (np.array(s) > 0) for s in itertools.product((-1, 1), repeat=len(ranks))])
    found = ranks @ (signs > 0) if len(ranks) else 0
    expected = min(1, 2 * min((sums <= found).mean(), (sums >= found).mean()))
    assert of.signed_rank(values).p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("pairs", "least"), [(0, 1.0), (1, 1.0), (5, 0.0625), (6, 0.03125), (12, 2 / 4096)])
def test_the_least_p_value_is_reached_when_all_differences_have_one_sign(pairs, least):
    found = of.signed_rank(np.arange(1.0, pairs + 1))
    assert (found.p_value, found.least, found.pairs) == (least, least, pairs)


def test_a_run_that_diverged_is_worse_than_the_worst_difference():
    with_loss = [0.1, 0.2, 0.3, 0.4, 0.5, -math.inf]
    assert of.signed_rank(with_loss).p_value == of.signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, -0.6]).p_value
    assert of.signed_rank([*with_loss, math.nan]) == of.signed_rank(with_loss)


@pytest.mark.parametrize(
    ("pairs", "critical"), [(5, -1), (6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (11, 10), (12, 13)]
)
def test_critical_rank_sums_are_those_of_the_tables(pairs, critical):
    # two-sided 5 %, as in McCornack, JASA 60, 1965
    assert of.critical_rank_sum(pairs, 0.05) == critical


def test_the_attainable_level_is_the_p_value_of_the_critical_rank_sum():
    differences = np.arange(1.0, 13)
    differences[[3, 8]] *= -1  # the ranks 4 and 9 sum to 13
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert of.attainable_level(12, 0.05) == pytest.approx(expected)
    assert of.attainable_level(5, 0.05) == 0


# Bayesian signed ranks


@pytest.mark.parametrize("differences", [SOME, SOME - 0.01, 2 * SOME, SOME[:6], SOME - 0.03, np.zeros(8)])
def test_probabilities_are_those_of_baycomp(differences):
    baycomp = pytest.importorskip("baycomp", reason="baycomp is in the test extra")
    found = of.bayesian_signed_rank(differences)
    posterior = baycomp.SignedRankTest(
        np.zeros(len(differences)), differences, 0.01, nsamples=5000, random_state=1
    )
    worse, equal, better = posterior.probs()
    np.testing.assert_allclose(found, (better, equal, worse), atol=0.025)


def test_probabilities_sum_to_one_and_change_sides_with_the_sign():
    one, other = of.bayesian_signed_rank(SOME), of.bayesian_signed_rank(-SOME)
    assert sum(one) == pytest.approx(1)
    np.testing.assert_allclose(one, other[::-1], atol=0.02)


def test_few_patients_do_not_show_equality():
    equal = RNG.normal(0, 0.002, 12)
    few = of.Patients(RNG.normal(0, 0.05, (1, 100)).repeat(12, axis=0), np.zeros(12, int))
    assert of.bayesian_signed_rank(equal).equal > 0.99
    # the chance that a normal difference of deviation 0.05 is within 0.01: 0.16
    assert of.bayesian_signed_rank(equal, few).equal == pytest.approx(0.16, abs=0.08)


def test_runs_that_diverged_count_as_worse():
    found = of.bayesian_signed_rank([-math.inf] * 8 + [0.05] * 4)
    assert found.worse > 0.9
    assert of.bayesian_signed_rank([-math.inf, math.inf]).equal >= 0


# Hierarchical bootstrap


@pytest.mark.parametrize("runs", [3, 6, 12, 40])
def test_without_patients_the_interval_is_that_of_students_t(runs):
    values = stats.norm.ppf((np.arange(runs) + 0.5) / runs, 0.02, 0.01)  # as normal as so few can be
    found = of.hierarchical_bootstrap(values)
    low, high = stats.t.interval(0.95, runs - 1, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    half = (high - low) / 2
    assert found.low == pytest.approx(low, abs=0.12 * half)
    assert found.high == pytest.approx(high, abs=0.12 * half)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 2.0, 2.8])
def test_the_p_value_is_that_of_students_t(shift):
    values = stats.norm.ppf((np.arange(12) + 0.5) / 12)
    values = (values / values.std(ddof=1) + shift / np.sqrt(12)) * 0.01
    expected = stats.ttest_1samp(values, 0).pvalue
    assert of.hierarchical_bootstrap(values).p_value == pytest.approx(expected, abs=0.03)


def test_the_interval_leaves_out_zero_where_the_p_value_is_below_its_level():
    for shift in np.linspace(0, 0.03, 25):
        found = of.hierarchical_bootstrap(SOME - 0.01 + shift)
        assert (found.low > 0 or found.high < 0) == (found.p_value < 0.05)


@pytest.mark.parametrize(
    ("draws", "overlap", "variance"),
    [
        (np.zeros(12, int), None, 1.0),  # one test set: all runs move together
        (np.arange(12), None, 1 / 12),  # independent test sets
        (np.arange(12), 0.2, 0.2),  # re-splits: the pool's share, however many draws
        (np.arange(12), 0.0, 0.0),
        (np.arange(12) // 6, 0.5, 0.5),
    ],
)
def test_patients_move_the_mean_as_far_as_the_draws_share_them(draws, overlap, variance):
    rng = np.random.default_rng(1)
    by_draw = rng.normal(0, 0.03, (draws.max() + 1, 2000))
    shifts = of.patient_shifts(of.Patients(by_draw[draws], draws, overlap), 20000, rng)
    assert shifts.var() == pytest.approx(0.03**2 * variance, rel=0.06, abs=1e-12)


def test_equal_values_have_an_interval_of_no_width():
    found = of.hierarchical_bootstrap(np.full(8, 0.25))
    assert found[:3] == (0.25, 0.25, 0.25)
    assert of.hierarchical_bootstrap(np.zeros(8)) == (0, 0, 0, 1)


def test_one_run_has_no_interval_and_none_has_no_value():
    one, none = of.hierarchical_bootstrap([0.3]), of.hierarchical_bootstrap([])
    assert one.value == 0.3
    assert math.isnan(one.low)
    assert math.isnan(one.p_value)
    assert all(map(math.isnan, none))


def test_cells_count_alike_and_runs_move_together():
    # one cell's noise cancels the other's in each seed: resampled together, the mean does not vary
    noise = RNG.normal(0, 0.02, 12)
    found = of.hierarchical_bootstrap([noise, 0.1 - noise])
    np.testing.assert_allclose(found[:3], 0.05, atol=1e-9)
    short = np.append(noise[:4], np.full(8, np.nan))
    assert of.hierarchical_bootstrap([short, noise]).value == pytest.approx(
        (noise[:4].mean() + noise.mean()) / 2
    )


# Over cells


def test_the_interquartile_mean_is_that_of_the_middle_half():
    found = of.interquartile_mean([[0.0, 0.2, 0.4, 0.6], [0.1, 0.3, 0.5, 99.0]])
    assert found.value == pytest.approx((0.2 + 0.3 + 0.4 + 0.5) / 4)
    assert math.isnan(of.interquartile_mean([[1.0, 2.0], [np.nan]]).value)


def test_its_interval_resamples_each_cell_apart():
    # cells far apart and without spread: a bootstrap that mixed them would move the mean
    found = of.interquartile_mean([[0.0] * 5, [1.0] * 5])
    assert found[:3] == (0.5, 0.5, 0.5)


def test_the_interquartile_mean_and_its_interval_are_those_of_rliable():
    runs = np.random.default_rng(3).normal(0.7, 0.05, (12, 5)) + np.linspace(-0.1, 0.1, 5)
    found = of.interquartile_mean(list(runs.T), samples=20000)
    # rliable 1.2.0: aggregate_iqm, and StratifiedBootstrap.conf_int with 20,000 percentile replicates
    assert found.value == pytest.approx(0.7041459025172291)
    assert found[1:3] == pytest.approx((0.68939553, 0.71848427), abs=0.0006)


def test_the_area_is_the_integral_over_the_logarithm():
    assert of.area_over_log_ratio([10, 100, 1000], [0.9, 0.8, 0.6]) == pytest.approx((0.85 + 0.7) / 2)
    assert of.area_over_log_ratio([1000, 10, 10], [0.6, 0.8, 1.0]) == pytest.approx(0.75)
    assert of.area_over_log_ratio([10, 100, 10000], [0.5, 0.5, 0.8]) == pytest.approx((0.5 + 2 * 0.65) / 3)
    assert math.isnan(of.area_over_log_ratio([10, 10], [0.5, 0.6]))


# Performance profiles

TIMES = [[10, 10, math.inf, math.inf], [20, 5, 30, math.inf], [50, 20, 15, math.nan]]


def test_a_profile_is_the_share_of_cells_within_a_factor_and_a_miss_is_infinite():
    expected_ratios = [[1, 2, math.inf, math.inf], [2, 1, 2, math.inf], [5, 4, 1, math.inf]]
    np.testing.assert_array_equal(of.ratios_to_fastest(TIMES), expected_ratios)
    profile = of.performance_profile(TIMES, [1, 2, 4, 1e9])
    np.testing.assert_array_equal(
        profile, [[0.25, 0.5, 0.5, 0.5], [0.25, 0.75, 0.75, 0.75], [0.25, 0.25, 0.5, 0.75]]
    )


def test_the_score_is_the_area_under_the_profile():
    fine = np.linspace(1, 4, 30001)
    expected = np.trapezoid(of.performance_profile(TIMES, fine), fine, axis=1) / 3
    np.testing.assert_allclose(of.integrated_score(TIMES), expected, atol=1e-4)
    np.testing.assert_allclose(of.integrated_score(TIMES)[0], (3 + 2) / 3 / 4)


def test_of_trials_the_best_counts_and_of_studies_the_median():
    assert of.median_of_minima([[9, 3, math.inf], [4, 5, 6], [math.nan, 8, 7]]) == 4
    assert of.median_of_minima([[9, 3], [math.inf, math.nan], [math.inf, math.inf]]) == math.inf


# Power


@pytest.mark.parametrize(("pairs", "level"), [(6, 0.05), (12, 0.05), (12, 0.0015), (24, 0.01)])
def test_a_detectable_difference_is_found_in_four_of_five_studies(pairs, level):
    rng = np.random.default_rng(pairs)
    difference = of.detectable_difference(0.02, pairs, level=level)
    found = [of.signed_rank(rng.normal(difference, 0.02, pairs)).p_value <= level for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)  # three binomial errors


def test_with_six_pairs_all_must_agree():
    # the only significant outcome of 6 pairs: chance(difference > 0) ** 6 = 0.8
    assert of.detectable_difference(1.0, 6) == pytest.approx(stats.norm.ppf(0.8 ** (1 / 6)), abs=0.03)


def test_too_few_seeds_detect_nothing_and_patients_are_a_floor():
    assert of.detectable_difference(0.02, 5) == math.inf
    assert of.detectable_difference(0.02, 12, level=0.0004) == math.inf
    # of many pairs the test is as good as normal: 1.96 + 0.84 errors
    assert of.detectable_difference(1e-6, 100, patients=0.03) == pytest.approx(2.8 * 0.03, rel=0.05)
    assert math.isnan(of.detectable_difference(math.nan, 12))
