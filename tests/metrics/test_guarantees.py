"""Bounds that count patients: against the beta distribution, Dirichlet draws, and promises kept in simulations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from imbal_jax.decisions.operating_point import choose_threshold, choose_thresholds
from imbal_jax.decisions.threshold_rules import parse_rule, threshold_curve
from imbal_jax.errors import InputError
from imbal_jax.metrics.guarantees import patient_lower, shows

SURE = "sensitivity >= 0.9 with 95 % confidence"


@pytest.mark.parametrize("images", [1, 10])
def test_with_images_that_agree_it_is_the_bound_of_clopper_and_pearson_on_patients(images):
    for patients, right in ((1, 1), (5, 3), (60, 58), (300, 300), (60, 0)):
        hits = images * (np.arange(patients) < right)
        expected = stats.beta.ppf(0.05, right, patients - right + 1) if right else 0.0
        assert patient_lower(hits, np.full(patients, images)) == pytest.approx(expected, abs=1e-9)


def test_one_patient_of_another_size_hardly_moves_it():
    # no closed form is used here: the integral must agree with the beta distribution nearby
    images = np.append(np.full(299, 1000), 1001)
    hits = np.where(np.arange(300) < 280, images, 0)
    assert patient_lower(hits, images) == pytest.approx(stats.beta.ppf(0.05, 280, 21), abs=1e-4)


@pytest.mark.parametrize("equal", [True, False])
def test_it_is_the_quantile_of_a_rate_with_dirichlet_weights_and_one_patient_more(equal):
    rng = np.random.default_rng(0)
    images = np.full(40, 6) if equal else rng.integers(1, 9, 40)
    hits = rng.binomial(images, 0.85)
    weights = rng.exponential(size=(200_000, 41))
    extra = np.sqrt((images**2).mean())
    rates = weights[:, :40] @ hits / (weights[:, :40] @ images + weights[:, 40] * extra)
    for confidence in (0.8, 0.95, 0.99):
        expected = np.quantile(rates, 1 - confidence)
        assert patient_lower(hits, images, confidence) == pytest.approx(expected, abs=2e-3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_it_falls_when_an_image_fails_and_agrees_with_the_yes_or_no(sizes, seed):
    images = np.array(sizes)
    hits = np.random.default_rng(seed).binomial(images, 0.8)
    bound = patient_lower(hits, images)
    assert 0 <= bound < 1
    for target in (0.3, 0.8):
        if abs(bound - target) > 1e-6:
            assert shows(hits, images, target, 0.95) == (bound >= target)
    some = np.flatnonzero(hits)
    if some.size:
        fewer = hits.copy()
        fewer[some[0]] -= 1
        assert patient_lower(fewer, images) <= bound + 1e-9


def test_wrong_counts_are_named_and_nobody_shows_nothing():
    with pytest.raises(ValueError, match="patient 1 has 3 successes in 2 images"):
        patient_lower([1, 3], [1, 2])
    assert np.isnan(patient_lower([], []))
    assert not shows([], [], 0.5, 0.95)


@pytest.mark.parametrize(
    ("images", "correlation"), [(1, 0.0), (2, 0.7), (5, 0.7), (10, 0.7), ((1, 10), 0.7), ((1, 10), 0.0)]
)
def test_a_promise_is_kept_however_many_images_a_patient_has(images, correlation):
    rng, kept, studies = np.random.default_rng(0), 0, 60
    for _ in range(studies):
        sizes = np.full(60, images) if isinstance(images, int) else rng.integers(*images, 60)
        of = np.repeat(np.arange(60), sizes)
        shared = rng.normal(size=60)[of] * np.sqrt(correlation)
        positive = 1.5 + shared + rng.normal(size=of.size) * np.sqrt(1 - correlation)
        labels = np.repeat([1, 0], [of.size, 100])
        scores, groups = np.append(positive, rng.normal(size=100)), np.append(of, 60 + np.arange(100))
        point = choose_threshold(labels, scores, SURE, groups)
        kept += stats.norm.sf(point.threshold - 1.5) >= 0.9
    assert kept / studies >= 0.93


def test_a_promised_specificity_counts_the_patients_without_the_finding():
    rng, kept = np.random.default_rng(1), 0
    for _ in range(60):
        of = np.repeat(np.arange(60), 10)
        negative = rng.normal(size=60)[of] * np.sqrt(0.7) + rng.normal(size=600) * np.sqrt(0.3)
        labels, scores = np.repeat([0, 1], [600, 30]), np.append(negative, 2 + rng.normal(size=30))
        rule = "specificity >= 0.9 with 95 % confidence"
        point = choose_threshold(labels, scores, rule, np.append(of, 60 + np.arange(30)))
        kept += stats.norm.cdf(point.threshold) >= 0.9
    assert kept / 60 >= 0.93


def test_with_one_image_a_patient_the_choice_is_that_without_patients():
    rng = np.random.default_rng(2)
    labels = np.repeat([1, 0], [80, 300])
    scores = np.round(rng.normal(size=380) + 1.5 * labels, 1)
    for rule in (SURE, "specificity >= 0.8 with 90 % confidence", "youden", "sensitivity >= 0.9"):
        alone, named = (choose_threshold(labels, scores, rule, g) for g in (None, rng.permutation(380)))
        assert (alone.threshold, alone.sensitivity) == (named.threshold, named.sensitivity)
        assert (named.positive_patients, named.negative_patients) == (80, 300)
        assert alone.positive_patients is None


@pytest.mark.parametrize("rate", ["sensitivity", "specificity"])
def test_the_threshold_by_bisection_is_that_of_every_threshold_tried(rate):
    rng = np.random.default_rng(3)
    labels, groups = np.repeat([1, 0], 200), np.repeat(np.arange(80), 5)
    scores = np.round(rng.normal(size=400) + 2.5 * labels, 1)
    known = rng.random(400) > 0.1
    point = choose_threshold(
        np.where(known, labels, -1), scores, f"{rate} >= 0.8 with 95 % confidence", [f"p{g}" for g in groups]
    )
    side = known & (labels == (rate == "sensitivity"))
    sizes = np.bincount(groups[side])
    sizes = sizes[sizes > 0]
    of = np.unique(groups[side], return_inverse=True)[1]
    enough = []
    for threshold in np.unique(scores[known]):
        right = (scores[side] >= threshold) == (rate == "sensitivity")
        if patient_lower(np.bincount(of, right, len(sizes)), sizes) >= 0.8:
            enough.append(threshold)
    assert point.threshold == (max(enough) if rate == "sensitivity" else min(enough))


def test_copies_of_an_image_show_no_more():
    rng = np.random.default_rng(4)
    labels = np.repeat([1, 0], [70, 70])
    scores = rng.normal(size=140) + 2 * labels
    once = choose_threshold(labels, scores, SURE)
    copied = choose_threshold(
        *(np.repeat(a, 10) for a in (labels, scores)), SURE, np.repeat(np.arange(140), 10)
    )
    assert copied.threshold == once.threshold


def test_patients_and_not_images_are_asked_for():
    labels, groups = np.repeat([1, 0], [200, 200]), np.arange(400) // 10
    scores = labels + np.linspace(0, 0.5, 400)
    with pytest.raises(
        InputError, match=r"20 positive patients \(200 images\) cannot show .* takes 29 positive p"
    ):
        choose_threshold(labels, scores, SURE, groups)
    with pytest.raises(InputError, match="column 0: 20 positive patients"):
        choose_thresholds(np.stack([labels, labels], 1), np.stack([scores, scores], 1), SURE, groups)
    choose_threshold(labels, scores, SURE)
    with pytest.raises(ValueError, match="groups are missing"):
        choose_threshold(labels, scores, SURE, np.where(groups == 3, np.nan, groups))
    with pytest.raises(ValueError, match="groups"):
        choose_threshold(labels, scores, SURE, groups[:-1])
    rule = parse_rule(SURE)
    with pytest.raises(InputError, match="28 positives cannot show"):
        rule.check_reachable(28)
    rule.check_reachable(np.full(29, 7))
    assert threshold_curve(labels, scores, groups).positive.patients == 20


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("sensitivity >= 95", "did you mean 0.95"),
        ("sensitivity >= 0.9 with 0.95 % confidence", "did you mean 95 %"),
        ("cost 20:1 at prevalence 2", "did you mean 0.02"),
    ],
)
def test_a_percentage_in_place_of_a_share_is_answered_with_the_share(text, hint):
    with pytest.raises(InputError, match=hint):
        parse_rule(text)
