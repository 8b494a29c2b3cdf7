"""A loss by name: a row of the catalogue, or the user's own, found by its import path."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from imbal_jax.errors import InputError
from imbal_jax.import_paths import explained, import_object, is_import_path
from imbal_jax.methods.loss import Loss, LossFunction, Scene, sum_of
from imbal_jax.methods.loss_catalogue import LOSSES


def find_loss(name: str) -> Loss:
    """The row of ``LOSSES`` called ``name``, or what an import path names: a ``Loss``, or a function of a ``Scene``.

    A function is taken for both kinds of labels, without options. For masks also a sum, ``dice+cross_entropy`` or
    ``0.5*dice+cross_entropy``. Raises InputError where there is no such loss.
    """
    if name in LOSSES:
        return LOSSES[name]
    if "+" in name or "*" in name:
        return _sum(name)
    if not is_import_path(name):
        raise InputError(
            f"loss is {name!r}, allowed are {', '.join(LOSSES)}, and one's own, package.module:name"
        )
    return _own_loss(name)


@functools.cache
def _sum(name: str) -> Loss:
    terms = []
    for part in name.split("+"):
        factor, _, of = part.rpartition("*")
        try:
            share = float(factor) if factor else 1.0
        except ValueError:
            share = 0.0
        if not 0 < share < float("inf"):
            raise InputError(f"loss {name}: {factor!r} is no factor: give a number above 0, as 0.5*dice")
        if of not in LOSSES:
            raise InputError(f"loss {name}: {of!r} is none of those that can be added: {', '.join(LOSSES)}")
        terms.append((share, LOSSES[of]))
    if len({term.name for _, term in terms}) < len(terms):
        raise InputError(f"loss {name}: each loss may be named once")
    return sum_of(tuple(terms), name)


@functools.cache  # one row a name: compilations are shared by it
def _own_loss(name: str) -> Loss:
    found = import_object(name, "loss")
    if isinstance(found, Loss):
        return replace(
            found,
            one_label=_explained(name, found.one_label),
            many_labels=_explained(name, found.many_labels),
        )
    if isinstance(found, type) or not callable(found):
        raise InputError(
            f"loss {name} is {found!r:.80}: give an imbal_jax.methods.Loss, or a function of a Scene"
        )
    function = _explained(name, found)
    return Loss(name=name.replace(":", "."), one_label=function, many_labels=function)


def _explained(name: str, function: Callable[[Scene], Any] | None) -> LossFunction | None:
    """``function`` whose exceptions are reported as an InputError with file and line."""
    if function is None:
        return None

    @functools.wraps(function)
    def values(scene: Scene) -> Any:
        with explained(f"loss {name}"):
            return function(scene)

    return values
