"""Optimiser of the AUC margin loss: descent on the network, ascent on the dual variable.

``losses.auc_margin`` is a saddle function. Its variables a, b (minimised) and alpha (maximised) live among
the parameters, under the key ``AUC_MARGIN``, so that checkpoints and train steps treat them as parameters:

    params = {**model_params, AUC_MARGIN: auc_margin_variables()}
    loss = auc_margin(scores, targets, **params[AUC_MARGIN])
    optimizer = pesg(0.1, period=1000)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

AUC_MARGIN = "auc_margin"
_DUAL = "alpha"


def auc_margin_variables(num_classes: int | None = None) -> dict[str, Array]:
    """Initial ``a``, ``b`` and ``alpha`` of ``losses.auc_margin``: zeros, scalar or [num_classes]."""
    shape = () if num_classes is None else (num_classes,)
    return {name: jnp.zeros(shape) for name in ("a", "b", _DUAL)}


def pesg(
    learning_rate: optax.ScalarOrSchedule,
    *,
    period: int,
    proximal: float = 2e-3,
    weight_decay: float = 1e-5,
    clip: float = 1.0,
    direction: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Proximal epoch stochastic gradient, of a loss that is minimised over v and maximised over alpha >= 0.

        v     <- v - eta direction(clip(dF/dv) + gamma (v - v_ref) + lambda v)
        alpha <- max(0, alpha + eta dF/dalpha)

    v are all parameters but ``params["auc_margin"]["alpha"]``. v_ref is the initial v, and after every
    ``period`` steps the mean of v over these steps: each stage solves a problem made strongly convex around
    where the last one ended. Guo et al., JMLR 2023 (arXiv 2006.06889); Yuan et al., ICCV 2021, algorithm 1,
    whose library has the default numbers here. They divide eta by 10 or so where a stage begins: give
    ``optax.piecewise_constant_schedule`` or a staircase with multiples of ``period``.

    Their library instead moves alpha by 2 (m + b - a) - 2 alpha with the new a and b, which is the gradient
    once a and b have reached the mean scores; here it is the gradient of the loss, as in the papers.

    Args:
      learning_rate: eta, a number or an optax schedule; that of alpha too.
      period: steps of a stage, 1 or more; theirs are some tens of epochs.
      proximal: gamma, 0 or more.
      weight_decay: lambda, 0 or more.
      clip: bound of each element of the gradient, above 0; not of that of alpha.
      direction: how the regularised gradient becomes the step: None as it is, ``optax.trace(0.9)`` with
        momentum, ``optax.scale_by_adam()``.

    Returns:
      An optax transformation whose ``update`` needs ``params``. Its state holds two copies of the parameters.

    Raises:
      ValueError: a number out of range; at ``init``, parameters without ``auc_margin`` and ``alpha`` in it.
    """
    for name, value in (("proximal", proximal), ("weight_decay", weight_decay)):
        if value < 0:
            raise ValueError(f"{name} is {value:g}, expected a number zero or above")
    if clip <= 0:
        raise ValueError(f"clip is {clip:g}, expected a number above zero")
    descend = optax.chain(
        optax.clip(clip),
        add_proximal_term(proximal, period),
        optax.add_decayed_weights(weight_decay),
        optax.identity() if direction is None else direction,
        optax.scale_by_learning_rate(learning_rate),
    )
    ascend = optax.chain(
        optax.scale_by_learning_rate(learning_rate, flip_sign=False), optax.keep_params_nonnegative()
    )
    return optax.partition({"descend": descend, "ascend": ascend}, _roles)


class ProximalState(NamedTuple):
    """Steps taken, the reference point, and the mean of the parameters over the stage so far."""

    count: Array  # type: ignore[assignment]  # the name that states of optax have; a tuple has such a method
    reference: Any
    mean: Any


def add_proximal_term(strength: float, period: int) -> optax.GradientTransformation:
    """Add ``strength * (params - reference)`` to the updates.

    The reference is the initial parameters, and after every ``period`` steps their mean over these steps.

    Raises:
      ValueError: ``period`` below 1.
    """
    if period < 1:
        raise ValueError(f"period is {period}, expected 1 or more steps")

    def init(params: Any) -> ProximalState:
        # copies: a buffer can be donated only once
        reference, mean = (jax.tree.map(lambda p: jnp.array(p, copy=True), params) for _ in range(2))
        return ProximalState(jnp.zeros((), jnp.int32), reference, mean)

    def update(updates: Any, state: ProximalState, params: Any = None) -> tuple[Any, ProximalState]:
        if params is None:
            raise ValueError("add_proximal_term needs the parameters: call update(updates, state, params)")
        # params are the result of step number ``count``; those before the first step are not in a mean
        count = state.count
        index = (count - 1) % period + 1  # within the stage, 1 to period
        mean = jax.tree.map(
            lambda m, p: jnp.where(count == 0, m, m + (p - m) / index.astype(m.dtype)), state.mean, params
        )
        new_stage = (count > 0) & (index == period)
        reference = jax.tree.map(lambda r, m: jnp.where(new_stage, m, r), state.reference, mean)
        updates = jax.tree.map(lambda u, p, r: u + strength * (p - r), updates, params, reference)
        return updates, ProximalState(optax.safe_increment(count), reference, mean)

    return optax.GradientTransformation(init, update)


def _roles(params: Any) -> Any:
    """ "ascend" for the dual variable, "descend" for the rest."""
    suffix = f"{AUC_MARGIN}/{_DUAL}"

    def role(path: tuple[Any, ...], _: Any) -> str:
        return "ascend" if f"/{_path(path)}".endswith(f"/{suffix}") else "descend"

    roles = jax.tree_util.tree_map_with_path(role, params)
    if "ascend" not in jax.tree.leaves(roles):
        raise ValueError(f"parameters hold no {suffix}: add {{AUC_MARGIN: auc_margin_variables()}} to them")
    return roles


def _path(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
