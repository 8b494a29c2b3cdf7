"""The Lovasz extension against its definition, the mean over the thresholds of the errors."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax import losses


def case(seed, space=(5, 4)):
    """Probabilities [3, *space, 3] and one-hot targets."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(3), (3, *space)), np.eye(3)[rng.integers(3, size=(3, *space))]


def union_and_errors(predicted, t):
    """Pixels [B, C] in either, and in one of the two."""
    space = tuple(range(1, t.ndim - 1))
    return np.maximum(predicted, t).sum(axis=space), (predicted != t).sum(axis=space)


def by_thresholds(errors, truth):
    """Integral of the Jaccard loss over the thresholds of the errors, of one image and class."""
    cuts, total = np.concatenate([[0], np.sort(errors)]), 0.0
    for low, high in pairwise(cuts):
        wrong = errors >= high
        union = (truth | wrong).sum()
        total += (high - low) * wrong.sum() / union if union else 0
    return total


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_lovasz_is_the_mean_jaccard_loss_over_the_thresholds_of_the_errors(seed, masked):
    p, t = case(seed, space=(6,))
    mask = np.random.default_rng(seed + 1).random((3, 6)) < 0.7 if masked else np.ones((3, 6), bool)
    expected = np.zeros((3, 3))
    for b in range(3):
        for c in range(3):
            errors, truth = np.abs(t - p)[b, mask[b], c], t[b, mask[b], c] == 1
            expected[b, c] = by_thresholds(errors, truth)
    np.testing.assert_allclose(losses.lovasz_softmax(p, t, mask), expected, atol=2e-6)


def test_lovasz_of_hard_predictions_is_one_minus_iou():
    _, t = case(4)
    _, predicted = case(5)
    union, errors = union_and_errors(predicted, t)
    np.testing.assert_allclose(losses.lovasz_softmax(predicted, t), errors / np.maximum(union, 1), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_the_hinge_is_the_mean_jaccard_loss_over_the_thresholds_of_the_hinge_errors(seed, masked):
    rng = np.random.default_rng(seed)
    z, t = rng.normal(size=(2, 6, 3)) * 2, (rng.random((2, 6, 3)) < 0.4) * 1
    mask = rng.random((2, 6)) < 0.7 if masked else np.ones((2, 6), bool)
    expected = [
        [
            by_thresholds(np.maximum(0, 1 - z * (2 * t - 1))[b, mask[b], c], t[b, mask[b], c] == 1)
            for c in range(3)
        ]
        for b in range(2)
    ]
    np.testing.assert_allclose(losses.lovasz_hinge(z, t, mask), expected, rtol=1e-5, atol=2e-6)


def test_the_hinge_is_at_least_one_minus_iou_and_0_beyond_the_margin():
    rng = np.random.default_rng(1)
    z, t = rng.normal(size=(3, 50, 2)), (rng.random((3, 50, 2)) < 0.3) * 1
    union, errors = union_and_errors(z > 0, t)
    assert (losses.lovasz_hinge(z, t) >= errors / union).all()
    assert (losses.lovasz_hinge(5 * (2 * t - 1), t) == 0).all()


def test_the_gradient_of_the_hinge_equals_differences():
    rng = np.random.default_rng(2)
    z, t = rng.normal(size=(2, 9, 2)), (rng.random((2, 9, 2)) < 0.4) * 1
    with jax.enable_x64(True):
        gradient = jax.grad(lambda z: losses.lovasz_hinge(z, t).sum())(jnp.asarray(z))
        for _ in range(5):
            step = 1e-7 * rng.normal(size=z.shape)
            change = losses.lovasz_hinge(z + step, t).sum() - losses.lovasz_hinge(z - step, t).sum()
            np.testing.assert_allclose((gradient * step).sum(), change / 2, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_extreme_logits_and_hidden_pixels_that_are_not_numbers_leave_the_hinge_finite(dtype):
    z = jnp.asarray([[[6e4], [-6e4], [0.0], [jnp.nan]]] * 3, dtype)
    t = np.array([[[0], [1], [1], [0]], [[0]] * 4, [[1]] * 4])
    mask = np.array([1, 1, 1, 0])
    value, gradient = jax.jit(jax.value_and_grad(lambda z: losses.lovasz_hinge(z, t, mask).sum()))(z)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert (gradient[:, 3] == 0).all()
    assert (losses.lovasz_hinge(z, t, np.zeros(4)) == 0).all()


def test_wrong_targets_of_the_hinge_are_refused():
    z, t = np.zeros((1, 3, 2)), np.ones((1, 3, 2))
    with pytest.raises(ValueError, match="both alike"):
        losses.lovasz_hinge(z, t[..., :1])
    with pytest.raises(ValueError, match="targets hold 7"):
        losses.lovasz_hinge(z, 7 * t)
    assert np.isnan(jax.jit(losses.lovasz_hinge)(z, 7 * t)).all()
