"""Finds the user's own functions and classes by import path, ``package.module:name``.

A config names them, so that other processes can import them too.
"""

import difflib
import importlib
import importlib.util
import numbers
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imbal_jax.errors import InputError

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_import_path(text: object) -> bool:
    """Whether ``text`` is spelled ``package.module:name``."""
    return isinstance(text, str) and _PATH.fullmatch(text) is not None


def import_object(path: str, what: str) -> Any:
    """The value at ``path``, ``package.module:name``; modules in the current folder are found too.

    what: the setting that names it, for messages. Raises InputError where there is no such module or name, or where
    the module cannot be imported.
    """
    if not is_import_path(path):
        raise InputError(f"{what} is {path!r}: an import path is package.module:name")
    module_name, _, names = path.partition(":")
    found = _module(module_name, f"{what} {path}")
    for name in names.split("."):
        if not hasattr(found, name):
            close = difflib.get_close_matches(name, [known for known in vars(found) if known[0] != "_"])
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise InputError(f"{what} {path}: {module_name} has no {name}{hint}")
        found = getattr(found, name)
    return found


def import_path(value: Any, what: str) -> str:
    """The import path of a function, a class, or a value that a module holds under a name.

    Raises InputError where another process could not find it: it is in the script or notebook that runs, inside a
    function, or nowhere.
    """
    module, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
    if not name or (not isinstance(value, type) and not callable(value)):
        module, name = _where(value)
    if module == "__main__" or not name or "<" in name or not _is_at(value, module, name):
        shown = name.rpartition(".")[2].strip("<>") or type(value).__name__
        raise InputError(
            f"{what} is {shown}, which other processes cannot import, and evaluate, predict and export need it: "
            "put it into a module, under a name of its own, and import it from there"
        )
    return f"{module}:{name}"


def module_name(file: Path) -> str | None:
    """The name under which every process that runs in this folder imports a Python file; None where it cannot."""
    file = file.resolve()
    search(Path.cwd())
    elsewhere = _added - {os.getcwd()}  # folders that another process does not search
    folders = [Path(folder).resolve() for folder in sys.path if folder not in elsewhere]
    for folder in sorted(folders, key=lambda folder: -len(folder.parts)):  # the shortest name first
        if not file.is_relative_to(folder):
            continue
        name = ".".join(file.relative_to(folder).with_suffix("").parts)
        try:
            spec = importlib.util.find_spec(name) if is_import_path(f"{name}:x") else None
        except (ImportError, ValueError):  # a package on the way that cannot be imported
            continue
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve() == file:
            return name
    return None


def as_import_path(value: Any, what: str) -> Any:
    """The import path of a function, a class or an object; text, numbers and the like as they are."""
    plain = isinstance(value, str | bytes | bool | numbers.Number | os.PathLike | list | tuple | dict | None)
    return value if plain else import_path(value, what)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """What the user's own code raises in the block becomes an InputError in a line, with its file and line.

    what: whose code it is. An InputError is passed on as it is.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        said = str(error).strip().partition("\n")[0]
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
        raise InputError(f"{what} raised {type(error).__name__}: {said} ({place})") from error


def _module(name: str, what: str) -> Any:
    try:
        search(Path.cwd())
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise InputError(f"{what}: module {name} cannot be imported, it needs {error.name}") from error
        raise InputError(
            f"{what}: there is no module {error.name}: run in the folder that holds it, install it, or put its "
            "folder into PYTHONPATH"
        ) from error
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        raise InputError(
            f"{what}: module {name} cannot be imported: {type(error).__name__}: {error} (line {line})"
        ) from error


_added: set[str] = set()


def search(folder: Path) -> None:
    """From now on modules of ``folder`` can be imported, after all others: a command is not told of its folder."""
    text = os.path.abspath(folder)
    if text not in sys.path:
        sys.path.append(text)
        _added.add(text)
    importlib.invalidate_caches()


def _where(value: Any) -> tuple[str, str]:
    """Module and name of a value that does not carry them; empty where no module holds it.

    Of several, the one that also defines its class or a function that it holds: others have imported it from there.
    """
    found = [
        (module_name, name)
        for module_name, module in list(sys.modules.items())
        if module_name != "__main__"
        for name, held in list(getattr(module, "__dict__", {}).items())
        if held is value
    ]
    parts = [type(value), *getattr(value, "__dict__", {}).values()]
    homes = {getattr(part, "__module__", None) for part in parts}
    return next((place for place in found if place[0] in homes), found[-1] if found else ("", ""))


def _is_at(value: Any, module: str, name: str) -> bool:
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is value or (callable(value) and found == value):  # a method is made at each access
        return True
    # the module was read again since
    return (getattr(found, "__module__", None), getattr(found, "__qualname__", None)) == (module, name)
