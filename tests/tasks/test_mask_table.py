"""Masks: what is kept, thresholds, and the table, beside scikit-learn and MONAI."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score

from imbal_jax.metrics.codes import encode
from imbal_jax.tasks.mask_table import MaskScores, best_thresholds, called, intervals, pixel_counts


def lesions(seed: int = 0, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Masks [N, 20, 24] of classes 0 to 2, some pixels unknown, one image without a finding; noisy softmax."""
    rng = np.random.default_rng(seed)
    masks = rng.choice(3, size=(count, 20, 24), p=[0.9, 0.07, 0.03]).astype(np.int8)
    masks[0] = 0
    logits = rng.normal(size=(*masks.shape, 3)) + 2.0 * (masks[..., None] == np.arange(3)) - [0, 1, 2]
    masks[:, :2] = -1
    exponent = np.exp(logits)
    return masks, exponent / exponent.sum(axis=-1, keepdims=True)


def test_overlap_and_rank_of_all_pixels_are_scikit_learns() -> None:
    masks, p = lesions()
    kept, thresholds = encode(p[..., 1:]), (0.3, 0.25)
    table = MaskScores(("a", "b"), masks, kept, thresholds, 1).table
    known = masks >= 0
    multiple = np.where(p[..., 1:] >= thresholds, p[..., 1:] / thresholds, 0)
    expected_calls = np.where(multiple.max(axis=-1) > 0, multiple.argmax(axis=-1) + 1, 0)
    for c, name in ((1, "a"), (2, "b")):
        truth, found, score = masks[known] == c, expected_calls[known] == c, p[..., c][known]
        row = table[name]
        assert row["iou"] == pytest.approx(jaccard_score(truth, found))
        assert row["dice"] == pytest.approx(f1_score(truth, found))
        assert row["auroc"] == pytest.approx(roc_auc_score(truth, score), abs=1e-4)
        assert row["average_precision"] == pytest.approx(average_precision_score(truth, score), abs=2e-3)
        assert row["sensitivity"] == pytest.approx((truth & found).sum() / truth.sum())
        assert row["specificity"] == pytest.approx((~truth & ~found).sum() / (~truth).sum())
        assert row["precision"] == pytest.approx((truth & found).sum() / found.sum())
    for key in ("iou", "average_precision", "dice_by_image"):
        assert table["macro"][key] == pytest.approx((table["a"][key] + table["b"][key]) / 2)


def test_dice_by_image_is_monais_mean_over_the_images_that_hold_the_finding() -> None:
    masks, p = lesions(1)
    masks = np.maximum(masks, 0)
    kept = encode(p[..., 1:2])
    found = called(kept, (0.4,), background=1)[..., 0]
    one_hot = [torch.tensor(of[:, None].astype(np.float32)) for of in (found, masks == 1)]
    expected = np.nanmean(compute_dice(*one_hot, ignore_empty=True).numpy())
    table = MaskScores(("a",), np.where(masks == 1, 1, 0), kept, (0.4,), 1).table
    assert table["a"]["dice_by_image"] == pytest.approx(expected, abs=1e-6)


def test_the_threshold_chosen_gives_the_best_dice_of_all_thresholds() -> None:
    masks, p = lesions(2)
    kept = encode(p[..., 1:2])
    binary = np.where(masks == 2, 0, masks)
    (threshold,) = best_thresholds(binary, kept, background=1)
    known = binary >= 0
    truth, score = binary[known] == 1, p[..., 1][known]
    dices = [f1_score(truth, score >= t) for t in np.quantile(score, np.linspace(0.5, 1, 500))]
    reached = f1_score(truth, called(kept, (threshold,), 1)[..., 0][known])
    assert reached >= max(dices) - 1e-9
    # no pixel lies at the threshold: it may be stored in fewer digits
    assert np.array_equal(called(kept, (threshold,), 1), called(kept, (threshold * (1 + 1e-6),), 1))


def test_labels_without_the_finding_leave_the_threshold_at_a_half() -> None:
    masks, p = lesions()
    assert best_thresholds(masks[:1], encode(p[:1, ..., 1:]), background=1) == (0.5, 0.5)
    table = MaskScores(("a", "b"), masks[:1], encode(p[:1, ..., 1:]), (0.5, 0.5), 1).table
    assert np.isnan(table["macro"]["auroc"])
    assert np.isnan(table["a"]["dice_by_image"])


def test_overlapping_labels_are_counted_each_for_itself() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice([1, 0, -1, -2], size=(4, 9, 9, 2), p=[0.2, 0.6, 0.1, 0.1]).astype(np.int8)
    p = rng.uniform(size=labels.shape)
    tables = MaskScores(("a", "b"), labels, encode(p), (0.5, 0.3), 0).tables
    for c, threshold in ((0, 0.5), (1, 0.3)):
        truth, found = labels[..., c], p[..., c] >= threshold
        for image in range(4):
            expected = [
                [((truth[image] == value) & (found[image] == call)).sum() for call in (False, True)]
                for value in (0, 1)
            ]
            np.testing.assert_array_equal(tables[image, c], expected)


def test_intervals_are_by_case_and_hold_the_value() -> None:
    masks, p = lesions(4, count=24)
    scores = MaskScores(("a", "b"), masks, encode(p[..., 1:]), (0.3, 0.25), 1)
    cases = scores.of_cases(np.arange(24) // 2)
    assert cases.shape == (12, 2, 2, 2)
    np.testing.assert_array_equal(cases.sum(axis=0), scores.tables.sum(axis=0))
    for place, name in enumerate(scores.findings):
        low, high = intervals(cases)[place]["dice"]
        assert low < scores.table[name]["dice"] < high
    assert np.isnan(intervals(cases[:1])[0]["dice"].low)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_surfaces_are_those_of_monai_over_the_images_that_hold_the_finding() -> None:
    masks, p = lesions(5)
    masks = np.maximum(masks, 0)
    scores = MaskScores(("a", "b"), masks, encode(p[..., 1:]), (0.3, 0.25), 1)
    found = scores.surfaces()
    for place, name in enumerate(scores.findings):
        held = [image for image in range(len(masks)) if (scores.truth(image, place) == 1).any()]
        one_hot = [
            torch.tensor(np.stack([[of(image, place) == 1] for image in held]).astype(np.float32))
            for of in (scores.called, scores.truth)
        ]
        expected = compute_hausdorff_distance(*one_hot, include_background=True, percentile=95).numpy()
        assert found[name]["hausdorff_95"] == pytest.approx(np.nanmean(expected), abs=0.5)


def test_pixels_of_each_class_are_counted_without_the_unknown_ones() -> None:
    masks, _ = lesions()
    counts, known = pixel_counts(masks, 3)
    for image, mask in enumerate(masks):
        np.testing.assert_array_equal(counts[image], np.bincount(mask[mask >= 0], minlength=3))
        assert known[image, 0] == (mask >= 0).sum()
