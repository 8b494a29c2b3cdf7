"""Exact metrics against scikit-learn, brute force, hand-computed values and their laws."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from imbal_jax import metrics

fast = settings(max_examples=60, deadline=None)
DECISIONS = (
    metrics.sensitivity,
    metrics.specificity,
    metrics.precision,
    metrics.f_beta,
    metrics.balanced_accuracy,
    metrics.geometric_mean,
    metrics.matthews_corrcoef,
)
RANKINGS = (metrics.auroc, metrics.average_precision)
EVERY = DECISIONS + RANKINGS


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def draw_scores(rng, shape, kind):
    if kind == "distinct":
        return rng.permutation(math.prod(shape)).reshape(shape) / math.prod(shape)
    if kind == "tied":
        return rng.integers(0, 4, shape) / 4
    if kind == "float32":
        return rng.random(shape).astype(np.float32)
    return np.full(shape, 0.5)  # "constant"


SCORES = ("distinct", "tied", "float32", "constant")


@st.composite
def binary_cases(draw, both=True):
    n = draw(st.integers(2, 40))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    if both:
        labels[:2] = 0, 1
    scores = np.array(draw(st.lists(st.integers(-5, 5), min_size=n, max_size=n))) / 5
    return labels, scores


def brute_auroc(labels, scores):
    wins = [
        (s > t) + 0.5 * (s == t) for s in scores[labels == 1].tolist() for t in scores[labels == 0].tolist()
    ]
    return sum(wins) / len(wins)


def brute_average_precision(labels, scores):
    total, recall = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        decided = scores >= threshold
        hit = int((decided & (labels == 1)).sum())
        total += (hit / (labels == 1).sum() - recall) * hit / decided.sum()
        recall = hit / (labels == 1).sum()
    return total


def oracle(name, truth, scores, threshold=0.5):
    """A binary metric by scikit-learn, where it is defined."""
    decided = (scores >= threshold).astype(int)
    return {
        "sensitivity": lambda: sk.recall_score(truth, decided),
        "specificity": lambda: sk.recall_score(truth, decided, pos_label=0),
        "precision": lambda: sk.precision_score(truth, decided),
        "f_beta": lambda: sk.fbeta_score(truth, decided, beta=1),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(truth, decided),
        "geometric_mean": lambda: math.sqrt(
            sk.recall_score(truth, decided) * sk.recall_score(truth, decided, pos_label=0)
        ),
        "matthews_corrcoef": lambda: sk.matthews_corrcoef(truth, decided),
        "auroc": lambda: sk.roc_auc_score(truth, scores),
        "average_precision": lambda: sk.average_precision_score(truth, scores),
    }[name]()


# Binary


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("prevalence", [0.5, 0.02, 0.98])
@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.__name__)
def test_binary_metrics_agree_with_scikit_learn(metric, prevalence, kind):
    rng = np.random.default_rng(1)
    labels = (rng.random(600) < prevalence).astype(np.int32)
    scores = draw_scores(rng, (600,), kind)
    if metric is metrics.matthews_corrcoef and kind == "constant":
        assert math.isnan(metric(labels, scores))  # scikit-learn says 0
    else:
        close(metric(labels, scores), oracle(metric.__name__, labels, scores))


@fast
@given(binary_cases())
def test_ranking_metrics_agree_with_counting_every_pair_and_every_threshold(case):
    close(metrics.auroc(*case), brute_auroc(*case))
    close(metrics.average_precision(*case), brute_average_precision(*case))


def test_values_computed_by_hand():
    labels, scores = [0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.6, 0.5]  # TP 2, FN 1, FP 1, TN 2
    assert metrics.confusion_matrix(labels, scores).tolist() == [[2, 1], [1, 2]]
    close(metrics.sensitivity(labels, scores), 2 / 3)
    close(metrics.specificity(labels, scores), 2 / 3)
    close(metrics.precision(labels, scores), 2 / 3)
    close(metrics.f_beta(labels, scores, beta=2), 10 / 15)
    close(metrics.balanced_accuracy(labels, scores), 2 / 3)
    close(metrics.geometric_mean(labels, scores), 2 / 3)
    close(metrics.matthews_corrcoef(labels, scores), 3 / 9)
    close(metrics.auroc(labels, scores), 6 / 9)
    close(metrics.average_precision(labels, scores), (1 + 2 / 3 + 3 / 5) / 3)


@pytest.mark.parametrize("beta", [0.5, 1, 2, 10])
def test_f_beta_agrees_with_scikit_learn_for_any_beta(beta):
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, 50), rng.random(50)
    close(metrics.f_beta(labels, scores, beta=beta), sk.fbeta_score(labels, scores >= 0.5, beta=beta))


def test_a_score_at_the_threshold_is_positive_also_in_float32():
    assert metrics.confusion_matrix([1, 1], [0.7, 0.69], threshold=0.7).tolist() == [[0, 0], [1, 1]]
    score = np.float32(0.1)
    assert metrics.sensitivity([1], np.array([score]), threshold=float(score)) == 1


def test_infinite_scores_are_ranked():
    assert metrics.auroc([0, 1, 1], [-np.inf, 0.0, np.inf]) == 1
    assert metrics.auroc([1, 0, 0], [-np.inf, -np.inf, np.inf]) == 0.25


def test_jax_arrays_booleans_and_whole_floats_are_taken():
    scores = [0.25, 0.75, 0.5, 0.125]
    for labels in (jnp.array([0, 1, 0, 1]), np.array([False, True, False, True]), np.array([0.0, 1, 0, 1])):
        assert metrics.auroc(labels, jnp.array(scores)) == 0.5
    assert metrics.auroc([0, 1, 0, 1], jnp.array(scores, jnp.bfloat16)) == 0.5
    assert metrics.auroc(np.array([0, 1, 0, 1], np.uint8), np.array([0, 1, 1, 0])) == 0.5


def test_a_million_scores_lose_no_count():
    """Ten million million pairs: the exact value is known, and a float32 sum would miss it."""
    n = 1_000_000
    labels = np.zeros(n, np.int8)
    labels[::1000] = 1  # positives at ranks 0, 1000, ...: below positive k lie 999 k negatives
    scores = np.arange(n, dtype=np.float64)
    assert metrics.auroc(labels, scores) == (999 * (999 * 1000 // 2)) / (1000 * 999_000)


# One label and many


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.__name__)
def test_many_labels_are_so_many_binary_problems(metric, kind):
    rng = np.random.default_rng(3)
    labels, scores = (
        (rng.random((300, 4)) < [0.5, 0.1, 0.9, 0.3]).astype(int),
        draw_scores(rng, (300, 4), kind),
    )
    if metric is metrics.matthews_corrcoef and kind == "constant":
        assert np.isnan(metric(labels, scores, average="none")).all()
        return
    expected = [oracle(metric.__name__, labels[:, c], scores[:, c]) for c in range(4)]
    close(metric(labels, scores, average="none"), expected)
    close(metric(labels, scores), np.mean(expected))
    close(metric(labels, scores, average="weighted"), np.average(expected, weights=labels.sum(0)))
    close(metric(labels, scores, average="micro"), oracle(metric.__name__, labels.ravel(), scores.ravel()))


@pytest.mark.parametrize("kind", ["distinct", "tied"])
@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.__name__)
def test_one_label_by_class_is_the_class_against_the_rest(metric, kind):
    rng = np.random.default_rng(4)
    labels, scores = rng.choice(4, 300, p=[0.7, 0.2, 0.07, 0.03]), draw_scores(rng, (300, 4), kind)
    truth = np.eye(4, dtype=int)[labels]
    judged = scores if metric in RANKINGS else np.eye(4)[scores.argmax(axis=1)]
    expected = [oracle(metric.__name__, truth[:, c], judged[:, c]) for c in range(4)]
    close(metric(labels, scores, average="none"), expected)
    close(metric(labels, scores, average="weighted"), np.average(expected, weights=truth.sum(0)))
    close(metric(labels, scores, average="micro"), oracle(metric.__name__, truth.ravel(), judged.ravel()))
    if metric not in DECISIONS[4:]:
        close(metric(labels, scores), np.mean(expected))


def test_one_label_matrix_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(5)
    labels, scores = rng.choice(5, 400, p=[0.5, 0.3, 0.1, 0.06, 0.04]), rng.random((400, 5))
    decided = scores.argmax(axis=1)
    assert (metrics.confusion_matrix(labels, scores) == sk.confusion_matrix(labels, decided)).all()
    assert (metrics.confusion_matrix(labels, decided, 5) == sk.confusion_matrix(labels, decided)).all()
    close(metrics.balanced_accuracy(labels, scores), sk.balanced_accuracy_score(labels, decided))
    close(metrics.matthews_corrcoef(labels, scores), sk.matthews_corrcoef(labels, decided))
    recalls = sk.recall_score(labels, decided, average=None)
    close(metrics.geometric_mean(labels, scores), recalls.prod() ** (1 / 5))
    close(metrics.sensitivity(labels, scores, average="micro"), sk.accuracy_score(labels, decided))


def test_geometric_mean_agrees_with_imbalanced_learn():
    oracle = pytest.importorskip("imblearn.metrics")
    rng = np.random.default_rng(6)
    labels, scores = rng.choice(3, 200, p=[0.6, 0.3, 0.1]), rng.random((200, 3))
    expected = oracle.geometric_mean_score(labels, scores.argmax(axis=1))
    close(metrics.geometric_mean(labels, scores), expected)


def test_geometric_mean_of_a_thousand_classes_does_not_underflow():
    labels = np.repeat(np.arange(1000), 10)
    decided = np.where(np.arange(10_000) % 10 == 0, labels, (labels + 1) % 1000)  # every recall is 1 in 10
    close(metrics.geometric_mean(labels, np.eye(1000, dtype=np.float32)[decided]), 0.1)


def test_a_tie_is_decided_for_the_lowest_class():
    assert metrics.confusion_matrix([2, 2], [[0.4, 0.2, 0.4], [0.1, 0.4, 0.4]]).tolist() == [
        [0, 0, 0],
        [0, 0, 0],
        [1, 1, 0],
    ]


def test_two_classes_by_scores_of_both_equal_the_binary_problem():
    rng = np.random.default_rng(7)
    labels, scores = rng.integers(0, 2, 99), rng.permutation(99) / 98.5
    for metric in EVERY:
        both = metric(labels, np.stack([1 - scores, scores], axis=1), average="none")
        close(both[1], metric(labels, scores))


def test_many_labels_take_a_threshold_each():
    labels, scores = [[1, 1], [0, 0]], [[0.3, 0.6], [0.2, 0.5]]
    assert metrics.sensitivity(labels, scores, threshold=[0.25, 0.75], average="none").tolist() == [1, 0]
    assert metrics.confusion_matrix(labels, scores, threshold=[0.25, 0.75]).tolist() == [
        [[1, 0], [0, 1]],
        [[1, 0], [1, 0]],
    ]


# Undefined, empty, masked


@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.__name__)
def test_empty_input_is_undefined_and_not_an_error(metric, average):
    assert math.isnan(metric([], [], average=average))
    assert math.isnan(metric([], np.zeros((0, 3)), average=average))
    assert math.isnan(metric(np.zeros((0, 2)), np.zeros((0, 2)), average=average))
    assert math.isnan(metric([0, 1], [0.1, 0.9], mask=[False, False], average=average))
    assert np.isnan(metric([], np.zeros((0, 3)), average="none")).tolist() == [True] * 3
    assert np.isnan(metric(np.zeros((0, 2)), np.zeros((0, 2)), average="none")).tolist() == [True] * 2


def test_no_case_gives_a_matrix_of_zeros():
    assert metrics.confusion_matrix([], []).tolist() == [[0, 0], [0, 0]]
    assert metrics.confusion_matrix([], [], 3).tolist() == [[0] * 3] * 3
    assert metrics.confusion_matrix(np.zeros((0, 2)), np.zeros((0, 2))).shape == (2, 2, 2)


def defined(labels, scores):
    return {metric.__name__ for metric in EVERY if not math.isnan(metric(labels, scores))}


def test_what_one_class_alone_leaves_defined():
    scores = [0.1, 0.6, 0.9]
    assert defined([0, 0, 0], scores) == {"specificity", "precision", "f_beta"}
    assert defined([1, 1, 1], scores) == {"sensitivity", "precision", "f_beta", "average_precision"}


def test_with_nothing_decided_positive_f_is_zero_and_precision_and_mcc_undefined():
    labels, scores = [0, 1, 0], [0.1, 0.2, 0.3]
    assert metrics.f_beta(labels, scores) == 0
    assert math.isnan(metrics.precision(labels, scores))
    assert math.isnan(metrics.matthews_corrcoef(labels, scores))


def test_an_absent_class_is_left_out_of_means():
    labels = [0, 0, 1, 1]
    scores = np.eye(3)[[0, 2, 1, 1]]
    close(metrics.sensitivity(labels, scores, average="none"), [0.5, 1, np.nan])
    assert metrics.sensitivity(labels, scores) == 0.75
    assert metrics.sensitivity(labels, scores, average="weighted") == 0.75
    assert metrics.balanced_accuracy(labels, scores) == 0.75
    close(metrics.geometric_mean(labels, scores), math.sqrt(0.5))


def test_macro_mean_says_how_many_values_it_covers():
    assert metrics.macro_mean([0.5, np.nan, 0.25]) == (0.375, 2)
    value, covered = metrics.macro_mean([np.nan])
    assert math.isnan(value)
    assert covered == 0


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.__name__)
def test_what_is_masked_or_labelled_minus_one_is_as_if_it_were_not_there(metric):
    rng = np.random.default_rng(8)
    labels, scores, kept = rng.integers(0, 2, 80), rng.random(80), rng.random(80) < 0.6
    scores[~kept] = np.nan
    expected = metric(labels[kept], scores[kept])
    close(metric(labels, scores, mask=kept), expected)
    close(metric(np.where(kept, labels, -1), scores), expected)

    labels, scores = rng.integers(0, 3, 80), rng.random((80, 3))
    expected = metric(labels[kept], scores[kept])
    close(metric(labels, scores, mask=kept), expected)
    close(metric(np.where(kept, labels, -1), scores), expected)

    labels, scores, kept = rng.integers(0, 2, (80, 3)), rng.random((80, 3)), rng.random((80, 3)) < 0.6
    scores[~kept] = np.nan
    expected = [metric(labels[kept[:, c], c], scores[kept[:, c], c]) for c in range(3)]
    close(metric(labels, scores, mask=kept, average="none"), expected)
    close(metric(labels.astype(np.uint8), scores, mask=kept, average="none"), expected)
    close(metric(np.where(kept, labels, -1), scores, average="none"), expected)
    close(metric(labels, scores, mask=kept, average="micro"), metric(labels[kept], scores[kept]))


# Wrong input


@pytest.mark.parametrize(
    ("labels", "scores", "match"),
    [
        ([0, 1], [0.1, np.nan], "1 of 2 scores are NaN"),
        ([[0, 1]], [[np.nan, np.nan]], "2 of 2 scores are NaN"),
        ([0, 1], [0.1], r"labels \[2\] do not fit scores \[1\]"),
        ([0, 1], np.zeros((3, 2)), r"labels \[2\] do not fit scores \[3, 2\]"),
        ([[0, 1]], [[0.5]], r"labels \[1, 2\] do not fit scores \[1, 1\]"),
        ([[0], [1]], [0.5, 0.5], r"labels \[2, 1\] do not fit scores \[2\]"),
        (1, 0.5, r"labels \[\] do not fit"),
        ([0, 1], [[0.1], [0.2]], r"two classes or more: pass scores\[:, 0\]"),
        ([0, 2], [0.1, 0.2], "label 2 is out of range: expected 0 to 1"),
        ([0, -3], [0.1, 0.2], "label -3 is out of range"),
        ([0, 3], np.zeros((2, 3)), "label 3 is out of range: expected 0 to 2"),
        ([0, 0.5], [0.1, 0.2], "whole numbers"),
        ([0, np.nan], [0.1, 0.2], "whole numbers"),
    ],
)
@pytest.mark.parametrize("metric", [metrics.auroc, metrics.sensitivity, metrics.confusion_matrix])
def test_wrong_input_is_a_value_error_that_names_it(metric, labels, scores, match):
    with pytest.raises(ValueError, match=match):
        metric(labels, scores)


def test_wrong_options_are_value_errors_that_name_them():
    with pytest.raises(ValueError, match="unknown average 'mean': expected one of macro"):
        metrics.auroc([0, 1], [0.1, 0.2], average="mean")
    with pytest.raises(ValueError, match="unknown average 'mean'"):
        metrics.matthews_corrcoef([0, 1], [0.1, 0.2], average="mean")
    with pytest.raises(ValueError, match="beta=0"):
        metrics.f_beta([0, 1], [0.1, 0.2], beta=0)
    with pytest.raises(ValueError, match=r"mask \[1\]"):
        metrics.auroc([0, 1], [0.1, 0.2], mask=[True])
    with pytest.raises(ValueError, match=r"threshold \[3\]"):
        metrics.precision([[0, 1]], [[0.1, 0.2]], threshold=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="decisions run from 0 to 3: expected 0 to 2"):
        metrics.confusion_matrix([0, 1], [0, 3], 3)
    with pytest.raises(ValueError, match=r"num_classes=4 does not fit scores \[2, 3\]"):
        metrics.confusion_matrix([0, 1], np.zeros((2, 3)), 4)


# Laws


@fast
@given(binary_cases())
def test_ranking_metrics_see_only_the_order_of_the_scores(case):
    labels, scores = case
    for transformed in (np.exp(3 * scores), scores**3, (5 * scores).astype(int), 1e30 * scores - 1):
        if len(np.unique(transformed)) == len(np.unique(scores)):
            for metric in RANKINGS:
                assert metric(labels, transformed) == metric(labels, scores)


@fast
@given(binary_cases())
def test_exchanging_the_classes_turns_auroc_around(case):
    labels, scores = case
    close(metrics.auroc(1 - labels, scores), 1 - metrics.auroc(labels, scores))
    close(metrics.auroc(labels, -scores), 1 - metrics.auroc(labels, scores))


@fast
@given(binary_cases(both=False), st.randoms(use_true_random=False))
def test_the_order_of_the_cases_does_not_matter(case, random):
    labels, scores = case
    order = list(range(len(labels)))
    random.shuffle(order)
    for metric in EVERY:
        np.testing.assert_equal(metric(labels[order], scores[order]), metric(labels, scores))


@fast
@given(binary_cases(), st.integers(2, 5))
def test_more_of_the_same_negatives_leave_sensitivity_specificity_and_auroc_alone(case, times):
    labels, scores = case
    repeats = np.where(labels == 0, times, 1)
    many = np.repeat(labels, repeats), np.repeat(scores, repeats)
    for metric in (metrics.sensitivity, metrics.specificity, metrics.balanced_accuracy, metrics.auroc):
        close(metric(*many), metric(*case))
    assert metrics.average_precision(*many) <= metrics.average_precision(*case) + 1e-12


@fast
@given(binary_cases())
@example((np.array([0, 1, 0, 1, 1]), np.array([0.6, 0.0, 0.6, 0.0, 0.0])))  # MCC rounded to -1 - 2e-16
def test_every_metric_lies_in_its_range(case):
    for metric in EVERY:
        value = metric(*case)
        low = -1 if metric is metrics.matthews_corrcoef else 0
        assert math.isnan(value) or low <= value <= 1


# Summary


def test_summary_rows_hold_each_class_against_the_rest():
    rng = np.random.default_rng(9)
    labels, scores = rng.choice(3, 200, p=[0.8, 0.15, 0.05]), rng.random((200, 3))
    summary = metrics.classification_summary(
        labels, scores, ("normal", "nodule", "mass"), negative_class="normal"
    )
    assert list(summary) == ["normal", "nodule", "mass", "macro"]
    spelled = {"f_score": metrics.f_beta, "mcc": metrics.matthews_corrcoef}
    for name in metrics.SUMMARY_METRICS:
        by_class = spelled.get(name, getattr(metrics, name, None))(labels, scores, average="none")
        close([summary[c][name] for c in ("normal", "nodule", "mass")], by_class)
        close(summary["macro"][name], by_class[1:].mean())
        assert summary["macro"][f"{name}_classes"] == 2
    assert summary["nodule"]["positives"] == (labels == 1).sum()
    assert summary["nodule"]["prevalence"] == (labels == 1).mean()
    assert summary["macro"]["positives"] == (labels > 0).sum()
    assert summary["macro"]["accuracy"] == (scores.argmax(axis=1) == labels).mean()


def test_summary_of_two_classes_is_that_of_the_positive():
    rng = np.random.default_rng(10)
    labels, scores = (rng.random(200) < 0.2).astype(int), rng.random((200, 2))
    summary = metrics.classification_summary(labels, scores, ("normal", "nodule"), negative_class="normal")
    decided = scores.argmax(axis=1)
    for row in ("nodule", "macro"):
        close(summary[row]["sensitivity"], sk.recall_score(labels, decided))
        close(summary[row]["f_score"], sk.f1_score(labels, decided))
        close(summary[row]["balanced_accuracy"], sk.balanced_accuracy_score(labels, decided))
        close(summary[row]["mcc"], sk.matthews_corrcoef(labels, decided))
        close(summary[row]["auroc"], sk.roc_auc_score(labels, scores[:, 1]))
    close(summary["normal"]["sensitivity"], summary["nodule"]["specificity"])
    close(summary["macro"]["accuracy"], sk.accuracy_score(labels, decided))


def test_summary_of_one_column_mirrors_the_positive_for_the_negative():
    rng = np.random.default_rng(11)
    labels, scores = (rng.random(200) < 0.2).astype(int), rng.permutation(200) / 200
    one = metrics.classification_summary(labels, scores, ("normal", "nodule"), threshold=0.5 + 1e-9)
    both = metrics.classification_summary(
        labels, np.stack([1 - scores, scores], axis=1), ("normal", "nodule")
    )
    for row in both:
        assert one[row] == pytest.approx(both[row], abs=1e-12)
    alone = metrics.classification_summary(labels, scores, ("nodule",), threshold=0.5 + 1e-9)
    assert alone["nodule"] == one["nodule"]


def test_summary_of_many_labels_covers_the_classes_that_have_positives():
    labels = np.array([[1, 0, -1], [0, 0, 1], [1, 0, 0]])
    scores = np.array([[0.9, 0.1, 0.9], [0.2, 0.6, 0.7], [0.3, 0.2, 0.8]])
    summary = metrics.classification_summary(labels, scores, ("effusion", "hernia", "mass"))
    macro = summary["macro"]
    assert "accuracy" not in macro
    assert math.isnan(summary["hernia"]["auroc"])
    assert (macro["auroc"], macro["auroc_classes"]) == (0.5, 2)
    assert (macro["sensitivity"], macro["sensitivity_classes"]) == (0.75, 2)
    assert macro["specificity_classes"] == 3
    assert (summary["mass"]["positives"], summary["mass"]["prevalence"]) == (1, 0.5)
    assert macro["positives"] == 3


def test_summary_of_nothing_is_undefined():
    summary = metrics.classification_summary([], np.zeros((0, 2)), ("normal", "nodule"))
    assert all(math.isnan(summary["macro"][name]) for name in (*metrics.SUMMARY_METRICS, "accuracy"))
    assert summary["macro"]["auroc_classes"] == 0


def test_flat_metrics_are_the_macro_row_and_every_class():
    labels, scores = [0, 1, 0, 1], [0.1, 0.9, 0.6, 0.4]
    summary = metrics.classification_summary(labels, scores, ("normal", "nodule"), negative_class="normal")
    flat = metrics.flat_metrics(summary)
    names = (*metrics.SUMMARY_METRICS, "accuracy")
    expected = [*names, *(f"{n}/{c}" for c in ("normal", "nodule") for n in metrics.SUMMARY_METRICS)]
    assert sorted(flat) == sorted(expected)
    assert flat["auroc"] == flat["auroc/nodule"] == 0.75
    assert flat["accuracy"] == 0.5


def test_summary_refuses_classes_that_do_not_fit():
    labels, scores = [0, 1], [[0.5, 0.5], [0.25, 0.75]]
    for classes, negative, match in [
        (("a", "b", "c"), None, "3 classes do not fit"),
        (("a", "a"), None, "distinct"),
        (("a", "macro"), None, "macro"),
        (("a", "b"), "c", "negative_class 'c'"),
    ]:
        with pytest.raises(ValueError, match=match):
            metrics.classification_summary(labels, scores, classes, negative_class=negative)


def test_a_class_without_positives_that_was_called_counts_zero_in_the_f_score():
    labels, decided = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 2])
    scores = np.eye(4)[decided]  # class 2 is called and absent, class 3 neither
    by_class = sk.f1_score(labels, decided, labels=range(4), average=None, zero_division=np.nan)
    np.testing.assert_allclose(metrics.f_beta(labels, scores, average="none"), by_class)
    expected = sk.f1_score(labels, decided, labels=range(3), average="macro")
    assert metrics.f_beta(labels, scores) == pytest.approx(expected)
    rows = metrics.classification_summary(labels, scores, "abcd")
    assert rows["macro"]["f_score"] == pytest.approx(expected)
    assert rows["macro"]["f_score_classes"] == 3
    by_class = sk.precision_score(labels, decided, labels=range(4), average=None, zero_division=np.nan)
    np.testing.assert_allclose(metrics.precision(labels, scores, average="none"), by_class)
