"""Section with configuration and environment, paths removed."""

import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import PurePath

from imbal_jax.report.html import table


def setup(config: Mapping[str, object], environment: Mapping[str, str]) -> str:
    shown = json.dumps(without_paths(config), indent=2, default=str, ensure_ascii=False)
    rows = [[key, str(without_paths(value, key))] for key, value in environment.items()]
    return (
        f"<details><summary>Configuration</summary><pre>{escape(shown)}</pre></details>"
        f"<details><summary>Environment</summary>{table(['', 'version'], rows, kind='')}</details>"
    )


_PATH_KEY = re.compile(r"(^|_)(path|paths|dir|directory|folder|file|filename|files|workdir|root)$")
_PATH = re.compile(
    r"(?<![\w.])(~|\.{0,2}[/\\]|[A-Za-z]:[/\\]|[A-Za-z][\w+.-]*://|\\\\)\S.*?(?=\s--?\w|$)", re.DOTALL
)


def without_paths(value: object, key: str = "") -> object:
    """The same with every path and address replaced: they can hold names of people."""
    if isinstance(value, Mapping):
        return {str(inner): without_paths(deep, str(inner)) for inner, deep in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(deep, key) for deep in value]
    if isinstance(value, PurePath) or (isinstance(value, str) and value and _PATH_KEY.search(key)):
        return "(path)"
    return _PATH.sub("(path)", value) if isinstance(value, str) else value
