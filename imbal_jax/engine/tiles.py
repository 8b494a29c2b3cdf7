"""Predictions for whole images from overlapping tiles, blended: any size, in the memory of a few tiles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LEAST = 1e-3
"""Of a tile's weight along its sides, beside 1 in its middle; at its corners the square of that."""


@dataclass(frozen=True)
class Tiles:
    """size: side of a tile, pixels. overlap: the least share of a tile that its neighbour covers, 0 to below 1."""

    size: int
    overlap: float = 0.5

    def starts(self, length: int) -> np.ndarray:
        """The first pixels of the tiles along an axis of ``length`` pixels: evenly spaced, the last ends with it."""
        if length <= self.size:
            return np.zeros(1, np.int32)
        stride = max(1, int(self.size * (1 - self.overlap)))
        count = -(-(length - self.size) // stride) + 1
        return np.round(np.linspace(0, length - self.size, count)).astype(np.int32)

    @property
    def window(self) -> np.ndarray:
        """float32 [size, size]: a Gaussian of an eighth of the side, since a network sees less near a border."""
        at = (np.arange(self.size) - (self.size - 1) / 2) / (self.size / 8)
        side = np.maximum(np.exp(-(at**2) / 2), LEAST)
        return np.outer(side, side).astype(np.float32)


Step = Callable[[Mapping[str, Any], jax.Array], jax.Array]


def tiled(step: Step, tiles: Tiles) -> Step:
    """``(variables, inputs [B, H, W, C]) -> predictions [B, H, W, ...]``: of each pixel the mean of those of the
    tiles that hold it, weighted by ``Tiles.window``.

    step: the same for tiles [B, size, size, C]. Images not larger than a tile are one. One tile of every image of the
    batch is computed at a time. Pure and jittable.
    """

    def whole(variables: Mapping[str, Any], inputs: jax.Array) -> jax.Array:
        batch, height, width, channels = inputs.shape
        size = tiles.size
        if height <= size and width <= size:
            return step(variables, inputs)
        if min(height, width) < size:
            raise ValueError(f"images of {height} x {width} hold no tile of {size} pixels a side")
        rows, columns = tiles.starts(height), tiles.starts(width)
        places = np.array([(y, x) for y in rows for x in columns], np.int32)
        weights = np.zeros((height, width), np.float32)
        for y, x in places:
            weights[y : y + size, x : x + size] += tiles.window
        window = jnp.asarray(tiles.window)
        found = jax.eval_shape(step, variables, jnp.zeros((batch, size, size, channels), inputs.dtype))
        rest = found.shape[3:]
        spread = (None, slice(None), slice(None), *[None] * len(rest))

        def add(total: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
            y, x = place
            tile = jax.lax.dynamic_slice(inputs, (0, y, x, 0), (batch, size, size, channels))
            start = (0, y, x, *[0] * len(rest))
            before = jax.lax.dynamic_slice(total, start, found.shape)
            added = before + window[spread] * step(variables, tile)
            return jax.lax.dynamic_update_slice(total, added, start), None

        empty = jnp.zeros((batch, height, width, *rest), jnp.float32)
        total, _ = jax.lax.scan(add, empty, jnp.asarray(places))
        return total / weights[spread]

    return whole
