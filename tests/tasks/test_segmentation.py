"""Segmentation: the objective beside numpy, pixels that do not count, whole runs that do not depend on devices."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import disc_masks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import f1_score
from small_runs import QUIET

from imbal_jax.config import Config, Deploy, Model, Patch, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.data.load import load
from imbal_jax.errors import InputError
from imbal_jax.methods import ClassArrays, find_method
from imbal_jax.runs.rescore import rescore
from imbal_jax.tasks import MASKS, OVERLAPPING_MASKS, task_for
from imbal_jax.train import fit
from imbal_jax.training.build import build_network

WEIGHTS = np.array([0.5, 2.0, 7.0], np.float32)


def shared(**arrays: Any) -> Shared:
    given = {"class_weights": WEIGHTS, "counts": np.array([900.0, 80.0, 20.0]), "priors": np.full(3, 1 / 3)}
    return Shared(ClassArrays(**{**given, **arrays}))


def pixels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits [3, 6, 7, 3] and masks; the first image lacks class 2, some pixels are unknown."""
    rng = np.random.default_rng(seed)
    masks = rng.choice(3, size=(3, 6, 7), p=[0.8, 0.1, 0.1]).astype(np.int8)
    masks[0][masks[0] == 2] = 0
    masks[:, 0, :3] = -1
    return rng.normal(size=(3, 6, 7, 3)).astype(np.float32), masks


def loss_of(text: str, logits: Any, masks: np.ndarray, task: Any = MASKS, **arrays: Any) -> Any:
    value, _ = task.objective(find_method(text))(logits, {"labels": masks, "shared": shared(**arrays)}, None)
    return value if isinstance(value, jax.core.Tracer) else float(value)


def of_numpy(logits: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Weighted cross-entropy of the known pixels, and soft Dice of classes 1 and 2 of the images that hold them."""
    known = masks >= 0
    logs = log_softmax(logits.astype(np.float64), axis=-1)
    labels, weights = masks[known], WEIGHTS[masks[known]]
    entropy = -(weights * np.take_along_axis(logs[known], labels[:, None], 1)[:, 0]).sum() / weights.sum()
    p, dices = softmax(logits.astype(np.float64), axis=-1), []
    for image in range(len(masks)):
        for c in (1, 2):
            truth, own = masks[image][known[image]] == c, p[image][known[image]][:, c]
            if truth.any():
                dices.append(1 - (2 * own[truth].sum() + 1e-5) / (own.sum() + truth.sum() + 1e-5))
    return float(entropy), float(np.mean(dices))


def test_a_sum_of_losses_is_that_of_its_terms_with_their_factors() -> None:
    logits, masks = pixels()
    entropy, dice = of_numpy(logits, masks)
    assert loss_of("weighted_ce", logits, masks) == pytest.approx(entropy, rel=1e-5)
    assert loss_of("loss=dice", logits, masks) == pytest.approx(dice, rel=1e-5)
    both = loss_of("weighted_ce,loss=0.5*dice+cross_entropy", logits, masks)
    assert both == pytest.approx(0.5 * dice + entropy, rel=1e-5)


@pytest.mark.parametrize(
    "text", ["ce", "loss=focal", "loss=dice+cross_entropy", "loss=tversky", "loss=lovasz_softmax",
             "loss=unified_focal", "loss=generalized_dice", "bayesian_ce", "loss=dice+focal,hard_negatives=3",
             "loss=matthews", "loss=dice+cl_dice,iterations=2", "loss=boundary+dice", "loss=hausdorff+cross_entropy"]
)  # fmt: skip
def test_unknown_pixels_change_neither_the_loss_nor_the_gradient(text: str) -> None:
    logits, masks = pixels()
    slope = jax.grad(lambda z: loss_of(text, z, masks))
    changed = logits.copy()
    changed[masks < 0] = 30 * np.random.default_rng(1).normal(size=changed[masks < 0].shape)
    np.testing.assert_allclose(loss_of(text, changed, masks), loss_of(text, logits, masks), rtol=1e-6)
    gradient = np.asarray(slope(jnp.asarray(logits)))
    assert (gradient[masks < 0] == 0).all()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("value", [0, 1, -1])
def test_masks_that_are_empty_full_or_unknown_give_finite_losses_and_gradients(value: int) -> None:
    logits = 1e4 * pixels()[0]
    masks = np.full((3, 6, 7), value, np.int8)
    for text in (
        "loss=dice+cross_entropy",
        "loss=focal_tversky",
        "loss=lovasz_softmax+focal",
        "loss=unified_focal",
        "loss=matthews+cl_dice",
        "loss=boundary+hausdorff",
    ):
        found, slope = jax.value_and_grad(lambda z, text=text: loss_of(text, z, masks))(jnp.asarray(logits))
        assert np.isfinite(found)
        assert np.isfinite(slope).all()


def test_the_hardest_negative_pixels_are_kept_of_all_images_together() -> None:
    logits, masks = pixels()
    masks = np.minimum(masks, 1)
    values = -np.take_along_axis(
        log_softmax(logits.astype(np.float64), axis=-1), np.maximum(masks, 0)[..., None], -1
    )
    positive, negative = values[masks == 1], np.sort(values[masks == 0], axis=None)[::-1]
    kept = np.concatenate([positive.ravel(), negative[: 2 * positive.size]])
    found = loss_of("ce,hard_negatives=2", logits, masks, class_weights=np.ones(3, np.float32))
    assert found == pytest.approx(kept.mean(), rel=1e-5)


def test_coarser_logits_are_compared_with_the_nearest_pixels_at_half_the_share() -> None:
    logits, masks = pixels()
    masks = masks[:, :, :6]
    deep = logits[:, :3, :3]
    outputs = {"logits": logits[:, :, :6], "deep": (deep,)}
    found = loss_of("weighted_ce", outputs, masks)
    first, second = (
        loss_of("weighted_ce", logits[:, :, :6], masks),
        loss_of("weighted_ce", deep, masks[:, 1::2, 1::2]),
    )
    assert found == pytest.approx((first + 0.5 * second) / 1.5, rel=1e-5)


def test_overlapping_labels_are_each_their_own_sigmoid() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 5, 2)).astype(np.float32)
    labels = rng.choice([1, 0, -1, -2], size=logits.shape, p=[0.2, 0.6, 0.1, 0.1]).astype(np.int8)
    weights = np.array([3.0, 5.0], np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    known = labels >= 0
    values = np.where(labels == 1, -weights * np.log(p), -np.log1p(-p))
    found = loss_of("weighted_ce", logits, labels, OVERLAPPING_MASKS, class_weights=weights)
    assert found == pytest.approx(values[known].mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mixup", "mixing is not for masks with one class a pixel"),
        ("crt", "second_stage is not for masks"),
        ("post_hoc_logit_adjusted", "correction is not for masks"),
        ("loss=pairwise_auc", "loss pairwise_auc is not for masks .* sums of them, as dice"),
        ("loss=dice+pairwise_auc", "loss pairwise_auc is not for masks"),
        ("ldam", "head=cosine is not for masks"),
    ],
)
def test_methods_without_a_meaning_for_pixels_are_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        MASKS.check(find_method(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loss=dice+dice", "each loss may be named once"),
        ("loss=dice+nothing", "'nothing' is none of those that can be added"),
        ("loss=x*dice", "'x' is no factor"),
        ("loss=-1*dice", "'-1' is no factor"),
    ],
)
def test_wrong_sums_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find_method(text)


def test_options_that_two_terms_share_are_named_by_their_loss() -> None:
    method = find_method("loss=focal_tversky+focal,focal.gamma=1,focal_tversky.gamma=1,alpha=0.5,beta=0.5")
    logits, masks = pixels()
    ones = np.ones(3, np.float32)
    value, _ = MASKS.objective(method)(logits, {"labels": masks, "shared": shared(class_weights=ones)}, None)
    apart = [
        loss_of(text, logits, masks, class_weights=ones)
        for text in ("loss=focal,gamma=1", "loss=tversky,alpha=0.5,beta=0.5")
    ]
    assert float(value) == pytest.approx(sum(apart), rel=1e-5)


def test_weights_and_priors_are_of_pixels() -> None:
    masks = np.zeros((10, 8, 8), np.int8)
    masks[:2, :2, :2] = 1
    masks[5, 0] = -1
    data = Dataset.from_arrays(np.zeros((10, 8, 8), np.uint8), np.maximum(masks, 0), None, ("none", "spot"))
    data = replace(data, labels=masks)
    counts = MASKS.drawn_counts(data, MASKS.drawn_labels(masks, "ignore"))
    np.testing.assert_array_equal(counts, [624, 8])
    arrays = MASKS.class_arrays(find_method("weighted_ce"), data, counts, counts)
    np.testing.assert_allclose(arrays.class_weights, [632 / 1248, 632 / 16], rtol=1e-6)
    # half of a balanced batch of whole images is drawn for the spot, which covers a sixteenth of its images
    stream = MASKS.stream_counts(data, np.array([4, 4]), None)
    everywhere = 2 * (4 / 64) / 10
    np.testing.assert_allclose(stream[1] / stream.sum(), (everywhere + 4 / 64) / 2, rtol=1e-6)


# Whole runs


def config(**changes: Any) -> Any:
    made = disc_masks.get_config()
    return replace(
        made,
        task="auto",
        methods=(find_method("weighted_ce,loss=dice+cross_entropy,composition=balanced"),),
        patch=Patch(size=8),
        train=Train(epochs=1, batch_size=16, evaluations=1, **changes),
    )


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("resident")
    return folder, fit(config(devices=1), folder, console=QUIET)


@pytest.mark.parametrize("changes", [{"devices": 4}, {"devices": 2, "resident": False}])
def test_a_run_on_patches_is_the_same_on_other_devices_and_streamed(
    resident: tuple[Path, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    (expected,) = resident[1]
    (found,) = fit(config(**changes), tmp_path, console=QUIET)
    difference = np.abs(found.scores.astype(int) - expected.scores.astype(int))
    assert difference.max() <= 8  # of 65,536 codes
    for key, value in expected.table["disc"].items():
        assert found.table["disc"][key] == pytest.approx(value, abs=2e-3)


def test_results_hold_overlap_at_the_threshold_that_validation_chose(resident: tuple[Path, Any]) -> None:
    folder, (result,) = resident
    (run,) = json.loads((folder / "results.json").read_text())["runs"]
    assert {"iou", "dice", "sensitivity", "precision", "auroc", "average_precision"} <= set(
        run["rows"]["disc"]
    )
    assert run["rows"]["macro"]["dice"] == run["rows"]["disc"]["dice"] > 0.3
    assert run["operating_points"]["disc"]["threshold"] == result.thresholds["disc"]
    # the same threshold, applied to the probabilities that the run predicts, gives the same Dice
    data = task_and_test(folder)
    p = result.predict(data.images)[..., 1]
    found, truth = p >= result.thresholds["disc"], data.labels == 1
    assert run["rows"]["disc"]["dice"] == pytest.approx(
        2 * (found & truth).sum() / (found.sum() + truth.sum()), abs=2e-3
    )


def task_and_test(folder: Path) -> Dataset:
    splits = load(config(), folder, lambda line: None)
    assert task_for("auto", splits.test) is MASKS
    return splits.test


def test_the_threshold_may_be_chosen_on_the_training_images(
    resident: tuple[Path, Any], tmp_path: Path
) -> None:
    shutil.copytree(resident[0], tmp_path / "work")
    changed = replace(config(devices=1), deploy=Deploy(mask_threshold="train"))
    (again,) = rescore(changed, tmp_path / "work", QUIET)
    (run,) = json.loads((tmp_path / "work" / "results.json").read_text())["runs"]
    assert run["operating_points"]["disc"]["rule"].endswith("all train images together")
    train = load(config(), resident[0], lambda line: None).train
    p = resident[1][0].predict(train.images)[..., 1]
    dices = {t: f1_score((train.labels == 1).ravel(), (p >= t).ravel()) for t in np.linspace(0.02, 0.98, 49)}
    reached = f1_score((train.labels == 1).ravel(), (p >= again.thresholds["disc"]).ravel())
    assert reached >= max(dices.values()) - 1e-3


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        (
            "cnn",
            np.zeros((2, 16, 16), np.int8),
            r"logits \[B, 2\], expected \[B, 16, 16, 2\].*; for masks, --model.name unet",
        ),
        ("unet", np.zeros(2, np.int32), r"logits \[B, 16, 16, 2\], expected \[B, 2\], one for each class"),
    ],
)
def test_a_network_for_other_labels_is_refused_in_a_line(name: str, labels: np.ndarray, said: str) -> None:
    data = Dataset(np.zeros((2, 16, 16, 1), np.uint8), labels, np.arange(2), ("none", "spot"))
    options = {"depth": 1, "width": 4} if name == "unet" else {}
    made = Config(name="x", model=Model(name=name, options=options))
    with pytest.raises(InputError, match=f"model {name} gives {said}"):
        build_network(made, find_method("ce"), data)


def test_a_class_that_was_learned_and_is_lost_is_said() -> None:
    history = [{"step": step, "dice/spot": value} for step, value in enumerate([0.0, 0.4, 0.39])]
    assert MASKS.lost(history, ("none", "spot")) == []
    history.append({"step": 9, "dice/spot": 0.01})
    (line,) = MASKS.lost(history, ("none", "spot"))
    assert line.startswith(
        "spot was learned and is lost again: its Dice on validation fell from 0.400 to 0.010"
    )


def test_masks_choose_their_task_and_a_classifier_refuses_them() -> None:
    images = np.zeros((3, 4, 4, 1), np.uint8)
    masks = Dataset(images, np.zeros((3, 4, 4), np.int8), np.arange(3), ("a", "b"))
    many = Dataset(images, np.zeros((3, 4, 4, 2), np.int8), np.arange(3), ("a", "b"))
    assert task_for("auto", masks) is MASKS
    assert task_for("auto", many) is OVERLAPPING_MASKS
    with pytest.raises(InputError, match="the data set has masks, the task is classification with one label"):
        task_for("one_label", masks)
    with pytest.raises(
        InputError, match=r"labels are \[3, 4, 4\] for images \[3, 4, 4, 1\], .* \[N, H, W, labels\]"
    ):
        task_for("overlapping_masks", masks)
