"""The items of a batch: once before twice, at any step, shard and transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec

from imbal_jax.sampling import batch_indices, draws, make_plan, plan_counts
from imbal_jax.sampling.layout import strides

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [90, 23, 5])).astype(np.int32)


CHUNK = 128


@jax.jit
def _chunk(plan, start):
    return jax.vmap(lambda step: batch_indices(plan, step))(start + jnp.arange(CHUNK, dtype=jnp.uint32))


def batches(plan, start, count):
    """Batches start .. start + count - 1, [count, batch_size]; in chunks, to compile once a shape."""
    chunks = [np.asarray(_chunk(plan, jnp.uint32(at))) for at in range(start, start + count, CHUNK)]
    return np.concatenate(chunks)[:count]


def draws_of(plan, labels, which, start, count):
    """The items of one class in the order in which they are drawn."""
    drawn = batches(plan, start, count).ravel()
    return drawn[labels[drawn] == which]


advance = jax.jit(draws.advance)


# What a batch holds


@pytest.mark.parametrize("composition", ["balanced", [16, 4, 4], "natural", "progressive"])
@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_shards_concatenate_to_one_global_batch_whatever_their_number(composition, num_shards):
    whole = make_plan(LABELS, 24, composition, total_steps=100)
    plan = make_plan(LABELS, 24, composition, total_steps=100, num_shards=num_shards)
    for step in (0, 7, 99, 2**31 - 1):
        parts = [np.asarray(batch_indices(plan, step, shard)) for shard in range(num_shards)]
        assert {part.shape for part in parts} == {(24 // num_shards,)}
        np.testing.assert_array_equal(np.concatenate(parts), batch_indices(whole, step))


@pytest.mark.parametrize(("composition", "num_shards"), [([16, 4, 4], 4), ("balanced", 8), ([12, 6, 6], 3)])
def test_shards_hold_equal_counts_where_their_number_divides_them(composition, num_shards):
    plan = make_plan(LABELS, 24, composition, num_shards=num_shards)
    expected = (plan_counts(plan) // num_shards).tolist()
    for shard in range(num_shards):
        for step in range(3):
            held = LABELS[np.asarray(batch_indices(plan, step, shard))]
            assert np.bincount(held, minlength=3).tolist() == expected


def test_shards_are_close_to_equal_where_their_number_does_not_divide_the_counts():
    plan = make_plan(LABELS, 32, [25, 6, 1], num_shards=4)
    held = [np.bincount(LABELS[np.asarray(batch_indices(plan, 5, shard))], minlength=3) for shard in range(4)]
    assert (np.ptp(held, axis=0) <= 2).all()


# Once before twice


@pytest.mark.parametrize("composition", ["balanced", "sqrt", [20, 3, 1], [4, 4, 16]])
def test_every_item_of_a_class_is_drawn_once_before_any_twice(composition):
    plan = make_plan(LABELS, 24, composition)
    for which, size in enumerate([90, 23, 5]):
        drawn = draws_of(plan, LABELS, which, 0, 120)
        passes = len(drawn) // size
        assert passes >= 1
        in_passes = drawn[: passes * size].reshape(passes, size)
        np.testing.assert_array_equal(
            np.sort(in_passes, axis=1), np.tile(np.flatnonzero(which == LABELS), (passes, 1))
        )
        if passes > 1:
            assert (in_passes[1:] != in_passes[:-1]).any()


@pytest.mark.parametrize("start", [2**30 + 11, 2**31 - 100])
def test_passes_are_where_exact_integers_say_at_the_last_steps(start):
    plan = make_plan(LABELS, 24, [13, 7, 4])
    for which, (quota, size) in enumerate(zip([13, 7, 4], [90, 23, 5], strict=True)):
        drawn = draws_of(plan, LABELS, which, start, 100)
        to_next_pass = -(start * quota) % size
        whole = (len(drawn) - to_next_pass) // size
        in_passes = drawn[to_next_pass : to_next_pass + whole * size].reshape(whole, size)
        assert whole >= 4
        assert (np.sort(in_passes, axis=1) == np.flatnonzero(which == LABELS)).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31 - 1),
    st.lists(st.tuples(st.integers(1, 2**31 - 1), st.integers(0, 2**20)), min_size=2, max_size=2),
)
def test_pass_and_position_match_exact_integers_for_any_step_size_and_quota(step, pools):
    sizes, quotas = (np.array(column, np.int64) for column in zip(*pools, strict=True))
    stride = strides(quotas[None], sizes)[0].astype(np.uint32)
    start = np.array([[3, 4], sizes - 1], np.uint32)
    passes, position = advance(start, stride, jnp.uint32(step), sizes.astype(np.uint32))
    for stream, (size, quota) in enumerate(pools):
        exact = divmod(step * quota + size - 1, size)
        assert int(position[stream]) == exact[1]
        assert int(passes[stream]) == (exact[0] + 3 + stream) % 2**32


def test_a_draw_depends_only_on_its_number_in_its_class():
    # The rare class is drawn in the same order whether 2 or 8 are drawn a batch.
    slow, fast = make_plan(LABELS, 24, [20, 2, 2]), make_plan(LABELS, 24, [8, 8, 8])
    np.testing.assert_array_equal(draws_of(slow, LABELS, 2, 0, 40), draws_of(fast, LABELS, 2, 0, 10))


def test_items_beyond_2_to_the_24_are_all_reachable():
    labels = np.zeros(2**24 + 101, np.uint8)
    labels[-101:] = 1
    plan = make_plan(labels, 202)
    drawn = batches(plan, 0, 20)
    rare = drawn[labels[drawn] == 1].reshape(20, 101)
    assert (np.sort(rare, axis=1) == np.arange(2**24, 2**24 + 101)).all()


# Purity


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    plans = [make_plan(LABELS, 24, seed=seed) for seed in (5, 5, 6)]
    same, again, other = (batches(plan, 0, 5) for plan in plans)
    np.testing.assert_array_equal(same, again)
    assert (same != other).mean() > 0.5


def test_batches_agree_eager_jitted_vmapped_and_for_every_type_of_step():
    plan = make_plan(LABELS, 24, num_shards=2)
    eager = np.asarray(batch_indices(plan, 1000))
    assert eager.dtype == np.int32
    for step in (np.int64(1000), jnp.int32(1000), jnp.uint32(1000)):
        np.testing.assert_array_equal(batch_indices(plan, step), eager)
    np.testing.assert_array_equal(jax.jit(batch_indices)(plan, 1000), eager)
    np.testing.assert_array_equal(batches(plan, 999, 2)[1], eager)
    per_shard = jax.vmap(batch_indices, (None, None, 0))(plan, 1000, jnp.arange(2))
    np.testing.assert_array_equal(per_shard.ravel(), eager)


def test_each_device_draws_its_own_shard_under_shard_map():
    plan = make_plan(LABELS, 24, "balanced", num_shards=4)
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))

    def draw(plan, step):
        return batch_indices(plan, step, jax.lax.axis_index("data"))

    sharded = jax.jit(
        jax.shard_map(
            draw, mesh=mesh, in_specs=(PartitionSpec(), PartitionSpec()), out_specs=PartitionSpec("data")
        )
    )
    for step in (0, 3, 2**31 - 1):
        drawn = jax.block_until_ready(sharded(plan, jnp.uint32(step)))
        np.testing.assert_array_equal(drawn, batch_indices(plan, step))


def test_a_sweep_over_ratios_and_seeds_compiles_once():
    traces = 0

    @jax.jit
    def step(plan, number):
        nonlocal traces
        traces += 1
        return batch_indices(plan, number)

    for seed, rare in enumerate((1, 3, 20, 50)):
        labels = (np.arange(100) < rare).astype(np.int32)
        for composition in ("balanced", "reversed", [0.75, 0.25], [12, 4]):
            drawn = np.asarray(step(make_plan(labels, 16, composition, seed=seed), seed))
            expected = plan_counts(make_plan(labels, 16, composition))
            assert np.bincount(labels[drawn], minlength=2).tolist() == expected.tolist()
    assert traces == 1
