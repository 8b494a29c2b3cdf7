import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imbal_jax.data.splits.rarity import (
    draw_imbalance,
    draw_prevalence,
    draw_profile,
    exponential_profile,
    step_profile,
)
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


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    ratios=st.lists(st.floats(3, 200), min_size=2, max_size=2, unique=True),
)
def test_draws_nest_whatever_the_sizes_of_the_rare_classes(counts, ratios):
    labels = np.repeat(np.arange(len(counts) + 1), [600, *counts])
    if 600 / min(ratios) > sum(counts):
        return
    low, high = sorted(ratios)
    rare = list(range(1, len(counts) + 1))
    draws = [set(draw_imbalance(labels, np.arange(len(labels)), ratio=r, rare=rare)) for r in (low, high)]
    assert draws[1] <= draws[0]


def test_no_class_loses_an_item_when_the_draw_grows():
    # The Alabama paradox: by largest remainders 10 of 6 : 6 : 2 are 4, 4, 2 and 11 are 5, 5, 1
    labels = np.repeat([0, 1, 2, 3], [110, 60, 60, 20])
    ten, eleven = (draw_imbalance(labels, np.arange(250), ratio=r, rare=[1, 2, 3]) for r in (11, 10))
    assert len(ten) == 120
    assert len(eleven) == 121
    assert set(ten) < set(eleven)


def findings(seed=0, patients=500):
    """labels [N, 4] of images, some patients with several: each label rarer than the one before; groups."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), rng.geometric(0.4, patients))
    prone = rng.gamma(0.7, 1 / 0.7, (patients, 1))
    labels = (rng.random((len(groups), 4)) < (prone * [0.3, 0.12, 0.05, 0.02])[groups]).astype(np.int8)
    labels[rng.random(labels.shape) < 0.02] = -1
    return labels, groups


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), rarer=st.floats(1, 100))
def test_of_many_labels_a_draw_holds_exactly_the_asked_normal_to_abnormal(seed, rarer):
    labels, groups = findings(seed % 50)
    abnormal = (labels == 1).any(1)
    ratio = rarer * (~abnormal).sum() / abnormal.sum()
    kept = draw_imbalance(labels, groups, ratio=ratio, rare=range(4), seed=seed)
    assert np.count_nonzero(~abnormal[kept]) == np.count_nonzero(~abnormal)
    assert np.count_nonzero(abnormal[kept]) == max(round((~abnormal).sum() / ratio), 1)
    fewer = draw_imbalance(labels, groups, ratio=2 * ratio, rare=range(4), seed=seed)
    assert set(fewer) <= set(kept)


def test_of_many_labels_each_keeps_its_proportion_and_no_rare_one_is_lost_first():
    labels, groups = findings(patients=3000)
    before = (labels == 1).sum(0)
    abnormal = (labels == 1).any(1)
    kept = draw_imbalance(labels, groups, ratio=8, rare=range(4))
    share = abnormal[kept].sum() / abnormal.sum()
    after = (labels[kept] == 1).sum(0)
    np.testing.assert_allclose(after / before, share, rtol=0.25)
    assert (labels[draw_imbalance(labels, groups, ratio=400, rare=range(4))] == 1).any(0).all()


def test_abnormal_patients_of_many_labels_come_whole_but_for_the_last():
    labels, groups = findings()
    abnormal = (labels == 1).any(1)
    kept = draw_imbalance(labels, groups, ratio=10, rare=range(4))
    drawn = groups[kept][abnormal[kept]]
    cut = [p for p in np.unique(drawn) if (drawn == p).sum() < (groups[abnormal] == p).sum()]
    assert len(cut) <= 1


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shares=st.tuples(st.floats(0.005, 0.45), st.floats(0.005, 0.45)),
    named=st.sampled_from([(1,), (2,), (1, 2), (0, 2)]),
)
def test_a_draw_has_the_asked_prevalence_to_the_image_and_is_as_large_as_can_be(seed, shares, named):
    labels, groups = radiographs(seed % 100)
    prevalence = dict(zip(named, shares, strict=False))
    kept = draw_prevalence(labels, groups, prevalence, seed=seed)
    total, counts = np.bincount(labels), np.bincount(labels[kept], minlength=3)
    for c, share in prevalence.items():
        assert abs(counts[c] - share * len(kept)) <= 1
    # One class, or all that are not named, is used up: no larger draw has these shares
    others = [c for c in range(3) if c not in prevalence]
    used = [total[c] - counts[c] for c in prevalence] + [sum(total[c] - counts[c] for c in others)]
    # at most what a rounding of one image of the smallest share is worth
    assert min(used) <= 1 / min(shares)


def test_a_disease_at_one_in_a_thousand():
    labels = np.repeat([0, 1], [5000, 300])
    kept = draw_prevalence(labels, np.arange(5300), {1: 0.001})
    assert np.bincount(labels[kept]).tolist() == [5000, 5]
    kept = draw_prevalence(labels, np.arange(5300), {1: 0.5})
    assert np.bincount(labels[kept]).tolist() == [300, 300]


def test_classes_without_a_given_prevalence_keep_their_proportions():
    labels = np.repeat([0, 1, 2], [800, 400, 100])
    kept = draw_prevalence(labels, np.arange(1300), {2: 0.5})
    counts = np.bincount(labels[kept])
    assert counts.sum() == 200
    assert counts[2] == 100
    assert counts[0] == pytest.approx(200 / 3, abs=1)


def test_prevalences_nest_on_either_side_of_the_datas_own():
    labels, groups = radiographs()
    own = (labels == 1).mean()
    rarer = [set(draw_prevalence(labels, groups, {1: own * f}, seed=3)) for f in (0.9, 0.5, 0.1)]
    commoner = [
        set(draw_prevalence(labels, groups, {1: own + f * (1 - own)}, seed=3)) for f in (0.1, 0.4, 0.8)
    ]
    for draws in (rarer, commoner):
        assert draws[2] < draws[1] < draws[0]


def test_of_many_labels_no_prevalence_is_above_the_asked_and_one_alone_is_met():
    labels, groups = findings()
    for c, share in ((3, 0.001), (0, 0.05)):
        kept = draw_prevalence(labels, groups, {c: share})
        assert (labels[kept, c] == 1).sum() == pytest.approx(share * len(kept), abs=1)
    kept = draw_prevalence(labels, groups, {0: 0.1, 2: 0.01})
    assert ((labels[kept][:, [0, 2]] == 1).mean(0) <= np.array([0.1, 0.01]) + 1 / len(kept)).all()
    assert ((labels[kept][:, [0, 2]] == 1).mean(0) >= np.array([0.08, 0.008])).all()


def test_prevalences_that_cannot_be_are_refused_with_numbers():
    labels = np.repeat([0, 1], [400, 100])
    draw = lambda prevalence: draw_prevalence(labels, np.arange(500), prevalence)  # noqa: E731
    with pytest.raises(InputError, match=r"0.0001 is 0.04 of 400 items: ask for 0.0025 or more"):
        draw({1: 0.0001})
    with pytest.raises(InputError, match=r"prevalences \(0.7, 0.6\): give shares between 0 and 1"):
        draw({0: 0.7, 1: 0.6})
    with pytest.raises(InputError, match=r"prevalences \(1\)"):
        draw({1: 1.0})
    with pytest.raises(InputError, match="class 1 has no item"):
        draw_prevalence(np.array([[1, 0], [0, 0]]), np.arange(2), {1: 0.1})
    with pytest.raises(InputError, match=r"labels \[500\] and groups \[400\]"):
        draw_prevalence(labels, np.arange(400), {1: 0.1})


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
    with pytest.raises(InputError, match="class 2 has 20 items, the profile asks 31"):
        exponential_profile([100, 15, 20], 10)
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


def test_profile_is_given_to_the_classes_by_their_size():
    assert exponential_profile([50, 1000, 400], 100).tolist() == [10, 1000, 100]
    assert step_profile([50, 1000, 400, 900], 100).tolist() == [9, 900, 9, 900]


def test_profile_of_patients_takes_them_whole_but_for_the_last_of_each_class():
    labels, groups = radiographs()
    kept = draw_profile(labels, [200, 40, 30], groups)
    assert np.bincount(labels[kept]).tolist() == [200, 40, 30]
    for c in range(3):
        drawn = groups[kept][labels[kept] == c]
        cut = [p for p in np.unique(drawn) if (drawn == p).sum() < (groups[labels == c] == p).sum()]
        assert len(cut) <= 1


def test_of_many_labels_no_label_is_above_its_place_in_the_tail_and_draws_nest():
    labels, groups = findings(patients=3000)
    counts = (labels == 1).sum(0)
    draws = []
    for imbalance in (40, 80):
        target = exponential_profile(counts, imbalance)
        kept = draw_profile(labels, target, groups)
        got = (labels[kept] == 1).sum(0)
        assert (got <= target).all()
        assert (got >= 0.6 * target).all()  # what images with rarer labels take with them
        assert np.isin(np.flatnonzero((labels != 1).all(1)), kept).all()
        draws.append(set(kept))
    assert draws[1] < draws[0]
