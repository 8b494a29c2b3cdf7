"""Sequences whose classes recur: how often, with which frequencies, the same for any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from imbal_jax.sampling.bursty import draw_bursty, make_bursty
from imbal_jax.sampling.episodes import NOT_SHOWN

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(40), 12))
draw = jax.jit(draw_bursty)


def drawn(count=4000, step=3, **options):
    plan = make_bursty(LABELS, **options)
    return jax.tree.map(np.asarray, draw(plan, step, jnp.arange(count)))


def test_a_bursty_sequence_has_three_of_the_query_three_of_another_class_and_two_of_others():
    found = drawn(bursty=1.0)
    classes = LABELS[found.items]
    assert (found.shown[:, :8] == classes[:, :8]).all()
    assert (found.shown[:, 8] == NOT_SHOWN).all()
    assert (found.targets[:, :8] == NOT_SHOWN).all()
    assert (found.targets[:, 8] == classes[:, 8]).all()
    for row, query in zip(classes[:, :8], classes[:, 8], strict=True):
        counts = np.bincount(row, minlength=40)
        assert counts[query] == 3
        assert sorted(counts[counts > 0].tolist()) in ([1, 1, 3, 3], [2, 3, 3])
    assert all(len(set(items.tolist())) == 9 for items in found.items)
    first = (classes[:, :8] == classes[:, 8:]).mean(axis=0)  # uniform over the places of the context
    assert np.abs(first - 3 / 8).max() < 4 * np.sqrt(3 / 8 * 5 / 8 / 4000)


def test_without_bursts_classes_are_independent_draws():
    found = drawn(bursty=0.0)
    classes = LABELS[found.items]
    assert stats.chisquare(np.bincount(classes.ravel(), minlength=40)).pvalue > 1e-4
    recurs = (classes[:, :8] == classes[:, 8:]).mean()
    assert abs(recurs - 1 / 40) < 4 * np.sqrt(1 / 40 / 32000)


def test_the_share_of_bursty_sequences_is_the_one_asked_for():
    classes = LABELS[drawn(bursty=0.7).items]
    bursts = ((classes[:, :8] == classes[:, 8:]).sum(axis=1) == 3).mean()
    assert abs(bursts - 0.7) < 4 * np.sqrt(0.7 * 0.3 / 4000) + 1e-3


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_frequencies_follow_zipfs_law(exponent):
    classes = LABELS[drawn(bursty=0.0, zipf=exponent).items][:, 8]
    expected = np.arange(1, 41) ** -exponent
    observed = np.bincount(classes, minlength=40)
    enough = expected / expected.sum() * 4000 >= 5
    seen = [*observed[enough], observed[~enough].sum()] if not enough.all() else observed
    shares = expected / expected.sum()
    wanted = [*shares[enough], shares[~enough].sum()] if not enough.all() else shares
    assert stats.chisquare(seen, 4000 * np.array(wanted)).pvalue > 1e-4


def test_a_test_of_the_weights_has_no_picture_of_the_querys_class():
    classes = LABELS[drawn(absent=True, frequencies=np.r_[np.ones(10), np.zeros(20), np.ones(10)]).items]
    assert not (classes[:, :8] == classes[:, 8:]).any()
    assert set(classes[:, 8].tolist()) == {*range(10), *range(30, 40)}


def test_a_sequence_depends_on_step_and_place_alone():
    plan = make_bursty(LABELS)
    whole = draw(plan, 5, jnp.arange(12))
    part = draw(plan, 5, jnp.arange(6, 12))
    for a, b in zip(part, whole, strict=True):
        np.testing.assert_array_equal(a, b[6:])
    assert (np.asarray(draw(plan, 6, jnp.arange(12)).items) != np.asarray(whole.items)).any()


@pytest.mark.parametrize("options", [{"bursty": 1.5}, {"zipf": -1}, {"burst": 5}, {"context": 12}])
def test_values_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"expected a share|a sequence has 13"):
        make_bursty(LABELS, **options)
