"""Centreline Dice against MONAI and loops over pixels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax import losses


def soft_masks(seed, space=(9, 8), batch=2, classes=2):
    rng = np.random.default_rng(seed)
    return rng.random((batch, *space, classes)), (rng.random((batch, *space, classes)) < 0.6) * 1.0


def windowed(values, offsets, extreme, known):
    out = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        if not known[place]:
            continue
        near = [tuple(np.add(place, o)) for o in offsets]
        near = [n for n in near if all(0 <= i < s for i, s in zip(n, values.shape, strict=True)) and known[n]]
        out[place] = extreme(values[n] for n in near)
    return out


def skeleton_by_loops(values, iterations, known):
    """Of one image and class."""
    axes = values.ndim
    cross = [tuple(s * (a == b) for b in range(axes)) for a in range(axes) for s in (-1, 0, 1)]
    block = list(itertools.product((-1, 0, 1), repeat=axes))
    values, skeleton = values * known, 0.0
    for _ in range(iterations + 1):
        eroded = windowed(values, cross, min, known)
        opened = windowed(eroded, block, max, known)
        delta = np.maximum(values - opened, 0)
        skeleton = skeleton + np.maximum(delta - skeleton * delta, 0)
        values = eroded
    return skeleton


@pytest.mark.parametrize("space", [(11,), (9, 8), (5, 6, 4)])
@pytest.mark.parametrize("masked", [False, True])
def test_a_skeleton_equals_loops_over_pixels(space, masked):
    p, _ = soft_masks(0, space)
    known = np.random.default_rng(1).random((2, *space)) < 0.8 if masked else np.ones((2, *space), bool)
    found = losses.soft_skeleton(p, 2, known if masked else None)
    for b, c in np.ndindex(2, 2):
        expected = skeleton_by_loops(p[b, ..., c], 2, known[b])
        np.testing.assert_allclose(found[b, ..., c], expected, atol=1e-6)


def test_the_skeleton_of_a_bar_is_its_middle_line():
    bar = np.zeros((1, 7, 11, 1))
    bar[0, 1:6, 1:10] = 1
    skeleton = np.asarray(losses.soft_skeleton(bar, 3))[0, ..., 0]
    assert (skeleton[3, 3:8] == 1).all()
    assert skeleton[:, 4:7].sum() == 3


@pytest.mark.parametrize("space", [(9, 8), (5, 6, 4)])
def test_monai_agrees(space):
    torch = pytest.importorskip("torch")
    cldice = pytest.importorskip("monai.losses.cldice")
    p, t = soft_masks(2, space)
    planes = [torch.from_numpy(np.moveaxis(a, -1, 1).astype(np.float32)) for a in (p, t)]
    skeleton = np.moveaxis(cldice.soft_skel(planes[0], 3).numpy(), 1, -1)
    np.testing.assert_allclose(losses.soft_skeleton(p, 3), skeleton, atol=1e-6)
    theirs = cldice.SoftclDiceLoss(iter_=3, smooth_nr=0.5, smooth_dr=0.5, smooth=1e-9, reduction="none")
    for c in range(2):  # MONAI adds the classes up
        expected = theirs(*(a[:, c : c + 1] for a in planes))
        found = losses.cl_dice(p[..., c : c + 1], t[..., c : c + 1], 3, 0.5)[:, 0]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_the_gradient_equals_differences():
    p, t = soft_masks(3, (6, 5))
    with jax.enable_x64(True):

        def total(p):
            return (losses.cl_dice(p, t, 2) * jnp.arange(1.0, 5).reshape(2, 2)).sum()

        gradient = jax.jit(jax.grad(total))(jnp.asarray(p))
        total = jax.jit(total)
        rng = np.random.default_rng(4)
        for _ in range(5):
            direction = rng.normal(size=p.shape)
            slope = (total(p + 1e-7 * direction) - total(p - 1e-7 * direction)) / 2e-7
            np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-7)


def test_a_broken_vessel_costs_more_than_a_thin_one():
    truth = np.zeros((1, 9, 20, 1))
    truth[0, 3:6] = 1
    thin, broken = np.zeros_like(truth), truth.copy()
    thin[0, 4], broken[0, :, 7:13] = 1, 0
    assert losses.cl_dice(thin, truth) < 0.05 < losses.cl_dice(broken, truth)
    assert losses.dice(thin, truth) > losses.dice(broken, truth)


def test_empty_and_full_masks_and_hidden_images_are_finite():
    _, t = soft_masks(5, (6, 5))
    for smooth in (1.0, 0.0):
        value_and_gradient = jax.jit(
            jax.value_and_grad(lambda p, t, mask, s=smooth: losses.cl_dice(p, t, 1, s, mask).sum())
        )
        for truth in (t * 0, t * 0 + 1, t):
            for p in (t * 0, t * 0 + 1, t):
                for mask in (np.ones((6, 5)), np.zeros((6, 5))):
                    value, gradient = value_and_gradient(jnp.asarray(p, jnp.float32), truth, mask)
                    assert np.isfinite(value)
                    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(losses.cl_dice(t * 0, t * 0), 0, atol=1e-6)
    np.testing.assert_allclose(losses.cl_dice(t, t), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p: losses.cl_dice(p, p, -1), "iterations is -1"),
        (lambda p: losses.cl_dice(p, p, 1.5), "iterations is 1.5"),
        (lambda p: losses.cl_dice(p, p, smooth=-1.0), "smooth is -1"),
        (lambda p: losses.soft_skeleton(p[0, 0]), "1 to 3 axes"),
        (lambda p: losses.soft_skeleton(p[:, None, None]), "1 to 3 axes"),
        (lambda p: losses.cl_dice(p * 5, p), "softmax or sigmoid"),
    ],
)
def test_wrong_arguments_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(np.full((1, 4, 4, 1), 0.5))


def test_hidden_pixels_count_for_nothing_even_if_they_are_not_numbers():
    p, t = soft_masks(6, (7, 9))
    mask = np.arange(9) < 6
    hidden = p.copy()
    hidden[:, :, 6:] = np.nan
    value_and_gradient = jax.jit(jax.value_and_grad(lambda p: losses.cl_dice(p, t, 2, mask=mask).sum()))
    value, gradient = value_and_gradient(jnp.asarray(hidden, jnp.float32))
    np.testing.assert_allclose(value, losses.cl_dice(p[:, :, :6], t[:, :, :6], 2).sum(), rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert (gradient[:, :, 6:] == 0).all()
    assert (gradient[:, :, :6] != 0).any()
