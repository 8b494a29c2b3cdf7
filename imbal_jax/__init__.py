"""Train deep networks in JAX when the class that matters is rare.

``from imbal_jax import losses`` imports jax and nothing heavier: every submodule is loaded when it
is first asked for.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_SUBMODULES = (
    "priors",
    "losses",
    "sampling",
    "augment",
    "methods",
    "tasks",
    "models",
    "state",
    "step",
    "parallel",
    "metrics",
    "selection",
    "checkpoint",
    "train",
    "evaluate",
    "report",
    "tracking",
    "config",
    "data",
)

__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES})
