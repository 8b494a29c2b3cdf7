"""The last layer of a network: linear or cosine, from features to logits."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.models.dropout import Dropout

Head = Literal["linear", "cosine"]
Outputs = Literal["logits", "features", "both"]


class LinearHead(nn.Module):
    """z_c = w_c . h + b_c."""

    num_outputs: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """float32 [..., D] -> float32 [..., num_outputs]."""
        kernel_init, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        kernel = self.param("kernel", kernel_init, (features.shape[-1], self.num_outputs), self.param_dtype)
        bias = self.param("bias", zeros, (self.num_outputs,), self.param_dtype)
        return features @ kernel + bias


class CosineHead(nn.Module):
    """z_c = w_c . h / (|w_c| |h|), in [-1, 1]: no class is ahead by the length of its weights.

    Losses multiply it by their scale (LDAM by 30); so does a prediction, or the softmax would be flat.
    Gidaris and Komodakis, CVPR 2018, eq. 4; Cao et al., NeurIPS 2019, section 4.
    """

    num_outputs: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """float32 [..., D] -> float32 [..., num_outputs]."""
        # uniform over [-1, 1] as in the code of Cao et al.; only the direction of a column counts
        uniform = nn.initializers.uniform(2.0)
        kernel = self.param(
            "kernel",
            lambda *args: uniform(*args) - 1,
            (features.shape[-1], self.num_outputs),
            self.param_dtype,
        )
        return _unit(features, -1) @ _unit(kernel, 0)


HEADS = {"linear": LinearHead, "cosine": CosineHead}


def outputs_of(
    head: Callable[[Array], Array],
    features: Array,
    outputs: Outputs,
    dropout: Dropout | None = None,
    train: bool = False,
) -> Array | dict[str, Array]:
    """What a model returns: logits of the features, the features, or a dict of both.

    head: from features to logits. dropout: of what the head is given; None: none.
    """
    if outputs == "features":
        return features
    logits = head(features if dropout is None else dropout(features, train))
    return {"logits": logits, "features": features} if outputs == "both" else logits


def _unit(x: Array, axis: int) -> Array:
    # the epsilon inside the root: the gradient of a norm is NaN at 0
    return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=axis, keepdims=True) + 1e-12)
