"""From a step to a batch: the same on any number of shards, and what the plan and the labels say."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax.augment import Augment
from imbal_jax.data.pipeline import Pipeline, host_batches, pixel_statistics, resident_arrays
from imbal_jax.sampling import make_plan

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 12, 12, 1), np.uint8)
LABELS = np.repeat([0, 1], [45, 5]).astype(np.int32)
AUGMENT = Augment(flip=True, shift=0.2, rotation=10, noise=0.1)


def shared() -> dict[str, Any]:
    return {**pixel_statistics(IMAGES), "augment_key": np.asarray(jax.random.key_data(jax.random.key(3)))}


def resident(shards: int, items: np.ndarray | None = None) -> Any:
    labels = LABELS if items is None else LABELS[items]
    arrays = resident_arrays(
        IMAGES, LABELS, make_plan(labels, 16, "balanced", num_shards=shards), items, shared()
    )
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
    raw = {"images": jnp.asarray(IMAGES[[7, 7]]), "labels": jnp.zeros(2, jnp.int32), "slots": jnp.arange(2)}
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
        raw = host_batches(IMAGES, LABELS, plan, given)(3)
        on_device = Pipeline(Augment()).from_device(resident(1, given), jnp.int32(3), None)
        np.testing.assert_array_equal(raw["labels"], on_device["labels"])
        expected = Pipeline(Augment()).inputs(jax.tree.map(jnp.asarray, raw), shared(), jnp.int32(3))[
            "inputs"
        ]
        np.testing.assert_allclose(on_device["inputs"], expected, atol=1e-6)


def test_an_image_is_perturbed_as_far_as_its_class_says() -> None:
    values = {**shared(), "strength": np.array([0.0, 1.0], np.float32)}
    raw = {"images": jnp.asarray(IMAGES[:2]), "labels": jnp.array([0, 1]), "slots": jnp.arange(2)}
    found = np.asarray(Pipeline(AUGMENT).inputs(raw, values, jnp.int32(0))["inputs"])
    plain = (IMAGES[:2] / 255 - values["mean"]) / values["deviation"]
    np.testing.assert_allclose(found[0], plain[0], atol=1e-5)
    assert not np.allclose(found[1], plain[1], atol=0.1)
