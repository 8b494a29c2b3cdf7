"""The memory of MANN against a program in numpy that goes slot by slot, and laws of its addressing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imbal_jax.models.least_used import Heads, LeastUsedAccess, Memory, content_weights, least_used

B, R, M, N = 2, 3, 5, 7


def state(seed: int, strengths: bool = False) -> tuple[Memory, Heads]:
    random = np.random.default_rng(seed)
    weights = random.random((B, R, N)).astype(np.float32)
    memory = Memory(
        jnp.asarray(random.standard_normal((B, M, N)), jnp.float32),
        jnp.asarray(weights / weights.sum(-1, keepdims=True)),
        jnp.asarray(random.random((B, N)), jnp.float32),
    )
    keys, adds = (jnp.asarray(random.standard_normal((B, R, M)), jnp.float32) for _ in range(2))
    gates = jnp.asarray(random.random((B, R)), jnp.float32)
    beta = jnp.asarray(1 + 9 * random.random((B, R)), jnp.float32) if strengths else None
    return memory, Heads(keys, adds, gates, beta)


def one_by_one(memory: Memory, heads: Heads, access: LeastUsedAccess) -> tuple[list[np.ndarray], np.ndarray]:
    """Content, read weights, usage and what is read after one step: loops over episodes, heads and slots."""
    content, before, usage = (np.array(part, np.float64) for part in memory)
    keys, adds, gates = (np.array(part, np.float64) for part in heads[:3])
    strengths = np.ones((B, R)) if heads.strengths is None else np.asarray(heads.strengths)
    reading, read, after_usage = np.zeros((B, R, N)), np.zeros((B, R, M)), access.usage_decay * usage
    for b in range(B):
        order = sorted(range(N), key=lambda i: (usage[b, i], i))[:R]
        for slot in order[:1] if access.erase == "single" else order:
            content[b, :, slot] = 0.0
        for r in range(R):
            free = [order[r]] if access.target == "own" else order
            for slot in range(N):
                weight = gates[b, r] * before[b, r, slot] + (1 - gates[b, r]) * (slot in free)
                content[b, :, slot] += weight * (adds if access.write == "add" else keys)[b, r]
                after_usage[b, slot] += weight
        for r in range(R):
            for slot in range(N):
                length = np.linalg.norm(keys[b, r]) * np.linalg.norm(content[b, :, slot])
                reading[b, r, slot] = np.exp(strengths[b, r] * keys[b, r] @ content[b, :, slot] / length)
            reading[b, r] /= reading[b, r].sum()
            after_usage[b] += reading[b, r]
            read[b, r] = sum(reading[b, r, slot] * content[b, :, slot] for slot in range(N))
    return [content, reading, after_usage], read


@pytest.mark.parametrize("strengths", [False, True])
@pytest.mark.parametrize("erase", ["single", "all"])
@pytest.mark.parametrize(("write", "target"), [("add", "own"), ("key", "shared"), ("key", "own")])
def test_a_step_is_that_of_a_program_slot_by_slot(
    write: str, target: str, erase: str, strengths: bool
) -> None:
    access = LeastUsedAccess(0.95, write, erase, target)
    memory, heads = state(1, strengths)
    actual, read = access(memory, heads)
    expected, expected_read = one_by_one(memory, heads, access)
    for a, e in zip((*actual, read), (*expected, expected_read), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)


@given(
    arrays.arrays(np.float32, (1, R, M), elements=st.floats(-1e4, 1e4, width=32)),
    arrays.arrays(np.float32, (1, M, N), elements=st.floats(-1e4, 1e4, width=32)),
    st.floats(0, 1000, width=32),
)
@settings(max_examples=50, deadline=None)
def test_read_weights_sum_to_one_and_are_not_negative(
    keys: np.ndarray, content: np.ndarray, strength: float
) -> None:
    weights = np.asarray(content_weights(keys, content, jnp.full((1, R), strength)))
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)


@given(arrays.arrays(np.float32, (4, N), elements=st.integers(0, 3).map(float)), st.integers(1, N))
@settings(max_examples=50, deadline=None)
def test_least_used_slots_are_the_first_of_a_stable_sort(usage: np.ndarray, count: int) -> None:
    expected = np.argsort(usage, axis=-1, kind="stable")[:, :count]
    found = np.asarray(least_used(jnp.asarray(usage), count))
    np.testing.assert_array_equal(found.argmax(-1), expected)
    np.testing.assert_array_equal(found.sum(-1), 1.0)


def test_a_vector_written_to_a_free_slot_is_read_back_by_a_sharp_key() -> None:
    memory, heads = state(2)
    sharp = heads._replace(
        gates=jnp.zeros((B, R)), keys=heads.adds, strengths=jnp.full((B, R), 1e4, jnp.float32)
    )
    access = LeastUsedAccess(erase="all")
    _, read = access(memory, sharp)
    np.testing.assert_allclose(read, heads.adds, rtol=1e-4, atol=1e-4)


def test_writes_of_several_heads_do_not_depend_on_their_order() -> None:
    memory, heads = state(3)
    turned = jax.tree.map(lambda part: part[:, ::-1], heads)
    access = LeastUsedAccess(erase="all", target="shared")
    one = access(memory, heads)[0]
    other = access(memory._replace(read_weights=memory.read_weights[:, ::-1]), turned)[0]
    np.testing.assert_allclose(one.content, other.content, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.usage, other.usage, rtol=1e-5)


def test_gradients_of_an_empty_memory_and_an_empty_key_are_finite() -> None:
    def loss(keys: jax.Array, content: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(content_weights(keys, content, jnp.full((B, R), 1e3))))

    for gradient in jax.grad(loss, (0, 1))(jnp.zeros((B, R, M)), jnp.zeros((B, M, N))):
        assert np.isfinite(gradient).all()


def test_no_gradient_flows_through_usage() -> None:
    memory, heads = state(4)

    def loss(usage: jax.Array) -> jax.Array:
        after, read = LeastUsedAccess()(memory._replace(usage=usage), heads)
        return jnp.sum(read) + jnp.sum(after.usage) + jnp.sum(after.content)

    np.testing.assert_array_equal(jax.grad(loss)(memory.usage), 0.0)
