"""RMSProp as Graves wrote it, in numpy, and that losses with an optimiser of their own keep its direction."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from imbal_jax.config import Optim
from imbal_jax.training.optimizer import direction, make_optimizer

PLAIN = Optim(
    optimizer="rmsprop",
    learning_rate=1e-3,
    schedule="constant",
    warmup=0.0,
    weight_decay=0.0,
    clip_norm=0.0,
)


def gradients(steps: int = 12) -> np.ndarray:
    """[steps, 3, 2]: of the sizes about which the constant under the root, 0.01 squared, matters, and far from it."""
    return np.random.default_rng(0).normal(size=(steps, 3, 2)) * np.array([[1e-3, 1e-2], [0.1, 1], [10, 1e3]])


def moved(optimizer: optax.GradientTransformation, given: np.ndarray) -> np.ndarray:
    """float32 [steps, 3, 2]: the parameters after every step, from 1."""
    params = {"kernel": jnp.ones(given.shape[1:], jnp.float32)}
    state, path = optimizer.init(params), []
    for gradient in given:
        change, state = optimizer.update({"kernel": jnp.asarray(gradient, jnp.float32)}, state, params)
        params = optax.apply_updates(params, change)
        path.append(np.asarray(params["kernel"]))
    return np.array(path)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_rmsprop_is_the_one_that_graves_wrote(momentum: float) -> None:
    given = gradients()
    n, g, delta, w, expected = *np.zeros((3, 3, 2)), np.ones((3, 2)), []
    for epsilon in given:
        n = 0.95 * n + 0.05 * epsilon**2
        g = 0.95 * g + 0.05 * epsilon
        delta = momentum * delta - 1e-3 * epsilon / np.sqrt(n - g**2 + 1e-4)
        w = w + delta
        expected.append(w)
    options = Optim(**{**vars(PLAIN), "momentum": momentum})
    np.testing.assert_allclose(moved(make_optimizer(options, 12), given), expected, rtol=1e-4, atol=2e-6)


def test_it_clips_and_decays_as_the_others_do() -> None:
    given = gradients(1)
    small = given * 0.5 / np.linalg.norm(given)
    clipped = moved(make_optimizer(Optim(**{**vars(PLAIN), "clip_norm": 0.5}), 1), given)
    np.testing.assert_allclose(clipped, moved(make_optimizer(PLAIN, 1), small), rtol=1e-5)
    decayed = moved(make_optimizer(Optim(**{**vars(PLAIN), "weight_decay": 0.1}), 1), given)
    np.testing.assert_allclose(decayed, moved(make_optimizer(PLAIN, 1), given + 0.1), rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_the_direction_times_the_rate_is_the_step(name: str) -> None:
    """Without a weight decay; of RMSProp and SGD the momentum is part of the direction."""
    options = Optim(**{**vars(PLAIN), "optimizer": name, "nesterov": False})
    given = gradients(6)
    chained = optax.chain(direction(options), optax.scale(-1e-3))
    np.testing.assert_allclose(
        moved(chained, given), moved(make_optimizer(options, 6), given), rtol=1e-5, atol=1e-6
    )


def test_jax_compiles_it() -> None:
    optimizer = make_optimizer(PLAIN, 5)
    params = {"bias": jnp.zeros(2)}
    change, _ = jax.jit(optimizer.update)({"bias": jnp.ones(2)}, optimizer.init(params), params)
    assert (np.asarray(change["bias"]) < 0).all()
