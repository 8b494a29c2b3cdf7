"""Arrays shared by all examples of a batch: class arrays, pixel statistics, schedule, random key."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from imbal_jax.engine import keys


@struct.dataclass
class Shared:
    """A pytree of arrays that every device holds in full; a sweep over ratios or weights changes values only.

    arrays: numbers of each class (``methods.ClassArrays``), or what the user's own task makes.
    mean, deviation: float32 scalars, of the training images' pixels in [0, 1].
    images_key: data of the key from which images are perturbed (``engine.keys.images``).
    switch: int32 [2], the step at which deferred weights and losses begin, and the steps over which they are blended
        in; None: nothing is deferred.
    mixing_steps: int32 [2], the first step at which images are mixed and the step at which mixing ends; None: never.

    Of one step (``at_step``), None in between:
    loss_key: data of the key that a loss with random terms draws from.
    blend: float32 scalar, weight of the deferred weights and losses, from 0 to 1.
    """

    arrays: Any
    mean: Any = 0.0
    deviation: Any = 1.0
    images_key: Any = None
    switch: Any = None
    mixing_steps: Any = None
    loss_key: Any = None
    blend: Any = None

    @property
    def statistics(self) -> dict[str, Any]:
        """``mean`` and ``deviation``."""
        return {"mean": self.mean, "deviation": self.deviation}

    def at_step(self, step: jax.Array, step_key: jax.Array) -> "Shared":
        """The same at one step, with its key, its blend, and the priors of its batches."""
        now = replace(self, loss_key=jax.random.key_data(keys.loss_of_step(step_key)))
        if self.switch is None:
            return now
        start, ramp = self.switch
        blend = jnp.clip((step - start + 1) / jnp.maximum(ramp, 1), 0.0, 1.0).astype(jnp.float32)
        arrays = self.arrays
        if getattr(arrays, "priors_before", None) is not None:
            arrays = arrays._replace(priors=jnp.where(step < start, arrays.priors_before, arrays.priors))
        return replace(now, blend=blend, arrays=arrays)
