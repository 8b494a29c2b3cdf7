"""The network that a method trains: a model of models/ and what the method adds to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from imbal_jax.engine import keys
from imbal_jax.errors import InputError
from imbal_jax.methods import WITH_SUPPORT, Method
from imbal_jax.models.head import HEADS
from imbal_jax.models.own import PlainModel
from imbal_jax.models.projection import ProjectionHead
from imbal_jax.models.support import Distance, SupportAttention, class_log_probabilities, similarity
from imbal_jax.training.support import slots_of

Variables = Mapping[str, Any]

ATTENTION = SupportAttention()


@dataclass(frozen=True)
class Network:
    """A model with what ``method`` trains beside it: a contrastive projection, variables of the loss.

    ``apply`` is a ``step.ApplyFn``: in training (outputs, updated collections), else outputs. Outputs are logits
    [B, C], or, in training, a mapping with ``logits`` and what the loss needs: ``features`` [B, D],
    ``projection`` [B, 128] and ``prototypes`` [C, 128] of unit length, and the variables of the loss under its name.
    """

    model: nn.Module | PlainModel
    method: Method

    def init(self, key: jax.Array, inputs: jax.Array) -> dict[str, Any]:
        """The initial variables; those of the model do not depend on the method."""
        variables = dict(self.model.init(key, inputs, train=False))
        if not variables.get("params"):
            raise InputError("the model has no parameters to train")
        params = dict(variables["params"])
        loss = self.method.loss_row
        if loss.initial_bias is not None and "bias" in params.get("head", {}):
            bias = params["head"]["bias"]
            params["head"] = {**params["head"], "bias": jnp.full_like(bias, loss.initial_bias(len(bias)))}
        if self.method.auxiliary != "none":
            kernel = params["head"]["kernel"]
            params["projection"] = ProjectionHead().init(keys.part_of_network(key, 1), kernel.T)["params"]
            if self.method.auxiliary == "balanced_contrastive":
                params["prototypes"] = ProjectionHead().init(keys.part_of_network(key, 2), kernel.T)["params"]
        if loss.variables is not None:
            logits = jax.eval_shape(lambda: self.model.apply(variables, inputs, train=False))
            params[loss.name] = loss.variables(logits.shape[-1])
        return {**variables, "params": params}

    def apply(
        self, variables: Variables, inputs: jax.Array, *, train: bool, rngs: Mapping[str, jax.Array]
    ) -> Any:
        if not train:
            return self.model.apply(variables, inputs, train=False)
        outputs, updates = self.model.apply(
            variables,
            inputs,
            train=True,
            rngs=dict(rngs),
            mutable=[name for name in variables if name != "params"],
            outputs="both",
        )
        return self._with_parts(variables, outputs), updates

    def judged(self, variables: Variables, inputs: jax.Array) -> dict[str, Any]:
        """What a loss is given in training, in evaluation mode: no dropout, running averages as they are."""
        outputs: Any = self.model.apply(variables, inputs, train=False, outputs="both")
        return self._with_parts(variables, dict(outputs))

    def _with_parts(self, variables: Variables, outputs: dict[str, Any]) -> dict[str, Any]:
        params = variables["params"]
        if self.method.auxiliary != "none":
            outputs["projection"] = ProjectionHead().apply(
                {"params": params["projection"]}, outputs["features"]
            )
        if self.method.auxiliary == "balanced_contrastive":
            rows = params["head"]["kernel"].T
            outputs["prototypes"] = ProjectionHead().apply({"params": params["prototypes"]}, rows)
        loss = self.method.loss_row
        if loss.variables is not None:
            outputs[loss.name] = params[loss.name]
        return outputs

    def features(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """The features [B, D] in evaluation mode."""
        features: Any = self.model.apply(variables, inputs, train=False, outputs="features")
        return features


@dataclass(frozen=True)
class SecondStageNetwork:
    """Frozen features under what is trained or stored: a head, a factor for each class, both, or a support.

    ``variables``: ``params`` has the ``head``, the ``scale`` [C], or both; ``frozen`` the whole first stage, and its
    other collections beside it. Of a head with a support, ``memory`` has its ``keys`` [C, M, D] and ``filled`` [C]
    (``models.support``), and ``params`` the ``strength`` or the ``attention``. kind: as ``Method.second_stage``.
    slots: M. distance: as ``Method.memory_distance``.
    """

    network: Network
    kind: str
    slots: int = 0
    distance: Distance = "cosine"

    @staticmethod
    def of(network: Network, method: Method) -> "SecondStageNetwork":
        """That of ``method``; methods whose second stage is the same share it."""
        kind = method.second_stage
        if kind not in WITH_SUPPORT:
            return SecondStageNetwork(network, kind)
        distance = "cosine" if kind == "attention_head" else method.memory_distance
        return SecondStageNetwork(network, kind, slots_of(method), distance)

    def init(self, key: jax.Array, trained: Variables) -> dict[str, Any]:
        """The variables at the start, on those that the first stage left: a new head, factors of 1, its own head and
        factors of 1, or an empty support."""
        frozen = {**trained, "frozen": trained["params"]}
        classes = trained["params"]["head"]["kernel"].shape[1]
        scale = {"scale": jnp.ones(classes)}
        if self.kind == "scale":
            return {**frozen, "params": scale}
        if self.kind == "head_and_scale":
            # copies: a train step that donates its state must not be given one buffer twice
            head = jax.tree.map(lambda p: jnp.array(p, copy=True), trained["params"]["head"])
            return {**frozen, "params": {"head": head, **scale}}
        width = trained["params"]["head"]["kernel"].shape[0]
        if self.kind in WITH_SUPPORT:
            keys, filled = jnp.zeros((classes, self.slots, width)), jnp.zeros(classes, jnp.int32)
            params = {"strength": jnp.ones(())}
            if self.kind == "attention_head":
                query = jnp.zeros((1, width))
                params = {"attention": ATTENTION.init(key, query, keys, filled, train=False)["params"]}
            return {**frozen, "params": params, "memory": {"keys": keys, "filled": filled}}
        return {**frozen, "params": {"head": self._head(classes).init(key, jnp.zeros((1, width)))["params"]}}

    def apply(
        self, variables: Variables, inputs: jax.Array, *, train: bool, rngs: Mapping[str, jax.Array]
    ) -> Any:
        """Logits [B, C]; of features [B, D], or of images through the frozen layers in evaluation mode."""
        frozen = variables["frozen"]
        if inputs.ndim == 2:
            features = inputs
        else:
            others = {k: v for k, v in variables.items() if k not in ("params", "frozen", "memory")}
            features = self.network.features({**others, "params": frozen}, inputs)
        features = jax.lax.stop_gradient(features)
        params = variables["params"]
        if self.kind in WITH_SUPPORT:
            return self._compared(params, variables["memory"], features, train=train)
        head = self._head(frozen["head"]["kernel"].shape[1])
        kept = params["head"] if "head" in params else jax.lax.stop_gradient(frozen["head"])
        logits = head.apply({"params": kept}, features)
        return params["scale"] * logits if "scale" in params else logits

    def _compared(
        self, params: Variables, memory: Variables, features: jax.Array, *, train: bool
    ) -> jax.Array:
        """Log probabilities [B, C] of features [B, D], by their similarity to what the memory holds."""
        keys, filled = memory["keys"], memory["filled"]
        if self.kind == "attention_head":
            logs: Any = ATTENTION.apply({"params": params["attention"]}, features, keys, filled, train=train)
            return logs
        scores = params["strength"] * similarity(features, keys, self.distance)
        return class_log_probabilities(scores, filled)

    def judged(self, variables: Variables, inputs: jax.Array) -> dict[str, Any]:
        """What a loss is given in training."""
        return {"logits": self.apply(variables, inputs, train=False, rngs={})}

    def _head(self, classes: int) -> nn.Module:
        return HEADS[getattr(self.network.model, "head", "linear")](classes)
