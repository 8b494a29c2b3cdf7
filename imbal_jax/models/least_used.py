"""The memory of MANN: read by content, written to where it was just read or to the least used slots (LRUA)."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from imbal_jax.models.recurrence import kept

Write = Literal["add", "key"]
Erase = Literal["single", "all"]
Target = Literal["own", "shared"]


class Memory(NamedTuple):
    """The state of B memories of N slots of M numbers each, with R heads.

    content: [B, M, N], one column a slot: sums over M then run along contiguous slots. read_weights: [B, R, N], of
    the last step. usage: [B, N], decayed sum of all read and write weights.
    """

    content: Array
    read_weights: Array
    usage: Array


class Heads(NamedTuple):
    """What a controller says to the memory in one step.

    keys, adds: [B, R, M]. gates: [B, R], in (0, 1): the share of a write that goes to where the head last read.
    strengths: [B, R], factors of the cosine; None is 1.
    """

    keys: Array
    adds: Array
    gates: Array
    strengths: Array | None = None


@dataclass(frozen=True)
class LeastUsedAccess:
    """Least recently used access (Santoro et al., ICML 2016, eqs. 2-8; in each step write, then read).

        w_lu(r) = one-hot of the r-th least used slot             of the usage after the last step
        w_w(r)  = g(r) w_r(r) + (1 - g(r)) w_lu(r)                w_r of the last step
        M(i)    = M(i) [1 - erased(i)] + sum_r w_w(r, i) a(r)
        w_r(r)  = softmax_i(beta(r) cos(k(r), M(i)))
        w_u     = decay w_u + sum_r w_r(r) + sum_r w_w(r)
        read(r) = sum_i w_r(r, i) M(i)

    No gradient flows through usage and the choice of slots.

    Attributes:
      usage_decay: of w_u, from 0 to 1.
      write: "add", a vector a(r) of its own; "key", a(r) = k(r), as the paper's equation has it.
      erase: before the write, the "single" least used slot, or "all" R least used ones.
      target: each head writes to its "own" of the R least used slots, or all write to all R ("shared"), which is
        how the paper's equation reads.
    """

    usage_decay: float = 0.95
    write: Write = "add"
    erase: Erase = "single"
    target: Target = "own"

    def __call__(self, memory: Memory, heads: Heads) -> tuple[Memory, Array]:
        """The memory after one step, and what was read, [B, R, M]."""
        free = least_used(memory.usage, heads.gates.shape[1])
        erased = free[:, 0] if self.erase == "single" else free.sum(1)
        aims = free if self.target == "own" else jnp.broadcast_to(free.sum(1, keepdims=True), free.shape)
        gates = heads.gates[..., None]
        write_weights = gates * memory.read_weights + (1.0 - gates) * aims
        added = heads.adds if self.write == "add" else heads.keys
        content = memory.content * (1.0 - erased)[:, None] + jnp.einsum("brm,brn->bmn", added, write_weights)
        read_weights = content_weights(heads.keys, content, heads.strengths)
        usage = lax.stop_gradient(self.usage_decay * memory.usage + (read_weights + write_weights).sum(1))
        return Memory(content, read_weights, usage), jnp.einsum("brn,bmn->brm", read_weights, content)


def content_weights(keys: Array, content: Array, strengths: Array | None = None) -> Array:
    """[B, R, N]: softmax over slots of strength * cosine of key and slot.

    keys: [B, R, M]. content: [B, M, N]. strengths: [B, R]; None is 1. A slot or key of length 0 has cosine 0.
    """
    # the epsilons inside the roots: the gradient of a norm is NaN at 0; that of slots is small beside a start at 1e-6
    of_slots = lax.rsqrt(jnp.square(content).sum(1) + 1e-14)
    of_keys = lax.rsqrt(jnp.square(keys).sum(-1) + 1e-12)
    scale = of_keys if strengths is None else of_keys * strengths
    similarity = jnp.einsum("brm,bmn->brn", keys * scale[..., None], content)
    return jax.nn.softmax(similarity * of_slots[:, None], axis=-1)


def least_used(usage: Array, count: int) -> Array:
    """One-hot [B, count, N] of the ``count`` least used slots, the least used first; on ties the lower index.

    usage: [B, N]. By repeated minima, which for a few heads is faster than a sort.
    """
    usage, found = lax.stop_gradient(usage), []
    slots = jnp.arange(usage.shape[-1])
    for _ in range(count):
        # two minima: XLA's argmin reduces pairs, one at a time on a CPU
        lowest = usage == usage.min(-1, keepdims=True)
        least = jnp.where(lowest, slots, usage.shape[-1]).min(-1, keepdims=True)
        found.append(kept(least))
        usage = jnp.where(slots == least, jnp.inf, usage)
    return (slots == jnp.stack(found, axis=1)).astype(usage.dtype)
