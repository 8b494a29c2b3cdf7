"""The optimiser of a config: schedule, weight decay, clipping, and what a loss asks for instead."""

from typing import Any

import jax
import optax

from imbal_jax.config import Optim
from imbal_jax.methods import Method, OptimizerFactory

AVERAGING = 0.95
"""Of the averages of RMSProp."""
LEAST_SQUARE = 1e-4
"""Under the root of RMSProp."""
NO_CHANGE = (0, 1.0)
"""The learning rate is multiplied by 1 from the first step on."""


def make_optimizer(
    options: Optim,
    total_steps: int,
    rate_change: tuple[int, float] = NO_CHANGE,
    own: OptimizerFactory | None = None,
) -> optax.GradientTransformation:
    """The optimiser with its schedule over ``total_steps``, decay on kernels only, and clipping.

    rate_change: a step and a factor by which the learning rate is multiplied from then on. own: makes the optimiser
    that a loss needs in place of the configured one (``methods.Loss.optimizer``).
    """
    rate = learning_rate(options, total_steps, rate_change)

    def kernels(params: Any) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    if own is not None:
        return own(
            rate,
            total_steps=total_steps,
            weight_decay=options.weight_decay,
            direction=direction(options),
        )
    if options.optimizer == "adamw":
        core = optax.adamw(rate, weight_decay=options.weight_decay, mask=kernels)
    elif options.optimizer == "rmsprop":
        decay = optax.add_decayed_weights(options.weight_decay, mask=kernels)
        core = optax.chain(decay, rmsprop(rate, options.momentum))
    else:
        core = optax.chain(
            optax.add_decayed_weights(options.weight_decay, mask=kernels),
            optax.sgd(
                rate, momentum=options.momentum or None, nesterov=options.nesterov and options.momentum > 0
            ),
        )
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), core) if options.clip_norm else core


def direction(options: Optim) -> optax.GradientTransformation:
    """What the optimiser makes of a gradient before the learning rate."""
    if options.optimizer == "adamw":
        return optax.scale_by_adam()
    momentum = optax.trace(options.momentum)
    if options.optimizer == "rmsprop":
        return optax.chain(optax.scale_by_stddev(AVERAGING, LEAST_SQUARE, eps_in_sqrt=True), momentum)
    return momentum


def rmsprop(rate: optax.ScalarOrSchedule, momentum: float) -> optax.GradientTransformation:
    """RMSProp relative to the mean of the gradient: Graves 2013, arXiv 1308.0850, eqs. 38 to 45.

    n = 0.95 n + 0.05 g^2,    m = 0.95 m + 0.05 g,    d = momentum d - rate g / sqrt(n - m^2 + 1e-4)
    """
    return optax.rmsprop(
        rate, decay=AVERAGING, eps=LEAST_SQUARE, eps_in_sqrt=True, centered=True, momentum=momentum
    )


def learning_rate(
    options: Optim, total_steps: int, rate_change: tuple[int, float] = NO_CHANGE
) -> optax.Schedule:
    """Step -> learning rate: warm-up, then the schedule of the config, times the factor of ``rate_change``."""
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
    if rate_change[1] == 1:
        return rate
    factor = optax.piecewise_constant_schedule(1.0, {rate_change[0]: rate_change[1]})
    return lambda step: rate(step) * factor(step)


def rate_change_of(method: Method, total_steps: int) -> tuple[int, float]:
    """When and by how much ``method`` changes the learning rate."""
    if method.rate_after == 1:
        return NO_CHANGE
    return round(method.defer * total_steps), method.rate_after
