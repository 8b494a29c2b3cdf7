"""Config files: Python files with ``get_config()``; other descriptions are read from such files, too."""

import importlib.util
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from imbal_jax.config.sections import Config
from imbal_jax.errors import InputError
from imbal_jax.import_paths import module_name, search

T = TypeVar("T")


def load_config(path: Path | str) -> Config:
    """The config that ``path``, a Python file with ``get_config()``, returns; InputError where it does not."""
    return call_in_file(Path(path), "get_config", Config, what="config")


def call_in_file(path: Path, function: str, kind: type[T], *, what: str) -> T:
    """What a function without arguments of a Python file returns, a ``kind``; InputError where it does not.

    what: what the file describes, for messages.
    """
    expected = f"{kind.__module__.rpartition('.')[0]}.{kind.__name__}"
    if not path.is_file():
        beside = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        known = f"; there are {', '.join(beside)}" if beside else ""
        raise InputError(f"no {what} file {path}{known}")
    # under its own name, so that other processes find a model or a source that the file defines
    name = module_name(path)
    module = sys.modules.get(name) if name is not None else None
    if module is None or path.stat().st_mtime > _STARTED:
        module = _run(path, name, what, function)
    if not hasattr(module, function):
        raise InputError(f"{path} has no {function}(): define one that returns {expected}")
    try:
        value = getattr(module, function)()
    except InputError as error:  # a value out of its range
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        # the last line of the file itself: a field that does not exist fails in a constructor without one
        frames = traceback.extract_tb(error.__traceback__)
        line = [frame.lineno for frame in frames if Path(frame.filename) == path][-1:] or [frames[-1].lineno]
        if isinstance(error, TypeError):
            raise InputError(f"{path}: {error} (line {line[0]})") from error
        raise InputError(
            f"{path}: {function}() raised {type(error).__name__}: {error} (line {line[0]})"
        ) from error
    if not isinstance(value, kind):
        raise InputError(f"{path}: {function}() returned {type(value).__name__}, expected {expected}")
    return value


_STARTED = time.time()  # a file that was changed since is run again, where it was imported before


def _run(path: Path, name: str | None, what: str, function: str) -> ModuleType:
    """The module of a Python file, which is run; InputError where it raises."""
    spec = importlib.util.spec_from_file_location(name or f"imbal_jax_{what}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file: a {what} is a .py file with {function}()")
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
