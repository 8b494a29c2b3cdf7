"""Detection of lesions against a flood fill, MONAI and a curve counted by hand."""

import itertools
import math

import numpy as np
import pytest

from imbal_jax import metrics
from imbal_jax.metrics.codes import encode


def flood(mask, connectivity):
    """Components as sets of places."""
    left, out = set(map(tuple, np.argwhere(mask))), []
    steps = [
        s for s in itertools.product((-1, 0, 1), repeat=mask.ndim) if 0 < np.abs(s).sum() <= connectivity
    ]
    while left:
        front = {left.pop()}
        component = set(front)
        while front:
            near = {tuple(np.add(place, step)) for place in front for step in steps} & left
            left -= near
            component |= near
            front = near
        out.append(component)
    return out


def by_flood(truth, scores, threshold, overlap, connectivity):
    decided = (scores >= threshold) & (truth >= 0)
    lesions, detections = (flood(mask, connectivity) for mask in (truth == 1, decided))
    places = set(map(tuple, np.argwhere(decided)))
    hits = sum(len(one & places) >= max(overlap * len(one), 1) for one in lesions)
    of_lesions = set().union(*lesions)
    return len(lesions), hits, sum(not one & of_lesions for one in detections)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("shape", "connectivity"), [((14, 13), 1), ((14, 13), 2), ((6, 7, 5), 2)])
def test_counts_are_those_of_a_flood_fill(overlap, shape, connectivity):
    rng = np.random.default_rng(0)
    images = []
    for _ in range(4):
        truth = rng.choice([-1, 0, 1], shape, p=[0.05, 0.8, 0.15])
        images.append((truth, np.clip(rng.random(shape) ** 2 + 0.3 * (truth == 1), 0, 1).astype(np.float32)))
    images.append((np.zeros(shape, int), np.zeros(shape, np.float32)))
    levels = [0.9, 0.25, 0.5, 0.75]  # edges of bins, so that codes decide alike
    curve = metrics.froc(images, levels, overlap=overlap, connectivity=connectivity)
    assert curve.thresholds.tolist() == sorted(levels)
    for i, (truth, scores) in enumerate(images):
        for t, level in enumerate(curve.thresholds):
            expected = by_flood(truth, scores, level, overlap, connectivity)
            assert (curve.lesions[i], curve.hits[i, t], curve.false_positives[i, t]) == expected
    coded = metrics.froc(
        [(y, encode(s)) for y, s in images], levels[1:], overlap=overlap, connectivity=connectivity
    )
    np.testing.assert_array_equal(coded.hits, curve.hits[:, :3])
    np.testing.assert_array_equal(coded.false_positives, curve.false_positives[:, :3])


def candidates(seed):
    """Images of single pixels far apart, each a candidate with a score of its own."""
    rng = np.random.default_rng(seed)
    for _ in range(3):
        truth, scores = np.zeros((21, 21), int), np.zeros((21, 21))
        truth[::4, ::4] = rng.random((6, 6)) < 0.3
        scores[::4, ::4] = np.where(
            rng.random((6, 6)) < 0.8, rng.random((6, 6)) * (1 + truth[::4, ::4]) / 2, 0
        )
        yield truth, scores


def test_monai_agrees_on_candidates_that_are_single_pixels():
    monai = pytest.importorskip("monai.metrics")
    pytest.importorskip("torch")
    images = list(candidates(0))
    truth, scores = (np.concatenate([image[side].ravel() for image in images]) for side in (0, 1))
    false, true = (
        scores[(truth == 0) & (scores > 0)],
        scores[truth == 1],
    )  # a missed lesion has 0, as in MONAI
    rate, sensitivity = monai.compute_froc_curve_data(false, true, len(true), len(images))
    levels = np.unique(np.concatenate([false, true]))[1:]
    curve = metrics.froc(images, levels)
    np.testing.assert_allclose(curve.false_positives_per_image, rate[:-1], atol=1e-12)
    np.testing.assert_allclose(curve.sensitivity, sensitivity[:-1], atol=1e-12)
    # MONAI sorts nothing out where several thresholds have as many false positives: it is asked at other rates
    rates = (0.4, 0.6, 1.1, 2.3, 4.4)
    best = {f: sensitivity[rate == f].max() for f in np.unique(rate)}
    expected = monai.compute_froc_score(
        np.array(list(best))[::-1], np.array(list(best.values()))[::-1], eval_thresholds=rates
    )
    assert metrics.froc_score(curve, rates) == pytest.approx(expected, abs=1e-12)


def test_a_curve_counted_by_hand():
    # 2 images, 2 lesions; at 0.9 one hit; at 0.6 one false positive; at 0.3 both hit and two false positives
    first, second = np.zeros((2, 1, 9)), np.zeros((2, 1, 9))
    first[0, 0, 0], second[0, 0, 0] = 1, 1
    first[1, 0, [0, 4]], second[1, 0, [0, 4]] = (0.9, 0.6), (0.3, 0.3)
    curve = metrics.froc([first, second], [0.3, 0.6, 0.9])
    assert curve.sensitivity.tolist() == [1, 0.5, 0.5]
    assert curve.false_positives_per_image.tolist() == [1, 0.5, 0]
    assert metrics.lesion_sensitivity(curve, [0, 0.5, 0.9, 1, 8]).tolist() == [0.5, 0.5, 0.5, 1, 1]
    # at 1/8 to 8 false positives an image: 1/2, 1/2, 1/2, 1, 1, 1, 1
    assert metrics.froc_score(curve) == pytest.approx(5.5 / 7)
    assert metrics.froc_score(curve, [0.75]) == 0.75


def test_a_lesion_counts_as_hit_from_its_share_on():
    truth, scores = np.ones((1, 10), int), np.zeros((1, 10))
    scores[0, :3] = 0.9
    hits = [metrics.froc([(truth, scores)], [0.5], overlap=share).hits.item() for share in (0, 0.3, 0.31)]
    assert hits == [1, 1, 0]


def test_without_lesions_only_false_positives_are_defined():
    truth, scores = np.zeros((3, 3), int), np.eye(3)
    curve = metrics.froc([(truth, scores)], [0.5], connectivity=1)
    assert curve.false_positives_per_image.tolist() == [3]
    assert metrics.froc([(truth, scores)], [0.5]).false_positives_per_image.tolist() == [1]
    assert math.isnan(metrics.froc_score(curve))
    assert np.isnan(metrics.lesion_sensitivity(curve)).all()
    assert math.isnan(metrics.froc_score(metrics.froc([], [0.5])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y, s: metrics.froc([(y, s[:1])], [0.5]), "does not fit scores"),
        (lambda y, s: metrics.froc([(y, s)], []), "thresholds are empty"),
        (lambda y, s: metrics.froc([(y, s)], [0.5], overlap=2), "overlap is 2"),
        (lambda y, s: metrics.froc([(y, s)], [0.5], connectivity=3), "connectivity is 3"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 2), int), np.ones((2, 2)))
