"""Labels -1 and 1, as libsvm and some tables write two classes, are refused wherever -1 means unknown."""

import numpy as np
import pytest

from imbal_jax import metrics
from imbal_jax.decisions import calibration, threshold_moving
from imbal_jax.decisions import operating_point as operating
from imbal_jax.decisions.threshold_rules import threshold_curve

LABELS = np.array([-1, 1, -1, 1, 1, -1])
SCORES = np.array([0.1, 0.8, 0.3, 0.6, 0.9, 0.7])
TWO = np.stack([1 - SCORES, SCORES], axis=1)
MANY = np.stack([LABELS, LABELS], axis=1)
TAKES = "pass \\(labels \\+ 1\\) // 2 or labels == 1"
BINARY = {
    name: getattr(metrics, name)
    for name in (
        "auroc", "average_precision", "partial_auroc", "sensitivity", "specificity", "precision", "f_beta",
        "balanced_accuracy", "geometric_mean", "matthews_corrcoef", "brier", "expected_calibration_error",
        "confusion_matrix", "delong",
    )
}  # fmt: skip
OTHERS = {
    "choose_threshold": lambda y, s: operating.choose_threshold(y, s, "youden"),
    "net_benefit": lambda y, s: operating.net_benefit(y, s, [0.1]),
    "threshold_curve": threshold_curve,
    "fit_platt": lambda y, s: calibration.fit_platt(s, y),
    "bootstrap": lambda y, s: metrics.bootstrap(metrics.auroc, y, s, samples=10),
    "paired_bootstrap": lambda y, s: metrics.paired_bootstrap(metrics.auroc, y, s, s, samples=10),
    "delong_difference": lambda y, s: metrics.delong_difference(y, s, s),
    "summary": lambda y, s: metrics.classification_summary(y, s, ("no", "yes")),
    "iou": lambda y, s: metrics.iou(y, s, spatial=0),
}


@pytest.mark.parametrize("name", [*BINARY, *OTHERS])
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float64])
def test_a_binary_vector_of_signs_is_refused_with_the_way_out(name, dtype):
    call = {**BINARY, **OTHERS}[name]
    with pytest.raises(ValueError, match=TAKES):
        call(LABELS.astype(dtype), SCORES)
    call((LABELS + 1) // 2, SCORES)
    call((LABELS == 1).astype(int), SCORES)


@pytest.mark.parametrize("name", BINARY)
def test_many_labels_of_signs_are_refused_and_one_column_without_a_negative_is_not(name):
    scores = np.stack([SCORES, SCORES], axis=1)
    with pytest.raises(ValueError, match=TAKES):
        BINARY[name](MANY, scores)
    mixed = np.stack([LABELS, LABELS == 1], axis=1).astype(int)
    BINARY[name](mixed, scores)  # the first label has no known negative, as a rare label of a small test set


def test_one_label_of_two_classes_is_refused_too():
    for call in (
        lambda: metrics.auroc(LABELS, TWO),
        lambda: operating.choose_thresholds(LABELS, TWO, "youden"),
        lambda: operating.choose_threshold(LABELS, TWO, "youden"),
        lambda: calibration.fit_temperature(np.log(TWO), LABELS),
        lambda: threshold_moving.class_multipliers(LABELS, TWO),
    ):
        with pytest.raises(ValueError, match=TAKES):
            call()


def test_minus_one_beside_zero_stays_unknown():
    labels = np.array([-1, 1, 0, 1, -2, 0])
    known = labels >= 0
    assert metrics.auroc(labels, SCORES) == metrics.auroc(labels[known], SCORES[known])
    one, two = (
        operating.choose_threshold(*pair, "youden")
        for pair in ((labels, SCORES), (labels[known], SCORES[known]))
    )
    assert one == two
    assert metrics.auroc(LABELS, SCORES, mask=LABELS == 1) != 0  # what a mask leaves out is not looked at


def test_what_a_mask_excludes_is_no_sign():
    labels = np.array([0, 1, 0, 1])
    assert np.isnan(metrics.auroc(labels, SCORES[:4], mask=labels == 1))
    images = np.array([[1, 1, -1, -1], [0, 1, -1, 0]])
    metrics.iou(images, np.ones((2, 4)), spatial=1)  # one image whose known pixels are all of the object
