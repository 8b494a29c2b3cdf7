"""The label of a mixed image, by hand and through losses that are linear in the target."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax import losses
from imbal_jax.losses.mixed_targets import mixed_targets

# Labels


def test_mixed_targets_have_the_values_computed_by_hand():
    targets = mixed_targets(np.array([0, 2, 1]), np.array([1, 2, 7]), np.array([0.75, 0.5, 0.25]), 3)
    np.testing.assert_allclose(targets, [[0.75, 0.25, 0], [0, 0, 1], [0, 0.25, 0]])
    assert targets.dtype == jnp.float32
    own = np.array([[1, 0, -1], [1, -1, 0], [0, 0, -1]])
    partner = np.array([[0, 0, 1], [-1, 1, 1], [-1, 1, 1]])
    targets = mixed_targets(own, partner, np.array([0.75, 1, 0]), 3)
    np.testing.assert_allclose(targets, [[0.75, 0, -1], [1, -1, 0], [-1, 1, 1]])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_cross_entropy_of_mixed_targets_is_the_mix_of_the_cross_entropies(seed):
    random = np.random.default_rng(seed)
    logits, share = random.normal(size=(8, 4)) * 4, random.uniform(size=8).astype(np.float32)
    own, partner = random.integers(0, 4, (2, 8))
    soft = losses.cross_entropy(logits, mixed_targets(own, partner, share, 4))
    two = share * losses.cross_entropy(logits, own) + (1 - share) * losses.cross_entropy(logits, partner)
    np.testing.assert_allclose(soft, two, rtol=1e-5, atol=1e-5)

    own, partner = random.integers(-1, 2, (2, 8, 4))
    targets = mixed_targets(own, partner, share, 4)
    known = np.asarray(targets) >= 0
    np.testing.assert_array_equal(known, (own >= 0) & (partner >= 0))
    soft = losses.binary_cross_entropy(logits, targets, mask=known)
    one, other = (losses.binary_cross_entropy(logits, y, mask=known) for y in (own, partner))
    np.testing.assert_allclose(
        soft, share[:, None] * one + (1 - share[:, None]) * other, rtol=1e-4, atol=1e-5
    )


def test_labels_that_do_not_fit_the_shares_or_the_partners_are_refused():
    with pytest.raises(ValueError, match=r"labels have shape \(4, 3\) and the shares \(4,\)"):
        mixed_targets(np.zeros((4, 3), int), np.zeros((4, 3), int), np.ones(4), 2)
    with pytest.raises(ValueError, match=r"partner labels have shape \(5,\), expected \(4,\)"):
        mixed_targets(np.zeros(4, int), np.zeros(5, int), np.ones(4), 2)
