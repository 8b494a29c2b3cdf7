"""Pools of items: of many labels, with repeats, resampled."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.sampling import batch_indices, make_plan, plan_counts, resample

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
