"""What a config asks is what is drawn, in the splits that it names, and what falls short is said."""

from dataclasses import replace

import numpy as np
import pytest

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.splits.config_draw import draw
from imbal_jax.data.splits.patient_split import split_by_group
from imbal_jax.errors import InputError

CLASSES = ("normal", "pneumonia", "hernia")
OPTIONS = Data(negative_class="normal")


def made(labels, groups=None):
    count = len(labels)
    images = np.zeros((count, 2, 2, 1), np.uint8)
    return Dataset(images, labels, np.arange(count) if groups is None else groups, CLASSES)


ONE = made(np.repeat([0, 1, 2], [2000, 400, 200]), np.arange(2600) // 2)


def split(data):
    return split_by_group(data.labels, data.groups, {"train": 0.6, "validation": 0.2, "test": 0.2})


def counts(data, indices):
    return {name: np.bincount(data.labels[part], minlength=3).tolist() for name, part in indices.items()}


def test_without_a_draw_nothing_is_dropped_or_said():
    said = []
    assert draw(OPTIONS, ONE, split(ONE), said.append).keys() == {"train", "validation", "test"}
    assert said == []


def test_imbalance_is_drawn_in_training_and_validation_and_the_test_split_stays_whole():
    whole, said = split(ONE), []
    drawn = draw(replace(OPTIONS, imbalance=100.0), ONE, whole, said.append)
    before, after = counts(ONE, whole), counts(ONE, drawn)
    assert after["test"] == before["test"]
    for name in ("train", "validation"):
        assert after[name][0] == before[name][0]
        assert sum(after[name][1:]) == round(before[name][0] / 100)
    assert (
        said[0]
        == f"data.imbalance: {len(drawn['train']):,} of {len(whole['train']):,} train images are drawn"
    )


def test_long_tail_is_drawn_in_training_only():
    whole = split(ONE)
    drawn = draw(replace(OPTIONS, long_tail=50.0), ONE, whole, print)
    most = counts(ONE, whole)["train"][0]
    assert counts(ONE, drawn)["train"] == [most, int(most * 50**-0.5), most // 50]
    assert counts(ONE, drawn)["validation"] == counts(ONE, whole)["validation"]


def test_prevalence_is_drawn_in_the_splits_that_are_named():
    options = replace(OPTIONS, prevalence=("pneumonia=0.01",), draw_splits=("validation", "test"))
    whole = split(ONE)
    drawn = draw(options, ONE, whole, print)
    np.testing.assert_array_equal(drawn["train"], whole["train"])
    for name in ("validation", "test"):
        after = counts(ONE, drawn)[name]
        assert after[1] == round(0.01 * sum(after))
        assert after[2] == counts(ONE, whole)[name][2]


def test_a_rarer_draw_is_a_part_of_a_less_rare_one():
    whole = split(ONE)
    draws = [
        set(draw(replace(OPTIONS, imbalance=ratio), ONE, whole, print)["train"])
        for ratio in (5.0, 20.0, 80.0)
    ]
    assert draws[2] < draws[1] < draws[0]


def test_labels_that_go_with_rarer_ones_are_named_with_what_was_asked():
    rng = np.random.default_rng(0)
    labels = np.zeros((3000, 3), np.int8)
    labels[:, 0] = rng.random(3000) < 0.5
    labels[:, 1] = rng.random(3000) < 0.2
    labels[:, 2] = (rng.random(3000) < 0.9) & (labels[:, 0] == 1)  # nearly all of the first have the third
    many = made(labels)
    said = []
    options = Data(prevalence=("normal=0.3", "hernia=0.01"))
    drawn = draw(options, many, {"train": np.arange(3000)}, said.append)
    got = (labels[drawn["train"]] == 1).sum(0)
    asked = round(0.3 * len(drawn["train"]))
    assert said[1] == (
        f"data.prevalence: rarer than asked, for images with several labels: normal {got[0]} of {asked}"
    )


def test_many_labels_are_made_rarer_without_a_negative_class():
    labels = np.zeros((1000, 3), np.int8)
    labels[:200] = np.random.default_rng(0).integers(0, 2, (200, 3))
    many = made(labels)
    drawn = draw(Data(imbalance=50.0), many, {"train": np.arange(1000), "validation": np.arange(1000)}, print)
    abnormal = (labels[drawn["train"]] == 1).any(1)
    assert abnormal.sum() == round((~abnormal).sum() / 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            replace(OPTIONS, imbalance=9.0, long_tail=9.0),
            "data.imbalance and data.long-tail are given: give one of them",
        ),
        (Data(imbalance=9.0), "data.imbalance in the train split: set --data.negative-class"),
        (replace(OPTIONS, imbalance=1.0), "data.imbalance in the train split: imbalance 1:1 is asked"),
        (
            replace(OPTIONS, prevalence=("gout=0.1",)),
            "no class is named 'gout': the classes are normal, pneumonia",
        ),
        (replace(OPTIONS, prevalence=("hernia=1e-6",)), "in the train split: a prevalence of 1e-06 is"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(options, message):
    with pytest.raises(InputError, match=message) as caught:
        draw(options, ONE, split(ONE), print)
    assert "\n" not in str(caught.value)
