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

__all__ = ["Dataset", "__version__", *_SUBMODULES]


_NAMES = {"Dataset": "imbal_jax.data.dataset"}  # where each public class is


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_NAMES})
