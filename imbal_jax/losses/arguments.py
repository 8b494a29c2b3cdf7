"""Argument checks of the losses: shapes always, values where they are known while tracing."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def host_values(values: ArrayLike) -> np.ndarray | None:
    """The values as a numpy array, or None where reading them would wait for a device."""
    return None if isinstance(values, jax.Array) else np.asarray(values)


def known_values(values: ArrayLike) -> np.ndarray | None:
    """The values as a numpy array, or None where they are traced or held by another host."""
    if isinstance(values, jax.core.Tracer):
        return None
    if isinstance(values, jax.Array) and not values.is_fully_addressable:
        return None
    return np.asarray(values)


def as_computed(values: ArrayLike) -> jax.Array:
    """The values in the dtype to compute in: float64 as they are, all others as float32."""
    values = jnp.asarray(values)
    return values if values.dtype == jnp.float64 else values.astype(jnp.float32)


def check_numbers(name: str, values: ArrayLike) -> None:
    """Raise ValueError unless ``values`` are numbers or bool, complex ones aside."""
    dtype = values.dtype if isinstance(values, jax.Array) else np.asarray(values).dtype
    if not any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise ValueError(f"{name} are {dtype}, expected numbers")


def as_mask(values: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    """bool of ``shape``: where ``values``, broadcast to it, are not 0."""
    return jnp.broadcast_to(jnp.asarray(values).astype(jnp.bool_), shape)


def check_broadcast(name: str, values: ArrayLike, to: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless ``values`` broadcast to ``shape``, that of the argument called ``to``, in one way.

    [B] for [B, C] with B = C would be one value a class by NumPy's rules, and may be meant as one an example; so
    would [B, 1] for [B, H, W] with B = H.
    """
    given = np.shape(values)
    try:
        fits = np.broadcast_shapes(given, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} of shape {given} do not broadcast to the {to} of shape {shape}")
    missing = len(shape) - len(given)
    fits_first = all(size in (1, of) for size, of in zip(given, shape, strict=False))
    if given and missing and np.prod(given) != 1 and fits_first:
        first, last = (*given, *[1] * missing), (*[1] * missing, *given)
        raise ValueError(
            f"{name} of shape {given} fit the first and the last axes of the {to} of shape {shape}: reshape to "
            f"{first} or {last}"
        )


def refuse_first(wrong: np.ndarray, targets: np.ndarray, expected: str) -> None:
    """Raise ValueError that names the first of ``targets`` that is ``wrong``, bool of their shape."""
    if wrong.any():
        place = np.unravel_index(np.argmax(wrong), wrong.shape)
        index = ", ".join(str(i) for i in place)
        raise ValueError(
            f"targets[{index}] is {targets[place]:g}, expected {expected}: hide unknown ones with mask"
        )


def check_scalar(name: str, value: ArrayLike) -> None:
    """Raise ValueError unless ``value`` is a scalar and, where known, finite and 0 or more."""
    if np.ndim(value) != 0:
        raise ValueError(f"{name} has shape {np.shape(value)}, expected a scalar")
    known = known_values(value)
    if known is not None and not (np.isfinite(known) and known >= 0):
        raise ValueError(f"{name} is {known:g}, expected a finite number zero or above")


def check_above_zero(name: str, value: ArrayLike, at_most: float = np.inf) -> None:
    """Raise ValueError unless ``value`` is a scalar and, where known, above 0 and no more than ``at_most``."""
    check_scalar(name, value)
    known = known_values(value)
    if known is not None and not 0 < known <= at_most:
        limit = "" if np.isinf(at_most) else f" and at most {at_most:g}"
        raise ValueError(f"{name} is {known:g}, expected a number above zero{limit}")


def check_within(name: str, value: ArrayLike, low: float, high: float) -> None:
    """Raise ValueError unless ``value`` is a scalar and, where known, finite and from ``low`` to ``high``."""
    if np.ndim(value) != 0:
        raise ValueError(f"{name} has shape {np.shape(value)}, expected a scalar")
    known = known_values(value)
    if known is not None and not (np.isfinite(known) and low <= known <= high):
        allowed = f"{low:g} to {high:g}" if np.isfinite(high) else f"a finite number {low:g} or above"
        raise ValueError(f"{name} is {known:g}, expected {allowed}")


def per_class(
    name: str,
    values: ArrayLike,
    num_classes: int,
    dtype: jnp.dtype,
    *,
    bound: Literal["zero or above", "above zero"],
    distribution: bool = False,
) -> jax.Array:
    """``values``, one a class, as an array [num_classes] of ``dtype``.

    Raises ValueError if the shape is another, or if values known while tracing are not finite, not within
    the ``bound``, or, being a ``distribution``, do not sum to 1 within 0.01.
    """
    if np.shape(values) != (num_classes,):
        raise ValueError(f"{name} has shape {np.shape(values)}, expected ({num_classes},): one value a class")
    known = known_values(values)
    if known is not None:
        known = known.astype(np.float64)
        allowed = np.isfinite(known) & (known > 0 if bound == "above zero" else known >= 0)
        if not allowed.all():
            bad = int(np.argmin(allowed))
            raise ValueError(f"{name}[{bad}] is {known[bad]:g}, expected a finite number {bound}")
        if distribution and abs(known.sum() - 1) > 0.01:
            raise ValueError(
                f"the sum of {name} is {known.sum():g}, expected 1: divide counts by their total"
            )
    return jnp.asarray(values, dtype=dtype)
