"""Ranking losses: literals, loops over the pairs, laws, empty classes, and the same on four devices."""

from functools import cache, partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import CountedJit
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from sklearn.metrics import average_precision_score, roc_auc_score

from imbal_jax.losses import global_batch, pairs
from imbal_jax.losses.ranking import auc_margin, pairwise_auc, partial_auc, smooth_ap, soft_partial_auc

A, B, ALPHA = 0.3, 0.2, 0.5

# Every loss as a function of scores and targets; mask and axis_name by keyword.
LOSSES = {
    "auc_margin": partial(auc_margin, a=A, b=B, alpha=ALPHA, margin=0.8),
    "auc_margin_prior": partial(auc_margin, a=A, b=B, alpha=ALPHA, margin=0.8, prior=0.1),
    "squared": partial(pairwise_auc, margin=0.8),
    "squared_hinge": partial(pairwise_auc, surrogate="squared_hinge"),
    "hinge": partial(pairwise_auc, surrogate="hinge", margin=0.3),
    "logistic": partial(pairwise_auc, surrogate="logistic"),
    "partial": partial(partial_auc, max_fpr=0.3),
    "partial_logistic": partial(partial_auc, max_fpr=0.3, surrogate="logistic"),
    "soft_partial": partial(soft_partial_auc, temperature=0.7),
    "smooth_ap": partial(smooth_ap, temperature=0.2),
}
# Compiled once for each shape and dtype: (scores, targets, mask) -> (value, gradient).
COMPILED = {
    name: jax.jit(jax.value_and_grad(lambda s, y, mask, f=loss: f(s, y, mask=mask)))
    for name, loss in LOSSES.items()
}
auc_margin_of = jax.jit(auc_margin)
pairwise_of = jax.jit(pairwise_auc, static_argnums=2)
partial_of = jax.jit(partial_auc, static_argnums=3)
soft_partial_of = jax.jit(soft_partial_auc, static_argnums=3)
smooth_ap_of = jax.jit(smooth_ap)

every_loss = pytest.mark.parametrize("name", LOSSES)
PAIRWISE = [name for name in LOSSES if name != "auc_margin_prior"]

SURROGATES = {
    "squared": lambda t: (0.8 - t) ** 2,
    "squared_hinge": lambda t: max(0, 1 - t) ** 2,
    "hinge": lambda t: max(0, 0.3 - t),
    "logistic": lambda t: np.log(1 + np.exp(-t)),
    "partial": lambda t: max(0, 1 - t) ** 2,
    "partial_logistic": lambda t: np.log(1 + np.exp(-t)),
    "soft_partial": lambda t: max(0, 1 - t) ** 2,
}


def reference(name: str, scores: np.ndarray, targets: np.ndarray) -> float:
    """The losses above for scores [B], loop by loop in NumPy float64."""
    scores = np.asarray(scores, np.float64)
    positives, negatives = scores[targets == 1], scores[targets == 0]
    if name == "auc_margin":
        spread = np.mean((positives - A) ** 2) + np.mean((negatives - B) ** 2)
        return spread + 2 * ALPHA * (0.8 + negatives.mean() - positives.mean()) - ALPHA**2
    if name == "auc_margin_prior":
        p, total = 0.1, 0.0
        for h, y in zip(scores, targets, strict=True):
            total += (1 - p) * (h - A) ** 2 * (y == 1) + p * (h - B) ** 2 * (y == 0)
            total += 2 * ALPHA * (p * (1 - p) * 0.8 + p * h * (y == 0) - (1 - p) * h * (y == 1))
            total -= p * (1 - p) * ALPHA**2
        return total / len(scores)
    if name == "smooth_ap":
        total = 0.0
        for i in np.flatnonzero(targets == 1):
            rank, rank_among_positives = 1.0, 1.0
            for j in range(len(scores)):
                if j != i:
                    above = 1 / (1 + np.exp(-(scores[j] - scores[i]) / 0.2))
                    rank += above
                    rank_among_positives += above * (targets[j] == 1)
            total += rank_among_positives / rank
        return 1 - total / len(positives)
    costs = np.array([[SURROGATES[name](h - g) for g in negatives] for h in positives])
    if name == "soft_partial":
        return np.mean(0.7 * np.log(np.mean(np.exp(costs / 0.7), axis=1)))
    if name.startswith("partial"):
        # The conditional value at risk by its definition: a convex, piecewise linear function of s, whose
        # minimum is at one of its kinks.
        k = 0.3 * len(negatives)
        return np.mean([min(s + np.maximum(0, row - s).sum() / k for s in row) for row in costs])
    return costs.mean()


def batch(size: int = 24, num_positive: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    scores = random.normal(size=size).astype(np.float32)
    return scores, random.permutation(np.arange(size) < num_positive).astype(int)


def columns(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets [24, 4]; class 1 has no positives and class 3 no negatives."""
    scores, targets = zip(*(batch(num_positive=n, seed=seed + n) for n in (5, 0, 12, 24)), strict=True)
    return np.stack(scores, 1), np.stack(targets, 1)


def value_and_gradient(name: str, scores, targets, mask=None) -> tuple[np.ndarray, np.ndarray]:
    mask = np.ones(np.shape(scores), bool) if mask is None else mask
    value, gradient = COMPILED[name](scores, targets, mask)
    return np.asarray(value), np.asarray(gradient)


# Literals


def test_losses_have_the_values_computed_by_hand():
    scores, targets = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
    # t = h+ - h- is 0.25, -0.05, 0.7, 0.4
    expected = {
        "auc_margin_prior": 0.144063,  # also LibAUC 2.0.1 and MONAI 1.6.1
        "auc_margin": 0.576250,  # also MONAI 1.6.1; LibAUC 2.0.1 gives 0.451250, see its issue 74
        "squared": (0.75**2 + 1.05**2 + 0.3**2 + 0.6**2) / 4,
        "hinge": (0.25 + 0.55 + 0 + 0.1) / 4,
        "logistic": np.log((1 + np.exp([-0.25, 0.05, -0.7, -0.4])).prod()) / 4,
        "partial": (1.05**2 + 0.6**2) / 2,  # the upper half of the negatives is 0.4
        "soft_partial": np.log(np.exp([0.75**2, 1.05**2]).mean() * np.exp([0.3**2, 0.6**2]).mean()) / 2,
    }
    found = {
        "auc_margin_prior": auc_margin(scores, targets, A, B, ALPHA, prior=0.5),
        "auc_margin": auc_margin(scores, targets, A, B, ALPHA),
        "squared": pairwise_auc(scores, targets),
        "hinge": pairwise_auc(scores, targets, "hinge", 0.5),
        "logistic": pairwise_auc(scores, targets, "logistic"),
        "partial": partial_auc(scores, targets, 0.5),
        "soft_partial": soft_partial_auc(scores, targets, 1.0),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=6e-7, err_msg=name)


def test_smooth_ap_has_the_value_computed_by_hand():
    loss = smooth_ap(np.log([1.0, 3.0, 2.0]), np.array([1, 1, 0]), temperature=1.0)
    # sigmoid(log u - log v) = u / (u + v): the first is 1 + 3/4 among positives, 1 + 3/4 + 2/3 among all
    np.testing.assert_allclose(loss, 1 - ((7 / 4) / (29 / 12) + (5 / 4) / (33 / 20)) / 2, rtol=1e-6)


# Oracles


@every_loss
@pytest.mark.parametrize("num_positive", [1, 5, 12, 23])
def test_loss_agrees_with_loops_over_the_pairs(name, num_positive):
    scores, targets = batch(num_positive=num_positive)
    value, _ = value_and_gradient(name, scores, targets)
    assert value.shape == ()
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, reference(name, scores, targets), rtol=2e-5, atol=1e-6)


@every_loss
def test_loss_of_float64_scores_is_computed_in_float64(name):
    scores, targets = batch()
    with jax.enable_x64(True):
        value, _ = value_and_gradient(name, scores.astype(np.float64), targets)
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, reference(name, scores, targets), rtol=1e-12)


def test_targets_may_be_bool_or_float_and_the_batch_one_pair():
    scores, targets = np.array([0.2, 0.7]), np.array([0, 1])
    for given_targets in (targets, targets.astype(bool), targets.astype(np.float32), [0, 1]):
        np.testing.assert_allclose(pairwise_auc(scores, given_targets), 0.25, rtol=1e-6)
        np.testing.assert_allclose(partial_auc(scores, given_targets), 0.25, rtol=1e-6)


@pytest.mark.parametrize("name", PAIRWISE)
def test_loss_of_many_classes_is_the_mean_over_those_with_both_kinds(name):
    scores, targets = columns()
    expected = np.mean([reference(name, scores[:, c], targets[:, c]) for c in (0, 2)])
    value, gradient = value_and_gradient(name, scores, targets)
    np.testing.assert_allclose(value, expected, rtol=2e-5)
    np.testing.assert_array_equal(gradient[:, [1, 3]], 0)
    assert np.abs(gradient[:, [0, 2]]).max(axis=0).all()


def test_auc_margin_of_many_classes_takes_variables_of_each():
    scores, targets = columns()
    a, b, alpha = (
        np.array([0.1, 0.2, 0.3, 0.4]),
        np.array([0.0, 0.1, -0.1, 0.2]),
        np.array([0.5, 0.1, 0.9, 1]),
    )
    for prior, counted in ((None, [0, 2]), (np.array([0.1, 0.2, 0.3, 0.4]), range(4))):
        alone = [
            auc_margin_of(s, y, *v, 1.0, p)
            for s, y, *v, p in zip(
                scores.T, targets.T, a, b, alpha, [None] * 4 if prior is None else prior, strict=True
            )
        ]
        together = auc_margin_of(scores, targets, a, b, alpha, 1.0, prior)
        alone = [alone[c] for c in counted]
        np.testing.assert_allclose(together, np.mean(alone), rtol=1e-6)


@every_loss
def test_gradient_agrees_with_torch_autograd(name):
    torch = pytest.importorskip("torch")
    scores, targets = batch()
    h = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    positives, negatives = h[targets == 1], h[targets == 0]
    t = positives[:, None] - negatives
    zero = torch.zeros(())
    costs = {
        "squared": (0.8 - t) ** 2,
        "hinge": torch.maximum(0.3 - t, zero),
        "logistic": torch.log1p(torch.exp(-t)),
        "partial_logistic": torch.log1p(torch.exp(-t)),
    }.get(name, torch.maximum(1 - t, zero) ** 2)
    if name == "auc_margin":
        loss = ((positives - A) ** 2).mean() + ((negatives - B) ** 2).mean() - ALPHA**2
        loss = loss + 2 * ALPHA * (0.8 + negatives.mean() - positives.mean())
    elif name == "auc_margin_prior":
        of_positives = (0.9 * (positives - A) ** 2 - 2 * ALPHA * 0.9 * positives).sum()
        of_negatives = (0.1 * (negatives - B) ** 2 + 2 * ALPHA * 0.1 * negatives).sum()
        loss = (of_positives + of_negatives) / len(h)
    elif name == "smooth_ap":
        above = torch.sigmoid((h[None, :] - positives[:, None]) / 0.2)
        of_positives = 0.5 + above[:, targets == 1].sum(1)
        loss = 1 - (of_positives / (0.5 + above.sum(1))).mean()
    elif name == "soft_partial":
        loss = 0.7 * torch.log(torch.exp(costs / 0.7).mean(1)).mean()
    elif name.startswith("partial"):
        top = torch.sort(costs, dim=1, descending=True).values[:, :6]  # k = 0.3 * 19 = 5.7
        loss = (top @ torch.tensor([1.0, 1, 1, 1, 1, 0.7], dtype=torch.float64) / 5.7).mean()
    else:
        loss = costs.mean()
    loss.backward()
    _, gradient = value_and_gradient(name, scores, targets)
    np.testing.assert_allclose(gradient, h.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("prior", [None, 0.1])
def test_gradients_of_a_b_and_alpha_agree_with_the_derivatives_by_hand(prior):
    scores, targets = batch()
    positives, negatives = scores[targets == 1], scores[targets == 0]
    found = jax.jit(jax.grad(lambda v: auc_margin(scores, targets, *v, 0.8, prior)))([A, B, ALPHA])
    expected = [
        2 * (A - positives.mean()),
        2 * (B - negatives.mean()),
        2 * (0.8 + negatives.mean() - positives.mean()) - 2 * ALPHA,
    ]
    if prior:
        share = 5 / 24
        p = prior
        gap = p * negatives.sum() / 24 - (1 - p) * positives.sum() / 24
        expected = [
            expected[0] * (1 - p) * share,
            expected[1] * p * (1 - share),
            2 * (p * (1 - p) * 0.8 + gap) - 2 * p * (1 - p) * ALPHA,
        ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_second_derivative_of_the_squared_loss_by_moments_is_that_of_the_pairs():
    scores, targets = batch(10, 3)
    with jax.enable_x64(True):
        scores = jnp.asarray(scores, jnp.float64)
        pairs = jax.jit(
            jax.hessian(lambda s: jnp.mean((1 - s[targets == 1][:, None] + s[targets == 0]) ** 2))
        )(scores)
        moments = jax.jit(jax.hessian(lambda s: pairwise_auc(s, targets)))(scores)
        np.testing.assert_allclose(moments, pairs, atol=1e-12)


# Laws

seeds = st.integers(0, 2**31)
few = settings(max_examples=15, deadline=None)


def random_problem(seed: int, size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Scores of any scale, often with ties, in float64, and targets with both kinds."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=size) * 10.0 ** random.uniform(-1, 1)
    if seed % 2:
        scores = np.round(scores)
    return scores, random.permutation(np.arange(size) < random.integers(1, size)).astype(int)


@few
@given(seeds, st.sampled_from([n for n in LOSSES if not n.startswith("auc_margin")]), st.floats(-50, 50))
def test_a_constant_added_to_the_scores_changes_nothing(seed, name, constant):
    scores, targets = random_problem(seed)
    with jax.enable_x64(True):
        value, _ = value_and_gradient(name, scores, targets)
        moved, _ = value_and_gradient(name, scores + constant, targets)
        np.testing.assert_allclose(moved, value, rtol=1e-7, atol=1e-7)


@few
@given(seeds, st.sampled_from(list(LOSSES)))
def test_order_of_the_batch_changes_nothing_also_where_scores_are_equal(seed, name):
    scores, targets = random_problem(seed)
    order = np.random.default_rng(seed + 1).permutation(24)
    with jax.enable_x64(True):
        value, gradient = value_and_gradient(name, scores, targets)
        moved, moved_gradient = value_and_gradient(name, scores[order], targets[order])
        np.testing.assert_allclose(moved, value, rtol=1e-9)
        np.testing.assert_allclose(moved_gradient, gradient[order], rtol=1e-7, atol=1e-9)


@few
@given(seeds, st.sampled_from(list(LOSSES)))
def test_masked_examples_do_not_take_part(seed, name):
    scores, targets = batch(20, seed=seed)
    hidden = np.array([np.nan, np.inf, 3.0, -1e30]), np.array([-1, 1, 0, 5])
    order = np.random.default_rng(seed).permutation(24)
    padded = [np.concatenate([x, y])[order] for x, y in zip((scores, targets), hidden, strict=True)]
    mask = order < 20
    with jax.enable_x64(True):
        value, gradient = value_and_gradient(name, *padded, mask)
    np.testing.assert_allclose(value, reference(name, scores, targets), rtol=1e-9)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[~mask], 0)


@few
@given(seeds, st.sampled_from(["squared", "squared_hinge", "hinge", "logistic"]))
def test_partial_auc_up_to_rate_1_and_soft_partial_auc_of_high_temperature_are_pairwise_auc(seed, surrogate):
    scores, targets = random_problem(seed)
    with jax.enable_x64(True):
        pairwise = pairwise_of(scores, targets, surrogate)
        np.testing.assert_allclose(partial_of(scores, targets, 1.0, surrogate), pairwise, rtol=1e-9)
        soft = soft_partial_of(scores, targets, 1e9, surrogate)
        np.testing.assert_allclose(soft, pairwise, rtol=1e-4, atol=1e-6)


@few
@given(seeds)
def test_partial_auc_up_to_a_low_rate_and_soft_partial_auc_of_low_temperature_are_the_hardest_negative(seed):
    scores, targets = random_problem(seed)
    hardest = scores[targets == 0].max()
    expected = np.mean(np.maximum(0, 1 - scores[targets == 1] + hardest) ** 2)
    with jax.enable_x64(True):
        low_rate = partial_of(scores, targets, 1e-3, "squared_hinge")
        low_temperature = soft_partial_of(scores, targets, 1e-6, "squared_hinge")
    np.testing.assert_allclose(low_rate, expected, rtol=1e-9)
    np.testing.assert_allclose(low_temperature, expected, rtol=1e-4, atol=1e-4)


@few
@given(seeds)
def test_partial_auc_rises_as_the_rate_falls(seed):
    scores, targets = random_problem(seed)
    with jax.enable_x64(True):
        rates = (1.0, 0.7, 0.4, 0.2, 0.05)
        values = [float(partial_of(scores, targets, rate, "squared_hinge")) for rate in rates]
    assert np.diff(values).min() >= -1e-9 * max(values)


def test_gradient_of_partial_auc_reaches_the_hardest_negatives_only():
    scores, targets = np.array([0.5, 0.0, 0.4, 0.1, 0.2, 0.3]), np.array([1, 0, 0, 0, 0, 0])
    gradient = jax.jit(jax.grad(partial_auc))(scores, targets, 0.4)
    np.testing.assert_allclose(gradient, [-1.7, 0, 0.9, 0, 0, 0.8], rtol=1e-5)


def test_negatives_of_equal_score_share_the_gradient_of_partial_auc_also_beyond_the_number_allowed():
    scores, targets = np.array([0.5, 0.9] + [0.4] * 8), np.array([1] + [0] * 9)
    gradient = jax.jit(jax.grad(lambda s: partial_auc(s, targets, 1 / 3)))(
        scores
    )  # k = 3: 0.9 and two of 0.4
    shared = 2 / 3 * 2 * 0.9 / 8
    expected = [-(1 / 3 * 2 * 1.4 + 2 / 3 * 2 * 0.9), 1 / 3 * 2 * 1.4] + [shared] * 8
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


@pytest.mark.parametrize("surrogate", ["squared_hinge", "hinge", "logistic"])
@pytest.mark.parametrize("loss", [pairwise_auc, partial_auc])
def test_slope_by_the_margin_is_that_of_differences(loss, surrogate):
    scores, targets = batch()
    with jax.enable_x64(True):
        of_margin = jax.jit(lambda m: loss(np.float64(scores), targets, surrogate=surrogate, margin=m))
        slope = (of_margin(0.8 + 1e-6) - of_margin(0.8 - 1e-6)) / 2e-6
        np.testing.assert_allclose(jax.jit(jax.grad(of_margin))(0.8), slope, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("surrogate", ["squared_hinge", "logistic"])
def test_second_derivative_of_the_losses_of_pairs_is_that_of_all_pairs(surrogate):
    scores, targets = batch(10, 3)
    phi = {"squared_hinge": lambda t: jnp.maximum(1 - t, 0) ** 2, "logistic": lambda t: jax.nn.softplus(-t)}
    with jax.enable_x64(True):
        scores = jnp.asarray(scores, jnp.float64)
        pairs = jax.jit(
            jax.hessian(lambda s: phi[surrogate](s[targets == 1][:, None] - s[targets == 0]).mean())
        )
        for loss in (pairwise_auc, partial(partial_auc, max_fpr=1.0)):
            found = jax.jit(jax.hessian(lambda s, f=loss: f(s, targets, surrogate=surrogate)))(scores)
            np.testing.assert_allclose(found, pairs(scores), atol=1e-12)


saddle = jax.jit(jax.value_and_grad(lambda v, s, y, margin: auc_margin(s, y, *v, margin)))


@few
@given(seeds, st.floats(0, 2))
def test_auc_margin_at_its_saddle_point_is_variances_plus_squared_hinge_of_the_means(seed, margin):
    scores, targets = random_problem(seed)
    positives, negatives = scores[targets == 1], scores[targets == 0]
    a, b = positives.mean(), negatives.mean()
    alpha = max(0.0, margin + b - a)
    with jax.enable_x64(True):
        loss, gradient = saddle(np.array([a, b, alpha]), scores, targets, margin)
        np.testing.assert_allclose(loss, positives.var() + negatives.var() + alpha**2, rtol=1e-9)
        if alpha > 0:
            np.testing.assert_allclose(loss, pairwise_of(scores, targets, "squared", margin), rtol=1e-9)
        np.testing.assert_allclose(gradient[:2], 0, atol=1e-9)
        assert abs(gradient[2]) < 1e-9 or (alpha == 0 and gradient[2] < 0)


@few
@given(seeds)
def test_auc_margin_with_the_share_of_positives_as_prior_is_p_times_1_minus_p_of_that_without(seed):
    scores, targets = random_problem(seed)
    p = targets.mean()
    with jax.enable_x64(True):
        without = auc_margin_of(scores, targets, A, B, ALPHA, 1.0, None)
        expected = p * (1 - p) * without
        np.testing.assert_allclose(
            auc_margin_of(scores, targets, A, B, ALPHA, 1.0, p), expected, rtol=1e-9, atol=1e-12
        )


@few
@given(seeds)
def test_smooth_ap_of_low_temperature_is_1_minus_average_precision(seed):
    random = np.random.default_rng(seed)
    scores, targets = random.permutation(24) / 24, random.permutation(np.arange(24) < random.integers(1, 24))
    loss = smooth_ap_of(scores, targets, 1e-3)
    np.testing.assert_allclose(loss, 1 - average_precision_score(targets, scores), atol=1e-5)


hinge_slope = jax.jit(
    jax.grad(lambda shift, s, y: pairwise_auc(s + shift * y, y, "hinge", 0.0)),
)


@few
@given(seeds)
def test_pairwise_hinge_of_margin_0_counts_wrong_pairs(seed):
    random = np.random.default_rng(seed)
    scores, targets = random.permutation(24) * 1.0, random.permutation(np.arange(24) < random.integers(1, 24))
    # each wrong pair costs the difference of its scores, which a shift of the positives lessens one to one
    wrong = -hinge_slope(0.0, scores, targets)
    np.testing.assert_allclose(wrong, 1 - roc_auc_score(targets, scores), atol=1e-6)


# Batches without pairs, and no NaN


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("shape", [(24,), (24, 4)])
def test_batch_of_one_kind_has_loss_0_and_gradient_0(name, shape):
    scores = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for kind in (0, 1):
        value, gradient = value_and_gradient(name, scores, np.full(shape, kind))
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


@every_loss
def test_batch_with_nothing_known_has_loss_0_and_gradient_0(name):
    value, gradient = value_and_gradient(
        name, np.full(24, np.nan, np.float32), np.full(24, -1), np.zeros(24, bool)
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_auc_margin_with_a_prior_counts_batches_without_positives_too():
    scores = np.array([0.2, 0.6])
    value, gradient = jax.jit(jax.value_and_grad(auc_margin))(
        scores, np.zeros(2, int), A, B, ALPHA, prior=0.1
    )
    expected = 0.1 * np.mean((scores - B) ** 2) + 2 * ALPHA * (0.09 + 0.1 * 0.4) - 0.09 * ALPHA**2
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, 0.1 * (scores - B) + ALPHA * 0.1, rtol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_value_and_gradient_are_finite_for_huge_scores(name, dtype):
    scores = jnp.asarray([1e4, -1e4, 3, -3, 0, 1e-7, 0, 1e4] * 3, dtype)
    for kinds in ([0, 1, 0, 1, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 0, 1], [0] * 8, [1] * 8):
        value, gradient = value_and_gradient(name, scores, np.array(kinds * 3))
        assert value.dtype == np.float32
        assert gradient.dtype == dtype
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@every_loss
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_scores_are_computed_in_float32(name, dtype):
    scores, targets = batch()
    rounded = jnp.asarray(scores, dtype)
    value, _ = value_and_gradient(name, rounded, targets)
    expected = reference(name, np.asarray(rounded, np.float64), targets)
    np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-6)


def test_squared_loss_by_moments_does_not_cancel_for_large_scores_close_together():
    scores, targets = batch()
    scores = scores / 64 + np.float32(4096)
    value, _ = value_and_gradient("squared", scores, targets)
    np.testing.assert_allclose(value, reference("squared", scores, targets), rtol=1e-5)


@every_loss
def test_nan_among_the_scores_shows(name):
    scores, targets = batch()
    scores[3] = np.nan
    assert np.isnan(value_and_gradient(name, scores, targets)[0])


@every_loss
def test_traced_target_that_is_neither_0_nor_1_gives_nan_with_gradient_0(name):
    scores, targets = batch()
    for wrong in (-1, 2):
        targets[4] = wrong
        value, gradient = value_and_gradient(name, scores, targets)
        assert np.isnan(value)
        np.testing.assert_array_equal(gradient, 0)


# Blocks, tracing, wrong input


@pytest.mark.parametrize("name", ["squared_hinge", "partial", "soft_partial", "smooth_ap"])
def test_pairs_formed_in_blocks_give_the_same_value_and_gradient(name, monkeypatch):
    scores, targets = columns()
    whole = value_and_gradient(name, scores, targets)
    monkeypatch.setattr(global_batch, "_PAIRS_AT_ONCE", 7 * 24 * 4)  # 7 anchors at a time, 24 in all
    monkeypatch.setattr(pairs, "_ANCHORS_AT_ONCE", 7)
    blocks = jax.jit(jax.value_and_grad(lambda s: LOSSES[name](s, targets)))(scores)
    np.testing.assert_allclose(blocks[0], whole[0], rtol=1e-6)
    np.testing.assert_allclose(blocks[1], whole[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["squared_hinge", "partial", "smooth_ap"])
def test_memory_of_ten_classes_of_4096_examples_is_bounded(name):
    scores = jax.ShapeDtypeStruct((4096, 10), jnp.float32)
    compiled = jax.jit(jax.value_and_grad(LOSSES[name])).lower(scores, scores).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 60e6  # all pairs at once would be 671 MB an array


def test_a_rate_that_is_traced_gives_the_value_and_gradient_of_one_that_is_known():
    scores, targets = columns()
    traced = jax.jit(jax.value_and_grad(partial_auc))
    for rate in (0.01, 0.2, 0.5, 1.0):
        known = jax.jit(jax.value_and_grad(lambda s, r=rate: partial_auc(s, targets, r)))
        for found, expected in zip(traced(scores, targets, rate), known(scores), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_losses_of_many_batches_by_vmap_are_those_of_each():
    problems = [batch(num_positive=n, seed=n) for n in (0, 1, 9, 24)]
    scores, targets = (np.stack(x) for x in zip(*problems, strict=True))
    for name in ("squared_hinge", "partial"):
        together = jax.jit(jax.vmap(jax.value_and_grad(LOSSES[name])))(scores, targets)
        alone = [value_and_gradient(name, *problem) for problem in problems]
        for found, expected in zip(together, zip(*alone, strict=True), strict=True):
            np.testing.assert_allclose(found, np.stack(expected), rtol=1e-5, atol=1e-7)


def test_sweeps_of_margins_temperatures_and_variables_compile_once():
    scores, targets = batch()
    jitted = (
        CountedJit(lambda s, m, t: pairwise_auc(s, targets, "hinge", m) + smooth_ap(s, targets, t)),
        CountedJit(lambda s, m, t: partial_auc(s, targets, m) + soft_partial_auc(s, targets, t, margin=m)),
        CountedJit(lambda s, m, t: auc_margin(s, targets, m, t, m, t, prior=m)),
    )
    for m, t in ((0.2, 0.5), (0.3, 0.9)):
        found = [f(scores, m, t) for f in jitted]
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found[2], auc_margin_of(scores, targets, m, t, m, t, m), rtol=1e-5)
    assert [f.traces for f in jitted] == [1, 1, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, y: pairwise_auc(s[:3], y), r"targets have shape \(24,\), expected .* \(3,\)"),
        (lambda s, y: pairwise_auc(s, y[:, None]), r"targets have shape \(24, 1\)"),
        (lambda s, y: smooth_ap(s[None, None], y[None, None]), r"scores have shape \(1, 1, 24\)"),
        (lambda s, y: smooth_ap(0.5, 1), r"scores have shape \(\)"),
        (lambda s, y: partial_auc(s, y, mask=np.ones(23)), r"mask values of shape \(23,\)"),
        (lambda s, y: pairwise_auc(s, y, "cubic"), "surrogate is 'cubic', allowed are 'squared', "),
        (lambda s, y: partial_auc(s, y, surrogate="auc"), "surrogate is 'auc'"),
        (lambda s, y: pairwise_auc(s, y, margin=-1.0), "margin is -1"),
        (lambda s, y: auc_margin(s, y, A, B, ALPHA, margin=np.nan), "margin is nan"),
        (
            lambda s, y: auc_margin(s, y, np.ones(2), B, ALPHA),
            r"a has shape \(2,\), expected a scalar or \(1,\)",
        ),
        (
            lambda s, y: auc_margin(s, y, A, B, ALPHA, prior=1.0),
            "prior is 1.0, expected numbers between 0 and 1",
        ),
        (lambda s, y: partial_auc(s, y, 0.0), "max_fpr is 0, expected a number above zero and at most 1"),
        (lambda s, y: partial_auc(s, y, 1.5), "max_fpr is 1.5"),
        (lambda s, y: smooth_ap(s, y, 0.0), "temperature is 0, expected a number above zero"),
        (lambda s, y: soft_partial_auc(s, y, -1.0), "temperature is -1"),
        (lambda s, y: smooth_ap(s, np.where(y == 1, 0.7, 0)), r"targets\[\d+\] is 0.7, expected 0 or 1"),
        (lambda s, y: pairwise_auc(s, y * 2 - 1), r"targets\[\d+\] is -1, expected 0 or 1"),
    ],
)
def test_bad_static_input_raises_naming_the_value(call, message):
    scores, targets = batch()
    with pytest.raises(ValueError, match=message):
        call(scores, targets)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda s: call(s, targets))(scores)


# Several devices

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(16, 5))
PARAMS = {
    "w": RANDOM.normal(size=(5, 3)),
    "a": np.array([0.6, 0.5, 0.4]),
    "b": np.array([0.3, 0.4, 0.3]),
    "alpha": np.array([0.5, 0.2, 0.8]),
}
SPREAD = [name for name in LOSSES if name not in ("hinge", "logistic", "partial_logistic")]
# of 16 examples, for each of three classes, which are positive
PLACEMENTS = {
    "all_on_the_last": [range(12, 16), [15], range(13, 16)],
    "all_on_the_first": [[0, 2], [1], range(4)],
    "uneven": [[0, 1, 2, 5], [0, 4, 8, 12, 13], [*range(8), 12]],
    "half_of_the_devices_all_positive": [range(8), range(8, 16), [*range(4), *range(12, 16)]],
    "class_without_positives": [[0, 15], [], [7, 8]],
    "class_without_negatives": [[0, 15], range(16), [7, 8]],
    "nothing_to_rank": [[], range(16), []],
}
MASKS = {
    "all_known": np.ones((16, 3), bool),
    "some_known": RANDOM.uniform(size=(16, 3)) < 0.7,
    "second_device_unknown": np.repeat((np.arange(16) // 4 != 1)[:, None], 3, axis=1),
}


def placed(name: str) -> np.ndarray:
    targets = np.zeros((16, 3), int)
    for c, rows in enumerate(PLACEMENTS[name]):
        targets[list(rows), c] = 1
    return targets


def values_and_gradients(params, inputs, targets, mask, axis_name=None):
    def loss(params, name):
        scores = jax.nn.sigmoid(inputs @ params["w"])
        variables = {k: params[k] for k in ("a", "b", "alpha")} if name.startswith("auc_margin") else {}
        return LOSSES[name](scores, targets, mask=mask, axis_name=axis_name, **variables)

    return {name: jax.value_and_grad(loss)(params, name) for name in SPREAD}


@cache
def on_devices(backend: str, count: int):
    """(params, inputs, targets, mask) -> highest and lowest value of the devices, sum of gradients."""

    def step(params, *shards):
        if backend == "shard_map_vma":
            params = jax.tree.map(lambda p: jax.lax.pcast(p, "data", to="varying"), params)
        outputs = values_and_gradients(params, *shards, axis_name="data")
        values = {name: value for name, (value, _) in outputs.items()}
        gradients = {name: gradient for name, (_, gradient) in outputs.items()}
        return (
            jax.lax.pmax(values, "data"),
            jax.lax.pmin(values, "data"),
            jax.lax.psum(gradients, "data"),
        )

    devices = jax.devices()[:count]
    if backend == "pmap":
        mapped = jax.pmap(step, axis_name="data", in_axes=(None, 0, 0, 0), out_axes=None, devices=devices)
        return lambda params, *batch: mapped(params, *(x.reshape(count, -1, *x.shape[1:]) for x in batch))
    mesh = Mesh(np.array(devices), ("data",))
    specs = (P(), P("data"), P("data"), P("data"))
    return jax.jit(
        jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=backend == "shard_map_vma")
    )


on_one_device = jax.jit(values_and_gradients)


@pytest.mark.parametrize(
    ("backend", "count", "dtype"),
    [
        ("pmap", 4, np.float64),
        ("shard_map", 1, np.float64),
        ("shard_map", 4, np.float32),
        ("shard_map_vma", 2, np.float64),
        ("shard_map_vma", 4, np.float64),
    ],
)
def test_values_and_gradients_are_the_same_on_one_and_many_devices(backend, count, dtype):
    tolerance = {"rtol": 1e-6, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-12}
    params, inputs = jax.tree.map(dtype, PARAMS), INPUTS.astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        for placement, mask in product(PLACEMENTS, MASKS.values()):
            data = params, inputs, placed(placement), mask
            high, low, gradients = jax.block_until_ready(on_devices(backend, count)(*data))
            for name, (value, gradient) in on_one_device(*data).items():
                where = f"{name}, {placement}"
                assert value.dtype == high[name].dtype == dtype
                assert high[name] == low[name], f"{where}: the devices differ"
                np.testing.assert_allclose(high[name], value, **tolerance, err_msg=where)
                for found, expected in zip(
                    jax.tree.leaves(gradients[name]), jax.tree.leaves(gradient), strict=True
                ):
                    np.testing.assert_allclose(found, expected, **tolerance, err_msg=where)


def test_mean_of_the_losses_of_the_devices_would_have_been_another_number():
    targets = placed("uneven")[:, 0]
    scores = INPUTS @ PARAMS["w"][:, 0]
    of_devices = np.mean([smooth_ap_of(scores[i : i + 4], targets[i : i + 4]) for i in (0, 4, 8, 12)])
    assert abs(of_devices - smooth_ap_of(scores, targets)) > 0.05


def on_mesh(step, shape: tuple[int, ...], axes: tuple[str, ...], check_vma: bool):
    """``step(scores, targets) -> (value, gradient)`` over the batch below, split over all axes."""

    def marked(scores, targets):
        value, gradient = step(scores, targets)
        return jax.lax.pmax(value, axes), gradient

    mesh = Mesh(np.array(jax.devices()[:4]).reshape(shape), axes)
    mapped = jax.shard_map(
        marked, mesh=mesh, in_specs=(P(axes), P(axes)), out_specs=(P(), P(axes)), check_vma=check_vma
    )
    return jax.block_until_ready(jax.jit(mapped)(np.float32(INPUTS @ PARAMS["w"]), placed("uneven")))


@pytest.mark.parametrize("check_vma", [False, True])
@pytest.mark.parametrize("in_blocks", [False, True])
def test_scores_split_over_two_axes_and_pairs_in_blocks_have_the_gradient_of_the_whole_batch(
    check_vma, in_blocks, monkeypatch
):
    expected = jax.jit(jax.value_and_grad(LOSSES["smooth_ap"]))(
        np.float32(INPUTS @ PARAMS["w"]), placed("uneven")
    )
    if in_blocks:
        monkeypatch.setattr(global_batch, "_PAIRS_AT_ONCE", 3 * 16 * 3)  # 3 anchors at a time, 4 on a device
    axes = ("host", "data")
    step = jax.value_and_grad(partial(LOSSES["smooth_ap"], axis_name=axes))
    found = on_mesh(step, (2, 2), axes, check_vma)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
