from pathlib import Path

import numpy as np
import pytest

from imbal_jax.init.advice import batch_for, epochs_for, name_of, negative_class, suggested


@pytest.mark.parametrize(
    ("counts", "methods"),
    [
        ([501, 500], ("ce",)),
        ([700, 300], ("ce",)),
        ([900, 100], ("ce", "logit_adjusted")),
        ([9900, 100], ("ce", "logit_adjusted", "stratified")),
        ([5770, 972, 939, 445, 285, 117, 97], ("ce", "logit_adjusted", "stratified")),
    ],
)
def test_remedies_are_suggested_by_the_ratio_of_the_classes(
    counts: list[int], methods: tuple[str, ...]
) -> None:
    classes = tuple(f"class {k}" for k in range(len(counts)))
    named, why = suggested(np.array(counts), sum(counts), classes, many=False)
    assert named == methods
    assert f"class {len(counts) - 1}, the rarest, is on {counts[-1]} of {sum(counts):,} images" in why


def test_of_many_labels_the_rarest_against_the_rest_counts() -> None:
    assert suggested(np.array([400, 500]), 1000, ("a", "b"), many=True)[0] == ("ce",)
    assert suggested(np.array([400, 100]), 1000, ("a", "b"), many=True)[0] == ("ce", "weighted_ce")
    named, why = suggested(np.array([400, 9]), 1000, ("a", "b"), many=True)
    assert named == ("ce", "weighted_ce", "asymmetric")
    assert "1 to 110" in why  # 991 / 9


@pytest.mark.parametrize(
    ("classes", "counts", "many", "expected"),
    [
        (("ill", "No Finding"), [10, 90], False, "No Finding"),
        (("a", "b"), [10, 90], False, "b"),
        (("akiec", "nv", "mel"), [10, 90, 20], False, None),  # nobody can tell
        (("a", "b"), [10, 90], True, None),
    ],
)
def test_the_class_that_is_no_finding_is_known_by_name_or_as_the_frequent_one_of_two(
    classes: tuple[str, ...], counts: list[int], many: bool, expected: str | None
) -> None:
    assert negative_class(classes, np.array(counts), many=many) == expected


def test_epochs_fit_into_the_minutes_within_bounds() -> None:
    assert epochs_for(speed=100, train=4000, minutes=10) == 12  # 0.8 * 600 s * 100 / 4000
    assert epochs_for(speed=100, train=10**6, minutes=10) == 3
    assert epochs_for(speed=10000, train=100, minutes=10) == 100


def test_a_small_set_has_small_batches() -> None:
    assert [batch_for(train) for train in (50, 200, 400, 10_000)] == [8, 16, 32, 64]


def test_a_run_is_called_after_its_folder() -> None:
    assert name_of(Path("/data/Chest X-rays 2")) == "chest_x_rays_2"
    assert name_of(Path("/data/set.npz")) == "set"
