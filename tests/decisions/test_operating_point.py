"""Operating points by hand, predictive values by counting, decision curves by their formula."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax import metrics
from imbal_jax.decisions.operating_point import (
    OperatingPoint,
    choose_threshold,
    choose_thresholds,
    net_benefit,
    predictive_values,
)
from imbal_jax.errors import InputError

laws = settings(max_examples=25, deadline=None)
LABELS = np.array([0, 0, 1, 1, 0, 1, -1])
SCORES = np.array([0.1, 0.4, 0.35, 0.8, 0.6, 0.5, 0.99])


# Thresholds


def test_a_point_holds_what_it_reached_and_on_how_many():
    point = choose_threshold(LABELS, SCORES, "sensitivity >= 0.6")
    assert point == OperatingPoint(
        threshold=0.5,
        rule="sensitivity >= 0.6",
        sensitivity=2 / 3,
        specificity=2 / 3,
        n_positive=3,
        n_negative=3,
    )
    assert point.decide(SCORES).tolist() == [False, False, False, True, True, True, True]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "rule", ["sensitivity >= 0.9", "specificity >= 0.9", "youden", "max f2", "cost 30:1"]
)
def test_the_metrics_at_the_threshold_are_those_of_the_point(rule, dtype):
    rng = np.random.default_rng(0)
    labels = (rng.random(2000) < 0.05).astype(int)
    scores = (1 / (1 + np.exp(3 - rng.normal(size=2000) - 2 * labels))).astype(dtype)
    point = choose_threshold(labels, scores, rule)
    assert point.sensitivity == metrics.sensitivity(labels, scores, threshold=point.threshold)
    assert point.specificity == metrics.specificity(labels, scores, threshold=point.threshold)
    assert point.decide(scores).sum() == (scores >= dtype(point.threshold)).sum()


def test_a_point_survives_json_to_the_last_digit():
    rng = np.random.default_rng(1)
    point = choose_threshold(rng.integers(0, 2, 99), rng.random(99).astype(np.float32), "youden")
    assert OperatingPoint.from_json(json.loads(json.dumps(point.to_json()))) == point
    with pytest.raises(InputError, match="is damaged"):
        OperatingPoint.from_json({"threshold": 0.5})


def test_two_classes_are_decided_by_the_second():
    both = np.stack([1 - SCORES, SCORES], axis=1)
    assert choose_threshold(LABELS, both, "youden") == choose_threshold(LABELS, SCORES, "youden")


def test_each_of_many_labels_gets_its_own_rule_and_point():
    labels = np.stack([LABELS, 1 - LABELS.clip(0)], axis=1)
    scores = np.stack([SCORES, 1 - SCORES], axis=1)
    points = choose_thresholds(labels, scores, ["sensitivity >= 0.6", "max f1"])
    assert points[0] == choose_threshold(labels[:, 0], scores[:, 0], "sensitivity >= 0.6")
    assert points[1] == choose_threshold(labels[:, 1], scores[:, 1], "max f1")
    assert [p.n_positive for p in points] == [3, 4]


def test_each_class_is_decided_against_the_rest():
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(-1, 3, 60), rng.dirichlet(np.ones(3), 60)
    known = labels >= 0
    for c, point in enumerate(choose_thresholds(labels, scores, "youden")):
        assert point == choose_threshold((labels == c)[known], scores[known, c], "youden")


def test_the_column_that_a_rule_cannot_satisfy_is_named():
    labels = np.array([[1, 0], [0, 0], [0, -1]])
    with pytest.raises(InputError, match=r"column 1: a threshold needs positives and negatives: .* 0 and 2"):
        choose_thresholds(labels, np.full((3, 2), 0.5), "youden")


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: choose_threshold([0, 1], [0.1], "youden"), r"labels \[2\] do not fit scores \[1\]"),
        (lambda: choose_threshold([0, 2], [0.1, 0.2], "youden"), r"labels\[1\] is 2"),
        (lambda: choose_threshold([0, 1], [0.1, np.nan], "youden"), r"scores\[1\] is nan"),
        (lambda: choose_threshold([0, 1], [0.1, np.inf], "youden"), r"scores\[1\] is inf"),
        (lambda: choose_threshold([0, 0], [0.1, 0.2], "youden"), "there are 0 and 2"),
        (lambda: choose_threshold([], [], "youden"), "there are 0 and 0"),
        (lambda: choose_threshold([0, 1], [0.1, 0.2], "youdn"), "rule 'youdn' is malformed"),
        (lambda: choose_thresholds([0, 1], [0.1, 0.2], "youden"), r"do not fit scores \[2\]"),
        (lambda: choose_thresholds([0, 3], np.zeros((2, 3)), "youden"), r"labels\[1\] is 3"),
        (lambda: choose_thresholds([0, 1], np.zeros((2, 3)), ["youden"]), "1 rules do not fit 3"),
    ],
)
def test_wrong_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_an_unknown_label_hides_its_score():
    assert choose_threshold([0, 1, -1], [0.1, 0.2, np.nan], "youden").threshold == 0.2


# Predictive values


def test_predictive_values_are_shares_of_a_population():
    # 1,000 of 100,000 have the finding; sensitivity 0.9, specificity 0.95: 900 and 4,950 are called
    ppv, npv = predictive_values(0.9, 0.95, 0.01)
    assert math.isclose(ppv, 900 / (900 + 4950), rel_tol=1e-12)
    assert math.isclose(npv, 94_050 / (94_050 + 100), rel_tol=1e-12)
    review = predictive_values(0.9, 0.95, 0.01).number_needed_to_review
    assert math.isclose(review, 6.5, rel_tol=1e-12)


def test_at_the_prevalence_of_the_cases_the_positive_predictive_value_is_the_precision():
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, 300), rng.random(300)
    ppv, npv = predictive_values(
        metrics.sensitivity(labels, scores), metrics.specificity(labels, scores), labels.mean()
    )
    assert math.isclose(ppv, metrics.precision(labels, scores), rel_tol=1e-12)
    assert math.isclose(npv, metrics.precision(1 - labels, 0.9999999 - scores), rel_tol=1e-12)


def test_predictive_values_broadcast_and_are_nan_where_nobody_is_called():
    values = predictive_values([[0.5], [0.0]], [0.9, 1.0], 0.01)
    assert values.ppv.shape == values.npv.shape == (2, 2)
    assert values.ppv[1, 0] == 0
    assert values.number_needed_to_review[1, 0] == np.inf
    assert math.isnan(values.ppv[1, 1])
    assert predictive_values(1, 1, 0.5) == (1, 1)
    assert predictive_values(0.5, 0.5, 0).ppv == 0
    assert math.isnan(predictive_values(1, 0, 0.5).npv)
    with pytest.raises(ValueError, match=r"specificity is 1\.1"):
        predictive_values(0.5, 1.1, 0.5)


# Net benefit


def test_net_benefit_is_hits_less_weighed_false_alarms_a_case():
    thresholds = np.array([0.0, 0.2, 0.5, 0.6, 0.95])
    curve = net_benefit(LABELS, SCORES, thresholds)
    labels, scores = LABELS[:6], SCORES[:6]
    for t, model, treat_all in zip(*curve, strict=True):
        hits = ((scores >= t) & (labels == 1)).sum()
        alarms = ((scores >= t) & (labels == 0)).sum()
        assert math.isclose(model, hits / 6 - alarms / 6 * t / (1 - t), abs_tol=1e-12)
        assert math.isclose(treat_all, 0.5 - 0.5 * t / (1 - t), abs_tol=1e-12)


@laws
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.9), st.floats(0.001, 0.999))
def test_net_benefit_at_another_prevalence_is_that_of_cases_repeated_to_have_it(seed, t, score):
    rng = np.random.default_rng(seed)
    labels, scores = np.repeat([1, 0], [6, 9]), np.append(rng.random(14), score)
    repeats = np.where(labels == 0, 6, 1)
    expected = net_benefit(np.repeat(labels, repeats), np.repeat(scores, repeats), [t])
    actual = net_benefit(labels, scores, [t], prevalence=0.1)
    np.testing.assert_allclose(actual.model, expected.model, atol=1e-12)
    np.testing.assert_allclose(actual.treat_all, expected.treat_all, atol=1e-12)


@laws
@given(st.integers(0, 2**32 - 1))
def test_no_decision_has_more_benefit_than_the_prevalence(seed):
    rng = np.random.default_rng(seed)
    labels, t = np.append(rng.integers(0, 2, 50), [0, 1]), np.linspace(0, 0.99, 30)
    curve = net_benefit(labels, rng.random(52), t)
    assert (curve.model <= labels.mean() + 1e-12).all()
    perfect = net_benefit(labels, labels, t[1:])
    np.testing.assert_allclose(perfect.model, labels.mean(), atol=1e-12)
    assert curve.model[0] == curve.treat_all[0]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([0, 1], [0.1, 1.2], [0.5]), "is 1.2, expected a probability"),
        (([0, 1], [0.1, 0.2], [1.0]), r"thresholds\[0\] is 1"),
        (([0, 1], [0.1, 0.2], 0.5), r"thresholds have shape \[\]"),
        (([0, 0], [0.1, 0.2], [0.5]), "a net benefit needs positives and negatives: there are 0 and 2"),
        (([0, 1], [0.1, 0.2], [0.5], 1.0), "prevalence is 1"),
        (([[0, 1]], [[0.1, 0.2]], [0.5]), r"labels \[1, 2\] do not fit"),
    ],
)
def test_wrong_input_of_a_decision_curve_is_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        net_benefit(*arguments)
