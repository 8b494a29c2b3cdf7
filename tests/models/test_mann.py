"""MANN against numpy step by step; causality, devices, gradients, sizes, and that it learns to bind labels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from random_episodes import (
    assert_causal,
    episodes,
    gradients_are_finite,
    num_parameters,
    random_variables,
)

from imbal_jax.engine.parallel import AXIS, make_mesh, parallelize
from imbal_jax.engine.state import init_state
from imbal_jax.engine.step import linen_apply, make_train_step
from imbal_jax.errors import InputError
from imbal_jax.losses import cross_entropy, weighted_mean
from imbal_jax.models import make_model

TINY = {"hidden": 6, "slots": 5, "width": 4, "reads": 2}
PAPER = {"write": "key", "erase": "all", "target": "shared"}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def in_numpy(params: Any, inputs: Any, ways: int, options: dict[str, Any]) -> np.ndarray:
    """Logits [B, T, ways], episode by episode, step by step, head by head."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    H, N, M, R = (options[key] for key in ("hidden", "slots", "width", "reads"))
    key_is_written = options.get("write") == "key"
    images, labels = np.asarray(inputs["images"], np.float64), np.asarray(inputs["labels"])
    logits = np.zeros((*labels.shape, ways))
    for b, (pictures, given) in enumerate(zip(images, labels, strict=True)):
        h, c, read = np.zeros(H), np.zeros(H), np.zeros((R, M))
        memory = p["memory"].T.copy() if "memory" in p else np.full((N, M), 1e-6)
        reading = np.eye(N)[[0] * R]
        if options.get("weight_init") == "learned":
            reading = np.stack([softmax(row) for row in p["read_weights"]])
        elif options.get("weight_init") == "uniform":
            reading = np.full((R, N), 1 / N)
        usage = reading.mean(0)
        for t, picture in enumerate(pictures):
            shown = np.eye(ways)[given[t - 1]] if t > 0 and given[t - 1] >= 0 else np.zeros(ways)
            x = np.concatenate([picture.reshape(-1), shown])
            z = x @ p["controller_input"]["kernel"] + p["controller_input"]["bias"]
            if options.get("controller") == "feed_forward":
                h = np.tanh(z + read.reshape(-1) @ p["controller_kernel"])
            else:
                z = z + np.concatenate([read.reshape(-1), h]) @ p["controller_kernel"]
                i, f, g, o = z.reshape(4, H)
                c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            said = h @ p["heads_kernel"] + p["heads_bias"]
            vectors = R * M if key_is_written else 2 * R * M
            keys = np.tanh(said[: R * M]).reshape(R, M)
            adds = keys if key_is_written else np.tanh(said[R * M : vectors]).reshape(R, M)
            gates = sigmoid(said[vectors : vectors + R])
            strengths = (
                1 + np.log1p(np.exp(said[vectors + R :] + 9)) if options.get("key_strength") else [1] * R
            )

            order = np.argsort(usage, kind="stable")[:R]
            memory[order[:1] if options.get("erase", "single") == "single" else order] = 0
            writing = np.zeros((R, N))
            for r in range(R):
                free = np.zeros(N)
                free[order if options.get("target") == "shared" else order[r]] = 1
                writing[r] = gates[r] * reading[r] + (1 - gates[r]) * free
            memory += writing.T @ adds
            for r in range(R):
                lengths = np.linalg.norm(keys[r]) * np.sqrt(np.square(memory).sum(1) + 1e-14)
                reading[r] = softmax(strengths[r] * (memory @ keys[r]) / lengths)
            read = reading @ memory
            usage = options.get("usage_decay", 0.95) * usage + reading.sum(0) + writing.sum(0)
            logits[b, t] = np.concatenate([h, read.reshape(-1)]) @ p["head"]["kernel"] + p["head"]["bias"]
    return logits


@pytest.mark.parametrize(
    "options",
    [
        {},
        PAPER,
        {"key_strength": True, "usage_decay": 0.99},
        {"controller": "feed_forward", "erase": "all", "weight_init": "uniform"},
        {"memory_init": "learned", "weight_init": "learned", "key_strength": True, "write": "key"},
    ],
)
def test_logits_are_those_of_numpy_step_by_step(options: dict[str, Any]) -> None:
    inputs = episodes(batch=3, steps=9)
    model = make_model("mann", num_outputs=3, **TINY, **options)
    variables = random_variables(model, inputs)
    actual = jax.jit(model.apply)(variables, inputs)
    expected = in_numpy(variables["params"], inputs, 3, {**TINY, **options})
    assert (actual.shape, actual.dtype) == ((3, 9, 3), jnp.float32)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(actual, model.apply(variables, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{}, {**PAPER, "controller": "feed_forward", "key_strength": True}])
def test_logits_depend_on_no_later_picture_and_no_label_from_theirs_on(
    options: dict[str, Any], seed: int
) -> None:
    inputs = episodes(seed=seed)
    model = make_model("mann", num_outputs=3, **TINY, **options)
    assert_causal(model, random_variables(model, inputs, seed, spread=2.0), inputs)


@pytest.mark.parametrize("options", [{}, {**PAPER, "key_strength": True}])
def test_gradients_are_finite_from_the_first_step(options: dict[str, Any]) -> None:
    inputs = episodes()
    model = make_model("mann", num_outputs=3, **TINY, **options)
    assert gradients_are_finite(model, model.init(jax.random.key(0), inputs), inputs)


def test_gradients_are_those_of_finite_differences() -> None:
    """In most directions: where a step makes another slot the least used, the loss jumps, and no gradient says so."""
    inputs = episodes(steps=5)
    model = make_model("mann", num_outputs=3, key_strength=True, memory_init="learned", **TINY)
    variables = random_variables(model, inputs, seed=2)
    random = np.random.default_rng(5)

    def loss(params: Any) -> jax.Array:
        return jnp.sum(jnp.sin(model.apply({"params": params}, inputs)))

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    losses = jax.jit(jax.vmap(loss))
    directions = jax.tree.map(
        lambda leaf: random.standard_normal((15, *leaf.shape)).astype(np.float32), variables["params"]
    )
    moved = [
        jax.tree.map(lambda leaf, d, s=side: leaf + s * 2e-4 * d, variables["params"], directions)
        for side in (1, -1)
    ]
    slopes = (losses(moved[0]) - losses(moved[1])) / 4e-4
    expected = sum(
        np.tensordot(np.asarray(d), np.asarray(g), g.ndim)
        for d, g in zip(jax.tree.leaves(directions), jax.tree.leaves(gradient), strict=True)
    )
    errors = np.abs(np.asarray(slopes) - expected) / np.abs(expected).max()
    assert np.median(errors) < 0.01


def test_sizes_are_those_of_the_paper() -> None:
    """LSTM of 200 on 400 pixels, 5 labels and 4 reads of 40; 4 heads of key, add vector and gate."""
    inputs = episodes(size=20, ways=5)
    lstm = (400 + 5 + 4 * 40 + 200 + 1) * 800
    heads = 201 * 4 * (40 + 40 + 1)
    output = (200 + 160 + 1) * 5
    assert num_parameters(make_model("mann", num_outputs=5), inputs) == lstm + heads + output
    strong = make_model("mann", num_outputs=5, key_strength=True)
    assert num_parameters(strong, inputs) == lstm + heads + output + 201 * 4
    assert (
        num_parameters(make_model("mann", num_outputs=5, write="key"), inputs) == lstm + output + 201 * 4 * 41
    )


def test_string_labels_are_shown_as_digits() -> None:
    inputs = episodes(ways=3)
    model = make_model("mann", num_outputs=6, label_digits=2, digit_base=3, **TINY)
    variables = random_variables(model, inputs)
    before = model.apply(variables, inputs)
    other = {**inputs, "labels": inputs["labels"].at[:, 0].add(3)}  # the high digit only
    after = model.apply(variables, other)
    assert before.shape == (2, 6, 6)
    assert not np.allclose(before[:, 1], after[:, 1])


def test_features_are_the_input_of_the_head() -> None:
    inputs = episodes()
    model = make_model("mann", num_outputs=3, **TINY)
    variables = random_variables(model, inputs)
    both = model.apply(variables, inputs, outputs="both")
    head = variables["params"]["head"]
    assert both["features"].shape == (2, 6, 6 + 2 * 4)
    np.testing.assert_allclose(both["features"] @ head["kernel"] + head["bias"], both["logits"], atol=1e-5)
    np.testing.assert_array_equal(model.apply(variables, inputs, outputs="features"), both["features"])


def test_a_step_on_four_devices_is_that_on_one() -> None:
    inputs = episodes(batch=8)
    model = make_model("mann", num_outputs=3, memory_init="learned", key_strength=True, **TINY)
    variables = random_variables(model, inputs)
    optimizer = optax.sgd(0.1)

    def objective(outputs: Any, batch: Any, axis: str | None) -> Any:
        values = cross_entropy(outputs, batch["targets"])
        return weighted_mean(values, jnp.ones_like(values), axis), {}

    batch = {"inputs": inputs, "targets": jnp.maximum(inputs["labels"], 0)}
    after = []
    for devices in (1, 4):
        state = init_state(jax.tree.map(jnp.array, variables), optimizer, jax.random.key(0))
        step = make_train_step(linen_apply(model), optimizer, objective, AXIS)
        after.append(parallelize(step, make_mesh(devices))(state, batch)[0].params)
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-3, atol=1e-5), *after)
    assert not np.allclose(after[0]["heads_kernel"], variables["params"]["heads_kernel"], atol=1e-6)


# --- learning ---


def second_presentation_accuracy(
    options: dict[str, Any],
    *,
    updates: int,
    size: int,
    steps: int,
    batch: int,
    learning_rate: float,
    ink: float,
    pool: int = 0,
) -> float:
    """Of 3 ways, after training on episodes of random patterns and noise, whose names change from one to the next.

    ink: share of the pixels of a pattern that are 1. pool: the number of patterns that episodes are drawn from; 0:
    each has new ones.
    """
    model = make_model("mann", num_outputs=3, key_strength=True, **options)
    optimizer = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(learning_rate))

    def patterns(key: jax.Array, *shape: int) -> jax.Array:
        return (jax.random.uniform(key, (*shape, size, size, 1)) < ink).astype(jnp.float32)

    def draw(key: jax.Array) -> dict[str, jax.Array]:
        of_classes, of_labels, of_noise = jax.random.split(key, 3)
        prototypes = patterns(of_classes, batch, 3)
        if pool:
            shuffled = jax.vmap(lambda k: jax.random.permutation(k, pool))(
                jax.random.split(of_classes, batch)
            )
            prototypes = patterns(jax.random.key(9), pool)[shuffled[:, :3]]
        labels = jax.random.randint(of_labels, (batch, steps), 0, 3)
        images = jnp.take_along_axis(prototypes, labels[..., None, None, None], axis=1)
        images = images + 0.1 * jax.random.normal(of_noise, images.shape)
        return {"images": images, "labels": labels}

    def loss(params: Any, inputs: Any) -> jax.Array:
        return cross_entropy(model.apply({"params": params}, inputs), inputs["labels"]).mean()

    def update(carry: Any, key: jax.Array) -> Any:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, draw(key))
        changes, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, changes), state), value

    params = model.init(jax.random.key(0), draw(jax.random.key(1)))["params"]
    keys = jax.random.split(jax.random.key(2), updates)
    (params, _), _ = jax.jit(lambda *c: jax.lax.scan(update, c, keys))(params, optimizer.init(params))
    right, seen = [], []
    for seed in range(20):
        inputs = draw(jax.random.key(1000 + seed))
        guess = np.asarray(jax.jit(model.apply)({"params": params}, inputs)).argmax(-1)
        labels = np.asarray(inputs["labels"])
        presentation = np.array([[np.sum(row[:t] == row[t]) for t in range(len(row))] for row in labels])
        right.append((guess == labels)[presentation == 1])
        seen.append((guess == labels)[presentation == 0])
    assert np.concatenate(seen).mean() < 0.75  # what was never shown cannot be known
    return float(np.concatenate(right).mean())


def test_a_small_memory_learns_to_name_what_it_saw_once() -> None:
    options = {"hidden": 48, "slots": 16, "width": 12}
    found = second_presentation_accuracy(
        options, updates=900, size=4, steps=10, batch=32, learning_rate=1e-2, ink=0.5
    )
    assert found > 0.6


@pytest.mark.slow
def test_the_controller_of_the_paper_learns_to_name_pictures_it_saw_once() -> None:
    found = second_presentation_accuracy(
        {"slots": 64}, updates=1600, size=20, steps=20, batch=16, learning_rate=1e-3, ink=0.2, pool=6
    )
    assert found > 0.8


# --- wrong input ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"write": "value"}, "write 'value' of model 'mann': choose from 'add', 'key'"),
        ({"erase": "none"}, "erase 'none' .* 'single', 'all'"),
        ({"target": "all"}, "target 'all' .* 'own', 'shared'"),
        ({"controller": "gru"}, "controller 'gru' .* 'lstm', 'feed_forward'"),
        ({"memory_init": "zeros"}, "memory_init 'zeros' .* 'constant', 'learned'"),
        ({"weight_init": "zeros"}, "weight_init 'zeros' .* 'one_hot', 'uniform', 'learned'"),
        ({"slots": 0}, "slots 0 .* whole number from 1"),
        ({"usage_decay": 1.5}, "usage_decay 1.5 .* from 0 to 1"),
        ({"label_digits": -1}, "label_digits -1 .* 0 for one-hot labels"),
        ({"head": "cosine"}, "option 'head' of model 'mann' is unknown"),
    ],
)
def test_wrong_options_name_the_allowed_ones(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_model("mann", num_outputs=3, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": 3}, "3 slots for 4 reads .* give 4 slots or more"),
        ({"label_digits": 2}, "label_digits 2 of base 5 need 10 outputs, and the network has 3"),
    ],
)
def test_options_that_do_not_fit_each_other_say_so(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        jax.eval_shape(make_model("mann", num_outputs=3, **options).init, jax.random.key(0), episodes())
