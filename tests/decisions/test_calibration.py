"""Calibration against scikit-learn, scipy on the likelihood written out, and the laws of a maximum."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from imbal_jax.decisions.calibration import (
    LogitScaling,
    fit_bias_corrected_temperature,
    fit_platt,
    fit_temperature,
    fit_vector_scaling,
)
from imbal_jax.errors import InputError

laws = settings(max_examples=15, deadline=None)
FITS = (fit_temperature, fit_bias_corrected_temperature, fit_vector_scaling)


def overconfident(n=1500, classes=4, seed=0, stretch=3.0):
    """Logits of a long-tailed problem, ``stretch`` times too large and shifted."""
    rng = np.random.default_rng(seed)
    priors = 3.0 ** -np.arange(classes)
    labels = rng.choice(classes, n, p=priors / priors.sum())
    true = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels] + np.log(priors)
    return stretch * (true + rng.normal(size=classes)), labels


def log_loss(logits, labels):
    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()


def by_scipy(fit, logits, labels, penalty=0.0):
    """The least of the penalised mean log-loss, by BFGS with numerical derivatives."""
    classes = logits.shape[1]
    scales = classes if fit is fit_vector_scaling else 1
    start = np.concatenate([np.ones(scales), np.zeros(0 if fit is fit_temperature else classes)])

    def loss(theta):
        bias = theta[scales:] if len(theta) > scales else 0.0
        return log_loss(theta[:scales] * logits + bias, labels) + penalty / 2 * ((theta - start) ** 2).sum()

    return minimize(loss, start, method="BFGS", options={"gtol": 1e-9}), loss


# One label


@pytest.mark.parametrize("penalty", [0.0, 0.1])
@pytest.mark.parametrize("fit", FITS)
def test_fits_are_where_the_likelihood_is_largest(fit, penalty):
    logits, labels = overconfident()
    found = fit(logits, labels, penalty=penalty)
    oracle, loss = by_scipy(fit, logits, labels, penalty)
    theta = np.array(found.scale + (() if fit is fit_temperature else found.bias))
    assert loss(theta) <= oracle.fun + 1e-12
    expected = oracle.x
    expected[len(found.scale) :] -= expected[len(found.scale) :].mean() if len(theta) > 1 else 0
    np.testing.assert_allclose(theta, expected, atol=2e-5)


@pytest.mark.parametrize("fit", FITS)
def test_fits_agree_with_the_package_of_alexandari(fit):
    package = pytest.importorskip("abstention.calibration")
    oracle = {
        fit_temperature: package.TempScaling(),
        fit_bias_corrected_temperature: package.TempScaling(bias_positions="all"),
        fit_vector_scaling: package.VectorScaling(),
    }[fit]
    logits, labels = overconfident()
    expected = oracle(logits, np.eye(4)[labels])(logits)
    np.testing.assert_allclose(softmax(fit(logits, labels).apply(logits), axis=1), expected, atol=2e-3)


def test_bias_correction_of_two_classes_is_logistic_regression():
    linear = pytest.importorskip("sklearn.linear_model")
    logits, labels = overconfident(classes=2)
    difference = logits[:, 1] - logits[:, 0]
    oracle = linear.LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(difference[:, None], labels)
    found = fit_bias_corrected_temperature(logits, labels)
    np.testing.assert_allclose(found.scale[0], oracle.coef_[0, 0], rtol=1e-5)
    np.testing.assert_allclose(found.bias[1] - found.bias[0], oracle.intercept_[0], rtol=1e-5)


def test_a_known_temperature_is_found():
    rng = np.random.default_rng(1)
    true = 2 * rng.normal(size=(40_000, 3))
    labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)  # drawn from softmax(true)
    found = fit_temperature(2.5 * true, labels)
    assert abs(found.temperature - 2.5) < 0.06
    found = fit_bias_corrected_temperature(2.5 * true - 2.5 * np.array([1.0, 0, -1]), labels)
    np.testing.assert_allclose(found.bias, [1, 0, -1], atol=0.06)


@laws
@given(st.integers(0, 2**32 - 1))
def test_every_parameter_more_fits_no_worse(seed):
    logits, labels = overconfident(400, 3, seed)
    one, corrected, each = (log_loss(fit(logits, labels).apply(logits), labels) for fit in FITS)
    assert each <= corrected + 1e-12
    assert corrected <= one + 1e-12
    assert one <= log_loss(logits, labels) + 1e-12


@laws
@given(st.integers(0, 2**32 - 1))
def test_with_biases_the_mean_probability_of_a_class_is_its_frequency(seed):
    logits, labels = overconfident(400, 3, seed)
    for fit in FITS[1:]:
        found = fit(logits, labels)
        mean = softmax(found.apply(logits), axis=1).mean(axis=0)
        np.testing.assert_allclose(mean, np.bincount(labels, minlength=3) / 400, atol=1e-9)
        assert abs(sum(found.bias)) < 1e-9


@laws
@given(st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_stretched_and_shifted_logits_give_the_same_probabilities(stretch, shift):
    logits, labels = overconfident(300, 3)
    for fit in FITS[:2]:
        expected = fit(logits, labels).apply(logits)
        moved = stretch * logits + shift
        np.testing.assert_allclose(
            softmax(fit(moved, labels).apply(moved), axis=1), softmax(expected, axis=1), atol=1e-8
        )


def test_temperature_leaves_decisions_as_they_are():
    logits, labels = overconfident()
    calibrated = fit_temperature(logits, labels).apply(logits)
    assert (calibrated.argmax(axis=1) == logits.argmax(axis=1)).all()


@pytest.mark.parametrize("fit", FITS)
def test_logits_of_ten_thousand_are_fitted(fit):
    logits, labels = overconfident(300, 3)
    found, expected = fit(1e4 * logits, labels), fit(logits, labels)
    np.testing.assert_allclose(np.array(found.scale) * 1e4, expected.scale, rtol=1e-6)


def test_one_error_among_many_is_enough_for_a_temperature():
    # n - 1 right and one wrong, all by a margin of 4: the likelihood is largest where e^(4 a) = n - 1
    labels = np.arange(5000) % 2
    logits = np.stack([np.zeros(5000), np.where(labels == 1, 4.0, -4.0)], axis=1)
    labels[7] = 1 - labels[7]
    np.testing.assert_allclose(fit_temperature(logits, labels).scale[0], np.log(4999) / 4, rtol=1e-9)


# No maximum


@pytest.mark.parametrize("fit", FITS)
def test_cases_told_apart_without_an_error_are_said_and_a_penalty_helps(fit):
    rng = np.random.default_rng(3)
    labels = np.arange(90) % 3
    logits = rng.normal(size=(90, 3)) + 12 * np.eye(3)[labels]
    with pytest.raises(InputError, match=r"likelihood of the 90 validation cases has no maximum.*penalty"):
        fit(logits, labels)
    found = fit(logits, labels, penalty=1e-3)
    assert np.isfinite(found.apply(logits)).all()
    assert log_loss(found.apply(logits), labels) < 1e-3


@pytest.mark.parametrize("fit", FITS[1:])
def test_a_class_without_cases_is_said_and_a_penalty_helps(fit):
    logits, labels = overconfident(300, 3)
    labels[labels == 2] = 1
    with pytest.raises(InputError, match="class 2 has no validation case"):
        fit(logits, labels)
    assert np.isfinite(fit(logits, labels, penalty=1e-2).bias).all()


def test_logits_that_know_nothing_have_no_temperature():
    labels = np.arange(40) % 2
    noise = np.random.default_rng(4).normal(size=(40, 2))
    for logits in (np.zeros((40, 2)), noise - 0.5 * np.eye(2)[labels]):
        with pytest.raises(InputError, match="do not rise with the class"):
            fit_temperature(logits, labels)


# Many labels


def platt_targets(labels):
    positives, negatives = (labels == 1).sum(), (labels == 0).sum()
    return np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def test_platt_scaling_is_logistic_regression_on_platts_targets():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(5)
    labels = (rng.random((2000, 3)) < [0.5, 0.05, 0.01]).astype(int)
    logits = 4 * (rng.normal(size=(2000, 3)) + labels)
    found = fit_platt(logits, labels)
    for c in range(3):
        t = platt_targets(labels[:, c])
        twice = np.tile(logits[:, c], 2)[:, None]
        oracle = linear.LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
        oracle.fit(twice, np.repeat([1, 0], 2000), sample_weight=np.concatenate([t, 1 - t]))
        np.testing.assert_allclose(found.scale[c], oracle.coef_[0, 0], rtol=1e-4)
        np.testing.assert_allclose(found.bias[c], oracle.intercept_[0], rtol=1e-4)
        p = expit(found.apply(logits)[:, c])
        np.testing.assert_allclose([(p - t).sum(), ((p - t) * logits[:, c]).sum()], 0, atol=1e-7)


def test_platt_scaling_agrees_with_scikit_learn():
    module = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(6)
    labels = (rng.random(500) < 0.1).astype(int)
    logits = rng.normal(size=500) + 2 * labels
    expected = module._SigmoidCalibration().fit(logits, labels).predict(logits)
    np.testing.assert_allclose(expit(fit_platt(logits, labels).apply(logits)), expected, atol=1e-5)


def test_platt_scaling_is_finite_on_labels_told_apart_without_an_error():
    labels = np.repeat([0, 1], [90, 10])
    found = fit_platt(np.where(labels == 1, 50.0, -50.0), labels)
    p = expit(found.apply(np.array([-50.0, 50.0])))
    np.testing.assert_allclose(p, [1 / 92, 11 / 12], rtol=1e-8)


def test_unknown_entries_are_left_out():
    rng = np.random.default_rng(7)
    logits, labels = rng.normal(size=(200, 2)), rng.integers(-1, 2, (200, 2))
    found = fit_platt(logits, labels)
    for c in range(2):
        known = labels[:, c] >= 0
        alone = fit_platt(logits[known, c], labels[known, c])
        assert (found.scale[c], found.bias[c]) == (alone.scale[0], alone.bias[0])
    logits, labels = overconfident(300, 3)
    hidden = np.where(np.arange(300) % 5 == 0, -1, labels)
    for fit in FITS:
        assert fit(logits, hidden) == fit(logits[hidden >= 0], labels[hidden >= 0])


# The value


def test_a_scaling_survives_json_and_applies_to_any_batch():
    logits, labels = overconfident()
    found = fit_vector_scaling(logits, labels)
    assert LogitScaling.from_json(json.loads(json.dumps(found.to_json()))) == found
    expected = np.array(found.scale) * logits + np.array(found.bias)
    assert (found.apply(logits) == expected).all()
    assert (found.apply(logits.reshape(3, 500, 4)) == expected.reshape(3, 500, 4)).all()
    assert LogitScaling((0.5,), (0.0,)).apply(np.ones(3, np.float16)).tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: fit_temperature(np.zeros((0, 2)), []), InputError, "no case"),
        (lambda: fit_temperature([[0.0, 1.0]], [-1]), InputError, "no case"),
        (lambda: fit_temperature([[0.0, 1.0]], [2]), ValueError, r"labels\[0\] is 2"),
        (lambda: fit_temperature([[0.0, np.inf]], [1]), ValueError, r"logits\[0, 1\] is inf"),
        (lambda: fit_temperature([0.0, 1.0], [0, 1]), ValueError, r"do not fit logits \[2\]"),
        (lambda: fit_temperature([[0.0, 1.0]], [1], penalty=-1), ValueError, "penalty=-1"),
        (lambda: fit_platt([0.0, 1.0], [0, 0]), InputError, "column 0 needs .* there are 0 and 2"),
        (lambda: fit_platt([1.0, 1.0], [0, 1]), InputError, "are all 1: there is nothing to scale"),
        (lambda: fit_platt([[0.0, 1.0]], [1]), ValueError, r"labels \[1\] do not fit logits \[1, 2\]"),
        (lambda: LogitScaling((1.0, 2.0), (0.0,)).apply(np.zeros((3, 3))), ValueError, "2 numbers of scale"),
        (lambda: LogitScaling((1.0, 2.0), (0.0,)).temperature, ValueError, "2 scales"),
        (lambda: LogitScaling.from_json({"scale": [1]}), InputError, "damaged"),
        (lambda: LogitScaling.from_json({"scale": [1], "bias": "x"}), InputError, "damaged"),
    ],
)
def test_wrong_input_is_named(call, error, match):
    with pytest.raises(error, match=match):
        call()
