"""The network that a method trains: a model of models/ and what the method adds to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from imbal_jax.methods import Method
from imbal_jax.minimax import auc_margin_variables
from imbal_jax.models.head import HEADS
from imbal_jax.models.projection import ProjectionHead

Variables = Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """A linen model with a contrastive projection or the AUC margin's variables beside it, where ``method`` asks.

    ``apply`` is a ``step.ApplyFn``: in training (outputs, updated collections), else outputs. Outputs are logits
    [B, C], or, in training, a mapping with ``logits`` and what the loss needs: ``features`` [B, D],
    ``projection`` [B, 128] and ``prototypes`` [C, 128] of unit length, ``auc_margin``.
    """

    model: nn.Module
    method: Method

    def init(self, key: jax.Array, inputs: jax.Array) -> dict[str, Any]:
        """The initial variables; those of the model do not depend on the method."""
        variables = dict(self.model.init(key, inputs, train=False))
        params = dict(variables["params"])
        if self.method.auxiliary != "none":
            kernel = params["head"]["kernel"]
            params["projection"] = ProjectionHead().init(jax.random.fold_in(key, 1), kernel.T)["params"]
            if self.method.auxiliary == "balanced_contrastive":
                params["prototypes"] = ProjectionHead().init(jax.random.fold_in(key, 2), kernel.T)["params"]
        if self.method.loss == "auc_margin":
            classes = params["head"]["kernel"].shape[1]
            params["auc_margin"] = auc_margin_variables(1 if classes == 2 else classes)
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
            rngs=rngs,
            mutable=[name for name in variables if name != "params"],
            outputs="both",
        )
        params = variables["params"]
        if self.method.auxiliary != "none":
            outputs["projection"] = ProjectionHead().apply(
                {"params": params["projection"]}, outputs["features"]
            )
        if self.method.auxiliary == "balanced_contrastive":
            rows = params["head"]["kernel"].T
            outputs["prototypes"] = ProjectionHead().apply({"params": params["prototypes"]}, rows)
        if self.method.loss == "auc_margin":
            outputs["auc_margin"] = params["auc_margin"]
        return outputs, updates

    def features(self, variables: Variables, inputs: jax.Array) -> jax.Array:
        """The features [B, D] in evaluation mode."""
        return self.model.apply(variables, inputs, train=False, outputs="features")


@dataclass(frozen=True)
class SecondStageNetwork:
    """Frozen features under a head, or a factor for each class, that is trained.

    ``variables``: ``params`` has the head or the ``scale`` [C]; ``frozen`` the whole first stage, and its other
    collections beside it. kind: as ``Method.second_stage``.
    """

    network: Network
    kind: str

    def init(self, key: jax.Array, trained: Variables) -> dict[str, Any]:
        """The variables at the start, on those that the first stage left: a new head, or factors of 1."""
        frozen = {**trained, "frozen": trained["params"]}
        classes = trained["params"]["head"]["kernel"].shape[1]
        if self.kind == "scale":
            return {**frozen, "params": {"scale": jnp.ones(classes)}}
        width = trained["params"]["head"]["kernel"].shape[0]
        return {**frozen, "params": {"head": self._head(classes).init(key, jnp.zeros((1, width)))["params"]}}

    def apply(
        self, variables: Variables, inputs: jax.Array, *, train: bool, rngs: Mapping[str, jax.Array]
    ) -> jax.Array:
        """Logits [B, C]; of features [B, D], or of images through the frozen layers in evaluation mode."""
        frozen = variables["frozen"]
        if inputs.ndim == 2:
            features = inputs
        else:
            others = {k: v for k, v in variables.items() if k not in ("params", "frozen")}
            features = self.network.features({**others, "params": frozen}, inputs)
        features = jax.lax.stop_gradient(features)
        params = variables["params"]
        head = self._head(frozen["head"]["kernel"].shape[1])
        if self.kind == "scale":
            return params["scale"] * head.apply({"params": jax.lax.stop_gradient(frozen["head"])}, features)
        return head.apply({"params": params["head"]}, features)

    def _head(self, classes: int) -> nn.Module:
        return HEADS[self.network.model.head](classes)
