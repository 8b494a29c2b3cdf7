"""From a plan and a step to a batch of network inputs, and what all batches share."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imbal_jax.data.dataset import Images
from imbal_jax.sampling import Plan, batch_indices
from imbal_jax.transforms.augment import Augment, augment
from imbal_jax.transforms.mixing import Mixing, mix

Resident = Mapping[str, Any]

REPEATED = Augment(shift=0.1, rotation=10.0, zoom=0.1, brightness=0.1, contrast=0.2)
"""What perturbs repeated images where the config has no augmentation of its own."""

SAMPLE = 16_384
"""Images that the pixel statistics are taken over at most: of 224 x 224 pixels, two seconds."""

_STEP_KEY = 2**31 - 1  # folded in where an image's place is; no batch has so many


@dataclass(frozen=True, kw_only=True)
class Plans:
    """Which items the batches hold.

    plan: of every batch. before: of those before ``shared["switch"]``, where the composition is deferred.
    partner: of the images that the batch is mixed with. items: int32 [M], the data set's item behind each
    entry of the plans; None where they are the same.
    """

    plan: Plan
    before: Plan | None = None
    partner: Plan | None = None
    items: np.ndarray | None = None


@dataclass(frozen=True)
class Pipeline:
    """How a batch is made; static, so that it may be closed over by a compiled step.

    augmentation: what every image is perturbed by at strength 1. mixing: of each image with its partner.
    views: how often each image of the batch is there, every time perturbed anew.
    """

    augmentation: Augment
    mixing: Mixing = Mixing()  # noqa: RUF009
    views: int = 1

    def from_device(self, resident: Resident, step: jax.Array, shard: jax.Array | None) -> dict[str, Any]:
        """The batch of ``step`` (the part of ``shard``, or all of it), from arrays that are on the device.

        resident: what ``resident_arrays`` gives. Pure and jittable; the global batch, perturbations
        included, is the same for any number of shards.
        """

        def item_of(drawn: jax.Array) -> jax.Array:
            return resident["items"][drawn] if "items" in resident else drawn

        drawn = batch_indices(resident["plan"], step, shard)
        if "before" in resident:
            early = step < resident["shared"]["switch"][0]
            drawn = jnp.where(early, batch_indices(resident["before"], step, shard), drawn)
        slots = jnp.arange(len(drawn), dtype=jnp.int32)
        if shard is not None:
            slots = slots + shard.astype(jnp.int32) * len(drawn)
        items = item_of(drawn)
        raw = {"images": resident["images"][items], "labels": resident["labels"][items], "slots": slots}
        if "partner" in resident:
            others = item_of(batch_indices(resident["partner"], step, shard))
            raw |= {
                "partner_images": resident["images"][others],
                "partner_labels": resident["labels"][others],
            }
        return self.inputs(raw, resident["shared"], step)

    def inputs(
        self, raw: Mapping[str, jax.Array], shared: Mapping[str, Any], step: jax.Array
    ) -> dict[str, Any]:
        """Raw images as network inputs [views * B, ...]: perturbed, mixed, then standardised; view after view.

        raw: ``images`` uint8 or uint16 [B, H, W, C], ``labels`` [B] or [B, L], ``slots`` int32 [B], each image's
        place in the global batch, which with the step determines its perturbation; ``partner_images`` and
        ``partner_labels`` where images are mixed.
        """
        key = jax.random.fold_in(jax.random.wrap_key_data(shared["augment_key"]), step)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, raw["slots"])
        if self.views > 1:
            again = [jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, v) for v in range(1, self.views)]
            keys = jnp.concatenate([keys, *again])
            raw = {name: jnp.concatenate([values] * self.views) for name, values in raw.items()}

        def perturbed(keys: jax.Array, images: jax.Array, labels: jax.Array) -> jax.Array:
            strength: Any = shared["strength"][labels] if "strength" in shared else 1.0
            return augment(keys, images, self.augmentation, strength)

        shared = {**shared, "step_key": jax.random.key_data(jax.random.fold_in(key, _STEP_KEY))}
        if "switch" in shared:
            shared |= _schedule(shared, step)
        batch = {"labels": raw["labels"], "shared": shared}
        images = perturbed(keys, raw["images"], raw["labels"])
        if self.mixing.kind != "none":
            mixing_keys, partner_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
            mixed, share = mix(
                mixing_keys,
                images,
                raw["labels"],
                perturbed(partner_keys, raw["partner_images"], raw["partner_labels"]),
                raw["partner_labels"],
                shared["counts"],
                self.mixing,
            )
            first, end = shared["mixing_steps"]
            on = (step >= first) & (step < end)
            images, batch["share"] = jnp.where(on, mixed, images), jnp.where(on, share, 1.0)
            batch["partner_labels"] = raw["partner_labels"]
        return {"inputs": standardize(images, shared["mean"], shared["deviation"]), **batch}


def _schedule(shared: Mapping[str, jax.Array], step: jax.Array) -> dict[str, jax.Array]:
    """How far what is deferred has come in, 0 to 1, and the priors of this step's batches."""
    start, ramp = shared["switch"]
    blend = jnp.clip((step - start + 1) / jnp.maximum(ramp, 1), 0.0, 1.0).astype(jnp.float32)
    priors = {}
    if "priors_before" in shared:
        priors["priors"] = jnp.where(step < start, shared["priors_before"], shared["priors"])
    return {"blend": blend, **priors}


def standardize(images: jax.Array, mean: jax.Array, deviation: jax.Array) -> jax.Array:
    """Images in [0, 1] with the training split's mean and standard deviation made 0 and 1."""
    return (images - mean) / deviation


def resident_arrays(
    images: np.ndarray, labels: np.ndarray, plans: Plans, shared: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What ``Pipeline.from_device`` reads; put it on the mesh with ``parallel.replicate``."""
    optional = {"before": plans.before, "partner": plans.partner, "items": plans.items}
    arrays = {"images": images, "labels": labels, "plan": plans.plan, "shared": dict(shared)}
    return arrays | {name: value for name, value in optional.items() if value is not None}


def pixel_statistics(images: Images) -> dict[str, np.ndarray]:
    """Mean and standard deviation of the pixels, scaled to [0, 1]: float32 scalars.

    Over all images; of more than 16,384 over so many, drawn once and for all by their number, so that a set
    too large to read through and the same set in memory are standardised alike.
    """
    if not isinstance(images, np.ndarray):
        return dict(_statistics_on_disk(images))
    return _statistics(images)


@functools.lru_cache(maxsize=4)
def _statistics_on_disk(images: Images) -> Mapping[str, np.ndarray]:
    return _statistics(images)  # read once, whatever the number of methods


def _statistics(images: Images) -> dict[str, np.ndarray]:
    count, levels = len(images), int(np.iinfo(images.dtype).max) + 1
    drawn = np.arange(count)
    if count > SAMPLE:
        drawn = np.sort(np.random.default_rng(0).choice(count, SAMPLE, replace=False))
    # by histogram: exact, and no float copy of the data set
    histogram = np.zeros(levels, np.int64)
    for part in np.array_split(drawn, -(-len(drawn) // 256)):
        histogram += np.bincount(images[part].reshape(-1), minlength=levels)
    values = np.arange(levels) / (levels - 1)
    mean = np.average(values, weights=histogram)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=histogram))
    return {"mean": np.float32(mean), "deviation": np.float32(max(deviation, 1e-6))}
