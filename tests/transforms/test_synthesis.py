"""SMOTE and the smoothed bootstrap: against scikit-learn and imbalanced-learn, and by their laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn.neighbors import NearestNeighbors

from imbal_jax.errors import InputError
from imbal_jax.transforms import synthesis
from imbal_jax.transforms.synthesis import kernel_deviations, nearest_neighbours, smoothed_bootstrap, smote

LABELS = np.repeat([0, 1, 2, 3], [60, 20, 4, 1]).astype(np.int32)[np.random.default_rng(5).permutation(85)]


def features(dimensions: int = 6, seed: int = 0, dtype=np.float32) -> np.ndarray:
    random = np.random.default_rng(seed)
    spread = np.linspace(0.1, 3, dimensions)
    return (random.normal(size=(len(LABELS), dimensions)) * spread + 100 * LABELS[:, None]).astype(dtype)


def keys(size: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), size)


# Neighbours


@pytest.mark.parametrize("distances_at_once", [1, 100, 2**24])
def test_neighbours_are_those_that_scikit_learn_finds_in_each_class(monkeypatch, distances_at_once):
    monkeypatch.setattr(synthesis, "_DISTANCES_AT_ONCE", distances_at_once)
    found = nearest_neighbours(features(), LABELS, k=5)
    assert found.shape == (85, 5)
    assert found.dtype == np.int32
    for label in (0, 1):
        items = np.flatnonzero(label == LABELS)
        search = NearestNeighbors(n_neighbors=6, algorithm="brute").fit(features()[items].astype(np.float64))
        distances, nearest = search.kneighbors(return_distance=True)
        ours = np.linalg.norm(features()[found[items]].astype(np.float64) - features()[items, None], axis=2)
        # float64 products of one row and of many may round apart by 1e-15 of a square: what is as near is as good
        np.testing.assert_allclose(ours, distances[:, :5], atol=1e-6)
        apart = (np.diff(distances, axis=1) > 1e-6).all(axis=1)
        assert apart.mean() > 0.9
        np.testing.assert_array_equal(found[items][apart], items[nearest[:, :5]][apart])
        assert (found[items] != items[:, None]).all()


def test_class_of_few_items_repeats_them_and_a_single_item_is_its_own_neighbour():
    found = nearest_neighbours(features(), LABELS, k=5)
    few = np.flatnonzero(LABELS == 2)
    for item in few:
        distance = np.linalg.norm(features()[few].astype(np.float64) - features()[item], axis=1)
        nearest = few[np.argsort(distance)[1:]]
        np.testing.assert_array_equal(found[item], [*nearest, *nearest[:2]])
    single = np.flatnonzero(LABELS == 3)
    np.testing.assert_array_equal(found[single], np.repeat(single, 5)[None])


def test_neighbours_far_from_the_origin_keep_their_order():
    line = np.array([0.0, 1, 3, 6, 10, 15]) * 1e-3
    found = nearest_neighbours(np.stack([line + 1e6, np.full(6, -1e6)], axis=1), np.zeros(6, int), k=2)
    np.testing.assert_array_equal(found, [[1, 2], [0, 2], [1, 0], [2, 4], [3, 5], [4, 3]])


def test_copies_of_an_item_are_neighbours_and_the_item_is_not():
    found = nearest_neighbours(np.zeros((4, 3)), np.zeros(4, int), k=3)
    for item, row in enumerate(found):
        assert sorted(row) == [i for i in range(4) if i != item]


def test_only_the_named_classes_are_searched():
    found, everything = (nearest_neighbours(features(), LABELS, 3, classes) for classes in ([1, 2], None))
    searched = np.isin(LABELS, [1, 2])
    np.testing.assert_array_equal(found[searched], everything[searched])
    np.testing.assert_array_equal(found[~searched], np.repeat(np.flatnonzero(~searched)[:, None], 3, axis=1))


# SMOTE


def test_every_point_lies_on_a_segment_to_a_neighbour_that_scikit_learn_finds():
    x = features()
    items = np.tile(np.flatnonzero(LABELS == 1), 100).astype(np.int32)
    points = jax.jit(smote)(keys(len(items)), items, x, nearest_neighbours(x, LABELS, k=4))
    assert points.dtype == jnp.float32
    own = np.flatnonzero(LABELS == 1)
    search = NearestNeighbors(n_neighbors=4).fit(x[own].astype(np.float64))
    theirs = dict(zip(own.tolist(), own[search.kneighbors()[1]], strict=True))
    steps, chosen = [], []
    for item, point in zip(items, np.asarray(points, np.float64), strict=True):
        ends = x[theirs[int(item)]].astype(np.float64) - x[item]
        u = (ends @ (point - x[item])) / (ends**2).sum(axis=1)
        misses = np.linalg.norm(x[item] + u[:, None] * ends - point, axis=1)
        best = int(np.argmin(misses))
        assert misses[best] < 1e-4
        steps.append(u[best])
        chosen.append(best)
    assert min(steps) > -1e-5
    assert max(steps) < 1 + 1e-5
    # Uniform along the segment, and over the neighbours: 2,000 draws, within four standard errors.
    np.testing.assert_allclose(np.mean(steps), 1 / 2, atol=4 * np.sqrt(1 / 12 / 2000))
    np.testing.assert_allclose(np.mean(np.square(steps)), 1 / 3, atol=4 * np.sqrt(4 / 45 / 2000))
    np.testing.assert_allclose(np.bincount(chosen) / 2000, 1 / 4, atol=4 * np.sqrt(3 / 16 / 2000))


def test_points_have_the_mean_and_covariance_of_those_of_imbalanced_learn():
    over_sampling = pytest.importorskip("imblearn.over_sampling")
    random = np.random.default_rng(0)
    x = random.multivariate_normal([0, 0], [[2, 1], [1, 1]], 460).astype(np.float64)
    labels = np.repeat([0, 1], [430, 30])
    count = 20000
    sampler = over_sampling.SMOTE(sampling_strategy={1: 30 + count}, random_state=0)
    theirs = sampler.fit_resample(x, labels)[0][460:]
    items = random.integers(430, 460, count)
    ours = np.asarray(smote(keys(count), items, x, nearest_neighbours(x, labels)))
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(np.cov(ours.T), np.cov(theirs.T), atol=0.06)


def test_smote_of_a_single_item_is_the_item():
    single = np.flatnonzero(LABELS == 3).repeat(4)
    points = smote(keys(4), single, features(), nearest_neighbours(features(), LABELS))
    np.testing.assert_array_equal(points, features()[single])


# Smoothed bootstrap


def test_kernel_deviations_have_the_value_computed_by_hand():
    x = np.array([[0.0, 2.0], [4.0, 2.0], [7.0, 7.0]])
    found = kernel_deviations(x, np.array([1, 1, 2]), 4)
    assert found.dtype == np.float32
    h = (4 / (4 * 2)) ** (1 / 6)  # D = 2, n = 2; the deviation of 0 and 4 is 2
    np.testing.assert_allclose(found, [[0, 0], [2 * h, 0], [0, 0], [0, 0]], rtol=1e-6)


def test_bandwidth_is_that_of_imbalanced_learn_once_it_counts_the_class_alone():
    over_sampling = pytest.importorskip("imblearn.over_sampling")
    x, size, dimensions = features(dtype=np.float64), len(LABELS), 6
    for label, shrinkage in ((1, 1.0), (2, 0.6)):
        own = np.flatnonzero(label == LABELS)
        # Theirs has N in the place of n_c.
        scaled = shrinkage * (size / len(own)) ** (1 / (dimensions + 4))
        sampler = over_sampling.RandomOverSampler(
            sampling_strategy={label: len(own) + 50}, shrinkage={label: scaled}, random_state=7
        )
        resampled, _ = sampler.fit_resample(x, LABELS)
        noise = resampled[size:] - x[sampler.sample_indices_[size:]]
        # The normal numbers that they drew, from the same generator.
        generator = np.random.RandomState(7)
        generator.choice(own, size=50, replace=True)
        drawn = generator.randn(50, dimensions)
        bandwidth = shrinkage * kernel_deviations(x, LABELS, 4)[label]
        np.testing.assert_allclose(noise, drawn * bandwidth, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("shrinkage", [0.5, 1.0])
def test_draws_have_the_mean_and_covariance_of_the_kernel(shrinkage):
    x, count = features(), 20000
    deviations = kernel_deviations(x, LABELS, 4)
    item = np.flatnonzero(LABELS == 1)[3]
    points = jax.jit(smoothed_bootstrap)(
        keys(count), np.full(count, item), x, LABELS, deviations, np.float32(shrinkage)
    )
    noise = (np.asarray(points, np.float64) - x[item]) / (shrinkage * deviations[1])
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=4 / np.sqrt(count))
    np.testing.assert_allclose(np.cov(noise.T), np.eye(6), atol=4 * np.sqrt(2 / count))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 5))
def test_noise_is_proportional_to_shrinkage_and_each_item_has_its_class_s_width(seed, shrinkage):
    x, items = features(), np.arange(85)
    deviations = kernel_deviations(x, LABELS, 4)
    one, scaled, none = (
        smoothed_bootstrap(keys(85, seed), items, x, LABELS, deviations, s) for s in (1.0, shrinkage, 0.0)
    )
    np.testing.assert_array_equal(none, x)
    np.testing.assert_allclose(scaled - x, shrinkage * (one - x), atol=2e-3)
    np.testing.assert_array_equal(one[LABELS == 3], x[LABELS == 3])  # one item has no width
    wide = smoothed_bootstrap(keys(85, seed), items, np.zeros_like(x), LABELS, np.eye(4, 6), 1.0)
    np.testing.assert_array_equal(np.asarray(wide != 0), np.eye(4, 6, dtype=bool)[LABELS])


# Batches, devices, precision


def draws(name: str):
    x = features()
    if name == "smote":
        neighbours = nearest_neighbours(x, LABELS)
        return lambda keys, items: smote(keys, items, x, neighbours)
    deviations = kernel_deviations(x, LABELS, 4)
    return lambda keys, items: smoothed_bootstrap(keys, items, x, LABELS, deviations)


@pytest.mark.parametrize("name", ["smote", "smoothed_bootstrap"])
def test_point_depends_on_its_key_and_not_on_the_batch_or_the_devices(name):
    draw, items = draws(name), np.random.default_rng(0).integers(0, 85, 32)
    whole = np.asarray(jax.jit(draw)(keys(32), items))
    order = np.random.default_rng(1).permutation(32)[:11]
    np.testing.assert_allclose(draw(keys(32)[order], items[order]), whole[order], rtol=1e-6)
    assert not np.array_equal(whole, draw(keys(32, seed=1), items))

    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    sharding = NamedSharding(mesh, P("data"))
    spread = jax.jit(draw)(jax.device_put(keys(32), sharding), jax.device_put(items, sharding))
    np.testing.assert_allclose(jax.block_until_ready(spread), whole, rtol=1e-6)
    mapped = jax.jit(jax.shard_map(draw, mesh=mesh, in_specs=P("data"), out_specs=P("data")))
    np.testing.assert_allclose(jax.block_until_ready(mapped(keys(32), items)), whole, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_points_are_float32_and_float64_for_float64_features(dtype):
    with jax.enable_x64(dtype == np.float64):
        x = jnp.asarray(features() / 100, dtype)
        expected = np.float64 if dtype == np.float64 else np.float32
        items, neighbours = np.arange(8), nearest_neighbours(features(), LABELS)
        assert smote(keys(8), items, x, neighbours).dtype == expected
        points = smoothed_bootstrap(keys(8), items, x, LABELS, np.zeros((4, 6)))
        assert points.dtype == expected
        np.testing.assert_array_equal(points, x[:8].astype(expected))


# Input


def test_bad_input_raises_naming_the_value():
    x, neighbours, deviations = features(), np.zeros((85, 2), int), np.ones((4, 6))
    spoiled = x.copy()
    spoiled[7, 2] = np.nan
    for call, message in (
        (lambda: nearest_neighbours(x[0], LABELS), r"features have shape \(6,\), expected \[N, D\]"),
        (lambda: nearest_neighbours(x, LABELS[:9]), r"labels are int32 \(9,\), expected int \(85,\)"),
        (lambda: nearest_neighbours(x, LABELS * 1.0), r"labels are float64 \(85,\)"),
        (lambda: nearest_neighbours(spoiled, LABELS), "the features of item 7 are not all finite"),
        (lambda: nearest_neighbours(x, LABELS, k=0), "k is 0, expected at least 1"),
        (lambda: kernel_deviations(x, LABELS, 3), "labels hold 3, allowed are 0 to 2"),
        (lambda: smote(keys(3), np.arange(4), x, neighbours), r"items have shape \(4,\), expected \(3,\)"),
        (lambda: smote(keys(3), np.arange(3), x[0], neighbours), r"features have shape \(6,\)"),
        (lambda: smote(keys(3), np.arange(3), x, neighbours[:5]), r"neighbours have shape \(5, 2\)"),
        (
            lambda: smoothed_bootstrap(keys(3), np.arange(3), x, LABELS[:5], deviations),
            r"labels have shape \(5,\)",
        ),
        (
            lambda: smoothed_bootstrap(keys(3), np.arange(3), x, LABELS, deviations[:, :2]),
            r"deviations have shape \(4, 2\), expected \[C, 6\]",
        ),
    ):
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(ValueError, match="shrinkage is -1"):
        smoothed_bootstrap(keys(3), np.arange(3), x, LABELS, deviations, -1.0)
