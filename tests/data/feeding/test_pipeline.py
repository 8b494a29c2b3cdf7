"""From a step to a batch: the same on any number of shards, and what the plan and the labels say."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.data.feeding.pipeline import Pipeline, Resident
from imbal_jax.data.feeding.pixel_statistics import pixel_statistics
from imbal_jax.data.feeding.plans import Plans
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.data.feeding.stream import HostBatches
from imbal_jax.methods import ClassArrays
from imbal_jax.sampling import make_plan
from imbal_jax.transforms.augment import Augment
from imbal_jax.transforms.mixing import Mixing

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 12, 12, 1), np.uint8)
LABELS = np.repeat([0, 1], [45, 5]).astype(np.int32)
AUGMENT = Augment(flip=True, shift=0.2, rotation=10, noise=0.1)


def shared(**changes: Any) -> Shared:
    """arrays: of ``ClassArrays``, by name; the rest of ``Shared``."""
    arrays = {name: changes.pop(name) for name in ClassArrays._fields if name in changes}
    key = np.asarray(jax.random.key_data(jax.random.key(3)))
    return Shared(
        ClassArrays(**{"class_weights": None, "counts": None} | arrays),
        **pixel_statistics(IMAGES),
        images_key=key,
        **changes,
    )


def host_batches(plans: Plans) -> HostBatches:
    return HostBatches(images=IMAGES, labels=LABELS, plans=plans)


def resident(shards: int, items: np.ndarray | None = None) -> Any:
    labels = LABELS if items is None else LABELS[items]
    plans = Plans(plan=make_plan(labels, 16, "balanced", num_shards=shards), items=items)
    arrays = Resident(IMAGES, LABELS, plans, shared())
    return jax.tree.map(jnp.asarray, arrays)


def test_the_batch_and_its_perturbation_do_not_depend_on_the_number_of_shards() -> None:
    pipeline = Pipeline(AUGMENT)
    whole = pipeline.from_device(resident(1), jnp.int32(5), None)
    for shards in (2, 4):
        parts = [pipeline.from_device(resident(shards), jnp.int32(5), jnp.int32(s)) for s in range(shards)]
        np.testing.assert_allclose(np.concatenate([p["inputs"] for p in parts]), whole["inputs"], atol=1e-5)
        np.testing.assert_array_equal(np.concatenate([p["labels"] for p in parts]), whole["labels"])


def test_two_steps_and_two_copies_of_an_image_are_perturbed_differently() -> None:
    pipeline = Pipeline(AUGMENT)
    raw = {"images": jnp.asarray(IMAGES[[7, 7]]), "labels": jnp.zeros(2, jnp.int32), "places": jnp.arange(2)}
    one = np.asarray(pipeline.inputs(raw, shared(), jnp.int32(0))["inputs"])
    other = np.asarray(pipeline.inputs(raw, shared(), jnp.int32(1))["inputs"])
    assert not np.allclose(one[0], one[1])
    assert not np.allclose(one, other)


def test_without_augmentation_inputs_are_the_standardised_images() -> None:
    batch = Pipeline(Augment()).from_device(resident(1), jnp.int32(0), None)
    labels = np.asarray(batch["labels"])
    assert labels.sum() == 8
    mean, deviation = (IMAGES / 255).mean(), (IMAGES / 255).std()
    expected = {
        np.round((image / 255 - mean) / deviation, 4).tobytes() for image in IMAGES.astype(np.float64)
    }
    rounded = np.round(np.asarray(batch["inputs"], np.float64), 4)
    nearest = [
        np.abs(rounded[i] - (IMAGES / 255 - mean) / deviation).reshape(50, -1).max(1).min() for i in range(16)
    ]
    assert max(nearest) < 1e-3
    assert len(expected) == 50


def test_pixel_statistics_are_numpys() -> None:
    found = pixel_statistics(IMAGES)
    np.testing.assert_allclose(found["mean"], (IMAGES / 255).mean(), rtol=1e-6)
    np.testing.assert_allclose(found["deviation"], (IMAGES / 255).std(), rtol=1e-6)
    assert pixel_statistics(np.zeros((2, 4, 4, 1), np.uint8))["deviation"] > 0


def test_the_host_and_the_device_gather_the_same_items() -> None:
    items = np.concatenate([np.arange(45), np.repeat(np.arange(45, 50), 9)]).astype(np.int32)
    for given in (None, items):
        plan = make_plan(LABELS if given is None else LABELS[given], 16, "balanced")
        raw = host_batches(Plans(plan=plan, items=given))[3]
        on_device = Pipeline(Augment()).from_device(resident(1, given), jnp.int32(3), None)
        np.testing.assert_array_equal(raw["labels"], on_device["labels"])
        expected = Pipeline(Augment()).inputs(jax.tree.map(jnp.asarray, raw), shared(), jnp.int32(3))[
            "inputs"
        ]
        np.testing.assert_allclose(on_device["inputs"], expected, atol=1e-6)


def test_an_image_is_perturbed_as_far_as_its_class_says() -> None:
    values = shared(strength=np.array([0.0, 1.0], np.float32))
    raw = {"images": jnp.asarray(IMAGES[:2]), "labels": jnp.array([0, 1]), "places": jnp.arange(2)}
    found = np.asarray(Pipeline(AUGMENT).inputs(raw, values, jnp.int32(0))["inputs"])
    plain = (IMAGES[:2] / 255 - values.mean) / values.deviation
    np.testing.assert_allclose(found[0], plain[0], atol=1e-5)
    assert not np.allclose(found[1], plain[1], atol=0.1)


def mixed_arrays(shards: int) -> Any:
    plans = Plans(
        plan=make_plan(LABELS, 16, "natural", num_shards=shards),
        partner=make_plan(LABELS, 16, "balanced", num_shards=shards, seed=1),
    )
    values = shared(counts=np.array([45, 5], np.float32), mixing_steps=np.array([2, 8], np.int32))
    return jax.tree.map(jnp.asarray, Resident(IMAGES, LABELS, plans, values)), plans, values


@pytest.mark.parametrize("kind", ["mixup", "cutmix", "remix", "balanced_mixup", "cmo"])
def test_mixed_batches_are_the_same_on_any_number_of_shards_and_from_the_host(kind: str) -> None:
    pipeline = Pipeline(AUGMENT, Mixing(kind=kind))
    arrays, plans, values = mixed_arrays(1)
    whole = pipeline.from_device(arrays, jnp.int32(5), None)
    assert np.asarray(whole["partner_labels"]).sum() == 8
    assert 0 < np.asarray(whole["share"]).mean() < 1
    parts = [pipeline.from_device(mixed_arrays(4)[0], jnp.int32(5), jnp.int32(s)) for s in range(4)]
    for name in ("inputs", "labels", "partner_labels", "share"):
        np.testing.assert_allclose(np.concatenate([p[name] for p in parts]), whole[name], atol=1e-5)
    raw = jax.tree.map(jnp.asarray, host_batches(plans)[5])
    fed = pipeline.inputs(raw, values, jnp.int32(5))
    np.testing.assert_allclose(fed["inputs"], whole["inputs"], atol=1e-5)
    np.testing.assert_array_equal(fed["share"], whole["share"])


def test_masks_are_mixed_as_they_are_moved() -> None:
    """Own labels and partners' labels are those after the transform, as the images are."""

    def flipped(keys: Any, images: Any, labels: Any, augmentation: Augment, strength: Any) -> tuple[Any, Any]:
        return images[:, :, ::-1] / 255, labels[:, :, ::-1]

    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (6, 4, 4)).astype(np.int32)
    images = (255 * masks[..., None]).astype(np.uint8)
    order = np.array([3, 4, 5, 0, 1, 2])
    raw = {"images": images, "labels": masks, "places": np.arange(6, dtype=np.int32)}
    raw |= {"partner_images": images[order], "partner_labels": masks[order]}
    shared = Shared(
        ClassArrays(np.ones(2), np.ones(2)),
        images_key=np.asarray(jax.random.key_data(jax.random.key(0))),
        mixing_steps=np.array([0, 9], np.int32),
    )
    pipeline = Pipeline(Augment(), Mixing("mixup"), transform=flipped)
    batch = pipeline.inputs({k: jnp.asarray(v) for k, v in raw.items()}, shared, jnp.int32(1))
    share = np.asarray(batch["share"]).reshape(-1, 1, 1)
    expected = share * np.asarray(batch["labels"]) + (1 - share) * np.asarray(batch["partner_labels"])
    np.testing.assert_allclose(np.asarray(batch["inputs"])[..., 0], expected, atol=1e-6)
    np.testing.assert_array_equal(batch["labels"], masks[:, :, ::-1])


@pytest.mark.parametrize(("step", "mixes"), [(1, False), (2, True), (7, True), (8, False)])
def test_images_are_mixed_within_the_span_only(step: int, mixes: bool) -> None:
    arrays, _, _ = mixed_arrays(1)
    mixed = Pipeline(AUGMENT, Mixing(kind="mixup")).from_device(arrays, jnp.int32(step), None)
    plain = Pipeline(AUGMENT).from_device(arrays, jnp.int32(step), None)
    assert bool((mixed["share"] < 1).any()) is mixes
    assert np.array_equal(mixed["inputs"], plain["inputs"]) is not mixes


def test_two_views_are_two_perturbations_of_each_image_and_the_first_is_the_only_one_otherwise() -> None:
    twice, once = Pipeline(AUGMENT, views=2), Pipeline(AUGMENT)
    whole = twice.from_device(resident(1), jnp.int32(4), None)
    alone = once.from_device(resident(1), jnp.int32(4), None)
    first, second = np.split(np.asarray(whole["inputs"]), 2)
    np.testing.assert_array_equal(first, alone["inputs"])
    assert (first != second).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(whole["labels"], np.tile(alone["labels"], 2))
    parts = [twice.from_device(resident(4), jnp.int32(4), jnp.int32(s)) for s in range(4)]
    apart = np.concatenate([np.split(np.asarray(p["inputs"]), 2)[1] for p in parts])
    np.testing.assert_allclose(apart, second, atol=1e-5)


def test_a_deferred_composition_changes_at_its_step_on_device_and_host() -> None:
    plans = Plans(
        plan=make_plan(LABELS, 20, "balanced"), before=make_plan(LABELS, 20, "natural"), switch=np.int32(6)
    )
    values = shared(
        switch=np.array([6, 0], np.int32),
        priors=np.array([0.5, 0.5], np.float32),
        priors_before=np.array([0.9, 0.1], np.float32),
    )
    arrays = jax.tree.map(jnp.asarray, Resident(IMAGES, LABELS, plans, values))
    for step, positives, rare in ((5, 2, 0.1), (6, 10, 0.5), (7, 10, 0.5)):
        batch = Pipeline(Augment()).from_device(arrays, jnp.int32(step), None)
        assert int(batch["labels"].sum()) == positives
        assert float(batch["shared"].arrays.priors[1]) == pytest.approx(rare)
        raw = host_batches(plans)[step]
        np.testing.assert_array_equal(raw["labels"], batch["labels"])


@pytest.mark.parametrize(
    ("switch", "expected"), [((3, 0), [0, 0, 0, 1, 1, 1, 1]), ((2, 4), [0, 0, 0.25, 0.5, 0.75, 1, 1])]
)
def test_what_is_deferred_comes_in_at_once_or_linearly(
    switch: tuple[int, int], expected: list[float]
) -> None:
    values = shared(switch=np.array(switch, np.int32))
    raw = {"images": jnp.asarray(IMAGES[:2]), "labels": jnp.array([0, 1]), "places": jnp.arange(2)}
    found = [float(Pipeline(Augment()).inputs(raw, values, jnp.int32(t))["shared"].blend) for t in range(7)]
    np.testing.assert_allclose(found, expected)
