"""Losses of segmentation against numpy loops, MONAI and the definition of the Lovasz extension."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax import losses
from imbal_jax.losses import overlap

ALL = {
    "dice": losses.dice,
    "jaccard": losses.jaccard,
    "tversky": losses.tversky,
    "focal_tversky": losses.focal_tversky,
    "generalized_dice": losses.generalized_dice,
    "lovasz_softmax": losses.lovasz_softmax,
    "unified_focal": losses.unified_focal,
    "matthews": losses.matthews,
}


def case(seed: int, classes: int = 3, space: tuple[int, ...] = (5, 4), batch: int = 3):
    """Probabilities [B, *space, C] and one-hot targets, float64; of the last image the last class is absent."""
    rng = np.random.default_rng(seed)
    shape = (batch, *space, classes)
    p = rng.dirichlet(np.ones(classes), shape[:-1])
    labels = rng.integers(classes, size=shape[:-1])
    labels[-1] = np.where(labels[-1] == classes - 1, 0, labels[-1])
    return p, np.eye(classes)[labels]


def counts(p, t):
    """TP, FP, FN [B, C], pixel by pixel."""
    out = np.zeros((3, p.shape[0], p.shape[-1]))
    for b in range(p.shape[0]):
        for q, truth in zip(p[b].reshape(-1, p.shape[-1]), t[b].reshape(-1, p.shape[-1]), strict=True):
            out[:, b] += q * truth, q * (1 - truth), (1 - q) * truth
    return out


def oracle(name, p, t, e):
    tp, fp, fn = counts(p, t)
    index = (tp + e) / (tp + 0.3 * fp + 0.7 * fn + e)
    return {
        "dice": 1 - (2 * tp + e) / (2 * tp + fp + fn + e),
        "jaccard": 1 - (tp + e) / (tp + fp + fn + e),
        "tversky": 1 - index,
        "focal_tversky": (1 - index) ** 0.75,
    }[name]


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "focal_tversky"])
@pytest.mark.parametrize("space", [(7,), (5, 4), (3, 2, 4)])
def test_losses_of_counts_equal_a_loop_over_pixels(name, space):
    p, t = case(1, space=space)
    with jax.enable_x64(True):
        np.testing.assert_allclose(ALL[name](p, t, smooth=0.1), oracle(name, p, t, 0.1), rtol=1e-12)
    loss = ALL[name](p.astype(np.float32), t, smooth=0.1)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, oracle(name, p, t, 0.1), atol=3e-6)


@pytest.mark.parametrize("name", list(ALL))
def test_gradients_equal_differences(name):
    p, t = case(2)
    with jax.enable_x64(True):

        def total(p):
            return (ALL[name](p, t) * jnp.arange(1, 4).reshape(3, *[1] * (ALL[name](p, t).ndim - 1))).sum()

        gradient = jax.jit(jax.grad(total))(jnp.asarray(p))
        rng = np.random.default_rng(0)
        for _ in range(5):
            direction = rng.normal(size=p.shape)
            slope = (total(p + 1e-7 * direction) - total(p - 1e-7 * direction)) / 2e-7
            np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weighting", ["square", "simple", "uniform"])
def test_generalized_dice_is_the_weighted_sum_of_its_classes(weighting):
    p, t = case(3)
    tp, fp, fn = counts(p, t)
    pixels = t.sum(axis=(1, 2))
    power = {"square": 2, "simple": 1, "uniform": 0}[weighting]
    expected = []
    for b in range(3):
        w = np.array([1 / n**power if n else np.nan for n in pixels[b]])
        w = np.where(np.isnan(w), np.nanmax(w), w)
        expected.append(1 - (2 * (w * tp[b]).sum() + 0.1) / ((w * (2 * tp + fp + fn)[b]).sum() + 0.1))
    np.testing.assert_allclose(losses.generalized_dice(p, t, weighting, 0.1), expected, atol=2e-6)


def test_monai_agrees():
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.losses")
    from monai.losses import unified_focal_loss as unified

    p, t = case(6, classes=2)
    there = t.any(axis=(1, 2)).all(axis=1)  # MONAI weighs a class that is absent in a way of its own
    p, t = p[there], t[there]
    ours = {
        "dice": losses.dice(p, t, 1e-5),
        "jaccard": losses.jaccard(p, t, 1e-5),
        "tversky": losses.tversky(p, t, alpha=0.2, beta=0.8, smooth=1e-5),
        "generalized": losses.generalized_dice(p, t, "square", 1e-5),
        "overlap": losses.unified_focal(p, t, weight=0.0, delta=0.7, gamma=0.5).mean(),
        # MONAI's mean counts both classes
        "entropy": losses.unified_focal(p, t, weight=1.0, delta=0.7, gamma=0.5).mean() / 2,
    }
    planes = [torch.from_numpy(np.moveaxis(a, -1, 1).astype(np.float32)) for a in (p, t)]
    theirs = {
        "dice": monai.DiceLoss(reduction="none"),
        "jaccard": monai.DiceLoss(jaccard=True, reduction="none"),
        "tversky": monai.TverskyLoss(alpha=0.2, beta=0.8, reduction="none"),
        "generalized": monai.GeneralizedDiceLoss(w_type="square", reduction="none"),
        "overlap": unified.AsymmetricFocalTverskyLoss(gamma=0.5, delta=0.7),
        "entropy": unified.AsymmetricFocalLoss(gamma=0.5, delta=0.7),
    }
    for name, loss in theirs.items():
        expected = loss(*planes).numpy().reshape(np.shape(ours[name]))
        np.testing.assert_allclose(ours[name], expected, atol=2e-5, err_msg=name)


def test_matthews_is_the_correlation_of_hard_predictions_and_monais_loss_of_soft_ones():
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.losses.mcc_loss")
    matthews_corrcoef = pytest.importorskip("sklearn.metrics").matthews_corrcoef
    p, t = case(15)
    _, hard = case(16)
    expected = [[1 - matthews_corrcoef(t[b, ..., c].ravel(), hard[b, ..., c].ravel()) for c in range(3)]
                for b in range(2)]  # fmt: skip
    np.testing.assert_allclose(losses.matthews(hard, t, 1e-9)[:2], expected, atol=1e-5)
    planes = [torch.from_numpy(np.moveaxis(a, -1, 1)) for a in (p, t)]
    theirs = monai.MCCLoss(reduction="none", smooth_dr=1e-9)(*planes).numpy()
    np.testing.assert_allclose(losses.matthews(p, t, 0)[:2], theirs[:2], atol=1e-5)


def test_matthews_of_an_absent_or_a_full_class_tells_a_perfect_prediction_from_a_wrong_one():
    empty, full = np.zeros((1, 40, 1)), np.ones((1, 40, 1))
    wrong = empty.copy()
    wrong[0, :10] = 1
    for truth, found in ((empty, wrong), (full, 1 - wrong)):
        np.testing.assert_allclose(losses.matthews(truth, truth), 0, atol=1e-6)
        assert losses.matthews(found, truth) > 0.99
        gradient = jax.grad(lambda p, t=truth: losses.matthews(p, t).sum())(jnp.asarray(found * 0.5 + 0.25))
        assert ((gradient > 0) == (truth == 0)).all()
    assert losses.matthews(empty, full) > 0.99
    np.testing.assert_allclose(losses.matthews(1 - wrong, wrong), 2, atol=1e-4)


def test_unified_focal_is_its_formula_for_several_classes():
    p, t = case(7)
    tp, fp, fn = counts(p, t)
    lost = 1 - (tp + 1e-7) / (tp + 0.6 * fn + 0.4 * fp + 1e-7)
    overlapping = (lost[:, 0] + (lost[:, 1:] ** 0.5).sum(axis=1)) / 3
    surprise = -(t * np.log(p))
    pixels = 0.4 * (1 - p[..., 0]) ** 0.5 * surprise[..., 0] + 0.6 * surprise[..., 1:].sum(axis=-1)
    expected = 0.3 * pixels.mean(axis=(1, 2)) + 0.7 * overlapping
    np.testing.assert_allclose(losses.unified_focal(p, t, weight=0.3), expected, rtol=2e-5)


def test_laws_of_the_tversky_family():
    p, t = case(8)
    np.testing.assert_allclose(
        losses.tversky(p, t, alpha=0.5, beta=0.5, smooth=0.05), losses.dice(p, t, 0.1), atol=1e-6
    )
    np.testing.assert_allclose(losses.tversky(p, t, alpha=1, beta=1), losses.jaccard(p, t), atol=1e-6)
    np.testing.assert_allclose(losses.focal_tversky(p, t, gamma=1.0), losses.tversky(p, t), atol=1e-6)
    dice = losses.dice(p, t, 0)
    np.testing.assert_allclose(losses.jaccard(p, t, 0), 2 * dice / (1 + dice), atol=1e-6)


@pytest.mark.parametrize("name", list(ALL))
def test_a_perfect_or_empty_prediction_has_loss_zero_and_a_finite_gradient(name):
    _, t = case(9)
    np.testing.assert_allclose(ALL[name](t, t), 0, atol=1e-6)
    for p in (t, 1 - t, np.zeros_like(t)):
        value, gradient = jax.jit(jax.value_and_grad(lambda p: ALL[name](p, t).sum()))(
            jnp.asarray(p, jnp.float32)
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", list(ALL))
def test_empty_and_full_masks_and_extreme_probabilities_are_finite(name, dtype):
    value_and_gradient = jax.jit(jax.value_and_grad(lambda p, t, mask: ALL[name](p, t, mask=mask).sum()))
    for truth in (np.eye(2)[np.zeros((1, 12), int)], np.eye(2)[np.arange(12)[None] % 2]):
        for p in (0.0, 1e-7, 0.5, 1.0):
            probabilities = jnp.stack([jnp.full((1, 12), p, dtype), jnp.full((1, 12), 1 - p, dtype)], axis=-1)
            for mask in (np.ones(12), np.arange(12) < 5, np.zeros(12)):
                value, gradient = value_and_gradient(probabilities, truth, mask)
                assert value.dtype == jnp.float32
                assert np.isfinite(value)
                assert np.isfinite(gradient).all()
                assert (gradient[:, mask == 0] == 0).all()


@pytest.mark.parametrize("name", list(ALL))
def test_hidden_pixels_count_for_nothing_even_if_they_are_not_numbers(name):
    p, t = case(10, space=(8,))
    mask = np.arange(8) < 5
    hidden = p.copy()
    hidden[:, 5:] = np.nan
    value, gradient = jax.jit(jax.value_and_grad(lambda p: ALL[name](p, t, mask=mask).sum()))(
        jnp.asarray(hidden, jnp.float32)
    )
    np.testing.assert_allclose(value, ALL[name](p[:, :5], t[:, :5]).sum(), rtol=1e-5)
    assert (gradient[:, 5:] == 0).all()
    nothing = ALL[name](p, t, mask=np.zeros(8))
    np.testing.assert_allclose(nothing, 0, atol=1e-6)


def test_half_precision_is_summed_in_float32():
    p, t = case(11, space=(64, 64))
    half = jnp.asarray(p, jnp.bfloat16)
    np.testing.assert_array_equal(losses.dice(half, t), losses.dice(half.astype(jnp.float32), t))


def test_present_says_which_classes_an_image_holds():
    _, t = case(12)
    np.testing.assert_array_equal(overlap.present(t), t.any(axis=(1, 2)))
    assert (overlap.present(t, np.zeros((5, 4))) == 0).all()


def test_settings_may_be_traced():
    p, t = case(13)
    traced = jax.jit(lambda a, b: losses.tversky(p, t, alpha=a, beta=b))(0.4, 0.6)
    np.testing.assert_allclose(traced, losses.tversky(p, t, alpha=0.4, beta=0.6), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p, t: losses.dice(p, t[..., :1]), "both alike"),
        (lambda p, t: losses.dice(p[0, 0], t[0, 0]), "both alike"),
        (lambda p, t: losses.dice(p, t, smooth=-1.0), "smooth is -1"),
        (lambda p, t: losses.tversky(p, t, alpha=-1.0), "alpha is -1"),
        (lambda p, t: losses.focal_tversky(p, t, gamma=0.0), "gamma is 0"),
        (lambda p, t: losses.generalized_dice(p, t, "cubic"), "allowed are square, simple, uniform"),
        (lambda p, t: losses.unified_focal(p, t, delta=2.0), "delta is 2"),
        (lambda p, t: losses.unified_focal(p[..., :1], t[..., :1]), "needs the background"),
        (lambda p, t: losses.dice(p, t, mask=np.ones((3, 5, 4, 3))), "mask of shape"),
    ],
)
def test_wrong_arguments_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(*case(14))
