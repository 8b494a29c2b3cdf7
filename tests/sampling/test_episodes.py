"""Episodes: distinct classes and pictures, exact counts, the same for any number of devices, uniform classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from imbal_jax.sampling.episodes import NOT_SHOWN, draw_episodes, make_episodes, presentations

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(30), 12))
draw = jax.jit(draw_episodes)


def drawn(plan, step=0, count=8):
    return jax.tree.map(np.asarray, draw(plan, step, jnp.arange(count)))


@settings(max_examples=12, deadline=None)
@given(
    ways=st.sampled_from([2, 5]),
    shots=st.sampled_from([1, 4]),
    queries=st.sampled_from([0, 2]),
    step=st.integers(0, 2**31 - 1),
)
def test_classes_and_pictures_of_an_episode_are_distinct_and_counts_exact(ways, shots, queries, step):
    plan = make_episodes(LABELS, ways, shots, queries=queries)
    found = drawn(plan, step)
    assert found.items.shape == (8, ways * (shots + queries)) == (8, plan.steps)
    for items, shown, targets in zip(*found, strict=True):
        assert len(set(items.tolist())) == plan.steps
        names = np.where(shown == NOT_SHOWN, targets, shown)
        assert np.bincount(names, minlength=ways).tolist() == [shots + queries] * ways
        # one class a label, another one for every label
        classes = {name: set(LABELS[items[names == name]].tolist()) for name in range(ways)}
        assert all(len(members) == 1 for members in classes.values())
        assert len(set.union(*classes.values())) == ways
        if queries:
            assert (shown[: ways * shots] >= 0).all()
            assert (shown[ways * shots :] == NOT_SHOWN).all()
            assert (targets[: ways * shots] == NOT_SHOWN).all()
            assert (targets[ways * shots :] >= 0).all()
        else:
            assert (shown == targets).all()


def test_an_episode_depends_on_step_and_place_alone():
    plan = make_episodes(LABELS, 5, 3, seed=7)
    whole = drawn(plan, step=11, count=8)
    for first in (0, 2, 6):
        part = draw(plan, 11, jnp.arange(first, first + 2))
        for a, b in zip(part, whole, strict=True):
            np.testing.assert_array_equal(a, b[first : first + 2])
    assert (drawn(plan, step=12).items != whole.items).any()
    assert (drawn(make_episodes(LABELS, 5, 3, seed=8), step=11).items != whole.items).any()


def test_classes_pictures_and_orders_are_uniform():
    plan = make_episodes(LABELS, 3, 2)
    found = drawn(plan, count=6000)
    classes = LABELS[found.items]
    names = found.targets
    for name in range(3):  # of each label, the class
        first = classes[np.arange(6000), (names == name).argmax(axis=1)]
        assert stats.chisquare(np.bincount(first, minlength=30)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(found.items.ravel(), minlength=360)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(names[:, 0], minlength=3)).pvalue > 1e-4
    adjacent = (names[:, 0] == names[:, 1]).mean()  # of 6 places with 3 pairs: 1 in 5
    assert abs(adjacent - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 6000)


def test_a_long_tail_has_its_counts():
    plan = make_episodes(LABELS, 5, 10, long_tail=10)
    assert plan.support == (10, 6, 3, 2, 1)  # 10 * 10 ** (-j / 4): 10, 5.6, 3.2, 1.8, 1
    for shown in drawn(plan).shown:
        assert np.bincount(shown).tolist() == [10, 6, 3, 2, 1]


def test_string_labels_are_drawn_without_repeats():
    plan = make_episodes(LABELS, 5, 2, names=3125)
    found = drawn(plan, count=500)
    for shown in found.shown:
        assert len(set(shown.tolist())) == 5
        assert (np.bincount(shown)[np.unique(shown)] == 2).all()
    assert stats.kstest(found.shown.ravel() / 3125, "uniform").pvalue > 1e-4


def test_classes_with_too_few_pictures_are_left_out():
    labels = np.concatenate([np.repeat(np.arange(6), 4), [6, 6]])
    found = drawn(make_episodes(labels, 3, 4), count=200)
    assert set(labels[found.items].ravel().tolist()) == set(range(6))
    with pytest.raises(ValueError, match="6 classes have the 4 pictures"):
        make_episodes(labels, 7, 4)


@pytest.mark.parametrize(
    ("ways", "shots", "options"),
    [(1, 1, {}), (2, 0, {}), (2, 1, {"queries": -1}), (2, 1, {"long_tail": 0.5}), (3, 1, {"names": 2})],
)
def test_values_out_of_range_are_refused(ways, shots, options):
    with pytest.raises(ValueError, match="expected at least"):
        make_episodes(LABELS, ways, shots, **options)


def test_presentations_count_the_pictures_of_a_label_that_were_shown_before():
    shown = np.array([[0, 1, 0, 0, 1], [1, 0, -1, -1, -1]])
    targets = np.array([[0, 1, 0, 0, 1], [-1, -1, 0, 1, 1]])
    assert presentations(shown, targets).tolist() == [[1, 1, 2, 3, 2], [0, 0, 2, 2, 2]]
