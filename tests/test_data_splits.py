import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from imbal_jax.data.splits import k_folds, split_by_group, split_summary
from imbal_jax.errors import InputError

FRACTIONS = {"train": 0.64, "validation": 0.16, "test": 0.2}


def patients_of_one_class(seed, patients=200, mixed=0.1):
    """Patients with a few images each, mostly of one class out of four, the last one rare."""
    rng = np.random.default_rng(seed)
    sizes = rng.geometric(0.3, patients)
    groups = np.repeat(np.arange(patients), sizes)
    labels = rng.choice(4, patients, p=[0.7, 0.2, 0.06, 0.04])[groups]
    other = rng.random(len(labels)) < mixed
    labels[other] = rng.choice(4, other.sum())
    return labels, groups


def ratio_error(labels, folds):
    """Mean over folds and classes of |share of the class in the fold - share in all|."""
    share = np.bincount(labels, minlength=4) / len(labels)
    return np.mean([np.abs(np.bincount(labels[f], minlength=4) / len(f) - share).mean() for f in folds])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    patients=st.integers(3, 40),
    many=st.booleans(),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=3),
)
def test_every_item_is_in_one_part_and_no_patient_in_two(seed, patients, many, cuts):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(patients), rng.integers(0, patients, 60)])
    labels = rng.integers(-1, 2, (len(groups), 3)) if many else rng.integers(0, 3, len(groups))
    fractions = {str(i): cut / sum(cuts) for i, cut in enumerate(cuts)}
    splits = split_by_group(labels, groups, fractions, seed=seed)
    assert list(splits) == list(fractions)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(len(groups)))
    summary = split_summary(labels, groups, splits, "abc")
    assert summary.shared_patients == 0
    assert (summary.patients > 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), holders=st.lists(st.integers(3, 8), min_size=2, max_size=4))
def test_a_class_that_three_patients_have_is_in_all_three_parts(seed, holders):
    rng = np.random.default_rng(seed)
    class_of_patient = np.repeat(np.arange(len(holders)), holders)
    groups = np.repeat(np.arange(len(class_of_patient)), rng.geometric(0.2, len(class_of_patient)))
    labels = class_of_patient[groups]
    splits = split_by_group(labels, groups, FRACTIONS, seed=seed)
    assert split_summary(labels, groups, splits, [str(c) for c in range(len(holders))]).missing == ()


def test_class_ratios_are_no_worse_than_sklearns_stratified_group_k_fold():
    ours, sklearns = [], []
    for seed in range(8):
        labels, groups = patients_of_one_class(seed)
        ours.append(ratio_error(labels, [held for _, held in k_folds(labels, groups, 5, seed=seed)]))
        peer = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
        sklearns.append(ratio_error(labels, [held for _, held in peer]))
    assert np.mean(ours) <= np.mean(sklearns)


def test_shares_of_each_label_come_near_the_fractions_with_many_labels():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), rng.geometric(0.4, 300))
    labels = (rng.random((len(groups), 5)) < [0.3, 0.2, 0.1, 0.05, 0.03]).astype(np.int8)
    labels[rng.random(labels.shape) < 0.05] = -1
    splits = split_by_group(labels, groups, FRACTIONS)
    summary = split_summary(labels, groups, splits, "abcde")
    shares = summary.class_images / (labels == 1).sum(0)
    np.testing.assert_allclose(shares, np.array([[0.64], [0.16], [0.2]]) * np.ones(5), atol=0.04)
    np.testing.assert_allclose(summary.images / len(labels), [0.64, 0.16, 0.2], atol=0.01)


def test_the_seed_decides_the_split():
    labels, groups = patients_of_one_class(0)
    first, again, other = (split_by_group(labels, groups, FRACTIONS, seed=s)["test"] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_patients_may_be_named_by_strings():
    labels, groups = patients_of_one_class(0)
    names = np.array([f"P{g:04}" for g in groups])
    a, b = split_by_group(labels, groups, FRACTIONS), split_by_group(labels, names, FRACTIONS)
    np.testing.assert_array_equal(a["test"], b["test"])


def test_folds_hold_out_every_item_once():
    labels, groups = patients_of_one_class(3)
    folds = k_folds(labels, groups, 4)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([held for _, held in folds])), np.arange(len(labels))
    )
    for train, held in folds:
        assert not set(groups[train]) & set(groups[held])
        assert len(train) + len(held) == len(labels)


def test_summary_counts_a_hand_made_split():
    labels = np.array([0, 0, 1, 1, 2])
    groups = np.array(["a", "a", "a", "b", "c"])
    splits = {"train": np.array([0, 1, 2]), "test": np.array([1, 3])}
    summary = split_summary(labels, groups, splits, ("x", "y", "z"))
    np.testing.assert_array_equal(summary.images, [3, 2])
    np.testing.assert_array_equal(summary.patients, [1, 2])
    np.testing.assert_array_equal(summary.class_images, [[2, 1, 0], [1, 1, 0]])
    np.testing.assert_array_equal(summary.class_patients, [[1, 1, 0], [1, 1, 0]])
    assert summary.missing == (("z", "train"), ("z", "test"))
    assert summary.shared_patients == 1
    assert summary.rows()[1] == {"split": "test", "images": 2, "patients": 2, "x": 1, "y": 1, "z": 0}


def test_too_few_patients_are_counted_in_the_message():
    labels, groups = np.array([0, 1, 0]), np.array([7, 7, 8])
    with pytest.raises(InputError, match="2 patients cannot fill 3 splits"):
        split_by_group(labels, groups, FRACTIONS)
    with pytest.raises(InputError, match="2 patients cannot fill 5 splits"):
        k_folds(labels, groups, 5)
    with pytest.raises(InputError, match="1 folds: give at least 2"):
        k_folds(labels, groups, 1)


@pytest.mark.parametrize("fractions", [{"a": 0.5, "b": 0.4}, {"a": 1.2, "b": -0.2}, {}])
def test_fractions_must_be_positive_and_sum_to_one(fractions):
    with pytest.raises(InputError, match="sum to"):
        split_by_group(np.arange(4) % 2, np.arange(4), fractions)


def test_wrong_labels_are_named():
    with pytest.raises(InputError, match="label -1 of item 1 is negative"):
        split_by_group(np.array([0, -1, 1]), np.arange(3), FRACTIONS)
    with pytest.raises(InputError, match="2 groups for 3 labels"):
        split_by_group(np.array([0, 1, 1]), np.arange(2), FRACTIONS)
    with pytest.raises(InputError, match="float64"):
        split_by_group(np.array([0.0, 1, 1]), np.arange(3), FRACTIONS)


@pytest.mark.real_data
def test_kermany_is_split_within_one_image_of_its_proportions(real_data):
    with np.load(real_data / "chest_xray_kermany" / "kermany_64.npz") as arrays:
        labels, groups = arrays["labels"].astype(int), arrays["patient"]
    splits = split_by_group(labels, groups, FRACTIONS)
    summary = split_summary(labels, groups, splits, ("normal", "bacteria", "virus"))
    wanted = np.outer([0.64, 0.16, 0.2], np.bincount(labels))
    assert np.abs(summary.class_images - wanted).max() <= 1
    assert summary.shared_patients == 0
