"""A loss by name: a row of the catalogue, or the user's own, found by its import path."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from imbal_jax.errors import InputError
from imbal_jax.import_paths import explained, import_object, is_import_path
from imbal_jax.methods.loss import Loss, LossFunction, Scene
from imbal_jax.methods.loss_catalogue import LOSSES


def find_loss(name: str) -> Loss:
    """The row of ``LOSSES`` called ``name``, or what an import path names: a ``Loss``, or a function of a ``Scene``.

    A function is taken for both kinds of labels, without options. Raises InputError where there is no such loss.
    """
    if name in LOSSES:
        return LOSSES[name]
    if not is_import_path(name):
        raise InputError(
            f"loss is {name!r}, allowed are {', '.join(LOSSES)}, and one's own, package.module:name"
        )
    return _own_loss(name)


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
