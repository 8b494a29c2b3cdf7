"""The images are those of the model that the ideal observer assumes, as numpy, scipy and scikit-learn see them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from imbal_jax.config import Config, Data
from imbal_jax.data.load import load
from imbal_jax.data.sources import signals
from imbal_jax.data.sources.signals import NOISE, PEAK, Signals, class_counts, make_images, read_signals
from imbal_jax.errors import InputError

SMALL = Data(
    source="signals",
    image_size=16,
    phantom_images=330,
    phantom_imbalance=10,
    signal_positives=(5, 8),
    negative_class="normal",
)


def test_a_ratio_and_a_number_of_positives_are_exact() -> None:
    """P (1 + R) images at the ratio R hold P abnormal ones, whatever both are."""
    for positives in (10, 50, 100, 251):
        for ratio in (10, 30.5, 333.3, 1000, 10_000):
            images = round(positives * (1 + ratio))
            options = replace(SMALL, phantom_images=images, phantom_imbalance=ratio)
            counts = class_counts(options)["train"]
            assert counts[1:].sum() == positives
            assert counts.sum() == images
            assert np.ptp(counts[1:]) <= 1
    one = replace(SMALL, phantom_images=1_000_100, phantom_imbalance=10_000, classes=("normal", "ring"))
    assert class_counts(one)["train"].tolist() == [1_000_000, 100]


def test_the_splits_hold_what_was_asked() -> None:
    data, split = read_signals(replace(SMALL, signal_imbalance=2))
    held = {part: np.bincount(data.labels[rows], minlength=4).tolist() for part, rows in split.items()}
    assert held == {"train": [300, 10, 10, 10], "validation": [30, 5, 5, 5], "test": [48, 8, 8, 8]}
    assert data.images.shape == (330 + 45 + 72, 16, 16, 1)
    assert data.images.dtype == np.uint8
    assert sorted(np.concatenate(list(split.values()))) == list(range(len(data)))
    # The order says nothing about the class
    assert len(set(data.labels[split["train"]][:100])) > 1


def test_load_keeps_the_splits_and_a_draw_makes_training_rarer(tmp_path: Path) -> None:
    options = replace(SMALL, imbalance=100, draw_splits=("train",))
    parts = load(Config(name="signals", data=options), tmp_path, say=lambda line: None)
    assert np.bincount(parts.train.labels).tolist() == [300, 1, 1, 1]
    assert np.bincount(parts.test.labels).tolist() == [240, 8, 8, 8]
    assert not list(tmp_path.iterdir())  # no files


def test_the_same_seed_gives_the_same_images_and_another_seed_others() -> None:
    first, again, other = (read_signals(replace(SMALL, split_seed=seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.labels, again.labels)
    assert not (first.images[:, None] == other.images[None, :50]).all((2, 3, 4)).any()
    assert len(np.unique(first.images.reshape(len(first), -1), axis=0)) == len(first)


def test_another_ratio_shares_its_images_and_the_whole_test_set() -> None:
    fewer = replace(SMALL, phantom_images=101 * 3, phantom_imbalance=100)
    (many, parts), (few, rarer) = read_signals(SMALL), read_signals(fewer)
    for image, label in zip(many.images[parts["test"]], many.labels[parts["test"]], strict=True):
        assert label in few.labels[rarer["test"]][(few.images[rarer["test"]] == image).all((1, 2, 3))]
    assert np.array_equal(many.groups[parts["test"]], few.groups[rarer["test"]])
    rare = few.labels > 0
    found = (few.images[rare][:, None] == many.images[None]).all((2, 3, 4))
    assert found.any(1).all()
    one = replace(SMALL, classes=("ring", "normal"), phantom_images=110)
    data, _ = read_signals(one)
    rings = data.images[data.labels == 0]
    assert (rings[:, None] == many.images[None, many.labels == 2]).all((2, 3, 4)).any(1).all()


def test_images_do_not_depend_on_the_size_of_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    of, labels = Signals(signals.CLASSES, 16, 4, 3.0), np.arange(700) % 4
    whole = make_images(of, labels, (0, 0))
    monkeypatch.setattr(signals, "CHUNK_PIXELS", 64 * 256)
    assert np.array_equal(make_images(of, labels, (0, 0)), whole)


@pytest.mark.parametrize("size", [8, 16, 33])
@pytest.mark.parametrize("places", [1, 3])
def test_every_signal_has_the_detectability_that_was_asked(size: int, places: int) -> None:
    templates = Signals(("blob", "normal", "ring", "gabor"), size, places, 2.5).templates()
    distance = np.sqrt((templates**2).sum((2, 3))) / NOISE
    np.testing.assert_allclose(distance, [[2.5] * places, [0] * places, [2.5] * places, [2.5] * places])
    flat = templates.reshape(-1, size**2)[[p for p in range(4 * places) if p // places != 1]]
    assert (np.abs(np.corrcoef(flat) - np.eye(len(flat))) < 0.95).all()  # no two are alike


@pytest.mark.parametrize("finding", signals.CLASSES[1:])
def test_the_detectability_of_the_images_is_the_one_that_was_asked(finding: str) -> None:
    """d'^2 = |mean difference|^2 / variance, from images alone; two halves, or noise would add to it."""
    of, each = Signals(("normal", finding), 16, 1, 3.0), 4000
    images = make_images(of, np.repeat([0, 1], 2 * each), (7, 0))[..., 0].astype(np.float64)
    halves = images.reshape(2, 2, each, 256)  # class, half
    variance = halves[0].var(1, ddof=1).mean()
    one, other = halves[1].mean(1) - halves[0].mean(1)
    squared = one @ other / variance
    # Two means, each with the noise of 2 / n by pixel
    error = np.sqrt(256 * (2 / each) ** 2 + 2 * 9 * 2 / each)
    assert abs(squared - 9) < 4 * error
    assert error < 0.02 * 9


def test_the_noise_is_white_and_normal() -> None:
    images = make_images(Signals(("normal", "blob"), 16, 1, 3.0), np.zeros(8000, int), (1, 0))
    pixels = (images.reshape(8000, -1) - 128.0) / np.sqrt(NOISE**2 + 1 / 12)
    count = pixels.size
    assert abs(pixels.mean()) < 4 / np.sqrt(count)
    assert abs(pixels.var() - 1) < 4 * np.sqrt(2 / count)
    assert abs((pixels**4).mean() - 3) < 4 * np.sqrt(96 / count)
    covariance = np.cov(pixels, rowvar=False)
    off = covariance[~np.eye(256, dtype=bool)]
    assert np.abs(off).max() < 6 / np.sqrt(8000)  # of 65,280 values, half of them distinct
    assert abs(off.std() - 1 / np.sqrt(8000)) < 0.05 / np.sqrt(8000)


def test_every_place_is_as_likely_as_the_others() -> None:
    """The signal's energy is found at each of four places in a quarter of the images."""
    images = make_images(Signals(("normal", "blob"), 16, 4, 6.0), np.ones(4000, int), (2, 0))[..., 0]
    y, x = np.mgrid[:16, :16]
    near = [np.exp(-0.5 * ((y - a) ** 2 + (x - b) ** 2) / 1.25**2) for a in (3.5, 11.5) for b in (3.5, 11.5)]
    place = np.tensordot(images - 128.0, np.array(near), ([1, 2], [1, 2])).argmax(1)
    assert np.abs(np.bincount(place, minlength=4) - 1000).max() < 4 * np.sqrt(4000 * 0.25 * 0.75)


def test_rounding_and_clipping_cost_less_than_a_thousandth() -> None:
    """Fisher information of a pixel in its grey levels about its mean, against 1 / variance before they are made."""
    edges = np.concatenate([[-np.inf], np.arange(255) + 0.5, [np.inf]])
    for shift in np.linspace(-PEAK, PEAK, 25) * NOISE:
        z = (edges - signals.BACKGROUND - shift) / NOISE
        probability = np.where(z[1:] <= 0, np.diff(norm.cdf(z)), -np.diff(norm.sf(z)))
        slope = -np.diff(norm.pdf(z)) / NOISE
        kept = probability > 0
        information = (slope[kept] ** 2 / probability[kept]).sum() * NOISE**2
        assert 0.999 < information < 1
        assert information == pytest.approx(1 / (1 + 1 / (12 * NOISE**2)), abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"classes": ("normal", "ringe")},
            "data.classes names 'ringe': signals have the classes normal, blob",
        ),
        ({"classes": ("blob", "ring")}, "name normal and at least one of blob, ring, gabor"),
        ({"classes": ("normal",)}, "name normal and at least one of"),
        ({"signal_places": 17}, "data.signal-places is 17: give 1 to 16 places for images of 16 pixels"),
        ({"signal_places": 0}, "data.signal-places is 0"),
        ({"detectability": 0}, "data.detectability is 0: give a d' above 0"),
        (
            {"detectability": 9.0},
            "data.detectability is 9, with which signals in images of 16 pixels would be",
        ),
        (
            {"phantom_images": 20},
            "data.phantom-images 20 at 1:10 are 2 abnormal, fewer than the 3 findings: ask for",
        ),
        ({"phantom_imbalance": 0.5}, "data.phantom-imbalance is 0.5: it counts normal images"),
        ({"signal_imbalance": 0.0}, "data.signal-imbalance is 0: it counts normal images"),
        ({"signal_positives": (5, 0)}, "data.signal-positives is 5 0: give 1 or more"),
        ({"channels": 3}, "data.channels is 3: signals are grey"),
        ({"split": "patient"}, "data.split is patient: signals are drawn in three splits"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=r"^data\.") as refusal:
        read_signals(replace(SMALL, **wrong))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_highest_detectability_that_is_named_is_accepted() -> None:
    with pytest.raises(InputError) as refusal:
        read_signals(replace(SMALL, detectability=50.0))
    read_signals(replace(SMALL, detectability=float(str(refusal.value).split()[-1])))
