"""Train deep networks in JAX when the class that matters is rare.

``from imbal_jax import losses`` imports jax and nothing heavier: every submodule is loaded when it
is first asked for.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_SUBMODULES = (
    "config",
    "data",
    "decisions",
    "engine",
    "losses",
    "methods",
    "metrics",
    "models",
    "priors",
    "report",
    "runs",
    "sampling",
    "tasks",
    "train",
    "training",
    "transforms",
)

_NAMES = {  # where each public name is
    "Config": "imbal_jax.config",
    "Dataset": "imbal_jax.data.dataset",
    "METHODS": "imbal_jax.methods",
    "Method": "imbal_jax.methods",
    "fit": "imbal_jax.train",
    "load_config": "imbal_jax.config",
}


__all__ = ["__version__", *_NAMES, *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_NAMES})
