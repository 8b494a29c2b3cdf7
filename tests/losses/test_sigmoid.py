"""Losses of each label by itself: oracles, special cases, unknown labels, and no NaN."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import CountedJit
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax import losses
from imbal_jax.losses.sigmoid import asymmetric, sigmoid_focal, softplus_pair

POS_WEIGHT = np.array([9.0, 1.0, 0.25])


def batch(shape: tuple[int, ...] = (10, 3), seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, targets in {0, 1}, soft targets."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=shape).astype(np.float32) * 3
    return logits, random.integers(2, size=shape), random.uniform(size=shape)


def reference(logits: np.ndarray, targets: np.ndarray, pos_weight: np.ndarray | float = 1) -> np.ndarray:
    s = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return -(pos_weight * targets * np.log(s) + (1 - targets) * np.log(1 - s))


def test_loss_has_the_value_computed_by_hand():
    logits = np.log([[3.0, 3.0, 3.0]])  # s = 3/4
    expected = [[2 * np.log(4 / 3), np.log(4), np.log(4 / 3) + 0.5 * np.log(4)]]
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, [[1, 0, 0.5]], 2.0), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(10, 3), (2, 5, 3), (3,)])
@pytest.mark.parametrize("pos_weight", [None, 3.0, POS_WEIGHT])
def test_loss_agrees_with_numpy_for_any_leading_dimensions(shape, pos_weight):
    logits, hard, soft = batch(shape)
    for targets in (hard, hard.astype(bool), hard.astype(np.int8), soft):
        loss = losses.binary_cross_entropy(logits, targets, pos_weight)
        assert loss.shape == shape
        assert loss.dtype == jnp.float32
        expected = reference(logits, targets.astype(np.float64), 1 if pos_weight is None else pos_weight)
        np.testing.assert_allclose(loss, expected, rtol=2e-5, atol=1e-6)


def test_loss_of_float64_logits_is_computed_in_float64():
    logits, _, soft = batch()
    with jax.enable_x64(True):
        loss = losses.binary_cross_entropy(logits.astype(np.float64), soft, POS_WEIGHT)
        assert loss.dtype == jnp.float64
        np.testing.assert_allclose(loss, reference(logits, soft, POS_WEIGHT), rtol=1e-12)


def test_value_and_gradient_agree_with_torch():
    torch = pytest.importorskip("torch")
    logits, hard, soft = batch()
    for targets in (hard, soft):
        z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        theirs = torch.nn.functional.binary_cross_entropy_with_logits(
            z, torch.tensor(targets).double(), pos_weight=torch.tensor(POS_WEIGHT), reduction="none"
        )
        theirs.sum().backward()
        ours, pull = jax.vjp(lambda z, t=targets: losses.binary_cross_entropy(z, t, POS_WEIGHT), logits)
        np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(pull(jnp.ones_like(ours))[0], z.grad, rtol=1e-5, atol=1e-6)


def test_loss_agrees_with_optax():
    logits, hard, _ = batch()
    theirs = optax.sigmoid_binary_cross_entropy(jnp.asarray(logits), hard)
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, hard), theirs, rtol=1e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_two_class_cross_entropy_of_the_logits_z_and_0_is_the_same(seed):
    logits, hard, _ = batch(seed=seed)
    pair = np.stack([np.zeros_like(logits), logits], -1)
    weighted = losses.weighted_cross_entropy(pair, hard, [1, 7])
    loss = losses.binary_cross_entropy(logits, hard, 7.0)
    np.testing.assert_allclose(loss, weighted, rtol=1e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_flipping_logits_and_targets_changes_nothing(seed):
    logits, _, soft = batch(seed=seed)
    flipped = losses.binary_cross_entropy(-logits, 1 - soft)
    np.testing.assert_allclose(flipped, losses.binary_cross_entropy(logits, soft), rtol=1e-5, atol=1e-6)


def test_masked_labels_have_loss_0_and_gradient_0_whatever_they_hold():
    logits, hard, _ = batch()
    mask = np.random.default_rng(1).integers(2, size=hard.shape)
    expected = np.where(mask, reference(logits, hard, POS_WEIGHT), 0)
    for unknown in (-1.0, np.nan, np.inf):
        targets = np.where(mask, hard, unknown)
        broken = np.where(mask, logits, np.nan).astype(np.float32)
        for kind in (bool, np.int8, np.float32):
            loss, pull = jax.vjp(
                lambda z, t=targets, k=kind: losses.binary_cross_entropy(z, t, POS_WEIGHT, mask.astype(k)),
                broken,
            )
            np.testing.assert_allclose(loss, expected, rtol=2e-5, atol=1e-6)
            (gradient,) = pull(jnp.ones_like(loss))
            np.testing.assert_array_equal(gradient == 0, mask == 0)
            assert np.isfinite(gradient).all()
    mean = losses.weighted_mean(losses.binary_cross_entropy(logits, targets, POS_WEIGHT, mask), mask)
    np.testing.assert_allclose(mean, expected.sum() / mask.sum(), rtol=1e-5)


def test_mask_of_one_value_a_row_hides_the_row():
    logits, hard, _ = batch((4, 3))
    loss = losses.binary_cross_entropy(logits, hard, mask=np.array([[1], [0], [1], [0]]))
    np.testing.assert_allclose(loss[0], reference(logits, hard)[0], rtol=1e-5)
    assert not loss[1::2].any()


def test_traced_target_outside_0_and_1_shows_as_nan_with_gradient_0():
    logits = jnp.zeros((1, 3))
    targets = jnp.array([[1, -1, 2]])
    loss, pull = jax.vjp(lambda z: losses.binary_cross_entropy(z, targets), logits)
    np.testing.assert_allclose(loss, [[np.log(2), np.nan, np.nan]], rtol=1e-6)
    np.testing.assert_allclose(pull(jnp.ones_like(loss))[0], [[-0.5, 0, 0]])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("value", [0, 1])
def test_value_and_gradient_are_finite_for_huge_logits_and_a_batch_of_one_kind(dtype, value):
    logits = jnp.asarray([[1e4, -1e4, 0], [6e4, -6e4, 1e-7]], dtype)
    targets = np.full((2, 3), value)
    loss, pull = jax.vjp(lambda z: losses.binary_cross_entropy(z, targets, POS_WEIGHT), logits)
    (gradient,) = pull(jnp.ones_like(loss))
    assert loss.dtype == jnp.float32
    assert gradient.dtype == dtype
    assert np.isfinite(loss).all()
    assert np.isfinite(gradient).all()
    wrong = value  # column 0 holds +1e4, column 1 holds -1e4
    weight = POS_WEIGHT[1] if value else 1
    np.testing.assert_allclose(loss[0, wrong], weight * abs(float(logits[0, wrong])))
    assert loss[0, 1 - wrong] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, t: losses.binary_cross_entropy(z, t[:, 0]), r"targets have shape \(10,\)"),
        (lambda z, t: losses.binary_cross_entropy(z, t[:, :1]), r"targets have shape \(10, 1\)"),
        (lambda z, t: losses.binary_cross_entropy(1.0, 1.0), "logits are a scalar"),
        (lambda z, t: losses.binary_cross_entropy(z, t, [1.0, 2.0]), r"pos_weight has shape \(2,\)"),
        (lambda z, t: losses.binary_cross_entropy(z, t, [1.0, -2.0, 1.0]), r"pos_weight\[1\] is -2"),
        (lambda z, t: losses.binary_cross_entropy(z, t, [1.0, 2.0, np.inf]), r"pos_weight\[2\] is inf"),
        (lambda z, t: losses.binary_cross_entropy(z, t, -3.0), "pos_weight is -3"),
        (lambda z, t: losses.binary_cross_entropy(z, t, mask=np.ones(10)), r"mask values of shape \(10,\)"),
        (lambda z, t: losses.binary_cross_entropy(z, t, mask=np.ones((2, 10, 3))), "mask values of shape"),
        (lambda z, t: losses.binary_cross_entropy(z, -t - 1), r"targets\[0, 0\] is -"),
    ],
)
def test_bad_static_input_raises_naming_the_value(call, message):
    logits, hard, _ = batch()
    with pytest.raises(ValueError, match=message):
        call(logits, hard)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda z: call(z, hard))(logits)


def test_traced_weights_targets_and_masks_give_the_same_values_and_one_compilation():
    logits, hard, soft = batch()
    jitted = CountedJit(partial(losses.binary_cross_entropy))
    for pos_weight, mask in ((POS_WEIGHT, hard == 1), (POS_WEIGHT * 2, hard == 0)):
        expected = losses.binary_cross_entropy(logits, soft, pos_weight, mask)
        np.testing.assert_allclose(jitted(logits, soft, pos_weight, mask), expected, rtol=1e-5, atol=1e-6)
    assert jitted.traces == 1


# The loss of every label by itself, written from the formulas in float64.


def sigmoid_focal_reference(z, t, gamma=2.0, alpha=None):
    s = 1 / (1 + np.exp(-np.asarray(z, np.float64)))
    positive, negative = (1 - s) ** gamma * -np.log(s), s**gamma * -np.log(1 - s)
    if alpha is not None:
        positive, negative = alpha * positive, (1 - alpha) * negative
    return t * positive + (1 - t) * negative


def asymmetric_reference(z, t, gamma_pos=1.0, gamma_neg=4.0, clip=0.05):
    s = 1 / (1 + np.exp(-np.asarray(z, np.float64)))
    clipped = np.maximum(s - clip, 0)
    positive, negative = (
        (1 - s) ** gamma_pos * -np.log(s),
        clipped**gamma_neg * -np.log(1 - clipped),
    )
    return t * positive + (1 - t) * negative


ELEMENTWISE = [
    (sigmoid_focal, sigmoid_focal_reference, {}),
    (sigmoid_focal, sigmoid_focal_reference, {"gamma": 0.5, "alpha": 0.25}),
    (sigmoid_focal, sigmoid_focal_reference, {"gamma": 0.0, "alpha": np.array([0.0, 0.7, 1.0])}),
    (asymmetric, asymmetric_reference, {}),
    (asymmetric, asymmetric_reference, {"gamma_pos": 0.0, "gamma_neg": 0.5, "clip": 0.2}),
    (asymmetric, asymmetric_reference, {"gamma_pos": 2.5, "gamma_neg": 0.0, "clip": 0.0}),
]


@pytest.mark.parametrize(("loss", "formula", "options"), ELEMENTWISE)
@pytest.mark.parametrize("shape", [(10, 3), (2, 5, 3), (3,)])
def test_values_agree_with_the_formula_for_any_leading_dimensions(loss, formula, options, shape):
    logits, hard, soft = batch(shape)
    for targets in (hard, hard.astype(bool), soft):
        ours = loss(logits, targets, **options)
        assert ours.shape == shape
        assert ours.dtype == jnp.float32
        expected = formula(logits, targets.astype(np.float64), **options)
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("loss", "formula", "options"), ELEMENTWISE)
def test_float64_values_and_gradients_agree_with_the_formula_and_its_differences(loss, formula, options):
    logits, _, soft = batch((40, 3))
    logits = logits.astype(np.float64)
    step = 1e-5
    slope = (formula(logits + step, soft, **options) - formula(logits - step, soft, **options)) / (2 * step)
    with jax.enable_x64(True):
        ours, pull = jax.vjp(lambda z: loss(z, soft, **options), jnp.asarray(logits))
        assert ours.dtype == jnp.float64
        np.testing.assert_allclose(ours, formula(logits, soft, **options), rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(pull(jnp.ones_like(ours))[0], slope, rtol=1e-6, atol=1e-8)


def test_softplus_of_a_logit_and_of_its_negative_have_all_their_digits_and_so_have_their_slopes():
    logits = np.array([0, 1e-7, 0.3, 2, 20, 80, 1e4], np.float32)
    logits = np.concatenate([logits, -logits])
    exact = np.logaddexp(0, np.float64(logits)), np.logaddexp(0, -np.float64(logits))
    slopes = np.exp(np.float64(logits) - exact[0]), -np.exp(-np.float64(logits) - exact[1])
    found = jax.jvp(softplus_pair, (logits,), (np.ones_like(logits),))
    for ours, theirs in zip(jax.tree.leaves(found), (*exact, *slopes), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-37)
    curvature = jax.jacfwd(jax.jacrev(lambda z: jnp.stack(softplus_pair(z))))(0.0)
    np.testing.assert_allclose(curvature, [0.25, 0.25])


def test_focal_loss_has_the_value_computed_by_hand():
    logits = np.log([[3.0, 3.0, 1 / 3]])  # s = 3/4, 3/4, 1/4
    expected = [[0.25**2 * np.log(4 / 3), 0.75**2 * np.log(4), 0.25**2 * np.log(4 / 3)]]
    np.testing.assert_allclose(sigmoid_focal(logits, [[1, 0, 0]]), expected, rtol=1e-6)
    weights = [[0.25, 0.75, 0.75]]
    loss = sigmoid_focal(logits, [[1, 0, 0]], alpha=0.25)
    np.testing.assert_allclose(loss, np.multiply(weights, expected), rtol=1e-6)


def test_asymmetric_loss_has_the_value_computed_by_hand():
    logits = np.log([[3.0, 3.0, 1 / 24]])  # s = 3/4, 3/4, 1/25
    expected = [[0.25 * np.log(4 / 3), 0.7**4 * -np.log(0.3), 0]]
    np.testing.assert_allclose(asymmetric(logits, [[1, 0, 0]]), expected, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25, np.array([0.1, 0.5, 0.9])])
def test_focal_value_and_gradient_agree_with_optax_for_targets_0_and_1(gamma, alpha):
    logits, hard, _ = batch((40, 3))
    for ours, theirs in zip(
        jax.vjp(lambda z: sigmoid_focal(z, hard, gamma=gamma, alpha=alpha), logits),
        jax.vjp(lambda z: optax.losses.sigmoid_focal_loss(z, hard, alpha=alpha, gamma=gamma), logits),
        strict=True,
    ):
        a, b = (x(jnp.ones_like(logits))[0] if callable(x) else x for x in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 5))
def test_special_cases_of_the_focal_and_asymmetric_losses(seed, gamma):
    logits, hard, soft = batch(seed=seed)
    gamma = np.float32(gamma)
    for targets in (hard, soft):
        cross_entropy = losses.binary_cross_entropy(logits, targets)
        focal = sigmoid_focal(logits, targets, gamma=gamma)
        close = {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(
            sigmoid_focal(logits, targets, gamma=np.float32(0)), cross_entropy, **close
        )
        np.testing.assert_allclose(
            asymmetric(logits, targets, gamma_pos=0, gamma_neg=0, clip=0), cross_entropy, **close
        )
        np.testing.assert_allclose(
            asymmetric(logits, targets, gamma_pos=gamma, gamma_neg=gamma, clip=np.float32(0)), focal, **close
        )
        half = sigmoid_focal(logits, targets, gamma=gamma, alpha=0.5)
        np.testing.assert_allclose(2 * half, focal, **close)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_sigmoid_focal_is_the_softmax_focal_loss_of_the_logits_z_and_0(seed):
    logits, _, soft = batch(seed=seed)
    pair = losses.focal(np.stack([np.zeros_like(logits), logits], -1), np.stack([1 - soft, soft], -1), 1.5)
    np.testing.assert_allclose(sigmoid_focal(logits, soft, gamma=1.5), pair, rtol=1e-5, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_loss_of_mixed_targets_is_the_mix_of_the_losses(seed, share):
    logits, hard, soft = batch(seed=seed)
    mixed = share * hard + (1 - share) * soft
    for loss in (losses.binary_cross_entropy, sigmoid_focal, asymmetric):
        expected = share * loss(logits, hard) + (1 - share) * loss(logits, soft)
        np.testing.assert_allclose(loss(logits, mixed), expected, rtol=1e-5, atol=1e-5)


def test_easy_negatives_of_the_asymmetric_loss_have_loss_0_and_gradient_0():
    logits = np.array([[-3.0, -1e4, -100, 0]])  # s = 0.047 and less; 1/2
    loss, pull = jax.vjp(lambda z: asymmetric(z, np.zeros((1, 4))), logits)
    np.testing.assert_array_equal(loss == 0, [[True, True, True, False]])
    np.testing.assert_array_equal(pull(jnp.ones_like(loss))[0] == 0, loss == 0)


def test_asymmetric_loss_of_the_worst_positive_is_exact_and_pulls():
    logits = np.array([[-100.0, -1e4]])  # their code stops at -log 1e-8 = 18.4
    loss, pull = jax.vjp(lambda z: asymmetric(z, np.ones((1, 2))), logits)
    np.testing.assert_allclose(loss, [[100, 1e4]])
    np.testing.assert_allclose(pull(jnp.ones_like(loss))[0], [[-1, -1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, t: sigmoid_focal(z, t[:, 0]), r"targets have shape \(10,\)"),
        (lambda z, t: sigmoid_focal(z, t, gamma=-1.0), "gamma is -1"),
        (lambda z, t: sigmoid_focal(z, t, gamma=[1.0, 2.0]), r"gamma has shape \(2,\)"),
        (lambda z, t: sigmoid_focal(z, t, alpha=1.5), "alpha is 1.5, expected 0 to 1"),
        (lambda z, t: sigmoid_focal(z, t, alpha=[0.1, 0.2, 3.0]), "alpha is 3, expected 0 to 1"),
        (lambda z, t: sigmoid_focal(z, t, alpha=[0.1, -0.2, 0.3]), r"alpha\[1\] is -0.2"),
        (lambda z, t: sigmoid_focal(z, t, alpha=[0.1, 0.2]), r"alpha has shape \(2,\)"),
        (lambda z, t: sigmoid_focal(z, t, mask=np.ones(10)), r"mask values of shape \(10,\)"),
        (lambda z, t: sigmoid_focal(z, -t - 1), r"targets\[0, 0\] is -"),
        (lambda z, t: asymmetric(z, t, gamma_pos=-1.0), "gamma_pos is -1"),
        (lambda z, t: asymmetric(z, t, gamma_neg=np.nan), "gamma_neg is nan"),
        (lambda z, t: asymmetric(z, t, clip=1.1), "clip is 1.1, expected 0 to 1"),
        (lambda z, t: asymmetric(z, t, clip=-0.1), "clip is -0.1"),
        (lambda z, t: asymmetric(1.0, 1.0), "logits are a scalar"),
    ],
)
def test_bad_options_of_the_focal_losses_raise_naming_the_value(call, message):
    logits, hard, _ = batch()
    with pytest.raises(ValueError, match=message):
        call(logits, hard)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda z: call(z, hard))(logits)


def test_traced_exponents_weights_and_clips_do_not_recompile():
    logits, _, soft = batch()
    focal, clipped = CountedJit(partial(sigmoid_focal)), CountedJit(partial(asymmetric))
    for gamma, alpha, clip in ((0.0, [0.1, 0.2, 0.3], 0.0), (3.0, [0.9, 0.0, 1.0], 0.1)):
        alpha = np.array(alpha)
        expected = sigmoid_focal_reference(logits, soft, gamma, alpha)
        np.testing.assert_allclose(
            focal(logits, soft, gamma=gamma, alpha=alpha), expected, rtol=2e-5, atol=1e-6
        )
        expected = asymmetric_reference(logits, soft, gamma, 2 * gamma, clip)
        ours = clipped(logits, soft, gamma_pos=gamma, gamma_neg=2 * gamma, clip=clip)
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-6)
    assert focal.traces == clipped.traces == 1
