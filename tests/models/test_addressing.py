"""Laws of reading, writing and finding places of a memory, and the equations written out in numpy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from imbal_jax.models.addressing import (
    by_content,
    cosine_similarity,
    interpolate,
    read,
    sharpen,
    shift,
    write,
)

HEADS, PLACES, WIDTH = 2, 7, 4
LAW = settings(max_examples=30, deadline=None)

written, turned = jax.jit(write), jax.jit(shift)

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([0.0, 1e-6, 1.0, 30.0, 1e4])


def numbers(seed: int, *shape: int, scale: float = 1.0) -> jax.Array:
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def weightings(seed: int, *shape: int) -> jax.Array:
    return jax.nn.softmax(numbers(seed, *shape, scale=3.0), axis=-1)


@jax.jit
def addressed(keys, strengths, memory, gates, previous, shifts, exponents):
    """A weighting as a head makes it of what its controller says, before any activation."""
    found = by_content(keys, jax.nn.softplus(strengths), memory)
    mixed = interpolate(found, previous, jax.nn.sigmoid(gates))
    return sharpen(shift(mixed, jax.nn.softmax(shifts, axis=-1)), 1 + jax.nn.softplus(exponents))


SLOPES = jax.jit(
    jax.grad(lambda of, *args: (addressed(*args) * of).sum(), argnums=tuple(range(1, 8)))  # type: ignore[operator]
)


def said(seed: int, scale: float) -> list[jax.Array]:
    shapes = [(HEADS, WIDTH), (HEADS,), (PLACES, WIDTH), (HEADS,), None, (HEADS, 3), (HEADS,)]
    return [
        weightings(seed, HEADS, PLACES) if shape is None else numbers(seed + k, *shape, scale=scale)
        for k, shape in enumerate(shapes)
    ]


@LAW
@given(seed=seeds, scale=scales)
def test_a_weighting_sums_to_one_and_is_not_negative_whatever_the_controller_says(
    seed: int, scale: float
) -> None:
    found = addressed(*said(seed, scale))
    assert (np.asarray(found) >= 0).all()
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=2e-6)


@LAW
@given(seed=seeds, scale=scales)
def test_its_gradients_are_finite_whatever_the_controller_says(seed: int, scale: float) -> None:
    given = said(seed, scale)
    slopes = SLOPES(numbers(seed + 9, HEADS, PLACES), *given)
    assert all(np.isfinite(slope).all() for slope in slopes)


@LAW
@given(seed=seeds, by=st.integers(-2, 2))
def test_a_one_hot_shift_rotates_exactly(seed: int, by: int) -> None:
    weighting = weightings(seed, PLACES)
    moved = turned(weighting, jax.nn.one_hot(by + 2, 5))
    np.testing.assert_array_equal(moved, np.roll(weighting, by))


def test_a_distribution_over_an_even_number_of_shifts_is_refused() -> None:
    with pytest.raises(ValueError, match="over 4 shifts: give an odd number"):
        shift(jnp.ones(7) / 7, jnp.ones(4) / 4)


@LAW
@given(seed=seeds)
def test_the_order_of_heads_does_not_matter_as_all_erase_before_any_adds(seed: int) -> None:
    memory, w = numbers(seed, PLACES, WIDTH), weightings(seed + 1, 3, PLACES)
    erase = jax.nn.sigmoid(numbers(seed + 2, 3, WIDTH))
    add = numbers(seed + 3, 3, WIDTH)
    orders = map(np.array, itertools.permutations(range(3)))
    found = [written(memory, w[order], erase[order], add[order]) for order in orders]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-5, atol=1e-6)


@LAW
@given(seed=seeds, place=st.integers(0, PLACES - 1))
def test_what_is_written_over_an_erased_place_is_read_there_and_nothing_else_changes(
    seed: int, place: int
) -> None:
    memory, vector = numbers(seed, PLACES, WIDTH), numbers(seed + 1, 1, WIDTH)
    there = jax.nn.one_hot(jnp.array([place]), PLACES)
    after = written(memory, there, jnp.ones((1, WIDTH)), vector)
    np.testing.assert_array_equal(read(after, there), vector)
    np.testing.assert_array_equal(np.delete(after, place, 0), np.delete(memory, place, 0))


@pytest.mark.parametrize("exponent", [1.0, 1e3, 1e20, 1e37])
def test_an_extreme_exponent_gives_no_nan_in_value_and_gradient(exponent: float) -> None:
    weighting = jnp.array([0.0, 1e-30, 1e-3, 0.25, 0.5, 0.249])
    weighting = weighting / weighting.sum()

    def first(w: jax.Array, c: jax.Array) -> jax.Array:
        return (sharpen(w, c) * jnp.arange(6.0)).sum()

    value, slopes = jax.value_and_grad(first, argnums=(0, 1))(weighting, jnp.float32(exponent))
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)
    if exponent > 1:
        np.testing.assert_allclose(sharpen(weighting, jnp.float32(exponent)), [0, 0, 0, 0, 1, 0], atol=1e-6)


def test_the_exponent_one_changes_nothing_and_equal_weights_stay_equal() -> None:
    weighting = weightings(0, HEADS, PLACES)
    np.testing.assert_allclose(sharpen(weighting, jnp.ones(HEADS)), weighting, rtol=1e-5)
    even = jnp.full((1, PLACES), 1 / PLACES)
    np.testing.assert_allclose(sharpen(even, jnp.array([1e30])), even, rtol=1e-6)


def test_numerical_gradients_agree() -> None:
    with jax.enable_x64(True):
        given = [jnp.asarray(value, jnp.float64) for value in said(3, 0.7)]
        check_grads(addressed, given, order=1, modes=["rev"], atol=1e-6, rtol=1e-6)
        memory, w = given[2], given[4]
        vectors = jax.nn.sigmoid(given[0]), given[0]
        check_grads(write, (memory, w, *vectors), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)
        check_grads(read, (memory, w), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_every_equation_is_the_one_written_out() -> None:
    rng = np.random.default_rng(5)
    memory, key = rng.normal(size=(PLACES, WIDTH)), rng.normal(size=WIDTH)
    before, s = rng.dirichlet(np.ones(PLACES)), rng.dirichlet(np.ones(3))
    strength, gate, exponent = 2.5, 0.3, 4.0
    cosines = [key @ row / np.linalg.norm(key) / np.linalg.norm(row) for row in memory]
    powers = np.exp(strength * np.array(cosines))
    content = powers / powers.sum()
    mixed = gate * content + (1 - gate) * before
    moved = np.zeros(PLACES)
    for i in range(PLACES):
        for j in range(PLACES):
            if (offset := (i - j) % PLACES) in (0, 1, PLACES - 1):
                moved[i] += mixed[j] * s[{PLACES - 1: 0, 0: 1, 1: 2}[offset]]
    sharp = moved**exponent / (moved**exponent).sum()

    found = cosine_similarity(jnp.asarray(key)[None], jnp.asarray(memory))
    np.testing.assert_allclose(found[0], cosines, rtol=1e-5, atol=1e-6)
    found = by_content(jnp.asarray(key)[None], jnp.array([strength]), jnp.asarray(memory))
    np.testing.assert_allclose(found[0], content, rtol=1e-5)
    found = interpolate(found, jnp.asarray(before)[None], jnp.array([gate]))
    np.testing.assert_allclose(found[0], mixed, rtol=1e-5)
    found = shift(found, jnp.asarray(s)[None])
    np.testing.assert_allclose(found[0], moved, rtol=1e-5)
    found = sharpen(found, jnp.array([exponent]))
    np.testing.assert_allclose(found[0], sharp, rtol=1e-4)


def test_a_key_or_a_place_of_zeros_has_no_direction() -> None:
    memory = jnp.zeros((PLACES, WIDTH)).at[1].set(1.0)
    assert (cosine_similarity(jnp.zeros((1, WIDTH)), memory) == 0).all()
    found = cosine_similarity(jnp.ones((1, WIDTH)), memory)
    np.testing.assert_allclose(found[0], np.eye(PLACES)[1], atol=1e-5)
