"""Tasks: the objective of every method, against the same formula in numpy."""

from typing import Any

import numpy as np
import pytest

from imbal_jax.data.dataset import Dataset
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS, Method, find_method
from imbal_jax.tasks import MANY_LABELS, ONE_LABEL, class_arrays, task_for

COUNTS = np.array([90, 8, 2])
LABELS = np.repeat([0, 1, 2], COUNTS).astype(np.int32)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(12, 3)).astype(np.float32)
BATCH_LABELS = np.array([0] * 8 + [1] * 3 + [2], np.int32)


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64)
    return z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)) - z.max(1, keepdims=True)


def loss_of(method: Method, smoothing: float = 0.0, stream: np.ndarray = COUNTS) -> float:
    batch: dict[str, Any] = {"labels": BATCH_LABELS, "shared": class_arrays(method, LABELS, 3, stream)}
    loss, _ = ONE_LABEL.objective(method, label_smoothing=smoothing)(LOGITS, batch, None)
    return float(loss)


def picked(logp: np.ndarray) -> np.ndarray:
    return -logp[np.arange(12), BATCH_LABELS]


def test_the_loss_of_every_method_of_the_catalogue_is_its_formula() -> None:
    ce = picked(log_softmax(LOGITS))
    inverse = (100 / (3 * COUNTS))[BATCH_LABELS]
    effective = 1 / ((1 - 0.9999**COUNTS) / (1 - 0.9999))
    effective = (effective * 3 / effective.sum())[BATCH_LABELS]
    adjusted = picked(log_softmax(LOGITS + np.log(COUNTS / 100)))
    frequency = np.array([8, 3, 1]) / 12
    expected = {
        "ce": ce.mean(),
        "weighted_ce": (inverse * ce).sum() / inverse.sum(),
        "bayesian_ce": (ce / (3 * frequency[BATCH_LABELS])).mean(),
        "effective_number": (effective * ce).sum() / effective.sum(),
        "focal": ((1 - np.exp(-ce)) ** 2 * ce).mean(),
        "logit_adjusted": adjusted.mean(),
        "balanced_softmax": adjusted.mean(),
        "stratified": ce.mean(),
        "undersample": ce.mean(),
        "oversample": ce.mean(),
        "perturbed_oversample": ce.mean(),
    }
    assert set(expected) == set(METHODS)
    for name, value in expected.items():
        assert loss_of(METHODS[name]) == pytest.approx(value, rel=1e-5), name


def test_weights_multiply_any_loss_and_either_normaliser_divides() -> None:
    ce = picked(log_softmax(LOGITS))
    focal = (1 - np.exp(-ce)) ** 3 * ce
    weights = np.sqrt(100 / (3 * COUNTS))[BATCH_LABELS]
    by_weights = find_method("loss=focal,gamma=3,weights=sqrt_inverse")
    by_count = find_method("loss=focal,gamma=3,weights=sqrt_inverse,normalize=count")
    assert loss_of(by_weights) == pytest.approx((weights * focal).sum() / weights.sum(), rel=1e-5)
    assert loss_of(by_count) == pytest.approx((weights * focal).mean(), rel=1e-5)


def test_logit_adjustment_corrects_the_priors_of_the_batches_so_nothing_when_they_are_balanced() -> None:
    assert loss_of(METHODS["logit_adjusted"], stream=np.array([4, 4, 4])) == pytest.approx(
        loss_of(METHODS["ce"])
    )


def test_label_smoothing_mixes_with_the_uniform_distribution() -> None:
    logp = log_softmax(LOGITS)
    expected = (0.9 * picked(logp) - 0.1 * logp.mean(1)).mean()
    assert loss_of(METHODS["ce"], smoothing=0.1) == pytest.approx(expected, rel=1e-5)


MULTI = np.array([[1, 0, 0]] * 6 + [[0, 1, 0]] * 3 + [[-1, 0, 1]] + [[0, 0, 0]] * 10, np.int8)


def test_many_labels_skip_the_unknown_and_weight_the_positives() -> None:
    logits = RNG.normal(size=(20, 3)).astype(np.float32)
    shared = class_arrays(METHODS["weighted_ce"], MULTI, 3, MULTI.sum(0))
    np.testing.assert_allclose(shared["class_weights"], [13 / 6, 17 / 3, 19 / 1])
    objective = MANY_LABELS.objective(METHODS["weighted_ce"])
    loss, _ = objective(logits, {"labels": MULTI, "shared": shared}, None)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    values = -(shared["class_weights"] * (MULTI == 1) * np.log(p) + (MULTI == 0) * np.log(1 - p))
    assert float(loss) == pytest.approx(values[MULTI >= 0].sum() / (MULTI >= 0).sum(), rel=1e-5)


def test_a_loss_of_one_label_is_refused_for_many_and_says_which_fit() -> None:
    with pytest.raises(
        InputError, match="loss balanced_softmax is not for many labels an image, allowed are cross_entropy"
    ):
        MANY_LABELS.objective(METHODS["balanced_softmax"])


def test_the_labels_decide_the_task() -> None:
    images = np.zeros((20, 8, 8, 1), np.uint8)
    assert task_for(Dataset(images, MULTI, np.arange(20), ("a", "b", "c"))) is MANY_LABELS
    assert task_for(Dataset(images, LABELS[:20], np.arange(20), ("a", "b", "c"))) is ONE_LABEL


def test_predictions_are_probabilities() -> None:
    np.testing.assert_allclose(np.asarray(ONE_LABEL.predict(LOGITS)).sum(1), 1, rtol=1e-6)
    assert np.asarray(MANY_LABELS.predict(np.float32([[-1e4, 0, 1e4]]))).tolist() == [[0, 0.5, 1]]
