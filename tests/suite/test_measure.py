"""The measured part of a ledger line against scikit-learn, and the pairing of replicates over methods."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from scored_runs import CLASSES, scored, unbalanced
from sklearn import metrics as sk

from imbal_jax.config import Config, Data, Deploy
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.load import Splits
from imbal_jax.runs.deployment_choice import deploy
from imbal_jax.suite.judged import paired_draws
from imbal_jax.suite.measure import (
    KEPT,
    bayes_of,
    judged_by,
    line_of,
    measures_of,
    post_hoc,
)

NEGATIVE = Config(name="c", data=Data(negative_class="normal"))


def three_classes(size=600, seed=0, **changes):
    """Test and validation differ, patients have two images each, and outputs are overconfident."""
    labels, outputs = unbalanced(size, seed)
    held, seen = unbalanced(size, seed + 1)
    return scored(
        labels,
        outputs,
        validation_labels=held,
        validation_outputs=seen,
        groups=np.arange(size) // 2,
        validation_groups=np.arange(size) // 2,
        **changes,
    )


def two_classes(size=600, seed=0, positives=30):
    rng = np.random.default_rng(seed)

    def draw():
        labels = np.isin(np.arange(size), rng.choice(size, positives, replace=False)).astype(int)
        p = expit(rng.normal(size=size) + 2 * labels - 1)
        return labels, np.stack([1 - p, p], axis=1)

    (labels, outputs), (held, seen) = draw(), draw()
    source = np.array([1 - positives / size, positives / size])
    return scored(labels, outputs, validation_labels=held, validation_outputs=seen, training_priors=source)


def many_labels(size=600, seed=0):
    rng = np.random.default_rng(seed)

    def draw():
        labels = (rng.random((size, 3)) < (0.4, 0.1, 0.05)).astype(np.int8)
        outputs = expit(rng.normal(size=(size, 3)) + 2 * labels - 2)
        labels[rng.random((size, 3)) < 0.05] = -1
        return labels, outputs

    (labels, outputs), (held, seen) = draw(), draw()
    source = np.array([0.4, 0.1, 0.05])
    return scored(labels, outputs, validation_labels=held, validation_outputs=seen, training_priors=source)


RUNS = {
    "two classes": (two_classes, NEGATIVE),
    "three classes": (three_classes, NEGATIVE),
    "no negative class": (three_classes, Config(name="c")),
    "many labels": (many_labels, Config(name="c")),
}


def by_sklearn(config, run) -> dict[str, float]:
    """Each finding by scikit-learn at the deployed thresholds; the mean over them."""
    deployment = deploy(config, run)
    probabilities = deployment.probabilities(run.outputs)
    called = deployment.called(probabilities)
    rows, worst = [], []
    for c, name in enumerate(run.classes):
        truth = run.labels == c if run.labels.ndim == 1 else run.labels[:, c]
        known = truth >= 0
        truth, p = truth[known].astype(int), probabilities[known, c]
        sensitivity = sk.recall_score(truth, called[known, c])
        worst.append(sensitivity)
        if name == config.data.negative_class:
            continue
        specificity = sk.recall_score(1 - truth, ~called[known, c])
        fpr, tpr, _ = sk.roc_curve(truth, p, drop_intermediate=False)
        q = deployment.prevalence[c]
        weights = np.where(truth, q / truth.mean(), (1 - q) / (1 - truth.mean()))
        rows.append(
            {
                "balanced_accuracy": sk.balanced_accuracy_score(truth, called[known, c]),
                "sensitivity": sensitivity,
                "specificity": specificity,
                "sensitivity_at_90": tpr[fpr <= 0.1 + 1e-12].max(),
                "average_precision": sk.average_precision_score(truth, p),
                "auroc": sk.roc_auc_score(truth, p),
                "brier": sk.brier_score_loss(truth, p, sample_weight=weights),
            }
        )
    return {**{name: np.mean([row[name] for row in rows]) for name in rows[0]}, "worst_class": min(worst)}


@pytest.mark.parametrize("kind", RUNS)
def test_metrics_are_those_of_scikit_learn_at_the_deployed_thresholds(kind: str) -> None:
    make, config = RUNS[kind]
    found = measures_of(config, make(), cell="c", draw=0)["metrics"]
    expected = by_sklearn(config, make())
    assert set(found) == {*expected, "calibration_error"}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


def test_calibration_error_is_that_of_equal_bins_weighed_to_the_prevalence_of_validation() -> None:
    run = two_classes(size=900, positives=300)  # test is a third positive, validation is made a tenth
    held = np.flatnonzero(run.validation_labels == 0)[:600]
    few = np.flatnonzero(run.validation_labels == 1)[:60]
    kept = np.concatenate([held, few])
    run = scored(
        run.labels,
        run.outputs,
        validation_labels=run.validation_labels[kept],
        validation_outputs=run.validation_outputs[kept],
    )
    judged = judged_by(NEGATIVE, run)
    q = 60 / 660
    assert judged.prevalence[1] == pytest.approx(q)
    p, truth = judged.probabilities[:, 1], run.labels
    weights = np.where(truth == 1, q / truth.mean(), (1 - q) / (1 - truth.mean())) / len(truth)
    order = np.argsort(p)
    middle = np.cumsum(weights[order]) - weights[order] / 2
    bins = (15 * middle).astype(int)
    gaps = [abs((weights * (truth - p))[order][bins == b].sum()) for b in range(15)]
    assert judged.metrics["calibration_error"] == pytest.approx(sum(gaps), abs=1e-9)


def test_raw_calls_are_of_the_highest_probability_or_of_half() -> None:
    run = three_classes()
    raw = measures_of(NEGATIVE, run, cell="c", draw=0)["raw"]
    called = run.scores.argmax(axis=1)
    recall = sk.recall_score(run.labels, called, average=None)
    assert raw["accuracy"] == pytest.approx(sk.accuracy_score(run.labels, called))
    assert raw["sensitivity"] == pytest.approx(recall[1:].mean())
    assert raw["worst_class"] == pytest.approx(recall.min())
    run = many_labels()
    raw = measures_of(Config(name="c"), run, cell="c", draw=0)["raw"]
    hits = [(run.scores[run.labels[:, c] == 1, c] >= 0.5).mean() for c in range(3)]
    assert raw["sensitivity"] == pytest.approx(np.mean(hits))
    assert "accuracy" not in raw


def test_post_hoc_adjustment_takes_the_training_priors_out_of_the_logits() -> None:
    rng = np.random.default_rng(0)
    labels, priors = rng.choice(3, 900, p=(0.9, 0.07, 0.03)), np.array([0.9, 0.07, 0.03])
    logits = 1.5 * (1.5 * np.eye(3)[labels] + rng.normal(size=(900, 3))) + np.log(priors)
    run = scored(labels, softmax(logits, axis=1), training_priors=priors)
    found = measures_of(NEGATIVE, run, cell="c", draw=0)
    recall = sk.recall_score(labels, (logits - np.log(priors)).argmax(axis=1), average=None)
    assert found["post_hoc"]["sensitivity"] == pytest.approx(recall[1:].mean())
    assert found["post_hoc"]["worst_class"] == pytest.approx(recall.min())
    assert found["post_hoc"]["balanced_accuracy"] > found["raw"]["balanced_accuracy"] + 0.1
    # of two classes a chosen threshold is the same before and after the adjustment
    run = two_classes()
    plain = Config(name="c", data=NEGATIVE.data, deploy=Deploy(calibration="none"))
    found = measures_of(plain, run, cell="c", draw=0)
    at = found["post_hoc"]["balanced_accuracy_at_threshold"]
    assert at == pytest.approx(found["metrics"]["balanced_accuracy"])


def test_post_hoc_adjustment_of_many_labels_is_by_label_and_none_where_nothing_is_known() -> None:
    run, config = many_labels(), Config(name="c")
    moved = expit(logit(run.outputs) - logit(run.training_priors))
    hits = [(moved[run.labels[:, c] == 1, c] >= 0.5).mean() for c in range(3)]
    assert measures_of(config, run, cell="c", draw=0)["post_hoc"]["sensitivity"] == pytest.approx(
        np.mean(hits)
    )
    unknown = scored(run.labels, run.outputs, training_priors=np.full(3, np.nan))
    assert post_hoc(config, unknown, judged_by(config, unknown)) is None


# Replicates


def resampled(config, run, counts: np.ndarray) -> dict[str, float]:
    """The metrics of a copy of the test images in which patient g stands ``counts[g]`` times."""
    at = np.repeat(np.arange(len(run.labels)), counts[run.groups])
    deployment = deploy(config, run)
    probabilities = deployment.probabilities(run.outputs)[at]
    called = deployment.called(probabilities)
    values = []
    for c, name in enumerate(run.classes):
        if name == config.data.negative_class:
            continue
        truth = (run.labels[at] == c).astype(int)
        values.append(
            (
                sk.balanced_accuracy_score(truth, called[:, c]),
                sk.average_precision_score(truth, probabilities[:, c]),
                sk.roc_auc_score(truth, probabilities[:, c]),
            )
        )
    return dict(
        zip(("balanced_accuracy", "average_precision", "auroc"), np.mean(values, axis=0), strict=True)
    )


def test_replicates_are_the_metrics_of_resampled_patients_and_paired_over_methods() -> None:
    one = three_classes()
    other = scored(
        one.labels,
        unbalanced(600, 7)[1],
        groups=one.groups,
        validation_labels=one.validation_labels,
        validation_outputs=one.validation_outputs,
    )
    cohorts = [judged_by(NEGATIVE, run).cohort for run in (one, other)]
    draws = [paired_draws(cohort, "phantom-100-50", 3, KEPT) for cohort in cohorts]
    np.testing.assert_array_equal(draws[0], draws[1])
    for run in (one, other):
        found = measures_of(NEGATIVE, run, cell="phantom-100-50", draw=3)
        for r in (0, 17, 99):
            for name, value in resampled(NEGATIVE, run, draws[0][r]).items():
                assert found["replicates"][name][r] == pytest.approx(value, abs=6e-5), name
        assert all(len(values) == KEPT for values in found["replicates"].values())


def test_a_replicate_depends_on_cell_draw_and_its_number_alone() -> None:
    run = three_classes()
    cohort = judged_by(NEGATIVE, run).cohort
    long, short = (paired_draws(cohort, "a", 0, samples) for samples in (20, 5))
    np.testing.assert_array_equal(long[:5], short)
    assert not np.array_equal(short, paired_draws(cohort, "b", 0, 5))
    assert not np.array_equal(short, paired_draws(cohort, "a", 1, 5))
    assert len(np.unique(long, axis=0)) == 20
    # patients stay within the stratum of their rarest class
    rarest = np.zeros(cohort.size, int)
    np.maximum.at(rarest, run.groups, run.labels)  # classes are numbered from the commonest to the rarest
    for c in range(3):
        assert (long[:, rarest == c].sum(axis=1) == (rarest == c).sum()).all()


def test_intervals_hold_the_estimate_and_narrow_with_the_test_set() -> None:
    widths = []
    for size in (400, 6400):
        run = three_classes(size)
        found = measures_of(NEGATIVE, run, cell="c", draw=0)
        low, high = found["intervals"]["auroc"]
        assert low <= found["metrics"]["auroc"] <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


# The ideal observer


def test_an_ideal_observer_calls_where_the_likelihood_ratio_is_one() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(40_000) < 0.02).astype(int)
    x = rng.normal(size=labels.size) + 2 * labels
    p = expit(2 * x - 2 + logit(0.02))  # log likelihood ratio 2x - 2
    run = scored(labels, np.stack([1 - p, p], axis=1))
    found = bayes_of(run.outputs, run, "normal", priors=(0.98, 0.02))
    # d' = 2: AUROC Phi(sqrt 2), balanced accuracy Phi(1)
    assert found["auroc"] == pytest.approx(0.9214, abs=0.01)
    assert found["balanced_accuracy"] == pytest.approx(0.8413, abs=0.015)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, x >= 1), abs=1e-9)
    assert found["calibration_error"] < 0.01
    with pytest.raises(ValueError, match="posterior"):
        bayes_of(p, run, "normal")


# The line


def dataset(labels, groups) -> Dataset:
    return Dataset(np.zeros((len(labels), 2, 2, 1), np.uint8), labels, groups, CLASSES)


def test_a_line_is_json_and_holds_the_parts_of_the_ledger() -> None:
    run = three_classes()
    train = dataset(np.array([0] * 50 + [1] * 7 + [2] * 3), np.arange(60))
    splits = Splits(train, dataset(run.validation_labels, run.groups), dataset(run.labels, run.groups), [])
    curve = {
        "step": [10, 20, 30],
        "stage_step": [10, 20, 10],
        "stage": [1, 1, 2],
        "seconds": [1.0, 2.0, 3.5],
        "sensitivity_at_90": [0.5, 0.85, 0.7],
        "average_precision": [0.2, 0.5, 0.4],
        "sensitivity at operating points": [0.2, 0.6, 0.5],
    }
    posterior = run.outputs.astype(np.float64)
    config = NEGATIVE
    line = line_of(config, splits, run, curve, cell="c", draw=0, posterior=posterior)
    assert json.loads(json.dumps(line, allow_nan=False)) == line
    assert line["steps"] == 30
    assert line["best_step"] == 21
    assert line["images"] == 30 * config.train.batch_size
    assert line["seconds"] == 3.5
    assert line["counts"]["train"] == [50, 7, 3]
    assert line["to_target"] == {"steps": 20, "seconds": 2.0}
    assert line["unlearned"] == pytest.approx(0.1)  # auto reads sensitivity at operating points first
    assert set(line["by_class"]) == {"nodule", "effusion"}
    assert {"metrics", "raw", "post_hoc", "intervals", "replicates", "bayes", "curve"} <= set(line)


def test_a_finding_without_test_images_has_null_and_the_means_leave_it_out() -> None:
    run = three_classes()
    run = scored(
        np.where(run.labels == 2, 0, run.labels),
        run.outputs,
        validation_labels=run.validation_labels,
        validation_outputs=run.validation_outputs,
        groups=run.groups,
    )
    found = measures_of(NEGATIVE, run, cell="c", draw=0)
    assert found["by_class"]["effusion"]["auroc"] is None
    assert found["metrics"]["auroc"] == found["by_class"]["nodule"]["auroc"]
    json.dumps(found, allow_nan=False)
