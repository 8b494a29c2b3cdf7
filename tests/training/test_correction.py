"""What a method makes of its probabilities."""

import numpy as np
import pytest
from method_arrays import class_arrays

from imbal_jax.methods import METHODS, find_method
from imbal_jax.tasks import ONE_LABEL
from imbal_jax.training.correction import correct

COUNTS = np.array([900, 90, 10])
LABELS = np.repeat([0, 1, 2], COUNTS).astype(np.int32)
RNG = np.random.default_rng(0)
MEANS = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])


def posterior(x, priors):
    density = np.exp(-((x[:, None] - MEANS) ** 2).sum(axis=2) / 2) * priors
    return density / density.sum(axis=1, keepdims=True)


POINTS = MEANS[LABELS] + RNG.normal(size=(1000, 2))
DATA = COUNTS / 1000
EVEN = np.full(3, 1 / 3)


def corrected(name, scores, stream=COUNTS):
    method = METHODS[name] if name in METHODS else find_method(name)
    source = ONE_LABEL.training_priors(method, class_arrays(method, LABELS, 3, stream))
    return correct(method, source, DATA, LABELS, scores)


@pytest.mark.parametrize(
    ("name", "stream", "expected"),
    [
        ("ce", COUNTS, DATA),
        ("stratified", np.ones(3), EVEN),
        ("weighted_ce", COUNTS, EVEN),
        ("logit_adjusted", COUNTS, EVEN),
        ("logit_adjusted,tau=0", COUNTS, DATA),
        ("bayesian_ce", COUNTS, EVEN),
        ("crt", COUNTS, EVEN),
        ("ce_drw", COUNTS, None),
    ],
)
def test_the_priors_that_training_made_up(name, stream, expected):
    method = find_method(name)
    arrays = class_arrays(method, LABELS, 3, stream)
    if expected is None:
        expected = DATA * arrays.class_weights
        expected /= expected.sum()
    np.testing.assert_allclose(ONE_LABEL.training_priors(method, arrays), expected, atol=1e-6)


def test_no_correction_returns_the_very_scores():
    scores = posterior(POINTS, DATA)
    assert corrected("ce", scores) is scores


def test_logit_adjustment_afterwards_gives_the_posterior_under_equal_priors():
    found = corrected("post_hoc_logit_adjusted", posterior(POINTS, DATA))
    np.testing.assert_allclose(found, posterior(POINTS, EVEN), atol=1e-6)


def test_prior_correction_undoes_balanced_batches():
    found = corrected("stratified_corrected", posterior(POINTS, EVEN), np.ones(3))
    np.testing.assert_allclose(found, posterior(POINTS, DATA), atol=1e-6)


def test_em_finds_the_priors_of_the_scores_it_is_given():
    found = corrected("saerens_em", posterior(POINTS, EVEN), np.ones(3))
    assert np.abs(found.mean(axis=0) - DATA).max() < 0.03  # 10 of 1000 are of the rarest


def test_moved_thresholds_balance_the_accuracies():
    scores = posterior(POINTS, DATA)

    def recall(scores):
        return np.mean([(scores[c == LABELS].argmax(axis=1) == c).mean() for c in range(3)])

    assert recall(corrected("threshold_moving", scores)) > recall(scores) + 0.1
