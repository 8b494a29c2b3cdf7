"""Real data as cells: exact numbers, no patient in two parts, smaller draws inside larger ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.errors import InputError
from imbal_jax.suite import sets

CLASSES = ("nv", "mel", "df")


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """3,000 images whose first pixel tells which they are, of patients with one to three images of one class."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.choice(3, 1500, p=[0.8, 0.15, 0.05]), 2).astype(np.int32)
    groups = np.repeat(np.arange(1500), 2)
    images = np.zeros((3000, 4, 4, 1), np.uint16)
    images[:, 0, 0, 0] = np.arange(3000)
    data = Dataset(images, labels, groups, CLASSES)
    monkeypatch.setattr(sets, "_whole", lambda *_: (data, None))
    return data


def options(positives: int, ratio: int, classes: tuple[str, str] = ("nv", "mel"), seed: int = 0) -> Data:
    return Data(
        source="imbal_jax.suite.sets:ham10000",
        dir=Path("somewhere"),
        classes=classes,
        phantom_images=positives * (1 + ratio),
        phantom_imbalance=ratio,
        split_seed=seed,
    )


def test_training_has_exactly_what_is_asked_and_test_is_whole(whole: Dataset) -> None:
    data, parts = sets.ham10000(options(20, 30))
    assert data.classes == ("nv", "mel")
    assert np.bincount(data.labels[parts["train"]]).tolist() == [600, 20]
    assert np.bincount(data.labels[parts["validation"]]).tolist() == [150, 5]
    patients = [set(data.groups[rows].tolist()) for rows in parts.values()]
    assert not any(one & other for i, one in enumerate(patients) for other in patients[:i])
    of_interest = whole.labels < 2
    assert len(parts["test"]) == pytest.approx(0.2 * of_interest.sum(), rel=0.02)
    shares = [(labels == 1).mean() for labels in (data.labels[parts["test"]], whole.labels[of_interest])]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)


def test_labels_are_those_of_the_pictures(whole: Dataset) -> None:
    data, parts = sets.ham10000(options(20, 10, ("rest", "df")))
    rows = np.concatenate(list(parts.values()))
    source = data.images[rows, 0, 0, 0]
    np.testing.assert_array_equal(data.labels[rows], whole.labels[source] == 2)
    np.testing.assert_array_equal(data.groups[rows], whole.groups[source])


def test_smaller_draws_lie_inside_larger_ones_and_seeds_differ(whole: Dataset) -> None:
    (_, small), (_, more), (_, other) = (
        sets.ham10000(options(*asked)) for asked in ((10, 30), (20, 60), (10, 30))
    )
    assert set(small["train"]) < set(more["train"])
    np.testing.assert_array_equal(small["train"], other["train"])
    assert set(small["train"]) != set(sets.ham10000(options(10, 30, seed=1))[1]["train"])


def test_a_sets_own_test_images_stay_test_images(whole: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"train": np.arange(0, 2400), "test": np.arange(2400, 3000)}
    monkeypatch.setattr(sets, "_whole", lambda *_: (whole, given))
    data, parts = sets.cifar10(options(20, 20, ("rest", "mel")))
    np.testing.assert_array_equal(np.sort(data.images[parts["test"], 0, 0, 0]), given["test"])
    assert data.images[parts["train"], 0, 0, 0].max() < 2400
    assert data.images[parts["validation"], 0, 0, 0].max() < 2400


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": ("nv", "mel", "df")}, "name the negative class"),
        ({"classes": ("nv", "melanoma")}, "the set has nv, mel, df, or rest"),
        ({"phantom_images": 100_000}, "train has .* images of class 0, .* are asked"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(whole: Dataset, changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        sets.ham10000(replace(options(20, 30), **changed))
    assert "\n" not in str(error.value)
