"""From a plan and a step to a batch of network inputs: on the device, or fed from the host."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax.augment import Augment, augment
from imbal_jax.sampling import Plan, batch_indices

Resident = Mapping[str, Any]

REPEATED = Augment(shift=0.1, rotation=10.0, zoom=0.1, brightness=0.1, contrast=0.2)
"""What perturbs repeated images where the config has no augmentation of its own."""


@dataclass(frozen=True)
class Pipeline:
    """How a batch is made; static, so that it may be closed over by a compiled step.

    augmentation: what every image is perturbed by at strength 1.
    """

    augmentation: Augment

    def from_device(self, resident: Resident, step: jax.Array, shard: jax.Array | None) -> dict[str, Any]:
        """The batch of ``step`` (the part of ``shard``, or all of it), from arrays that are on the device.

        resident: what ``resident_arrays`` gives. Pure and jittable; the global batch, perturbations
        included, is the same for any number of shards.
        """
        plan: Plan = resident["plan"]
        drawn = batch_indices(plan, step, shard)
        items = resident["items"][drawn] if "items" in resident else drawn
        slots = jnp.arange(len(drawn), dtype=jnp.int32)
        if shard is not None:
            slots = slots + shard.astype(jnp.int32) * len(drawn)
        raw = {"images": resident["images"][items], "labels": resident["labels"][items], "slots": slots}
        return self.inputs(raw, resident["shared"], step)

    def inputs(
        self, raw: Mapping[str, jax.Array], shared: Mapping[str, Any], step: jax.Array
    ) -> dict[str, Any]:
        """Raw images as network inputs: perturbed, then standardised.

        raw: ``images`` uint8 [B, H, W, C], ``labels`` [B] or [B, L], ``slots`` int32 [B], each image's place
        in the global batch, which with the step determines its perturbation.
        """
        key = jax.random.fold_in(jax.random.wrap_key_data(shared["augment_key"]), step)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, raw["slots"])
        strength: Any = 1.0
        if "strength" in shared:
            strength = shared["strength"][raw["labels"]]
        images = augment(keys, raw["images"], self.augmentation, strength)
        return {
            "inputs": standardize(images, shared["mean"], shared["deviation"]),
            "labels": raw["labels"],
            "shared": shared,
        }


def standardize(images: jax.Array, mean: jax.Array, deviation: jax.Array) -> jax.Array:
    """Images in [0, 1] with the training split's mean and standard deviation made 0 and 1."""
    return (images - mean) / deviation


def resident_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    plan: Plan,
    items: np.ndarray | None,
    shared: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """What ``Pipeline.from_device`` reads; put it on the mesh with ``parallel.replicate``.

    items: int32 [M], the data set's item behind each entry of the plan; None where they are the same.
    """
    arrays = {"images": images, "labels": labels, "plan": plan, "shared": dict(shared)}
    return arrays if items is None else {**arrays, "items": items}


def host_batches(
    images: np.ndarray, labels: np.ndarray, plan: Plan, items: np.ndarray | None
) -> Callable[[int], dict[str, np.ndarray]]:
    """``step -> raw global batch`` gathered on the host, for images that do not fit on the device."""
    slots = np.arange(plan.batch_size, dtype=np.int32)

    def raw(step: int) -> dict[str, np.ndarray]:
        drawn = np.asarray(batch_indices(plan, step))
        drawn = drawn if items is None else items[drawn]
        return {"images": images[drawn], "labels": labels[drawn], "slots": slots}

    return raw


def pixel_statistics(images: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation of the pixels, scaled to [0, 1], over all images: float32 scalars."""
    # by histogram: exact for 8 bits, and no float copy of the data set
    histogram = (
        np.bincount(images.reshape(-1), minlength=256)
        if images.size < 2**24
        else sum(np.bincount(part.reshape(-1), minlength=256) for part in np.array_split(images, 64))
    )
    values = np.arange(256) / 255
    mean = np.average(values, weights=histogram)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=histogram))
    return {"mean": np.float32(mean), "deviation": np.float32(max(deviation, 1e-6))}
