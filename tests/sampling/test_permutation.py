"""The keyed permutation: a bijection, uniform in pairs, its own for every class and seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.sampling import batch_indices, make_plan
from imbal_jax.sampling.permutation import permuted

CHUNK = 128


@jax.jit
def _chunk(plan, start):
    return jax.vmap(lambda step: batch_indices(plan, step))(start + jnp.arange(CHUNK, dtype=jnp.uint32))


def batches(plan, start, count):
    """Batches start .. start + count - 1, [count, batch_size]; in chunks, to compile once a shape."""
    chunks = [np.asarray(_chunk(plan, jnp.uint32(at))) for at in range(start, start + count, CHUNK)]
    return np.concatenate(chunks)[:count]


def grid(sizes):
    side = np.ceil(np.sqrt(sizes)).astype(np.uint32)
    return side, np.ceil(sizes / side).astype(np.uint32)


permute = jax.jit(permuted)


# The keyed permutation


def test_permutation_is_a_bijection_for_every_size_up_to_300():
    sizes = np.arange(1, 301)
    of = np.repeat(sizes, sizes)
    rank = np.concatenate([np.arange(n) for n in sizes])
    for seed in range(3):
        key = np.random.default_rng(seed).integers(0, 2**32, (2, 300), np.uint32)[:, of - 1]
        image = np.asarray(permute(rank.astype(np.uint32), of.astype(np.uint32), grid(of), tuple(key)))
        expected = np.concatenate([np.arange(n) for n in sizes])
        np.testing.assert_array_equal(image[np.lexsort((image, of))], expected)


@pytest.mark.parametrize("size", [65_536, 65_537, 1_000_003, 2**24 + 3])
def test_permutation_is_a_bijection_of_large_sizes(size):
    a, b = grid(np.array(size))
    key = np.uint32(1234567891), np.uint32(4242424242)
    image = np.asarray(permute(np.arange(size, dtype=np.uint32), np.uint32(size), (a, b), key))
    seen = np.zeros(size, bool)
    seen[image] = True
    assert seen.all()


@pytest.mark.parametrize("end", ["first", "last"])
def test_permutation_of_the_largest_size_stays_inside_and_injective(end):
    size = 2**31 - 1
    a, b = grid(np.array(size))
    assert a < 2**16
    assert b < 2**16
    assert int(a) * int(b) >= size
    first = 0 if end == "first" else size - 2**18
    rank = np.arange(first, first + 2**18, dtype=np.uint32)
    image = np.asarray(permute(rank, np.uint32(size), (a, b), (np.uint32(7), np.uint32(9))))
    assert image.max() < size
    assert len(np.unique(image)) == 2**18
    # Spread over the whole range: each sixteenth holds its share, to six standard deviations.
    share = np.bincount(image.astype(np.int64) * 16 // size, minlength=16)
    np.testing.assert_allclose(share, 2**14, atol=6 * 2**7)


def test_every_item_is_equally_likely_at_every_position():
    # Chi-square of the table item x position over 4096 passes; (n - 1)^2 degrees of freedom.
    size, passes = 12, 4096
    plan = make_plan(np.zeros(size, np.int32), size)
    items = batches(plan, 0, passes)
    table = np.stack([np.bincount(items[:, position], minlength=size) for position in range(size)])
    statistic = ((table - passes / size) ** 2 / (passes / size)).sum()
    freedom = (size - 1) ** 2
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("size", [6, 9, 12])
def test_every_pair_of_items_is_equally_likely_at_two_places(size):
    # Rank 0 and another under 40,000 keys: n (n - 1) ordered pairs.
    keys = np.random.default_rng(size).integers(0, 2**32, (2, 40_000), np.uint32)
    of = np.full(40_000, size)
    first, *others = (
        np.asarray(permute(np.full(40_000, rank, np.uint32), of.astype(np.uint32), grid(of), tuple(keys)))
        for rank in (0, 1, size // 2, size - 1)
    )
    for other in others:
        table = np.bincount(first * size + other, minlength=size**2).reshape(size, size)
        assert (np.diag(table) == 0).all()
        expected = 40_000 / (size * (size - 1))
        freedom = size * (size - 1) - 1
        statistic = ((table[~np.eye(size, dtype=bool)] - expected) ** 2 / expected).sum()
        assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


def test_successive_passes_are_uncorrelated():
    size, passes = 1009, 256
    items = batches(make_plan(np.zeros(size, np.int32), size), 0, passes).astype(np.float64)
    centred = items - items.mean(axis=1, keepdims=True)
    correlation = (centred[1:] * centred[:-1]).mean(axis=1) / items.var(axis=1)[1:]
    assert abs(correlation.mean()) < 5 / np.sqrt(size * passes)
    # Two independent permutations agree in one place on average.
    assert abs((items[1:] == items[:-1]).sum(axis=1).mean() - 1) < 5 / np.sqrt(passes)
    # Nor do neighbours stay neighbours within a pass.
    assert abs((np.abs(np.diff(items, axis=1)) == 1).sum(axis=1).mean() - 2) < 5 * np.sqrt(2 / passes)


def test_classes_and_seeds_have_permutations_of_their_own():
    labels = np.repeat([0, 1], 500)
    one, other = (batches(make_plan(labels, 1000, seed=seed), 0, 1)[0] for seed in (1, 2))
    agree = np.mean(one == other)
    assert agree < 0.02
    first, second = one[labels[one] == 0], one[labels[one] == 1] - 500
    assert np.mean(first == second) < 0.02
