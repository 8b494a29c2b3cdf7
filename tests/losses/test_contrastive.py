"""Contrastive losses: literals of other libraries, loops, laws, no NaN, and the same on four devices."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import CountedJit
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from imbal_jax.losses import contrastive, global_batch
from imbal_jax.losses.contrastive import balanced_contrastive, has_positive, sup_con
from imbal_jax.losses.reduction import weighted_mean

LOSSES = ("sup_con", "balanced")
every_loss = pytest.mark.parametrize("name", LOSSES)
every_shape = pytest.mark.parametrize("views", [None, 1, 2, 3])
NUM_CLASSES = 5


def on_sphere(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def batch(views: int | None = None, size: int = 12, seed: int = 0):
    """Features [size, (views,) 6], labels of which 3 is alone and 4 is absent, prototypes [5, 6]."""
    random = np.random.default_rng(seed)
    shape = (size, 6) if views is None else (size, views, 6)
    labels = random.permutation(np.arange(size) % 7 // 3)
    labels[random.integers(size)] = 3
    features, prototypes = on_sphere(random.normal(size=shape)), on_sphere(random.normal(size=(5, 6)))
    return features.astype(np.float32), labels, prototypes.astype(np.float32)


def reference(name, features, labels, prototypes, temperature=0.1) -> np.ndarray:
    """The losses loop by loop from the formulas, in NumPy float64."""
    features = np.asarray(features, np.float64)
    views = 1 if features.ndim == 2 else features.shape[1]
    z, y = features.reshape(-1, features.shape[-1]), np.repeat(labels, views)
    values = np.zeros(len(z))
    for i in range(len(z)):
        members = {c: [z[k] for k in range(len(z)) if k != i and y[k] == c] for c in range(NUM_CLASSES)}
        if name == "balanced":
            for c in range(NUM_CLASSES):
                members[c].append(np.asarray(prototypes[c], np.float64))
        total = 0.0
        for of_class in members.values():
            for key in of_class:
                weight = 1 / len(of_class) if name == "balanced" else 1
                total += weight * np.exp(z[i] @ key / temperature)
        positives = members[y[i]]
        for key in positives:
            values[i] -= np.log(np.exp(z[i] @ key / temperature) / total) / len(positives)
    return values.reshape(-1, views).mean(1)


def loss_of(name, features, labels, prototypes, temperature=0.1, **options):
    if name == "sup_con":
        return sup_con(features, labels, temperature, **options)
    return balanced_contrastive(features, labels, prototypes, temperature, **options)


@partial(jax.jit, static_argnums=0)
def compiled(name, features, labels, prototypes, mask):
    """Values, and the gradient of their sum with respect to features and prototypes."""

    def total(features, prototypes):
        values = loss_of(name, features, labels, prototypes, mask=mask)
        return values.sum(), values

    gradient, values = jax.jit(jax.grad(total, (0, 1), has_aux=True))(features, prototypes)
    return values, gradient


def values_and_gradient(name, features, labels, prototypes, mask=None):
    mask = np.ones(len(labels), bool) if mask is None else mask
    return jax.tree.map(np.asarray, compiled(name, features, labels, prototypes, mask))


# Literals

ANGLES = np.array([0.0, 0.5, 1.0, 1.7, 2.0, 3.0, 4.5])
ANGLE_LABELS = np.array([0, 0, 1, 0, 1, 2, 1])


def circle(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def test_losses_have_the_values_computed_by_hand():
    # similarities: same class 1, other class 0; tau = 1
    features, labels = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0, 0, 1])
    e = np.e
    np.testing.assert_allclose(sup_con(features, labels, 1.0), [np.log(e + 1) - 1] * 2 + [0], rtol=1e-6)
    # with a prototype in each class, every mean within a class is e or 1
    balanced = balanced_contrastive(features, labels, np.eye(2), 1.0)
    np.testing.assert_allclose(balanced, [np.log(e + 1) - 1] * 3, rtol=1e-6)


def test_sup_con_has_the_values_of_pytorch_metric_learning():
    # SupConLoss of version 2.9.0 with its default reducer, the mean over anchors with a positive
    for temperature, expected in ((0.1, 8.049475418181883), (0.5, 2.41565099794247)):
        values = sup_con(circle(ANGLES), ANGLE_LABELS, temperature)
        assert values[5] == 0
        mean = weighted_mean(values, has_positive(ANGLE_LABELS))
        np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_balanced_contrastive_has_the_values_of_the_authors_code():
    # BalSCL of github.com/FlamieZhu/Balanced-Contrastive-Learning at 8fb4289, two views, four classes
    features = np.stack([circle(ANGLES), circle(ANGLES + 0.2)], axis=1)
    prototypes = circle(np.array([0.3, 2.2, 4.0, 5.5]))
    for temperature, expected in ((0.1, 5.919437660249257), (0.5, 1.4947110267977284)):
        values = balanced_contrastive(features, ANGLE_LABELS, prototypes, temperature)
        np.testing.assert_allclose(values.mean(), expected, rtol=1e-5)


# Oracles


@every_loss
@every_shape
def test_values_agree_with_loops_over_anchors_and_keys(name, views):
    features, labels, prototypes = batch(views)
    values, _ = values_and_gradient(name, features, labels, prototypes)
    assert values.shape == (12,)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, reference(name, features, labels, prototypes), rtol=2e-5, atol=1e-5)


@every_loss
def test_values_of_float64_features_are_computed_in_float64(name):
    features, labels, prototypes = batch(2)
    with jax.enable_x64(True):
        values, _ = values_and_gradient(name, features.astype(np.float64), labels, prototypes)
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, reference(name, features, labels, prototypes), rtol=1e-12)


@every_loss
@every_shape
def test_gradient_agrees_with_torch_autograd(name, views):
    torch = pytest.importorskip("torch")
    features, labels, prototypes = batch(views)
    f = torch.tensor(features, dtype=torch.float64, requires_grad=True)
    p = torch.tensor(prototypes, dtype=torch.float64, requires_grad=True)
    anchors, y = f.reshape(-1, 6), torch.tensor(np.repeat(labels, views or 1))
    keys = torch.cat([anchors, p]) if name == "balanced" else anchors
    key_labels = torch.cat([y, torch.arange(5)]) if name == "balanced" else y
    similar = anchors @ keys.T / 0.1
    own = torch.eye(len(anchors), len(keys), dtype=torch.bool)
    positives = (y[:, None] == key_labels) & ~own
    weights = torch.ones_like(similar)
    if name == "balanced":
        counts = torch.bincount(key_labels, minlength=5)[key_labels]
        weights = 1 / (counts - (y[:, None] == key_labels).long()).clamp(min=1)
    sums = (similar.exp() * weights).masked_fill(own, 0).sum(1)
    log_p = similar - sums.log()[:, None]
    means = (log_p * positives).sum(1) / positives.sum(1).clamp(min=1)
    (-means.sum() / (views or 1)).backward()
    _, (of_features, of_prototypes) = values_and_gradient(name, features, labels, prototypes)
    np.testing.assert_allclose(of_features, f.grad, rtol=1e-3, atol=2e-5)
    if name == "balanced":
        np.testing.assert_allclose(of_prototypes, p.grad, rtol=1e-3, atol=2e-5)


def test_anchors_with_a_positive_are_those_whose_class_or_views_are_not_alone():
    labels = np.array([0, 1, 0, 3, 2, 2, 2])
    np.testing.assert_array_equal(has_positive(labels), [1, 0, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(has_positive(labels, 2), np.ones(7))
    mask = np.array([1, 1, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(has_positive(labels, mask=mask), [0, 0, 0, 0, 1, 0, 1])
    np.testing.assert_array_equal(has_positive(labels, 2, mask=mask), mask)


# Laws

seeds = st.integers(0, 2**31)
few = settings(max_examples=12, deadline=None)


@few
@given(seeds, st.sampled_from(LOSSES))
def test_order_of_the_batch_and_rotations_change_nothing(seed, name):
    features, labels, prototypes = batch(2, seed=seed)
    random = np.random.default_rng(seed)
    order, (rotation, _) = random.permutation(12), np.linalg.qr(random.normal(size=(6, 6)))
    with jax.enable_x64(True):
        features, prototypes = features.astype(np.float64), prototypes.astype(np.float64)
        values, _ = values_and_gradient(name, features, labels, prototypes)
        moved, _ = values_and_gradient(
            name, (features @ rotation)[order][:, ::-1], labels[order], prototypes @ rotation
        )
        np.testing.assert_allclose(moved, values[order], rtol=1e-7, atol=1e-9)


@few
@given(seeds, st.sampled_from(LOSSES))
def test_masked_examples_do_not_take_part(seed, name):
    features, labels, prototypes = batch(2, size=9, seed=seed)
    padded = np.concatenate([features, np.full((3, 2, 6), np.nan, np.float32)])
    order = np.random.default_rng(seed).permutation(12)
    mask = order < 9
    with jax.enable_x64(True):
        values, gradients = values_and_gradient(
            name,
            padded[order].astype(np.float64),
            np.concatenate([labels, [-1, 0, 77]])[order],
            prototypes.astype(np.float64),
            mask,
        )
    expected = reference(name, features, labels, prototypes)
    np.testing.assert_allclose(values[mask], expected[order[mask]], rtol=1e-9)
    np.testing.assert_array_equal(values[~mask], 0)
    np.testing.assert_array_equal(gradients[0][~mask], 0)
    assert all(np.isfinite(g).all() for g in gradients)


@few
@given(seeds)
def test_a_class_repeated_in_the_batch_weighs_more_in_sup_con_but_not_in_balanced_contrastive(seed):
    random = np.random.default_rng(seed)
    features, prototypes = on_sphere(random.normal(size=(4, 6))), on_sphere(random.normal(size=(3, 6)))
    features[2:] = prototypes[1]  # class 1 is at one point, its prototype too
    labels = np.array([0, 0, 1, 1])
    more_features, more_labels = np.concatenate([features, features[[2] * 20]]), np.append(labels, [1] * 20)
    with jax.enable_x64(True):
        once = sup_con_of(features, labels)[:2], balanced_of(features, labels, prototypes)[:2]
        often = (
            sup_con_of(more_features, more_labels)[:2],
            balanced_of(more_features, more_labels, prototypes)[:2],
        )
        assert (often[0] > once[0]).all()
        np.testing.assert_allclose(often[1], once[1], rtol=1e-9)


sup_con_of, balanced_of = jax.jit(sup_con), jax.jit(balanced_contrastive)


def test_balanced_contrastive_of_one_example_is_cross_entropy_of_its_similarities_to_the_prototypes():
    features, _, prototypes = batch()
    for label in range(5):
        value = balanced_of(features[:1], np.array([label]), prototypes, 0.2)
        expected = -jax.nn.log_softmax(prototypes @ features[0] / 0.2)[label]
        np.testing.assert_allclose(value, [expected], rtol=1e-5)


# No NaN


def test_anchor_without_a_positive_has_value_0_and_gradient_0():
    features, _, prototypes = batch()
    values, (gradient, _) = values_and_gradient("sup_con", features, np.arange(12), prototypes)
    np.testing.assert_array_equal(values, 0)
    np.testing.assert_array_equal(gradient, 0)
    np.testing.assert_array_equal(sup_con(features[:1], [0]), 0)


@every_loss
def test_batch_with_nothing_known_has_value_0_and_gradient_0(name):
    features, labels, prototypes = batch(2)
    values, gradients = values_and_gradient(
        name, np.full_like(features, np.nan), labels - 9, prototypes, np.zeros(12, bool)
    )
    np.testing.assert_array_equal(values, 0)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@every_loss
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_value_and_gradient_are_finite_for_features_of_any_length(name, dtype):
    features, labels, prototypes = batch(2)
    for length in (0.0, 1e-7, 1.0, 100.0, 1e4):
        if dtype == jnp.float16 and length > 100:
            continue  # the gradient, 1e4 / tau, is beyond float16
        given_features = jnp.asarray(features * length, dtype)
        values, gradients = values_and_gradient(name, given_features, labels, prototypes)
        assert values.dtype == np.float32
        assert gradients[0].dtype == dtype
        assert np.isfinite(values).all()
        assert all(np.isfinite(g).all() for g in gradients)


@every_loss
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_features_are_computed_in_float32(name, dtype):
    features, labels, prototypes = batch(2)
    rounded = jnp.asarray(features, dtype)
    values, _ = values_and_gradient(name, rounded, labels, prototypes)
    expected = reference(name, np.asarray(rounded, np.float64), labels, prototypes)
    np.testing.assert_allclose(values, expected, rtol=2e-5, atol=1e-5)


def test_traced_label_out_of_range_gives_nan_with_gradient_0_and_is_no_key():
    features, labels, prototypes = batch(2)
    wrong = labels.copy()
    wrong[[3, 7]] = -1, 5
    mask = (wrong >= 0) & (wrong < 5)
    values, (of_features, _) = values_and_gradient("balanced", features, wrong, prototypes)
    expected, (of_masked, _) = values_and_gradient("balanced", features, labels, prototypes, mask)
    np.testing.assert_array_equal(np.isnan(values), ~mask)
    np.testing.assert_allclose(values[mask], expected[mask], rtol=1e-6)
    np.testing.assert_allclose(of_features, of_masked, rtol=1e-5, atol=1e-6)


# Blocks, tracing, wrong input


@every_loss
def test_similarities_in_blocks_give_the_same_values_and_gradients(name, monkeypatch):
    features, labels, prototypes = batch(2)
    expected = values_and_gradient(name, features, labels, prototypes)
    monkeypatch.setattr(contrastive, "_PAIRS_AT_ONCE", 0)  # each anchor has a product of its own
    monkeypatch.setattr(global_batch, "_PAIRS_AT_ONCE", 7 * 29)  # 7 anchors at a time, 24 in all
    compiled.clear_cache()
    found = values_and_gradient(name, features, labels, prototypes)
    compiled.clear_cache()
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), found, expected)


@pytest.mark.parametrize(("size", "num_classes"), [(4096, 10), (1024, 20_000)])
@every_loss
def test_memory_of_many_examples_or_classes_is_bounded(name, size, num_classes):
    features, prototypes = (jax.ShapeDtypeStruct((n, 16), jnp.float32) for n in (size, num_classes))
    labels = jax.ShapeDtypeStruct((size,), jnp.int32)
    loss = jax.grad(lambda f, p, y: loss_of(name, f, y, p).sum(), (0, 1))
    compiled = jax.jit(loss).lower(features, prototypes, labels).compile()
    assert (
        compiled.memory_analysis().temp_size_in_bytes < 40e6
    )  # all pairs at once would be 67 to 86 MB an array


@every_loss
def test_forward_mode_gives_the_slope_that_reverse_mode_gives(name):
    features, labels, prototypes = batch(2)
    moved = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    _, forward = jax.jvp(lambda f: loss_of(name, f, labels, prototypes).sum(), (features,), (moved,))
    _, (gradient, _) = values_and_gradient(name, features, labels, prototypes)
    np.testing.assert_allclose(forward, np.vdot(gradient, moved), rtol=1e-4)


def test_sweeps_of_the_temperature_compile_once():
    features, labels, prototypes = batch(2)
    jitted = CountedJit(
        lambda t: sup_con(features, labels, t) + balanced_contrastive(features, labels, prototypes, t)
    )
    for temperature in (0.1, 0.3):
        expected = sum(reference(name, features, labels, prototypes, temperature) for name in LOSSES)
        np.testing.assert_allclose(jitted(temperature), expected, rtol=1e-4)
    assert jitted.traces == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, y, p: sup_con(f, y[:5]), r"labels have shape \(5,\), expected \(12,\)"),
        (lambda f, y, p: sup_con(f, y[:, None]), r"labels have shape \(12, 1\)"),
        (lambda f, y, p: sup_con(f, y * 1.0), "labels are float"),
        (lambda f, y, p: sup_con(f[0], y), r"features have shape \(6,\)"),
        (lambda f, y, p: sup_con(f, y, 0.0), "temperature is 0, expected a number above zero"),
        (lambda f, y, p: sup_con(f, y, -0.1), "temperature is -0.1"),
        (lambda f, y, p: sup_con(f, y, mask=np.ones(3)), r"mask values of shape \(3,\)"),
        (lambda f, y, p: has_positive(y, 0), "num_views is 0, expected 1 or more"),
        (lambda f, y, p: has_positive(y[:, None]), r"labels have shape \(12, 1\)"),
        (
            lambda f, y, p: balanced_contrastive(f, y, p[:, :4]),
            r"prototypes have shape \(5, 4\), expected \(C, 6\)",
        ),
        (lambda f, y, p: balanced_contrastive(f, y, p[0]), r"prototypes have shape \(6,\)"),
        (lambda f, y, p: balanced_contrastive(f, y, p[:3]), "labels hold 3, allowed are 0 to 2"),
        (lambda f, y, p: balanced_contrastive(f, y - 1, p), "labels hold -1, allowed are 0 to 4"),
    ],
)
def test_bad_static_input_raises_naming_the_value(call, message):
    features, labels, prototypes = batch()
    with pytest.raises(ValueError, match=message):
        call(features, labels, prototypes)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda f: call(f, labels, prototypes))(features)


# Several devices

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(16, 2, 5))
PARAMS = {"w": RANDOM.normal(size=(5, 4)), "prototypes": on_sphere(RANDOM.normal(size=(3, 4)))}
# the rows of classes 1 and 2 of 16, the rest being class 0
PLACEMENTS = {
    "rare_on_the_last": (range(12, 15), [15]),
    "rare_on_the_first": ([0, 2], [1]),
    "uneven": ([0, 1, 4, 9, 14], [3, 15]),
    "one_class_a_device": (range(4, 8), range(8, 12)),
    "one_class_only": ([], []),
}
MASKS = {"all_known": np.ones(16, bool), "some_known": RANDOM.uniform(size=16) < 0.7}
MASKS["second_device_unknown"] = np.arange(16) // 4 != 1


def placed(name: str) -> np.ndarray:
    labels = np.zeros(16, int)
    for c, rows in enumerate(PLACEMENTS[name]):
        labels[list(rows)] = c + 1
    return labels


def means_and_gradients(params, inputs, labels, mask, axis_name=None):
    """Of both losses, with one view and with two, the mean over the anchors that count."""

    def mean(params, name, views):
        features = inputs[:, :views] @ params["w"]
        features /= jnp.linalg.norm(features, axis=-1, keepdims=True)
        values = loss_of(name, features, labels, params["prototypes"], mask=mask, axis_name=axis_name)
        counts = has_positive(labels, views, mask=mask, axis_name=axis_name) if name == "sup_con" else mask
        return weighted_mean(values, counts, axis_name)

    return {f"{n}_{v}": jax.value_and_grad(mean)(params, n, v) for n in LOSSES for v in (1, 2)}


@cache
def on_devices(backend: str, count: int):
    """(params, inputs, labels, mask) -> highest and lowest mean of the devices, sum of gradients."""

    def step(params, *shards):
        if backend == "shard_map_vma":
            params = jax.tree.map(lambda p: jax.lax.pcast(p, "data", to="varying"), params)
        outputs = means_and_gradients(params, *shards, axis_name="data")
        means = {name: mean for name, (mean, _) in outputs.items()}
        gradients = {name: gradient for name, (_, gradient) in outputs.items()}
        return jax.lax.pmax(means, "data"), jax.lax.pmin(means, "data"), jax.lax.psum(gradients, "data")

    devices = jax.devices()[:count]
    if backend == "pmap":
        mapped = jax.pmap(step, axis_name="data", in_axes=(None, 0, 0, 0), out_axes=None, devices=devices)
        return lambda params, *batch: mapped(params, *(x.reshape(count, -1, *x.shape[1:]) for x in batch))
    specs = (P(), P("data"), P("data"), P("data"))
    mesh, check = Mesh(np.array(devices), ("data",)), backend == "shard_map_vma"
    return jax.jit(jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=check))


on_one_device = jax.jit(means_and_gradients)


@pytest.mark.parametrize(
    ("backend", "count", "dtype"),
    [
        ("pmap", 2, np.float64),
        ("pmap", 4, np.float64),
        ("shard_map", 1, np.float64),
        ("shard_map", 2, np.float64),
        ("shard_map", 4, np.float32),
        ("shard_map_vma", 2, np.float64),
        ("shard_map_vma", 4, np.float64),
    ],
)
def test_means_and_gradients_are_the_same_on_one_and_many_devices(backend, count, dtype):
    tolerance = {"rtol": 1e-5, "atol": 2e-6} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-12}
    params, inputs = jax.tree.map(dtype, PARAMS), INPUTS.astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        for placement in PLACEMENTS:
            for mask in MASKS.values():
                data = params, inputs, placed(placement), mask
                high, low, gradients = jax.block_until_ready(on_devices(backend, count)(*data))
                for name, (mean, gradient) in on_one_device(*data).items():
                    where = f"{name}, {placement}"
                    assert mean.dtype == high[name].dtype == dtype
                    assert high[name] == low[name], f"{where}: the devices differ"
                    np.testing.assert_allclose(high[name], mean, **tolerance, err_msg=where)
                    for key, expected in gradient.items():
                        np.testing.assert_allclose(gradients[name][key], expected, **tolerance, err_msg=where)


@every_loss
@pytest.mark.parametrize("views", [2, 3])
def test_values_of_several_views_on_four_devices_agree_with_loops_over_the_whole_batch(name, views):
    features, labels, prototypes = batch(views, size=16)
    mesh, split = Mesh(np.array(jax.devices()[:4]), ("data",)), P("data")
    mapped = jax.shard_map(
        lambda f, y: loss_of(name, f, y, prototypes, axis_name="data"),
        mesh=mesh,
        in_specs=(split, split),
        out_specs=split,
    )
    expected = reference(name, features, labels, prototypes)
    np.testing.assert_allclose(jax.jit(mapped)(features, labels), expected, rtol=2e-5, atol=1e-5)


def test_mean_of_the_losses_of_the_devices_would_have_been_another_number():
    features, labels = on_sphere(INPUTS[:, 0] @ PARAMS["w"]), placed("uneven")
    of_devices = np.mean([sup_con_of(features[i : i + 4], labels[i : i + 4]).mean() for i in (0, 4, 8, 12)])
    assert abs(of_devices - sup_con_of(features, labels).mean()) > 0.5
