"""The heads of the few-shot study, on cached features: each gives probabilities [M, C] of test features [M, D]."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from imbal_jax.config import Optim
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.engine import keys
from imbal_jax.engine.state import TrainState, init_state
from imbal_jax.engine.step import make_train_step
from imbal_jax.methods import METHODS, Method, static_part
from imbal_jax.models.head import HEADS as LAST_LAYERS
from imbal_jax.models.support import SupportAttention, class_log_probabilities, similarity
from imbal_jax.tasks.one_label import OneLabel
from imbal_jax.training.composition import second_stage_method
from imbal_jax.training.optimizer import make_optimizer
from imbal_jax.training.second_stage import nearest_mean
from imbal_jax.training.support import write_support

STEPS, BATCH = 1000, 64
OPTIM = Optim(learning_rate=2e-3, weight_decay=0.01)
TASK = OneLabel()
ATTENTION = SupportAttention()

Head = Callable[[np.ndarray, np.ndarray, np.ndarray, int, int], np.ndarray]
"""``(features [N, D], labels [N], test features [M, D], classes, seed) -> probabilities [M, C]``."""


def _probe(weight: str | None) -> Head:
    def fitted(
        features: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, seed: int
    ) -> np.ndarray:
        probe = LogisticRegression(C=1.0, class_weight=weight, max_iter=300, tol=1e-3)
        return probe.fit(features, labels).predict_proba(test)

    return fitted


def _nearest_mean(
    features: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, seed: int
) -> np.ndarray:
    return softmax(test @ nearest_mean(features, labels, classes)["kernel"], axis=1)


@partial(jax.jit, static_argnums=4)
def _compared(
    test: jax.Array, stored: jax.Array, filled: jax.Array, strength: jax.Array, distance: str
) -> jax.Array:
    return class_log_probabilities(strength * similarity(test, stored, distance), filled)


def _stored(name: str) -> Head:
    method = METHODS[name]

    def compared(
        features: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, seed: int
    ) -> np.ndarray:
        support = write_support(method, features, labels, classes, seed)
        given = (support.keys, support.filled, np.float32(support.strength))
        return np.exp(_by_blocks(lambda block: _compared(block, *given, method.memory_distance), test))

    return compared


@dataclass(frozen=True)
class HeadOnFeatures:
    """What is trained on features: a last layer, or attention over a support set."""

    kind: str
    classes: int

    def apply(self, variables: Any, inputs: jax.Array, *, train: bool, rngs: Any) -> jax.Array:
        params = {"params": variables["params"]}
        if self.kind == "attention":
            memory = variables["memory"]
            return ATTENTION.apply(params, inputs, memory["keys"], memory["filled"], train=train)
        return LAST_LAYERS[self.kind](self.classes).apply(params, inputs)


@lru_cache
def _program(network: HeadOnFeatures, method: Method) -> Callable[..., TrainState]:
    """``(variables, arrays of the classes, batches [S, B, ...], seed) -> state``: all steps, compiled once."""
    optimizer = make_optimizer(OPTIM, STEPS)
    step = make_train_step(network.apply, optimizer, TASK.objective(method), None)

    @jax.jit
    def train(variables: Any, arrays: Any, inputs: jax.Array, labels: jax.Array, seed: int) -> TrainState:
        start, ramp = round(method.defer * STEPS), round(method.ramp * STEPS)
        switch = jnp.array([start, ramp], jnp.int32) if method.deferred else None
        shared = Shared(arrays, images_key=jax.random.key_data(jax.random.key(seed)), switch=switch)

        def one(state: TrainState, batch: tuple[jax.Array, jax.Array]) -> tuple[TrainState, None]:
            now = shared.at_step(state.step, keys.images_of_step(shared.images_key, state.step))
            return step(state, {"inputs": batch[0], "labels": batch[1], "shared": now})[0], None

        state = init_state(variables, optimizer, jax.random.key(seed))
        return jax.lax.scan(one, state, (inputs, labels))[0]

    return train


def drawn(labels: np.ndarray, classes: int, balanced: bool, seed: int) -> np.ndarray:
    """int [STEPS, BATCH]: rows of each batch, shuffled passes over all of them, or over each class in turn."""
    rng = np.random.default_rng([2, seed])
    pools = [np.flatnonzero(labels == c) for c in range(classes)] if balanced else [np.arange(len(labels))]
    many = -(-STEPS * BATCH // len(pools))
    each = [np.concatenate([rng.permutation(p) for _ in range(-(-many // len(p)))])[:many] for p in pools]
    return np.stack(each, axis=1).reshape(-1)[: STEPS * BATCH].reshape(STEPS, BATCH)


def _trained(name: str) -> Head:
    recipe = METHODS[name]
    method: Method = recipe if recipe.second_stage == "none" else second_stage_method(recipe)
    kind = "attention" if name == "attention_head" else method.head

    def trained(
        features: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, seed: int
    ) -> np.ndarray:
        labels, network = labels.astype(np.int32), HeadOnFeatures(kind, classes)
        variables: dict[str, Any] = {}
        if kind == "attention":
            support = write_support(recipe, features, labels, classes, seed)
            variables["memory"] = {"keys": support.keys, "filled": support.filled}
            given = (features[:1], support.keys, support.filled, False)
            params = ATTENTION.init(jax.random.key(seed), *given)["params"]
        else:
            params = LAST_LAYERS[kind](classes).init(jax.random.key(seed), features[:1])["params"]
        counts, names = np.bincount(labels, minlength=classes), tuple(map(str, range(classes)))
        blank = Dataset(np.zeros((len(labels), 8, 8, 1), np.uint8), labels, np.arange(len(labels)), names)
        balanced = method.composition == "balanced"
        arrays = TASK.class_arrays(method, blank, counts, np.ones(classes) if balanced else counts)
        rows = drawn(labels, classes, balanced, seed)
        train = _program(network, static_part(method))
        state = train({**variables, "params": params}, arrays, features[rows], labels[rows], seed)
        return _applied(network, static_part(method))(state.evaluation_variables, test)

    return trained


@lru_cache
def _applied(network: HeadOnFeatures, method: Method) -> Callable[[Any, np.ndarray], np.ndarray]:
    predict = TASK.predictor(method)
    compiled = jax.jit(lambda v, inputs: predict(network.apply(v, inputs, train=False, rngs={})))
    return lambda variables, test: _by_blocks(lambda block: compiled(variables, block), test)


def _by_blocks(function: Callable[[np.ndarray], Any], test: np.ndarray, size: int = 256) -> np.ndarray:
    """float64 [M, C] of test features in blocks of one shape, so that nothing is compiled again for another draw."""
    padded = np.concatenate([test, np.ones((-len(test) % size, test.shape[1]), test.dtype)])
    found = [np.asarray(function(block), np.float64) for block in np.split(padded, len(padded) // size)]
    return np.concatenate(found)[: len(test)]


HEADS: dict[str, Head] = {
    "linear_probe": _probe(None),
    "weighted_probe": _probe("balanced"),
    "nearest_mean": _nearest_mean,
    "crt": _trained("crt"),
    "logit_adjusted": _trained("logit_adjusted"),
    "ldam_drw": _trained("ldam_drw"),
    "prototype_head": _stored("prototype_head"),
    "memory_head": _stored("memory_head"),
    "attention_head": _trained("attention_head"),
}
"""The first is what the others are compared with."""
