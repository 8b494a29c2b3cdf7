"""Linen modules by name. All are called with ``(images, train)`` and return float32 logits."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

from flax import linen as nn

from imbal_jax.errors import InputError
from imbal_jax.import_paths import is_import_path
from imbal_jax.models.cnn import CNN
from imbal_jax.models.head import Head
from imbal_jax.models.normalization import Norm
from imbal_jax.models.own import PlainModel, own_model
from imbal_jax.models.resnet import ResNet, Shortcut, Stem, resnet18, resnet32, resnet50, resnet_small

__all__ = ["CNN", "MODELS", "ResNet", "make_model", "resnet18", "resnet32", "resnet50", "resnet_small"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "cnn": CNN,
    "resnet_small": resnet_small,
    "resnet18": resnet18,
    "resnet32": resnet32,
    "resnet50": resnet50,
}

CHOICES = {
    "head": get_args(Head),
    "norm": get_args(Norm),
    "stem": get_args(Stem),
    "shortcut": get_args(Shortcut),
}


def make_model(name: str, *, num_outputs: int, **options: Any) -> nn.Module | PlainModel:
    """The model called ``name`` with ``num_outputs`` logits; ``options`` are fields of its class.

    name: a key of ``MODELS``, or the import path of the user's own (``models.own``). Raises ``InputError`` for an
    unknown name, option or choice, saying which there are.
    """
    if is_import_path(name):
        return own_model(name, num_outputs=num_outputs, **options)
    if name not in MODELS:
        raise InputError(
            f"model {name!r} is unknown; choose from {', '.join(MODELS)}, or give package.module:name"
        )
    if num_outputs < 1:
        raise InputError(f"num_outputs {num_outputs} of model {name!r}: must be at least 1")
    allowed = set(inspect.signature(MODELS[name]).parameters) - {"parent", "name", "num_outputs"}
    for option in options:
        if option not in allowed:
            raise InputError(
                f"option {option!r} of model {name!r} is unknown; choose from {', '.join(sorted(allowed))}"
            )
    for option, choices in CHOICES.items():
        if option in allowed and options.get(option, choices[0]) not in choices:
            raise InputError(
                f"{option} {options[option]!r} of model {name!r}: choose from {', '.join(map(repr, choices))}"
            )
    return MODELS[name](num_outputs=num_outputs, **options)
