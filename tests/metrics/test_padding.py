"""A last batch that is padded to the size of the others, with a mask, changes no bit of any metric."""

from functools import partial

import numpy as np
import pytest

from imbal_jax import metrics

N, BATCH = 103, 32
RNG = np.random.default_rng(0)
PREVALENCE = [0.3, 0.1, 0.05]


def softmax(logits):
    odds = np.exp(logits)
    return (odds / odds.sum(axis=-1, keepdims=True)).astype(np.float32)


PROBLEMS = {
    "binary": ((RNG.random(N) < 0.2).astype(np.int32), RNG.random(N, np.float32)),
    "one label": (RNG.choice(4, N, p=[0.7, 0.2, 0.07, 0.03]), softmax(RNG.normal(size=(N, 4)))),
    "many labels": ((RNG.random((N, 3)) < PREVALENCE).astype(np.int32), RNG.random((N, 3), np.float32)),
}
VALUES = (
    metrics.confusion_matrix,
    metrics.sensitivity,
    metrics.specificity,
    metrics.precision,
    metrics.f_beta,
    metrics.balanced_accuracy,
    metrics.geometric_mean,
    metrics.matthews_corrcoef,
    metrics.auroc,
    metrics.average_precision,
    metrics.partial_auroc,
    metrics.sensitivity_at_specificity,
    metrics.specificity_at_sensitivity,
    metrics.expected_calibration_error,
    partial(metrics.expected_calibration_error, binning="equal_mass", class_wise=True),
    metrics.brier,
    metrics.iou,
    metrics.dice,
    metrics.delong,
    partial(metrics.bootstrap, metrics.auroc, samples=50),
    partial(metrics.bootstrap, metrics.sensitivity, samples=50),
)


def in_padded_batches(array, fill):
    """The array as whole batches of BATCH, put together again: the last of them padded with ``fill``."""
    batches = []
    for start in range(0, len(array), BATCH):
        part = array[start : start + BATCH]
        padding = np.full((BATCH - len(part), *array.shape[1:]), fill, array.dtype)
        batches.append(np.concatenate([part, padding]))
    return np.concatenate(batches)


@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_bit_of_any_metric_changes(problem, fill):
    labels, scores = PROBLEMS[problem]
    padded_labels, padded_scores = in_padded_batches(labels, fill), in_padded_batches(scores, fill)
    mask = in_padded_batches(np.ones(labels.shape, bool), False)
    assert len(padded_labels) == 128
    for metric in VALUES:
        for options in ({}, {"average": "none"}) if metric in VALUES[1:18] else ({},):
            expected = np.asarray(metric(labels, scores, **options), np.float64)
            found = np.asarray(metric(padded_labels, padded_scores, mask=mask, **options), np.float64)
            assert found.tobytes() == expected.tobytes(), metric
    seen = metrics.confusion_matrix(padded_labels, padded_scores)
    assert seen.sum() > metrics.confusion_matrix(labels, scores).sum()  # without the mask it would be


def test_no_bit_of_the_summary_changes():
    for labels, scores in PROBLEMS.values():
        classes = [f"class {c}" for c in range(1 if scores.ndim == 1 else scores.shape[1])]
        mask = in_padded_batches(np.ones(labels.shape, bool), False)
        expected = metrics.classification_summary(labels, scores, classes)
        found = metrics.classification_summary(
            in_padded_batches(labels, 0), in_padded_batches(scores, 0), classes, mask=mask
        )
        assert repr(found) == repr(expected)


@pytest.mark.parametrize("ignore_empty", [True, False])
@pytest.mark.parametrize("metric", [metrics.dice, metrics.iou], ids=lambda metric: metric.__name__)
def test_no_bit_of_the_overlap_of_images_changes(metric, ignore_empty):
    labels, scores = RNG.integers(0, 3, (N, 6, 6)), RNG.random((N, 6, 6, 3))
    labels[::4] = 0
    mask = in_padded_batches(np.ones(labels.shape, bool), False)
    options = {"spatial": 2, "ignore_empty": ignore_empty}
    for average in ("none", "macro", "weighted", "micro"):
        expected = np.asarray(metric(labels, scores, average=average, **options))
        found = metric(
            in_padded_batches(labels, 0), in_padded_batches(scores, 0), mask=mask, average=average, **options
        )
        assert np.asarray(found).tobytes() == expected.tobytes()
