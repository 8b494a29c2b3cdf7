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


def support(
    seed: int, filled: tuple[int, ...], width: int = 6, slots: int = 5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """keys [C, M, D] whose empty slots hold rubbish, the same as rows, and their classes."""
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(len(filled), slots, width)).astype(np.float32)
    used = np.arange(slots) < np.array(filled)[:, None]
    return np.where(used[..., None], keys, 7e3), keys[used], np.repeat(np.arange(len(filled)), filled)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_similarities_are_those_of_scikit_learn(distance: str) -> None:
    keys, rows, _ = support(0, (3, 3), slots=3)
    queries = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    peer = (
        cosine_similarity(queries, rows)
        if distance == "cosine"
        else -(euclidean_distances(queries, rows) ** 2)
    )
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


@given(st.integers(0, 2**31), st.lists(st.integers(1, 5), min_size=3, max_size=3))
@settings(max_examples=25, deadline=None)
def test_at_infinite_strength_the_memory_is_the_nearest_neighbour_over_the_support(
    seed: int, filled: list[int]
) -> None:
    keys, rows, classes = support(seed, tuple(filled))
    queries = np.random.default_rng(seed + 1).normal(size=(20, 6)).astype(np.float32)
    nearest = KNeighborsClassifier(1, metric="cosine").fit(rows, classes).predict(queries)
    # of two nearest keys of different classes that are as near as float32 can tell, either may win
    best = np.stack(
        [cosine_similarity(queries, rows[classes == c]).max(axis=1) for c in range(len(filled))], axis=1
    )
    clear = np.diff(np.sort(best, axis=1)[:, -2:])[:, 0] > 1e-4
    logs = class_log_probabilities(1e7 * similarity(queries, keys, "cosine"), jnp.array(filled))
    assert not np.isnan(logs).any()
    np.testing.assert_allclose(np.exp(logs)[clear], np.eye(len(filled))[nearest][clear], atol=1e-6)


LOGS = jax.jit(lambda strength, cosines, filled: class_log_probabilities(strength * cosines, filled))
SLOPE = jax.jit(jax.grad(lambda strength, *given: jnp.exp(LOGS(strength, *given)).sum()))


@given(st.floats(0, 1e30), st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any))
@settings(max_examples=25, deadline=None)
def test_probabilities_sum_to_one_and_their_gradient_is_finite_at_any_strength(
    strength: float, filled: list[int]
) -> None:
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(4, 6)), rng.normal(size=(len(filled), 3, 6))

    cosines, empty = similarity(queries, keys, "cosine"), np.array(filled) == 0
    found = np.exp(LOGS(jnp.float32(strength), cosines, jnp.array(filled)))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert (found[:, empty] == 0).all()
    assert np.isfinite(SLOPE(jnp.float32(strength), cosines, jnp.array(filled)))


def attention(
    filled: tuple[int, ...] = (4, 1, 2),
) -> tuple[SupportAttention, dict, np.ndarray, np.ndarray, np.ndarray]:
    keys, rows, classes = support(3, filled, slots=4)
    module = SupportAttention(width=4, heads=2)
    variables = module.init(jax.random.key(0), rows[:1], keys, jnp.array(filled), train=False)
    return module, variables, keys, rows, classes


def by_hand(variables: dict, queries: np.ndarray, rows: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Probabilities [B, 3] of the support of ``attention``. hidden: bool [B, 7], keys that a query does not see."""
    params, classes = jax.tree.map(np.asarray, variables["params"]), np.repeat([0, 1, 2], [4, 1, 2])
    strength, mixed = np.log1p(np.exp(params["strength"])), np.zeros((len(queries), 3))
    for h in range(2):
        q, k = queries @ params["query"]["kernel"][:, h], rows @ params["key"]["kernel"][:, h]
        scores = strength[h] * cosine_similarity(q, k) - np.log(np.bincount(classes))[classes]
        mixed += softmax(np.where(hidden, -1e30, scores), axis=1) @ np.eye(3)[classes] / 2
    return (1 - FLOOR) * mixed + FLOOR / 3


def test_attention_is_the_mean_over_its_heads_of_a_softmax_that_gives_classes_one_say() -> None:
    module, variables, keys, rows, _ = attention()
    queries = np.random.default_rng(5).normal(size=(9, 6)).astype(np.float32)
    found = module.apply(variables, queries, keys, jnp.array([4, 1, 2]), train=False)
    np.testing.assert_allclose(
        np.exp(found), by_hand(variables, queries, rows, np.zeros((9, 7), bool)), rtol=1e-4
    )


def test_a_query_in_training_does_not_see_itself() -> None:
    module, variables, keys, rows, classes = attention()
    filled = jnp.array([4, 1, 2])
    found = np.exp(module.apply(variables, rows, keys, filled, train=True))
    np.testing.assert_allclose(found, by_hand(variables, rows, rows, np.eye(7, dtype=bool)), rtol=1e-4)
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
