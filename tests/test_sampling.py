from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec

from imbal_jax.sampling import batch_indices, draws, make_plan, plan_counts, resample
from imbal_jax.sampling.layout import strides
from imbal_jax.sampling.permutation import permuted

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [90, 23, 5])).astype(np.int32)
MANY = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, -1, 1], [1, 0, -1], [0, 0, 0], [-1, -1, -1]], np.int8)


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


def grid(sizes):
    side = np.ceil(np.sqrt(sizes)).astype(np.uint32)
    return side, np.ceil(sizes / side).astype(np.uint32)


permute = jax.jit(permuted)
advance = jax.jit(draws.advance)


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


# What a batch holds


@pytest.mark.parametrize(
    ("composition", "expected"),
    [
        ("balanced", [8, 8, 8]),
        ("sqrt", [14, 7, 3]),  # 24 * sqrt([90, 23, 5]) / 16.52 = [13.8, 7.0, 3.2]
        ("reversed", [1, 4, 19]),  # 24 * [1/90, 1/23, 1/5] / 0.2546 = [1.0, 4.1, 18.9]
        ([0.5, 0.25, 0.25], [12, 6, 6]),
        (np.array([5.0, 0.0, 1.0]), [20, 0, 4]),
        ([20, 3, 1], [20, 3, 1]),
        (np.array([0, 24, 0]), [0, 24, 0]),
        ([0.9999, 0.00005, 0.00005], [22, 1, 1]),
    ],
)
def test_every_batch_holds_exactly_the_promised_counts(composition, expected):
    plan = make_plan(LABELS, 24, composition)
    assert plan_counts(plan).tolist() == expected
    for start in (0, 12_345, 2**31 - 40):
        for batch in batches(plan, start, 40):
            assert np.bincount(LABELS[batch], minlength=3).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda p: sum(p) > 1e-3), st.integers(3, 200))
def test_rounded_counts_sum_to_the_batch_and_keep_every_wanted_class(proportions, batch_size):
    counts = plan_counts(make_plan(LABELS, batch_size, proportions))
    assert counts.sum() == batch_size
    exact = np.array(proportions) / sum(proportions) * batch_size
    assert ((counts > 0) == (exact > 0)).all()
    assert (np.abs(counts - exact) < 3).all()


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


# Natural


def test_natural_draws_every_item_once_a_pass():
    plan = make_plan(LABELS, 24, "natural")
    passes = batches(plan, 0, 59).reshape(12, 118)  # 59 batches of 24 are 12 passes of 118
    assert (np.sort(passes, axis=1) == np.arange(118)).all()
    assert (passes[1:] != passes[:-1]).any(axis=1).all()


def test_natural_batches_hold_the_prior_exactly_when_it_is_whole():
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    for batch_size, expected in ((10, [7, 2, 1]), (30, [21, 6, 3])):
        plan = make_plan(labels, batch_size, "natural")
        assert plan_counts(plan).tolist() == expected
        held = [np.bincount(labels[batch], minlength=3).tolist() for batch in batches(plan, 0, 40)]
        assert held == [expected] * 40


def test_natural_batches_stay_within_two_items_of_the_prior():
    plan = make_plan(LABELS, 24, "natural")
    held = np.array([np.bincount(LABELS[batch], minlength=3) for batch in batches(plan, 0, 118)])
    exact = 24 * np.array([90, 23, 5]) / 118
    assert (np.abs(held - exact) < 2).all()
    assert plan_counts(plan).tolist() == [18, 5, 1]
    np.testing.assert_allclose(held.mean(axis=0), exact, atol=1e-12)


def test_natural_passes_are_where_exact_integers_say_at_the_last_steps():
    start = 2**31 - 60
    plan = make_plan(LABELS, 24, "natural")
    drawn = batches(plan, start, 60).ravel()[-(start * 24) % 118 :]
    whole = drawn[: len(drawn) // 118 * 118].reshape(-1, 118)
    assert len(whole) > 10
    assert (np.sort(whole, axis=1) == np.arange(118)).all()


# Progressive


def test_progressive_goes_from_the_prior_to_balance_and_stays():
    plan = make_plan(LABELS, 24, "progressive", total_steps=640)
    held = np.array([np.bincount(LABELS[batch], minlength=3) for batch in batches(plan, 0, 700)])
    assert held[0].tolist() == [18, 5, 1]
    assert (held[630:] == [8, 8, 8]).all()
    assert plan_counts(plan).tolist() == [8, 8, 8]
    assert (np.diff(held[:, 0]) <= 0).all()
    assert (np.diff(held[:, 2]) >= 0).all()
    share = np.arange(640)[:, None] / 640
    expected = 24 * ((1 - share) * np.array([90, 23, 5]) / 118 + share / 3)
    assert np.abs(held[:640] - expected).max() < 1.3


def test_progressive_keeps_passes_whole_across_stages():
    plan = make_plan(LABELS, 24, "progressive", total_steps=100)
    for which, size in enumerate([90, 23, 5]):
        drawn = draws_of(plan, LABELS, which, 0, 150)
        whole = drawn[: len(drawn) // size * size].reshape(-1, size)
        assert (np.sort(whole, axis=1) == np.flatnonzero(which == LABELS)).all()


@pytest.mark.parametrize("total_steps", [1, 3, 2**31 - 1])
def test_progressive_of_any_length_ends_balanced(total_steps):
    plan = make_plan(LABELS, 24, "progressive", total_steps=total_steps)
    last = np.asarray(batch_indices(plan, total_steps - 1))
    assert np.bincount(LABELS[last]).tolist() == [8, 8, 8]


# Many labels


def test_many_labels_natural_draws_every_item_once_a_pass():
    plan = make_plan(MANY, 7, "natural")
    assert (np.sort(batches(plan, 0, 9), axis=1) == np.arange(7)).all()
    assert plan_counts(plan).tolist() == [7]


def test_many_labels_balanced_draws_from_a_pool_for_each_label_and_one_without():
    plan = make_plan(MANY, 12, "balanced")
    assert plan_counts(plan).tolist() == [3, 3, 3, 3]
    first = np.asarray(batch_indices(plan, 0))
    # Pools: label 0 in items 0 1 4, label 1 in item 1, label 2 in item 3, no positive in items 2 5 6.
    assert Counter(first.tolist()) == Counter([0, 1, 4, 1, 1, 1, 3, 3, 3, 2, 5, 6])
    sqrt = plan_counts(make_plan(MANY, 12, "sqrt"))
    assert sqrt.tolist() == [4, 2, 2, 4]  # 12 * [1.73, 1, 1, 1.73] / 5.46 = [3.8, 2.2, 2.2, 3.8]


def test_many_labels_given_counts_may_leave_out_the_pool_without_positives():
    for counts in ([4, 1, 1], [4, 1, 1, 0]):
        plan = make_plan(MANY, 6, counts)
        assert plan_counts(plan).tolist() == [4, 1, 1, 0]
        assert set(batches(plan, 0, 5).ravel().tolist()) == {0, 1, 3, 4}


def test_many_labels_have_no_extra_pool_when_every_item_has_a_positive():
    assert plan_counts(make_plan(MANY[:2, :2], 4, "balanced")).tolist() == [2, 2]


# Repeat factor


def test_repeat_factor_repeats_items_of_rare_classes_as_the_formula_says():
    # t = 0.09: f = [0.99, 0.01], so r = [1, 3], whole: 990 + 30 entries a pass.
    labels = np.repeat([0, 1], [990, 10])
    plan = make_plan(labels, 102, "repeat_factor", repeat_threshold=0.09)
    times = np.bincount(batches(plan, 0, 10).ravel(), minlength=1000)
    assert (times == np.where(labels == 1, 3, 1)).all()


def test_repeat_factor_of_many_labels_takes_the_rarest_label_of_an_item():
    labels = np.zeros((400, 2), np.int8)
    labels[:100, 0] = 1  # f = 0.25: r = max(1, sqrt(0.0225 / 0.25)) = 1
    labels[:1, 1] = 1  # f = 0.0025: r = 3
    plan = make_plan(labels, 402, "repeat_factor", repeat_threshold=0.0225)
    times = np.bincount(batches(plan, 0, 1).ravel(), minlength=400)
    assert times[0] == 3
    assert (times[1:] == 1).all()


def test_repeat_factor_rounds_fractions_at_random_and_without_bias():
    labels = np.repeat([0, 1], [9000, 1000])
    factor = np.sqrt(0.225 / 0.1)  # 1.5
    entries = [make_plan(labels, 8, "repeat_factor", repeat_threshold=0.225, seed=s).order for s in (0, 1)]
    for order in entries:
        repeated = np.bincount(np.asarray(order), minlength=10_000)[9000:]
        assert set(repeated.tolist()) == {1, 2}
        assert abs(repeated.mean() - factor) < 5 * 0.5 / np.sqrt(1000)
    assert len(entries[0]) != len(entries[1])


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


@pytest.mark.parametrize("classes", [2, 8, 9, 300])
def test_pools_hold_the_items_of_their_class_for_few_and_many_classes(classes):
    labels = np.random.default_rng(classes).permutation(np.arange(600) % classes)
    for array in (labels.astype(np.int16), jnp.asarray(labels, jnp.int32)):
        plan = make_plan(array, 300, "balanced")
        np.testing.assert_array_equal(plan.order, np.argsort(labels, kind="stable"))


def test_a_class_without_items_gets_no_place():
    labels = np.array([0, 0, 2, 2])
    for composition in ("balanced", "sqrt", "reversed", [0.5, 0.0, 0.5], [2, 0, 2], "natural"):
        plan = make_plan(labels, 4, composition)
        assert plan_counts(plan).tolist() == [2, 0, 2]
        assert np.bincount(labels[np.asarray(batch_indices(plan, 3))]).tolist() == [2, 0, 2]


# Resampling


def test_undersampling_keeps_as_many_of_each_class_as_the_rarest_has():
    items = resample(LABELS, "under", seed=1)
    assert items.dtype == np.int32
    assert np.bincount(LABELS[items]).tolist() == [5, 5, 5]
    assert len(set(items.tolist())) == 15
    assert set(items.tolist()) != set(resample(LABELS, "under", seed=2).tolist())
    np.testing.assert_array_equal(items, resample(LABELS, "under", seed=1))


def test_oversampling_repeats_the_rare_evenly_up_to_the_most_frequent():
    items = resample(LABELS, "over", seed=1)
    assert np.bincount(LABELS[items]).tolist() == [90, 90, 90]
    times = np.bincount(items, minlength=118)
    assert set(times[LABELS == 0].tolist()) == {1}
    assert set(times[LABELS == 1].tolist()) == {3, 4}  # 90 = 3 * 23 + 21
    assert set(times[LABELS == 2].tolist()) == {18}


def test_resampling_leaves_out_an_absent_class():
    assert sorted(resample(np.array([2, 0, 0]), "under").tolist())[-1] <= 2
    assert len(resample(np.array([2, 0, 0]), "over")) == 4


# Wrong input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make_plan(LABELS, 24, "ballanced"),
            "unknown composition 'ballanced'.*balanced.*repeat_factor",
        ),
        (lambda: make_plan(LABELS, 24, num_shards=5), "batch_size 24 does not divide into num_shards 5"),
        (lambda: make_plan(LABELS, 0), "batch_size 0"),
        (lambda: make_plan(LABELS, 2), "batch_size 2 cannot hold one item of each of 3 classes"),
        (lambda: make_plan(LABELS, 24, [10, 10, 10]), r"counts \[10, 10, 10\].*sum to batch_size 24"),
        (lambda: make_plan(LABELS, 24, [30, -6, 0]), "counts"),
        (lambda: make_plan(LABELS, 24, [0.5, -0.5, 1.0]), "proportions"),
        (lambda: make_plan(LABELS, 24, [0.0, 0.0, 0.0]), "proportions"),
        (lambda: make_plan(LABELS, 24, [0.5, float("nan"), 1.0]), "proportions"),
        (lambda: make_plan(LABELS, 24, [6, 6, 6, 6]), "class 3 has no item but a quota of 6"),
        (lambda: make_plan(LABELS, 24, [0.5, 0.2, 0.2, 0.1]), "class 3 has no item but a quota of 0.1"),
        (lambda: make_plan(LABELS, 24, [12, 12]), "label 2 is outside 0..1"),
        (lambda: make_plan(LABELS, 24, [True, False, True]), "composition is bool"),
        (lambda: make_plan([0, 1, -7], 4), "label -7 is outside"),
        (lambda: make_plan([0.0, 1.0], 4), "labels are float64"),
        (lambda: make_plan([], 4), r"shape \(0,\)"),
        (lambda: make_plan(np.zeros((2, 2, 2), int), 4), r"shape \(2, 2, 2\)"),
        (lambda: make_plan([[0, 1], [1, 5]], 4), "multi-hot label 5 of item 1, class 1"),
        (lambda: make_plan([[0, 1], [1, 5]], 4, "natural"), "multi-hot label 5 of item 1, class 1"),
        (lambda: make_plan([[0, 1], [1, 5]], 4, "repeat_factor"), "multi-hot label 5 of item 1, class 1"),
        (lambda: make_plan(MANY, 6, [3, 3]), "composition has 2 entries, expected 4"),
        (lambda: make_plan(LABELS, 24, seed=-1), "seed -1"),
        (lambda: make_plan(LABELS, 24, "progressive"), "progressive needs total_steps"),
        (lambda: make_plan(LABELS, 24, "progressive", total_steps=0), "total_steps of 1 or more, got 0"),
        (lambda: make_plan(LABELS, 24, "repeat_factor", repeat_threshold=0), "repeat_threshold 0"),
        (lambda: batch_indices(make_plan(LABELS, 24), -1), "step -1 is outside 0..2147483647"),
        (lambda: batch_indices(make_plan(LABELS, 24), 2**31), "step 2147483648 is outside"),
        (lambda: batch_indices(make_plan(LABELS, 24), 1.0), "step is float32, expected an integer"),
        (lambda: batch_indices(make_plan(LABELS, 24, num_shards=2), 0, 2), "shard 2 is outside 0..1"),
        (lambda: resample(LABELS, "both"), "unknown resampling scheme 'both', allowed are under, over"),
        (lambda: resample(MANY, "under"), "labels have shape"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "option", [{"batch_size": 2.5}, {"batch_size": "2"}, {"seed": 1.5}, {"num_shards": True}]
)
def test_sizes_and_seeds_that_are_no_whole_numbers_are_refused(option):
    with pytest.raises(ValueError, match="expected a whole number"):
        make_plan([0, 1, 1], **{"batch_size": 2, **option})
