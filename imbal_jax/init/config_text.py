"""A config as the text of a Python file."""

import dataclasses
import textwrap
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from imbal_jax.config import Config
from imbal_jax.methods import METHODS, Method

WIDTH = 110


def config_text(config: Config, reasons: Mapping[str, str], heading: str, shown: tuple[str, ...] = ()) -> str:
    """The text of a file whose ``get_config()`` returns ``config``.

    Fields at their default are left out, but those of ``shown``. reasons: field -> a comment above it, as
    ``data.image_size``. heading: the docstring.
    """
    body = _fields(config, "", reasons, set(shown), indent=8)
    parts = sorted(
        type(value).__name__
        for f in dataclasses.fields(config)
        if dataclasses.is_dataclass(value := getattr(config, f.name))
        and _is_written(config, f, f.name, set(shown))
    )
    own = [name for name in parts if name != "Augment"]
    imports = [f"from imbal_jax.config import {', '.join(sorted(['Config', *own]))}"]
    if "METHODS[" in body or "find_method(" in body:
        names = [name for name in ("METHODS", "find_method") if f"{name}[" in body or f"{name}(" in body]
        imports.append(f"from imbal_jax.methods import {', '.join(names)}")
    if "Augment" in parts:
        imports.append("from imbal_jax.transforms.augment import Augment")
    if "Path(" in body:
        imports.insert(0, "from pathlib import Path\n")
    lines = ['"""' + heading.replace("\\", "\\\\").replace('"""', "'''") + '\n"""', "", *imports, "", ""]
    return "\n".join(lines) + f"\ndef get_config() -> Config:\n    return Config(\n{body}    )\n"


def _fields(value: Any, prefix: str, reasons: Mapping[str, str], shown: set[str], indent: int) -> str:
    space, text = " " * indent, ""
    for f in dataclasses.fields(value):
        name = prefix + f.name
        if not _is_written(value, f, name, shown):
            continue
        if reason := reasons.get(name):
            text += textwrap.indent("\n".join(textwrap.wrap(reason, WIDTH - indent - 2)), f"{space}# ") + "\n"
        inner = getattr(value, f.name)
        if dataclasses.is_dataclass(inner) and not isinstance(inner, Method):
            body = _fields(inner, f"{name}.", reasons, shown, indent + 4)
            text += f"{space}{f.name}={type(inner).__name__}(\n{body}{space}),\n"
        else:
            text += f"{space}{f.name}={_literal(inner)},\n"
    return text


def _is_written(value: Any, f: dataclasses.Field[Any], name: str, shown: set[str]) -> bool:
    if name in shown or any(other.startswith(f"{name}.") for other in shown):
        return True
    if f.default is not dataclasses.MISSING:
        default: Any = f.default
    elif f.default_factory is not dataclasses.MISSING:
        default = f.default_factory()
    else:
        return True
    return bool(getattr(value, f.name) != default)


def _literal(value: Any) -> str:
    if isinstance(value, Method):
        name = value.name
        return f'METHODS["{name}"]' if METHODS.get(name) == value else f"find_method({name!r})"
    if isinstance(value, tuple) and any(isinstance(each, Method) for each in value):
        return "(" + ", ".join(map(_literal, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, PurePath):
        return f"Path({_quoted(str(value))})"
    return _quoted(value)


def _quoted(value: Any) -> str:
    """repr with double quotes, as the formatter writes them."""
    if isinstance(value, str):
        text = repr(value)
        return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_quoted, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)}: {_quoted(each)}" for key, each in value.items()) + "}"
    return repr(value)
