"""What a network over episodes is given: pictures and their labels, each label after the prediction it judges.

An episode is ``{"images": float32 [B, T, H, W, C], "labels": int32 [B, T]}``. The logits of picture t may depend on
pictures 0..t and labels 0..t-1 only. A label of -1 is never shown: that picture is a query.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from imbal_jax.errors import InputError

Episodes = Mapping[str, Any]


def pictures_and_labels(inputs: Episodes) -> tuple[Array, Array]:
    """``images`` and ``labels`` of a batch of episodes. Raises InputError for other inputs or shapes."""
    if not isinstance(inputs, Mapping) or not {"images", "labels"} <= set(inputs):
        given = sorted(inputs) if isinstance(inputs, Mapping) else f"an array {list(jnp.shape(inputs))}"
        raise InputError(
            f"a network over episodes was given {given}: it needs a mapping with images [B, T, H, W, C] and labels "
            "[B, T], as the task of episodes draws them"
        )
    images, labels = jnp.asarray(inputs["images"]), jnp.asarray(inputs["labels"])
    if images.ndim != 5 or labels.shape != images.shape[:2]:
        raise InputError(
            f"episodes with images {list(images.shape)} and labels {list(labels.shape)}: expected [B, T, H, W, C] "
            "and [B, T]"
        )
    return images, labels


def encoded_labels(labels: Array, num_outputs: int, digits: int = 0, base: int = 5) -> Array:
    """float32 [..., num_outputs]: one-hot, or ``digits`` one-hots of width ``base``, the highest digit first.

    A label of -1 is all zeros. With 5 digits of base 5 a label from 0 to 3124 is a string of five letters of five
    (Santoro et al., ICML 2016, section 4.1). Raises InputError where ``digits * base`` is not ``num_outputs``.
    """
    if digits == 0:
        return jax.nn.one_hot(labels, num_outputs, dtype=jnp.float32)
    if digits * base != num_outputs:
        raise InputError(
            f"label_digits {digits} of base {base} need {digits * base} outputs, and the network has {num_outputs}: "
            f"make num_outputs {digits * base}"
        )
    each = jax.nn.one_hot(digits_of(labels, digits, base), base, dtype=jnp.float32)
    return each.reshape(*labels.shape, num_outputs) * (labels >= 0)[..., None]


def digits_of(labels: Array, digits: int, base: int) -> Array:
    """int [..., digits], the digits of labels from 0 to base^digits - 1, the highest first."""
    return labels[..., None] // base ** jnp.arange(digits - 1, -1, -1) % base


def one_step_late(values: Array) -> Array:
    """[B, T, D] -> [B, T, D]: at step t what ``values`` has at t - 1; zeros at the first."""
    return jnp.pad(values[:, :-1], ((0, 0), (1, 0), (0, 0)))
