"""Re-weighting losses: literals by hand, oracles, laws, what chance does, and no NaN."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import CountedJit
from hypothesis import given, settings
from hypothesis import strategies as st
from one_label_losses import COUNTS, KEY, REWEIGHTING, WEIGHTS, features_for

from imbal_jax import losses, priors
from imbal_jax.losses.reweighting import (
    class_balanced_focal,
    equalization,
    influence_balanced,
    label_aware_smoothing,
    poly1,
)

LOSSES = REWEIGHTING
every_loss = pytest.mark.parametrize("name", LOSSES)
JITTED = {name: jax.jit(loss) for name, loss in LOSSES.items()}


def smoothing(name: str) -> np.ndarray:
    rank = (COUNTS - 50) / 550
    return {
        "smoothing_concave": 0.1 + 0.3 * np.sin(rank * np.pi / 2),
        "smoothing_convex": 0.3 + 0.3 * np.sin(1.5 * np.pi + rank * np.pi / 2),
    }[name]


def effective(beta: float) -> np.ndarray:
    weights = (1 - beta) / (1 - beta**COUNTS)
    return weights / weights.sum() * 4


def of_label(name: str, logits: np.ndarray, c: int) -> np.ndarray:
    """The losses above for the label c, in NumPy float64; influence without its denominator."""
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    if name == "equalization":
        kept = np.array([True, True, c == 2, c == 3])
        return np.log(np.exp(logits[..., kept]).sum(-1)) - logits[..., c]
    if name.startswith("influence"):
        return -WEIGHTS[c] * log_p[..., c]
    if name.startswith("smoothing"):
        amount = smoothing(name)[c]
        return -(1 - amount) * log_p[..., c] - amount * log_p.mean(-1)
    if name == "poly1":
        return -log_p[..., c] + 1 - np.exp(log_p[..., c])
    beta, gamma = {"": (0.9999, 0.5), "_2": (0.99, 2.0)}[name[len("class_balanced_focal") :]]
    s = 1 / (1 + np.exp(-logits))
    q = np.where(np.arange(4) == c, s, 1 - s)
    return effective(beta)[c] * (-((1 - q) ** gamma) * np.log(q)).sum(-1)


def reference(name: str, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The losses above, targets as probabilities [..., 4]."""
    logits = np.asarray(logits, np.float64)
    total = sum(targets[..., c] * of_label(name, logits, c) for c in range(4))
    if name.startswith("influence"):
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        norms = np.abs(p - targets).sum(-1) * np.abs(features_for(logits)).sum(-1)
        total *= 10 / (norms + 1e-3)
    return total


def batch(shape: tuple[int, ...] = (16,), seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, labels with every class present, soft labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(*shape, 4)).astype(np.float32) * 3
    labels = random.permutation(np.arange(np.prod(shape)) % 4).reshape(shape)
    return logits, labels, random.dirichlet(np.ones(4), size=shape)


# Literals


def test_losses_have_the_values_computed_by_hand():
    logits = np.log([[1.0, 3.0], [1.0, 3.0]])  # probabilities 1/4 and 3/4, sigmoids 1/2 and 3/4
    labels, log = np.array([0, 1]), np.log
    features = np.array([[1.0, -2.0], [0.0, 4.0]])  # norms 3 and 4; distances 2 * 3/4 and 2 * 1/4
    expected = {
        "equalization": [log(4), 0],  # class 0 is rare: it stays in its own denominator alone
        "influence": [1000 * log(4) / 4.501, 1000 * log(4 / 3) / 2.001],
        "influence_weighted": [2 * log(4) / 4.5, log(4 / 3) / 2],
        "smoothing": [0.9 * log(4) + 0.1 * log(16 / 3) / 2, 0.6 * log(4 / 3) + 0.4 * log(16 / 3) / 2],
        "poly1": [log(4) + 3 / 4, log(4 / 3) + 1 / 4],
        # weights 4/3 and 2/3; (1 - q) of the label and of the other class
        "focal": [4 / 3 * (log(2) / 2 + 3 / 4 * log(4)), 2 / 3 * (1 / 4 * log(4 / 3) + log(2) / 2)],
    }
    found = {
        "equalization": equalization(logits, labels, [1, 999], KEY, gamma=1.0),
        "influence": influence_balanced(logits, labels, features),
        "influence_weighted": influence_balanced(logits, labels, features, [2, 1], alpha=1.0, epsilon=0.0),
        "smoothing": label_aware_smoothing(logits, labels, [1, 9]),
        "poly1": poly1(logits, labels),
        "focal": class_balanced_focal(logits, labels, [1, 10**6], beta=0.5, gamma=1.0),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-7, err_msg=name)


def test_influence_of_an_example_learned_perfectly_leaves_epsilon():
    loss, gradient = jax.value_and_grad(
        lambda z: influence_balanced(z, np.array([0]), np.ones((1, 8))).sum()
    )(np.array([[200.0, 0.0]]))
    assert loss == 0
    np.testing.assert_array_equal(gradient, [[0, 0]])


def test_smoothing_of_the_rarest_class_is_tail_of_the_commonest_head_and_shapes_order_those_between():
    logits = np.zeros((3, 3))
    logits[:, 0] = 1  # a loss that grows with the smoothing of label 0, whatever its count
    for shape, middle in (("concave", np.sin(np.pi / 4)), ("linear", 0.5), ("convex", 1 - np.cos(np.pi / 4))):
        amounts = []
        for counts in ([1, 3, 5], [3, 1, 5], [5, 1, 3]):
            loss = label_aware_smoothing(logits[0], 0, counts, 0.4, 0.1, shape)
            log_p = np.array([1, 0, 0]) - np.log(np.e + 2)
            amounts.append((loss + log_p[0]) / (log_p[0] - log_p.mean()))
        np.testing.assert_allclose(amounts, [0.1, 0.1 + 0.3 * middle, 0.4], rtol=1e-4)


# Oracles


@every_loss
@pytest.mark.parametrize("shape", [(16,), (2, 2, 2)])
def test_loss_agrees_with_numpy_for_any_leading_dimensions(name, shape):
    logits, labels, soft = batch(shape)
    for given_labels, targets in ((labels, np.eye(4)[labels]), (soft, soft)):
        loss = JITTED[name](logits, given_labels)
        assert loss.shape == shape
        assert loss.dtype == jnp.float32
        # the weight of an example that is nearly learned is as exact as 1 - p
        np.testing.assert_allclose(loss, reference(name, logits, targets), rtol=1e-4, atol=2e-6)


@every_loss
def test_loss_of_float64_logits_is_computed_in_float64(name):
    logits, labels, soft = batch()
    with jax.enable_x64(True):
        for given_labels, targets in ((labels, np.eye(4)[labels]), (soft, soft)):
            loss = JITTED[name](logits.astype(np.float64), given_labels)
            assert loss.dtype == jnp.float64
            np.testing.assert_allclose(loss, reference(name, logits, targets), rtol=1e-10, atol=1e-13)


@every_loss
def test_loss_without_leading_dimensions_is_a_scalar(name):
    logits = batch((1,))[0]
    loss = LOSSES[name](logits[0], 2)
    assert loss.shape == ()
    norm = np.abs(features_for(logits[0])).sum() / np.abs(features_for(logits)).sum()
    assert norm == 1
    np.testing.assert_allclose(loss, reference(name, logits, np.eye(4)[[2]])[0], rtol=1e-5)


@every_loss
def test_gradient_agrees_with_torch_autograd(name):
    torch = pytest.importorskip("torch")
    logits, labels, soft = batch()
    for given_labels, targets in ((labels, np.eye(4)[labels]), (soft, soft)):
        z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        t = torch.tensor(targets)
        log_p = torch.log_softmax(z, -1)
        if name == "equalization":
            masks = torch.tensor([[1, 1, c == 2, c == 3] for c in range(4)]).double()
            loss = (t * (torch.log(torch.exp(z) @ masks.T) - z)).sum()
        elif name.startswith("influence"):
            h = torch.tensor(features_for(z.detach().numpy()))
            norms = torch.abs(log_p.exp() - t).sum(-1) * h.abs().sum(-1)
            norms = norms.detach() if name == "influence" else norms
            loss = (10 / (norms + 1e-3) * (torch.tensor(WEIGHTS) * t * -log_p).sum(-1)).sum()
        elif name.startswith("smoothing"):
            amount = torch.tensor(smoothing(name))
            loss = (t * (-(1 - amount) * log_p - amount * log_p.mean(-1, keepdim=True))).sum()
        elif name == "poly1":
            loss = (t * (-log_p + 1 - log_p.exp())).sum()
        else:
            suffix = name[len("class_balanced_focal") :]
            beta, gamma = {"": (0.9999, 0.5), "_2": (0.99, 2.0)}[suffix]
            loss = 0
            for c in range(4):
                one_hot = torch.eye(4, dtype=torch.float64)[c].expand(16, 4)
                bce = torch.nn.functional.binary_cross_entropy_with_logits(z, one_hot, reduction="none")
                of_c = effective(beta)[c] * ((1 - torch.exp(-bce)) ** gamma * bce).sum(-1)
                loss = loss + (t[:, c] * of_c).sum()
        loss.backward()
        gradient = jax.jit(jax.grad(lambda z, y=given_labels: LOSSES[name](z, y).sum()))(logits)
        np.testing.assert_allclose(gradient, z.grad, rtol=2e-4, atol=2e-5)


def test_poly1_agrees_with_optax():
    logits, labels, soft = batch()
    for epsilon in (2.0, -1.0):
        for given_labels, targets in ((labels, np.eye(4)[labels]), (soft, soft)):
            theirs = optax.losses.poly_loss_cross_entropy(
                jnp.asarray(logits), jnp.asarray(targets, jnp.float32), epsilon=epsilon
            )
            np.testing.assert_allclose(poly1(logits, given_labels, epsilon), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_class_balanced_focal_is_the_weighted_sum_of_optax_sigmoid_focal(gamma):
    logits, labels, _ = batch()
    theirs = optax.sigmoid_focal_loss(jnp.asarray(logits), jax.nn.one_hot(labels, 4), gamma=gamma).sum(-1)
    theirs *= priors.class_weights(COUNTS, "effective", beta=0.999)[labels]
    ours = class_balanced_focal(logits, labels, COUNTS, 0.999, gamma)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_mean_of_class_balanced_focal_agrees_with_balanced_loss():
    torch, balanced_loss = pytest.importorskip("torch"), pytest.importorskip("balanced_loss")
    logits, labels, _ = batch()
    theirs = balanced_loss.Loss(
        "focal_loss", beta=0.999, fl_gamma=0.5, samples_per_class=COUNTS, class_balanced=True
    )(torch.tensor(logits), torch.tensor(labels))
    ours = losses.weighted_mean(class_balanced_focal(logits, labels, COUNTS, 0.999), None)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


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
def test_all_but_the_sigmoids_have_cross_entropy_as_special_case(seed):
    logits, labels, soft, counts = random_problem(seed)
    for given_labels in (labels, soft):
        plain = losses.cross_entropy(logits, given_labels)
        np.testing.assert_array_equal(poly1(logits, given_labels, 0.0), plain)
        np.testing.assert_array_equal(label_aware_smoothing(logits, given_labels, counts, 0.0, 0.0), plain)
        for threshold, gamma in ((1.0, 0.0), (0.0, 1.0)):
            found = equalization(logits, given_labels, counts, KEY, threshold, gamma)
            np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6)


@few
@given(seeds, st.floats(0, 1), st.sampled_from(["concave", "linear", "convex"]))
def test_smoothing_alike_for_all_classes_is_optax_label_smoothing(seed, amount, shape):
    logits, labels, _, counts = random_problem(seed)
    smoothed = optax.smooth_labels(jax.nn.one_hot(labels, 5), amount)
    plain = optax.softmax_cross_entropy(jnp.asarray(logits, jnp.float32), smoothed)
    found = label_aware_smoothing(logits, labels, counts, amount, amount, shape)
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-5)
    equal = label_aware_smoothing(logits, labels, np.full(5, 7), amount, 0.0, shape)
    np.testing.assert_allclose(equal, plain, rtol=1e-4, atol=1e-5)


@few
@given(seeds)
def test_class_balanced_focal_at_gamma_0_is_the_weighted_sum_of_binary_cross_entropies(seed):
    logits, labels, _, counts = random_problem(seed)
    terms = losses.binary_cross_entropy(logits, np.eye(5)[labels]).sum(-1)
    expected = priors.class_weights(counts, "effective")[labels] * terms
    np.testing.assert_allclose(class_balanced_focal(logits, labels, counts, gamma=0.0), expected, rtol=2e-5)
    equal = class_balanced_focal(logits, labels, counts, beta=0.0, gamma=0.0)
    np.testing.assert_allclose(equal, terms, rtol=2e-5)


@few
@given(seeds)
def test_influence_makes_gradients_on_the_last_layer_of_one_size(seed):
    logits, labels, _, _ = random_problem(seed)
    features = np.random.default_rng(seed + 1).normal(size=(8, 3))
    with jax.enable_x64(True):
        by_logits = jax.grad(lambda z: influence_balanced(z, labels, features, alpha=1.0, epsilon=0.0).sum())(
            np.clip(logits, -5, 5)
        )
        by_weights = np.abs(by_logits[:, :, None] * features[:, None, :]).sum((1, 2))
        np.testing.assert_allclose(by_weights, 1, rtol=1e-9)


def test_influence_sends_a_gradient_to_the_features_only_if_it_is_not_a_constant():
    logits, labels, _ = batch()
    features = features_for(logits)
    for constant in (True, False):
        gradient = jax.grad(
            lambda h, c=constant: influence_balanced(logits, labels, h, constant_weight=c).sum()
        )(features)
        assert np.any(gradient != 0) != constant


@few
@given(seeds, st.sampled_from(list(LOSSES)))
def test_one_hot_labels_are_the_same_as_indices(seed, name):
    logits, labels, _ = batch(seed=seed)
    one_hot = JITTED[name](logits, np.eye(4)[labels])
    np.testing.assert_allclose(JITTED[name](logits, labels), one_hot, rtol=1e-3, atol=1e-6)


@few
@given(seeds, st.sampled_from([name for name in LOSSES if "influence" not in name]))
def test_loss_of_mixed_labels_is_the_mixture_of_the_losses(seed, name):
    logits, labels, _ = batch(seed=seed)
    others = np.roll(labels, 1)
    mixed = 0.3 * np.eye(4)[labels] + 0.7 * np.eye(4)[others]
    expected = 0.3 * JITTED[name](logits, labels) + 0.7 * JITTED[name](logits, others)
    np.testing.assert_allclose(JITTED[name](logits, mixed), expected, rtol=2e-5, atol=1e-5)


# What chance does in equalization


def test_each_rare_class_is_spared_by_its_own_draw_of_probability_gamma():
    logits = np.array([0.1, 0.2, 0.4, 0.8])
    loss = equalization(np.tile(logits, (20_000, 1)), np.zeros(20_000, int), COUNTS, KEY, 0.2, 0.7)
    seen = 0
    for spared in itertools.product([False, True], repeat=2):
        kept = np.array([True, True, not spared[0], not spared[1]])
        value = np.log(np.exp(logits[kept]).sum()) - logits[0]
        share = np.mean(np.abs(loss - value) < 1e-5)
        expected = np.prod([0.7 if each else 0.3 for each in spared])
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000)
        seen += share
    assert seen == pytest.approx(1)


@pytest.mark.parametrize("classes", [2, 5, 6])
def test_draws_do_not_repeat_between_examples_classes_and_keys(classes):
    # Uniform logits and all classes rare: the loss is the log of how many classes are kept.
    def kept(key):
        loss = equalization(jnp.zeros((4000, classes)), jnp.zeros(4000, int), np.ones(classes), key, 2.0, 0.5)
        return np.round(np.exp(loss)).astype(int)

    first, second = kept(jax.random.key(1)), kept(jax.random.key(2))
    np.testing.assert_array_equal(first, kept(jax.random.key(1)))
    binomial = 1 + (classes - 1) / 2
    assert abs(first.mean() - binomial) < 0.1
    assert abs(first.var() - (classes - 1) / 4) < 0.1
    if classes > 1:
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_at_gamma_1_a_rare_class_is_never_pushed_down_by_the_examples_of_others():
    logits, labels, _ = batch((64,))
    gradient = jax.jit(jax.grad(lambda z: LOSSES["equalization"](z, labels).sum()))(logits)
    for rare in (2, 3):
        assert not gradient[labels != rare, rare].any()
        assert (gradient[labels == rare, rare] < 0).all()


def test_where_every_class_is_rare_and_spared_nothing_is_left_to_learn():
    logits, labels, soft = batch()
    for given_labels in (labels, np.eye(4)[labels], soft):
        loss = jax.jit(lambda z, y=given_labels: equalization(z, y, COUNTS, KEY, 2.0, 1.0))
        value, pull = jax.vjp(loss, logits)
        np.testing.assert_array_equal(value, 0)
        np.testing.assert_array_equal(pull(jnp.ones_like(value))[0], 0)


def test_draws_are_the_same_on_one_and_on_four_devices():
    logits, labels, _ = batch((32,))
    loss = jax.jit(lambda z, y: equalization(z, y, COUNTS, jax.random.key(3), 0.2, 0.5))
    mesh = jax.make_mesh((4,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    split = loss(jax.device_put(logits, sharding), jax.device_put(labels, sharding))
    np.testing.assert_allclose(split, loss(logits, labels), rtol=1e-6)


# No NaN


@every_loss
def test_half_precision_logits_are_computed_in_float32(name):
    logits, labels, _ = batch()
    for dtype in (jnp.float16, jnp.bfloat16):
        rounded = jnp.asarray(logits, dtype)
        expected = reference(name, np.asarray(rounded, np.float64), np.eye(4)[labels])
        np.testing.assert_allclose(JITTED[name](rounded, labels), expected, rtol=1e-4, atol=2e-6)


def test_half_precision_features_are_summed_in_float32():
    logits, labels, _ = batch((2,))
    features = np.full((2, 4), 6e4)
    found = influence_balanced(logits, labels, jnp.asarray(features, jnp.float16))
    expected = influence_balanced(logits, labels, features)
    assert np.all(found > 0)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_smoothing_of_a_batch_in_which_some_rows_hold_minus_infinity_is_that_of_each_row():
    logits, labels, _ = batch((6,))
    counts = np.ones(4)  # smoothing 0.4 for each class
    rows = np.arange(0, 6, 2)
    logits[rows, (labels[rows] + 1) % 4] = -np.inf
    values, gradient = np.zeros(6), np.zeros((6, 4))
    for row, label in enumerate(labels):
        left = np.isfinite(logits[row])
        z, y = np.float64(logits[row, left]), np.flatnonzero(left) == label
        p = np.exp(z) / np.exp(z).sum()
        values[row] = -0.6 * np.log(p[y][0]) - 0.4 * np.log(p).mean()
        gradient[row, left] = p - 0.6 * y - 0.4 / left.sum()
    found = label_aware_smoothing(logits, labels, counts)
    np.testing.assert_allclose(found, values, rtol=1e-5)
    slopes = jax.grad(lambda z: label_aware_smoothing(z, labels, counts).sum())(logits)
    np.testing.assert_allclose(slopes, gradient, rtol=1e-4, atol=1e-6)
    by_row = jax.vmap(lambda z, y: label_aware_smoothing(z, y, counts))(logits, labels)
    np.testing.assert_allclose(by_row, found, rtol=1e-6)


def test_smoothing_keeps_its_digits_where_the_logits_are_large():
    logits, labels, _ = batch()
    logits = np.round(logits * 64) / 64
    moved = label_aware_smoothing(logits + np.float32(2**14), labels, COUNTS)
    np.testing.assert_allclose(moved, label_aware_smoothing(logits, labels, COUNTS), rtol=1e-6)


def test_smoothing_ignores_a_class_masked_by_minus_infinity():
    logits, labels = np.array([[0.0, 1.0, -np.inf, 0.5]] * 3), np.array([0, 1, 3])
    found = label_aware_smoothing(logits, labels, COUNTS, 0.3, 0.3)
    rest = label_aware_smoothing(logits[:, [0, 1, 3]], [0, 1, 2], COUNTS[[0, 1, 3]], 0.3, 0.3)
    np.testing.assert_allclose(found, rest, rtol=1e-6)


@every_loss
def test_label_outside_the_classes_shows_as_nan_unless_its_weight_is_0(name):
    logits, labels, _ = batch((12,))
    padded = jnp.concatenate([labels[:8], jnp.array([-1, 4, 255, -100])])
    expected = reference(name, logits, np.eye(4)[np.where(np.arange(12) < 8, labels, 0)])[:8]
    loss = JITTED[name](logits, padded)
    np.testing.assert_allclose(loss[:8], expected, rtol=1e-4, atol=2e-6)
    assert np.isnan(loss[8:]).all()

    mean = lambda z: losses.weighted_mean(LOSSES[name](z, padded), jnp.arange(12) < 8)  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(mean))(logits)
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-4)
    assert np.isfinite(gradient).all()
    assert not gradient[8:].any()


# Bad input, and traced input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: poly1(z, y[:3]), r"labels have shape \(3,\) and logits \(16, 4\)"),
        (lambda z, y: poly1(z, y + 1), "labels hold 4, allowed are 0 to 3"),
        (lambda z, y: poly1(z, y, -1.5), "epsilon is -1.5, expected a finite number -1 or above"),
        (lambda z, y: poly1(z, y, np.inf), "epsilon is inf"),
        (lambda z, y: poly1(z, y, [1.0]), r"epsilon has shape \(1,\)"),
        (lambda z, y: equalization(z, y, COUNTS[:3], KEY), r"counts has shape \(3,\)"),
        (lambda z, y: equalization(z, y, [9, -4, 0, 1], KEY), r"counts\[1\] is -4"),
        (lambda z, y: equalization(z, y, COUNTS, KEY, -0.1), "threshold is -0.1"),
        (lambda z, y: equalization(z, y, COUNTS, KEY, gamma=1.1), "gamma is 1.1, expected 0 to 1"),
        (lambda z, y: influence_balanced(z, y, np.ones(16)), r"features have shape \(16,\) and logits"),
        (lambda z, y: influence_balanced(z, y, np.ones((15, 3))), r"features have shape \(15, 3\)"),
        (lambda z, y: influence_balanced(z, y, np.ones((16, 3)), [1, 2]), r"class_weights has shape \(2,\)"),
        (lambda z, y: influence_balanced(z, y, np.ones((16, 3)), -WEIGHTS), r"class_weights\[0\] is -0.5"),
        (lambda z, y: influence_balanced(z, y, np.ones((16, 3)), alpha=-1), "alpha is -1"),
        (lambda z, y: influence_balanced(z, y, np.ones((16, 3)), epsilon=-1), "epsilon is -1"),
        (
            lambda z, y: label_aware_smoothing(z, y, COUNTS, shape="round"),
            "shape is 'round', allowed are concave",
        ),
        (lambda z, y: label_aware_smoothing(z, y, COUNTS, 1.2), "head is 1.2, expected 0 to 1"),
        (lambda z, y: label_aware_smoothing(z, y, COUNTS, 0.4, -0.1), "tail is -0.1"),
        (lambda z, y: label_aware_smoothing(z, y, [1, 2, 3, np.nan]), r"counts\[3\] is nan"),
        (lambda z, y: class_balanced_focal(z, y, [9, 4, 0, 1]), r"counts\[2\] is 0"),
        (lambda z, y: class_balanced_focal(z, y, COUNTS / COUNTS.sum()), "counts are at most 0.6"),
        (lambda z, y: class_balanced_focal(z, y, COUNTS, 1.0), "beta is 1"),
        (lambda z, y: class_balanced_focal(z, y, COUNTS, -0.1), "beta is -0.1"),
        (lambda z, y: class_balanced_focal(z, y, COUNTS, gamma=-0.5), "gamma is -0.5"),
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
        (equalization, [(COUNTS, KEY, 0.2, 0.5), (COUNTS[::-1].copy(), KEY + 1, 0.3, 0.9)]),
        (
            influence_balanced,
            [(np.ones((16, 3)), WEIGHTS, 10.0, 0.1), (np.ones((16, 3)), WEIGHTS * 2, 1.0, 1.0)],
        ),
        (label_aware_smoothing, [(COUNTS, 0.4, 0.1), (COUNTS[::-1].copy(), 0.3, 0.0)]),
        (poly1, [(1.0,), (-0.5,)]),
        (class_balanced_focal, [(COUNTS, 0.9, 0.5), (COUNTS[::-1].copy(), 0.0, 2.0)]),
    ],
)
def test_traced_parameters_give_the_same_values_and_one_compilation(loss, sweep):
    logits, labels, _ = batch()
    jitted = CountedJit(lambda *arguments: loss(*arguments))
    for values in sweep:
        expected = loss(logits, labels, *values)
        np.testing.assert_allclose(jitted(logits, labels, *values), expected, rtol=1e-4, atol=1e-6)
    assert jitted.traces == 1
