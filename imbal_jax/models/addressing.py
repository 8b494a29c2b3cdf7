"""How heads read, write and find places of a memory: pure functions.

A memory M has N places of width D, [..., N, D]. A weighting w, [..., N], says how much a head attends to each
place; it is non-negative and sums to one. Several heads are one more axis before the last, [..., H, N].

    Graves, Wayne and Danihelka, Neural Turing Machines, 2014, arXiv 1410.5401.
"""

import jax
import jax.numpy as jnp
from jax import Array

LEAST_SQUARE = 1e-12
"""Added to squared lengths: the gradient of a length is NaN at 0."""


def cosine_similarity(keys: Array, memory: Array) -> Array:
    """K(k, M(i)) = k . M(i) / (|k| |M(i)|), eq. 6: keys [..., H, D], memory [..., N, D] -> [..., H, N].

    Of a key or a place of zeros: 0.
    """
    dots = jnp.einsum("...hd,...nd->...hn", keys, memory)
    of_keys = jax.lax.rsqrt(jnp.sum(jnp.square(keys), axis=-1) + LEAST_SQUARE)
    of_places = jax.lax.rsqrt(jnp.sum(jnp.square(memory), axis=-1) + LEAST_SQUARE)
    return dots * of_keys[..., :, None] * of_places[..., None, :]


def by_content(keys: Array, strengths: Array, memory: Array) -> Array:
    """w(i) = exp(b K(k, M(i))) / sum_j exp(b K(k, M(j))), eq. 5.

    keys [..., H, D], strengths b >= 0 [..., H], memory [..., N, D] -> weightings [..., H, N].
    """
    return jax.nn.softmax(strengths[..., None] * cosine_similarity(keys, memory), axis=-1)


def interpolate(found: Array, previous: Array, gate: Array) -> Array:
    """w = g w_found + (1 - g) w_previous, eq. 7: weightings [..., N], gate g in [0, 1] [...]."""
    gate = gate[..., None]
    return gate * found + (1 - gate) * previous


def shift(weighting: Array, distribution: Array) -> Array:
    """w(i) = sum_k s(k) w(i - k mod N), eq. 8: a circular convolution.

    weighting [..., N], distribution [..., S] over the shifts -(S-1)/2 .. (S-1)/2 -> [..., N]. S is odd, else
    ValueError.
    """
    places, shifts = weighting.shape[-1], distribution.shape[-1]
    if shifts % 2 == 0:
        raise ValueError(f"a distribution over {shifts} shifts: give an odd number, as many to either side")
    turned = [jnp.roll(weighting, k - shifts // 2, axis=-1) for k in range(shifts)]
    assert turned[0].shape[-1] == places
    return sum((distribution[..., k, None] * turned[k] for k in range(shifts)), jnp.zeros_like(weighting))


def sharpen(weighting: Array, exponent: Array) -> Array:
    """w(i) = w(i)^c / sum_j w(j)^c, eq. 9, as softmax(c log w): a power of a small weight would be 0.

    weighting [..., N], exponent c >= 1 [...]. Finite for any finite exponent: logarithms are taken relative to the
    largest weight, so that its own power is 1.
    """
    logs = jnp.log(jnp.maximum(weighting, jnp.finfo(weighting.dtype).tiny))
    relative = logs - jax.lax.stop_gradient(logs.max(axis=-1, keepdims=True))
    return jax.nn.softmax(exponent[..., None] * relative, axis=-1)


def read(memory: Array, weightings: Array) -> Array:
    """r = sum_i w(i) M(i), eq. 2: memory [..., N, D], weightings [..., H, N] -> [..., H, D]."""
    return jnp.einsum("...hn,...nd->...hd", weightings, memory)


def write(memory: Array, weightings: Array, erase: Array, add: Array) -> Array:
    """M(i) = M(i) prod_h (1 - w_h(i) e_h) + sum_h w_h(i) a_h, eqs. 3 and 4.

    All heads erase before any adds, so that their order does not matter. memory [..., N, D], weightings [..., H, N],
    erase in [0, 1] and add [..., H, D] -> [..., N, D].
    """
    for head in range(weightings.shape[-2]):
        memory = memory * (1 - weightings[..., head, :, None] * erase[..., head, None, :])
    return memory + jnp.einsum("...hn,...hd->...nd", weightings, add)
