"""Turns drawn examples into network inputs on the device: augments, mixes and standardises images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from imbal_jax.data.feeding.patches import Cut, cropped
from imbal_jax.data.feeding.plans import Plans, draw
from imbal_jax.data.feeding.shared import Shared
from imbal_jax.engine import keys
from imbal_jax.engine.spread_rows import gather_rows, own_rows
from imbal_jax.sampling.episodes import one_below_the_other
from imbal_jax.transforms.augment import Augment, augment
from imbal_jax.transforms.mixing import Mixing, mix

Transform = Callable[[jax.Array, jax.Array, jax.Array, Augment, Any], tuple[jax.Array, jax.Array]]
"""``(keys [B], images [B, H, W, C], labels, augmentation, strength) -> (images, labels)``, moved together."""

Present = Callable[[jax.Array, jax.Array | None], Any]
"""``(standardised images, labels) -> what the network takes``; labels are None where nobody knows them."""

REPEATED = Augment(shift=0.1, rotation=10.0, zoom=0.1, brightness=0.1, contrast=0.2)
"""The augmentation of repeated images where the config has none."""


@struct.dataclass
class Resident:
    """The arrays on the device from which batches are made.

    images: uint8 or uint16 [N, H, W, C], or features float32 [N, D]. labels: [N, ...]. extra: what else a pipeline
    reads (``training.second_stage.FeaturePipeline``).
    """

    images: Any
    labels: Any
    plans: Plans
    shared: Shared
    extra: Any = None


def spreads(labels: Any) -> bool:
    """Whether labels are spread over the devices as the images are: masks; others are small."""
    return np.ndim(labels) >= 3


def perturb_images(
    image_keys: jax.Array, images: jax.Array, labels: jax.Array, augmentation: Augment, strength: Any
) -> tuple[jax.Array, jax.Array]:
    """Images perturbed, labels as they are: a ``Transform``."""
    return augment(image_keys, images, augmentation, strength), labels


def images_alone(images: jax.Array, labels: jax.Array | None) -> jax.Array:
    """The images: a ``Present``."""
    return images


@dataclass(frozen=True)
class Pipeline:
    """How a batch is made; static, so that a compiled step may close over it.

    augmentation: applied to every image, at strength 1. mixing: of each image with its partner.
    views: copies of each image in the batch, each augmented independently.
    transform: how images and labels are perturbed together (``Task.transform``).
    present: what the network takes, made of images and labels (``Task.inputs``).
    spread: whether resident images, and masks, lie on one device each (``engine.spread_rows``).
    """

    augmentation: Augment
    mixing: Mixing = Mixing()  # noqa: RUF009
    views: int = 1
    transform: Transform = perturb_images
    present: Present = images_alone
    spread: bool = False

    def from_device(self, resident: Resident, step: jax.Array, shard: jax.Array | None) -> dict[str, Any]:
        """The batch of ``step`` (the part of ``shard``, or all of it), from arrays that are on the device.

        Pure and jittable; the global batch, perturbations included, is the same for any number of shards.
        """
        across = shard if self.spread else None  # of jit the compiler gathers
        drawn_for = shard if across is None else None
        items, partners, places, corners, labels = draw(resident.plans, step, drawn_for)
        patches = resident.plans.patches

        def own(of_batch: jax.Array) -> jax.Array:
            return of_batch if across is None else own_rows(of_batch, across)

        def take(array: jax.Array, at: jax.Array) -> jax.Array:
            if patches is None or corners is None:
                return array[at]
            return cropped(array, Cut(at, corners), patches.size)

        def rows(array: jax.Array, items: jax.Array) -> jax.Array:
            return take(array, items) if across is None else gather_rows(array, items, across, take)

        if labels is not None:
            pictures = items.shape[1]
            images = rows(resident.images, items.reshape(-1))
            images = images.reshape(-1, pictures, *images.shape[1:])
            raw = {"images": one_below_the_other(images), "labels": own(labels), "places": own(places)}
            return self.inputs(raw, resident.shared, step)

        def labels_of(items: jax.Array) -> jax.Array:
            return rows(resident.labels, items) if spreads(resident.labels) else resident.labels[own(items)]

        raw = {"images": rows(resident.images, items), "labels": labels_of(items), "places": own(places)}
        if partners is not None:
            raw |= {"partner_images": rows(resident.images, partners), "partner_labels": labels_of(partners)}
        return self.inputs(raw, resident.shared, step)

    def inputs(self, raw: Mapping[str, jax.Array], shared: Shared, step: jax.Array) -> dict[str, Any]:
        """Raw images as network inputs [views * B, ...]: perturbed, mixed, then standardised; view after view.

        raw: ``images`` uint8 or uint16 [B, H, W, C], ``labels`` [B, ...], ``places`` int32 [B], each image's place in
        the global batch, which with the step determines its perturbation; ``partner_images`` and
        ``partner_labels`` where images are mixed.
        """
        step_key = keys.images_of_step(shared.images_key, step)
        image_keys = keys.of_places(step_key, raw["places"])
        if self.views > 1:
            image_keys = jnp.concatenate(
                [image_keys, *(keys.of_view(image_keys, view) for view in range(1, self.views))]
            )
            raw = {name: jnp.concatenate([values] * self.views) for name, values in raw.items()}
        shared = shared.at_step(step, step_key)
        images, labels = self._perturbed(image_keys, raw["images"], raw["labels"], shared)
        batch = {"labels": labels, "shared": shared}
        if self.mixing.kind != "none":
            images, mixed = self._mixed(image_keys, images, labels, raw, shared, step=step)
            batch |= mixed
        return {"inputs": self.present(standardize(images, shared.mean, shared.deviation), labels), **batch}

    def _perturbed(
        self, image_keys: jax.Array, images: jax.Array, labels: jax.Array, shared: Shared
    ) -> tuple[jax.Array, jax.Array]:
        by_class = getattr(shared.arrays, "strength", None)
        strength = 1.0 if by_class is None else by_class[labels]
        return self.transform(image_keys, images, labels, self.augmentation, strength)

    def _mixed(
        self,
        image_keys: jax.Array,
        images: jax.Array,
        labels: jax.Array,
        raw: Mapping[str, jax.Array],
        shared: Shared,
        *,
        step: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The images mixed with their partners while mixing is on; the partners' labels and the own share."""
        mixing_keys, partner_keys = keys.in_two(image_keys)
        partners, partner_labels = self._perturbed(
            partner_keys, raw["partner_images"], raw["partner_labels"], shared
        )
        mixed, share = mix(
            mixing_keys,
            images,
            labels,
            partners,
            partner_labels,
            shared.arrays.counts,
            self.mixing,
        )
        first, end = shared.mixing_steps
        on = (step >= first) & (step < end)
        return jnp.where(on, mixed, images), {
            "share": jnp.where(on, share, 1.0),
            "partner_labels": partner_labels,
        }


def standardize(images: jax.Array, mean: jax.Array, deviation: jax.Array) -> jax.Array:
    """Images in [0, 1], standardised by the mean and the standard deviation of the training split."""
    return (images - mean) / deviation
