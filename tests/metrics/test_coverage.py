"""95 % intervals hold the truth in 95 of 100 simulated studies; benchmarks/interval_coverage.py is the long form.

Normal scores with variance 1 whose means are 1.5 apart: the AUROC is Phi(1.5 / sqrt 2). The bounds
are four Monte-Carlo errors wide, which leaves room for what a bootstrap of 200 replicates loses; the seed is fixed.
"""

import numpy as np
import pytest
from scipy import stats

from imbal_jax import metrics

STUDIES, SAMPLES = 300, 200
ERROR = np.sqrt(0.95 * 0.05 / STUDIES)
AUROC = stats.norm.cdf(1.5 / np.sqrt(2))


def holds(interval, truth):
    low, high = interval[-2:]
    return low <= truth <= high


def independent(rng):
    """Which intervals hold the AUROC of 400 cases, 40 of them positive, and the sensitivity of their share."""
    labels = np.repeat([0, 1], [360, 40])
    scores = rng.normal(size=400) + 1.5 * labels
    found = (scores[labels == 1] >= 1).sum()
    sensitivity = stats.norm.cdf(0.5)
    return {
        "delong": holds(metrics.delong(labels, scores), AUROC),
        "bootstrap": holds(
            metrics.bootstrap(metrics.auroc, labels, scores, samples=SAMPLES, seed=int(rng.integers(1e9))),
            AUROC,
        ),
        "wilson": holds(metrics.wilson(found, 40), sensitivity),
        "clopper_pearson": holds(metrics.clopper_pearson(found, 40), sensitivity),
    }


def of_two_scores(rng):
    """Of one AUROC: their difference is 0."""
    labels = np.repeat([0, 1], [360, 40])
    shared = rng.normal(size=400)
    first, second = (np.sqrt(0.5) * (shared + rng.normal(size=400)) + 1.5 * labels for _ in range(2))
    seed = int(rng.integers(1e9))
    delong = metrics.delong_difference(labels, first, second)
    paired = metrics.paired_bootstrap(metrics.auroc, labels, first, second, samples=SAMPLES, seed=seed)
    return {"delong": delong.p_value > 0.05, "bootstrap": paired.low <= 0 <= paired.high}


def of_patients(rng):
    """Four images each of 200 patients, 40 of them positive: 60 % of the variance is the patient's."""
    groups = np.repeat(np.arange(200), 4)
    labels = (groups < 40).astype(int)
    own = rng.normal(size=200)[groups], rng.normal(size=800)
    scores = np.sqrt(0.6) * own[0] + np.sqrt(0.4) * own[1] + 1.5 * labels
    options = {"samples": SAMPLES, "seed": int(rng.integers(1e9))}
    return {
        "delong": holds(metrics.delong(labels, scores, groups=groups), AUROC),
        "bootstrap": holds(metrics.bootstrap(metrics.auroc, labels, scores, groups=groups, **options), AUROC),
        "delong of images": holds(metrics.delong(labels, scores), AUROC),
    }


def coverage(study):
    rng = np.random.default_rng(0)
    studies = [study(rng) for _ in range(STUDIES)]
    return {name: np.mean([held[name] for held in studies]) for name in studies[0]}


def test_intervals_of_independent_cases_cover_as_promised():
    found = coverage(independent)
    for name in ("delong", "bootstrap", "wilson"):
        assert found[name] == pytest.approx(0.95, abs=4 * ERROR), name
    assert found["clopper_pearson"] >= 0.95 - 2 * ERROR  # at least as promised


def test_intervals_of_a_difference_cover_as_promised():
    for name, covered in coverage(of_two_scores).items():
        assert covered == pytest.approx(0.95, abs=4 * ERROR), name


def test_intervals_that_know_the_patients_cover_as_promised_and_those_of_images_do_not():
    found = coverage(of_patients)
    for name in ("delong", "bootstrap"):
        assert found[name] == pytest.approx(0.95, abs=4 * ERROR), name
    assert found["delong of images"] < 0.9
