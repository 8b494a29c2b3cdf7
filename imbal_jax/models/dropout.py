"""Dropout whose mask depends on an example's place in the global batch, and so not on the number of devices."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from imbal_jax.engine.accumulation import places_in_batch
from imbal_jax.engine.keys import OF_PLACES


class Dropout(nn.Module):
    """Each value is zero with probability ``rate``, else x / (1 - rate) (Srivastava et al., JMLR 2014).

    In training it draws from the key named ``OF_PLACES``, which ``engine.make_train_step`` gives, the same on every
    device; without it from "dropout".

    Attributes:
      rate: from 0 to below 1.
      axis_name: mesh axis over which the batch is sharded; None where the whole batch is seen.
      views: how often the batch holds each example, view after view.
    """

    rate: float
    axis_name: str | None = None
    views: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[views * B, ...] -> the same shape; ``x`` itself outside training."""
        if not train or self.rate == 0.0:
            return x
        share = len(x) // self.views
        places = places_in_batch(share, self.axis_name)
        step_key = self.make_rng(OF_PLACES if self.has_rng(OF_PLACES) else "dropout")
        kept = jnp.concatenate(
            [
                self._kept(jax.random.fold_in(step_key, view), places, x.shape[1:])
                for view in range(self.views)
            ]
        )
        return jnp.where(kept, x / (1.0 - self.rate), jnp.zeros((), x.dtype))

    def _kept(self, key: Array, places: Array, shape: tuple[int, ...]) -> Array:
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, places)
        return jax.vmap(lambda k: jax.random.bernoulli(k, 1.0 - self.rate, shape))(keys)
