"""The Neural Turing Machine: a controller with heads on a memory that it reads and writes by differentiable weights.

Graves, Wayne and Danihelka, Neural Turing Machines, 2014, arXiv 1410.5401.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.models import addressing
from imbal_jax.models.head import LinearHead, Outputs, outputs_of
from imbal_jax.models.lstm import as_sequences, gates_bias, lstm_step
from imbal_jax.models.recurrence import Affine, recurrence

Controller = Literal["lstm", "feed_forward"]
MemoryStart = Literal["learned", "constant"]
WeightingStart = Literal["learned", "one_hot"]
HeadStart = Literal["neutral", "content"]

CONSTANT = 1e-6
"""Of every place of a constant memory: Collier and Beel, ICANN 2018, section 4."""
DEVIATION = 0.05
"""Standard deviation of a learned initial memory and of the first vectors read, before training."""
CONTENT_STRENGTH, CONTENT_GATE, CONTENT_STAY = 8.0, 1.0, 2.0
"""Biases of heads that start out to find their place by content: of the strength before its softplus, of the gate
before its sigmoid, of no shift before the softmax."""


class Carry(NamedTuple):
    """What the machine keeps from step to step.

    memory: [B, N, D]. weightings: [B, R + W, N], of the read heads, then of the write heads. reads: [B, R, D], what
    the read heads gave last. hidden, cell: of an LSTM controller [B, C]; of a feed-forward one None.
    """

    memory: Array
    weightings: Array
    reads: Array
    hidden: Array | None = None
    cell: Array | None = None


@dataclass(frozen=True)
class NTMCell:
    """A step of the machine for ``recurrence``; pure.

    ``affine`` knows two weights: "controller" [R D + C, 4 C] of an LSTM, [R D, C] of a feed-forward controller, from
    the last reads and the last hidden state, its offsets what the inputs add; and "heads" [C, sum of ``sizes``], from
    the controller to its heads.

    Attributes:
      read, write: how many heads read and write.
      shifts: over how many places, itself included, a head may move.
      width: of the memory.
    """

    read: int
    write: int
    shifts: int
    width: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Outputs of the controller for keys, strengths, gates, shifts, exponents, erase and add vectors."""
        heads = self.read + self.write
        written = self.write * self.width
        return (heads * self.width, heads, heads, heads * self.shifts, heads, written, written)

    def content_bias(self, key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """The biases of "heads" with which they begin by content; of keys, exponents and what is written zeros."""
        heads = self.read + self.write
        stay = jnp.zeros((heads, self.shifts)).at[:, self.shifts // 2].set(CONTENT_STAY)
        told = [jnp.zeros(size) for size in self.sizes]
        told[1:4] = jnp.full(heads, CONTENT_STRENGTH), jnp.full(heads, CONTENT_GATE), stay.reshape(-1)
        return jnp.concatenate(told, dtype=dtype)

    def __call__(self, affine: Affine, carry: Carry) -> tuple[Carry, Array]:
        """The new carry, and the features [B, C + R D]: the controller's state and the vectors read.

        All heads find their places in the memory as it was left; the read heads read it so, then the write heads
        write.
        """
        hidden, cell = carry.hidden, carry.cell
        if hidden is None or cell is None:
            state = jnp.tanh(affine("controller", _flat(carry.reads)))
        else:
            gates = affine("controller", jnp.concatenate([_flat(carry.reads), hidden], axis=-1))
            state, cell = hidden, cell = lstm_step(gates, cell)
        said = affine("heads", state)
        ends = [sum(self.sizes[: k + 1]) for k in range(len(self.sizes) - 1)]
        keys, strengths, gates, shifts, exponents, erase, add = jnp.split(said, ends, axis=-1)

        def of_heads(values: Array, width: int) -> Array:
            return values.reshape(values.shape[0], values.shape[1] // width, width)

        weightings = addressing.by_content(
            jnp.tanh(of_heads(keys, self.width)), jax.nn.softplus(strengths), carry.memory
        )
        weightings = addressing.interpolate(weightings, carry.weightings, jax.nn.sigmoid(gates))
        weightings = addressing.shift(weightings, jax.nn.softmax(of_heads(shifts, self.shifts), axis=-1))
        weightings = addressing.sharpen(weightings, 1 + jax.nn.softplus(exponents))
        reads = addressing.read(carry.memory, weightings[:, : self.read])
        memory = addressing.write(
            carry.memory,
            weightings[:, self.read :],
            jax.nn.sigmoid(of_heads(erase, self.width)),
            jnp.tanh(of_heads(add, self.width)),
        )
        features = jnp.concatenate([state, _flat(reads)], axis=-1)
        return Carry(memory, weightings, reads, hidden, cell), features


def _flat(reads: Array) -> Array:
    """[B, R, D] -> [B, R D]; of a batch of any size, which an exported program knows by a symbol."""
    return reads.reshape(reads.shape[0], reads.shape[1] * reads.shape[2])


class NTM(nn.Module):
    """Sequences [B, T, F] -> logits [B, T, num_outputs], a linear layer on controller state and vectors read.

    Attributes:
      num_outputs: logits a step.
      controller: "feed_forward", one layer of tanh, or "lstm".
      size: units of the controller.
      places, width: of the memory, N and D.
      read_heads, write_heads: how many.
      shifts: over which a head may move, to -(shifts - 1)/2 .. (shifts - 1)/2 places; odd.
      memory: at the start of a sequence "learned", drawn from a normal distribution of deviation 0.05, or "constant",
        1e-6 everywhere.
      weighting: at the start of a sequence "learned", the softmax of standard normal logits, or "one_hot", all of it
        on the first place. One of both has to break the symmetry of the places: with a constant memory and equal
        weights they would stay interchangeable.
      heads_start: before training "neutral", all biases zero: at a strength of 0.7 every place is found nearly alike
        by content; or "content": a strength of 8 with which a key can single out a place, a gate of 0.73 and a share
        of 0.79 of no shift.
      readout: tanh units of a layer between state and vectors read and the linear one; 0, as in the paper, is none.
      param_dtype: of the parameters.
    """

    num_outputs: int
    controller: Controller = "feed_forward"
    size: int = 100
    places: int = 128
    width: int = 20
    read_heads: int = 1
    write_heads: int = 1
    shifts: int = 3
    memory: MemoryStart = "learned"
    weighting: WeightingStart = "learned"
    heads_start: HeadStart = "neutral"
    readout: int = 0
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Sequences [B, T, F] (or [B, T, 1, F]) -> float32 logits [B, T, num_outputs].

        ``outputs="features"``: the input of the last layer [B, T, C + R D], or [B, T, readout], instead; "both": a
        dict of both.
        """
        x = as_sequences(x)
        cell = NTMCell(self.read_heads, self.write_heads, self.shifts, self.width)
        gates = 4 if self.controller == "lstm" else 1
        glorot, zeros = nn.initializers.glorot_uniform(), nn.initializers.zeros

        def matrix(name: str, rows: int, columns: int) -> Array:
            return self.param(name, glorot, (rows, columns), self.param_dtype)

        inputs = matrix("inputs", x.shape[-1], gates * self.size)
        recurrent = matrix("reads", self.read_heads * self.width, gates * self.size)
        of_heads = matrix("heads", self.size, sum(cell.sizes))
        if self.controller == "lstm":
            hidden = matrix("hidden", self.size, gates * self.size)
            recurrent = jnp.concatenate([recurrent, hidden])
        bias = self.param("bias", gates_bias if gates == 4 else zeros, (gates * self.size,), self.param_dtype)
        start = cell.content_bias if self.heads_start == "content" else zeros
        said = self.param("heads_bias", start, (sum(cell.sizes),), self.param_dtype)

        # What the inputs add needs no memory: one product for all steps
        driven = jnp.moveaxis(x @ inputs + bias, 1, 0)
        offsets = {
            "controller": driven,
            "heads": jnp.broadcast_to(said, (*driven.shape[:2], len(said))),
        }
        weights = {"controller": recurrent, "heads": of_heads}
        _, features = recurrence(cell, weights, offsets, self._start(x.shape[0]))
        features = jnp.moveaxis(features, 0, 1)
        if self.readout:
            layer = nn.Dense(self.readout, kernel_init=glorot, param_dtype=self.param_dtype, name="readout")
            features = jnp.tanh(layer(features))
        return outputs_of(LinearHead(self.num_outputs, name="head"), features, outputs)

    def _start(self, batch: int) -> Carry:
        """The carry before the first step, the same for every sequence."""
        heads = self.read_heads + self.write_heads
        normal = nn.initializers.normal
        if self.memory == "learned":
            memory = self.param(
                "first_memory", normal(DEVIATION), (self.places, self.width), self.param_dtype
            )
        else:
            memory = jnp.full((self.places, self.width), CONSTANT)
        if self.weighting == "learned":
            logits = self.param("first_weightings", normal(1.0), (heads, self.places), self.param_dtype)
            weightings = jax.nn.softmax(logits, axis=-1)
        else:
            weightings = jax.nn.one_hot(jnp.zeros(heads, jnp.int32), self.places)
        reads = self.param("first_reads", normal(DEVIATION), (self.read_heads, self.width), self.param_dtype)
        hidden = jnp.zeros((batch, self.size)) if self.controller == "lstm" else None

        def each(value: Array) -> Array:
            return jnp.broadcast_to(value, (batch, *value.shape))

        return Carry(each(memory), each(weightings), each(reads), hidden, hidden)
