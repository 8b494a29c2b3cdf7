"""Rules against brute force over every threshold, scikit-learn's curves and the beta distribution."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from imbal_jax.decisions.threshold_rules import (
    AtLeast,
    LeastCost,
    MaxFBeta,
    Youden,
    parse_rule,
    threshold_curve,
)
from imbal_jax.errors import InputError
from imbal_jax.metrics.guarantees import clopper_pearson_lower

laws = settings(max_examples=25, deadline=None)


@st.composite
def tied_cases(draw):
    n = draw(st.integers(4, 60))
    labels = np.array(draw(st.lists(st.integers(-1, 1), min_size=n, max_size=n)))
    labels[:2] = 0, 1
    scores = np.array(draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))) / 8
    return labels, scores


def every_threshold(labels, scores):
    """(threshold, sensitivity, specificity, TP, FP) of each distinct score, by counting."""
    labels, scores = labels[labels >= 0], scores[labels >= 0]
    for threshold in np.unique(scores):
        called = scores >= threshold
        hits, alarms = int((called & (labels == 1)).sum()), int((called & (labels == 0)).sum())
        yield threshold, hits / (labels == 1).sum(), 1 - alarms / (labels == 0).sum(), hits, alarms


def chosen(labels, scores, text):
    curve = threshold_curve(labels, scores)
    return curve.thresholds[parse_rule(text).choose(curve)]


# Text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("sensitivity >= 0.95", AtLeast("sensitivity", 0.95)),
        ("  sensitivity>=.95 ", AtLeast("sensitivity", 0.95)),
        ("sensitivity >= 1", AtLeast("sensitivity", 1.0)),
        ("specificity >= 0.9 with 97.5 % confidence", AtLeast("specificity", 0.9, 0.975)),
        ("specificity >= 9e-1 with 95% confidence", AtLeast("specificity", 0.9, 0.95)),
        ("youden", Youden()),
        ("max f1", MaxFBeta(1)),
        ("max f_0.5", MaxFBeta(0.5)),
        ("cost 20:1", LeastCost(20)),
        ("cost 1 : 4 at prevalence 0.01", LeastCost(0.25, 0.01)),
    ],
)
def test_rules_are_read_from_text_and_spelled_again(text, rule):
    assert parse_rule(text) == rule
    assert parse_rule(str(rule)) == rule


def test_a_rule_is_spelled_with_its_plain_numbers():
    assert str(parse_rule("sensitivity >= 0.950 with 95.0 % confidence")) == (
        "sensitivity >= 0.95 with 95 % confidence"
    )
    assert str(parse_rule("max f_2")) == "max f2"
    assert str(parse_rule("cost 40:2 at prevalence 1e-2")) == "cost 20:1 at prevalence 0.01"


@laws
@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.01, 0.999), st.floats(1e-3, 1e3))
def test_every_rule_survives_its_text(share, confidence, ratio):
    confidence = round(confidence, 6)
    for rule in (
        AtLeast("sensitivity", share),
        AtLeast("specificity", share, confidence),
        MaxFBeta(ratio),
        LeastCost(ratio, share),
    ):
        assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "rule '' is malformed: expected 'sensitivity >= NUMBER'"),
        ("recall >= 0.9", "'recall >= 0.9' is malformed"),
        ("sensitivity > 0.9", "malformed"),
        ("sensitivity >= 0.9 with 0.95 confidence", "malformed"),
        ("youden >= 0.5", "malformed"),
        ("max f", "malformed"),
        ("cost 20", "malformed"),
        ("sensitivity >= 1.5", "the target, 1.5, is out of range"),
        ("sensitivity >= 0", "the target, 0, is out of range"),
        ("sensitivity >= 1 with 95 % confidence", "the target, 1, is out of range"),
        ("sensitivity >= 0.9 with 100 % confidence", "the confidence, 1, is out of range"),
        ("max f0", "the beta, 0, is out of range"),
        ("cost 0:1", "the cost of a miss, 0, is out of range"),
        ("cost 1:0", "the cost of a false alarm, 0, is out of range"),
        ("cost 1:1 at prevalence 1", "the prevalence, 1, is out of range"),
    ],
)
def test_wrong_rules_say_what_is_wrong(text, match):
    with pytest.raises(InputError, match=match):
        parse_rule(text)


def test_a_rule_of_another_rate_is_refused():
    with pytest.raises(InputError, match="'precision': expected sensitivity or specificity"):
        AtLeast("precision", 0.5)


# The curve


def test_the_curve_holds_the_points_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, scores = (rng.random(500) < 0.1).astype(int), rng.integers(0, 60, 500) / 60
    curve = threshold_curve(labels, scores)
    false_rate, true_rate, thresholds = sk.roc_curve(labels, scores, drop_intermediate=False)
    assert curve.thresholds.tolist() == thresholds[:0:-1].tolist()
    np.testing.assert_allclose(curve.hits / curve.positives, true_rate[:0:-1])
    np.testing.assert_allclose(curve.false_alarms / curve.negatives, false_rate[:0:-1])


def test_the_lower_bound_is_the_quantile_of_the_beta_distribution():
    for trials in (1, 7, 100, 100_000):
        for k in {0, 1, trials // 2, trials - 1, trials}:
            expected = stats.beta.ppf(0.05, k, trials - k + 1) if k else 0.0
            np.testing.assert_allclose(clopper_pearson_lower(k, trials), expected, rtol=1e-10)
            interval = stats.binomtest(k, trials, alternative="greater").proportion_ci(0.9, "exact")
            np.testing.assert_allclose(clopper_pearson_lower(k, trials, 0.9), interval.low, rtol=1e-6)
    assert clopper_pearson_lower([0, 5], 5).shape == (2,)


# Choices


@laws
@given(tied_cases(), st.sampled_from([0.1, 0.5, 0.75, 0.9, 1.0]))
def test_a_sensitivity_is_reached_by_the_largest_threshold_that_reaches_it(case, target):
    expected = max(t for t, sensitivity, *_ in every_threshold(*case) if sensitivity >= target)
    assert chosen(*case, f"sensitivity >= {target}") == expected


@laws
@given(tied_cases(), st.sampled_from([0.1, 0.5, 0.75, 0.9, 1.0]))
def test_a_specificity_is_reached_by_the_smallest_threshold_that_reaches_it(case, target):
    reaching = [t for t, _, specificity, *_ in every_threshold(*case) if specificity >= target]
    if reaching:
        assert chosen(*case, f"specificity >= {target}") == min(reaching)
    else:
        with pytest.raises(InputError, match=r"is out of reach: \d+ of \d+ negatives score as high as"):
            chosen(*case, f"specificity >= {target}")


@laws
@given(tied_cases(), st.sampled_from(["sensitivity", "specificity"]), st.sampled_from([0.2, 0.5, 0.7]))
def test_with_confidence_the_lower_bound_reaches_the_target(case, rate, target):
    labels, _ = case
    trials = (labels == (1 if rate == "sensitivity" else 0)).sum()
    reaching = []
    for threshold, _, _, hits, alarms in every_threshold(*case):
        k = hits if rate == "sensitivity" else trials - alarms
        if k and stats.beta.ppf(0.1, k, trials - k + 1) >= target:
            reaching.append(threshold)
    text = f"{rate} >= {target} with 90 % confidence"
    if reaching:
        assert chosen(*case, text) == (max(reaching) if rate == "sensitivity" else min(reaching))
    else:
        with pytest.raises(InputError, match=r"out of reach|cannot show"):
            chosen(*case, text)


@laws
@given(tied_cases())
def test_youden_f_beta_and_cost_are_the_best_of_every_threshold(case):
    labels, scores = case
    positives, negatives = (labels == 1).sum(), (labels == 0).sum()
    q = positives / (positives + negatives)
    known = labels >= 0
    rows = list(every_threshold(*case))
    value = {"youden": lambda t, se, sp, *_: se + sp - 1}
    for beta in (0.5, 1, 2):
        value[f"max f{beta}"] = lambda t, *_, beta=beta: sk.fbeta_score(
            labels[known], scores[known] >= t, beta=beta
        )
    value["cost 50:1"] = lambda t, se, sp, *_: -(50 * q * (1 - se) + (1 - q) * (1 - sp))
    value["cost 500:1 at prevalence 0.1"] = lambda t, se, sp, *_: -(50 * (1 - se) + 0.9 * (1 - sp))
    for text, of in value.items():
        best = max(of(*row) for row in rows)
        if text == "cost 50:1" and best < -50 * q - 1e-12:
            continue
        equals = [row[0] for row in rows if of(*row) >= best - 1e-12]
        assert chosen(*case, text) in equals
        if text == "youden":
            assert chosen(*case, text) == min(equals)


def test_a_share_that_is_exactly_the_target_reaches_it():
    labels, scores = np.repeat([1, 0], [20, 20]), np.arange(40)[::-1] / 40
    assert chosen(labels, scores, "sensitivity >= 0.95") == scores[18]  # 19 of 20
    assert chosen(labels, scores, "specificity >= 0.95") == scores[20]


def test_equal_scores_fall_on_the_same_side():
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    assert chosen(labels, scores, "specificity >= 0.5") == 0.9
    assert chosen(labels, scores, "sensitivity >= 0.6") == 0.5


def test_fifty_nine_positives_show_a_sensitivity_of_95_percent_and_thirty_do_not():
    rule = "sensitivity >= 0.95 with 95 % confidence"
    scores = np.linspace(1, 0, 100)
    assert chosen(np.arange(100) < 59, scores, rule) == scores[58]
    for positives in (30, 58):
        bound = 0.05 ** (1 / positives)
        with pytest.raises(
            InputError,
            match=f"{positives} positives cannot show {rule}: the lower bound is {bound:.4g} .*takes 59",
        ):
            chosen(np.arange(100) < positives, scores, rule)
    with pytest.raises(InputError, match="10 negatives cannot show specificity"):
        chosen(np.arange(100) >= 10, scores, "specificity >= 0.9 with 99 % confidence")


def test_the_promised_sensitivity_holds_among_new_cases_as_often_as_promised():
    rng = np.random.default_rng(0)
    rule, times, kept = parse_rule("sensitivity >= 0.9 with 95 % confidence"), 3000, 0
    for _ in range(times):
        positive, negative = rng.normal(1, 1, 100), rng.normal(0, 1, 50)
        curve = threshold_curve(np.repeat([1, 0], [100, 50]), np.concatenate([positive, negative]))
        kept += stats.norm.sf(curve.thresholds[rule.choose(curve)], 1, 1) >= 0.9
    # 96 of 100 is the least that reaches it: kept with probability P(Beta(96, 5) >= 0.9) = 0.976
    exact = stats.beta.sf(0.9, 96, 5)
    assert exact > 0.95
    assert abs(kept / times - exact) < 4 * math.sqrt(exact * (1 - exact) / times)


def test_a_cost_that_favours_calling_nobody_is_said():
    labels, scores = np.array([0, 0, 0, 1]), np.array([0.9, 0.8, 0.1, 0.2])
    with pytest.raises(InputError, match=r"calling nobody costs 0.01 \(prevalence 0.01\)"):
        chosen(labels, scores, "cost 1:1 at prevalence 0.01")
    assert chosen(labels, scores, "cost 1000:1 at prevalence 0.01") == 0.2


def test_on_calibrated_scores_the_least_cost_is_at_the_threshold_of_decision_theory():
    # Elkan 2001: call positive where p >= 1 / (1 + ratio)
    rng = np.random.default_rng(3)
    scores = rng.beta(0.5, 3, 200_000)
    labels = rng.random(200_000) < scores
    assert abs(chosen(labels, scores, "cost 9:1") - 0.1) < 0.01
