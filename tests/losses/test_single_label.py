"""What all losses of one label share: no NaN for extreme logits, absent classes and classes that are ruled out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from one_label_losses import KEY, MARGIN, REWEIGHTING, SOFTMAX

from imbal_jax import losses

LOSSES = {**SOFTMAX, **MARGIN, **REWEIGHTING}
every_loss = pytest.mark.parametrize("name", LOSSES)
OF_COUNTS = {
    "bayesian": losses.bayesian_cross_entropy,
    "logit_adjusted": losses.logit_adjusted,
    "balanced_softmax": losses.balanced_softmax,
    "ldam": losses.ldam,
    "vector_scaling": losses.vector_scaling,
    "temperature": losses.class_dependent_temperature,
    "equalization": lambda z, y, n: losses.equalization(z, y, n, KEY),
    "smoothing": losses.label_aware_smoothing,
    "class_balanced_focal": losses.class_balanced_focal,
}


@every_loss
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_value_and_gradient_are_finite_for_huge_logits_and_missing_classes(name, dtype):
    big, most = 1e4, 6e4  # float16 ends at 65504
    logits = jnp.asarray([[big, 0, 0, -big], [0, -big, big, 0], [-most, most, 0, 0], [0, 0, 0, 0]], dtype)

    @jax.jit
    def value_and_gradient(z, y):
        value, pull = jax.vjp(lambda z: LOSSES[name](z, y), z)
        return value, pull(jnp.ones_like(value))[0]

    for labels in ([0, 0, 0, 0], [0, 2, 1, 1], [3, 1, 0, 0]):
        for given_labels in (np.array(labels), np.eye(4)[labels], np.full((4, 4), 0.25)):
            value, gradient = value_and_gradient(logits, given_labels)
            assert value.dtype == jnp.float32
            assert gradient.dtype == dtype
            assert np.isfinite(value).all()
            assert np.isfinite(gradient).all()


@every_loss
def test_classes_masked_by_minus_infinity_give_no_nan(name):
    value_and_gradient = jax.jit(jax.value_and_grad(lambda z, y: LOSSES[name](z, y).sum()))
    cases = [(np.array([[0.0, 1.0, -np.inf, 0.5]] * 3), np.array([0, 1, 3]))]
    if name in MARGIN:
        cases.append((np.array([[0.0, -np.inf, -np.inf, -np.inf]] * 3), np.array([0, 0, 0])))
    for logits, labels in cases:
        for given_labels in (labels, np.eye(4)[labels]):
            value, gradient = value_and_gradient(logits, given_labels)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", OF_COUNTS)
def test_traced_zero_of_an_absent_class_gives_no_nan(name):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(16, 4)) * 3, rng.integers(3, size=16)
    value_and_gradient = jax.jit(jax.value_and_grad(lambda z, y, n: OF_COUNTS[name](z, y, n).sum()))
    for numbers in (np.array([0.5, 0.3, 0.2, 0]), np.array([500.0, 300, 200, 0])):
        value, gradient = value_and_gradient(logits, labels, numbers)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
