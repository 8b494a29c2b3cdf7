"""The training state: what a run carries from step to step."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """Parameters, optimiser state and counters; a pytree, saved as it is.

    step: int32, steps taken so far, skipped ones included; with the seed it determines the next batch.
    params, model_state: the trained and the other collections of the model (``batch_stats``).
    opt_state: the optimiser's state.
    ema_params: exponential moving average of ``params``, or None.
    rng: PRNG key of the run; never changes, every use folds in the step.
    skipped, skipped_in_row: int32, updates left out because loss or gradient was not finite.
    """

    step: jax.Array
    params: Any
    model_state: Any
    opt_state: Any
    ema_params: Any
    rng: jax.Array
    skipped: jax.Array
    skipped_in_row: jax.Array

    @property
    def evaluation_variables(self) -> dict[str, Any]:
        """The variables to predict with: the averaged parameters where there are any."""
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, **self.model_state}


def init_state(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, rng: jax.Array, *, ema: bool = False
) -> TrainState:
    """A state at step 0 from a model's initial ``variables`` ({"params": ..., other collections})."""
    params = variables["params"]
    # three separate arrays: a buffer can be donated only once
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state={name: value for name, value in variables.items() if name != "params"},
        opt_state=optimizer.init(params),
        ema_params=jax.tree.map(jnp.copy, params) if ema else None,
        rng=rng,
        skipped=jnp.zeros((), jnp.int32),
        skipped_in_row=jnp.zeros((), jnp.int32),
    )
