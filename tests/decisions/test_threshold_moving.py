"""Class multipliers against every decision there is, a grid, and the promises that they make."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from imbal_jax import metrics
from imbal_jax.decisions.prior_shift import correct_priors
from imbal_jax.decisions.threshold_moving import OBJECTIVES, class_multipliers

laws = settings(max_examples=25, deadline=None)
METRICS = {
    "balanced_accuracy": metrics.balanced_accuracy,
    "f_score": metrics.f_beta,
    "geometric_mean": metrics.geometric_mean,
}


def long_tail(n, classes, seed=0, signal=1.5):
    """Labels whose classes are each a third of the one before, and softmax scores that know something."""
    rng = np.random.default_rng(seed)
    priors = 3.0 ** -np.arange(classes)
    labels = rng.choice(classes, n, p=priors / priors.sum())
    labels[:classes] = range(classes)
    logits = rng.normal(size=(n, classes)) + signal * np.eye(classes)[labels] + np.log(priors)
    return labels, softmax(logits, axis=1)


def test_there_is_a_metric_for_every_objective():
    assert {name: objective.metric for name, objective in OBJECTIVES.items()} == METRICS


@pytest.mark.parametrize("objective", METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_of_two_classes_no_threshold_is_better(objective, seed):
    labels, scores = long_tail(300, 2, seed)
    if seed == 3:
        scores = np.round(scores, 1)
    found = METRICS[objective](labels, scores * class_multipliers(labels, scores, objective))
    for threshold in np.unique(scores[:, 1]):
        decided = np.eye(2)[(scores[:, 1] >= threshold).astype(int)]
        assert METRICS[objective](labels, decided) <= found + 1e-12


@pytest.mark.parametrize("objective", METRICS)
def test_no_change_of_one_multiplier_is_better(objective):
    labels, scores = long_tail(200, 4)
    metric, t = METRICS[objective], class_multipliers(labels, scores, objective)
    found = metric(labels, scores * t)
    for c in range(4):
        rival = np.delete(scores * t, c, axis=1).max(axis=1)
        turns = np.sort(rival / scores[:, c])
        tries = [turns[0] / 2, *np.sqrt(turns[1:] * turns[:-1]), turns[-1] * 2]
        for at in tries:
            moved = t.copy()
            moved[c] = at
            assert metric(labels, scores * moved) <= found + 1e-9


@pytest.mark.parametrize("objective", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_a_fine_grid_over_three_classes_finds_hardly_more(objective, seed):
    labels, scores = long_tail(150, 3, seed)
    metric = METRICS[objective]
    found = metric(labels, scores * class_multipliers(labels, scores, objective))
    ratios = np.geomspace(0.02, 200, 70)
    best = max(metric(labels, scores * np.array([1, a, b])) for a in ratios for b in ratios)
    # ascent one class at a time may end beside the top, and the grid beside it too
    assert found >= best - 0.015


@laws
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.booleans(), st.sampled_from(sorted(METRICS)))
def test_the_objective_never_falls(seed, classes, tied, objective):
    rng = np.random.default_rng(seed)
    labels, scores = long_tail(40, classes, seed, signal=rng.choice([0.0, 2.0]))
    if tied:
        scores = rng.multinomial(4, np.full(classes, 1 / classes), 40) / 4
    t = class_multipliers(labels, scores, objective)
    assert (np.isfinite(t) & (t > 0)).all()
    metric = METRICS[objective]
    assert metric(labels, scores * t) >= metric(labels, scores)
    assert (t == class_multipliers(labels, scores, objective)).all()


def test_on_true_probabilities_balanced_accuracy_comes_near_the_inverse_priors():
    rng = np.random.default_rng(0)
    priors = np.array([0.8, 0.15, 0.05])
    labels = rng.choice(3, 60_000, p=priors)
    x = rng.normal(size=60_000) + 1.5 * labels
    logits = -0.5 * (x[:, None] - 1.5 * np.arange(3)) ** 2 + np.log(priors)
    scores = softmax(logits, axis=1)
    t = class_multipliers(labels, scores)
    np.testing.assert_allclose(np.log(t / t[0]), np.log(priors[0] / priors), atol=0.35)
    bayes = correct_priors(scores, priors, np.full(3, 1 / 3))
    found = metrics.balanced_accuracy(labels, scores * t)
    assert 0 <= found - metrics.balanced_accuracy(labels, bayes) < 0.005


def test_a_class_that_was_never_decided_is_found_again():
    labels, scores = long_tail(1000, 5, signal=1.0)
    assert metrics.geometric_mean(labels, scores) == 0
    t = class_multipliers(labels, scores, "geometric_mean")
    assert metrics.geometric_mean(labels, scores * t) > 0.3


def test_perfect_scores_are_left_alone():
    labels = np.arange(12) % 3
    assert class_multipliers(labels, np.eye(3)[labels]).tolist() == [1, 1, 1]


def test_classes_without_cases_and_unknown_labels_do_not_disturb():
    labels, scores = long_tail(200, 3)
    wider = np.concatenate([0.9 * scores, np.full((200, 1), 0.1)], axis=1)
    t = class_multipliers(labels, wider)
    assert metrics.balanced_accuracy(labels, wider * t) >= metrics.balanced_accuracy(labels, wider)
    more_labels, more_scores = (
        np.append(labels, [-1, -1]),
        np.concatenate([scores, [[np.nan] * 3, [1, 0, 0]]]),
    )
    assert (class_multipliers(more_labels, more_scores) == class_multipliers(labels, scores)).all()


def test_scores_of_zero_and_one_give_finite_multipliers():
    rng = np.random.default_rng(1)
    scores = np.eye(3)[rng.integers(0, 3, 30)]
    scores[:5] = [1e-320, 1.0, 0.0]
    for objective in METRICS:
        t = class_multipliers(rng.integers(0, 3, 30), scores, objective)
        assert (np.isfinite(t) & (t > 0)).all()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([0, 1], np.eye(2), "accuracy"), "unknown objective 'accuracy': expected one of balanced_accuracy"),
        (([1, 1], np.eye(2)), "the labels hold 1 class"),
        (([-1, -1], np.eye(2)), "the labels hold 0 class"),
        (([0, 2], np.eye(2)), r"labels\[1\] is 2, expected 0 to 1"),
        (([0, 1], np.ones((2, 2))), "row 0 sum to 2"),
        (([0, 1], [0.2, 0.3]), r"labels \[2\] do not fit scores \[2\]"),
    ],
)
def test_wrong_input_is_named(arguments, match):
    with pytest.raises(ValueError, match=match):
        class_multipliers(*arguments)
