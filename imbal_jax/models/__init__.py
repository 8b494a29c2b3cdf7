"""Linen modules by name. All are called with ``(inputs, train)`` and return float32 logits.

Inputs are images [B, H, W, channels]; of ``SEQUENCE_MODELS`` sequences; of ``EPISODE_MODELS`` episodes
(``models.episode_inputs``).
"""

import inspect
from collections.abc import Callable
from typing import Any, get_args

import jax.numpy as jnp
from flax import linen as nn

from imbal_jax.errors import InputError, did_you_mean
from imbal_jax.import_paths import is_import_path
from imbal_jax.models.cnn import CNN
from imbal_jax.models.episode_controller import Controller, episode_lstm, episode_mlp
from imbal_jax.models.episode_encoder import Encoder
from imbal_jax.models.episode_transformer import EpisodeTransformer, Positions
from imbal_jax.models.head import Head
from imbal_jax.models.least_used import Erase, Target, Write
from imbal_jax.models.lstm import LSTM
from imbal_jax.models.mann import MANN, MemoryInit, WeightInit
from imbal_jax.models.matching import MatchingNetwork
from imbal_jax.models.normalization import Norm
from imbal_jax.models.ntm import NTM, HeadStart, MemoryStart, WeightingStart
from imbal_jax.models.own import USUAL, PlainModel, own_model
from imbal_jax.models.prototypical import PrototypicalNetwork
from imbal_jax.models.resnet import ResNet, Shortcut, Stem, resnet18, resnet32, resnet50, resnet_small
from imbal_jax.models.snail import SNAIL
from imbal_jax.models.unet import Block, UNet, Upsampling, wnet

__all__ = [
    "CNN",
    "EPISODE_MODELS",
    "LSTM",
    "MANN",
    "MODELS",
    "NTM",
    "SEQUENCE_MODELS",
    "SNAIL",
    "EpisodeTransformer",
    "MatchingNetwork",
    "PrototypicalNetwork",
    "ResNet",
    "UNet",
    "make_model",
    "resnet18",
    "resnet32",
    "resnet50",
    "resnet_small",
    "wnet",
]

SEQUENCE_MODELS: dict[str, Callable[..., nn.Module]] = {"ntm": NTM, "lstm": LSTM}
EPISODE_MODELS: dict[str, Callable[..., nn.Module]] = {
    "mann": MANN,
    "episode_lstm": episode_lstm,
    "episode_mlp": episode_mlp,
    "matching": MatchingNetwork,
    "prototypical": PrototypicalNetwork,
    "snail": SNAIL,
    "episode_transformer": EpisodeTransformer,
}
MODELS: dict[str, Callable[..., nn.Module]] = {
    "cnn": CNN,
    "resnet_small": resnet_small,
    "resnet18": resnet18,
    "resnet32": resnet32,
    "resnet50": resnet50,
    "unet": UNet,
    "wnet": wnet,
    **SEQUENCE_MODELS,
    **EPISODE_MODELS,
}

CHOICES = {
    "head": get_args(Head),
    "norm": get_args(Norm),
    "stem": get_args(Stem),
    "shortcut": get_args(Shortcut),
    "bottleneck": (False, True),
    "block": get_args(Block),
    "upsampling": get_args(Upsampling),
    "bridge": (False, True),
    "remat": (False, True),
    "controller": get_args(Controller),
    "memory": get_args(MemoryStart),
    "weighting": get_args(WeightingStart),
    "heads_start": get_args(HeadStart),
    "encoder": get_args(Encoder),
    "key_strength": (False, True),
    "write": get_args(Write),
    "erase": get_args(Erase),
    "target": get_args(Target),
    "memory_init": get_args(MemoryInit),
    "weight_init": get_args(WeightInit),
    "positions": get_args(Positions),
}
COUNTS = (
    *("width", "max_width", "stages", "patch", "groups", "views", "nets"),
    *("size", "places", "read_heads", "write_heads", "shifts", "layers"),
    *("hidden", "slots", "reads", "encoder_width", "digit_base", "heads", "filters"),
)
HALVINGS = {"depth": range(1, 11), "deep_supervision": range(10)}
"""Of the resolution, by options of a U-Net: more would need images beyond 1024 pixels a side."""
LARGEST = 65_536
"""Of the options in ``COUNTS`` and of ``stage_sizes``: far more channels, blocks or pixels than any network has."""


def make_model(name: str, *, num_outputs: int, **options: Any) -> nn.Module | PlainModel:
    """The model called ``name`` with ``num_outputs`` logits; ``options`` are fields of its class.

    name: a key of ``MODELS``, or the import path of the user's own (``models.own``). Raises ``InputError`` for an
    unknown name, option or choice, saying which there are.
    """
    if is_import_path(name):
        return own_model(name, num_outputs=num_outputs, **options)
    if name not in MODELS:
        hint = did_you_mean(name, MODELS)
        raise InputError(
            f"model {name!r} is unknown: {hint}choose from {', '.join(MODELS)}, or give package.module:name"
        )
    if num_outputs < 1:
        raise InputError(f"num_outputs {num_outputs} of model {name!r}: must be at least 1")
    allowed = set(inspect.signature(MODELS[name]).parameters) - {"parent", "name", "num_outputs"}
    # of a network without normalisation, dropout or axes: the usual values need no such option
    unused = {"axis_name": options.get("axis_name"), **USUAL}
    options = {k: v for k, v in options.items() if k in allowed or k not in unused or v != unused[k]}
    for option in options:
        if option not in allowed:
            raise InputError(
                f"option {option!r} of model {name!r} is unknown; choose from {', '.join(sorted(allowed))}"
            )
    for option, value in options.items():
        if expected := _unfit(option, value):
            raise InputError(f"{option} {value!r} of model {name!r}: {expected}")
    return MODELS[name](num_outputs=num_outputs, **options)


def inputs_of(name: str) -> str:
    """What a built-in model takes: images, sequences or episodes."""
    return "episodes" if name in EPISODE_MODELS else "sequences" if name in SEQUENCE_MODELS else "images"


def _unfit(option: str, value: Any) -> str:
    """What a model expects of an option that has an unsuitable value; "" where the value suits."""
    if option in CHOICES and value not in CHOICES[option]:
        return f"choose from {', '.join(map(repr, CHOICES[option]))}"
    if option in COUNTS and not (_is_count(value) or (option == "groups" and value is None)):
        return f"give a whole number from 1 to {LARGEST}"
    if option == "shifts" and value % 2 == 0:
        return "give an odd number, as many to either side"
    if option in HALVINGS and not (_is_int(value) and value in HALVINGS[option]):
        return f"give a whole number from {HALVINGS[option][0]} to {HALVINGS[option][-1]}"
    sizes = tuple(value) if isinstance(value, tuple | list) else ()
    if option == "stage_sizes" and not (sizes and all(map(_is_count, sizes))):
        return f"give the blocks of each stage, whole numbers from 1 to {LARGEST}, as 2 2 2 2"
    if option == "readout" and not (_is_int(value) and 0 <= value <= LARGEST):
        return f"give 0 for none, or a whole number up to {LARGEST}"
    if option == "label_digits" and not (_is_int(value) and 0 <= value <= 10):
        return "give 0 for one-hot labels, or a number of digits up to 10"
    if option == "usage_decay" and not (isinstance(value, int | float) and 0 <= value <= 1):
        return "give a rate from 0 to 1"
    if option == "scale" and not (isinstance(value, int | float) and value > 0):
        return "give a number above 0"
    if option == "keys" and not (sizes and all(_is_count(size) and size > 1 for size in sizes)):
        return "give the widths of the keys of each attention block, whole numbers from 2, as 64 256 512"
    if option == "dropout" and not (isinstance(value, int | float) and 0 <= value < 1):
        return "give a rate from 0 to below 1"
    if option in ("dtype", "param_dtype") and not _is_floating(value):
        return "give float32 or bfloat16"
    return ""


def _is_count(value: Any) -> bool:
    return _is_int(value) and 1 <= value <= LARGEST


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_floating(value: Any) -> bool:
    try:
        return jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except TypeError:
        return False
