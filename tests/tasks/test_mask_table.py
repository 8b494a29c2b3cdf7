"""Masks: what is kept, thresholds, and the table, beside scikit-learn and MONAI."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_dice
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score

from imbal_jax.tasks.mask_table import (
    best_thresholds,
    called,
    counts_of,
    decode,
    encode,
    mask_table,
    pixel_counts,
)


def lesions(seed: int = 0, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Masks [N, 20, 24] of classes 0 to 2, some pixels unknown, one image without a finding; noisy softmax."""
    rng = np.random.default_rng(seed)
    masks = rng.choice(3, size=(count, 20, 24), p=[0.9, 0.07, 0.03]).astype(np.int8)
    masks[0] = 0
    logits = rng.normal(size=(*masks.shape, 3)) + 2.0 * (masks[..., None] == np.arange(3)) - [0, 1, 2]
    masks[:, :2] = -1
    exponent = np.exp(logits)
    return masks, exponent / exponent.sum(axis=-1, keepdims=True)


@given(st.floats(2e-7, 1 - 2e-7))
def test_a_code_is_the_probability_to_a_relative_five_thousandth_of_its_odds(p: float) -> None:
    code = encode(np.float64(p))
    found = float(decode(code))
    assert abs(np.log(found / (1 - found)) - np.log(p / (1 - p))) <= 2.5e-4


def test_codes_keep_the_order_and_jax_gives_those_of_numpy() -> None:
    p = np.sort(np.random.default_rng(0).beta(0.1, 5, 20_000)).astype(np.float32)
    codes = encode(p.astype(np.float64))
    assert (np.diff(codes.astype(int)) >= 0).all()
    of_jax = np.asarray(encode(jnp.asarray(p), jnp)).astype(int)
    assert of_jax.dtype == int
    assert np.abs(of_jax - codes).max() <= 1  # rounding of float32
    ends = encode(np.array([0.0, 1.0])).astype(int)
    assert ends[0] == codes.min() < 200
    assert ends[1] > 2**16 - 200


def test_overlap_and_rank_of_all_pixels_are_scikit_learns() -> None:
    masks, p = lesions()
    kept, thresholds = encode(p[..., 1:]), (0.3, 0.25)
    table = mask_table(masks, kept, ("a", "b"), thresholds, background=1)
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
    table = mask_table(np.where(masks == 1, 1, 0), kept, ("a",), (0.4,), background=1)
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
    table = mask_table(masks[:1], encode(p[:1, ..., 1:]), ("a", "b"), (0.5, 0.5), 1)
    assert np.isnan(table["macro"]["auroc"])
    assert np.isnan(table["a"]["dice_by_image"])


def test_overlapping_labels_are_counted_each_for_itself() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice([1, 0, -1, -2], size=(4, 9, 9, 2), p=[0.2, 0.6, 0.1, 0.1]).astype(np.int8)
    p = rng.uniform(size=labels.shape)
    counts = counts_of(labels, encode(p), (0.5, 0.3), background=0)
    for c, threshold in ((0, 0.5), (1, 0.3)):
        truth, found = labels[..., c], p[..., c] >= threshold
        for image in range(4):
            expected = [
                ((truth[image] == value) & (found[image] == call)).sum()
                for value, call in ((1, True), (0, True), (1, False), (0, False))
            ]
            np.testing.assert_array_equal(counts[image, c], expected)


def test_pixels_of_each_class_are_counted_without_the_unknown_ones() -> None:
    masks, _ = lesions()
    counts, known = pixel_counts(masks, 3)
    for image, mask in enumerate(masks):
        np.testing.assert_array_equal(counts[image], np.bincount(mask[mask >= 0], minlength=3))
        assert known[image, 0] == (mask >= 0).sum()
