"""Gradients by class against plain JAX, head cosines against numpy."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.engine import keys
from imbal_jax.methods import METHODS, ClassArrays, Method, static_part
from imbal_jax.models.head import LinearHead, outputs_of
from imbal_jax.suite.dynamics import (
    REST,
    dynamics_of,
    gradients_by_class,
    head_cosine,
    probe_of,
    probed_method,
    recalls,
)
from imbal_jax.tasks import MANY_LABELS, ONE_LABEL
from imbal_jax.training.network import Network

MEAN, DEVIATION = 0.4, 0.3
CLASSES = ("common", "rare", "rarer", "absent")


class Tiny(nn.Module):
    num_outputs: int
    axis_name: None = None

    @nn.compact
    def __call__(self, x, train=False, *, outputs="logits"):
        x = nn.tanh(nn.Dense(5, name="hidden")(x.reshape(len(x), -1)))
        return outputs_of(LinearHead(self.num_outputs, name="head"), x, outputs)


def logits_of(params, images):
    """The same network without linen."""
    x = (images.reshape(len(images), -1) / 255 - MEAN) / DEVIATION
    x = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return x @ params["head"]["kernel"] + params["head"]["bias"]


def pictures(counts, seed=0) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    images = rng.integers(0, 256, (len(labels), 3, 3, 1)).astype(np.uint8)
    return Dataset(images, labels, np.arange(len(labels)), CLASSES[: len(counts)])


def many_pictures(seed=0) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = (rng.random((60, 3)) < (0.5, 0.1, 0.07)).astype(np.int8)
    labels[5, 0] = -2
    images = rng.integers(0, 256, (60, 3, 3, 1)).astype(np.uint8)
    return Dataset(images, labels, np.arange(60), ("a", "b", "c"))


def watched(data: Dataset, method: Method, *, smoothing=0.0, seed=0):
    """As a run gives it, with a network at its start."""
    many = data.labels.ndim == 2
    task = MANY_LABELS if many else ONE_LABEL
    network = Network(Tiny(len(data.classes)), static_part(method))
    variables = jax.jit(network.init)(jax.random.key(seed), jnp.zeros((1, 3, 3, 1)))
    drawn = np.bincount(data.labels, minlength=len(data.classes)) if not many else data.labels.sum(axis=0)
    counts = np.maximum(drawn, 0.5)  # a prior of an absent class
    if many:
        arrays = ClassArrays(np.ones(3, np.float32), drawn.astype(np.float32), known=np.full(3, 60.0))
    else:
        arrays = ClassArrays(
            (1 / counts).astype(np.float32),
            counts.astype(np.float32),
            (counts / counts.sum()).astype(np.float32),
            negative=np.int32(0),
        )
    shared = Shared(arrays, np.float32(MEAN), np.float32(DEVIATION), keys.images(0))
    program = SimpleNamespace(
        network=network,
        task=task,
        method=static_part(method),
        optim=SimpleNamespace(label_smoothing=smoothing),
        uncertain="ignore",
    )
    rng = np.random.default_rng(seed)
    params = jax.tree.map(
        lambda p: np.asarray(p + 0.1 * rng.normal(size=p.shape), np.float32), variables["params"]
    )
    return SimpleNamespace(
        stage=SimpleNamespace(program=program, shared=shared),
        state=SimpleNamespace(params=params, model_state={}),
        step=3,
        splits=SimpleNamespace(validation=data),
        kept=np.asarray(jax.jit(lambda p, x: task.probabilities(logits_of(p, x)))(params, data.images)),
        config=SimpleNamespace(data=SimpleNamespace(negative_class=None)),
    )


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)


def cosine(a, b) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def by_plain_jax(loss_of_images, params, data: Dataset, groups: dict) -> dict:
    """Of each group of images: the mean loss, and its gradient as one vector."""

    @jax.jit
    def mean_loss(params, own):
        values = loss_of_images(logits_of(params, data.images), data.labels)
        return (values * own).sum() / own.sum()

    found = {name: jax.jit(jax.value_and_grad(mean_loss))(params, own) for name, own in groups.items()}
    return {name: (float(value), flat(gradient)) for name, (value, gradient) in found.items()}


def assert_agree(found: dict, expected: dict, majority: str) -> None:
    for name, (value, gradient) in expected.items():
        np.testing.assert_allclose(found[f"loss/{name}"], value, rtol=1e-5)
        np.testing.assert_allclose(found[f"gradient_norm/{name}"], np.linalg.norm(gradient), rtol=1e-4)
        if f"gradient_cosine/{name}" in found:
            angle = cosine(gradient, expected[majority][1])
            np.testing.assert_allclose(found[f"gradient_cosine/{name}"], angle, atol=1e-5)


@pytest.mark.parametrize(("method", "smoothing"), [("weighted_ce", 0.1), ("logit_adjusted", 0.0)])
def test_gradients_of_classes_are_those_of_plain_jax(method: str, smoothing: float) -> None:
    data = pictures((90, 12, 5, 0))  # no image of the last
    seen = watched(data, METHODS[method], smoothing=smoothing)
    found = dynamics_of(seen, probe_of(data, per_class=90))
    priors = np.array([90, 12, 5, 0.5]) / 107.5 if method == "logit_adjusted" else None

    def loss(logits, labels):
        logits = logits if priors is None else logits + jnp.log(priors)
        targets = jax.nn.one_hot(labels, 4) * (1 - smoothing) + smoothing / 4
        return -(targets * jax.nn.log_softmax(logits)).sum(axis=1)

    groups = {name: (data.labels == c).astype(np.float32) for c, name in enumerate(data.classes[:3])}
    expected = by_plain_jax(loss, seen.state.params, data, groups)
    assert_agree(found, expected, "common")
    cosines = [found["gradient_cosine/rare"], found["gradient_cosine/rarer"]]
    np.testing.assert_allclose(found["gradient_cosine"], np.mean(cosines), atol=1e-7)
    assert "gradient_cosine/common" not in found
    lost = {name for name, value in found.items() if value is None}
    assert lost == {"loss/absent", "gradient_norm/absent", "recall/absent"}


def test_gradients_of_many_labels_are_those_of_plain_jax() -> None:
    data = many_pictures()
    seen = watched(data, METHODS["ce"])
    found = dynamics_of(seen, probe_of(data, per_class=60))

    def loss(log_odds, labels):
        values = jax.nn.softplus(-log_odds) * (labels == 1) + jax.nn.softplus(log_odds) * (labels == 0)
        return values.sum(axis=1) / (labels >= 0).sum(axis=1)

    groups = {name: data.labels[:, c] == 1 for c, name in enumerate(data.classes)}
    groups[REST] = ~(data.labels == 1).any(axis=1)
    groups = {name: own.astype(np.float32) for name, own in groups.items()}
    assert_agree(found, by_plain_jax(loss, seen.state.params, data, groups), REST)
    assert "gradient_cosine/c" in found


def test_the_parts_of_a_ranking_loss_add_up_to_its_gradient() -> None:
    loss = "auc_margin"  # which has variables of its own besides
    data = pictures((20, 20, 20))
    seen = watched(data, Method(name="ranks", loss=loss))
    probe, program = probe_of(data, per_class=20), seen.stage.program
    objective = program.task.objective(program.method)
    shared = seen.stage.shared.at_step(0, keys.images_of_step(seen.stage.shared.images_key, 0))
    params, labels = seen.state.params, probe.labels.reshape(-1)

    def value(params, own):
        logits = logits_of(params, probe.images.reshape(-1, 3, 3, 1))
        logits = jnp.where(own[:, None], logits, jax.lax.stop_gradient(logits))
        extra = {loss: seen.state.params[loss]} if loss in seen.state.params else {}
        return objective({"logits": logits, **extra}, {"labels": labels, "shared": shared}, None)[0]

    gradient = jax.jit(jax.grad(value))

    def through(own: np.ndarray) -> np.ndarray:
        return flat(gradient(params, own))

    found = dynamics_of(seen, probe)
    parts = {name: through(labels == data.classes.index(name)) for name in data.classes}
    for name, part in parts.items():
        np.testing.assert_allclose(found[f"gradient_norm/{name}"], 3 * np.linalg.norm(part), rtol=1e-4)
        assert found[f"loss/{name}"] is None
    np.testing.assert_allclose(sum(parts.values()), through(np.ones(60, bool)), atol=1e-6)
    majority = probe.names[0]
    for g in probe.rare:
        name = probe.names[g]
        expected = cosine(parts[name], parts[majority])
        np.testing.assert_allclose(found[f"gradient_cosine/{name}"], expected, atol=1e-5)


@pytest.mark.parametrize(
    "method", ["hard_negatives", "influence_balanced", "balanced_contrastive", "equalization"]
)
def test_every_kind_of_objective_gives_finite_numbers(method: str) -> None:
    known = {
        "hard_negatives": Method(name="mined", hard_negatives=3.0),
        "balanced_contrastive": Method(name="c", auxiliary="balanced_contrastive", views=2, contrast_views=1),
    }
    method = known.get(method) or METHODS[method]
    data = pictures((30, 6, 4))
    found = dynamics_of(
        watched(data, replace(method, deferred=(), defer=0.0, rate_after=1.0)), probe_of(data)
    )
    assert all(value is not None and np.isfinite(value) for value in found.values())


def test_a_probe_has_the_same_images_for_each_method_and_no_more_than_asked() -> None:
    data = pictures((200, 30, 4))
    one, same, other = (probe_of(data, per_class=10, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.images, same.images)
    assert not np.array_equal(one.images, other.images)
    assert one.names == ("common", "rare", "rarer")
    assert one.rare == (1, 2)
    assert one.images.shape == (3, 10, 3, 3, 1)
    assert one.counted.sum(axis=1).tolist() == [10, 10, 4]
    assert probe_of(data).images.shape[1] == 64
    assert probe_of(pictures((90, 80, 70, 60))).images.shape[:2] == (4, 64)
    for g, c in enumerate(one.columns):
        known = {image.tobytes() for image in data.images[data.labels == c]}
        taken = [image.tobytes() for image in one.images[g][one.counted[g] > 0]]
        assert set(taken) <= known
        assert len(set(taken)) == len(taken)


def test_runs_of_equal_static_parts_share_one_compilation() -> None:
    data = pictures((40, 8, 5))
    one = watched(data, METHODS["ce"])
    measure = gradients_by_class(
        one.stage.program.network, ONE_LABEL, probed_method(one.stage.program.method)
    )
    before = measure._cache_size()
    for method, seed in (("ce", 5), ("weighted_ce", 6), ("stratified", 7)):
        dynamics_of(watched(data, METHODS[method], seed=seed), probe_of(data, seed=seed))
    assert measure._cache_size() <= before + 1


# Minority collapse


def cosine_of(kernel: np.ndarray, counts) -> float | None:
    return head_cosine({"params": {"head": {"kernel": kernel}}}, probe_of(pictures(counts)))


def test_head_cosine_is_the_mean_over_pairs_of_rare_classes() -> None:
    kernel = np.random.default_rng(0).normal(size=(7, 4))
    pairs = [cosine(kernel[:, a], kernel[:, b]) for a, b in ((1, 2), (1, 3), (2, 3))]
    assert cosine_of(kernel, (90, 6, 5, 4)) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_head_cosine_of_merged_classes_is_one_and_of_a_simplex_the_least() -> None:
    merged = np.array([[1.0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 0, 0]])
    simplex = np.eye(4) - 1 / 4
    assert cosine_of(merged, (90, 6, 5, 4)) == pytest.approx(1)
    assert cosine_of(simplex, (90, 6, 5, 4)) == pytest.approx(-1 / 3)


def test_head_cosine_of_two_classes_is_between_them() -> None:
    kernel = np.array([[1.0, -1.0], [2.0, 1.0]])
    assert cosine_of(kernel, (90, 6)) == pytest.approx(1 / np.sqrt(5 * 2))
    assert cosine_of(np.array([[1.0, -3.0]]), (90, 6)) == pytest.approx(-1)


def test_head_cosine_of_many_labels_is_of_the_rare_ones() -> None:
    data = many_pictures()
    kernel = np.random.default_rng(0).normal(size=(7, 3))
    probe = probe_of(data)
    assert {probe.names[g] for g in probe.rare} == {"b", "c"}
    found = head_cosine({"params": {"head": {"kernel": kernel}}}, probe)
    assert found == pytest.approx(cosine(kernel[:, 1], kernel[:, 2]))


@pytest.mark.parametrize(
    "params", [{}, {"head": {"kernel": np.zeros((3, 3))}}, {"head": {"kernel": np.ones((2, 2, 2))}}]
)
def test_head_cosine_without_a_head_is_none(params: dict) -> None:
    assert head_cosine({"params": params}, probe_of(pictures((90, 6, 5)))) is None


def test_recalls_are_those_of_the_class_called() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    scores = np.eye(4)[[0, 0, 1, 1, 0, 2]]
    expected = {"recall/common": 2 / 3, "recall/rare": 0.5, "recall/rarer": 1.0, "recall/absent": None}
    assert recalls(labels, scores, CLASSES) == expected
