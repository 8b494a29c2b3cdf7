"""Which items the batches hold, and the one function that draws them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from imbal_jax.data.feeding.patches import Patches, cut, places_of
from imbal_jax.sampling import Plan, batch_indices
from imbal_jax.sampling.bursty import BurstyPlan
from imbal_jax.sampling.episodes import EpisodePlan


@struct.dataclass
class Plans:
    """Plans of the batches and of their mixing partners; a pytree.

    plan: items of each batch. partner: items that the batch is mixed with. before, partner_before: plans used in
    their place until the step ``switch``, where the composition is deferred. items: int32 [M], the data set's item
    behind each entry of the plans; None where they are the same. patches: where in the images patches are cut; the
    plan's items are then cases, or images (``Patches.by_image``); None: whole images. episodes: what each example of
    the batch is made of, in place of an item of the plan.
    """

    plan: Plan
    before: Plan | None = None
    switch: Any = None
    partner: Plan | None = None
    partner_before: Plan | None = None
    items: Any = None
    patches: Patches | None = None
    episodes: EpisodePlan | BurstyPlan | None = None


class Draw(NamedTuple):
    """Items of one batch, or of one shard of it.

    items: int32 [B], of episodes [B, T]. partners: int32 [B], or None. places: int32 [B], each example's place in the
    global batch. corners: int32 [B, 2], first row and column of each patch; None: whole images. labels: int32
    [B, T, 2], of episodes, the label shown of each picture and the one that is scored; None: those of the items.
    """

    items: jax.Array
    partners: jax.Array | None
    places: jax.Array
    corners: jax.Array | None = None
    labels: jax.Array | None = None


def draw(plans: Plans, step: jax.Array, shard: jax.Array | None = None) -> Draw:
    """The items of the batch of ``step``: of all of it, or of the part of ``shard``. Pure and jittable."""
    if plans.patches is not None:
        return _drawn_patches(plans, plans.patches, step, shard)
    if plans.episodes is not None:
        places = places_of(len(batch_indices(plans.plan, step, shard)), shard)
        found = plans.episodes.draw(step, places)
        labels = jnp.stack([found.shown, found.targets], axis=-1)
        return Draw(found.items, None, places, labels=labels)
    drawn = _drawn(plans.plan, plans.before, plans.switch, step, shard)
    partners = None
    if plans.partner is not None:
        partners = _drawn(plans.partner, plans.partner_before, plans.switch, step, shard)
    if plans.items is not None:
        drawn = plans.items[drawn]
        partners = None if partners is None else plans.items[partners]
    return Draw(drawn, partners, places_of(len(drawn), shard))


def _drawn_patches(plans: Plans, patches: Patches, step: jax.Array, shard: jax.Array | None) -> Draw:
    """The patches of the batch; before a deferred composition comes in, plain random crops."""
    at = cut(patches, plans.plan, step, shard, patches.by_image)
    if plans.before is not None:
        plain = cut(patches, plans.before, step, shard, by_image=True)
        late = step >= plans.switch
        at = jax.tree.map(lambda now, then: jnp.where(late, now, then), at, plain)
    return Draw(at.images, None, places_of(len(at.images), shard), at.corners)


def _drawn(
    plan: Plan, before: Plan | None, switch: Any, step: jax.Array, shard: jax.Array | None
) -> jax.Array:
    """The batch of ``step`` by ``plan``, or by ``before`` where there is one and ``switch`` is still to come."""
    drawn = batch_indices(plan, step, shard)
    return drawn if before is None else jnp.where(step < switch, batch_indices(before, step, shard), drawn)
