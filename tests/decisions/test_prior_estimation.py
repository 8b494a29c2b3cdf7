"""Estimated priors against the published iteration written out, other packages, and their laws."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax

from imbal_jax.decisions.prior_estimation import estimate_prevalence, estimate_priors
from imbal_jax.decisions.prior_shift import correct_prevalence, correct_priors

SOURCE = np.array([0.5, 0.3, 0.2])


def gaussian_cases(n, priors, seed=0, gap=2.5):
    """Exact posteriors, under SOURCE, of cases drawn under ``priors``: classes a ``gap`` apart on a line."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=priors)
    x = rng.normal(size=n) + gap * labels
    logits = -0.5 * (x[:, None] - gap * np.arange(3)) ** 2 + np.log(SOURCE)
    return labels, softmax(logits, axis=1)


def published_iteration(scores, source, times):
    """Saerens et al. 2002, written out."""
    priors = np.array(source)
    for _ in range(times):
        weighted = scores * priors / source
        weighted /= weighted.sum(axis=1, keepdims=True)
        priors = weighted.mean(axis=0)
    return priors


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_iterations_are_the_published_ones(iterations):
    _, scores = gaussian_cases(300, [0.1, 0.2, 0.7])
    estimate = estimate_priors(scores, SOURCE, max_iterations=iterations)
    np.testing.assert_allclose(estimate.priors, published_iteration(scores, SOURCE, iterations), rtol=1e-12)
    assert (estimate.iterations, estimate.converged) == (iterations, False)


def test_the_estimate_agrees_with_quapy():
    quapy = pytest.importorskip("quapy.method.aggregative")
    _, scores = gaussian_cases(2000, [0.1, 0.2, 0.7])
    priors, posteriors = quapy.EMQ.EM(SOURCE, scores, epsilon=1e-13)
    estimate = estimate_priors(scores, SOURCE, tolerance=1e-12)
    np.testing.assert_allclose(estimate.priors, priors, atol=1e-10)
    np.testing.assert_allclose(estimate.scores, posteriors, atol=1e-10)


def test_the_estimate_is_where_the_likelihood_is_largest():
    scores = np.random.default_rng(0).beta(0.5, 2, 400)
    estimate = estimate_prevalence(scores, 0.3, tolerance=1e-12)
    oracle = minimize_scalar(
        lambda t: -np.log(scores * t / 0.3 + (1 - scores) * (1 - t) / 0.7).mean(),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert estimate.converged
    assert abs(estimate.priors - oracle.x) < 1e-6


def test_convergence_bounds_how_far_the_likelihood_is_from_its_maximum():
    _, scores = gaussian_cases(500, [0.02, 0.08, 0.9], gap=1.0)

    def likelihood(priors):
        return np.log(scores @ (priors / SOURCE)).mean()

    best = likelihood(estimate_priors(scores, SOURCE, tolerance=1e-13, max_iterations=100_000).priors)
    for tolerance in (1e-2, 1e-4, 1e-6):
        estimate = estimate_priors(scores, SOURCE, tolerance=tolerance)
        assert estimate.converged
        assert best - tolerance <= likelihood(estimate.priors) <= best + 1e-14


def test_a_hundred_to_one_shift_is_found_and_the_scores_get_better():
    true = np.array([0.01, 0.04, 0.95])
    labels, scores = gaussian_cases(20_000, true)
    estimate = estimate_priors(scores, SOURCE)
    assert estimate.converged
    np.testing.assert_allclose(estimate.priors, true, atol=0.01)
    np.testing.assert_allclose(estimate.scores, correct_priors(scores, SOURCE, estimate.priors), rtol=1e-10)

    def log_loss(s):
        return -np.log(s[np.arange(len(labels)), labels]).mean()

    assert log_loss(estimate.scores) < 0.6 * log_loss(scores)


def test_calibrated_scores_whose_mean_is_the_source_stay_where_they_are():
    scores = np.random.default_rng(1).dirichlet([1, 2, 3], 200)
    estimate = estimate_priors(scores, scores.mean(axis=0))
    assert (estimate.iterations, estimate.converged) == (0, True)
    np.testing.assert_allclose(estimate.scores, scores, rtol=1e-12)


def test_certain_scores_are_counted():
    estimate = estimate_priors(np.eye(3)[[0, 0, 0, 1]], SOURCE)
    np.testing.assert_allclose(estimate.priors, [0.75, 0.25, 0], atol=1e-12)
    assert np.isfinite(estimate.scores).all()
    assert estimate_prevalence([0.0, 0.0], 0.5).priors == 0


def test_labels_are_estimated_one_by_one():
    rng = np.random.default_rng(2)
    scores, source = expit(2 * rng.normal(size=(500, 3)) + [-1, 0, 1]), np.array([0.2, 0.5, 0.5])
    many = estimate_prevalence(scores, source)
    assert many.priors.shape == many.iterations.shape == many.converged.shape == (3,)
    assert many.converged.all()
    np.testing.assert_allclose(
        many.scores, correct_prevalence(scores, source, many.priors), rtol=1e-9, atol=1e-15
    )
    for c in range(3):
        one = estimate_prevalence(scores[:, c], source[c])
        assert one.priors == many.priors[c]
        assert one.iterations == many.iterations[c]
        expected = published_iteration(
            np.stack([1 - scores[:, c], scores[:, c]], axis=1), np.array([1 - source[c], source[c]]), 3000
        )
        assert abs(one.priors - expected[1]) < 1e-5


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: estimate_priors(np.zeros((0, 3)), SOURCE), "no case"),
        (lambda: estimate_priors([[0.2, 0.8]], [0.5, 0.5], tolerance=0), "tolerance=0"),
        (lambda: estimate_priors([[0.2, 0.8]], [0.5, 0.5], max_iterations=0), "max_iterations=0"),
        (lambda: estimate_priors([[0.2, 0.9]], [0.5, 0.5]), "sum to 1.1"),
        (lambda: estimate_prevalence([0.2], 0.0), "source_prevalence is 0"),
        (lambda: estimate_prevalence([0.2, np.nan], 0.5), r"scores\[1\] is nan"),
    ],
)
def test_wrong_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
