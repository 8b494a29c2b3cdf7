"""Config files: Python files with ``get_config()``."""

import importlib.util
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType

from imbal_jax.config.sections import Config
from imbal_jax.errors import InputError
from imbal_jax.import_paths import module_name, search


def load_config(path: Path | str) -> Config:
    """The config that ``path``, a Python file with ``get_config()``, returns; InputError where it does not."""
    path = Path(path)
    if not path.is_file():
        beside = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        known = f"; there are {', '.join(beside)}" if beside else ""
        raise InputError(f"no config file {path}{known}")
    # under its own name, so that other processes find a model or a source that the file defines
    name = module_name(path)
    module = sys.modules.get(name) if name is not None else None
    if module is None or path.stat().st_mtime > _STARTED:
        module = _run(path, name)
    if not hasattr(module, "get_config"):
        raise InputError(f"{path} has no get_config(): define one that returns imbal_jax.config.Config")
    try:
        config = module.get_config()
    except InputError as error:  # a value out of its range
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        # the last line of the file itself: a field that does not exist fails in a constructor without one
        frames = traceback.extract_tb(error.__traceback__)
        line = [frame.lineno for frame in frames if Path(frame.filename) == path][-1:] or [frames[-1].lineno]
        if isinstance(error, TypeError):
            raise InputError(f"{path}: {error} (line {line[0]})") from error
        raise InputError(
            f"{path}: get_config() raised {type(error).__name__}: {error} (line {line[0]})"
        ) from error
    if not isinstance(config, Config):
        raise InputError(
            f"{path}: get_config() returned {type(config).__name__}, expected imbal_jax.config.Config"
        )
    return config


_STARTED = time.time()  # a file that was changed since is run again, where it was imported before


def _run(path: Path, name: str | None) -> ModuleType:
    """The module of a config file, which is run; InputError where it raises."""
    spec = importlib.util.spec_from_file_location(name or f"imbal_jax_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file: a config is a .py file with get_config()")
    module = importlib.util.module_from_spec(spec)
    if name is not None:
        sys.modules[name] = module
    search(path.parent)  # as a script does, it may import what lies beside it
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name or "", None)  # half of it
        if isinstance(error, InputError):
            raise InputError(f"{path}: {error}") from None
        if not isinstance(error, Exception):
            raise
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return module
