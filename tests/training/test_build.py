"""What a config calls for: learning rates, steps, plans, networks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.config import Config, Data, Model, Optim, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.plans import draw
from imbal_jax.errors import InputError
from imbal_jax.methods import METHODS, TRAINED, find_method
from imbal_jax.sampling import batch_indices, plan_counts
from imbal_jax.tasks import MANY_LABELS, ONE_LABEL
from imbal_jax.training.build import build
from imbal_jax.training.composition import compose, second_steps_of, steps_of
from imbal_jax.training.optimizer import make_optimizer, rate_change_of

LABELS = np.repeat([0, 1], [90, 10]).astype(np.int32)
IMAGES = np.random.default_rng(0).integers(0, 256, (100, 16, 16, 1)).astype(np.uint8)
DATA = Dataset(IMAGES, LABELS, np.arange(100), ("normal", "rare"))
CONFIG = Config(
    name="recipe",
    data=Data(negative_class="normal"),
    model=Model(name="cnn", options={"width": 4, "stages": 2}),
    train=Train(batch_size=20, epochs=2),
)


def rates(options: Optim, steps: int) -> np.ndarray:
    """The learning rate of each step, seen as the change of a parameter whose gradient is 1."""
    optimizer = make_optimizer(options, steps)
    params = {"w": np.zeros((1, 1), np.float32)}
    state, seen = optimizer.init(params), []
    for _ in range(steps):
        updates, state = optimizer.update({"w": np.ones((1, 1), np.float32)}, state, params)
        seen.append(-float(updates["w"][0, 0]))
    return np.array(seen)


def test_steps_warm_up_linearly_and_drop_at_the_milestones() -> None:
    options = Optim(
        optimizer="sgd",
        learning_rate=0.1,
        schedule="steps",
        warmup=0.1,
        momentum=0.0,
        weight_decay=0.0,
        clip_norm=0.0,
        milestones=(0.8, 0.9),
        decay=0.01,
    )
    seen = rates(options, 100)
    np.testing.assert_allclose(seen[:10], 0.1 * np.arange(10) / 10, atol=1e-7)
    np.testing.assert_allclose(seen[10:80], 0.1, rtol=1e-5)
    np.testing.assert_allclose(seen[81:90], 1e-3, rtol=1e-5)
    np.testing.assert_allclose(seen[91:], 1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["mixup", "balanced_mixup", "cmo", "ce_drs"])
def test_plans_hold_what_the_method_says(name: str) -> None:
    plans, shared = compose(CONFIG, METHODS[name], ONE_LABEL, DATA, 1, total_steps=10)
    expected = {"mixup": [18, 2], "balanced_mixup": [10, 10], "cmo": [10, 10]}
    if name == "ce_drs":
        assert plan_counts(plans.before).tolist() == [18, 2]
        assert plan_counts(plans.plan).tolist() == [10, 10]
        assert shared.switch.tolist() == [8, 0]
        np.testing.assert_allclose(shared.arrays.priors_before, [0.9, 0.1])
        np.testing.assert_allclose(shared.arrays.priors, [0.5, 0.5])
    else:
        assert plan_counts(plans.partner).tolist() == expected[name]
        assert not np.array_equal(batch_indices(plans.partner, 3), batch_indices(plans.plan, 3))


@pytest.mark.parametrize(("mixing", "before"), [("mixup", [18, 2]), ("cutmix", [18, 2]), ("cmo", [10, 10])])
def test_partners_of_a_deferred_composition_change_with_the_images_unless_they_are_balanced(
    mixing: str, before: list[int]
) -> None:
    """ce_drs is natural to step 8 of 10: partners "of the images" are, too; those of cmo are balanced throughout."""
    method = find_method(f"ce_drs,mixing={mixing}")
    plans, _ = compose(CONFIG, method, ONE_LABEL, DATA, 1, total_steps=10)
    for step, expected in ((0, before), (7, before), (8, [10, 10]), (9, [10, 10])):
        items, partners, *_ = draw(plans, jnp.int32(step))
        assert np.bincount(DATA.labels[partners]).tolist() == expected, step
        assert not np.array_equal(items, partners)


@pytest.mark.parametrize(("policy", "drawn"), [("ignore", 2), ("zeros", 2), ("ones", 5), ("soft", 5)])
def test_batches_are_composed_by_what_uncertain_labels_are_trained_as(policy: str, drawn: int) -> None:
    labels = np.array([[1]] * 2 + [[-1]] * 3 + [[0]] * 11 + [[-2]] * 4, np.int8)
    data = Dataset(IMAGES[:20], labels, np.arange(20), ("mass",))
    balanced = replace(METHODS["ce"], composition="balanced")
    config = replace(CONFIG, data=Data(uncertain=policy))
    plans, _ = compose(config, balanced, MANY_LABELS, data, 1, total_steps=10)
    batches = np.concatenate([batch_indices(plans.plan, step) for step in range(10)])
    assert set(batches[batches < 5]) >= set(range(drawn))
    assert (batches < drawn).mean() == pytest.approx(0.5, abs=0.1)


def test_the_model_starts_the_same_whatever_the_method_adds() -> None:
    for name in ("sup_con", "balanced_contrastive", "auc_margin", "influence_balanced"):
        _, plain = build(CONFIG, find_method(f"head={METHODS[name].head}"), DATA)
        network, variables = build(CONFIG, METHODS[name], DATA)
        for part, value in plain["params"].items():
            jax.tree.map(np.testing.assert_array_equal, variables["params"][part], value)
        outputs, _ = network.apply(variables, IMAGES[:3].astype(np.float32), train=True, rngs={})
        assert outputs["logits"].shape == (3, 2)
    assert set(variables["params"]) == set(plain["params"])


def test_a_second_stage_holds_the_first_frozen_and_trains_the_head_or_its_scale() -> None:
    images = IMAGES[:3].astype(np.float32)
    for kind, trained in (("retrain", {"head"}), ("scale", {"scale"})):
        network, variables = build(CONFIG, find_method(f"second_stage={kind},second_epochs=1"), DATA)
        assert set(variables["params"]) == trained
        first = {"params": variables["frozen"]}
        logits = network.apply(variables, images, train=True, rngs={})
        if kind == "scale":
            np.testing.assert_allclose(
                logits, network.network.apply(first, images, train=False, rngs={}), atol=1e-5
            )
        gradient = jax.grad(
            lambda frozen, net=network, given=variables: net.apply(
                {**given, "frozen": frozen}, images, train=True, rngs={}
            ).sum()
        )(variables["frozen"])
        assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(gradient))


def test_the_rate_drops_at_the_switch_of_a_method_that_says_so() -> None:
    options = Optim(
        optimizer="sgd", learning_rate=0.1, schedule="constant", warmup=0.0, momentum=0.0, weight_decay=0.0
    )
    optimizer = make_optimizer(options, 100, rate_change_of(METHODS["influence_balanced"], 100))
    params = {"w": np.zeros((1, 1), np.float32)}
    state, seen = optimizer.init(params), []
    for _ in range(100):
        updates, state = optimizer.update({"w": np.ones((1, 1), np.float32)}, state, params)
        seen.append(-float(updates["w"][0, 0]))
    np.testing.assert_allclose(seen, np.repeat([0.1, 0.001], 50), rtol=1e-5)


def test_influence_balanced_weights_are_inverse_counts_that_sum_to_the_classes() -> None:
    _, shared = compose(CONFIG, METHODS["influence_balanced"], ONE_LABEL, DATA, 1, total_steps=10)
    inverse = 1 / np.array([90, 10])
    np.testing.assert_allclose(shared.arrays.class_weights, 2 * inverse / inverse.sum(), rtol=1e-4)


def test_class_balanced_focal_begins_at_one_over_the_number_of_classes() -> None:
    """Cui et al. 2019: the last bias is -log(C - 1), so that every sigmoid begins at 1 / C."""
    data = Dataset(IMAGES, np.arange(100, dtype=np.int32) % 5, np.arange(100), tuple("abcde"))
    _, variables = build(CONFIG, METHODS["class_balanced_focal"], data)
    np.testing.assert_allclose(1 / (1 + np.exp(-variables["params"]["head"]["bias"])), 0.2, rtol=1e-6)
    _, plain = build(CONFIG, METHODS["ce"], data)
    assert not plain["params"]["head"]["bias"].any()


def test_a_head_that_goes_on_starts_as_it_was_and_trains_with_its_scale() -> None:
    network, variables = build(CONFIG, find_method("second_stage=head_and_scale,second_epochs=1"), DATA)
    first, _ = build(CONFIG, METHODS["ce"], DATA)
    frozen = {"params": variables["frozen"]}
    images = IMAGES[:4].astype(np.float32)
    before = first.apply(frozen, images, train=False, rngs={})
    np.testing.assert_allclose(network.apply(variables, images, train=True, rngs={}), before, rtol=1e-6)
    gradients = jax.grad(lambda v: (network.apply(v, images, train=True, rngs={}) ** 2).sum())(variables)
    assert all(np.abs(g).sum() > 0 for g in jax.tree.leaves(gradients["params"]))
    assert not any(np.abs(g).sum() for g in jax.tree.leaves(gradients["frozen"]))


@pytest.mark.parametrize(("epochs", "expected"), [(10, 50), (1, 5), (0.5, 2), (0.01, 1)])
def test_epochs_of_a_second_stage_are_of_the_training_split_however_long_the_first(epochs, expected) -> None:
    method = find_method(f"second_stage=retrain,second_epochs={epochs}")  # 100 images in batches of 20
    for first in (1, 4, 40):
        config = replace(CONFIG, train=replace(CONFIG.train, epochs=first))
        assert second_steps_of(config, method, DATA) == expected
        assert second_steps_of(config, replace(method, epoch="rarest"), DATA) == expected
    assert second_steps_of(CONFIG, replace(method, second_steps=70), DATA) == 70
    assert second_steps_of(CONFIG, METHODS["tau_norm"], DATA) == 0


def test_no_recipe_of_the_catalogue_leaves_a_head_as_it_was_drawn() -> None:
    for method in METHODS.values():
        if method.second_stage in TRAINED:
            assert second_steps_of(CONFIG, method, DATA.take(np.arange(20))) >= 100


def test_numbers_that_give_no_weights_or_too_many_steps_are_refused() -> None:
    with pytest.raises(InputError, match=r"method weights=effective,beta=2: beta 2.0 is outside"):
        compose(CONFIG, find_method("weights=effective,beta=2"), ONE_LABEL, DATA, 1, total_steps=10)
    long = replace(CONFIG, train=replace(CONFIG.train, epochs=1e12))
    with pytest.raises(InputError, match=r"train.epochs is 1e\+12, which is 5e\+12 steps: give less"):
        steps_of(long, METHODS["ce"], DATA)
    method = find_method("second_stage=retrain,second_epochs=1e12")
    with pytest.raises(InputError, match="second_epochs is 1e"):
        second_steps_of(CONFIG, method, DATA)
