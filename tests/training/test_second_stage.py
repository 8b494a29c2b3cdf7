"""Heads in closed form, and synthetic features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imbal_jax.data.feeding.pipeline import Resident
from imbal_jax.data.feeding.plans import Plans
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.errors import InputError
from imbal_jax.sampling import make_plan
from imbal_jax.training.second_stage import (
    FeaturePipeline,
    choose_tau,
    nearest_mean,
    still_falling,
    tau_normalized,
)

RNG = np.random.default_rng(0)
HEAD = {"kernel": RNG.normal(size=(4, 3)) * [1.0, 2.0, 5.0], "bias": np.array([1.0, 2.0, 3.0])}
FEATURES = RNG.normal(size=(40, 4)).astype(np.float32) + np.repeat([[0], [3]], 20, axis=0)
LABELS = np.repeat([0, 1], 20).astype(np.int32)


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0, 2.0])
def test_columns_are_divided_by_their_length_to_the_power_tau(tau):
    found = tau_normalized(HEAD, tau)
    for c in range(3):
        w = HEAD["kernel"][:, c]
        np.testing.assert_allclose(found["kernel"][:, c], w / np.sqrt((w**2).sum()) ** tau, rtol=1e-5)
    assert (found["bias"] == 0).all()


def test_tau_is_the_best_of_its_grid_and_the_smallest_of_equals():
    def length(head):
        return float(np.linalg.norm(head["kernel"][:, 2]))

    assert choose_tau(HEAD, length)[0] == 0.0
    assert choose_tau(HEAD, lambda head: -abs(length(head) - 1))[0] == pytest.approx(1.0)
    assert choose_tau(HEAD, lambda head: 1.0)[0] == 0.0
    assert choose_tau(HEAD, lambda head: float("nan"))[0] == 0.0


def test_nearest_mean_decides_by_the_cosine_to_the_class_means():
    head = nearest_mean(FEATURES, LABELS, 2)
    means = np.stack([FEATURES[c == LABELS].mean(axis=0) for c in (0, 1)])
    cosine = (FEATURES @ means.T) / np.linalg.norm(means, axis=1) / np.linalg.norm(FEATURES, axis=1)[:, None]
    logits = FEATURES @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(logits / np.linalg.norm(FEATURES, axis=1)[:, None], cosine, atol=1e-5)
    with pytest.raises(InputError, match="class 2 has no mean feature"):
        nearest_mean(FEATURES, LABELS, 3)


@pytest.mark.parametrize("kind", ["smote", "smoothed_bootstrap"])
def test_batches_keep_originals_as_often_as_filling_up_to_the_commonest_class_would(kind):
    labels = np.repeat([0, 1], [30, 10]).astype(np.int32)
    features = RNG.normal(size=(40, 4)).astype(np.float32) + np.repeat([[0], [6]], [30, 10], axis=0)
    pipeline = FeaturePipeline(kind)
    shared = Shared(None, images_key=np.asarray(jax.random.key_data(jax.random.key(1))))

    def batch(shards, shard, step=3):
        plans = Plans(plan=make_plan(labels, 16, "balanced", num_shards=shards))
        arrays = Resident(features, labels, plans, shared, pipeline.arrays(features, labels, 2))
        return pipeline.from_device(jax.tree.map(jnp.asarray, arrays), jnp.int32(step), shard)

    whole = batch(1, None)
    assert np.bincount(whole["labels"]).tolist() == [8, 8]
    parts = [batch(4, jnp.int32(s)) for s in range(4)]
    np.testing.assert_allclose(np.concatenate([p["inputs"] for p in parts]), whole["inputs"], atol=1e-6)
    sides = np.asarray(whole["inputs"]).mean(axis=1) > 3
    np.testing.assert_array_equal(sides, np.asarray(whole["labels"]) == 1)

    drawn = [batch(1, None, step) for step in range(60)]
    points = np.concatenate([d["inputs"] for d in drawn])
    classes = np.concatenate([d["labels"] for d in drawn])
    copies = (np.abs(points[:, None] - features[None]).max(axis=2) < 1e-6).any(axis=1)
    assert copies[classes == 0].all()  # the commonest class stays as it is
    # 480 draws, of which 10 / 30 are originals: five standard deviations
    assert abs(copies[classes == 1].mean() - 1 / 3) < 5 * np.sqrt(2 / 9 / 480)


def test_neighbours_are_searched_in_the_classes_that_are_filled_up():
    labels = np.repeat([0, 1], [30, 10]).astype(np.int32)
    neighbours = FeaturePipeline("smote").arrays(FEATURES, labels, 2)["neighbours"]
    np.testing.assert_array_equal(neighbours[:30], np.repeat(np.arange(30)[:, None], 5, axis=1))
    assert (neighbours[30:] >= 30).all()
    assert (neighbours[30:] != np.arange(30, 40)[:, None]).all()


def test_a_loss_still_falls_or_has_reached_its_noise() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(10, 410, 10)
    noise = 0.02 * rng.normal(size=40)
    assert still_falling(steps, 1.2 - 0.001 * steps + noise)
    assert not still_falling(steps, 0.5 + np.exp(-steps / 20) + noise)
    assert not still_falling(steps, 0.5 + 0.0005 * steps + noise)
    assert not still_falling(steps, np.full(40, np.nan))
    assert still_falling([10, 20], [1.0, 0.9]) is False, "one record of the second half says nothing"
    assert still_falling([10, 20, 30], [1.0, 0.9, 0.8])
    assert not still_falling([], [])
