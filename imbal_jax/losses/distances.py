"""Boundary and Hausdorff losses: pixels weighted by how far they are from the boundary of the truth.

The distances are made once, on the host (``signed_distances``); the losses only multiply by them. Probabilities,
targets and masks are those of ``losses.overlap``. Both losses are meant to be added to one of regions, such as Dice:
an image without the class, or full of it, has no boundary; its distances are 0, and so are loss and gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.ndimage import distance_transform_edt

from imbal_jax.losses.arguments import check_broadcast, check_numbers, check_scalar, known_values
from imbal_jax.losses.pixels import checked_pixels, pixel_mean, shown


def boundary(probabilities: ArrayLike, distances: ArrayLike, mask: ArrayLike | None = None) -> jax.Array:
    """Boundary loss: the mean over the known pixels of phi p (Kervadec et al., MIDL 2019, arXiv 1812.07032).

    A false positive costs its distance to the truth; a hit earns its depth inside it, so the loss may be negative.

    Args:
      probabilities: [B, *space, C], p.
      distances: [B, *space, C], phi, ``signed_distances`` of the truth.
      mask: broadcastable to [B, *space], nonzero where the truth is known.

    Returns:
      [B, C], in pixels.

    Raises:
      ValueError: shapes that do not fit; known probabilities outside 0 to 1, known distances that are not finite.
    """
    probabilities, _, known = checked_pixels(probabilities, probabilities, mask)
    return pixel_mean(probabilities * _checked_distances(distances, probabilities, mask), known)


def hausdorff(
    probabilities: ArrayLike,
    targets: ArrayLike,
    distances: ArrayLike,
    *,
    alpha: ArrayLike = 2.0,
    mask: ArrayLike | None = None,
) -> jax.Array:
    """The mean over the known pixels of (p - t)^2 d^alpha: errors far from the true boundary count most.

    One-sided distance-transform loss of Karimi and Salcudean (IEEE TMI 2020, arXiv 1904.10030): without
    the distances of the prediction, which would have to be made again in every step.

    Args:
      probabilities, mask: as in ``boundary``.
      targets: [B, *space, C], t, 0 or 1.
      distances: [B, *space, C], ``signed_distances`` of the targets. d is the distance to the nearest pixel on the
        other side of the boundary, 1 or more; 0 where there is no boundary.
      alpha: scalar, zero or above.

    Returns:
      [B, C].

    Raises:
      ValueError: as ``boundary``; an ``alpha`` that is negative or not finite.
    """
    check_scalar("alpha", alpha)
    probabilities, targets, known = checked_pixels(probabilities, targets, mask)
    signed = _checked_distances(distances, probabilities, mask)
    bounded = (signed > 0).any(axis=tuple(range(1, signed.ndim - 1)), keepdims=True)
    away = jnp.where(targets > 0.5, 1 - signed, signed)
    weights = jnp.where(bounded & (away > 0), jnp.maximum(away, 1) ** jnp.asarray(alpha, signed.dtype), 0)
    return pixel_mean((probabilities - targets) ** 2 * weights, known)


def signed_distances(targets: ArrayLike, mask: ArrayLike | None = None) -> np.ndarray:
    """Distance of each pixel to the boundary of the truth, negative inside (Euclidean, exact); on the host.

    Outside, the distance to the nearest pixel of the class; inside, 1 less the distance to the nearest pixel that is
    not of it. So the outermost pixels of the class have 0 and their neighbours 1, as in the code of Kervadec et al.

    Args:
      targets: [B, *space, C], of the class where above 1/2.
      mask: broadcastable to [B, *space], nonzero where the truth is known. A hidden pixel is on neither side.

    Returns:
      float32 [B, *space, C], in pixels; 0 where hidden, and where an image lacks the class or holds nothing else.

    Raises:
      ValueError: shapes that do not fit.
    """
    values = np.asarray(targets)
    if values.ndim < 3:
        raise ValueError(f"targets {values.shape}: expected [B, *space, C]")
    check_numbers("targets", values)
    known = np.ones(values.shape[:-1], bool)
    if mask is not None:
        check_broadcast("mask", mask, "pixels", values.shape[:-1])
        known = np.broadcast_to(np.asarray(mask) != 0, values.shape[:-1])
    distances = np.zeros(values.shape, np.float32)
    for b, c in np.ndindex(values.shape[0], values.shape[-1]):
        inside = (values[b, ..., c] > 0.5) & known[b]
        outside = ~inside & known[b]
        if inside.any() and outside.any():
            distances[b, ..., c] += np.where(outside, distance_transform_edt(~inside), 0)
            distances[b, ..., c] -= np.where(inside, distance_transform_edt(~outside) - 1, 0)
    return distances


def batch_distances(targets: ArrayLike, mask: ArrayLike | None = None) -> jax.Array:
    """``signed_distances`` of masks of a batch [B, H, W, C], on the device: pure and jittable, no gradient.

    For patches, which are cut and turned anew in every step: the search through rows and columns takes H W (H + W)
    operations an image and class.

    Args:
      targets: [B, H, W, C], of the class where above 1/2.
      mask: broadcastable to [B, H, W], nonzero where the truth is known.

    Returns:
      float32 [B, H, W, C], as ``signed_distances``.

    Raises:
      ValueError: shapes that do not fit.
    """
    values = jax.lax.stop_gradient(jnp.asarray(targets))
    if values.ndim != 4:
        raise ValueError(f"targets {values.shape}: expected [B, H, W, C]")
    known = jnp.ones(values.shape, bool)
    if mask is not None:
        check_broadcast("mask", mask, "pixels", values.shape[:-1])
        known = jnp.broadcast_to((jnp.asarray(mask) != 0)[..., None], values.shape)
    inside = (values > 0.5) & known
    planes = jnp.moveaxis(jnp.stack([inside, known & ~inside]), -1, 2)  # [2, B, C, H, W]
    to_inside, to_outside = _nearest(planes.reshape(-1, *values.shape[1:3])).reshape(planes.shape)
    away = jnp.where(planes[1], to_inside, 0) - jnp.where(planes[0], to_outside - 1, 0)
    both = planes.any(axis=(3, 4)).all(axis=0)[..., None, None]
    return jnp.moveaxis(jnp.where(both, away, 0), 1, -1)


def _nearest(planes: jax.Array) -> jax.Array:
    """float32 [P, H, W]: the distance of each pixel to the nearest that is True; far, not infinite, without one."""
    height, width = planes.shape[1:]
    far = jnp.float32(4 * (height**2 + width**2))
    rows, columns = (jnp.arange(size, dtype=jnp.float32) for size in (height, width))

    def of_plane(plane: jax.Array) -> jax.Array:
        # along the row of each pixel, then over all rows: the squared distances separate
        across = (columns[:, None] - columns) ** 2
        in_row = jax.lax.map(lambda row: jnp.where(row, across, far).min(axis=1), plane)
        down = (rows[:, None] - rows) ** 2
        return jax.lax.map(lambda away: (away[:, None] + in_row).min(axis=0), down)

    return jnp.sqrt(jax.lax.map(of_plane, planes))


def _checked_distances(distances: ArrayLike, like: jax.Array, mask: ArrayLike | None) -> jax.Array:
    if np.shape(distances) != like.shape:
        raise ValueError(
            f"distances {np.shape(distances)} must have the shape of the probabilities {like.shape}"
        )
    check_numbers("distances", distances)
    values, _ = shown(distances, mask)
    numbers = known_values(values)
    if numbers is not None and not np.isfinite(numbers).all():
        raise ValueError("distances hold a number that is not finite, expected those of signed_distances")
    return values.astype(like.dtype)
