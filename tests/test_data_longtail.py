import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.data.longtail import draw_imbalance, draw_profile, exponential_profile, step_profile
from imbal_jax.errors import InputError


def radiographs(seed=0, patients=400):
    """labels, groups: 0 common, 1 and 2 rare, some patients with both rare classes."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), rng.geometric(0.4, patients))
    sick = (np.arange(patients) % 3 == 0)[groups]
    return np.where(sick, rng.integers(1, 3, len(groups)), 0), groups


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), ratio=st.floats(5, 500))
def test_draw_holds_exactly_the_asked_ratio_and_all_of_the_common_class(seed, ratio):
    labels, groups = radiographs(seed % 100)
    kept = draw_imbalance(labels, groups, ratio=ratio, rare=[1, 2], seed=seed)
    common = (labels == 0).sum()
    assert (labels[kept] == 0).sum() == common
    assert (labels[kept] > 0).sum() == max(round(common / ratio), 2)
    assert {1, 2} <= set(labels[kept])
    assert (np.diff(kept) > 0).all()


def test_rare_patients_come_whole_but_for_the_last_of_each_class():
    labels, groups = radiographs()
    kept = draw_imbalance(labels, groups, ratio=8, rare=[1, 2])
    cut = [
        (p, c)
        for c in (1, 2)
        for p in np.unique(groups[kept][labels[kept] == c])
        if ((groups[kept] == p) & (labels[kept] == c)).sum() < ((groups == p) & (labels == c)).sum()
    ]
    assert len([c for _, c in cut if c == 1]) <= 1
    assert len([c for _, c in cut if c == 2]) <= 1


def test_rare_classes_keep_their_proportions():
    labels = np.repeat([0, 1, 2], [1000, 300, 100])
    kept = draw_imbalance(labels, np.arange(1400), ratio=25, rare=[1, 2])
    assert np.bincount(labels[kept]).tolist() == [1000, 30, 10]


def test_a_rarer_draw_is_part_of_a_less_rare_one():
    labels, groups = radiographs()
    draws = [set(draw_imbalance(labels, groups, ratio=r, rare=[1, 2], seed=4)) for r in (5, 10, 50)]
    assert draws[2] < draws[1] < draws[0]
    assert draws[1] != set(draw_imbalance(labels, groups, ratio=10, rare=[1, 2], seed=5))


def test_data_that_are_already_rarer_are_refused_with_both_ratios():
    labels = np.repeat([0, 1], [1000, 10])
    with pytest.raises(
        InputError, match=r"1:50 is asked, but the data have 1000 common and 10 rare items, 1:100"
    ):
        draw_imbalance(labels, np.arange(1010), ratio=50, rare=[1])
    with pytest.raises(InputError, match="no item of the rare classes"):
        draw_imbalance(labels, np.arange(1010), ratio=50, rare=[2])
    with pytest.raises(InputError, match="ratio 0 must be positive"):
        draw_imbalance(labels, np.arange(1010), ratio=0, rare=[1])


def test_exponential_profile_is_the_published_cifar10_lt_at_100():
    # Cao et al. 2019, CIFAR-10-LT, imbalance 100
    expected = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert exponential_profile([5000] * 10, 100).tolist() == expected
    assert exponential_profile([5000] * 10, 1).tolist() == [5000] * 10
    assert exponential_profile([7], 10).tolist() == [7]


def test_step_profile_is_the_published_step_imbalance():
    assert step_profile([5000] * 10, 100).tolist() == [5000] * 5 + [50] * 5
    assert step_profile([600] * 4, 10, rare_share=0.25).tolist() == [600, 600, 600, 60]


def test_profiles_refuse_what_cannot_be():
    with pytest.raises(InputError, match="class 1 has 10 items, the profile asks 31"):
        exponential_profile([100, 10, 100], 10)
    with pytest.raises(InputError, match=r"imbalance 0.5 must be at least 1"):
        step_profile([5, 5], 0.5)
    with pytest.raises(InputError, match="rare_share is 2"):
        step_profile([5, 5], 2, rare_share=2)


def test_draw_profile_holds_the_target_and_nests():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], 50))
    kept = draw_profile(labels, [50, 20, 3], seed=1)
    assert np.bincount(labels[kept]).tolist() == [50, 20, 3]
    assert set(draw_profile(labels, [50, 5, 3], seed=1)) < set(kept)
    assert set(draw_profile(labels, [50, 20, 3], seed=2)) != set(kept)
    with pytest.raises(InputError, match="class 2 has 50 items, the profile asks 51"):
        draw_profile(labels, [1, 1, 51])
