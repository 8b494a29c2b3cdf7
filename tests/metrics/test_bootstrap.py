"""The bootstrap: the quick replicates are those of scikit-learn, patients stay whole, rare classes survive."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from imbal_jax import metrics

fast = settings(max_examples=25, deadline=None)
RNG = np.random.default_rng(0)
N = 150
LABELS = (RNG.random(N) < 0.2).astype(int)
FIRST = np.round(LABELS + RNG.normal(size=N), 1)  # with ties
SECOND = np.round(0.5 * LABELS + RNG.normal(size=N), 1)
PATIENTS = RNG.integers(0, 60, N)
PROBLEMS = {
    "binary": (LABELS, FIRST),
    "one label": (RNG.choice(4, N, p=[0.7, 0.2, 0.07, 0.03]), RNG.integers(0, 30, (N, 4)) / 30),
    "many labels": (
        np.where(RNG.random((N, 3)) < 0.9, RNG.random((N, 3)) < [0.4, 0.1, 0.05], -1).astype(int),
        RNG.integers(0, 30, (N, 3)) / 30,
    ),
}
RANKINGS = (
    metrics.auroc,
    metrics.average_precision,
    partial(metrics.partial_auroc, max_fpr=0.3),
    partial(metrics.partial_auroc, standardized=False),
    partial(metrics.sensitivity_at_specificity, specificity=0.8),
    partial(metrics.specificity_at_sensitivity, sensitivity=0.8),
)


def name_of(metric):
    return getattr(metric, "__name__", None) or f"{metric.func.__name__}-{metric.keywords}"


def as_a_stranger(metric, **options):
    """The same metric as a function that the bootstrap does not know, so that it is called with the cases."""
    return lambda labels, scores: metric(labels, scores, **options)


# The quick replicates


@pytest.mark.parametrize("groups", [None, PATIENTS], ids=["cases", "patients"])
@pytest.mark.parametrize(
    ("metric", "oracle"),
    [(metrics.auroc, sk.roc_auc_score), (metrics.average_precision, sk.average_precision_score)],
    ids=["auroc", "average_precision"],
)
def test_replicates_are_those_of_a_loop_over_scikit_learn(metric, oracle, groups):
    options = {"groups": groups, "samples": 100, "seed": 5}
    expected = metrics.bootstrap(lambda y, s: oracle(y, s), LABELS, FIRST, **options)
    np.testing.assert_allclose(metrics.bootstrap(metric, LABELS, FIRST, **options), expected, atol=1e-12)
    expected = metrics.paired_bootstrap(lambda y, s: oracle(y, s), LABELS, FIRST, SECOND, **options)
    found = metrics.paired_bootstrap(metric, LABELS, FIRST, SECOND, **options)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "none"])
@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("metric", RANKINGS, ids=name_of)
def test_metrics_of_rank_are_the_same_without_sorting_again(metric, problem, average):
    labels, scores = PROBLEMS[problem]
    options = {"groups": PATIENTS, "samples": 15, "seed": 1, "stratified": False}
    quick = metrics.bootstrap(partial(metric, average=average), labels, scores, **options)
    slow = metrics.bootstrap(as_a_stranger(metric, average=average), labels, scores, **options)
    np.testing.assert_allclose(quick, slow, atol=1e-12)


@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "none"])
@pytest.mark.parametrize("metric", [metrics.dice, metrics.iou], ids=name_of)
def test_overlap_of_images_is_the_same_without_counting_pixels_again(metric, average):
    rng = np.random.default_rng(2)
    labels, scores = rng.choice(3, (20, 5, 5), p=[0.9, 0.08, 0.02]), rng.random((20, 5, 5, 3))
    groups = rng.integers(0, 9, 20)
    for pooled, ignore_empty in ((False, True), (True, True), (False, False)):
        options = {"spatial": 2, "pooled": pooled, "ignore_empty": ignore_empty, "average": average}
        drawn = {"groups": groups, "samples": 15, "mask": rng.random(labels.shape) < 0.9}
        quick = metrics.bootstrap(partial(metric, **options), labels, scores, **drawn)
        slow = metrics.bootstrap(as_a_stranger(metric, **options), labels, scores, **drawn)
        np.testing.assert_allclose(quick, slow, atol=1e-12)


# The interval


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_agrees_with_scipys_bootstrap_of_two_samples(method):
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [200, 30])
    scores = rng.normal(size=230) + 1.5 * labels

    def area(positive, negative, axis):
        pairs = np.expand_dims(positive, -1) > np.expand_dims(negative, -2)
        return pairs.mean(axis=(-2, -1))

    expected = stats.bootstrap(
        (scores[labels == 1], scores[labels == 0]), area, n_resamples=4000, batch=200, method=method, rng=rng
    ).confidence_interval
    found = metrics.bootstrap(metrics.auroc, labels, scores, samples=4000, method=method)
    # a 2.5 % quantile of 4000 draws: its standard error is about 0.04 of the interval's width
    np.testing.assert_allclose(found, expected, atol=0.12 * (expected.high - expected.low))


def test_bca_of_the_mean_of_exponentials_is_longer_to_the_right_as_theory_says():
    """Efron 1987: the acceleration of a mean is its skewness over six; percentiles know of none."""
    rng = np.random.default_rng(4)
    values = rng.exponential(size=60)
    options = {"samples": 4000, "stratified": False}
    mean = lambda labels, scores: scores.mean()  # noqa: E731
    plain = metrics.bootstrap(mean, np.zeros(60, int), values, **options)
    bca = metrics.bootstrap(mean, np.zeros(60, int), values, method="bca", **options)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="BCa", rng=rng
    ).confidence_interval
    np.testing.assert_allclose(bca, expected, atol=0.12 * (expected.high - expected.low))
    assert bca.low > plain.low
    assert bca.high > plain.high


def test_bca_corrects_the_bias_of_a_variance_as_efron_has_it():
    values = np.random.default_rng(9).normal(size=40)
    options = {"samples": 500, "seed": 3, "stratified": False}
    replicates = np.array([values[drawn].var() for drawn in drawn_by(np.zeros(40, int), **options)])
    bias = stats.norm.ppf((replicates < values.var()).mean())
    assert bias > 0.1  # the variance of a resample is too small
    added = [np.delete(values, i).var() for i in range(40)]
    added = np.mean(added) - added
    acceleration = (added**3).sum() / (6 * (added**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(replicates, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    found = metrics.bootstrap(lambda _, s: s.var(), np.zeros(40, int), values, method="bca", **options)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_spread_of_the_replicates_is_delongs():
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], [2000, 200])
    scores = rng.normal(size=2200) + labels
    low, high = metrics.bootstrap(metrics.auroc, labels, scores, samples=2000)
    expected = metrics.delong(labels, scores, scale="linear")
    assert high - low == pytest.approx(expected.high - expected.low, rel=0.1)


def test_the_same_seed_gives_the_same_interval_and_another_another():
    one = metrics.bootstrap(metrics.auroc, LABELS, FIRST, samples=200, seed=7)
    assert one == metrics.bootstrap(metrics.auroc, LABELS, FIRST, samples=200, seed=7)
    assert one != metrics.bootstrap(metrics.auroc, LABELS, FIRST, samples=200, seed=8)


def test_a_wider_confidence_gives_a_wider_interval():
    options = {"samples": 400}
    inner = metrics.bootstrap(metrics.auroc, LABELS, FIRST, confidence=0.5, **options)
    outer = metrics.bootstrap(metrics.auroc, LABELS, FIRST, confidence=0.99, **options)
    assert outer.low < inner.low < metrics.auroc(LABELS, FIRST) < inner.high < outer.high


# Patients and strata


def drawn_by(labels, **options):
    """The indices of the cases of each replicate."""
    seen = []
    index = np.arange(len(labels)).astype(float)

    def metric(_, scores):
        seen.append(np.asarray(scores if scores.ndim == 1 else scores[:, 0]).astype(int))
        return float(len(scores))

    scores = index if np.ndim(labels) == 1 else np.broadcast_to(index[:, None], np.shape(labels))
    metrics.bootstrap(metric, labels, scores, **options)
    return seen[1:]  # the first call is that of the estimate


@fast
@given(st.integers(2, 60), st.integers(1, 40), st.integers(0, 99))
def test_every_replicate_holds_as_many_cases_of_each_class_as_there_are(negatives, positives, seed):
    labels = np.repeat([0, 1], [negatives, positives])
    for drawn in drawn_by(labels, samples=5, seed=seed):
        assert np.bincount(labels[drawn], minlength=2).tolist() == [negatives, positives]


def test_a_class_of_three_in_ten_thousand_survives_and_without_strata_may_not():
    labels = np.zeros(10_000, int)
    labels[:3] = 1
    assert {labels[drawn].sum() for drawn in drawn_by(labels, samples=50)} == {3}
    assert 0 in {labels[drawn].sum() for drawn in drawn_by(labels, samples=200, stratified=False)}


def test_patients_are_drawn_whole_and_as_many_as_there_are():
    held = np.bincount(PATIENTS)
    number = len(np.unique(PATIENTS))
    for drawn in drawn_by(LABELS, groups=PATIENTS, samples=20):
        times = np.bincount(drawn, minlength=N)
        of_patient = [np.unique(times[g == PATIENTS]) for g in np.unique(PATIENTS)]
        assert all(len(t) == 1 for t in of_patient)
        assert sum(int(t[0]) for t in of_patient) == number
        assert len(drawn) == sum(
            int(t[0]) * held[g] for t, g in zip(of_patient, np.unique(PATIENTS), strict=True)
        )


def test_patients_with_a_positive_are_drawn_apart_from_those_without():
    sick = np.unique(PATIENTS[LABELS == 1])
    for drawn in drawn_by(LABELS, groups=PATIENTS, samples=20):
        times = {g: (drawn == np.flatnonzero(g == PATIENTS)[0]).sum() for g in np.unique(PATIENTS)}
        assert sum(times[g] for g in sick) == len(sick)


def test_the_rarest_of_many_labels_survives():
    labels = (np.random.default_rng(6).random((400, 3)) < [0.5, 0.1, 0]).astype(int)
    labels[:2, 2] = 1
    assert all(labels[drawn, 2].sum() == 2 for drawn in drawn_by(labels, samples=50))


def test_each_stratum_is_drawn_evenly():
    times = np.zeros(30)
    for drawn in drawn_by(np.repeat([0, 1], [20, 10]), samples=2000):
        times += np.bincount(drawn, minlength=30)
    assert stats.chisquare(times[:20]).pvalue > 1e-3
    assert stats.chisquare(times[20:]).pvalue > 1e-3


def test_ten_copies_of_each_image_change_nothing_once_patients_are_told():
    alone = metrics.bootstrap(metrics.auroc, LABELS, FIRST, samples=100)
    many = np.repeat(LABELS, 10), np.repeat(FIRST, 10)
    clustered = metrics.bootstrap(metrics.auroc, *many, groups=np.repeat(np.arange(N), 10), samples=100)
    np.testing.assert_allclose(clustered, alone, atol=1e-12)


# Two scores of the same cases


def test_the_difference_is_that_of_the_metric_in_the_same_replicates():
    found = metrics.paired_bootstrap(metrics.auroc, LABELS, FIRST, SECOND, samples=100, seed=2)

    def difference(labels, both):
        return sk.roc_auc_score(labels, both[:, 0]) - sk.roc_auc_score(labels, both[:, 1])

    both = np.stack([FIRST, SECOND], axis=1)
    assert found.difference == pytest.approx(difference(LABELS, both), abs=1e-12)
    expected = metrics.bootstrap(difference, LABELS, both, samples=100, seed=2)
    np.testing.assert_allclose((found.low, found.high), expected, atol=1e-12)


def test_a_score_does_not_differ_from_itself_and_clearly_differs_from_noise():
    assert metrics.paired_bootstrap(metrics.auroc, LABELS, FIRST, FIRST, samples=50) == (0, 0, 0, 1)
    found = metrics.paired_bootstrap(metrics.auroc, LABELS, LABELS, -FIRST, samples=199)
    assert found.low > 0
    assert found.p_value == pytest.approx(2 / 200)
    other = metrics.paired_bootstrap(metrics.auroc, LABELS, -FIRST, LABELS, samples=199)
    np.testing.assert_allclose(other, (-found.difference, -found.high, -found.low, found.p_value))


def test_pairing_uses_that_both_scores_see_the_same_cases():
    noisy = FIRST + 0.1 * SECOND
    paired = metrics.paired_bootstrap(metrics.auroc, LABELS, FIRST, noisy, samples=500)
    alone = metrics.bootstrap(metrics.auroc, LABELS, FIRST, samples=500)
    assert paired.high - paired.low < (alone.high - alone.low) / 3
    delong = metrics.delong_difference(LABELS, FIRST, noisy)
    assert paired.high - paired.low == pytest.approx(delong.high - delong.low, rel=0.25)


# What is excluded, undefined or wrong


@pytest.mark.parametrize("problem", PROBLEMS)
def test_masked_cases_are_as_if_they_were_not_there(problem):
    labels, scores = PROBLEMS[problem]
    kept = np.random.default_rng(7).random(N) < 0.7
    mask = kept if labels.ndim == 1 else np.repeat(kept[:, None], labels.shape[1], axis=1)
    for metric in (metrics.auroc, metrics.sensitivity):
        options = {"samples": 30}
        expected = metrics.bootstrap(metric, labels[kept], scores[kept], groups=PATIENTS[kept], **options)
        found = metrics.bootstrap(metric, labels, scores, groups=PATIENTS, mask=mask, **options)
        assert found == expected


def test_classes_are_judged_one_by_one_and_an_absent_one_is_nan():
    labels, scores = PROBLEMS["one label"]
    metric = partial(metrics.auroc, average="none")
    low, high = metrics.bootstrap(metric, labels, np.c_[scores, scores[:, 0]], samples=50)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False] * 4 + [True]
    assert (low[:4] < high[:4]).all()


def test_what_cannot_be_known_is_nan():
    for labels, groups in (([], None), ([0, 0, 0], None), ([0, 1, 1], [4, 4, 4])):
        scores = np.linspace(0, 1, len(labels))
        found = metrics.bootstrap(metrics.auroc, labels, scores, groups=groups, samples=10)
        assert all(math.isnan(bound) for bound in found)
        paired = metrics.paired_bootstrap(metrics.auroc, labels, scores, scores, groups=groups, samples=10)
        assert math.isnan(paired.p_value)


def test_replicates_without_a_value_are_left_out():
    labels = np.repeat([0, 1], [40, 2])
    scores = np.random.default_rng(8).random(42)
    values = [
        sk.roc_auc_score(labels[drawn], scores[drawn])
        for drawn in drawn_by(labels, samples=200, stratified=False)
        if labels[drawn].any()
    ]
    assert len(values) < 200
    found = metrics.bootstrap(metrics.auroc, labels, scores, samples=200, stratified=False)
    np.testing.assert_allclose(found, np.quantile(values, [0.025, 0.975]), atol=1e-12)


def test_a_mask_bound_to_the_metric_is_refused_and_not_applied_to_other_cases():
    with pytest.raises(ValueError, match="give the mask to the bootstrap"):
        metrics.bootstrap(partial(metrics.auroc, mask=LABELS >= 0), LABELS, FIRST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "normal"}, "unknown method 'normal': expected one of percentile, bca"),
        ({"samples": 0}, "samples is 0, expected a whole number"),
        ({"confidence": 95}, "confidence is 95, expected a share"),
        ({"groups": [1, 2]}, r"groups \[2\] must be one a case"),
        ({"mask": [True]}, r"mask \[1\] must have the shape"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        metrics.bootstrap(metrics.auroc, LABELS, FIRST, **options)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"scores \[2\] do not fit 150 labels"):
        metrics.bootstrap(metrics.auroc, LABELS, FIRST[:2])
    with pytest.raises(ValueError, match="labels are a scalar"):
        metrics.bootstrap(metrics.auroc, 1, 0.5)
    with pytest.raises(ValueError, match="label -3 is out of range: expected 0 or above"):
        metrics.bootstrap(metrics.auroc, LABELS - 3, FIRST)
    with pytest.raises(ValueError, match="scores are NaN"):
        metrics.bootstrap(metrics.auroc, LABELS, np.full(N, np.nan))
