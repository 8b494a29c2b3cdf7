"""The ideal observer against closed forms, scipy's densities and the classifiers of scikit-learn."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2, norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import average_precision_score, roc_auc_score

from imbal_jax.cli import main
from imbal_jax.config import Data
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.sources.ideal_observer import (
    bayes_ceiling,
    ideal_observer,
    known_place_auroc,
    known_place_average_precision,
    known_place_balanced_accuracy,
    log_likelihood_ratios,
)
from imbal_jax.data.sources.signals import Signals, make_images, read_signals
from imbal_jax.runs.claim import read_claim

BASE = Data(source="signals", image_size=16, phantom_images=330, phantom_imbalance=10)
ONE_PLACE = replace(BASE, classes=("normal", "blob"), signal_places=1)


def images_of(options: Data, counts: list[int], seed: int) -> Dataset:
    """So many images of each class."""
    classes = options.classes or ("normal", "blob", "ring", "gabor")
    signals = Signals(classes, options.image_size, options.signal_places, options.detectability)
    labels = np.repeat(np.arange(len(counts)), counts)
    return Dataset(make_images(signals, labels, (seed, 9)), labels, np.arange(len(labels)), classes)


def auroc_error(area: float, positives: int, negatives: int) -> float:
    """Hanley and McNeil 1982, with the exponential approximation."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    each = (positives - 1) * (one - area**2) + (negatives - 1) * (two - area**2)
    return float(np.sqrt((area * (1 - area) + each) / (positives * negatives)))


@pytest.mark.parametrize(("detectability", "finding"), [(1.0, "blob"), (2.0, "ring"), (3.0, "gabor")])
def test_scores_at_one_known_place_follow_the_closed_forms(detectability: float, finding: str) -> None:
    options = replace(ONE_PLACE, detectability=detectability, classes=("normal", finding))
    data = images_of(options, [20_000, 2_000], seed=1)
    scores = log_likelihood_ratios(options, data.images)[:, 1]
    area = norm.cdf(detectability / np.sqrt(2))
    assert abs(roc_auc_score(data.labels, scores) - area) < 4 * auroc_error(area, 2_000, 20_000)
    # The log-likelihood ratio is normal with means -+d'^2 / 2 and variance d'^2
    for label, count in ((0, 20_000), (1, 2_000)):
        of = scores[data.labels == label] / detectability
        assert abs(of.mean() - (label - 0.5) * detectability) < 4 / np.sqrt(count)
        assert abs(of.var() - 1) < 4 * np.sqrt(2 / count)
    rows = bayes_ceiling(options, data)
    assert rows["macro"] == rows[finding]
    balanced = norm.cdf(detectability / 2)
    assert abs(rows["macro"]["balanced_accuracy"] - balanced) < 4 * np.sqrt(balanced * (1 - balanced) / 2_000)


def test_closed_forms_have_their_known_values() -> None:
    assert known_place_auroc(0) == 0.5
    assert known_place_auroc(1.812_387_6) == pytest.approx(0.9, abs=1e-6)  # sqrt 2 * 1.281552
    assert known_place_balanced_accuracy(2 * 1.281_551_6) == pytest.approx(0.9, abs=1e-6)
    assert known_place_average_precision(0, 0.03) == pytest.approx(0.03, abs=1e-6)
    rng = np.random.default_rng(0)
    for detectability, prevalence in ((1.0, 0.1), (2.0, 0.03), (3.0, 0.2)):
        truth = np.arange(500_000) < 500_000 * prevalence
        scores = rng.standard_normal(len(truth)) + detectability * truth
        sampled = average_precision_score(truth, scores)
        assert known_place_average_precision(detectability, prevalence) == pytest.approx(sampled, abs=0.01)
    with pytest.raises(ValueError, match="prevalence 0"):
        known_place_average_precision(1.0, 0)


def test_posteriors_are_those_of_the_densities_that_scipy_sums() -> None:
    options = replace(BASE, signal_places=3, detectability=2.0)
    data = images_of(options, [20, 5, 5, 5], seed=2)
    priors = np.array([0.7, 0.1, 0.15, 0.05])
    templates = Signals(data.classes, 16, 3, 2.0).templates()
    scale = np.sqrt(16**2 + 1 / 12)
    by_place = norm.logpdf(data.images[:, None, None, ..., 0].astype(float), 128 + templates, scale).sum(
        (-1, -2)
    )
    joint = priors * np.exp(by_place - by_place.max((1, 2), keepdims=True)).mean(2)
    np.testing.assert_allclose(
        ideal_observer(options, priors)(data.images), joint / joint.sum(1, keepdims=True), rtol=1e-9
    )


def test_rounding_to_grey_levels_changes_no_likelihood() -> None:
    """Against the exact probability of each grey level, log (Phi((g + 1/2 - m) / s) - Phi((g - 1/2 - m) / s))."""
    options = replace(ONE_PLACE, detectability=3.0)
    data = images_of(options, [50, 50], seed=3)
    template = Signals(data.classes, 16, 1, 3.0).templates()[1, 0]
    levels = data.images[..., 0].astype(float)

    def log_probability(mean: np.ndarray | float) -> np.ndarray:
        return np.log(norm.cdf((levels + 0.5 - mean) / 16) - norm.cdf((levels - 0.5 - mean) / 16)).sum((1, 2))

    exact = log_probability(128 + template) - log_probability(128.0)
    np.testing.assert_allclose(log_likelihood_ratios(options, data.images)[:, 1], exact, atol=1e-4)


def test_posteriors_are_calibrated() -> None:
    options = replace(BASE, detectability=2.5)
    data = images_of(options, [30_000, 3_000, 2_000, 1_000], seed=4)
    counts = np.bincount(data.labels)
    posteriors = ideal_observer(options, counts / counts.sum())(data.images)
    np.testing.assert_allclose(posteriors.sum(1), 1)
    for c in range(4):
        scores, truth = posteriors[:, c], data.labels == c
        bins = np.array_split(np.argsort(scores), 20)
        excess = [truth[b].sum() - scores[b].sum() for b in bins]
        variance = [(scores[b] * (1 - scores[b])).sum() for b in bins]
        assert (np.square(excess) / variance).sum() < chi2.ppf(0.9999, 20)


def test_default_priors_are_the_shares_of_the_test_set() -> None:
    options = replace(BASE, signal_positives=(5, 20), signal_imbalance=4)
    data, split = read_signals(options)
    test = data.take(split["test"])
    assert np.bincount(test.labels).tolist() == [240, 20, 20, 20]
    given = ideal_observer(options, [0.8, 0.2 / 3, 0.2 / 3, 0.2 / 3])
    np.testing.assert_allclose(ideal_observer(options)(test.images), given(test.images))


def test_no_linear_classifier_beats_the_ideal_observer_at_one_place_and_the_best_comes_close() -> None:
    options = replace(ONE_PLACE, detectability=2.0)
    train, test = images_of(options, [8_000, 8_000], seed=5), images_of(options, [8_000, 8_000], seed=6)
    linear = LinearDiscriminantAnalysis(solver="lsqr").fit(train.images.reshape(-1, 256), train.labels)
    linear_scores = linear.decision_function(test.images.reshape(-1, 256))
    ideal, other = (
        roc_auc_score(test.labels, scores)
        for scores in (log_likelihood_ratios(options, test.images)[:, 1], linear_scores)
    )
    assert ideal - 0.015 < other < ideal + 0.001  # both are of the same images


def test_where_the_place_varies_a_linear_classifier_falls_short_and_the_highest_matched_filter_does_not_pass() -> (
    None
):
    options = replace(ONE_PLACE, signal_places=4, detectability=3.0)
    train, test = images_of(options, [4_000, 4_000], seed=7), images_of(options, [6_000, 6_000], seed=8)
    pixels, held = ((data.images.reshape(-1, 256) - 128.0) / 16 for data in (train, test))
    ideal = roc_auc_score(test.labels, log_likelihood_ratios(options, test.images)[:, 1])
    linear = LinearDiscriminantAnalysis(solver="lsqr").fit(pixels, train.labels)
    y, x = np.mgrid[:16, :16]
    blobs = [np.exp(-0.5 * ((y - a) ** 2 + (x - b) ** 2) / 1.25**2) for a in (3.5, 11.5) for b in (3.5, 11.5)]
    highest = (held @ np.reshape(blobs, (4, 256)).T).max(1)
    assert roc_auc_score(test.labels, linear.decision_function(held)) < ideal - 0.02
    assert ideal - 0.01 < roc_auc_score(test.labels, highest) < ideal + 0.001


def test_the_ceiling_is_that_of_scikit_learn_and_of_the_best_threshold() -> None:
    options = replace(BASE, detectability=2.5)
    data = images_of(options, [4_000, 400, 300, 300], seed=10)
    rows = bayes_ceiling(options, data)
    posteriors = ideal_observer(options, [0.8, 0.08, 0.06, 0.06])(data.images)
    for c, name in enumerate(data.classes[1:], 1):
        truth = data.labels == c
        assert rows[name]["auroc"] == pytest.approx(roc_auc_score(truth, posteriors[:, c]), abs=1e-6)
        area = average_precision_score(truth, posteriors[:, c])
        assert rows[name]["average_precision"] == pytest.approx(area, abs=1e-6)
        # No threshold is better by more than chance
        order = np.argsort(-posteriors[:, c])
        found, false = np.cumsum(truth[order]) / truth.sum(), np.cumsum(~truth[order]) / (~truth).sum()
        best = ((found + 1 - false) / 2).max()
        assert best - 0.015 < rows[name]["balanced_accuracy"] <= best
    for metric in rows["macro"]:
        of = [rows[name][metric] for name in ("blob", "ring", "gabor")]
        assert rows["macro"][metric] == pytest.approx(np.mean(of))


def test_a_run_of_the_command_stays_below_the_ceiling_of_its_own_test_set(tmp_path: Path) -> None:
    quickstart = Path(__file__).parents[3] / "configs" / "quickstart.py"
    words = f"""train {quickstart} --workdir {tmp_path / "run"} --methods stratified --data.source signals
        --data.image-size 16 --data.classes normal blob --data.phantom-images 1100 --data.phantom-imbalance 10
        --data.signal-positives 20 200 --data.signal-imbalance 5 --data.split-seed 3 --train.epochs 3
        --train.evaluations 1 --train.devices 1 --model.options.patch 4 --model.options.width 4
        --model.options.stages 1 --augment.no-flip --augment.shift 0 --augment.rotation 0 --augment.zoom 0"""
    assert main(words.split()) == 0
    run = json.loads((tmp_path / "run" / "results.json").read_text())["runs"][0]
    options = read_claim(tmp_path / "run").data
    data, split = read_signals(options)
    test = data.take(split["test"])
    assert np.bincount(test.labels).tolist() == [1000, 200]
    reached = run["rows"]["macro"]
    ceiling = bayes_ceiling(options, test)["macro"]
    assert 0.5 < reached["auroc"] < ceiling["auroc"]
    assert reached["average_precision"] < ceiling["average_precision"]
    assert ceiling["auroc"] > 0.9


def test_images_and_priors_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images \[2, 8, 8, 1\], expected \[N, 16, 16, 1\]"):
        log_likelihood_ratios(BASE, np.zeros((2, 8, 8, 1), np.uint8))
    for priors in ([0.5, 0.5], [0.5, 0.2, 0.2, 0.2], [1, 0, 0, 0]):
        with pytest.raises(ValueError, match=r"priors .*: expected 4 shares above 0 with sum 1"):
            ideal_observer(BASE, priors)
