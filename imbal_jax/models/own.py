"""The user's own model, found by its import path: a linen module, or a function that returns one."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from imbal_jax.errors import InputError
from imbal_jax.import_paths import import_object

USUAL: Mapping[str, Any] = {
    "norm": "group",
    "dtype": jnp.dtype("float32"),
    "dropout": 0.0,
    "views": 1,
    "head": "linear",
}
"""Options of every built-in model and their neutral values: the user's own model need not have them."""

MODES: Mapping[str, Callable[[bool], bool]] = {
    "train": lambda train: train,
    "training": lambda train: train,
    "is_training": lambda train: train,
    "deterministic": lambda train: not train,
}
"""Arguments by which a linen module may learn whether it is being trained."""


@dataclass(frozen=True)
class PlainModel:
    """A linen module that gives logits and nothing else, called as the built-in models are.

    module: called with images [B, H, W, channels] and, if it has one of ``MODES``, that.
    """

    module: nn.Module

    def init(self, key: jax.Array, inputs: jax.Array, *, train: bool) -> Mapping[str, Any]:
        """Initial variables."""
        return self.module.init(key, inputs, **self._mode(train))

    def apply(
        self,
        variables: Mapping[str, Any],
        inputs: jax.Array,
        *,
        train: bool,
        outputs: str = "logits",
        **options: Any,
    ) -> Any:
        """float32 logits; with ``outputs="both"`` a mapping that holds them. options: of ``nn.Module.apply``."""
        if outputs == "features":
            raise InputError(f"{type(self.module).__name__} gives logits only, and its features are asked")
        found = self.module.apply(variables, inputs, **self._mode(train), **options)
        logits, *updates = found if isinstance(found, tuple) else (found,)
        logits = jnp.asarray(logits, jnp.float32)
        given = {"logits": logits} if outputs == "both" else logits
        return (given, *updates) if updates else given

    def _mode(self, train: bool) -> dict[str, Any]:
        known = inspect.signature(type(self.module).__call__).parameters
        return {name: value(train) for name, value in MODES.items() if name in known}


def own_model(path: str, *, num_outputs: int, **options: Any) -> nn.Module | PlainModel:
    """The model at ``path``, made with those of ``num_outputs`` and ``options`` that it takes.

    Raises InputError where there is none, or where it does not take an option that has another value than in
    ``USUAL``. ``axis_name`` is given to those that take it.
    """
    maker = import_object(path, "model.name")
    if not callable(maker):
        raise InputError(
            f"model.name {path} is {maker!r}: give a linen module, or a function that returns one"
        )
    known = inspect.signature(maker).parameters
    every = any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values())
    given = {}
    for name, value in {"num_outputs": num_outputs, **options}.items():
        if every or (name in known and name not in ("parent", "name")):
            given[name] = value
        elif name not in ("num_outputs", "axis_name") and (name not in USUAL or value != USUAL[name]):
            allowed = ", ".join(sorted(set(known) - {"parent", "name"})) or "no options"
            raise InputError(
                f"{name} {value!r} is asked, and model {path} does not take it; it takes {allowed}"
            )
    try:
        model = maker(**given)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"model {path} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"model {path} gives {type(model).__name__}: a flax.linen Module is expected")
    takes = inspect.signature(type(model).__call__).parameters
    return model if "outputs" in takes else PlainModel(model)


def averages_alone(model: Any, variables: Mapping[str, Any]) -> bool:
    """Whether the model has running averages that devices would not share: it knows no ``axis_name``."""
    module = model.module if isinstance(model, PlainModel) else model
    return set(variables) != {"params"} and getattr(module, "axis_name", None) is None
