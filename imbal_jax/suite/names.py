"""Names of the parts of a suite: stages, cells, settings, methods."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from imbal_jax.errors import InputError, did_you_mean
from imbal_jax.methods import find_method

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def check_name(what: str, name: str) -> None:
    """InputError for a name that cannot be part of a key and of a folder's name."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r}: a name has letters, digits and . _ + -, and begins with a letter or digit"
        )


def method_name(name: str, where: str) -> str:
    """The method's own name; InputError, which begins with ``where``, for an unknown method."""
    try:
        return find_method(name).name
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def check_once(what: str, values: Sequence[Any]) -> None:
    """InputError for a value that is there twice."""
    if twice := [value for value in dict.fromkeys(values) if list(values).count(value) > 1]:
        raise InputError(f"{what}: {twice[0]} is there twice, each may be named once")


def named(what: str, name: str, known: Mapping[str, Any]) -> Any:
    """The value of a name; InputError, which says what there is, where it is unknown."""
    if name not in known:
        raise InputError(
            f"unknown {what}: {name!r}: {did_you_mean(name, known)}there are {', '.join(known) or 'none'}"
        )
    return known[name]
