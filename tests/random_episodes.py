"""Random episodes, variables and the law of causality, for tests of the networks over episodes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def episodes(
    batch: int = 2, steps: int = 6, size: int = 4, ways: int = 3, seed: int = 0, channels: int = 1
) -> dict[str, jax.Array]:
    """Random pictures, every label there, one query (-1) in each episode of four pictures or more."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, ways, (batch, steps))
    if steps > 3:
        labels[:, 2] = -1
    images = random.standard_normal((batch, steps, size, size, channels), dtype=np.float32)
    return {"images": jnp.asarray(images), "labels": jnp.asarray(labels, jnp.int32)}


def random_variables(model: Any, inputs: Any, seed: int = 0, spread: float = 1.0) -> Any:
    """Variables of the right shapes; no bias is 0 and no scale 1, so that a test sees each of them."""
    random = np.random.default_rng(seed)
    tree = jax.eval_shape(lambda key: model.init(key, inputs), jax.random.key(0))

    def draw(path: Any, leaf: Any) -> jax.Array:
        positive = path[-1].key in ("scale", "var")
        wide = spread / np.sqrt(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1
        return jnp.asarray(positive + wide * random.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, tree)


def assert_causal(model: Any, variables: Any, inputs: Any, atol: float = 2e-5) -> None:
    """Picture t changes no logits before t, label t none up to t; both change a later one of their episode."""
    steps = inputs["labels"].shape[1]
    apply = jax.jit(model.apply)
    before = np.asarray(apply(variables, inputs))
    ways = before.shape[-1]
    for t in range(steps):
        other = (inputs["labels"][:, t] + 1) % ways
        changed = {
            "images": {**inputs, "images": inputs["images"].at[:, t].multiply(-1.7)},
            "labels": {**inputs, "labels": inputs["labels"].at[:, t].set(other)},
        }
        for part, unchanged in (("images", t), ("labels", t + 1)):
            after = np.asarray(apply(variables, changed[part]))
            np.testing.assert_allclose(after[:, :unchanged], before[:, :unchanged], atol=atol)
            later = np.abs(after - before)[:, unchanged:]
            if later.shape[1] > 0:
                assert later.max() > 1e-4, f"{part} {t} changes nothing"


def gradients_are_finite(model: Any, variables: Any, inputs: Any) -> bool:
    """Of a loss that reads every logit, at these variables."""

    def loss(params: Any) -> jax.Array:
        found = model.apply({**variables, "params": params}, inputs)
        return jnp.sum(jnp.sin(found))

    leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(variables["params"]))
    return all(bool(jnp.isfinite(leaf).all()) for leaf in leaves)


def num_parameters(model: Any, inputs: Any) -> int:
    params = jax.eval_shape(model.init, jax.random.key(0), inputs)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))
