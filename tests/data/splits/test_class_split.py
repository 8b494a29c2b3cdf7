"""Splits by class: no class in two parts, rotations as classes, episodes whose pictures are those of their labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imbal_jax.config import Config, Data, Episode
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import split_as_asked
from imbal_jax.data.splits.class_split import episode_parts, of_one_person, rotated, split_classes
from imbal_jax.errors import InputError

SIDE, DRAWINGS = 8, 6


def config(**episode):
    options = {"ways": 3, "shots": 2, "validation": 20, "test": 30, **episode}
    task = options.pop("task", "episodes")
    data = Data(source="omniglot", validation_share=0.2, test_share=0.3, image_size=SIDE)
    return Config(name="episodes", task=task, data=data, episode=Episode(**options))


def pictures(classes=20, groups=None):
    """Every picture tells its class and its number in its first two pixels."""
    images = np.zeros((classes * DRAWINGS, SIDE, SIDE, 1), np.uint8)
    labels = np.repeat(np.arange(classes, dtype=np.int32), DRAWINGS)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = labels + 1, np.tile(np.arange(DRAWINGS), classes) + 1
    groups = np.arange(len(labels)) if groups is None else groups
    return Dataset(images, labels, groups, tuple(f"c{c}" for c in range(classes)))


def test_no_class_is_in_two_parts_and_all_are_in_one():
    parts = split_classes(1623, Data(validation_share=100 / 1623, test_share=423 / 1623))
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 1100,
        "validation": 100,
        "test": 423,
    }
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(1623))
    other = split_classes(1623, Data(validation_share=100 / 1623, test_share=423 / 1623, split_seed=1))
    assert set(other["test"].tolist()) != set(parts["test"].tolist())


def test_test_episodes_hold_pictures_of_test_classes_under_one_label_each():
    parts, table = episode_parts(config(), pictures())
    seen = {}
    for name in ("validation", "test"):
        part = parts[name]
        strips = part.images.reshape(len(part), 6, SIDE, SIDE)
        classes, numbers = strips[:, :, 0, 0].astype(int), strips[:, :, 0, 1]
        assert part.labels.shape == (len(part), 6, 2)
        for episode, labels in enumerate(part.labels[..., 0]):
            pairs = set(zip(labels.tolist(), classes[episode].tolist(), strict=True))
            assert len(pairs) == 3  # a label a class
            assert len(set(zip(classes[episode].tolist(), numbers[episode].tolist(), strict=True))) == 6
        seen[name] = set(classes.ravel().tolist())
    seen["train"] = set(parts["train"].images[:, 0, 0, 0].tolist())
    assert [len(seen[name]) for name in ("train", "validation", "test")] == [10, 4, 6]
    assert len(set.union(*seen.values())) == 20
    assert [row["classes"] for row in table] == [10, 4, 6]
    assert parts["train"].labels.max() == 9
    assert parts["train"].classes == ("label 0", "label 1", "label 2")


def test_turned_pictures_are_classes_of_their_own():
    data = pictures(classes=3)
    turned = rotated(data)
    assert len(turned) == 4 * len(data)
    for times in range(4):
        of = turned.labels % 4 == times
        np.testing.assert_array_equal(turned.images[of], np.rot90(data.images, times, axes=(1, 2)))
        np.testing.assert_array_equal(turned.labels[of] // 4, data.labels)
    parts, _ = episode_parts(config(rotations=True), pictures())
    assert len(np.unique(parts["train"].labels)) == 40
    assert set(parts["test"].images.reshape(-1, SIDE, SIDE)[:, 0, 0].tolist()) <= set(
        range(1, 21)
    )  # not turned


def test_a_patient_is_not_twice_in_a_class():
    data = pictures(groups=np.repeat(np.arange(60), 2))  # three people a class, two pictures each
    told = []
    parts = split_as_asked(config(), data, say=told.append)
    assert sorted(set(parts.train.images[:, 0, 1, 0].tolist())) == [1, 3, 5]
    assert told == [
        "60 further pictures of the same patient: left out of the episodes, which take one of each, of the rarest of "
        "its classes"
    ]
    told.clear()
    with pytest.raises(InputError, match="0 classes have the 5 pictures"):
        split_as_asked(config(shots=5), data, say=told.append)
    assert len(told) == 1, "it is said before they are too few"


def test_string_labels_have_names_for_letters():
    parts, _ = episode_parts(config(task="string_episodes"), pictures())
    assert parts["test"].classes[:6] == ("1a", "1b", "1c", "1d", "1e", "2a")
    assert len(parts["test"].classes) == 25
    assert parts["test"].labels.max() > 100


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ways": 5}, "episodes of validation: 4 classes have the 2 pictures"),
        ({"shots": 7}, "0 classes have the 7 pictures"),
    ],
)
def test_too_few_classes_or_pictures_are_said(changes, said):
    with pytest.raises(InputError, match=said):
        episode_parts(config(**changes), pictures())


def test_many_labels_are_refused():
    data = pictures()
    many = Dataset(data.images, np.eye(20, dtype=np.int8)[data.labels], data.groups, data.classes)
    with pytest.raises(InputError, match="one class an image"):
        split_as_asked(config(), many)


@pytest.mark.parametrize(
    ("task", "episode", "said"),
    [
        ("episodes", {}, "episode.ways is 0: the task episodes needs"),
        ("auto", {"ways": 5}, "episode.ways is 5: it is for the tasks episodes"),
        ("episodes", {"ways": 1}, "episode.ways is 1: 2 or more"),
        ("episodes", {"ways": 5, "shots": 0}, "episode.shots is 0"),
        ("episodes", {"ways": 5, "long_tail": 0.5}, "episode.long-tail is 0.5"),
        ("episodes", {"ways": 5, "zipf": 1.0}, "episode.zipf is 1.0: the task episodes makes no use of it"),
        (
            "string_episodes",
            {"ways": 5, "bursty": 0.5},
            "episode.bursty is 0.5: the task string_episodes makes no",
        ),
        (
            "in_context",
            {"ways": 2, "queries": 1},
            "episode.queries is 1: the task in_context makes no use of it",
        ),
        (
            "in_context",
            {"ways": 2, "long_tail": 5.0},
            "episode.long-tail is 5.0: the task in_context makes no use",
        ),
    ],
)
def test_a_config_of_episodes_is_checked(task, episode, said):
    with pytest.raises(InputError, match=said):
        Config(name="episodes", task=task, episode=Episode(**episode))


@pytest.mark.parametrize(
    "draw",
    [{"imbalance": 10.0}, {"long_tail": 10.0}, {"prevalence": ("a=0.1",)}],
    ids=lambda draw: next(iter(draw)),
)
@pytest.mark.parametrize(
    "asked",
    [{"task": "episodes", "source": "omniglot", "episode": Episode(ways=5)}, {"source": "sequences"}],
    ids=["episodes", "sequences"],
)
def test_a_draw_by_class_is_refused_where_nothing_is_drawn_so(draw, asked):
    data = Data(source=asked["source"], **draw)
    others = {key: value for key, value in asked.items() if key != "source"}
    with pytest.raises(InputError, match="not for episodes and sequences"):
        Config(name="x", data=data, **others)


@settings(max_examples=60, deadline=None)
@given(
    labels=arrays(np.int32, st.shared(st.integers(1, 60), key="n"), elements=st.integers(0, 7)),
    groups=arrays(np.int64, st.shared(st.integers(1, 60), key="n"), elements=st.integers(0, 19)),
)
def test_one_picture_of_each_patient_is_kept_and_of_the_rarest_of_its_classes(labels, groups):
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    told = []
    kept = of_one_person(Dataset(images, labels, groups, tuple("abcdefgh")), told.append)
    people = {c: len({g for g, label in zip(groups, labels, strict=True) if label == c}) for c in range(8)}
    wanted = []
    for patient in sorted(set(groups.tolist())):
        own = [i for i in range(len(labels)) if groups[i] == patient]
        wanted.append(min(own, key=lambda i: (people[labels[i]], labels[i], i)))
    assert kept.images.reshape(-1).tolist() == sorted(wanted)
    assert bool(told) == (len(wanted) < len(labels))


@pytest.mark.parametrize("task", ["episodes", "in_context"])
def test_a_patient_with_pictures_of_several_classes_is_in_one_part_only(task):
    """Every fifth picture is of somebody who has one of the next class, too."""
    classes, each = 60, 20
    labels = np.repeat(np.arange(classes, dtype=np.int32), each)
    groups = np.arange(len(labels))
    other = (groups + each) % len(labels)
    groups[::5] = other[::5]
    images = np.zeros((len(labels), SIDE, SIDE, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = groups // 256, groups % 256
    asked = Config(
        name="x",
        task=task,
        data=Data(source="omniglot", image_size=SIDE, validation_share=0.2, test_share=0.3),
        episode=Episode(ways=2, shots=4, validation=40, test=200),
    )
    data = Dataset(images, labels, groups, tuple(f"c{c}" for c in range(classes)))
    parts = split_as_asked(asked, data, say=lambda _: None)

    def people(part: Dataset) -> np.ndarray:
        pictures = part.images.reshape(len(part), -1, SIDE, SIDE).astype(int)
        return 256 * pictures[:, :, 0, 0] + pictures[:, :, 0, 1]

    seen = set(people(parts.train).ravel().tolist())
    validation, test = (people(part) for part in (parts.validation, parts.test))
    if task == "in_context":  # the other half asks for the pictures of training
        validation, test = validation[:40], test[:200]
    assert not seen & set(validation.ravel().tolist())
    assert not seen & set(test.ravel().tolist())
    assert not set(validation.ravel().tolist()) & set(test.ravel().tolist())
    assert all(len(set(row)) == len(row) for row in [*validation.tolist(), *test.tolist()]), (
        "asked about oneself"
    )
