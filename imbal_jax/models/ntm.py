"""The Neural Turing Machine: a controller with heads on a memory that it reads and writes by differentiable weights.

Graves, Wayne and Danihelka, Neural Turing Machines, 2014, arXiv 1410.5401.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.models import addressing
from imbal_jax.models.head import LinearHead, Outputs, outputs_of
from imbal_jax.models.lstm import as_sequences, gates_bias, lstm_step

Controller = Literal["lstm", "feed_forward"]
MemoryStart = Literal["learned", "constant"]
WeightingStart = Literal["learned", "one_hot"]

CONSTANT = 1e-6
"""Of every place of a constant memory: Collier and Beel, ICANN 2018, section 4."""
DEVIATION = 0.05
"""Standard deviation of a learned initial memory and of the first vectors read, before training."""


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


class Heads(NamedTuple):
    """How many heads read and write, over how many shifts they move, and how wide the memory is."""

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


class Now(NamedTuple):
    """What enters a step from outside: [B, C or 4 C] added to the controller, [B, sum of ``Heads.sizes``] to what it
    says to its heads. Biases included."""

    driven: Array
    said: Array


def step(params: Mapping[str, Array], heads: Heads, carry: Carry, now: Now) -> tuple[Carry, Array]:
    """One step of the machine; pure.

    params: ``reads`` [R D, C or 4 C] and, of an LSTM, ``hidden`` [C, 4 C], from the last reads and the last hidden
    state to the controller; ``heads`` [C, sum of ``Heads.sizes``], from the controller to its heads.

    All heads find their places in the memory as it was left; the read heads read it so, then the write heads write.
    Returns the new carry, and the features [B, C + R D]: the controller's state and the vectors read.
    """
    before = now.driven + _flat(carry.reads) @ params["reads"]
    hidden, cell = carry.hidden, carry.cell
    if hidden is None or cell is None:
        state = jnp.tanh(before)
    else:
        state, cell = hidden, cell = lstm_step(before + hidden @ params["hidden"], cell)
    said = now.said + state @ params["heads"]
    ends = [sum(heads.sizes[: k + 1]) for k in range(len(heads.sizes) - 1)]
    keys, strengths, gates, shifts, exponents, erase, add = jnp.split(said, ends, axis=-1)

    def of_heads(values: Array, width: int) -> Array:
        return values.reshape(values.shape[0], values.shape[1] // width, width)

    weightings = addressing.by_content(
        jnp.tanh(of_heads(keys, heads.width)), jax.nn.softplus(strengths), carry.memory
    )
    weightings = addressing.interpolate(weightings, carry.weightings, jax.nn.sigmoid(gates))
    weightings = addressing.shift(weightings, jax.nn.softmax(of_heads(shifts, heads.shifts), axis=-1))
    weightings = addressing.sharpen(weightings, 1 + jax.nn.softplus(exponents))
    reads = addressing.read(carry.memory, weightings[:, : heads.read])
    memory = addressing.write(
        carry.memory,
        weightings[:, heads.read :],
        jax.nn.sigmoid(of_heads(erase, heads.width)),
        jnp.tanh(of_heads(add, heads.width)),
    )
    features = jnp.concatenate([state, _flat(reads)], axis=-1)
    return Carry(memory, weightings, reads, hidden, cell), features


def _flat(reads: Array) -> Array:
    """[B, R, D] -> [B, R D]; of a batch of any size, which an exported program knows by a symbol."""
    return reads.reshape(reads.shape[0], reads.shape[1] * reads.shape[2])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def machine(heads: Heads, params: Mapping[str, Array], start: Carry, inputs: Now) -> Array:
    """Features [T, B, C + R D] of all steps; params and one step as in ``step``, inputs [T, B, ...].

    The gradient of a matrix is one product over all steps, sum_t before_t (dL / d after_t)': the scan of the backward
    pass would read and write all of it at each.
    """
    return _features(heads, params, start, inputs)


def _features(heads: Heads, params: Mapping[str, Array], start: Carry, inputs: Now) -> Array:
    return jax.lax.scan(lambda carry, now: step(params, heads, carry, now), start, inputs)[1]


def _forward(
    heads: Heads, params: Mapping[str, Array], start: Carry, inputs: Now
) -> tuple[Array, tuple[Any, ...]]:
    features, pull = jax.vjp(lambda *given: _features(heads, params, *given), start, inputs)
    return features, (features, pull, start, params)


def _backward(heads: Heads, kept: tuple[Any, ...], slopes: Array) -> tuple[dict[str, Array], Carry, Now]:
    features, pull, start, params = kept
    of_start, of_inputs = pull(slopes)
    states, reads = jnp.split(features, [features.shape[-1] - heads.read * heads.width], axis=-1)

    def before(first: Array, values: Array) -> Array:
        return jnp.concatenate([first.reshape(1, *values.shape[1:]), values[:-1]])

    def product(entering: Array, slopes: Array) -> Array:
        return jnp.einsum("tbi,tbo->io", entering, slopes)

    of_params = {
        "reads": product(before(start.reads, reads), of_inputs.driven),
        "heads": product(states, of_inputs.said),
    }
    if "hidden" in params:
        of_params["hidden"] = product(before(start.hidden, states), of_inputs.driven)
    return of_params, of_start, of_inputs


machine.defvjp(_forward, _backward)


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
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, outputs: Outputs = "logits") -> Any:
        """Sequences [B, T, F] (or [B, T, 1, F]) -> float32 logits [B, T, num_outputs].

        ``outputs="features"``: the input of the last layer [B, T, C + R D] instead; "both": a dict of both.
        """
        x = as_sequences(x)
        heads = Heads(self.read_heads, self.write_heads, self.shifts, self.width)
        gates = 4 if self.controller == "lstm" else 1
        glorot, zeros = nn.initializers.glorot_uniform(), nn.initializers.zeros

        def matrix(name: str, rows: int, columns: int) -> Array:
            return self.param(name, glorot, (rows, columns), self.param_dtype)

        inputs = matrix("inputs", x.shape[-1], gates * self.size)
        params = {
            "reads": matrix("reads", self.read_heads * self.width, gates * self.size),
            "heads": matrix("heads", self.size, sum(heads.sizes)),
        }
        if self.controller == "lstm":
            params["hidden"] = matrix("hidden", self.size, gates * self.size)
        bias = self.param("bias", gates_bias if gates == 4 else zeros, (gates * self.size,), self.param_dtype)

        said = self.param("heads_bias", zeros, (sum(heads.sizes),), self.param_dtype)

        # What the inputs add needs no memory: one product for all steps
        driven = jnp.moveaxis(x @ inputs + bias, 1, 0)
        now = Now(driven, jnp.broadcast_to(said, (*driven.shape[:2], len(said))))
        features = jnp.moveaxis(machine(heads, params, self._start(x.shape[0]), now), 0, 1)
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
