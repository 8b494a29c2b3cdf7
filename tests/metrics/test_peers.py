"""The same numbers as torchmetrics and MONAI, to 1e-6, wherever both define them."""

import warnings

import numpy as np
import pytest

from imbal_jax import metrics

torch = pytest.importorskip("torch")
N, C, L = 400, 4, 3
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, of classes that are absent
KINDS = ("random", "tied", "constant")


@pytest.fixture(scope="module")
def peer():
    return pytest.importorskip("torchmetrics.functional")


@pytest.fixture(scope="module")
def monai():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("monai.metrics")


def probabilities(kind, shape):
    rng = np.random.default_rng(1)
    if kind == "random":
        return rng.random(shape)
    # odd sixteenths: no score is a threshold of one half or on the edge of a bin, where conventions differ
    return (2 * rng.integers(0, 8, shape) + 1) / 16 if kind == "tied" else np.full(shape, 0.3)


def of_classes(kind):
    odds = probabilities(kind, (N, C)) + 0.1
    if kind == "constant":
        odds = np.tile([0.4, 0.3, 0.2, 0.1], (N, 1))
    return odds / odds.sum(axis=1, keepdims=True)


def labels_of(classes):
    rng = np.random.default_rng(0)
    return {
        "both": (rng.random(N) < 0.1).astype(int),
        "negatives": np.zeros(N, int),
        "positives": np.ones(N, int),
    }[classes]


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


BINARY = {  # ours, theirs, the classes that it needs
    "sensitivity": (metrics.sensitivity, "binary_recall", "positive", {}),
    "specificity": (metrics.specificity, "binary_specificity", "negative", {}),
    "precision": (metrics.precision, "binary_precision", "decided", {}),
    "f_beta": (lambda *a, **o: metrics.f_beta(*a, beta=2, **o), "binary_fbeta_score", "counted", {"beta": 2.0}),
    "auroc": (metrics.auroc, "binary_auroc", "both", {}),
    "partial_auroc": (
        lambda *a, **o: metrics.partial_auroc(*a, 0.2, **o), "binary_auroc", "both", {"max_fpr": 0.2}),
    "average_precision": (metrics.average_precision, "binary_average_precision", "positive", {}),
    "calibration": (
        metrics.expected_calibration_error, "binary_calibration_error", "any", {"n_bins": 15, "norm": "l1"}),
    "iou": (metrics.iou, "binary_jaccard_index", "positive", {}),
}  # fmt: skip


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("classes", ["both", "negatives", "positives"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", BINARY)
def test_binary_metrics_are_torchmetrics(peer, name, kind, classes, masked):
    ours, theirs, needs, options = BINARY[name]
    labels, scores = labels_of(classes), probabilities(kind, N)
    mask = np.random.default_rng(2).random(N) < (0.6 if masked else 1)
    defined = {
        "positive": labels[mask].any(),
        "negative": not labels[mask].all(),
        "both": 0 < labels[mask].mean() < 1,
        "decided": (scores[mask] >= 0.5).any(),
        "counted": labels[mask].any() or (scores[mask] >= 0.5).any(),
        "any": True,
    }[needs]
    expected = getattr(peer.classification, theirs)(
        torch.from_numpy(scores), torch.from_numpy(np.where(mask, labels, -1)), ignore_index=-1, **options
    )
    found = ours(labels, scores, mask=mask)
    if not defined:
        assert np.isnan(found)
    else:
        close(found, expected.item())


@pytest.mark.parametrize("kind", KINDS)
def test_operating_points_and_correlation_are_torchmetrics(peer, kind):
    labels, scores = labels_of("both"), probabilities(kind, N)
    given = torch.from_numpy(scores), torch.from_numpy(labels)
    for rate in (0.5, 0.9, 1.0):
        expected, _ = peer.classification.binary_sensitivity_at_specificity(*given, min_specificity=rate)
        close(metrics.sensitivity_at_specificity(labels, scores, rate), expected.item())
        expected, _ = peer.classification.binary_specificity_at_sensitivity(*given, min_sensitivity=rate)
        close(metrics.specificity_at_sensitivity(labels, scores, rate), expected.item())
    if kind != "constant":  # theirs is 0 where nothing is decided positive, ours is undefined
        expected = peer.classification.binary_matthews_corrcoef(*given)
        close(metrics.matthews_corrcoef(labels, scores), expected.item())


SEVERAL = {
    "sensitivity": (metrics.sensitivity, "recall"),
    "specificity": (metrics.specificity, "specificity"),
    "precision": (metrics.precision, "precision"),
    "f_beta": (metrics.f_beta, "f1_score"),
    "auroc": (metrics.auroc, "auroc"),
    "average_precision": (metrics.average_precision, "average_precision"),
}


@pytest.mark.parametrize("average", ["macro", "weighted", "none"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["random", "tied"])
@pytest.mark.parametrize("name", SEVERAL)
def test_metrics_of_one_label_are_torchmetrics(peer, name, kind, masked, average):
    ours, theirs = SEVERAL[name]
    labels, scores = np.random.default_rng(3).choice(C, N, p=[0.8, 0.1, 0.07, 0.03]), of_classes(kind)
    mask = np.random.default_rng(2).random(N) < (0.6 if masked else 1)
    expected = getattr(peer.classification, f"multiclass_{theirs}")(
        torch.from_numpy(scores),
        torch.from_numpy(np.where(mask, labels, -1)),
        num_classes=C,
        ignore_index=-1,
        average=average,
    )
    close(ours(labels, scores, mask=mask, average=average), expected.numpy())


@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "none"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", ["random", "tied"])
@pytest.mark.parametrize("name", SEVERAL)
def test_metrics_of_many_labels_are_torchmetrics(peer, name, kind, masked, average):
    ours, theirs = SEVERAL[name]
    rng = np.random.default_rng(4)
    labels, scores = (rng.random((N, L)) < [0.4, 0.1, 0.03]).astype(int), probabilities(kind, (N, L))
    mask = rng.random((N, L)) < (0.6 if masked else 1)
    expected = getattr(peer.classification, f"multilabel_{theirs}")(
        torch.from_numpy(scores),
        torch.from_numpy(np.where(mask, labels, -1)),
        num_labels=L,
        ignore_index=-1,
        average=average,
    )
    close(ours(labels, scores, mask=mask, average=average), expected.numpy())


def test_a_class_without_positives_is_left_out_of_our_mean_where_torchmetrics_counts_it_as_zero(peer):
    labels, scores = np.random.default_rng(5).choice(3, N), of_classes("random")  # class 3 never
    given = torch.from_numpy(scores), torch.from_numpy(labels), C
    expected = peer.classification.multiclass_auroc(*given, average="none")
    close(metrics.auroc(labels, scores, average="none")[:3], expected[:3].numpy())
    close(metrics.auroc(labels, scores), expected[:3].mean().item())
    assert np.isnan(metrics.auroc(labels, scores, average="none")).tolist() == [False] * 3 + [True]


@pytest.mark.parametrize("kind", KINDS)
def test_matrix_correlation_and_calibration_of_one_label_are_torchmetrics(peer, kind):
    labels, scores = np.random.default_rng(6).choice(C, N, p=[0.4, 0.3, 0.2, 0.1]), of_classes(kind)
    given = torch.from_numpy(scores), torch.from_numpy(labels), C
    expected = peer.classification.multiclass_confusion_matrix(*given)
    assert (metrics.confusion_matrix(labels, scores) == expected.numpy()).all()
    if kind != "constant":
        expected = peer.classification.multiclass_matthews_corrcoef(*given)
        close(metrics.matthews_corrcoef(labels, scores), expected.item())
    for bins in (5, 15):
        expected = peer.classification.multiclass_calibration_error(*given, n_bins=bins)
        close(metrics.expected_calibration_error(labels, scores, bins=bins), expected.item())


# Segmentation


def segmentations():
    rng = np.random.default_rng(7)
    labels, scores = rng.choice(C, (6, 9, 8), p=[0.8, 0.1, 0.09, 0.01]), rng.random((6, 9, 8, C))
    labels[2][labels[2] == 1] = 0
    truth, decided = (np.moveaxis(np.eye(C)[a], -1, 1) for a in (labels, scores.argmax(axis=-1)))
    return labels, scores, torch.from_numpy(truth), torch.from_numpy(decided)


@pytest.mark.parametrize("ignore_empty", [True, False])
def test_overlap_image_by_image_is_monais(monai, ignore_empty):
    labels, scores, truth, decided = segmentations()
    for ours, theirs in ((metrics.dice, monai.DiceMetric), (metrics.iou, monai.MeanIoU)):
        meter = theirs(include_background=True, reduction="mean_batch", ignore_empty=ignore_empty)
        meter(decided, truth)
        found = ours(labels, scores, spatial=2, ignore_empty=ignore_empty, average="none")
        close(found, meter.aggregate().numpy())
        meter = theirs(include_background=False, reduction="mean_batch", ignore_empty=ignore_empty)
        meter(decided, truth)
        close(metrics.macro_mean(found[1:])[0], meter.aggregate().numpy().mean())


def test_pooled_overlap_is_torchmetrics(peer):
    labels, scores, _, _ = segmentations()
    given = torch.from_numpy(scores.argmax(axis=-1)), torch.from_numpy(labels)
    expected = peer.classification.multiclass_jaccard_index(*given, num_classes=C, average="none")
    close(metrics.iou(labels, scores, spatial=2, pooled=True, average="none"), expected.numpy())
    expected = peer.classification.multiclass_f1_score(*given, num_classes=C, average="none")
    close(metrics.dice(labels, scores, spatial=2, pooled=True, average="none"), expected.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_areas_are_monais(monai, kind):
    labels, scores = labels_of("both"), probabilities(kind, N)
    given = torch.from_numpy(scores)[:, None], torch.from_numpy(labels)[:, None]
    close(metrics.auroc(labels, scores), monai.compute_roc_auc(*given))
    close(metrics.average_precision(labels, scores), monai.compute_average_precision(*given))


@pytest.mark.parametrize("ignore_empty", [True, False])
def test_overlap_with_classes_first_is_monais_mean(monai, ignore_empty):
    rng = np.random.default_rng(0)
    labels, decided = rng.integers(2, size=(2, 6, 5, 5))
    labels[0] = labels[3] = decided[0] = 0
    labels[1], decided[2] = rng.integers(4, size=(5, 5)), rng.integers(3, size=(5, 5))
    planes = [torch.tensor(np.moveaxis(np.eye(4)[a], -1, 1)) for a in (decided, labels)]
    for ours, theirs in ((metrics.dice, monai.DiceMetric), (metrics.iou, monai.MeanIoU)):
        meter = theirs(include_background=True, reduction="mean", ignore_empty=ignore_empty)
        meter(*planes)
        found = ours(labels, np.eye(4)[decided], spatial=2, ignore_empty=ignore_empty, first="classes")
        np.testing.assert_allclose(found, float(meter.aggregate()), rtol=1e-6)


def test_overlap_that_skips_only_what_is_empty_in_both_is_torchmetrics():
    segmentation = pytest.importorskip("torchmetrics.segmentation")
    rng = np.random.default_rng(0)
    labels, decided = rng.integers(2, size=(2, 6, 5, 5))
    labels[0] = labels[3] = decided[0] = 0
    decided[2] = rng.integers(3, size=(5, 5))
    for per_class, options in ((True, {"average": "none"}), (False, {"first": "pairs"})):
        meter = segmentation.MeanIoU(num_classes=4, per_class=per_class, input_format="index")
        meter.update(torch.tensor(decided), torch.tensor(labels))
        found = metrics.iou(labels, np.eye(4)[decided], spatial=2, ignore_empty="both", **options)
        expected = meter.compute().numpy()
        if per_class:  # theirs is -1 where there is none
            expected = np.where(expected < 0, np.nan, expected)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.sensitivity([0, 1], [0.1, 0.9], threshold=np.nan),
        lambda: metrics.partial_auroc([0, 1], [0.1, 0.9], "0.1"),
        lambda: metrics.expected_calibration_error([0, 1], [0.1, 0.9], bins=np.inf),
        lambda: metrics.f_beta([0, 1], [0.1, 0.9], beta="1"),
    ],
)
def test_options_that_are_no_numbers_are_refused(call):
    with pytest.raises(ValueError, match=r"expected|must be"):
        call()
