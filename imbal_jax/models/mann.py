"""Memory-augmented neural network (MANN): a controller with a memory that it writes to the least used slots of."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.errors import InputError
from imbal_jax.models.dropout import Dropout
from imbal_jax.models.episode_controller import (
    GATES,
    REMEMBER,
    Controller,
    ControllerInput,
    EpisodeSteps,
    per_gate_glorot,
    placed_as,
)
from imbal_jax.models.episode_encoder import Encoder
from imbal_jax.models.episode_inputs import Episodes
from imbal_jax.models.head import LinearHead, Outputs, outputs_of
from imbal_jax.models.least_used import Erase, Heads, LeastUsedAccess, Memory, Target, Write
from imbal_jax.models.lstm import lstm_step
from imbal_jax.models.normalization import Norm
from imbal_jax.models.recurrence import Affine, recurrence

MemoryInit = Literal["constant", "learned"]
WeightInit = Literal["one_hot", "uniform", "learned"]
EMPTY = 1e-6
"""Of each number of a memory that starts constant: not 0, where a cosine has no direction."""
STRENGTH = 9.0
"""Added before the softplus: a strength is about 10 at the start."""


class MANN(nn.Module):
    """Controller, memory with least recently used access, linear layer on (h_t, r_t).

    Santoro et al., ICML 2016. The controller reads (x_t, y_{t-1}, r_{t-1}), the memory starts anew in each episode.
    Equations of the memory: ``least_used.LeastUsedAccess``. The paper's own is ``write="key"``, ``target="shared"``,
    ``erase="all"`` and no ``key_strength``; without a strength no slot can get more than e^2 / (e^2 + slots - 1) of a
    read (5 % of 128), and learning starts late.

    Attributes:
      num_outputs: logits per picture.
      controller: "lstm", or "feed_forward", one tanh layer.
      hidden: units of the controller.
      slots: rows of the memory.
      width: numbers in a slot.
      reads: heads; each reads and writes.
      key_strength: whether a head says how sharply it reads, beta = 1 + softplus(w . h + b), about 10 at the start.
      usage_decay: of the usage of slots from one step to the next, from 0 to 1.
      write: "add", each head writes a vector of its own; "key", it writes its key.
      erase: before writing, the "single" least used slot, or "all" ``reads`` least used ones.
      target: a head writes to its "own" least used slot, or all to all of them ("shared").
      memory_init: "constant" 1e-6, or "learned".
      weight_init: of the read weights: "one_hot" at slot 0, "uniform", or "learned".
      encoder: "pixels" as in the paper, "conv" or "resnet" (``episode_encoder``).
      encoder_width: channels of the encoder.
      label_digits: 0 shows a label as one-hot; else as this many one-hots (``episode_inputs.encoded_labels``).
      digit_base: width of each of them.
      norm: of the encoder, "group" or "batch"; pixels have none.
      axis_name: mesh axis over which BatchNorm averages in training; GroupNorm needs none.
      dropout: rate on the features before the head; by place in the batch (``models.dropout``).
      dtype: computation dtype of the encoder; the rest is float32, as are the parameters (``param_dtype``).
    """

    num_outputs: int
    controller: Controller = "lstm"
    hidden: int = 200
    slots: int = 128
    width: int = 40
    reads: int = 4
    key_strength: bool = False
    usage_decay: float = 0.95
    write: Write = "add"
    erase: Erase = "single"
    target: Target = "own"
    memory_init: MemoryInit = "constant"
    weight_init: WeightInit = "one_hot"
    encoder: Encoder = "pixels"
    encoder_width: int = 64
    label_digits: int = 0
    digit_base: int = 5
    norm: Norm = "group"
    axis_name: str | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Episodes, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Episodes of T pictures -> float32 logits [B, T, num_outputs].

        ``outputs="features"``: (h_t, r_t), the input of the last layer [B, T, hidden + reads * width] instead;
        "both": a dict of ``logits`` and ``features``. Raises InputError for a memory with fewer slots than heads.
        """
        if self.slots < self.reads:
            raise InputError(
                f"{self.slots} slots for {self.reads} reads of a MANN: each head has a least used slot of its own, "
                f"so give {self.reads} slots or more"
            )
        x = EpisodeSteps.of(self)(inputs, train)
        steps, batch, _ = x.shape
        cell = MANNCell(
            self.controller,
            self.reads,
            self.width,
            self.write == "add",
            self.key_strength,
            LeastUsedAccess(self.usage_decay, self.write, self.erase, self.target),
        )
        units, recurrent = GATES[self.controller] * self.hidden, self.reads * self.width
        recurrent += self.hidden if self.controller == "lstm" else 0
        inner, heads_init = per_gate_glorot(self.hidden), nn.initializers.lecun_normal()
        kernels = {
            "controller": self.param("controller_kernel", inner, (recurrent, units), self.param_dtype),
            "heads": self.param("heads_kernel", heads_init, (self.hidden, cell.outputs), self.param_dtype),
        }
        bias = self.param("heads_bias", nn.initializers.zeros, (cell.outputs,), self.param_dtype)
        offsets = {
            "controller": ControllerInput(units, self.hidden, self.param_dtype, name="controller_input")(x),
            "heads": jnp.broadcast_to(bias, (steps, batch, cell.outputs)),
        }
        zeros = jnp.zeros((batch, self.hidden))
        start = CellState(zeros, zeros, jnp.zeros((batch, self.reads, self.width)), self._memory(batch))
        start = jax.tree.map(lambda value: placed_as(value, offsets["controller"]), start)
        _, (hidden, found) = recurrence(cell, kernels, offsets, start)
        found = found.reshape(steps, batch, -1)
        features = jnp.swapaxes(jnp.concatenate([hidden, found], axis=-1), 0, 1)
        head = LinearHead(self.num_outputs, param_dtype=self.param_dtype, name="head")
        return outputs_of(head, features, outputs, Dropout(self.dropout, self.axis_name), train)

    def _memory(self, batch: int) -> Memory:
        """The memory at the start of an episode, the same for all."""
        content = jnp.full((self.width, self.slots), EMPTY)
        if self.memory_init == "learned":
            content = self.param(
                "memory", nn.initializers.normal(0.05), (self.width, self.slots), self.param_dtype
            )
        weights = jnp.full((self.reads, self.slots), 1.0 / self.slots)
        if self.weight_init == "one_hot":
            weights = jnp.zeros((self.reads, self.slots)).at[:, 0].set(1.0)
        elif self.weight_init == "learned":
            logits = self.param(
                "read_weights", nn.initializers.normal(1.0), (self.reads, self.slots), self.param_dtype
            )
            weights = jax.nn.softmax(logits, axis=-1)
        parts = Memory(content, weights, jax.lax.stop_gradient(weights.mean(0)))
        return jax.tree.map(lambda part: jnp.broadcast_to(part, (batch, *part.shape)), parts)


class CellState(NamedTuple):
    """hidden, cell: [B, H], of the controller. read: [B, R, M], what the step before read."""

    hidden: Array
    cell: Array
    read: Array
    memory: Memory


@dataclass(frozen=True)
class MANNCell:
    """A step of MANN for ``recurrence``: controller, heads, memory.

    Attributes:
      controller: "lstm" or "feed_forward".
      reads, width: R heads, and M numbers in a slot.
      adds: whether heads have a vector to add beside the key.
      strengths: whether they say how sharply they read.
      access: what the memory does with it.
    """

    controller: Controller
    reads: int
    width: int
    adds: bool
    strengths: bool
    access: LeastUsedAccess

    @property
    def outputs(self) -> int:
        """Numbers that the heads take from the controller."""
        return self.reads * (self.width * (2 if self.adds else 1) + 1 + self.strengths)

    def __call__(self, affine: Affine, state: CellState) -> tuple[CellState, tuple[Array, Array]]:
        """The next state, and the hidden units [B, H] and what was read [B, R, M]."""
        read = state.read.reshape(len(state.read), -1)
        if self.controller == "lstm":
            gates = affine("controller", jnp.concatenate([read, state.hidden], axis=-1))
            hidden, cell = lstm_step(gates, state.cell, REMEMBER)
        else:
            hidden, cell = jnp.tanh(affine("controller", read)), state.cell
        memory, read = self.access(state.memory, self._heads(affine("heads", hidden)))
        return CellState(hidden, cell, read, memory), (hidden, read)

    def _heads(self, values: Array) -> Heads:
        """Keys, vectors to add, gates and strengths from the numbers for them, [B, outputs], in this order."""
        vectors = (2 if self.adds else 1) * self.reads
        shape = (len(values), vectors, self.width)
        keys_and_adds = jnp.tanh(values[:, : vectors * self.width].reshape(shape))
        keys, adds = keys_and_adds[:, : self.reads], keys_and_adds[:, -self.reads :]
        rest = values[:, vectors * self.width :]
        gates = jax.nn.sigmoid(rest[:, : self.reads])
        strengths = 1.0 + jax.nn.softplus(rest[:, self.reads :] + STRENGTH) if self.strengths else None
        return Heads(keys, adds, gates, strengths)
