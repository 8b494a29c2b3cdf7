"""What a loss refuses, what stays out of it, and gradients that must not vanish."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imbal_jax import losses
from imbal_jax.losses.single_label import log_odds

COUNTS, WEIGHTS = np.array([90, 9, 1]), np.array([0.4, 1.0, 3.0])
FEATURES = np.ones((4, 2), np.float32)
LOGITS = np.array([[1.0, -2, 0.5], [0, 3, 1], [2, 2, -1], [-1, 0, 1]], np.float32)
ONE_LABEL = {
    "cross_entropy": losses.cross_entropy,
    "weighted": lambda z, y, **o: losses.weighted_cross_entropy(z, y, WEIGHTS, **o),
    "bayesian": lambda z, y, **o: losses.bayesian_cross_entropy(z, y, None, **o),
    "focal": losses.focal,
    "ldam": lambda z, y, **o: losses.ldam(z, y, COUNTS, **o),
    "logit_adjusted": lambda z, y, **o: losses.logit_adjusted(z, y, COUNTS / 100, **o),
    "balanced_softmax": lambda z, y, **o: losses.balanced_softmax(z, y, COUNTS, **o),
    "vector_scaling": lambda z, y, **o: losses.vector_scaling(z, y, COUNTS, **o),
    "temperature": lambda z, y, **o: losses.class_dependent_temperature(z, y, COUNTS, **o),
    "equalization": lambda z, y, **o: losses.equalization(z, y, COUNTS, jax.random.key(0), 0.5, **o),
    "influence": lambda z, y, **o: losses.influence_balanced(z, y, FEATURES[: len(z)], **o),
    "smoothing": lambda z, y, **o: losses.label_aware_smoothing(z, y, COUNTS, **o),
    "poly1": losses.poly1,
    "class_balanced_focal": lambda z, y, **o: losses.class_balanced_focal(z, y, COUNTS, **o),
}
every_loss = pytest.mark.parametrize("name", ONE_LABEL)


@every_loss
def test_what_is_left_out_changes_no_value_and_no_gradient_even_if_it_is_not_a_number(name):
    loss = ONE_LABEL[name]
    broken = np.concatenate([LOGITS[:3], [[np.nan, np.inf, -np.inf]]]).astype(np.float32)
    alone, slope = jax.value_and_grad(lambda z: loss(z, np.array([0, 2, 1])).sum())(LOGITS[:3])
    kept = np.array([True, True, True, False])
    ways = [(np.array([0, 2, 1, -100]), {"ignore_index": -100}), (np.array([0, 2, 1, 99]), {"mask": kept})]
    if name not in ("equalization",):  # whose draws depend on the shape
        for labels, options in ways:
            total = lambda z, y=labels, o=options: losses.weighted_mean(loss(z, y, **o), kept)  # noqa: E731
            value, gradient = jax.value_and_grad(total)(broken)
            np.testing.assert_allclose(value, alone / 3, rtol=1e-6)
            np.testing.assert_allclose(gradient[:3], slope / 3, rtol=1e-5, atol=1e-7)
            assert (gradient[3] == 0).all()
    soft = jnp.concatenate([jnp.eye(3)[jnp.array([0, 2, 1])], jnp.full((1, 3), jnp.nan)])
    value, gradient = jax.value_and_grad(lambda z: loss(z, soft, mask=kept).sum())(broken)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@every_loss
def test_labels_that_are_no_probabilities_or_could_be_something_else_are_refused(name):
    loss = ONE_LABEL[name]
    for labels, message in (
        (np.eye(3, dtype=int)[[0, 1, 2, 0]], "expected floats, probabilities"),
        (np.eye(3, dtype=bool)[[0, 1, 2, 0]], "expected floats, probabilities"),
        (np.array([[1.5, -0.5, 0]] * 4), r"labels\[0\] hold -0.5"),
        (jnp.array([[0.5, 0.2, 0]] * 4), r"labels\[0\] sum to 0.7"),
        (np.zeros((4, 3)), r"labels\[0\] sum to 0"),
        (np.array([[np.nan, 0.5, 0.5]] * 4), "labels"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(LOGITS, labels)
    if name != "influence":
        for labels in (np.array([0, 1, 0]), np.array([0.2, 0.3, 0.5])):
            with pytest.raises(ValueError, match=r"both have shape \(3,\)|expected floats"):
                loss(LOGITS[0], labels)
        with pytest.raises(ValueError, match="one class"):
            loss(LOGITS[:, :1], np.zeros(4, int))


def test_the_gradient_of_soft_labels_is_that_of_optax():
    soft = jnp.array([[1.0, 0, 0], [0, 0.5, 0.5], [0.2, 0, 0.8], [0, 0, 1]])
    ours = jax.grad(lambda t: losses.cross_entropy(LOGITS, t).sum())(soft)
    theirs = jax.grad(lambda t: optax.softmax_cross_entropy(jnp.asarray(LOGITS), t).sum())(soft)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in ONE_LABEL if n not in ("influence", "bayesian")])
def test_the_gradient_of_a_soft_label_is_the_loss_of_that_class(name):
    # all but these two are linear in the labels
    soft = jnp.array([[1.0, 0, 0], [0, 0.5, 0.5], [0.2, 0, 0.8], [0, 0, 1]])
    slopes = jax.grad(lambda t: ONE_LABEL[name](LOGITS, t).sum())(soft)
    for c in range(3):
        np.testing.assert_allclose(slopes[:, c], ONE_LABEL[name](LOGITS, np.full(4, c)), rtol=2e-5, atol=1e-6)


def test_log_odds_and_their_gradient_are_exact_for_logits_of_any_size():
    z = np.array([[0, 2, -1], [0, 20, 3], [1e4, 9990, -1e4], [0, 60, 60]], np.float64)
    peak = z.max(-1, keepdims=True)
    expected = np.empty_like(z)
    slope = np.zeros((4, 3, 3))
    for c in range(3):
        rest = np.delete(z, c, axis=1)
        top = rest.max(-1, keepdims=True)
        share = np.exp(rest - top) / np.exp(rest - top).sum(-1, keepdims=True)
        expected[:, c] = z[:, c] - top[:, 0] - np.log(np.exp(rest - top).sum(-1))
        slope[:, c, c] = 1
        slope[:, c, np.delete(np.arange(3), c)] = -share
    logits = jnp.asarray(z, jnp.float32)
    np.testing.assert_allclose(log_odds(logits), expected, rtol=1e-5, atol=1e-5)
    found = jax.vmap(jax.jacobian(log_odds))(logits)
    np.testing.assert_allclose(found, slope, atol=1e-5)
    assert peak.shape == (4, 1)


def test_smooth_ap_has_a_gradient_for_logits_with_a_standard_deviation_of_3():
    rng = np.random.default_rng(0)
    scores, targets = rng.normal(size=64) * 3, (np.arange(64) < 8).astype(int)
    gradient = np.abs(jax.grad(losses.smooth_ap)(jnp.asarray(scores, jnp.float32), targets))
    small = np.abs(jax.grad(losses.smooth_ap)(jnp.asarray(scores / 3, jnp.float32), targets))
    assert (gradient[:8] > 1e-4).all()
    assert gradient.sum() > small.sum() / 3


def test_the_exponents_of_the_asymmetric_loss_are_given_by_name():
    targets = np.array([[1.0, 0, 0]] * 4)
    with pytest.raises(TypeError):
        losses.asymmetric(LOGITS, targets, 4, 1, 0.05)
    s = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    clipped = np.maximum(s - 0.05, 0)
    expected = -np.where(targets == 1, (1 - s) * np.log(s), clipped**4 * np.log(1 - clipped))
    found = losses.asymmetric(LOGITS, targets, gamma_neg=4, gamma_pos=1, clip=0.05)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for call in (
        lambda: losses.sigmoid_focal(LOGITS, targets, 0.25, 2),
        lambda: losses.focal(LOGITS, targets, 0.25, 2),
        lambda: losses.tversky(targets[None], targets[None], 0.3, 0.7),
        lambda: losses.unified_focal(targets[None], targets[None], 0.5, 0.6),
    ):
        with pytest.raises(TypeError):
            call()


def test_weights_of_the_examples_do_not_become_weights_of_the_labels():
    values, weights = np.ones((3, 3)), np.array([1.0, 0, 2])
    with pytest.raises(ValueError, match=r"reshape to \(3, 1\) or \(1, 3\)"):
        losses.weighted_mean(values, weights)
    with pytest.raises(ValueError, match="reshape"):
        losses.binary_cross_entropy(values, values, mask=weights)
    assert losses.weighted_mean(values * weights, weights[:, None]) == 1


OVERLAP = (
    "dice",
    "jaccard",
    "tversky",
    "focal_tversky",
    "generalized_dice",
    "lovasz_softmax",
    "unified_focal",
    "matthews",
    "cl_dice",
)


@pytest.mark.parametrize("name", OVERLAP)
def test_overlap_of_logits_is_refused_and_never_a_perfect_loss(name):
    loss = getattr(losses, name)
    truth = np.eye(2)[np.array([[0, 1, 0, 1]])]
    logits = np.where(truth == 1, -8.0, -9.0)
    for wrong in (logits, -logits, np.log(np.clip(truth, 1e-6, 1)), truth * np.nan, jnp.asarray(logits)):
        with pytest.raises(ValueError, match=r"softmax or sigmoid|expected 0 to 1"):
            loss(wrong, truth)
        assert np.isnan(jax.jit(loss)(wrong, truth)).all()
    with pytest.raises(ValueError, match="targets hold 7"):
        loss(truth, truth * 7)
