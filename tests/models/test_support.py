"""Heads that compare features with stored ones, beside scikit-learn and numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from imbal_jax.models.support import FLOOR, SupportAttention, class_log_probabilities, similarity


def support(seed: int, filled: tuple[int, ...], width: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """keys [C, M, D] whose empty slots hold rubbish, the same as rows, and their classes."""
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(len(filled), max(filled), width)).astype(np.float32)
    used = np.arange(max(filled)) < np.array(filled)[:, None]
    return np.where(used[..., None], keys, 7e3), keys[used], np.repeat(np.arange(len(filled)), filled)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_similarities_are_those_of_scikit_learn(distance: str) -> None:
    keys, rows, _ = support(0, (3, 3))
    queries = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    peer = cosine_similarity(queries, rows) if distance == "cosine" else -(euclidean_distances(queries, rows) ** 2)
    found = similarity(queries, keys, distance)
    assert found.shape == (5, 2, 3)
    np.testing.assert_allclose(np.reshape(found, (5, 6)), peer, rtol=1e-5, atol=1e-5)


def test_probabilities_are_the_softmax_over_the_slots_summed_by_class() -> None:
    keys, rows, classes = support(0, (1, 4, 2))
    queries = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)
    weights = softmax(5 * cosine_similarity(queries, rows), axis=1)
    expected = weights @ np.eye(3)[classes]
    logs = class_log_probabilities(5 * similarity(queries, keys, "cosine"), jnp.array([1, 4, 2]))
    np.testing.assert_allclose(np.exp(logs), expected, rtol=1e-5)


def test_class_means_decide_as_scikit_learns_nearest_centroid() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [30, 10, 3])
    features = rng.normal(size=(43, 5)) + 2 * np.eye(5)[labels]
    means = np.stack([features[labels == c].mean(axis=0) for c in range(3)])[:, None]
    queries = rng.normal(size=(200, 5)) + 1
    logs = class_log_probabilities(3 * similarity(queries, means, "euclidean"), jnp.ones(3, jnp.int32))
    peer = NearestCentroid().fit(features, labels)
    np.testing.assert_array_equal(np.argmax(logs, axis=1), peer.predict(queries))


@given(st.integers(0, 2**31), st.lists(st.integers(1, 5), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_at_infinite_strength_the_memory_is_the_nearest_neighbour_over_the_support(
    seed: int, filled: list[int]
) -> None:
    keys, rows, classes = support(seed, tuple(filled))
    queries = np.random.default_rng(seed + 1).normal(size=(20, 6)).astype(np.float32)
    nearest = KNeighborsClassifier(1, metric="cosine").fit(rows, classes).predict(queries)
    # of two nearest keys of different classes that are as near as float32 can tell, either may win
    best = np.stack([cosine_similarity(queries, rows[classes == c]).max(axis=1) for c in range(len(filled))], axis=1)
    clear = np.diff(np.sort(best, axis=1)[:, -2:])[:, 0] > 1e-4
    logs = class_log_probabilities(1e7 * similarity(queries, keys, "cosine"), jnp.array(filled))
    assert not np.isnan(logs).any()
    np.testing.assert_allclose(np.exp(logs)[clear], np.eye(len(filled))[nearest][clear], atol=1e-6)


@given(st.floats(0, 1e30), st.lists(st.integers(0, 3), min_size=2, max_size=4).filter(any))
@settings(max_examples=40, deadline=None)
def test_probabilities_sum_to_one_and_their_gradient_is_finite_at_any_strength(
    strength: float, filled: list[int]
) -> None:
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(4, 6)), rng.normal(size=(len(filled), 3, 6))

    def logs(strength: jax.Array) -> jax.Array:
        return class_log_probabilities(strength * similarity(queries, keys, "cosine"), jnp.array(filled))

    found, empty = np.exp(logs(jnp.float32(strength))), np.array(filled) == 0
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert (found[:, empty] == 0).all()
    gradient = jax.grad(lambda s: jnp.exp(logs(s)).sum())(jnp.float32(strength))
    assert np.isfinite(gradient)


def attention(
    filled: tuple[int, ...] = (4, 1, 2),
) -> tuple[SupportAttention, dict, np.ndarray, np.ndarray, np.ndarray]:
    keys, rows, classes = support(3, filled)
    module = SupportAttention(width=4, heads=2)
    variables = module.init(jax.random.key(0), rows[:1], keys, jnp.array(filled), train=False)
    return module, variables, keys, rows, classes


def test_attention_is_the_mean_over_its_heads_of_a_softmax_that_gives_classes_one_say() -> None:
    module, variables, keys, rows, classes = attention()
    queries = np.random.default_rng(5).normal(size=(7, 6)).astype(np.float32)
    params = jax.tree.map(np.asarray, variables["params"])
    strength = np.log1p(np.exp(params["strength"]))
    expected = np.zeros((7, 3))
    for h in range(2):
        q, k = queries @ params["query"]["kernel"][:, h], rows @ params["key"]["kernel"][:, h]
        scores = strength[h] * cosine_similarity(q, k) - np.log(np.bincount(classes))[classes]
        expected += softmax(scores, axis=1) @ np.eye(3)[classes] / 2
    found = module.apply(variables, queries, keys, jnp.array([4, 1, 2]), train=False)
    np.testing.assert_allclose(np.exp(found), (1 - FLOOR) * expected + FLOOR / 3, rtol=1e-4)


def test_a_query_in_training_does_not_see_itself() -> None:
    module, variables, keys, rows, classes = attention()
    filled = jnp.array([4, 1, 2])
    found = np.exp(module.apply(variables, rows, keys, filled, train=True))
    for i, row in enumerate(rows[:4]):  # class 0: as if the support held the other three
        others = keys.copy()
        others[0, :3], others[0, 3] = np.delete(rows[:4], i, axis=0), 7e3
        weight = module.apply(variables, row[None], others, jnp.array([3, 1, 2]), train=False)
        # the count of its class stays 4 in training, so that its class's odds are 3 / 4 of those
        odds = np.exp(weight[0]) - FLOOR / 3
        assert found[i, 0] < np.exp(module.apply(variables, row[None], keys, filled, train=False))[0, 0]
        assert found[i, 0] - FLOOR / 3 < odds[0]
    assert found[4, 1] == pytest.approx(FLOOR / 3, rel=1e-4)  # the only one of its class

    def loss(params: dict) -> jax.Array:
        logs = module.apply({"params": params}, rows, keys, filled, train=True)
        return -jnp.take_along_axis(logs, classes[:, None], axis=1).mean()

    assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.grad(loss)(variables["params"])))


def test_what_empty_slots_hold_does_not_count() -> None:
    module, variables, keys, _, _ = attention()
    filled, queries = jnp.array([4, 1, 2]), np.ones((2, 6), np.float32)
    others = keys.copy()
    others[1, 1:] = -3.0
    np.testing.assert_array_equal(
        module.apply(variables, queries, keys, filled, train=False),
        module.apply(variables, queries, others, filled, train=False),
    )
