"""Long short-term memory: stacked layers over a sequence, the usual comparison of networks with a memory.

Hochreiter and Schmidhuber, Long short-term memory, Neural Computation 1997; with forget gates, Gers, Schmidhuber
and Cummins, Neural Computation 2000.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.errors import InputError
from imbal_jax.models.head import LinearHead, Outputs, outputs_of
from imbal_jax.models.recurrence import Affine, recurrence


def lstm_step(gates: Array, cell: Array, remember: float = 0.0) -> tuple[Array, Array]:
    """c = s(f + remember) c + s(i) tanh(g), h = s(o) tanh(c), s the logistic function.

    gates: [B, 4 C], i, f, g and o before their functions. cell: c [B, C] of the step before. remember: 1 lets
    gradients pass through a fresh network whose biases are 0 (Jozefowicz et al., ICML 2015). Returns h and c.
    """
    entering, kept, candidate, shown = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(kept + remember) * cell + jax.nn.sigmoid(entering) * jnp.tanh(candidate)
    return jax.nn.sigmoid(shown) * jnp.tanh(cell), cell


def lstm_cell(
    affine: Affine, carry: tuple[Array, Array], remember: float = 0.0
) -> tuple[tuple[Array, Array], Array]:
    """A step for ``recurrence``, whose weight "controller" is U [C, 4 C], from the last state to the gates.

    The carry is (h, c); the result is h.
    """
    hidden, cell = lstm_step(affine("controller", carry[0]), carry[1], remember)
    return (hidden, cell), hidden


def gates_bias(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Zeros, and ones for the forget gates, so that a fresh network remembers (Jozefowicz et al., ICML 2015)."""
    size = shape[0] // 4
    return jnp.zeros(shape, dtype).at[size : 2 * size].set(1)


def as_sequences(x: Array) -> Array:
    """float32 [B, T, F] of sequences [B, T, F], or of pictures [B, T, 1, F] one pixel wide; else InputError."""
    if x.ndim == 4 and x.shape[2] == 1:
        x = x[:, :, 0]
    if x.ndim != 3:
        raise InputError(
            f"input of shape {list(x.shape)} of a recurrent network: expected sequences [B, steps, features]; "
            "--data.source sequences makes such"
        )
    return jnp.asarray(x, jnp.float32)


class LSTM(nn.Module):
    """Sequences [B, T, F] -> logits [B, T, num_outputs]: layers of LSTM, and a linear layer on the last one.

    Attributes:
      num_outputs: logits a step.
      size: units of a layer.
      layers: how many, each on the states of the one before.
      param_dtype: of the parameters.
    """

    num_outputs: int
    size: int = 256
    layers: int = 3
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Sequences [B, T, F] (or [B, T, 1, F]) -> float32 logits [B, T, num_outputs].

        ``outputs="features"``: the states of the last layer [B, T, size] instead; "both": a dict of both.
        """
        states = jnp.moveaxis(as_sequences(x), 1, 0)
        for layer in range(self.layers):
            states = self._layer(states, f"layer{layer}")
        features = jnp.moveaxis(states, 0, 1)
        return outputs_of(LinearHead(self.num_outputs, name="head"), features, outputs)

    def _layer(self, x: Array, name: str) -> Array:
        """[T, B, F] -> states [T, B, size]."""
        glorot, size = nn.initializers.glorot_uniform(), self.size
        inputs = self.param(f"{name}_inputs", glorot, (x.shape[-1], 4 * size), self.param_dtype)
        hidden = self.param(f"{name}_hidden", glorot, (size, 4 * size), self.param_dtype)
        bias = self.param(f"{name}_bias", gates_bias, (4 * size,), self.param_dtype)
        driven = x @ inputs + bias
        zeros = jnp.zeros((driven.shape[1], size), driven.dtype)
        return recurrence(lstm_cell, {"controller": hidden}, {"controller": driven}, (zeros, zeros))[1]
