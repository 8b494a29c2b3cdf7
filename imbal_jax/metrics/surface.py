"""Distances between the surfaces of a mask that was found and of the truth, in 2 and 3 dimensions, on the host.

The surface of a mask are its pixels that touch, along an axis, a known pixel outside it or the border of the image.
The distance of two pixels is that of their centres, Euclidean, in pixels or in the unit of ``spacing``.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure


class SurfaceDistances(NamedTuple):
    """float64; the other surface infinitely far where it is empty."""

    of_truth: np.ndarray  # [T], of each surface pixel of the truth to the surface found
    of_found: np.ndarray  # [F], of each surface pixel found to the surface of the truth


class SurfaceMetrics(NamedTuple):
    hausdorff: float
    average_distance: float
    surface_dice: float


def surface_metrics(
    truth: ArrayLike,
    found: ArrayLike,
    *,
    tolerance: float = 1.0,
    percentile: float = 95.0,
    spacing: float | Sequence[float] | None = None,
    mask: ArrayLike | None = None,
) -> SurfaceMetrics:
    """``hausdorff``, ``average_surface_distance`` and ``surface_dice``, for the price of one.

    Args:
      truth, found: bool or 0 and 1 [*space], 2 or 3 axes, of one class and image. A truth of -1 or -2 is excluded.
      tolerance: of the surface Dice, in the unit of ``spacing``.
      percentile: of the Hausdorff distance, 0 to 100.
      spacing: the size of a pixel, one number or one an axis, such as millimetres; 1 by default.
      mask: bool [*space], False where the truth is unknown.

    Returns:
      Floats. Where both masks are empty, NaN; where one is, the distances are infinite and the surface Dice is 0.

    Raises:
      ValueError: shapes that do not fit; a spacing that is not above 0; a tolerance below 0; a percentile that is not
        from 0 to 100.
    """
    distances = surface_distances(truth, found, spacing=spacing, mask=mask)
    return SurfaceMetrics(
        hausdorff(distances, percentile),
        average_surface_distance(distances),
        surface_dice(distances, tolerance),
    )


def surface_distances(
    truth: ArrayLike,
    found: ArrayLike,
    *,
    spacing: float | Sequence[float] | None = None,
    mask: ArrayLike | None = None,
) -> SurfaceDistances:
    """The distances from which the metrics follow; arguments and errors as ``surface_metrics``."""
    true, called = np.asarray(truth), np.asarray(found)
    if true.shape != called.shape or true.ndim not in (2, 3):
        raise ValueError(
            f"truth {list(true.shape)} and found {list(called.shape)}: expected [*space] of 2 or 3 axes, both alike"
        )
    known = true >= 0
    if mask is not None:
        if np.shape(mask) != true.shape:
            raise ValueError(
                f"mask {list(np.shape(mask))} must have the shape of the truth {list(true.shape)}"
            )
        known &= np.asarray(mask, bool)
    size = np.broadcast_to(np.asarray(1.0 if spacing is None else spacing, np.float64), (true.ndim,))
    if not ((size > 0) & np.isfinite(size)).all():
        raise ValueError(f"spacing is {spacing}, expected numbers above 0")
    surfaces = [_surface((side > 0) & known, known) for side in (true, called)]
    box = _bounds(surfaces[0] | surfaces[1])
    surfaces = [surface[box] for surface in surfaces]
    return SurfaceDistances(
        _between(surfaces[0], surfaces[1], size), _between(surfaces[1], surfaces[0], size)
    )


def hausdorff(distances: SurfaceDistances, percentile: float = 95.0) -> float:
    """The larger of the percentiles of the two sides' distances; 100 gives the Hausdorff distance."""
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile is {percentile!r}, expected 0 to 100")
    if not distances.of_truth.size or not distances.of_found.size:
        return _empty(distances, np.inf)
    return float(max(np.percentile(side, percentile) for side in distances))


def average_surface_distance(distances: SurfaceDistances) -> float:
    """The mean over the surface pixels of both sides (average symmetric surface distance)."""
    if not distances.of_truth.size or not distances.of_found.size:
        return _empty(distances, np.inf)
    return float(np.concatenate(distances).mean())


def surface_dice(distances: SurfaceDistances, tolerance: float = 1.0) -> float:
    """The share of the surface pixels of both sides that are within ``tolerance`` of the other surface.

    Normalised surface Dice (Nikolov et al., JMIR 2021, arXiv 1809.04430), pixels counted in place of areas.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance!r}, expected 0 or above")
    if not distances.of_truth.size or not distances.of_found.size:
        return _empty(distances, 0.0)
    return float((np.concatenate(distances) <= tolerance).mean())


def _empty(distances: SurfaceDistances, of_one: float) -> float:
    return of_one if distances.of_truth.size or distances.of_found.size else np.nan


def _surface(mask: np.ndarray, known: np.ndarray) -> np.ndarray:
    inner = binary_erosion(mask | ~known, generate_binary_structure(mask.ndim, 1))
    return np.asarray(mask & ~inner)


def _bounds(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds all of it: the distances elsewhere are not looked at."""
    axes = range(mask.ndim)
    places = [np.flatnonzero(mask.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]
    return tuple(slice(at[0], at[-1] + 1) if at.size else slice(0) for at in places)


def _between(surface: np.ndarray, other: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    if not other.any():
        return np.full(np.count_nonzero(surface), np.inf)
    return np.asarray(distance_transform_edt(~other, sampling=spacing)[surface])
