"""Centreline Dice: overlap of thin structures by their skeletons.

Pixels, targets and masks are those of ``losses.overlap``. A hidden pixel is treated as the outside of the image: it
neither erodes nor dilates its neighbours.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from imbal_jax.losses.arguments import check_numbers
from imbal_jax.losses.pixels import checked_pixels, ratio, shown, smoothing


def cl_dice(
    probabilities: ArrayLike,
    targets: ArrayLike,
    iterations: int = 3,
    smooth: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """Soft centreline Dice loss (Shit et al., CVPR 2021, arXiv 2003.07311): vessels broken or missed count by length.

        loss = 1 - 2 P S / (P + S),   P = (sum s(p) t + e) / (sum s(p) + e),   S = (sum s(t) p + e) / (sum s(t) + e)

    s is ``soft_skeleton``. It says nothing of widths: the authors add it to the Dice loss.

    Args:
      probabilities: [B, *space, C], p, with 1 to 3 axes of space.
      targets: [B, *space, C], t.
      iterations: erosions, at least the largest radius of a structure in pixels.
      smooth: scalar, e, in pixels of a skeleton. An image without the class has loss 0 where nothing is predicted.
      mask: broadcastable to [B, *space], nonzero where the truth is known.

    Returns:
      [B, C].

    Raises:
      ValueError: shapes that do not fit; ``iterations`` that are no whole number or negative; a ``smooth`` that is
        negative or not finite.
    """
    smooth = smoothing(smooth, probabilities)
    p, t, known = checked_pixels(probabilities, targets, mask)
    _check_skeleton(p.shape, iterations)
    smooth = jnp.asarray(smooth, p.dtype)
    space = tuple(range(1, p.ndim - 1))

    def covered(skeleton: jax.Array, by: jax.Array) -> jax.Array:
        return ratio((skeleton * by).sum(axis=space) + smooth, skeleton.sum(axis=space) + smooth)

    precision = covered(_skeleton(p, known, iterations), t)
    sensitivity = covered(jax.lax.stop_gradient(_skeleton(t, known, iterations)), p)
    return 1 - ratio(2 * precision * sensitivity, precision + sensitivity, empty=0)


def soft_skeleton(values: ArrayLike, iterations: int = 3, mask: ArrayLike | None = None) -> jax.Array:
    """Skeleton of a soft mask: what openings remove between erosions (Shit et al., CVPR 2021, algorithm 1).

    Erosion is the minimum over a pixel and its neighbours along each axis, dilation the maximum over the 3^D block.

    Args:
      values: [B, *space, C], 0 to 1, with 1 to 3 axes of space.
      iterations: erosions, at least the largest radius of a structure in pixels.
      mask: broadcastable to [B, *space], nonzero where the values are known.

    Returns:
      [B, *space, C], 0 to 1; 0 where hidden.

    Raises:
      ValueError: another number of axes; ``iterations`` that are no whole number or negative.
    """
    check_numbers("values", values)
    _check_skeleton(np.shape(values), iterations)
    return _skeleton(*shown(values, mask), iterations)


def _check_skeleton(shape: tuple[int, ...], iterations: int) -> None:
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"values of shape {shape}: expected [B, *space, C] with 1 to 3 axes of space")
    if isinstance(iterations, bool) or not isinstance(iterations, int | np.integer) or iterations < 0:
        raise ValueError(f"iterations is {iterations!r}, expected a whole number zero or above")


def _skeleton(values: jax.Array, known: jax.Array, iterations: int) -> jax.Array:
    hidden = known == 0

    def erode(values: jax.Array) -> jax.Array:
        outside = jnp.where(hidden, math.inf, values)
        lines = [_along(jax.lax.min, outside, axis, math.inf) for axis in range(1, values.ndim - 1)]
        smallest = lines[0]
        for line in lines[1:]:
            smallest = jnp.minimum(smallest, line)
        return jnp.where(hidden, 0, smallest)

    def removed(values: jax.Array) -> jax.Array:
        opened = jnp.where(hidden, -math.inf, erode(values))
        for axis in range(1, values.ndim - 1):
            opened = _along(jax.lax.max, opened, axis, -math.inf)
        return jnp.where(hidden, 0, jax.nn.relu(values - jnp.where(hidden, 0, opened)))

    def thin(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
        values, skeleton = carry
        values = erode(values)
        return (values, skeleton + jax.nn.relu(removed(values) * (1 - skeleton))), None

    (_, skeleton), _ = jax.lax.scan(thin, (values, removed(values)), length=iterations)
    return skeleton


def _along(extreme: Callable[..., Any], values: jax.Array, axis: int, outside: float) -> jax.Array:
    """The extreme of a pixel and its two neighbours on ``axis``; ``outside`` stands beyond the image."""
    window, padding = [1] * values.ndim, [(0, 0)] * values.ndim
    window[axis], padding[axis] = 3, (1, 1)
    start = np.array(outside, values.dtype)[()]
    return jax.lax.reduce_window(values, start, extreme, window, [1] * values.ndim, padding)
