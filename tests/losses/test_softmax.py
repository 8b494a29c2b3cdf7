"""Softmax losses: literals by hand, NumPy and PyTorch oracles, the laws that tie them, and no NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import CountedJit
from hypothesis import given, settings
from hypothesis import strategies as st
from one_label_losses import COUNTS, PRIORS, SOFTMAX, TARGET, WEIGHTS
from sklearn.metrics import log_loss

from imbal_jax import losses

LOSSES = SOFTMAX
every_loss = pytest.mark.parametrize("name", LOSSES)


def reference(name: str, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The losses above in NumPy float64, targets as probabilities [N, 4]."""
    shift = {"logit_adjusted": 1.0, "logit_adjusted_half": 0.5, "balanced_softmax": 1.0}.get(name, 0.0)
    logits = np.asarray(logits, np.float64) + shift * np.log(PRIORS)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    factor = np.ones(4)
    if name == "weighted":
        factor = WEIGHTS
    elif name == "bayesian":
        factor = 0.25 / PRIORS
    elif name == "bayesian_to_target":
        factor = TARGET / PRIORS
    elif name == "bayesian_batch":
        factor = 0.25 / targets.reshape(-1, 4).mean(0)
    elif name.startswith("focal"):
        gammas = {"focal_0": 0, "focal_half": 0.5, "focal_2": 2, "focal_alpha": 2}
        factor = (1 - np.exp(log_p)) ** gammas[name] * (WEIGHTS if name == "focal_alpha" else 1)
    return -(factor * targets * log_p).sum(-1)


def batch(shape: tuple[int, ...] = (16,), seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, labels with every class present, soft labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(*shape, 4)).astype(np.float32) * 3
    labels = random.permutation(np.arange(np.prod(shape)) % 4).reshape(shape)
    return logits, labels, random.dirichlet(np.ones(4), size=shape)


# Literals


def test_losses_have_the_values_computed_by_hand():
    logits = np.log([[1.0, 3.0], [1.0, 3.0]])  # probabilities 1/4 and 3/4
    labels = np.array([0, 1])
    log = np.log
    expected = {
        "cross_entropy": [log(4), log(4 / 3)],
        "weighted": [2 * log(4), 0.5 * log(4 / 3)],
        "bayesian": [5 * log(4), log(4 / 3) / 1.8],
        "focal": [9 / 16 * log(4), 1 / 16 * log(4 / 3)],
        "focal_alpha": [9 / 8 * log(4), 1 / 32 * log(4 / 3)],
        "logit_adjusted": [log(10), log(10 / 9)],  # 1 * 1/4 against 3 * 3/4
        "balanced_softmax": [log(10), log(10 / 9)],
    }
    found = {
        "cross_entropy": losses.cross_entropy(logits, labels),
        "weighted": losses.weighted_cross_entropy(logits, labels, [2, 0.5]),
        "bayesian": losses.bayesian_cross_entropy(logits, labels, [0.1, 0.9]),
        "focal": losses.focal(logits, labels),
        "focal_alpha": losses.focal(logits, labels, alpha=[2, 0.5]),
        "logit_adjusted": losses.logit_adjusted(logits, labels, [0.25, 0.75]),
        "balanced_softmax": losses.balanced_softmax(logits, labels, [1, 3]),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)


def test_bayesian_loss_of_the_batch_has_the_value_computed_by_hand():
    logits = np.zeros((4, 2))
    loss = losses.bayesian_cross_entropy(logits, np.array([0, 0, 0, 1]), None)
    np.testing.assert_allclose(loss, np.log(2) * np.array([2 / 3, 2 / 3, 2 / 3, 2]), rtol=1e-6)


# Oracles


@every_loss
@pytest.mark.parametrize("shape", [(16,), (2, 4), (2, 2, 2), (1, 4)])
def test_loss_agrees_with_numpy_for_any_leading_dimensions(name, shape):
    logits, labels, soft = batch(shape)
    for given_labels, targets in ((labels, np.eye(4)[labels]), (soft, soft)):
        loss = LOSSES[name](logits, given_labels)
        assert loss.shape == shape
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, reference(name, logits, targets), rtol=2e-5, atol=1e-6)


@every_loss
def test_loss_of_float64_logits_is_computed_in_float64(name):
    logits, labels, _ = batch()
    with jax.enable_x64(True):
        loss = LOSSES[name](logits.astype(np.float64), labels)
        assert loss.dtype == jnp.float64
        np.testing.assert_allclose(loss, reference(name, logits, np.eye(4)[labels]), rtol=1e-12)


def test_labels_may_be_a_list():
    logits, labels, _ = batch((4,))
    expected = losses.cross_entropy(logits, labels)
    np.testing.assert_array_equal(losses.cross_entropy(logits, labels.tolist()), expected)


def test_loss_without_leading_dimensions_is_a_scalar():
    loss = losses.cross_entropy(np.zeros(4), 2)
    assert loss.shape == ()
    np.testing.assert_allclose(loss, np.log(4), rtol=1e-6)


def test_both_means_of_weighted_cross_entropy_agree_with_torch():
    torch = pytest.importorskip("torch")
    logits, labels, soft = batch((15,))
    z, w = torch.tensor(logits, dtype=torch.float64), torch.tensor(WEIGHTS)
    by_class = losses.weighted_cross_entropy(logits, labels, WEIGHTS)

    ours = losses.weighted_mean(losses.cross_entropy(logits, labels), WEIGHTS[labels])
    theirs = torch.nn.functional.cross_entropy(z, torch.tensor(labels), weight=w)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)

    ours = losses.weighted_mean(by_class, None)
    theirs = torch.nn.functional.cross_entropy(z, torch.tensor(labels), weight=w, reduction="sum") / 15
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)

    theirs = torch.nn.functional.cross_entropy(z, torch.tensor(soft), weight=w, reduction="none")
    np.testing.assert_allclose(losses.weighted_cross_entropy(logits, soft, WEIGHTS), theirs, rtol=1e-5)


@every_loss
def test_gradient_agrees_with_torch_autograd(name):
    torch = pytest.importorskip("torch")
    logits, labels, soft = batch()
    for given_labels, targets in ((labels, np.eye(4)[labels]), (soft, soft)):
        z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        t = torch.tensor(targets)
        shifts = {"logit_adjusted": 1.0, "logit_adjusted_half": 0.5, "balanced_softmax": 1.0}
        log_p = torch.log_softmax(z + shifts.get(name, 0.0) * torch.log(torch.tensor(PRIORS)), -1)
        factors = {
            "weighted": torch.tensor(WEIGHTS),
            "bayesian": 0.25 / torch.tensor(PRIORS),
            "bayesian_to_target": torch.tensor(TARGET / PRIORS),
            "bayesian_batch": 0.25 / t.mean(0),
            "focal_half": (1 - log_p.exp()) ** 0.5,
            "focal_2": (1 - log_p.exp()) ** 2,
            "focal_alpha": (1 - log_p.exp()) ** 2 * torch.tensor(WEIGHTS),
        }
        torch.sum(-factors.get(name, torch.ones(4)) * t * log_p).backward()
        gradient = jax.grad(lambda z, y=given_labels: LOSSES[name](z, y).sum())(logits)
        np.testing.assert_allclose(gradient, z.grad, rtol=1e-4, atol=1e-5)


def test_cross_entropy_agrees_with_optax():
    logits, labels, soft = batch()
    ours, theirs = losses.cross_entropy, optax.softmax_cross_entropy_with_integer_labels
    np.testing.assert_allclose(
        ours(logits, labels), theirs(jnp.asarray(logits), labels), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        ours(logits, soft), optax.softmax_cross_entropy(jnp.asarray(logits), soft), rtol=1e-5, atol=1e-6
    )


def test_weighted_mean_of_cross_entropy_agrees_with_sklearn_log_loss():
    logits, labels, _ = batch()
    ours = losses.weighted_mean(losses.cross_entropy(logits, labels), WEIGHTS[labels])
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_allclose(
        ours, log_loss(labels, probabilities, sample_weight=WEIGHTS[labels]), rtol=1e-5
    )


# Laws

seeds = st.integers(0, 2**31)
few = settings(max_examples=15, deadline=None)


def random_problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits [8, 5], labels, priors."""
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.uniform(-2, 1.5)
    priors = random.dirichlet(np.ones(5)) + 1e-4
    return random.normal(size=(8, 5)) * scale, random.integers(5, size=8), priors / priors.sum()


@few
@given(seeds)
def test_focal_at_gamma_0_and_logit_adjusted_at_tau_0_are_cross_entropy(seed):
    logits, labels, priors = random_problem(seed)
    plain = losses.cross_entropy(logits, labels)
    np.testing.assert_array_equal(losses.focal(logits, labels, 0.0), plain)
    np.testing.assert_array_equal(losses.logit_adjusted(logits, labels, priors, 0.0), plain)


@few
@given(seeds)
def test_focal_with_alpha_at_gamma_0_is_weighted_cross_entropy(seed):
    logits, labels, weights = random_problem(seed)
    weighted = losses.weighted_cross_entropy(logits, labels, weights)
    np.testing.assert_array_equal(losses.focal(logits, labels, 0.0, alpha=weights), weighted)
    np.testing.assert_array_equal(
        losses.focal(logits, labels, 1.5, alpha=np.ones(5)), losses.focal(logits, labels, 1.5)
    )


@few
@given(seeds, st.integers(1000, 10**9))
def test_balanced_softmax_is_logit_adjusted_at_tau_1(seed, total):
    logits, labels, priors = random_problem(seed)
    with jax.enable_x64(True):
        balanced = losses.balanced_softmax(logits, labels, priors * total)
        np.testing.assert_allclose(
            balanced, losses.logit_adjusted(logits, labels, priors), rtol=0, atol=1e-11
        )


@few
@given(seeds)
def test_bayesian_is_weighted_cross_entropy_at_target_over_source(seed):
    logits, labels, priors = random_problem(seed)
    target = random_problem(seed + 1)[2]
    bayesian = losses.bayesian_cross_entropy(logits, labels, priors, target)
    weighted = losses.weighted_cross_entropy(logits, labels, target / priors)
    np.testing.assert_allclose(bayesian, weighted, rtol=1e-5)


@few
@given(seeds, st.sampled_from(list(LOSSES)))
def test_one_hot_labels_are_the_same_as_indices(seed, name):
    logits, labels, _ = batch(seed=seed)
    np.testing.assert_array_equal(LOSSES[name](logits, labels), LOSSES[name](logits, np.eye(4)[labels]))


@few
@given(seeds, st.sampled_from(list(LOSSES)), st.floats(-100, 100))
def test_a_constant_added_to_the_logits_changes_nothing(seed, name, constant):
    logits, labels, _ = batch(seed=seed)
    with jax.enable_x64(True):
        logits = logits.astype(np.float64)
        moved = LOSSES[name](logits + constant, labels)
        np.testing.assert_allclose(moved, LOSSES[name](logits, labels), rtol=1e-9, atol=1e-11)


# The Bayesian cross-entropy


def test_bayesian_loss_of_the_batch_is_the_mean_over_classes_of_the_class_means():
    logits, labels, _ = batch((20,))
    labels[labels == 3] = 0
    plain = reference("cross_entropy", logits, np.eye(4)[labels])
    loss = losses.bayesian_cross_entropy(logits, labels, None, TARGET)
    means = [TARGET[c] * plain[labels == c].mean() for c in range(3)]  # class 3 is absent and adds nothing
    np.testing.assert_allclose(losses.weighted_mean(loss, None), sum(means), rtol=1e-5)


def test_bayesian_loss_and_gradient_obey_dalyacs_formulas():
    logits, labels, _ = batch((20,))
    labels[:12] = 0
    frequency = np.bincount(labels, minlength=4) / 20
    probability = np.exp(logits.astype(np.float64))
    probability /= probability.sum(1, keepdims=True)
    share = 1 / (4 * 20 * frequency[labels])

    def error(z):
        return losses.bayesian_cross_entropy(z, labels, None).mean()

    value, gradient = jax.value_and_grad(error)(logits)
    np.testing.assert_allclose(value, (-np.log(probability[np.arange(20), labels]) * share).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, (probability - np.eye(4)[labels]) * share[:, None], atol=1e-6)


def test_bayesian_priors_of_a_batch_do_not_remember_earlier_batches():
    loss = jax.jit(lambda z, y: losses.bayesian_cross_entropy(z, y, None))
    for seed in range(3):
        labels = np.random.default_rng(seed).permutation([0, 1, 2, 3] * 3 + [seed] * 8)
        logits = batch((20,), seed)[0]
        expected = reference("bayesian_batch", logits, np.eye(4)[labels])
        np.testing.assert_allclose(loss(logits, labels), expected, rtol=1e-5)


def test_weights_and_logit_adjustment_have_the_balanced_posterior_as_minimiser():
    joint = np.array(
        [[30.0, 3, 1], [20, 1, 1], [6, 2, 5]]
    )  # examples at each of 3 inputs, of each of 3 classes
    priors = joint.sum(0) / joint.sum()
    minimiser = np.log(joint / priors)  # log posterior under equal priors, up to a constant of the input
    inputs, labels = np.divmod(np.arange(9), 3)

    def gradient(loss):
        return jax.grad(lambda table: (joint.ravel() * loss(table[inputs], labels)).sum())(minimiser)

    for loss in (
        lambda z, y: losses.bayesian_cross_entropy(z, y, priors),
        lambda z, y: losses.weighted_cross_entropy(z, y, 1 / priors),
        lambda z, y: losses.logit_adjusted(z, y, priors),
        lambda z, y: losses.balanced_softmax(z, y, joint.sum(0)),
    ):
        np.testing.assert_allclose(gradient(loss), 0, atol=1e-4)
    assert np.abs(gradient(losses.cross_entropy)).max() > 1


# No NaN


@every_loss
def test_half_precision_logits_are_computed_in_float32(name):
    logits, labels, _ = batch()
    for dtype in (jnp.float16, jnp.bfloat16):
        rounded = jnp.asarray(logits, dtype)
        expected = reference(name, np.asarray(rounded, np.float64), np.eye(4)[labels])
        np.testing.assert_allclose(LOSSES[name](rounded, labels), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
def test_focal_gradient_is_right_where_the_probability_is_0_or_1(gamma):
    gradient = jax.grad(lambda z, y: losses.focal(z, y, gamma).sum())
    logits = np.array([[50.0, -50.0]])
    np.testing.assert_array_equal(gradient(logits, np.array([0])), [[0, 0]])
    np.testing.assert_allclose(gradient(logits, np.array([1])), [[1, -1]], rtol=1e-6)


@every_loss
def test_label_outside_the_classes_shows_as_nan_unless_its_weight_is_0(name):
    logits, labels, _ = batch((12,))
    padded = jnp.concatenate([labels[:8], jnp.array([-1, 4, 255, -100])])
    expected = reference(name, logits[:8], np.eye(4)[labels[:8]])
    if name == "bayesian_batch":
        frequency = np.bincount(labels[:8], minlength=4) / 8
        expected = reference("cross_entropy", logits[:8], np.eye(4)[labels[:8]]) / (4 * frequency[labels[:8]])
    loss = LOSSES[name](logits, padded)
    np.testing.assert_allclose(loss[:8], expected, rtol=2e-5, atol=1e-6)
    assert np.isnan(loss[8:]).all()

    mean = lambda z: losses.weighted_mean(LOSSES[name](z, padded), jnp.arange(12) < 8)  # noqa: E731
    value, gradient = jax.value_and_grad(mean)(logits)
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert not gradient[8:].any()


# Bad input, and traced input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: losses.cross_entropy(z, y[:3]), r"labels have shape \(3,\) and logits \(16, 4\)"),
        (lambda z, y: losses.cross_entropy(z, y[:, None]), r"labels have shape \(16, 1\)"),
        (lambda z, y: losses.cross_entropy(z, np.eye(3)[y % 3]), r"labels have shape \(16, 3\)"),
        (lambda z, y: losses.cross_entropy(z, y + 0.5), r"float(32|64), expected integers"),
        (lambda z, y: losses.cross_entropy(z, y + 1), "labels hold 4, allowed are 0 to 3"),
        (lambda z, y: losses.cross_entropy(z, y - 7), "labels hold -"),
        (lambda z, y: losses.cross_entropy(1.0, 0), "logits are a scalar"),
        (lambda z, y: losses.weighted_cross_entropy(z, y, [1, 2]), r"class_weights has shape \(2,\)"),
        (lambda z, y: losses.weighted_cross_entropy(z, y, 3.0), r"class_weights has shape \(\)"),
        (lambda z, y: losses.weighted_cross_entropy(z, y, [1, 2, -3, 1]), r"class_weights\[2\] is -3"),
        (lambda z, y: losses.weighted_cross_entropy(z, y, [1, np.inf, 1, 1]), r"class_weights\[1\] is inf"),
        (lambda z, y: losses.bayesian_cross_entropy(z, y, [0.5, 0.5, 0, 0]), r"priors\[2\] is 0"),
        (lambda z, y: losses.bayesian_cross_entropy(z, y, COUNTS), "the sum of priors is 1000"),
        (lambda z, y: losses.bayesian_cross_entropy(z, y, None, [2, -1, 0, 0]), r"target_priors\[1\] is -1"),
        (lambda z, y: losses.bayesian_cross_entropy(z, y, None, [1, 1, 1, 1]), "sum of target_priors is 4"),
        (lambda z, y: losses.focal(z, y, -1), "gamma is -1"),
        (lambda z, y: losses.focal(z, y, [1.0, 2.0]), r"gamma has shape \(2,\)"),
        (lambda z, y: losses.focal(z, y, 2.0, alpha=[1.0, 2.0]), r"alpha has shape \(2,\)"),
        (lambda z, y: losses.focal(z, y, 2.0, alpha=-WEIGHTS), r"alpha\[0\] is -0.5"),
        (lambda z, y: losses.logit_adjusted(z, y, PRIORS, np.nan), "tau is nan"),
        (lambda z, y: losses.logit_adjusted(z, y, [1.0, 0, 0, 0]), r"priors\[1\] is 0"),
        (lambda z, y: losses.logit_adjusted(z, y, PRIORS[:3]), r"priors has shape \(3,\)"),
        (lambda z, y: losses.balanced_softmax(z, y, np.array([9, 4, 0, 1])), r"counts\[2\] is 0"),
    ],
)
def test_bad_static_input_raises_naming_the_value(call, message):
    logits, labels, _ = batch()
    with pytest.raises(ValueError, match=message):
        call(logits, labels)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda z: call(z, labels))(logits)


def test_zero_in_a_jax_array_raises_too():
    logits, labels, _ = batch()
    counts = jnp.array([3, 1, 0, 2])
    with pytest.raises(ValueError, match=r"counts\[2\] is 0"):
        losses.balanced_softmax(logits, labels, counts)


@pytest.mark.parametrize(
    ("loss", "sweep"),
    [
        (losses.weighted_cross_entropy, [WEIGHTS, 1 / PRIORS]),
        (losses.bayesian_cross_entropy, [PRIORS, TARGET]),
        (losses.logit_adjusted, [PRIORS, TARGET]),
        (losses.balanced_softmax, [COUNTS, COUNTS[::-1].copy()]),
        (losses.focal, [np.float64(0.0), np.float64(1.5)]),
        (lambda z, y, alpha: losses.focal(z, y, 2.0, alpha=alpha), [WEIGHTS, 1 / PRIORS]),
    ],
)
def test_traced_parameters_give_the_same_values_and_one_compilation(loss, sweep):
    logits, labels, _ = batch()
    jitted = CountedJit(lambda *arguments: loss(*arguments))
    for value in sweep:
        expected = loss(logits, labels, value)
        np.testing.assert_allclose(jitted(logits, labels, value), expected, rtol=1e-5, atol=1e-6)
    assert jitted.traces == 1
