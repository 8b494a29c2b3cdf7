"""The train step and the evaluation step: pure functions that know a mesh axis and nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from imbal_jax.engine import keys
from imbal_jax.engine.accumulation import key_of_part, value_and_grad_in_parts
from imbal_jax.engine.state import TrainState

Batch = Mapping[str, Any]
Metrics = dict[str, jax.Array]

ApplyFn = Callable[..., Any]
"""``apply_fn(variables, inputs, *, train, rngs)`` -> outputs, or (outputs, updated collections)."""

Objective = Callable[[Any, Batch, str | None], tuple[jax.Array, Metrics]]
"""``objective(outputs, batch, axis_name)`` -> (loss, metrics).

The loss is the mean over the *global* batch, by ``losses.weighted_mean(values, weights, axis_name)``: each
device holds the same value and differentiates its own share of it.
"""


@dataclass(frozen=True)
class TrainStep:
    """One optimisation step, ``(state, batch) -> (state, metrics)``; see ``make_train_step``."""

    apply_fn: ApplyFn
    optimizer: optax.GradientTransformation
    objective: Objective
    axis_name: str | None = "data"
    ema_decay: float = 0.0
    average_from: int | None = None
    accumulation: int = 1

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        axis = self.axis_name
        of_places = of_device = keys.dropout(state.rng, state.step)
        params = state.params
        if axis is not None:
            of_device = jax.random.fold_in(of_device, jax.lax.axis_index(axis))
            # Without this, shard_map with check_vma=True sums the gradient once by itself, and the psum
            # below makes it N times too large, silently.
            params = jax.tree.map(lambda p: jax.lax.pcast(p, axis, to="varying"), params)

        def forward(
            params: Any, model_state: Mapping[str, Any], inputs: Any
        ) -> tuple[Any, Mapping[str, Any]]:
            rngs = {"dropout": key_of_part(of_device), keys.OF_PLACES: of_places}
            outputs = self.apply_fn({"params": params, **model_state}, inputs, train=True, rngs=rngs)
            return outputs if isinstance(outputs, tuple) else (outputs, {})

        def loss_of(params: Any) -> tuple[jax.Array, tuple[Any, Metrics]]:
            outputs, updates = forward(params, state.model_state, batch["inputs"])
            loss, metrics = self.objective(outputs, batch, axis)
            return loss, (updates, metrics)

        if self.accumulation == 1:
            (loss, (updates, metrics)), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        else:
            (loss, (updates, metrics)), grads = value_and_grad_in_parts(
                forward,
                lambda outputs: self.objective(outputs, batch, axis),
                params,
                state.model_state,
                batch["inputs"],
                self.accumulation,
            )
        if axis is not None:
            grads = jax.lax.psum(grads, axis)
            loss = jax.lax.pmean(loss, axis)  # equal on all devices already; this marks it so
        gradient_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)

        changes, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        new_params = optax.apply_updates(state.params, changes)
        ema_params = state.ema_params
        if ema_params is not None:
            # the first steps average over a short past, or the initial weights would linger
            steps = state.step.astype(jnp.float32)
            decay = jnp.minimum(self.ema_decay, (1 + steps) / (10 + steps))
            if self.average_from is not None:
                since = jnp.maximum(state.step - self.average_from, 0).astype(jnp.float32)
                decay = since / (since + 1)
            ema_params = optax.incremental_update(new_params, ema_params, 1.0 - decay)

        def keep(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

        skipped = 1 - finite.astype(jnp.int32)
        new_state = replace(
            state,
            step=state.step + 1,
            params=keep(new_params, state.params),
            model_state=keep({**state.model_state, **updates}, state.model_state),
            opt_state=keep(opt_state, state.opt_state),
            ema_params=keep(ema_params, state.ema_params),
            skipped=state.skipped + skipped,
            skipped_in_row=jnp.where(finite, 0, state.skipped_in_row + 1),
        )
        return new_state, {"loss": loss, "gradient_norm": gradient_norm, "skipped": skipped, **metrics}


def make_train_step(
    apply_fn: ApplyFn,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    axis_name: str | None = "data",
    *,
    ema_decay: float = 0.0,
    average_from: int | None = None,
    accumulation: int = 1,
) -> TrainStep:
    """Return the pure step ``(state, batch) -> (state, metrics)``.

    The step runs on one device's share of the batch inside ``shard_map`` or ``pmap`` over ``axis_name``, or
    on the whole batch with ``axis_name=None``; ``parallel.parallelize`` wraps it either way. An update whose
    loss or gradient is not finite is left out and counted.

    apply_fn: ``(variables, inputs, *, train, rngs)`` -> outputs or (outputs, updated collections); for a
        linen module use ``linen_apply(model)``; any framework whose model is a pure function plugs in.
    objective: ``(outputs, batch, axis_name)`` -> (mean loss over the global batch, metrics); its gradient is
        the local share, as ``losses.weighted_mean`` returns it.
    batch: mapping with ``inputs`` and what the objective reads; leaves are [B, ...], except under
        ``"shared"``, whose arrays every device sees whole (class weights, priors).
    ema_decay: decay of the moving average of the parameters, used where ``state.ema_params`` is not None.
    average_from: instead, the step from which on that is the plain mean of the parameters after every step
        (stochastic weight averaging: Izmailov et al., UAI 2018); until then it follows them.
    accumulation: in how many parts a device's share of the batch passes through the network
        (``engine.accumulation``).
    metrics: ``loss``, ``gradient_norm``, ``skipped`` (0 or 1) and those of the objective; equal on all
        devices.
    """
    return TrainStep(apply_fn, optimizer, objective, axis_name, ema_decay, average_from, accumulation)


def make_eval_step(
    apply_fn: ApplyFn, predict: Callable[[Any], jax.Array]
) -> Callable[[Mapping[str, Any], jax.Array], jax.Array]:
    """Return ``(variables, inputs [B, ...]) -> scores [B, C]``: the model in evaluation mode, then ``predict``."""

    def eval_step(variables: Mapping[str, Any], inputs: jax.Array) -> jax.Array:
        outputs = apply_fn(variables, inputs, train=False, rngs={})
        return predict(outputs[0] if isinstance(outputs, tuple) else outputs)

    return eval_step


def linen_apply(model: Any) -> ApplyFn:
    """``apply_fn`` of a linen module: in training it also returns the collections that the call updated."""

    def apply(
        variables: Mapping[str, Any], inputs: jax.Array, *, train: bool, rngs: Mapping[str, jax.Array]
    ) -> Any:
        if not train:
            return model.apply(variables, inputs, train=False)
        mutable = [name for name in variables if name != "params"]
        return model.apply(variables, inputs, train=True, rngs=rngs, mutable=mutable)

    return apply
