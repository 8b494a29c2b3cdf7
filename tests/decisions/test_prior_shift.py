"""Prior corrections against their published formulas, counting, and the laws that they obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, softmax

from imbal_jax.decisions import prior_shift

laws = settings(max_examples=25, deadline=None)
priors = st.lists(st.floats(1e-4, 1), min_size=4, max_size=4).map(lambda x: np.array(x) / sum(x))
prevalences = st.floats(1e-4, 1 - 1e-4)


def some_scores(n=50, classes=4, spread=3.0, seed=0):
    return softmax(spread * np.random.default_rng(seed).normal(size=(n, classes)), axis=1)


def close(actual, expected, rtol=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=0)


# Formulas


def test_priors_are_corrected_as_the_formula_says():
    scores, source, target = some_scores(), np.array([0.7, 0.2, 0.06, 0.04]), np.array([0.1, 0.2, 0.3, 0.4])
    expected = np.empty_like(scores)
    for n, row in enumerate(scores):
        total = sum(row[k] * target[k] / source[k] for k in range(4))
        expected[n] = [row[c] * target[c] / source[c] / total for c in range(4)]
    close(prior_shift.correct_priors(scores, source, target), expected)


def test_a_literal_case():
    # odds 1 under equal priors are 1 to 99 at one in a hundred
    close(prior_shift.correct_priors([[0.5, 0.5]], [0.5, 0.5], [0.99, 0.01]), [[0.99, 0.01]])
    close(prior_shift.correct_prevalence([0.5, 0.9], 0.5, 0.01), [0.01, 9 / (9 + 99)])
    close(prior_shift.undo_positive_weight([0.5, 0.9], 99), [0.01, 9 / (9 + 99)])


def test_prevalence_is_corrected_as_elkan_says():
    p, b, new = np.linspace(0.01, 0.99, 33), 0.3, 0.02
    expected = new * (p - p * b) / (b - p * b + new * p - b * new)
    close(prior_shift.correct_prevalence(p, b, new), expected)


def test_undersampling_is_undone_as_dal_pozzolo_says():
    p, kept = np.linspace(0, 1, 21), 0.05
    close(prior_shift.undo_undersampling(p, kept), kept * p / (kept * p - p + 1))
    close(prior_shift.undo_undersampling(p, 1.0), p)


def test_logits_are_adjusted_by_tau_log_priors():
    logits, p = np.array([[1.0, 2.0], [-3.0, 4.0]]), [0.9, 0.1]
    close(prior_shift.adjust_logits(logits, p, 0.5), logits - 0.5 * np.log(p))
    close(prior_shift.adjust_logits(logits, p, 0), logits)
    assert prior_shift.adjust_logits(np.zeros((2, 3, 5, 2), np.float32), p).shape == (2, 3, 5, 2)


def test_counting_cases_confirms_weights_and_undersampling():
    # At one value of the image: 3 of 43 cases are positive. A model that fits it exactly gives these scores.
    positives, negatives, weight, kept = 3, 40, 12.5, 0.25
    truth = positives / (positives + negatives)
    weighted = weight * positives / (weight * positives + negatives)
    thinned = positives / (positives + kept * negatives)
    close(prior_shift.undo_positive_weight([weighted], weight), [truth])
    close(prior_shift.undo_undersampling([thinned], kept), [truth])


def test_effective_priors_take_a_weighted_balanced_stream_back_to_the_population():
    # Images of 5 kinds, 3 classes: the minimiser of the weighted cross-entropy is the weighted frequency.
    rng = np.random.default_rng(1)
    population = rng.dirichlet(np.ones(5), 3) * np.array([[0.9], [0.09], [0.01]])  # p(class, kind)
    classes = population.sum(axis=1)
    drawn, weights = np.array([8, 4, 4]), np.array([1.0, 2.5, 0.5])
    stream = population / classes[:, None] * (drawn * weights)[:, None]
    model = (stream / stream.sum(axis=0)).T
    source = prior_shift.effective_priors(drawn, weights)
    close(source, np.array([8, 10, 2]) / 20)
    expected = (population / population.sum(axis=0)).T
    close(prior_shift.correct_priors(model, source, classes), expected)


def test_effective_prevalence_takes_weighted_sigmoids_back_to_the_population():
    drawn, total, weight = np.array([30, 5]), np.array([100, 80]), np.array([2.0, 15.0])
    source = prior_shift.effective_prevalence(drawn, total, weight)
    close(source, [60 / 130, 75 / 150])
    true = prior_shift.effective_prevalence(drawn, total)
    close(true, drawn / total)
    scores = np.random.default_rng(2).random((20, 2))
    expected = prior_shift.undo_positive_weight(scores, weight)
    close(prior_shift.correct_prevalence(scores, source, true), expected, rtol=1e-11)


# Laws


@laws
@given(priors, priors)
def test_there_and_back_is_the_identity(source, target):
    scores = some_scores()
    moved = prior_shift.correct_priors(scores, source, target)
    close(prior_shift.correct_priors(moved, target, source), scores, rtol=1e-9)
    close(moved.sum(axis=1), 1)


@laws
@given(prevalences, prevalences)
def test_there_and_back_is_the_identity_of_sigmoids(source, target):
    scores = expit(np.random.default_rng(0).normal(size=(20, 3)))
    moved = prior_shift.correct_prevalence(scores, source, target)
    close(prior_shift.correct_prevalence(moved, target, source), scores, rtol=1e-9)


@laws
@given(priors, prevalences)
def test_equal_priors_change_nothing(p, q):
    scores = some_scores()
    close(prior_shift.correct_priors(scores, p, p), scores)
    close(prior_shift.correct_prevalence(scores, q, q), scores)


@laws
@given(priors, priors)
def test_adjusted_logits_are_corrected_priors_before_the_softmax(source, target):
    logits = 5 * np.random.default_rng(3).normal(size=(30, 4))
    scores = softmax(logits, axis=1)
    adjusted = softmax(prior_shift.adjust_logits(logits, source), axis=1)
    close(adjusted, prior_shift.correct_priors(scores, source, np.full(4, 0.25)), rtol=1e-10)
    adjusted = softmax(prior_shift.adjust_logits(logits, source / target), axis=1)
    close(adjusted, prior_shift.correct_priors(scores, source, target), rtol=1e-10)


@laws
@given(prevalences, prevalences)
def test_two_classes_are_corrected_alike_as_softmax_and_as_sigmoid(source, target):
    p = np.linspace(0.001, 0.999, 41)
    both = prior_shift.correct_priors(
        np.stack([1 - p, p], axis=1), [1 - source, source], [1 - target, target]
    )
    close(both[:, 1], prior_shift.correct_prevalence(p, source, target), rtol=1e-9)


@laws
@given(prevalences, prevalences)
def test_a_correction_of_prevalence_shifts_the_log_odds(source, target):
    z = np.linspace(-8, 8, 17)
    moved = logit(prior_shift.correct_prevalence(expit(z), source, target))
    np.testing.assert_allclose(moved, z + logit(target) - logit(source), atol=1e-8)


@laws
@given(st.floats(0.001, 1))
def test_keeping_a_share_of_negatives_is_weighting_the_positives_by_its_inverse(kept):
    p = np.linspace(0, 1, 11)
    close(prior_shift.undo_undersampling(p, kept), prior_shift.undo_positive_weight(p, 1 / kept))


def test_each_label_is_corrected_by_itself():
    scores = np.random.default_rng(4).random((10, 3))
    source, target = np.array([0.5, 0.3, 0.1]), np.array([0.01, 0.2, 0.6])
    moved = prior_shift.correct_prevalence(scores, source, target)
    for c in range(3):
        close(moved[:, c], prior_shift.correct_prevalence(scores[:, c], source[c], target[c]))


# Extremes


@pytest.mark.parametrize("target", [1e-300, 1e-9, 0.5, 1 - 1e-9])
@pytest.mark.parametrize("source", [1e-300, 0.5, 1 - 1e-9])
def test_certainty_stays_and_nothing_is_nan(source, target):
    scores = np.array([0.0, 5e-324, 1e-300, 0.5, 1 - 1e-16, 1.0])
    moved = prior_shift.correct_prevalence(scores, source, target)
    assert (moved[0], moved[-1]) == (0, 1)
    assert ((moved >= 0) & (moved <= 1)).all()
    assert (np.diff(moved) >= 0).all()
    rows = prior_shift.correct_priors(
        [[1, 0, 0], [0, 0, 1], [1e-300, 1, 1e-300]], [1 - 2e-300, 1e-300, 1e-300], [1 / 3] * 3
    )
    assert rows[:2].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert np.isfinite(rows).all()


def test_a_huge_change_of_priors_keeps_every_digit():
    # odds 1e-12 times 1e12 are 1, though the score differs from 0 by 1e-12 only
    weight = 1e-12
    close(prior_shift.undo_positive_weight([1e-12 / (1 + 1e-12)], weight), [0.5])
    rows = prior_shift.correct_priors([[1 / (1 + 1e-12), 1e-12 / (1 + 1e-12)]], [1 - 1e-12, 1e-12], [0.5] * 2)
    close(rows, [[0.5, 0.5]], rtol=1e-11)


def test_scores_of_low_precision_are_taken_as_they_are():
    scores = some_scores().astype(np.float16)
    moved = prior_shift.correct_priors(scores, [0.7, 0.1, 0.1, 0.1], [0.25] * 4)
    assert moved.dtype == np.float64
    close(moved.sum(axis=1), 1)
    assert prior_shift.correct_prevalence(np.zeros((0, 3)), 0.1, 0.2).shape == (0, 3)
    assert prior_shift.correct_priors(np.zeros((0, 2)), [0.1, 0.9], [0.5, 0.5]).shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda p: p.correct_priors([[0.9, 0.9]], [0.5, 0.5], [0.5, 0.5]), "row 0 sum to 1.8.*prevalence"),
        (lambda p: p.correct_priors([[0.9, np.nan]], [0.5, 0.5], [0.5, 0.5]), r"scores\[0, 1\] is nan"),
        (lambda p: p.correct_priors([0.9, 0.1], [0.5, 0.5], [0.5, 0.5]), r"scores have shape \[2\]"),
        (lambda p: p.correct_priors([[0.9, 0.1]], [1.0, 0.0], [0.5, 0.5]), r"source_priors\[1\] is 0"),
        (lambda p: p.correct_priors([[0.9, 0.1]], [90, 10], [0.5, 0.5]), "sum of source_priors is 100"),
        (lambda p: p.correct_priors([[0.9, 0.1]], [0.5, 0.5], [1.0]), r"target_priors has shape \[1\]"),
        (lambda p: p.correct_prevalence([1.2], 0.5, 0.5), r"scores\[0\] is 1.2"),
        (lambda p: p.correct_prevalence([0.2], 0.5, 1.0), "target_prevalence is 1, expected"),
        (lambda p: p.correct_prevalence([[0.2, 0.3]], [0.5] * 3, 0.1), r"expected a number or \[2\]"),
        (lambda p: p.undo_undersampling([0.2], 1.5), "kept is 1.5"),
        (lambda p: p.undo_undersampling([0.2], 0), "kept is 0"),
        (lambda p: p.undo_positive_weight([0.2], -1), "weight is -1"),
        (lambda p: p.effective_priors([0, 0]), "sum to zero"),
        (lambda p: p.effective_priors([1, -1]), r"stream_counts\[1\] is -1"),
        (lambda p: p.effective_priors([1, 1], [1, np.inf]), r"class_weights\[1\] is inf"),
        (lambda p: p.effective_priors([1, 1], [1]), r"class_weights have shape \(1,\)"),
        (lambda p: p.effective_priors(3), r"stream_counts have shape \(\)"),
        (lambda p: p.effective_prevalence(3, 2), "positives is 3"),
        (lambda p: p.effective_prevalence([1, 2], [3, 3], [1, 0]), r"positive_weight\[1\] is 0"),
        (lambda p: p.adjust_logits([1.0, 2.0], [0.5, 0.0]), r"priors\[1\] is 0"),
        (lambda p: p.adjust_logits([1.0, 2.0], [0.5, 0.5], -1), "tau=-1"),
        (lambda p: p.adjust_logits(1.0, [0.5]), "scalar"),
    ],
)
def test_wrong_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call(prior_shift)
