"""Losses where there is nothing, or infinity: empty batches, labels ruled out, float16, masks that fit two ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax import losses

COUNTS = [90, 9, 1]
MANY_LABELS = {
    "binary_cross_entropy": (),
    "sigmoid_focal": (),
    "asymmetric": (),
    "distribution_balanced": (COUNTS, 100),
    "class_balanced_sigmoid_focal": (COUNTS,),
}
RANKING = {
    "auc_margin": (0.1, 0.2, 0.3),
    "pairwise_auc": (),
    "partial_auc": (),
    "soft_partial_auc": (),
    "smooth_ap": (),
}


@pytest.mark.parametrize("name", MANY_LABELS)
@pytest.mark.parametrize(("infinity", "target"), [(-np.inf, 0), (np.inf, 1)])
def test_a_label_that_is_ruled_out_or_certain_costs_nothing_and_leaves_the_others(name, infinity, target):
    logits = np.array([[1.0, infinity, -2.0]], np.float32)
    targets = np.array([[1, target, 0]])

    def total(z):
        return getattr(losses, name)(z, targets, *MANY_LABELS[name]).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(jnp.asarray(logits))
    far, expected = jax.jit(jax.value_and_grad(total))(jnp.clip(jnp.asarray(logits), -1e4, 1e4))
    np.testing.assert_allclose(value, far, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    assert gradient[0, 1] == 0


@pytest.mark.parametrize("name", ["partial_auc", "soft_partial_auc", "smooth_ap"])
def test_a_negative_at_minus_infinity_is_a_pair_that_is_won(name):
    def value_and_gradient(lowest):
        scores = jnp.asarray([0.5, 1.0, -0.3, lowest])
        return jax.jit(jax.value_and_grad(lambda h: getattr(losses, name)(h, [1, 0, 0, 0])))(scores)

    (value, gradient), (far, expected) = value_and_gradient(-np.inf), value_and_gradient(-1e4)
    np.testing.assert_allclose(value, far, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_no_scores_have_loss_and_gradient_0(shape):
    for name, further in RANKING.items():
        loss = getattr(losses, name)

        def of_scores(scores, loss=loss, further=further):
            return loss(scores, np.zeros(shape), *further)

        value, gradient = jax.jit(jax.value_and_grad(of_scores))(jnp.zeros(shape))
        assert (value, gradient.shape) == (0, shape)


def test_no_examples_have_no_losses():
    assert losses.cross_entropy(jnp.zeros((0, 3)), []).shape == (0,)
    assert losses.equalization(jnp.zeros((0, 3)), [], COUNTS, jax.random.key(0)).shape == (0,)
    assert losses.lovasz_softmax(np.zeros((0, 2, 2, 3)), np.zeros((0, 2, 2, 3))).shape == (0, 3)


@pytest.mark.parametrize("name", ["dice", "jaccard", "generalized_dice", "unified_focal", "matthews"])
def test_the_gradient_of_an_absent_class_is_finite_in_float16(name):
    targets = np.zeros((1, 2, 2, 2))
    targets[..., 1] = 1  # without class 0, and nothing predicted for it
    gradient = jax.jit(jax.grad(lambda p: getattr(losses, name)(p, targets).sum()))(
        jnp.asarray(targets, jnp.float16)
    )
    assert np.isfinite(gradient).all()


def test_a_mask_that_fits_the_first_and_the_last_axes_is_refused():
    values = np.full((2, 2, 2, 3), 1 / 3)
    with pytest.raises(ValueError, match="reshape to"):
        losses.dice(values, values, mask=np.array([[1], [0]]))  # of images, or of rows?
    losses.dice(values, values, mask=np.array([1, 0]).reshape(2, 1, 1))


@pytest.mark.parametrize(
    "call",
    [
        lambda words: losses.binary_cross_entropy(np.zeros((2, 2)), words),
        lambda words: losses.smooth_ap(np.zeros((2, 2)), words),
        lambda words: losses.sup_con(np.eye(2, dtype=np.float32), words[0]),
        lambda words: losses.dice(np.zeros((1, 2, 2)), words[None]),
    ],
)
def test_words_as_labels_are_refused(call):
    with pytest.raises(ValueError, match="expected numbers"):
        call(np.array([["a", "b"], ["b", "a"]]))
