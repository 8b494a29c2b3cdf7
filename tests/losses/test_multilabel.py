"""Losses that weigh a label by the others of its item, and what all losses of many labels promise."""

import importlib.util
from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import CountedJit
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax import losses, priors
from imbal_jax.losses.multilabel import class_balanced_sigmoid_focal, distribution_balanced
from imbal_jax.losses.sigmoid import asymmetric, sigmoid_focal

COUNTS = np.array([50, 400, 3])
TOTAL = 1000


def batch(shape: tuple[int, ...] = (10, 3), seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, targets in {0, 1} with one item of no positives, soft targets."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=shape).astype(np.float32) * 3
    hard = random.integers(2, size=shape)
    hard.reshape(-1, shape[-1])[0] = 0
    return logits, hard, random.uniform(size=shape)


def timm_losses(name: str) -> tuple[ModuleType, ModuleType]:
    """torch, and one module of timm's losses by its path: all of timm would need torchvision."""
    torch = pytest.importorskip("torch")
    package = importlib.util.find_spec("timm")
    path = package and Path(package.submodule_search_locations[0]) / "loss" / f"{name}.py"
    if not path or not path.is_file():
        pytest.skip(f"no timm with loss/{name}.py")
    spec = importlib.util.spec_from_file_location(f"timm_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return torch, module


def weights_reference(t, alpha=0.1, beta=10.0, mu=0.2):
    class_level = 1 / COUNTS.astype(np.float64)
    item_level = (t * class_level).sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return alpha + 1 / (1 + np.exp(-beta * (class_level / item_level - mu)))


def distribution_balanced_reference(
    z, t, *, alpha=0.1, beta=10.0, mu=0.2, scale=2.0, kappa=0.05, gamma=2.0, total=TOTAL
):
    moved = np.asarray(z, np.float64) - kappa / scale * np.log(total / COUNTS - 1)
    s, tolerant = 1 / (1 + np.exp(-moved)), 1 / (1 + np.exp(-scale * moved))
    rest = 1 / (1 + np.exp(scale * moved))  # 1 - tolerant, without its cancellation
    positive = (1 - s) ** gamma * -np.log(s)
    negative = tolerant**gamma * -np.log(rest) / scale
    return weights_reference(t, alpha, beta, mu) * (t * positive + (1 - t) * negative)


def class_balanced_reference(z, t, *, beta=0.9999, gamma=2.0, weigh="item"):
    s = 1 / (1 + np.exp(-np.asarray(z, np.float64)))
    positive, negative = (1 - s) ** gamma * -np.log(s), s**gamma * -np.log(1 - s)
    weights = (1 - beta) / (1 - beta**COUNTS)
    weights = weights / weights.sum() * len(COUNTS)
    if weigh == "positives":
        return t * weights * positive + (1 - t) * negative
    present = t.sum(-1, keepdims=True)
    item = np.where(present > 0, (t * weights).sum(-1, keepdims=True) / np.maximum(present, 1e-300), 1)
    return item * (t * positive + (1 - t) * negative)


def balanced(z, t, **options):
    return distribution_balanced(z, t, COUNTS, options.pop("total", TOTAL), **options)


def class_balanced(z, t, **options):
    return class_balanced_sigmoid_focal(z, t, COUNTS, **options)


AGREE = [
    (balanced, distribution_balanced_reference, {}),
    (balanced, distribution_balanced_reference, {"gamma": 0.0, "total": np.array([900, 1000, 4])}),
    (balanced, distribution_balanced_reference, {"gamma": 0.5, "scale": 5.0, "mu": 0.3, "kappa": 0.5}),
    (balanced, distribution_balanced_reference, {"alpha": 0.0, "beta": 0.5}),
    (class_balanced, class_balanced_reference, {}),
    (class_balanced, class_balanced_reference, {"beta": 0.9, "gamma": 0.5}),
    (class_balanced, class_balanced_reference, {"beta": 0.99, "gamma": 0.0, "weigh": "positives"}),
]


@pytest.mark.parametrize(("loss", "formula", "options"), AGREE)
@pytest.mark.parametrize("shape", [(10, 3), (2, 5, 3), (3,)])
def test_values_agree_with_the_formula_for_any_leading_dimensions(loss, formula, options, shape):
    logits, hard, soft = batch(shape)
    for targets in (hard, hard.astype(bool), soft):
        ours = loss(logits, targets, **options)
        assert ours.shape == shape
        assert ours.dtype == jnp.float32
        expected = formula(logits, targets.astype(np.float64), **options)
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("loss", "formula", "options"), AGREE)
def test_float64_values_and_gradients_agree_with_the_formula_and_its_differences(loss, formula, options):
    logits, _, soft = batch((40, 3))
    logits = logits.astype(np.float64)
    step = 1e-5
    slope = (formula(logits + step, soft, **options) - formula(logits - step, soft, **options)) / (2 * step)
    with jax.enable_x64(True):
        ours, pull = jax.vjp(lambda z: loss(z, soft, **options), jnp.asarray(logits))
        assert ours.dtype == jnp.float64
        np.testing.assert_allclose(ours, formula(logits, soft, **options), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(pull(jnp.ones_like(ours))[0], slope, rtol=1e-6, atol=1e-8)


def test_distribution_balanced_loss_has_the_value_computed_by_hand():
    # N / n - 1 = 4 and 1/4: with kappa = 1 and lambda = 2 the logits log 2 and -log 2 are moved to 0
    logits = np.array([[np.log(2), -np.log(2)]] * 2)
    options = {"alpha": 0.5, "beta": np.log(3), "mu": 0.8, "scale": 2.0, "kappa": 1.0, "gamma": 0.0}
    loss = distribution_balanced(logits, [[1, 1], [0, 0]], [10, 40], 50, **options)
    # first item: 1/n = 4/40 and 1/40 sum to 5/40, r = 0.8 and 0.2; second: no positive, W = 1.5
    far = 0.5 + 1 / (1 + 3**0.6)
    expected = [[1.0 * np.log(2), far * np.log(2)], [0.75 * np.log(2), 0.75 * np.log(2)]]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_items_without_a_positive_have_the_largest_weight_of_the_distribution_balanced_loss():
    logits = np.zeros((1, 3), np.float32)
    loss = balanced(logits, np.zeros((1, 3)), alpha=0.1, scale=1.0, kappa=0.0, gamma=0.0)
    np.testing.assert_allclose(loss, 1.1 * np.log(2) * np.ones((1, 3)), rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("options", [{}, {"mu": 0.3, "scale": 5.0, "alpha": 0.2, "beta": 3.0, "kappa": 0.5}])
def test_distribution_balanced_value_and_gradient_agree_with_timm(gamma, options):
    torch, module = timm_losses("distribution_balanced_loss")
    theirs = module.DistributionBalancedLoss(
        COUNTS,
        TOTAL,
        map_alpha=options.get("alpha", 0.1),
        map_beta=options.get("beta", 10.0),
        map_mu=options.get("mu", 0.2),
        neg_scale=options.get("scale", 2.0),
        init_bias=options.get("kappa", 0.05),
        focal_gamma=gamma,
        focal_balance=1.0,
        reduction="none",
    )
    logits, hard, soft = batch((40, 3))
    for targets in (hard, soft):
        z = torch.tensor(logits, requires_grad=True)
        expected = theirs(z, torch.tensor(targets))
        expected.sum().backward()
        ours, pull = jax.vjp(lambda z, t=targets: balanced(z, t, gamma=gamma, **options), logits)
        np.testing.assert_allclose(ours, expected.detach(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(pull(jnp.ones_like(ours))[0], z.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("differentiate_weight", [True, False])
@pytest.mark.parametrize("options", [{}, {"gamma_pos": 0.5, "gamma_neg": 2.0, "clip": 0.1}])
def test_asymmetric_value_and_gradient_agree_with_timm_for_targets_0_and_1(options, differentiate_weight):
    torch, module = timm_losses("asymmetric_loss")
    theirs = module.AsymmetricLossMultiLabel(
        gamma_pos=options.get("gamma_pos", 1.0),
        gamma_neg=options.get("gamma_neg", 4.0),
        clip=options.get("clip", 0.05),
        disable_torch_grad_focal_loss=not differentiate_weight,
        reduction="none",
    )
    logits, hard, _ = batch((40, 3))
    z = torch.tensor(logits, requires_grad=True)
    expected = theirs(z, torch.tensor(hard))
    expected.sum().backward()
    ours, pull = jax.vjp(
        lambda z: asymmetric(z, hard, **options, differentiate_weight=differentiate_weight), logits
    )
    np.testing.assert_allclose(ours, expected.detach(), rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(pull(jnp.ones_like(ours))[0], z.grad, rtol=2e-5, atol=2e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_distribution_balanced_loss_without_shift_scale_and_focus_is_weighted_cross_entropy(seed):
    logits, hard, soft = batch(seed=seed)
    for targets in (hard, soft):
        ours = balanced(logits, targets, kappa=0.0, scale=1.0, gamma=0.0)
        expected = weights_reference(targets) * losses.binary_cross_entropy(logits, targets)
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2))
def test_hiding_a_label_is_dropping_it(seed, label):
    logits, hard, _ = batch(seed=seed)
    mask = np.arange(3) != label
    ours = distribution_balanced(logits, hard, COUNTS, TOTAL, mask=mask)
    dropped = distribution_balanced(logits[:, mask], hard[:, mask], COUNTS[mask], TOTAL)
    np.testing.assert_allclose(ours[:, mask], dropped, rtol=1e-5, atol=1e-7)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["item", "positives"]))
def test_class_balanced_loss_is_focal_at_beta_0_and_for_equal_counts(seed, weigh):
    logits, hard, soft = batch(seed=seed)
    for targets in (hard, soft):
        focal = sigmoid_focal(logits, targets)
        ours = class_balanced_sigmoid_focal(logits, targets, COUNTS, np.float64(0), weigh=weigh)
        np.testing.assert_allclose(ours, focal, rtol=1e-5, atol=1e-6)
        ours = class_balanced_sigmoid_focal(logits, targets, [7, 7, 7], weigh=weigh)
        np.testing.assert_allclose(ours, focal, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.9999])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_class_balanced_loss_of_items_of_one_label_agrees_with_balanced_loss(beta, gamma):
    torch = pytest.importorskip("torch")
    balanced_loss = pytest.importorskip("balanced_loss")
    logits, _, _ = batch((40, 3))
    labels = np.arange(40) % 3
    theirs = balanced_loss.Loss("focal_loss", beta, gamma, samples_per_class=COUNTS, class_balanced=True)
    expected = theirs(torch.tensor(logits), torch.tensor(labels))
    ours = class_balanced_sigmoid_focal(logits, np.eye(3)[labels], COUNTS, beta, gamma).sum() / 40
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("beta", [0.99, 0.9999, 1 - 1e-9])
def test_class_balanced_weights_are_those_of_the_priors(beta):
    weights = priors.class_weights(COUNTS, "effective", beta=beta)
    logits = np.zeros((3, 3), np.float32)
    for options, expected in (
        ({}, np.log(2) * np.tile(weights[:, None], 3)),
        ({"weigh": "positives"}, np.log(2) * np.where(np.eye(3), weights, 1)),
    ):
        ours = class_balanced_sigmoid_focal(logits, np.eye(3), COUNTS, beta, 0.0, **options)
        np.testing.assert_allclose(ours, expected, rtol=2e-6)


def test_traced_counts_and_options_do_not_recompile():
    logits, hard, _ = batch()
    first, second = (
        CountedJit(partial(distribution_balanced)),
        CountedJit(partial(class_balanced_sigmoid_focal)),
    )
    for counts, total, mu in (([50, 400, 3], 1000, 0.2), ([5, 5, 5], 10, 0.3)):
        counts = np.array(counts)
        expected = distribution_balanced(logits, hard, counts, total, mu=mu)
        ours = first(logits, hard, counts, total, mu=mu)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)
        ours = second(logits, hard, counts, 0.9, mu)
        expected = class_balanced_sigmoid_focal(logits, hard, counts, 0.9, mu)
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
    assert first.traces == second.traces == 1


@pytest.mark.parametrize("counts", [[0, 10, 0], [10, 10, 10], [0, 0, 0]])
@pytest.mark.parametrize("beta", [0.0, 10.0])
def test_traced_counts_of_no_positives_or_no_negatives_stay_finite(counts, beta):
    logits, hard, _ = batch()

    @jax.jit
    def value_and_gradient(counts):
        def both(z):
            first = distribution_balanced(z, hard, counts, 10, beta=beta)
            return (first + class_balanced_sigmoid_focal(z, hard, counts)).sum()

        return jax.jit(jax.value_and_grad(both))(logits)

    value, gradient = value_and_gradient(np.array(counts))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_weights_are_constants_when_targets_are_differentiated():
    logits, _, _ = batch((2, 3))
    for loss in (balanced, class_balanced):
        gradient = jax.jit(jax.grad(lambda t, f=loss: f(logits, t).sum()))(jnp.zeros((2, 3)))
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, t: distribution_balanced(z, t, [1, 2], 9), r"counts has shape \(2,\)"),
        (lambda z, t: distribution_balanced(z, t, [1, 0, 2], 9), r"counts\[1\] is 0"),
        (lambda z, t: distribution_balanced(z, t, [1, 9, 2], 9), r"counts\[1\] is 9 of a total of 9"),
        (lambda z, t: distribution_balanced(z, t, [1, 2, 9], [5, 5, 5]), r"counts\[2\] is 9 of a total of 5"),
        (lambda z, t: distribution_balanced(z, t, [1, 2, 3], [5, 5]), r"total has shape \(2,\)"),
        (lambda z, t: balanced(z, t, alpha=-1.0), "alpha is -1"),
        (lambda z, t: balanced(z, t, beta=np.inf), "beta is inf"),
        (lambda z, t: balanced(z, t, mu=-2.0), "mu is -2"),
        (lambda z, t: balanced(z, t, scale=0.0), "scale is 0"),
        (lambda z, t: balanced(z, t, scale=-1.0), "scale is -1"),
        (lambda z, t: balanced(z, t, kappa=[1.0]), r"kappa has shape \(1,\)"),
        (lambda z, t: balanced(z, t, gamma=-3.0), "gamma is -3"),
        (lambda z, t: balanced(z, t - 1), r"targets\[0, 0\] is -1"),
        (lambda z, t: balanced(z, t, mask=np.ones(2)), r"mask values of shape \(2,\)"),
        (lambda z, t: class_balanced_sigmoid_focal(z, t, [1, 0, 2]), r"counts\[1\] is 0"),
        (lambda z, t: class_balanced(z, t, beta=1.0), "beta is 1, expected from 0 to below 1"),
        (lambda z, t: class_balanced(z, t, beta=-0.1), "beta is -0.1"),
        (lambda z, t: class_balanced_sigmoid_focal(z, t, [0.1, 0.2, 0.7]), "counts are at most 0.7"),
        (lambda z, t: class_balanced(z, t, gamma=-1.0), "gamma is -1"),
        (
            lambda z, t: class_balanced(z, t, weigh="all"),
            "weigh is 'all', allowed are 'item' and 'positives'",
        ),
    ],
)
def test_bad_static_input_raises_naming_the_value(call, message):
    logits, hard, _ = batch()
    with pytest.raises(ValueError, match=message):
        call(logits, hard)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda z: call(z, hard))(logits)


# What all losses of many labels promise.

ALL = {
    "focal": sigmoid_focal,
    "focal, weak": lambda z, t, mask=None: sigmoid_focal(z, t, gamma=0.1, alpha=0.25, mask=mask),
    "asymmetric": asymmetric,
    "asymmetric, weak": lambda z, t, mask=None: asymmetric(
        z, t, gamma_pos=0.3, gamma_neg=0.01, clip=0.0, mask=mask
    ),
    "asymmetric, none": lambda z, t, mask=None: asymmetric(
        z, t, gamma_pos=0.0, gamma_neg=0.0, clip=0.0, mask=mask
    ),
    "distribution balanced": lambda z, t, mask=None: distribution_balanced(z, t, COUNTS, 1000, mask=mask),
    "distribution balanced, weak": lambda z, t, mask=None: distribution_balanced(
        z, t, COUNTS, 1000, gamma=0.2, scale=5.0, beta=0.0, mask=mask
    ),
    "class balanced": lambda z, t, mask=None: class_balanced_sigmoid_focal(z, t, COUNTS, mask=mask),
    "class balanced, weak": lambda z, t, mask=None: class_balanced_sigmoid_focal(
        z, t, COUNTS, 0.9, 0.5, mask, weigh="positives"
    ),
}
every_loss = pytest.mark.parametrize("loss", ALL.values(), ids=ALL)


@every_loss
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_every_value_and_gradient_is_finite_for_huge_logits_and_a_batch_of_one_kind(loss, dtype):
    logits = jnp.asarray([[1e4, -1e4, 0], [6e4, -6e4, 1e-7], [90, -90, 104], [-104, 17, -17]], dtype)
    for value in (0, 1, 0.5):
        ours, pull = jax.vjp(lambda z, v=value: loss(z, np.full(z.shape, v)), logits)
        (gradient,) = pull(jnp.ones_like(ours))
        assert ours.dtype == jnp.float32
        assert gradient.dtype == dtype
        assert np.isfinite(ours).all()
        assert np.isfinite(gradient).all()


@every_loss
def test_every_loss_hides_masked_labels_in_value_and_gradient_whatever_they_hold(loss):
    logits, hard, _ = batch()
    mask = np.random.default_rng(1).integers(2, size=hard.shape)
    # another label may look at a hidden one only as it looks at a negative
    expected = np.where(mask, loss(logits, np.where(mask, hard, 0)), 0)
    for unknown in (-1.0, np.nan, np.inf, 1.0):
        targets = np.where(mask, hard, unknown)
        broken = np.where(mask, logits, np.nan).astype(np.float32)
        ours, pull = jax.vjp(lambda z, t=targets: loss(z, t, mask=mask), broken)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-7)
        (gradient,) = pull(jnp.ones_like(ours))
        assert not np.asarray(gradient)[mask == 0].any()
        assert np.isfinite(gradient).all()


@every_loss
def test_every_loss_shows_a_traced_target_outside_0_and_1_as_nan_with_gradient_0(loss):
    targets = jnp.array([[1, -1, 2], [1, jnp.nan, jnp.inf]])
    ours, pull = jax.vjp(lambda z: loss(z, targets), jnp.zeros((2, 3)))
    np.testing.assert_array_equal(np.isnan(ours), [[False, True, True]] * 2)
    (gradient,) = pull(jnp.ones_like(ours))
    assert (np.asarray(gradient)[:, 0] != 0).all()
    assert not np.asarray(gradient)[:, 1:].any()


@every_loss
def test_every_loss_pulls_positives_up_and_negatives_down(loss):
    logits, hard, _ = batch()
    gradient = jax.jit(jax.grad(lambda z: loss(z, hard).sum()))(logits * 0.3)
    assert (np.sign(gradient) == 1 - 2 * hard).all()


@every_loss
def test_every_loss_is_the_same_under_jit(loss):
    logits, _, soft = batch()
    mask = np.array([True, False, True])
    np.testing.assert_allclose(
        jax.jit(loss)(logits, soft, mask=mask), loss(logits, soft, mask=mask), rtol=1e-5, atol=1e-6
    )
