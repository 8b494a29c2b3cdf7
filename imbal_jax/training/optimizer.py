"""The optimiser of a config: schedule, weight decay, clipping, and what a loss asks for instead."""

from typing import Any

import jax
import optax

from imbal_jax.config import Optim
from imbal_jax.methods import Method


def make_optimizer(
    options: Optim, total_steps: int, method: Method | None = None
) -> optax.GradientTransformation:
    """The optimiser with its schedule over ``total_steps``, decay on kernels only, and clipping.

    From the switch of a method with ``rate_after`` on, the rate is multiplied by that.
    A loss with an optimiser of its own (``methods.Loss.optimizer``) gets that.
    """
    warmup = round(options.warmup * total_steps)
    peak = options.learning_rate
    start = 0.0 if warmup else peak
    if options.schedule == "cosine":
        rate = optax.warmup_cosine_decay_schedule(start, peak, warmup, max(total_steps, warmup + 1))
    elif options.schedule == "steps":
        milestones = {round(share * total_steps) - warmup: options.decay for share in options.milestones}
        rate = optax.join_schedules(
            [optax.linear_schedule(start, peak, warmup), optax.piecewise_constant_schedule(peak, milestones)],
            [warmup],
        )
    else:
        rate = optax.warmup_constant_schedule(start, peak, warmup)

    if method is not None and method.rate_after != 1:
        factor = optax.piecewise_constant_schedule(
            1.0, {round(method.defer * total_steps): method.rate_after}
        )
        scheduled = rate

        def rate(step: Any) -> Any:
            return scheduled(step) * factor(step)

    def kernels(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    if method is not None and method.loss_row.optimizer is not None and method.second_stage == "none":
        adam = options.optimizer == "adamw"
        return method.loss_row.optimizer(
            rate,
            total_steps=total_steps,
            weight_decay=options.weight_decay,
            direction=optax.scale_by_adam() if adam else optax.trace(options.momentum),
        )
    if options.optimizer == "adamw":
        core = optax.adamw(rate, weight_decay=options.weight_decay, mask=kernels)
    else:
        core = optax.chain(
            optax.add_decayed_weights(options.weight_decay, mask=kernels),
            optax.sgd(
                rate, momentum=options.momentum or None, nesterov=options.nesterov and options.momentum > 0
            ),
        )
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), core) if options.clip_norm else core
