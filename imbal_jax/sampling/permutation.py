"""A keyed permutation of 0..n-1 that is evaluated one point at a time."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Feistel double rounds. With six, pair positions in pools of six deviate from uniform by 4 %.
DOUBLE_ROUNDS = 8

Point = tuple[jax.Array, jax.Array]  # row and column of the grid
Walk = tuple[jax.Array, jax.Array, jax.Array]  # a point, and whether it lies outside the size


def permuted(
    rank: jax.Array, size: jax.Array, grid: tuple[jax.Array, jax.Array], key: tuple[jax.Array, jax.Array]
) -> jax.Array:
    """Image of ``rank`` under a keyed permutation of 0..size-1; elementwise, all uint32 of one shape.

    An alternating generalised Feistel network on a grid of sides (a, b), a = ceil(sqrt(size)),
    b = ceil(size / a), walked until it is back inside size (Black and Rogaway, CT-RSA 2002).
    Positions of any two items are uniform. The whole permutation is not where both sides are odd: it is then
    always even.
    """
    a, b = grid
    left = rank // b
    right = rank - left * b

    def double_round(number: jax.Array, point: Point) -> Point:
        left, right = point
        constant = number.astype(jnp.uint32) * np.uint32(0x9E3779B9)  # 2^32 over the golden ratio
        left = _add_modulo(left, _scaled(mix(right ^ (key[0] + constant)), a), a)
        right = _add_modulo(right, _scaled(mix(left ^ (key[1] + constant)), b), b)
        return left, right

    def walk(state: Walk) -> Walk:
        *here, walking = state
        # A loop, because XLA on CPU slows down once six double rounds are fused in one kernel.
        there = lax.fori_loop(0, DOUBLE_ROUNDS, double_round, tuple(here))
        left, right = (jnp.where(walking, new, old) for new, old in zip(there, here, strict=True))
        return left, right, left * b + right >= size

    # Every point takes one turn; the grid exceeds size by under a row, so 1 in sqrt(size) takes another.
    left, right, _ = lax.while_loop(lambda point: jnp.any(point[2]), walk, (left, right, rank < size))
    return left * b + right


def mix(x: jax.Array) -> jax.Array:
    """A bijective 32-bit mixer: xor-shift and multiply, with the constants of Wellons' lowbias32 (2018)."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def _add_modulo(x: jax.Array, y: jax.Array, modulus: jax.Array) -> jax.Array:
    total = x + y
    return jnp.where(total >= modulus, total - modulus, total)


def _scaled(word: jax.Array, limit: jax.Array) -> jax.Array:
    """Take the upper half of a random word to 0..limit-1, limit < 2^16."""
    return ((word >> np.uint32(16)) * limit) >> np.uint32(16)
