"""Boundary and Hausdorff losses against distances by brute force and MONAI."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax import losses


def masks(seed, space=(7, 6), batch=3, classes=2):
    """0 and 1 [B, *space, C]: blobs; empty in the second image's last class, full in the third's."""
    rng = np.random.default_rng(seed)
    t = (rng.random((batch, *space, classes)) < 0.35).astype(np.float64)
    t[1, ..., -1], t[2, ..., -1] = 0, 1
    return t


def by_pairs(inside, known):
    """Signed distances of one mask: every pixel against every other."""
    out = np.zeros(inside.shape)
    places = {side: np.argwhere(known & (inside == side)) for side in (True, False)}
    if not len(places[True]) or not len(places[False]):
        return out
    for place in np.ndindex(inside.shape):
        if known[place]:
            side = bool(inside[place])
            away = np.sqrt(((places[not side] - np.array(place)) ** 2).sum(axis=1)).min()
            out[place] = 1 - away if side else away
    return out


@pytest.mark.parametrize("space", [(9,), (7, 6), (4, 5, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_distances_are_those_of_every_pair_of_pixels(space, masked):
    t = masks(0, space)
    mask = np.random.default_rng(1).random((3, *space)) < 0.8 if masked else np.ones((3, *space), bool)
    found = losses.signed_distances(t, mask if masked else None)
    assert found.dtype == np.float32
    for b, c in np.ndindex(3, 2):
        np.testing.assert_allclose(found[b, ..., c], by_pairs(t[b, ..., c] == 1, mask[b]), atol=1e-6)


def test_a_mask_that_is_empty_or_full_has_no_boundary():
    t = masks(2)
    distances = losses.signed_distances(t)
    assert (distances[1, ..., -1] == 0).all()
    assert (distances[2, ..., -1] == 0).all()
    p = np.random.default_rng(3).random(t.shape)
    for loss in (losses.boundary(p, distances), losses.hausdorff(p, t, distances)):
        assert loss.shape == (3, 2)
        assert (loss[1:, -1] == 0).all()


def test_monai_agrees():
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.losses")
    t = masks(4)
    p = np.random.default_rng(5).random(t.shape).astype(np.float32)
    distances = losses.signed_distances(t)
    planes = [torch.from_numpy(np.moveaxis(a, -1, 1).astype(np.float32)) for a in (p, t)]
    theirs = monai.BoundaryLoss()
    np.testing.assert_allclose(
        distances, np.moveaxis(theirs.compute_distance_map(planes[1]).numpy(), 1, -1), atol=1e-5
    )
    for b in range(3):  # MONAI's mean over a single image and its classes
        expected = theirs(planes[0][b : b + 1], planes[1][b : b + 1])
        np.testing.assert_allclose(losses.boundary(p, distances)[b].mean(), expected, rtol=1e-5, atol=1e-6)
    # below 1/2 everywhere MONAI's prediction is empty, and only the distances of the truth are left
    faint = p * 0.49
    theirs = monai.HausdorffDTLoss(alpha=1.5, include_background=True)
    found = losses.hausdorff(faint, t, distances, alpha=1.5)
    for b, c in np.ndindex(3, 2):
        expected = theirs(*(a[b : b + 1, c : c + 1] for a in (planes[0] * 0.49, planes[1])))
        np.testing.assert_allclose(found[b, c], expected, rtol=1e-5)


def test_the_gradient_of_the_boundary_loss_is_the_distance_over_the_pixels():
    t = masks(6)
    distances = losses.signed_distances(t)
    gradient = jax.grad(lambda p: losses.boundary(p, distances).sum())(jnp.full(t.shape, 0.5))
    np.testing.assert_allclose(gradient, distances / (7 * 6), rtol=1e-6)


def test_hidden_pixels_count_for_nothing_even_if_they_are_not_numbers():
    t = masks(7, (8,))
    mask = np.arange(8) < 5
    distances = losses.signed_distances(t, mask)
    p = np.random.default_rng(8).random(t.shape)
    near = losses.signed_distances(t[:, :5])
    np.testing.assert_array_equal(distances[:, :5], near)
    hidden = p.copy()
    hidden[:, 5:] = np.nan
    for loss, alone in (
        (lambda p: losses.boundary(p, distances, mask), losses.boundary(p[:, :5], near)),
        (
            lambda p: losses.hausdorff(p, t, distances, mask=mask),
            losses.hausdorff(p[:, :5], t[:, :5], near),
        ),
    ):
        np.testing.assert_allclose(loss(hidden), alone, rtol=1e-5, atol=1e-6)
        gradient = jax.jit(jax.grad(lambda p, loss=loss: loss(p).sum()))(jnp.asarray(hidden))
        assert np.isfinite(gradient).all()
        assert (gradient[:, 5:] == 0).all()
        assert (loss(hidden * 0 + 0.5)[:, 0] != 0).any()
    nothing = np.zeros(8)
    assert (losses.boundary(p, losses.signed_distances(t, nothing), nothing) == 0).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p, d: losses.boundary(p, d[..., :1]), "distances .* must have the shape"),
        (lambda p, d: losses.boundary(p, d * np.nan), "not finite"),
        (lambda p, d: losses.boundary(p * 9, d), "softmax or sigmoid"),
        (lambda p, d: losses.hausdorff(p, p, d, alpha=-1.0), "alpha is -1"),
        (lambda p, d: losses.hausdorff(p, p[:1], d), "both alike"),
        (lambda p, d: losses.signed_distances(p[0, 0]), "expected"),
        (lambda p, d: losses.signed_distances(p, np.ones((3, 9))), "mask of shape"),
    ],
)
def test_wrong_arguments_are_refused(call, said):
    t = masks(9)
    with pytest.raises(ValueError, match=said):
        call(t, losses.signed_distances(t))


@pytest.mark.parametrize("shape", [(17, 12), (8, 8)])
def test_distances_of_a_batch_are_those_of_the_host(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    targets = (rng.uniform(size=(4, *shape, 2)) < [0.1, 0.6]).astype(np.float32)
    targets[0, ..., 0], targets[1, ..., 1] = 0, 1
    mask = rng.uniform(size=(4, *shape)) < 0.9
    for known in (None, mask):
        expected = losses.signed_distances(targets, known)
        np.testing.assert_allclose(jax.jit(losses.batch_distances)(targets, known), expected, atol=1e-5)
