"""Tasks: the objective of every method, against the same formula in numpy."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_arrays import shared_arrays

from imbal_jax.data.dataset import Dataset
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS, Method, find_method
from imbal_jax.tasks import MANY_LABELS, ONE_LABEL, task_for

COUNTS = np.array([90, 8, 2])
LABELS = np.repeat([0, 1, 2], COUNTS).astype(np.int32)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(12, 3)).astype(np.float32)
BATCH_LABELS = np.array([0] * 8 + [1] * 3 + [2], np.int32)


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64)
    return z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)) - z.max(1, keepdims=True)


def loss_of(method: Method, smoothing: float = 0.0, stream: np.ndarray = COUNTS) -> float:
    batch: dict[str, Any] = {"labels": BATCH_LABELS, "shared": shared_arrays(method, LABELS, 3, stream)}
    loss, _ = ONE_LABEL.objective(method, label_smoothing=smoothing)(LOGITS, batch, None)
    return float(loss)


def picked(logp: np.ndarray) -> np.ndarray:
    return -logp[np.arange(12), BATCH_LABELS]


def test_the_loss_of_the_plain_methods_is_their_formula() -> None:
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
    shared = shared_arrays(METHODS["weighted_ce"], MULTI, 3, MULTI.sum(0))
    np.testing.assert_allclose(shared.arrays.class_weights, [13 / 6, 17 / 3, 19 / 1])
    objective = MANY_LABELS.objective(METHODS["weighted_ce"])
    loss, _ = objective(logits, {"labels": MULTI, "shared": shared}, None)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    values = -(shared.arrays.class_weights * (MULTI == 1) * np.log(p) + (MULTI == 0) * np.log(1 - p))
    assert float(loss) == pytest.approx(values[MULTI >= 0].sum() / (MULTI >= 0).sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("policy", "positives", "negatives"),
    [("ignore", 4, 6), ("zeros", 4, 11), ("ones", 9, 6), ("soft", 7.5, 7.5)],
)
def test_counts_and_weights_are_of_what_uncertain_labels_are_trained_as(policy, positives, negatives) -> None:
    column = np.array([1] * 4 + [0] * 6 + [-1] * 5 + [-2] * 3, np.int8)
    labels = np.stack([column, column == 1], axis=1).astype(np.int8)
    shared = shared_arrays(METHODS["weighted_ce"], labels, 2, labels.sum(0), uncertain=policy)
    assert shared.arrays.counts[0] == pytest.approx(positives)
    assert shared.arrays.known.tolist() == [pytest.approx(positives + negatives), 18]
    assert shared.arrays.class_weights.tolist() == pytest.approx([negatives / positives, 14 / 4])


@pytest.mark.parametrize("name", ["pairwise_auc", "partial_auc", "smooth_ap"])
def test_ranking_takes_soft_uncertain_labels_as_positives_and_no_smoothing(name) -> None:
    logits = RNG.normal(size=(20, 3)).astype(np.float32)
    batch = {"labels": MULTI, "shared": shared_arrays(METHODS[name], MULTI, 3, MULTI.sum(0))}

    def loss(**options):
        return float(MANY_LABELS.objective(METHODS[name], **options)(logits, batch, None)[0])

    assert loss(uncertain="soft") == loss(uncertain="ones") != loss()
    assert loss(label_smoothing=0.1) == loss()
    one = {"labels": MULTI[:, 1].astype(np.int32), "shared": batch["shared"]}
    both = [
        ONE_LABEL.objective(METHODS[name], label_smoothing=s)(logits[:, :2], one, None)[0] for s in (0.0, 0.1)
    ]
    assert float(both[0]) == float(both[1])


def test_a_loss_of_one_label_is_refused_for_many_and_says_which_fit() -> None:
    with pytest.raises(
        InputError, match="loss balanced_softmax is not for many labels an image, allowed are cross_entropy"
    ):
        MANY_LABELS.objective(METHODS["balanced_softmax"])


def test_the_labels_decide_the_task() -> None:
    images = np.zeros((20, 8, 8, 1), np.uint8)
    assert task_for("auto", Dataset(images, MULTI, np.arange(20), ("a", "b", "c"))) is MANY_LABELS
    assert task_for("auto", Dataset(images, LABELS[:20], np.arange(20), ("a", "b", "c"))) is ONE_LABEL


RANDOM = {"loss_key": np.asarray(jax.random.key_data(jax.random.key(0))), "blend": np.float32(1)}


def outputs_of(method: Method, logits: Any, classes: int = 3) -> dict[str, Any]:
    """What a network would give besides logits; features that logits are a function of."""
    unit = np.eye(8, dtype=np.float32)
    width = 1 if classes == 2 else classes
    return {
        "logits": logits,
        "features": jnp.tanh(logits) + 1,
        "projection": unit[np.arange(len(logits)) % 8],
        "prototypes": unit[:classes],
        "auc_margin": {name: np.zeros(width, np.float32) for name in ("a", "b", "alpha")},
    }


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_catalogue_has_a_finite_loss_and_gradient_on_its_task(name: str) -> None:
    method = METHODS[name]
    one = method.loss in ONE_LABEL.losses
    task, labels, every = (ONE_LABEL, BATCH_LABELS, LABELS) if one else (MANY_LABELS, MULTI[:12], MULTI)
    shared = replace(shared_arrays(method, every, 3, COUNTS), **RANDOM)
    batch = {"labels": labels, "shared": shared}
    if method.mixing != "none":
        batch |= {"partner_labels": labels[::-1], "share": np.linspace(0, 1, 12, dtype=np.float32)}

    def loss(logits: Any) -> Any:
        return task.objective(method)(outputs_of(method, logits), batch, None)[0]

    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    for logits in (1e4 * LOGITS, LOGITS):
        value, gradient = value_and_gradient(jnp.asarray(logits))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    assert np.abs(gradient).sum() > 0


def test_mixed_labels_share_the_loss_and_the_weights() -> None:
    method = find_method("mixup,weights=inverse")
    shared = shared_arrays(method, LABELS, 3, COUNTS)
    share, partner = np.linspace(0, 1, 12).astype(np.float32), BATCH_LABELS[::-1]
    batch = {"labels": BATCH_LABELS, "partner_labels": partner, "share": share, "shared": shared}
    logp = log_softmax(LOGITS)
    own, other = -logp[np.arange(12), BATCH_LABELS], -logp[np.arange(12), partner]
    w = shared.arrays.class_weights
    weights = np.concatenate([share * w[BATCH_LABELS], (1 - share) * w[partner]])
    expected = (weights * np.concatenate([own, other])).sum()
    found, _ = ONE_LABEL.objective(method)(LOGITS, batch, None)
    assert float(found) == pytest.approx(expected / weights.sum(), rel=1e-5)
    by_count, _ = ONE_LABEL.objective(find_method("mixup,weights=inverse,normalize=count"))(
        LOGITS, batch, None
    )
    assert float(by_count) == pytest.approx(expected / 12, rel=1e-5)


def test_deferred_weights_and_losses_blend_in() -> None:
    ce = picked(log_softmax(LOGITS))
    adjusted = picked(log_softmax(LOGITS + np.log(COUNTS / 100)))

    def at(text: str, blend: float) -> float:
        method = find_method(text)
        shared = replace(shared_arrays(method, LABELS, 3, COUNTS), blend=np.float32(blend))
        batch = {"labels": BATCH_LABELS, "shared": shared}
        return float(ONE_LABEL.objective(method)(LOGITS, batch, None)[0])

    inverse = (100 / (3 * COUNTS))[BATCH_LABELS]
    for blend in (0.0, 0.25, 1.0):
        weights = 1 + blend * (inverse - 1)
        assert at("inverse_drw", blend) == pytest.approx((weights * ce).sum() / weights.sum(), rel=1e-5)
        assert at("deferred_logit_adjusted", blend) == pytest.approx(
            (blend * adjusted + (1 - blend) * ce).mean(), rel=1e-5
        )


def test_hard_negatives_keep_the_three_worst_for_each_positive() -> None:
    method = METHODS["hard_negatives"]
    labels = np.array([0] * 10 + [1] * 2, np.int32)
    batch = {"labels": labels, "shared": shared_arrays(method, LABELS, 3, COUNTS)}
    ce = -log_softmax(LOGITS)[np.arange(12), labels]
    kept = np.concatenate([np.sort(ce[:10])[-6:], ce[10:]])
    assert float(ONE_LABEL.objective(method)(LOGITS, batch, None)[0]) == pytest.approx(kept.mean(), rel=1e-5)


def test_a_cosine_head_is_scaled_alike_in_the_loss_and_in_the_prediction() -> None:
    cosine = np.clip(LOGITS, -1, 1)
    method = find_method("head=cosine")
    batch = {"labels": BATCH_LABELS, "shared": shared_arrays(method, LABELS, 3, COUNTS)}
    expected = picked(log_softmax(30 * cosine)).mean()
    assert float(ONE_LABEL.objective(method)(cosine, batch, None)[0]) == pytest.approx(expected, rel=1e-5)
    for name in ("head=cosine", "ldam"):
        np.testing.assert_allclose(
            ONE_LABEL.predictor(find_method(name))(cosine), np.exp(log_softmax(30 * cosine)), rtol=1e-4
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("auc_margin,mixing=mixup", "auc_margin ranks whole images"),
        ("crt,second_loss=smooth_ap", "second_loss smooth_ap ranks"),
        ("asymmetric", "loss asymmetric is not for one label an image"),
        ("sup_con,mixing=mixup", "a contrast of mixed images"),
    ],
)
def test_parts_that_exclude_each_other_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ONE_LABEL.check(find_method(text))


def test_many_labels_refuse_what_is_made_for_one() -> None:
    for name in ("crt", "sup_con", "threshold_moving"):
        with pytest.raises(InputError, match="is not for many labels"):
            MANY_LABELS.check(METHODS[name])


def test_uncertain_labels_are_trained_as_the_policy_says() -> None:
    logits = RNG.normal(size=(20, 3)).astype(np.float32)
    shared = shared_arrays(METHODS["ce"], MULTI, 3, MULTI.sum(0))
    batch = {"labels": MULTI, "shared": shared}
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for policy, target in (("zeros", 0.0), ("ones", 1.0), ("soft", 0.7)):
        t = np.where(MULTI == -1, target, MULTI)
        expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
        loss, _ = MANY_LABELS.objective(METHODS["ce"], uncertain=policy)(logits, batch, None)
        assert float(loss) == pytest.approx(expected, rel=1e-5), policy


def test_predictions_are_probabilities() -> None:
    np.testing.assert_allclose(np.asarray(ONE_LABEL.probabilities(LOGITS)).sum(1), 1, rtol=1e-6)
    assert np.asarray(MANY_LABELS.probabilities(np.float32([[-1e4, 0, 1e4]]))).tolist() == [[0, 0.5, 1]]


def test_views_for_the_contrast_are_not_classified_and_the_others_not_contrasted() -> None:
    method = METHODS["balanced_contrastive"]
    labels = np.tile(np.array([0, 1, 2, 0], np.int32), 3)  # four images, three views
    shared = replace(shared_arrays(method, LABELS, 3, COUNTS), **RANDOM)
    rng = np.random.default_rng(5)
    projection = rng.normal(size=(12, 8)).astype(np.float32)
    projection /= np.linalg.norm(projection, axis=1, keepdims=True)
    cosines = rng.uniform(-1, 1, (12, 3)).astype(np.float32)
    outputs = {**outputs_of(method, cosines), "projection": projection}
    found, _ = ONE_LABEL.objective(method)(outputs, {"labels": labels, "shared": shared}, None)

    adjusted = -log_softmax(30 * cosines[:4] + np.log(COUNTS / 100))[np.arange(4), labels[:4]]
    keys = np.concatenate([projection[4:], outputs["prototypes"]])
    key_labels = np.concatenate([labels[4:], np.arange(3)])
    contrast = []
    for i in range(8):
        others = np.arange(11) != i
        exp = np.exp(keys @ keys[i] / 0.07)
        total = sum(exp[others & (key_labels == c)].mean() for c in range(3))
        contrast.append(-np.log(exp[others & (key_labels == key_labels[i])] / total).mean())
    assert float(found) == pytest.approx(adjusted.mean() + 0.35 * np.mean(contrast), rel=1e-4)


def test_equalization_spares_classes_below_half_of_an_equal_share() -> None:
    """Tan et al. 2020 choose lambda for 1,200 classes; of C classes it is 1 / (2 C): 0.005 for 100, as published."""
    method = find_method("equalization,gamma=1")
    labels = np.repeat([0, 1, 2], [70, 25, 5])
    shared = replace(shared_arrays(method, labels, 3, np.array([70, 25, 5])), **RANDOM)
    z, y = LOGITS[:4].astype(np.float64), np.array([0, 1, 2, 0], np.int32)
    w = np.ones((4, 3))
    w[np.arange(4) != 2, 2] = 0  # only class 2 is below 1 / 6
    expected = -z[np.arange(4), y] + np.log((w * np.exp(z)).sum(axis=1))
    found, _ = ONE_LABEL.objective(method)(LOGITS[:4], {"labels": y, "shared": shared}, None)
    assert float(found) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loss=focal,gamma=-1", "loss focal: gamma is -1, expected a finite number zero or above"),
        ("loss=partial_auc,max_fpr=2", "loss partial_auc: max_fpr is 2, expected a number above zero"),
        ("loss=label_aware_smoothing,tail=2", "loss label_aware_smoothing: tail is 2, expected 0 to 1"),
    ],
)
def test_an_option_of_a_loss_that_is_out_of_its_range_is_a_mistake_of_the_user(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        loss_of(find_method(text))
