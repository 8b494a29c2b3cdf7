"""Surface distances against every pair of surface pixels and MONAI."""

import math

import numpy as np
import pytest

from imbal_jax import metrics


def blobs(seed, shape):
    """Two masks of overlapping boxes, some at the border."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(2):
        mask = np.zeros(shape, bool)
        for _ in range(3):
            low = [rng.integers(0, s - 2) for s in shape]
            mask[tuple(slice(a, a + rng.integers(2, 5)) for a in low)] = True
        out.append(mask)
    return out


def surface_by_loops(mask, known):
    places = []
    for place in np.argwhere(mask & known):
        for axis, step in np.ndindex(mask.ndim, 2):
            near = place.copy()
            near[axis] += 2 * step - 1
            outside = not all(0 <= i < s for i, s in zip(near, mask.shape, strict=True))
            if outside or (known[tuple(near)] and not mask[tuple(near)]):
                places.append(place)
                break
    return np.array(places)


def by_pairs(truth, found, spacing, known=None):
    known = np.ones(truth.shape, bool) if known is None else known
    a, b = (surface_by_loops(mask, known) * spacing for mask in (truth, found))
    table = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=-1))
    return table.min(axis=1), table.min(axis=0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("shape", "spacing"), [((14, 11), (1, 1)), ((14, 11), (0.5, 2)), ((8, 9, 7), (3, 1, 1.5))]
)
def test_distances_are_those_of_every_pair_of_surface_pixels(seed, shape, spacing):
    truth, found = blobs(seed, shape)
    known = np.random.default_rng(seed).random(shape) < 0.85
    for mask in (None, known):
        distances = metrics.surface_distances(truth, found, spacing=spacing, mask=mask)
        for side, expected in zip(distances, by_pairs(truth, found, spacing, mask), strict=True):
            np.testing.assert_allclose(np.sort(side), np.sort(expected), atol=1e-12)
    excluded = metrics.surface_metrics(np.where(known, truth, -1), found, spacing=spacing)
    assert excluded == metrics.surface_metrics(truth, found, spacing=spacing, mask=known)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("shape", "spacing"), [((14, 11), (1, 1)), ((8, 9, 7), (3, 1, 1.5))])
def test_monai_agrees(seed, shape, spacing):
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    truth, found = blobs(seed, shape)
    ours = metrics.surface_metrics(truth, found, tolerance=1.5, percentile=95, spacing=spacing)
    planes = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (found, truth)]
    options = {"include_background": True, "spacing": [float(size) for size in spacing]}
    assert ours.hausdorff == pytest.approx(
        monai.compute_hausdorff_distance(*planes, percentile=95, **options).item(), rel=1e-5
    )
    assert ours.average_distance == pytest.approx(
        monai.compute_average_surface_distance(*planes, symmetric=True, **options).item(), rel=1e-5
    )
    assert ours.surface_dice == pytest.approx(
        monai.compute_surface_dice(*planes, class_thresholds=[1.5], **options).item(), rel=1e-5
    )
    full = metrics.hausdorff(metrics.surface_distances(truth, found, spacing=spacing), 100)
    assert full == pytest.approx(monai.compute_hausdorff_distance(*planes, **options).item(), rel=1e-5)


def test_a_shifted_square_has_distances_that_can_be_counted():
    truth, found = np.zeros((2, 12, 12), int)
    truth[3:7, 3:7], found[3:7, 5:9] = 1, 1
    distances = metrics.surface_distances(truth, found)
    # every surface pixel has its copy two pixels to the side, and the far columns have no nearer one
    assert metrics.hausdorff(distances, 100) == 2
    assert metrics.surface_dice(distances, 2) == 1
    assert metrics.surface_metrics(truth, truth) == (0, 0, 1)


def test_empty_masks_follow_the_stated_rule():
    some, none = np.ones((4, 4), int), np.zeros((4, 4), int)
    assert all(math.isnan(value) for value in metrics.surface_metrics(none, none))
    for pair in ((some, none), (none, some)):
        assert metrics.surface_metrics(*pair) == (math.inf, math.inf, 0)
    assert all(math.isnan(value) for value in metrics.surface_metrics(some, some, mask=none))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: metrics.surface_metrics(m, m[:2]), "both alike"),
        (lambda m: metrics.surface_metrics(m[0], m[0]), "2 or 3 axes"),
        (lambda m: metrics.surface_metrics(m, m, spacing=0.0), "spacing is 0"),
        (lambda m: metrics.surface_metrics(m, m, tolerance=-1), "tolerance is -1"),
        (lambda m: metrics.surface_metrics(m, m, percentile=101), "percentile is 101"),
        (lambda m: metrics.surface_metrics(m, m, mask=m[0]), r"mask \[4\]"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((4, 4), int))
