"""Margin and temperature losses: literals by hand, NumPy and PyTorch oracles, their laws, and no NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import CountedJit
from hypothesis import given, settings
from hypothesis import strategies as st
from one_label_losses import COUNTS, MARGIN

from imbal_jax import losses
from imbal_jax.losses.margin import class_dependent_temperature, ldam, vector_scaling

SETTINGS = {
    "ldam": (0.5, 30.0),
    "ldam_wide": (2.0, 1.5),
    "vector_scaling": (0.15, 1.0),
    "vector_scaling_strong": (0.5, 1.25),
    "temperature": (0.15, 0.0),
    "temperature_strong": (0.6, 0.0),
}
LOSSES = MARGIN
every_loss = pytest.mark.parametrize("name", LOSSES)
JITTED = {name: jax.jit(loss) for name, loss in LOSSES.items()}


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    top = values.max(-1, keepdims=True)
    return (top + np.log(np.exp(values - top).sum(-1, keepdims=True)))[..., 0]


def reference(name: str, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The losses above in NumPy float64, class by class, targets as probabilities [..., 4]."""
    logits = np.asarray(logits, np.float64)
    total = np.zeros(logits.shape[:-1])
    for c in range(4):
        if name.startswith("ldam"):
            max_margin, scale = SETTINGS[name]
            margins = COUNTS**-0.25
            margins = margins * max_margin / margins.max()
            moved = scale * (logits - margins[c] * np.eye(4)[c])
        else:
            gamma, tau = SETTINGS[name]
            moved = logits / (COUNTS.max() / COUNTS) ** gamma + tau * np.log(COUNTS / COUNTS.sum())
        total += targets[..., c] * (log_sum_exp(moved) - moved[..., c])
    return total


def batch(shape: tuple[int, ...] = (16,), seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits between -1 and 1, labels with every class present, soft labels."""
    random = np.random.default_rng(seed)
    logits = random.uniform(-1, 1, size=(*shape, 4)).astype(np.float32)
    labels = random.permutation(np.arange(np.prod(shape)) % 4).reshape(shape)
    return logits, labels, random.dirichlet(np.ones(4), size=shape)


# Literals


def test_losses_have_the_values_computed_by_hand():
    logits = np.log([[1.0, 3.0], [1.0, 3.0]])
    labels, counts = np.array([0, 1]), [16, 1]
    log = np.log
    # margins 1/4 and 1/2 of log 16, that is log 2 and log 4: 1/2 against 3, then 3/4 against 1
    found = ldam(logits, labels, counts, max_margin=log(4), scale=1.0)
    np.testing.assert_allclose(found, [log(7), log(7 / 3)], rtol=1e-6)
    # temperatures 1 and 16^(1/4) = 2: 1 against sqrt 3
    found = class_dependent_temperature(logits, labels, counts, 0.25)
    np.testing.assert_allclose(found, [log(1 + 3**0.5), log(1 + 3**-0.5)], rtol=1e-6)
    # and then 16 against sqrt 3
    found = vector_scaling(logits, labels, counts, 0.25)
    np.testing.assert_allclose(found, [log(1 + 3**0.5 / 16), log(1 + 16 / 3**0.5)], rtol=1e-6)


def test_ldam_margin_of_the_rarest_class_is_the_widest_and_falls_with_the_fourth_root():
    # Two cosines apart by exactly the margin are undecided: the loss is log 2.
    for label, margin in ((0, 0.1), (1, 0.5)):
        cosines = np.where(np.arange(2) == label, margin, 0.0)
        np.testing.assert_allclose(ldam(cosines, label, [625, 1]), np.log(2), rtol=1e-5)


# Oracles


@every_loss
@pytest.mark.parametrize("shape", [(16,), (2, 2, 2)])
def test_loss_agrees_with_numpy_for_any_leading_dimensions(name, shape):
    logits, labels, soft = batch(shape)
    for given_labels, targets in ((labels, np.eye(4)[labels]), (soft, soft)):
        loss = JITTED[name](logits, given_labels)
        assert loss.shape == shape
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, reference(name, logits, targets), rtol=2e-5, atol=2e-6)


@every_loss
def test_loss_of_float64_logits_is_computed_in_float64(name):
    logits, labels, soft = batch()
    with jax.enable_x64(True):
        for given_labels, targets in ((labels, np.eye(4)[labels]), (soft, soft)):
            loss = JITTED[name](logits.astype(np.float64), given_labels)
            assert loss.dtype == jnp.float64
            np.testing.assert_allclose(loss, reference(name, logits, targets), rtol=1e-11, atol=1e-13)


@every_loss
def test_loss_without_leading_dimensions_is_a_scalar(name):
    logits = batch((1,))[0]
    loss = LOSSES[name](logits[0], 2)
    assert loss.shape == ()
    np.testing.assert_allclose(loss, reference(name, logits, np.eye(4)[[2]])[0], rtol=1e-5)


@every_loss
def test_gradient_agrees_with_torch_autograd(name):
    torch = pytest.importorskip("torch")
    logits, labels, soft = batch()
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    for given_labels, targets in ((labels, np.eye(4)[labels]), (soft, soft)):
        z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        loss = 0
        for c in range(4):
            if name.startswith("ldam"):
                max_margin, scale = SETTINGS[name]
                margin = max_margin * (counts.min() / counts[c]) ** 0.25
                moved = scale * (z - margin * torch.eye(4, dtype=torch.float64)[c])
            else:
                gamma, tau = SETTINGS[name]
                moved = z * (counts / counts.max()) ** gamma + tau * torch.log(counts)
            loss = loss - (torch.tensor(targets)[:, c] * torch.log_softmax(moved, -1)[:, c]).sum()
        loss.backward()
        gradient = jax.jit(jax.grad(lambda z, y=given_labels: LOSSES[name](z, y).sum()))(logits)
        np.testing.assert_allclose(gradient, z.grad, rtol=1e-4, atol=2e-5)


# Laws

seeds = st.integers(0, 2**31)
few = settings(max_examples=10, deadline=None)


def random_problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logits [8, 5], labels, soft labels, counts."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(8, 5)) * 10.0 ** random.uniform(-2, 1.5)
    return logits, random.integers(5, size=8), random.dirichlet(np.ones(5), 8), random.integers(1, 10**5, 5)


@few
@given(seeds)
def test_vector_scaling_at_gamma_0_is_logit_adjusted(seed):
    logits, labels, soft, counts = random_problem(seed)
    with jax.enable_x64(True):
        for given_labels in (labels, soft):
            scaled = vector_scaling(logits, given_labels, counts, 0.0, 0.7)
            adjusted = losses.logit_adjusted(logits, given_labels, counts / counts.sum(), 0.7)
            np.testing.assert_allclose(scaled, adjusted, rtol=1e-10, atol=1e-11)


@few
@given(seeds, st.floats(0, 1))
def test_vector_scaling_at_tau_0_is_class_dependent_temperature(seed, gamma):
    logits, labels, soft, counts = random_problem(seed)
    for given_labels in (labels, soft):
        scaled = vector_scaling(logits, given_labels, counts, gamma, 0.0)
        np.testing.assert_array_equal(
            scaled, class_dependent_temperature(logits, given_labels, counts, gamma)
        )


@few
@given(seeds)
def test_all_are_cross_entropy_without_margin_temperature_and_offset(seed):
    logits, labels, soft, counts = random_problem(seed)
    for given_labels in (labels, soft):
        plain = losses.cross_entropy(logits, given_labels)
        np.testing.assert_array_equal(vector_scaling(logits, given_labels, counts, 0.0, 0.0), plain)
        np.testing.assert_array_equal(class_dependent_temperature(logits, given_labels, counts, 0.0), plain)
        found = ldam(logits, given_labels, counts, max_margin=0.0, scale=1.0)
        np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6)


@few
@given(seeds, st.sampled_from(list(LOSSES)))
def test_one_hot_labels_are_the_same_as_indices(seed, name):
    logits, labels, _ = batch(seed=seed)
    one_hot = JITTED[name](logits, np.eye(4)[labels])
    np.testing.assert_allclose(JITTED[name](logits, labels), one_hot, rtol=1e-5, atol=1e-6)


@few
@given(seeds, st.floats(1e-3, 1e3))
def test_a_common_factor_of_the_counts_changes_nothing(seed, factor):
    logits, labels, _, counts = random_problem(seed)
    with jax.enable_x64(True):
        for loss in (ldam, vector_scaling, class_dependent_temperature):
            found = loss(logits, labels, counts * factor)
            np.testing.assert_allclose(found, loss(logits, labels, counts), rtol=1e-9, atol=1e-9)


@few
@given(seeds)
def test_loss_of_mixed_labels_is_the_mixture_of_the_losses(seed):
    logits, labels, _, counts = random_problem(seed)
    others = np.roll(labels, 1)
    mixed = 0.3 * np.eye(5)[labels] + 0.7 * np.eye(5)[others]
    for loss in (ldam, vector_scaling, class_dependent_temperature):
        expected = 0.3 * loss(logits, labels, counts) + 0.7 * loss(logits, others, counts)
        np.testing.assert_allclose(loss(logits, mixed, counts), expected, rtol=2e-5, atol=1e-5)


def test_vector_scaling_is_logit_adjusted_of_the_scaled_logits():
    logits, labels, _ = batch()
    scaled = logits / (COUNTS.max() / COUNTS) ** 0.15
    expected = losses.balanced_softmax(scaled, labels, COUNTS)
    np.testing.assert_allclose(vector_scaling(logits, labels, COUNTS), expected, rtol=1e-5, atol=1e-6)


# Digits, and no NaN


def test_ldam_keeps_its_digits_where_it_is_tiny():
    # 30 (cos_y - m_y - cos_k) = 30 and 60: far below the resolution of float32 at 1
    loss = ldam(np.array([[1.0, -0.5, -1.5]]), np.array([0]), [1, 1, 1])
    np.testing.assert_allclose(loss, np.exp(-30) + np.exp(-60), rtol=1e-5)
    soft = ldam(np.array([[1.0, -0.5, -1.5]]), np.array([[1.0, 0, 0]]), [1, 1, 1])
    np.testing.assert_allclose(soft, loss, rtol=1e-5)


@every_loss
def test_half_precision_logits_are_computed_in_float32(name):
    logits, labels, _ = batch()
    for dtype in (jnp.float16, jnp.bfloat16):
        rounded = jnp.asarray(logits, dtype)
        expected = reference(name, np.asarray(rounded, np.float64), np.eye(4)[labels])
        np.testing.assert_allclose(JITTED[name](rounded, labels), expected, rtol=2e-5, atol=2e-6)


@every_loss
def test_label_outside_the_classes_shows_as_nan_unless_its_weight_is_0(name):
    logits, labels, _ = batch((12,))
    padded = jnp.concatenate([labels[:8], jnp.array([-1, 4, 255, -100])])
    expected = reference(name, logits[:8], np.eye(4)[labels[:8]])
    loss = JITTED[name](logits, padded)
    np.testing.assert_allclose(loss[:8], expected, rtol=2e-5, atol=2e-6)
    assert np.isnan(loss[8:]).all()

    mean = lambda z: losses.weighted_mean(LOSSES[name](z, padded), jnp.arange(12) < 8)  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(mean))(logits)
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert not gradient[8:].any()


# Bad input, and traced input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: ldam(z, y[:3], COUNTS), r"labels have shape \(3,\) and logits \(16, 4\)"),
        (lambda z, y: ldam(z, y + 1, COUNTS), "labels hold 4, allowed are 0 to 3"),
        (lambda z, y: ldam(z, y, COUNTS[:3]), r"counts has shape \(3,\)"),
        (lambda z, y: ldam(z, y, [9, 4, 0, 1]), r"counts\[2\] is 0"),
        (lambda z, y: ldam(z, y, COUNTS, -0.5), "max_margin is -0.5"),
        (lambda z, y: ldam(z, y, COUNTS, scale=np.inf), "scale is inf"),
        (lambda z, y: ldam(z, y, COUNTS, scale=[30.0]), r"scale has shape \(1,\)"),
        (lambda z, y: vector_scaling(z, y, [9, -4, 1, 1]), r"counts\[1\] is -4"),
        (lambda z, y: vector_scaling(z, y, COUNTS, -0.1), "gamma is -0.1"),
        (lambda z, y: vector_scaling(z, y, COUNTS, tau=np.nan), "tau is nan"),
        (lambda z, y: class_dependent_temperature(z, y, [9, 4, 1, np.inf]), r"counts\[3\] is inf"),
        (lambda z, y: class_dependent_temperature(z, y, COUNTS, [0.1, 0.2]), r"gamma has shape \(2,\)"),
    ],
)
def test_bad_static_input_raises_naming_the_value(call, message):
    logits, labels, _ = batch()
    with pytest.raises(ValueError, match=message):
        call(logits, labels)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda z: call(z, labels))(logits)


@pytest.mark.parametrize(
    ("loss", "sweep"),
    [
        (ldam, [(COUNTS, 0.5, 30.0), (COUNTS[::-1].copy(), 0.1, 10.0)]),
        (vector_scaling, [(COUNTS, 0.15, 1.0), (COUNTS[::-1].copy(), 0.3, 0.5)]),
        (class_dependent_temperature, [(COUNTS, 0.15), (COUNTS[::-1].copy(), 0.3)]),
    ],
)
def test_traced_parameters_give_the_same_values_and_one_compilation(loss, sweep):
    logits, labels, _ = batch()
    jitted = CountedJit(lambda *arguments: loss(*arguments))
    for values in sweep:
        expected = loss(logits, labels, *values)
        np.testing.assert_allclose(jitted(logits, labels, *values), expected, rtol=1e-5, atol=2e-6)
    assert jitted.traces == 1


def test_traced_zero_does_not_narrow_the_margins_of_the_other_classes():
    logits, labels, _ = batch()
    found = jax.jit(ldam)(logits[:, :3], labels % 3, np.array([500.0, 300, 0]))
    expected = ldam(logits[:, :3], labels % 3, [500, 300, 300])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
