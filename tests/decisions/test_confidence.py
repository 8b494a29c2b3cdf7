"""Lower bounds and standard errors of the metrics that a criterion reads."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from imbal_jax.decisions.confidence import bounds, standard_error
from imbal_jax.decisions.criterion import STANDARD_ERROR
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.errors import InputError
from imbal_jax.metrics import classification_summary, delong, flat_metrics

# Bounds and errors from the cases


def cases(positives=30, negatives=300, seed=0, images=1):
    """Labels, probabilities of (normal, nodule), and the patient of each of his ``images``."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    p = 1 / (1 + np.exp(-(rng.normal(size=len(labels)) + 2.0 * labels - 1.0)))
    labels, p = np.repeat(labels, images), np.repeat(p, images)
    return labels, np.stack([1 - p, p], axis=1), np.repeat(np.arange(positives + negatives), images)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("many", [False, True])
def test_the_bound_of_a_rate_is_one_sided_and_copies_of_an_image_do_not_tighten_it(many, images):
    labels, scores, groups = cases(images=images)
    called = scores.argmax(axis=1)[::images]
    hits = {1: int(called[:30].sum()), 0: int(300 - called[30:].sum())}
    given = np.stack([1 - labels, labels], axis=1) if many else labels
    criterion = parse_criterion(
        "sensitivity/nodule lower bound 90 % + sensitivity lower bound 95 % + specificity lower bound 95 %"
    )
    found = bounds(criterion, given, scores, ["normal", "nodule"], negative_class="normal", groups=groups)

    def one_sided(k, n, confidence):
        return scipy.stats.beta.ppf(1 - confidence, k, n - k + 1)

    assert found == {
        "sensitivity/nodule lower bound 90 %": pytest.approx(one_sided(hits[1], 30, 0.90)),
        "sensitivity lower bound 95 %": pytest.approx(one_sided(hits[1], 30, 0.95)),
        "specificity lower bound 95 %": pytest.approx(one_sided(hits[0], 300, 0.95)),
    }


def test_the_bound_of_a_macro_metric_is_the_mean_of_those_of_the_classes_of_interest():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    criterion = parse_criterion("auroc lower bound 95 % + auroc/b lower bound 95 %")
    found = bounds(criterion, labels, scores, ["a", "b", "c"], negative_class="a")
    low = delong(
        labels, scores, confidence=0.9
    ).low  # two-sided 90 %: its lower end is that of one-sided 95 %
    assert found["auroc lower bound 95 %"] == pytest.approx((low[1] + low[2]) / 2)
    assert found["auroc/b lower bound 95 %"] == pytest.approx(low[1])


def test_a_bound_of_a_class_without_an_example_is_undefined_and_of_an_unknown_class_an_input_error():
    labels, scores, _ = cases(positives=0)
    criterion = parse_criterion("sensitivity/nodule lower bound 95 %")
    assert math.isnan(bounds(criterion, labels, scores, ["normal", "nodule"])[criterion.names[0]])
    with pytest.raises(InputError, match=r"'sensitivity/nodule lower bound 95 %'.*normal, mass"):
        bounds(criterion, labels, scores, ["normal", "mass"])


def measure(labels, scores):
    return flat_metrics(classification_summary(labels, scores, ["normal", "nodule"], negative_class="normal"))


def test_the_standard_error_is_that_of_a_share_of_the_positives_and_that_of_delong():
    labels, scores, groups = cases(positives=60, seed=3)
    p = measure(labels, scores)["sensitivity"]
    criterion = parse_criterion("sensitivity within 1 standard error")
    found = standard_error(criterion, measure, labels, scores, groups=groups, samples=400)[STANDARD_ERROR]
    assert found == pytest.approx(math.sqrt(p * (1 - p) / 60), rel=0.15)
    criterion = parse_criterion("2*auroc within 1 standard error")
    found = standard_error(criterion, measure, labels, scores, groups=groups, samples=400)[STANDARD_ERROR]
    assert found == pytest.approx(2 * math.sqrt(delong(labels, scores).variance[1]), rel=0.15)


def test_copies_of_an_image_leave_the_standard_error_as_it_is():
    criterion = parse_criterion("f_score - sensitivity where specificity >= 2 within 1 standard error")
    errors = []
    for images in (1, 3):
        labels, scores, groups = cases(images=images)
        errors.append(standard_error(criterion, measure, labels, scores, groups=groups)[STANDARD_ERROR])
    assert errors[0] > 0
    assert errors[1] == pytest.approx(errors[0])


def test_a_criterion_without_clauses_asks_for_nothing_more():
    labels, scores, _ = cases()
    criterion = parse_criterion("auroc smoothed 3")
    assert standard_error(criterion, measure, labels, scores) == {}
    assert bounds(criterion, labels, scores, ["normal", "nodule"]) == {}


# Does it help? Thirty positives, twenty evaluations, five hundred runs


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_a_lower_bound_counts_patients_and_is_below_the_truth_as_often_as_it_says(correlation):
    rng, kept = np.random.default_rng(0), 0
    criterion = parse_criterion("sensitivity/nodule lower bound 95 %")
    of = np.repeat(np.arange(60), 8)
    for _ in range(60):
        z = rng.normal(size=60)[of] * np.sqrt(correlation) + rng.normal(size=480) * np.sqrt(1 - correlation)
        p = scipy.special.ndtr(z + 1)  # called where z > -1
        found = bounds(criterion, np.ones(480, int), np.stack([1 - p, p], 1), ["normal", "nodule"], groups=of)
        kept += found[criterion.names[0]] <= scipy.stats.norm.cdf(1)
    assert kept / 60 >= 0.93
