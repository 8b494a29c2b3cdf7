"""A part of a method that changes nothing on the data is said, and only such a part."""

import numpy as np
import pytest
from method_arrays import class_arrays

from imbal_jax.methods import find_method, without_effect

EVEN, RARE = np.repeat([0, 1], [50, 50]), np.repeat([0, 1], [990, 10])
LONG = np.repeat(np.arange(10), [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])  # CIFAR-10-LT at 1:100


def lines(text: str, labels: np.ndarray, drawn: list[int] | None = None) -> list[str]:
    method, counts = find_method(text), np.bincount(labels)
    arrays = class_arrays(method, labels, len(counts), counts if drawn is None else np.array(drawn))
    return without_effect(method, arrays)


@pytest.mark.parametrize(
    "text",
    [
        "weighted_ce",
        "effective_number",
        "stratified",
        "progressive",
        "oversample",
        "equalization",
        "logit_adjusted",
        "balanced_softmax",
        "vector_scaling",
        "class_dependent_temperature",
        "post_hoc_logit_adjusted",
    ],
)
def test_on_even_classes_what_balances_does_nothing_and_on_rare_ones_it_does(text: str) -> None:
    (line,) = lines(text, EVEN)
    assert line.startswith(f"{text}: ")
    assert "changes nothing here" in line
    assert lines(text, RARE) == []
    assert lines(text, LONG) == []


@pytest.mark.parametrize("text", ["ce", "ldam", "mixup", "crt", "focal", "class_balanced_focal", "sup_con"])
def test_what_does_not_live_by_the_counts_always_does_something(text: str) -> None:
    assert lines(text, EVEN) == [] or text == "sup_con"  # whose batches are balanced already
    assert lines(text, RARE) == []


def test_adjusting_for_balanced_batches_is_said_to_do_nothing() -> None:
    (line,) = lines("logit_adjusted,composition=balanced", RARE, drawn=[32, 32])
    assert "the batches hold as many images of each class" in line


def test_a_threshold_below_every_class_is_said() -> None:
    (line,) = lines("equalization,relative_threshold=0.01", LONG)
    assert "no class has less than 0.001 of the images" in line
