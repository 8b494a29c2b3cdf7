"""The heads of the few-shot study, on cached features: each gives probabilities [M, C] of test features [M, D]."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from imbal_jax.config import Config, Optim, Train
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.feeding.pipeline import Resident
from imbal_jax.data.feeding.plans import draw
from imbal_jax.engine import keys
from imbal_jax.engine.parallel import make_mesh
from imbal_jax.engine.state import init_state
from imbal_jax.methods import METHODS, Method, static_part
from imbal_jax.models.head import HEADS as LAST_LAYERS
from imbal_jax.models.support import SupportAttention, class_log_probabilities, similarity
from imbal_jax.tasks.one_label import OneLabel
from imbal_jax.training.composition import compose, second_stage_method
from imbal_jax.training.optimizer import NO_CHANGE
from imbal_jax.training.program import Program
from imbal_jax.training.second_stage import nearest_mean
from imbal_jax.training.stage import Source, feed
from imbal_jax.training.support import write_support

STEPS, BATCH = 400, 64
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


def _stored(name: str) -> Head:
    method = METHODS[name]

    def compared(
        features: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, seed: int
    ) -> np.ndarray:
        support = write_support(method, features, labels, classes, seed)
        scores = support.strength * similarity(test, support.keys, method.memory_distance)
        return np.exp(np.asarray(class_log_probabilities(scores, support.filled), np.float64))

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


@dataclass(frozen=True)
class FeatureBatches:
    """Batches of features as a plan draws them, under the schedule of the method."""

    def from_device(self, resident: Resident, step: jax.Array, shard: jax.Array | None) -> dict[str, Any]:
        items = draw(resident.plans, step, shard).items
        shared = resident.shared.at_step(step, keys.images_of_step(resident.shared.images_key, step))
        return {"inputs": resident.images[items], "labels": resident.labels[items], "shared": shared}


def _trained(name: str) -> Head:
    recipe = METHODS[name]
    method: Method = recipe if recipe.second_stage == "none" else second_stage_method(recipe)
    kind = "attention" if name == "attention_head" else method.head

    def trained(
        features: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, seed: int
    ) -> np.ndarray:
        mesh, config = make_mesh(1), Config(name="head", seed=seed, train=Train(batch_size=BATCH, devices=1))
        blank = Dataset(
            np.zeros((len(labels), 8, 8, 1), np.uint8), labels.astype(np.int32), np.arange(len(labels)),
            tuple(map(str, range(classes))),
        )  # fmt: skip
        plans, shared = compose(config, method, TASK, blank, 1, STEPS)
        head = HeadOnFeatures(kind, classes)
        variables: dict[str, Any] = {}
        if kind == "attention":
            support = write_support(recipe, features, labels, classes, seed)
            variables["memory"] = {"keys": support.keys, "filled": support.filled}
            module = ATTENTION.init(
                jax.random.key(seed), features[:1], support.keys, support.filled, train=False
            )
        else:
            module = LAST_LAYERS[kind](classes).init(jax.random.key(seed), features[:1])
        program = Program(
            network=head,
            task=TASK,
            method=static_part(method),
            optim=OPTIM,
            total_steps=STEPS,
            rate_change=NO_CHANGE,
            uncertain="ignore",
            pipeline=FeatureBatches(),
            mesh=mesh,
            backend="jit",
        )
        state = init_state({**variables, "params": module["params"]}, program.optimizer(), keys.run(seed))
        source = Source(features, labels.astype(np.int32), plans, shared, {"resident": np.zeros(1)})
        state, _, _ = feed(config, program, source)(state, STEPS)
        outputs = head.apply(state.evaluation_variables, jnp.asarray(test), train=False, rngs={})
        return np.asarray(TASK.predictor(method)(outputs), np.float64)

    return trained


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
