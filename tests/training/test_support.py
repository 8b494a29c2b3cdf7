"""What is kept of the training split, and the strength that is fitted to it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestCentroid

from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS
from imbal_jax.training.support import STRENGTHS, kept_rows, write_support

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [40, 12, 3]).astype(np.int32)
FEATURES = (RNG.normal(size=(55, 6)) + 2 * np.eye(6)[LABELS]).astype(np.float32)
MEMORY = replace(METHODS["memory_head"], memory_size=10)


def test_a_rare_class_keeps_all_and_a_common_one_as_many_as_there_is_room_for() -> None:
    support = write_support(MEMORY, FEATURES, LABELS, 3, seed=0)
    assert support.keys.shape == (3, 10, 6)
    assert support.filled.tolist() == [10, 10, 3]
    np.testing.assert_array_equal(support.keys[2, :3], FEATURES[LABELS == 2])
    for c in range(3):
        kept = support.keys[c, : support.filled[c]]
        assert len(np.unique(kept, axis=0)) == len(kept)
        assert all((FEATURES[c == LABELS] == key).all(axis=1).any() for key in kept)
    assert not support.keys[2, 3:].any()


def test_what_is_kept_depends_on_the_seed_and_on_its_own_class_only() -> None:
    first = kept_rows(LABELS, 1, MEMORY, seed=0)
    np.testing.assert_array_equal(first, kept_rows(LABELS, 1, MEMORY, seed=0))
    assert (kept_rows(LABELS, 1, MEMORY, seed=1) != first).any()
    np.testing.assert_array_equal(kept_rows(LABELS[:52], 1, MEMORY, seed=0), first)  # without class 2


def test_prototypes_are_the_centroids_of_scikit_learn() -> None:
    support = write_support(METHODS["prototype_head"], FEATURES, LABELS, 3, seed=0)
    peer = NearestCentroid().fit(FEATURES, LABELS)
    np.testing.assert_allclose(support.keys[:, 0], peer.centroids_, rtol=1e-5)
    assert support.filled.tolist() == [1, 1, 1]
    unit = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    cosine = replace(METHODS["prototype_head"], memory_distance="cosine")
    found = write_support(cosine, FEATURES, LABELS, 3, seed=0).keys[:, 0]
    np.testing.assert_allclose(found, NearestCentroid().fit(unit, LABELS).centroids_, rtol=1e-5)


def test_the_strength_of_prototypes_has_the_least_leave_one_out_loss_classes_weighing_alike() -> None:
    support = write_support(METHODS["prototype_head"], FEATURES, LABELS, 3, seed=0)
    distances = np.zeros((55, 3))
    for i in range(55):  # every centroid fitted again, without the item
        others = np.arange(55) != i
        centroids = NearestCentroid().fit(FEATURES[others], LABELS[others]).centroids_
        distances[i] = ((FEATURES[i] - centroids) ** 2).sum(axis=1)
    grid = STRENGTHS / distances.mean()
    weights = 1 / np.bincount(LABELS)[LABELS]
    losses = [
        log_loss(LABELS, np.exp(log_softmax(-s * distances, axis=1)), sample_weight=weights) for s in grid
    ]
    assert support.strength == pytest.approx(grid[int(np.argmin(losses))], rel=1e-4)
    assert 0 < np.argmin(losses) < len(grid) - 1  # the data have an optimum inside the grid


def test_the_strength_of_a_memory_has_the_least_leave_one_out_loss_over_its_keys() -> None:
    support = write_support(MEMORY, FEATURES, LABELS, 3, seed=0)
    rows = np.concatenate([keys[:n] for keys, n in zip(support.keys, support.filled, strict=True)])
    classes = np.repeat([0, 1, 2], support.filled)
    cosines = cosine_similarity(rows)
    np.fill_diagonal(cosines, -np.inf)
    losses = []
    for strength in STRENGTHS:
        shares = np.maximum(softmax(strength * cosines, axis=1) @ np.eye(3)[classes], 1e-300)
        of_class = [-np.log(shares[classes == c, c]).mean() for c in range(3)]
        losses.append(np.mean(of_class))
    assert support.strength == STRENGTHS[int(np.argmin(losses))]
    assert 0 < np.argmin(losses) < len(losses) - 1


def test_a_strength_that_is_given_is_taken_and_one_example_a_class_leaves_none_out() -> None:
    assert write_support(replace(MEMORY, memory_strength=3.5), FEATURES, LABELS, 3, seed=0).strength == 3.5
    for name in ("prototype_head", "memory_head"):
        single = write_support(METHODS[name], FEATURES[[0, 41, 54]], np.arange(3), 3, seed=0)
        assert single.strength > 0
        assert np.isfinite(single.strength)


def test_a_class_without_items_is_refused() -> None:
    with pytest.raises(InputError, match="class 3 has no items"):
        write_support(MEMORY, FEATURES, LABELS, 4, seed=0)
