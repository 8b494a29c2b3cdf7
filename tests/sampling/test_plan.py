"""The plan of every batch: its counts, its stages, and what it refuses."""

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


def draws_of(plan, labels, which, start, count):
    """The items of one class in the order in which they are drawn."""
    drawn = batches(plan, start, count).ravel()
    return drawn[labels[drawn] == which]


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
