import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from imbal_jax.data.sources.nih import NIH_LABELS, nih_table
from imbal_jax.data.splits.patient_split import complete_split, k_folds, split_by_group, split_summary
from imbal_jax.errors import InputError

FRACTIONS = {"train": 0.64, "validation": 0.16, "test": 0.2}


# patients, classes, chance that a patient's images end, share of images of another class than the patient's
SHAPES = {
    "a few images each": (200, 4, 0.3, 0.1),
    "one class each": (150, 4, 0.3, 0.0),
    "one image each": (300, 3, 1.0, 0.0),
    "few patients": (30, 3, 0.3, 0.3),
    "many images each": (60, 5, 0.03, 0.5),
    "many classes": (200, 20, 0.3, 0.5),
    "one rare class": (300, 2, 0.4, 0.02),
}


def patients_of_one_class(seed, patients=200, classes=4, ends=0.3, mixed=0.1):
    """Patients with a few images each, mostly of one class, the later classes rarer."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, classes + 1) ** 1.7
    shares /= shares.sum()
    groups = np.repeat(np.arange(patients), rng.geometric(ends, patients))
    labels = rng.choice(classes, patients, p=shares)[groups]
    other = rng.random(len(labels)) < mixed
    labels[other] = rng.choice(classes, other.sum(), p=shares)
    return labels, groups


def ratio_error(labels, folds):
    """Mean over folds and classes of |share of the class in the fold - share in all|."""
    width = labels.max() + 1
    share = np.bincount(labels, minlength=width) / len(labels)
    return np.mean([np.abs(np.bincount(labels[f], minlength=width) / len(f) - share).mean() for f in folds])


def sklearns_folds(labels, groups, k, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes of fewer images than folds
        folds = StratifiedGroupKFold(k, shuffle=True, random_state=seed).split(labels, labels, groups)
        return [held for _, held in folds]


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


def compare_with_sklearn(k, seeds):
    """Shape -> label-ratio errors [seeds, 2] and mean deviations of the fold sizes [seeds, 2], ours and theirs."""
    errors, sizes = {}, {}
    for name, shape in SHAPES.items():
        of_seed = []
        for seed in range(seeds):
            labels, groups = patients_of_one_class(seed, *shape)
            ours = [held for _, held in k_folds(labels, groups, k, seed=seed)]
            of_seed.append((labels, ours, sklearns_folds(labels, groups, k, seed)))
        errors[name] = np.array([[ratio_error(labels, f) for f in both] for labels, *both in of_seed])
        sizes[name] = np.array(
            [
                [np.mean([abs(len(held) / len(labels) - 1 / k) for held in f]) for f in both]
                for labels, *both in of_seed
            ]
        )
    return errors, sizes


def check_against_sklearn(k, seeds, worse_seeds):
    errors, sizes = compare_with_sklearn(k, seeds)
    for name, (patients, *_) in SHAPES.items():
        assert errors[name][:, 0].mean() <= errors[name][:, 1].mean(), name
        # Better ratios are not bought with sizes: off by less than one patient, or by no more than sklearn's
        assert sizes[name][:, 0].mean() <= max(sizes[name][:, 1].mean(), 1 / patients), name
    ours, sklearns = np.concatenate(list(errors.values())).T
    assert np.count_nonzero(ours > sklearns + 1e-12) <= worse_seeds * len(ours)


def test_class_ratios_are_no_worse_than_sklearns_stratified_group_k_fold():
    check_against_sklearn(5, seeds=2, worse_seeds=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 5, 10])
def test_class_ratios_are_no_worse_than_sklearns_on_many_seeds(k):
    check_against_sklearn(k, seeds=25, worse_seeds=0.15)


def classes_in_parts(has, patients, parts):
    """The most (class, part) pairs that any assignment of the patients to parts, none empty, can have."""
    assignments = (
        np.array(a) for a in itertools.product(range(parts), repeat=patients) if len(set(a)) == parts
    )
    return max(sum(has[a == part].any(0).sum() for part in range(parts)) for a in assignments)


def test_each_class_is_in_as_many_parts_as_any_split_of_the_patients_allows():
    rng = np.random.default_rng(0)
    for seed in range(40):
        patients, width = rng.integers(3, 7), rng.integers(1, 5)
        has = rng.random((patients, width)) < rng.uniform(0.3, 0.8)
        has[0] |= ~has.any(0)
        groups = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
        labels = has[groups].astype(np.int8)
        summary = split_summary(
            labels, groups, split_by_group(labels, groups, FRACTIONS, seed=seed), "abcd"[:width]
        )
        assert (summary.class_images > 0).sum() == classes_in_parts(has, patients, 3)


def test_the_order_of_the_images_is_of_no_account():
    labels, groups = patients_of_one_class(0)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    one = split_by_group(labels, groups, FRACTIONS)
    other = split_by_group(labels[shuffled], groups[shuffled], FRACTIONS)
    for name in FRACTIONS:
        np.testing.assert_array_equal(one[name], np.sort(shuffled[other[name]]))


def iterative_stratification(labels, groups, fractions, seed):
    """Sechidis et al. 2011, Algorithm 1, on patients, who bring as many images of a label as they have.

    Written from the paper: the label with the fewest images left goes first, each of its patients, the largest
    first, to the part that still desires most images of the label, then most images, then at random.
    """
    rng = np.random.default_rng(seed)
    names, patient = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), labels.shape[1]))
    np.add.at(counts, patient, labels == 1)
    sizes = np.bincount(patient).astype(float)
    shares = np.array(list(fractions.values()))
    desired, room = np.outer(shares, counts.sum(0)), shares * len(labels)
    part = np.full(len(names), -1)
    while (left := part < 0).any():
        open_images = counts[left].sum(0)
        label = np.where(open_images > 0, open_images, np.inf).argmin() if open_images.any() else None
        amount = sizes if label is None else counts[:, label]
        members = np.flatnonzero(left & (amount > 0))
        for who in members[np.argsort(-amount[members], kind="stable")]:
            wish = room if label is None else desired[:, label]
            best = max(range(len(shares)), key=lambda s, wish=wish: (wish[s], room[s], rng.random()))
            part[who] = best
            desired[best] -= counts[who]
            room[best] -= sizes[who]
    of_item = part[patient]
    return {name: np.flatnonzero(of_item == s) for s, name in enumerate(fractions)}


def many_labels(seed, patients=250, width=8):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), rng.geometric(0.35, patients))
    prone = rng.gamma(0.7, 1 / 0.7, (patients, 1))  # some patients have many findings
    rates = np.clip(prone * 0.4 / np.arange(1, width + 1) ** 1.3, 0, 0.9)
    labels = (rng.random((len(groups), width)) < rates[groups]).astype(np.int8)
    labels[rng.random(labels.shape) < 0.03] = -1
    return labels, groups


def test_many_labels_are_split_no_worse_than_by_iterative_stratification_of_patients():
    for seed in range(4):
        labels, groups = many_labels(seed)
        names = [str(c) for c in range(labels.shape[1])]
        ours, peer = (
            split_summary(labels, groups, split(labels, groups, FRACTIONS, seed=seed), names)
            for split in (split_by_group, iterative_stratification)
        )
        assert ours.ratio_error <= peer.ratio_error
        off = [np.abs(s.images / len(labels) - list(FRACTIONS.values())).max() for s in (ours, peer)]
        assert off[0] <= max(off[1], 0.004)  # one patient of 250


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
    assert summary.holders.tolist() == [1, 2, 0]
    # train 2/3 and 1/3, test 1/2 and 1/2, all 3/5 and 2/5
    np.testing.assert_allclose(summary.ratio_errors, [(1 / 15 + 1 / 15) / 3, (1 / 10 + 1 / 10) / 3])
    assert summary.ratio_error == pytest.approx(1 / 18)
    row = summary.rows()[1]
    assert row.pop("class shares off by") == pytest.approx(1 / 15)
    assert row == {"split": "test", "images": 2, "patients": 2, "x": 1, "y": 1, "z": 0}
    assert summary.lacking("z", "test") == (
        "the test split has no example of z: 0 patients have it, 2 splits are asked"
    )


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


def test_a_class_of_two_patients_goes_to_train_and_test_and_the_lack_is_counted():
    labels = np.array([0] * 30 + [1, 1])
    groups = np.arange(32)
    splits = split_by_group(labels, groups, FRACTIONS)
    summary = split_summary(labels, groups, splits, ("normal", "hernia"))
    assert summary.missing == (("hernia", "validation"),)
    assert summary.lacking("hernia", "validation") == (
        "the validation split has no example of hernia: 2 patients have it, 3 splits are asked"
    )


def test_a_sources_own_split_is_kept_as_it_is():
    labels, groups = patients_of_one_class(0)
    given = split_by_group(labels, groups, FRACTIONS, seed=5)
    kept = complete_split(labels, groups, given, FRACTIONS)
    assert list(kept) == list(FRACTIONS)
    for name, indices in given.items():
        np.testing.assert_array_equal(kept[name], indices)


def test_the_part_that_a_source_lacks_is_split_off_its_train_by_patient():
    labels, groups = patients_of_one_class(0)
    published = split_by_group(labels, groups, {"train": 0.7, "test": 0.3}, seed=5)
    kept = complete_split(labels, groups, published, FRACTIONS, seed=1)
    np.testing.assert_array_equal(kept["test"], published["test"])
    np.testing.assert_array_equal(np.sort(np.r_[kept["train"], kept["validation"]]), published["train"])
    summary = split_summary(labels, groups, kept, "abcd")
    assert summary.shared_patients == 0
    assert len(kept["validation"]) / len(published["train"]) == pytest.approx(0.16 / 0.8, abs=0.01)
    assert summary.missing == ()


def test_a_sources_split_that_shares_patients_is_refused_with_the_numbers():
    labels, groups = np.array([0, 1, 0, 1, 0]), np.array([1, 1, 2, 3, 2])
    given = {"train": np.array([0, 2]), "test": np.array([1, 3, 4])}
    with pytest.raises(
        InputError, match=r"shares 2 of 3 patients between train and test: set --data.split patient"
    ):
        complete_split(labels, groups, given, FRACTIONS)
    with pytest.raises(InputError, match=r"own split \(test\) has no train part"):
        complete_split(labels, groups, {"test": np.arange(5)}, FRACTIONS)


@pytest.mark.real_data
def test_kermany_is_split_within_one_image_of_its_proportions(real_data):
    with np.load(real_data / "chest_xray_kermany" / "kermany_64.npz") as arrays:
        labels, groups = arrays["labels"].astype(int), arrays["patient"]
    splits = split_by_group(labels, groups, FRACTIONS)
    summary = split_summary(labels, groups, splits, ("normal", "bacteria", "virus"))
    wanted = np.outer([0.64, 0.16, 0.2], np.bincount(labels))
    assert np.abs(summary.class_images - wanted).max() <= 1
    assert summary.shared_patients == 0


@pytest.mark.real_data
@pytest.mark.parametrize("k", [3, 10])
def test_kermany_folds_are_no_worse_than_sklearns(real_data, k):
    with np.load(real_data / "chest_xray_kermany" / "kermany_64.npz") as arrays:
        labels = arrays["labels"].astype(int)
        groups = np.array([name.lstrip("BV-") if name[0] in "BV" else name for name in arrays["patient"]])
    ours = ratio_error(labels, [held for _, held in k_folds(labels, groups, k)])
    assert ours <= ratio_error(labels, sklearns_folds(labels, groups, k, 0))


@pytest.fixture(scope="module")
def nih14(real_data):
    rows = nih_table(real_data / "labels_nih14" / "Data_Entry_2017_v2020.csv.gz").values()
    labels = np.array([[label in found for label in NIH_LABELS] for found, _ in rows], np.int8)
    return labels, np.array([patient for _, patient in rows])


@pytest.mark.real_data
def test_the_fourteen_labels_of_nih_are_within_one_per_cent_of_their_share(nih14):
    labels, groups = nih14
    summary = split_summary(labels, groups, split_by_group(labels, groups, FRACTIONS), NIH_LABELS)
    assert summary.shared_patients == 0
    wanted = np.outer(list(FRACTIONS.values()), (labels == 1).sum(0))
    # Hernia has 227 images: half an image of the 36 of a sixth is 1.3 %
    assert (np.abs(summary.class_images - wanted) <= np.maximum(0.01 * wanted, 0.51)).all()
    np.testing.assert_allclose(summary.images / len(labels), list(FRACTIONS.values()), atol=1e-3)
    assert summary.ratio_error < 1e-4
    peer = iterative_stratification(labels, groups, FRACTIONS, 0)
    assert summary.ratio_error <= split_summary(labels, groups, peer, NIH_LABELS).ratio_error


@pytest.mark.slow
@pytest.mark.real_data
def test_nih_by_its_first_label_is_no_worse_than_sklearns(nih14):
    labels, groups = nih14
    first = np.where(labels.any(1), labels.argmax(1), labels.shape[1])
    ours = ratio_error(first, [held for _, held in k_folds(first, groups, 5)])
    assert ours <= ratio_error(first, sklearns_folds(first, groups, 5, 0))


@pytest.mark.parametrize("k", [2.0, 2.5, "3", None, True])
def test_a_number_of_folds_that_is_not_whole_is_refused(k):
    with pytest.raises(InputError, match="give a whole number"):
        k_folds(np.array([0, 1, 0, 1]), np.arange(4), k)
