"""Rates at the points that an evaluation chooses, against a search over all thresholds in numpy."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from imbal_jax.decisions.at_points import rates_at_points
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.threshold_rules import parse_rule
from imbal_jax.errors import InputError

CLASSES = ("normal", "mass", "nodule")
ALL = "sensitivity + specificity + f_score + balanced_accuracy at operating points"
YOUDEN = [parse_rule("youden")] * 3


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, 200, p=[0.8, 0.15, 0.05])
    logits = rng.normal(size=(200, 3)) + 1.5 * np.eye(3)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def best_by_youden(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The calls of the lowest threshold of the largest sensitivity + specificity."""
    calls = [scores >= threshold for threshold in np.unique(scores)]
    values = [recall_score(truth, call) + recall_score(~truth, ~call) for call in calls]
    return calls[int(np.argmax(np.round(values, 12)))]


def test_rates_are_those_of_the_thresholds_that_a_search_finds() -> None:
    labels, scores = problem()
    found = rates_at_points(parse_criterion(ALL), YOUDEN, labels, scores, CLASSES, negative_class="normal")
    of_class = []
    for c in (1, 2):
        truth = labels == c
        call = best_by_youden(truth, scores[:, c])
        sensitivity, specificity = recall_score(truth, call), recall_score(~truth, ~call)
        of_class.append([sensitivity, specificity, f1_score(truth, call), (sensitivity + specificity) / 2])
    np.testing.assert_allclose(list(found.values()), np.mean(of_class, axis=0), rtol=1e-12)


def test_a_network_that_calls_nobody_is_worth_what_its_ranking_is() -> None:
    labels, scores = problem()
    rare = scores * [1, 1e-6, 1e-6]
    rare /= rare.sum(1, keepdims=True)
    assert (rare.argmax(1) == 0).all()
    criterion = parse_criterion("sensitivity at operating points")
    (value,) = rates_at_points(criterion, YOUDEN, labels, rare, CLASSES, negative_class="normal").values()
    assert value > 0.5


def test_many_labels_leave_unknown_ones_out_and_a_rule_may_be_of_a_class() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((120, 2)) < 0.3).astype(int)
    labels[::7, 0] = -1
    scores = rng.random((120, 2)) * 0.6 + 0.4 * (labels == 1)
    rules = [parse_rule("sensitivity >= 0.9"), parse_rule("youden")]
    criterion = parse_criterion("sensitivity/a + specificity/a at operating points")
    found = rates_at_points(criterion, rules, labels, scores, ("a", "b"))
    known = labels[:, 0] >= 0
    truth, own = labels[known, 0] == 1, scores[known, 0]
    threshold = np.sort(own[truth])[int(np.floor(0.1 * truth.sum()))]
    assert found["sensitivity/a at operating points"] == (own[truth] >= threshold).mean() >= 0.9
    assert found["specificity/a at operating points"] == pytest.approx((own[~truth] < threshold).mean())


def test_nobody_is_called_where_the_rule_is_out_of_reach_and_a_class_without_cases_is_undefined() -> None:
    labels, scores = np.array([0, 0, 0, 1]), np.tile([0.5, 0.5], (4, 1))
    rules = [parse_rule("specificity >= 0.9")] * 2
    criterion = parse_criterion(ALL)
    found = rates_at_points(criterion, rules, labels, scores, ("normal", "mass"), negative_class="normal")
    assert list(found.values()) == [0, 1, 0, 0.5]
    nobody = rates_at_points(
        criterion, rules, labels * 0, scores, ("normal", "mass"), negative_class="normal"
    )
    assert np.isnan(list(nobody.values())).all()


def test_nothing_is_computed_that_is_not_read_and_an_unknown_class_is_named() -> None:
    labels, scores = problem()
    assert rates_at_points(parse_criterion("auroc"), YOUDEN, labels, scores, CLASSES) == {}
    with pytest.raises(InputError, match="unknown class in 'f_score/x at operating points'"):
        rates_at_points(parse_criterion("f_score/x at operating points"), YOUDEN, labels, scores, CLASSES)
