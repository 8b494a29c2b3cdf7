"""Checks that the fields of a config's dataclasses have the types of their annotations."""

import dataclasses
import math
import numbers
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from imbal_jax.errors import InputError

_NAMES: Mapping[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "True or False",
    str: "text",
    Path: "a path",
    type(None): "None",
    Callable: "a function",
}


class _UnsuitableError(Exception):
    """The value that does not fit, what was expected instead, and its position in the field."""

    def __init__(self, value: Any, expected: str, where: str = "") -> None:
        super().__init__(expected)
        self.value, self.expected, self.where = value, expected, where


def check_fields(value: Any, prefix: str = "", *, dashes: bool = True) -> None:
    """Check and convert every field of a frozen dataclass by its annotation; call it in ``__post_init__``.

    ``Literal`` accepts its own values; ``float`` a finite number, also a whole one; ``int`` a whole number; neither
    accepts True or False; ``tuple``, ``dict`` and unions accept what their parts accept; ``Callable``
    accepts a function. NumPy scalars become Python scalars, a list becomes a tuple, and text becomes a path where
    a path is expected.

    Raises InputError that begins with ``prefix`` and the field's name, with dashes as on the command line.
    """
    for name, annotation in _annotations(type(value)).items():  # type: ignore[arg-type]  # classes are hashable
        given = getattr(value, name)
        try:
            kept = _fitting(given, annotation)
        except _UnsuitableError as error:
            spelled = name.replace("_", "-") if dashes else name
            raise InputError(f"{prefix}{spelled}{error.where} is {error.value!r}, {error.expected}") from None
        if kept is not given:
            object.__setattr__(value, name, kept)


@cache
def _annotations(cls: type) -> Mapping[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _fitting(value: Any, annotation: Any) -> Any:
    """``value`` as ``annotation`` takes it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _fitting(value, get_args(annotation)[0])
    if origin is Literal:
        # by type too: 1 == True
        if any(type(value) is type(one) and value == one for one in get_args(annotation)):
            return value
        raise _UnsuitableError(value, f"allowed are {', '.join(map(str, get_args(annotation)))}")
    if origin in (Union, types.UnionType):
        return _of_union(value, annotation)
    if origin is tuple:
        return _of_tuple(value, annotation)
    if origin is dict:
        return _of_dict(value, annotation)
    if origin is Callable:
        return _plain(value, Callable)
    return _plain(value, annotation)


def _plain(value: Any, kind: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise _UnsuitableError(value, "expected a number")
        if not math.isfinite(value):
            raise _UnsuitableError(value, "expected a finite number")
        return value
    if kind is int and isinstance(value, bool):
        raise _UnsuitableError(value, "expected a whole number")
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is not Any and not isinstance(value, kind):
        raise _UnsuitableError(value, f"expected {_named(kind)}")
    return value


def _of_union(value: Any, annotation: Any) -> Any:
    innermost = None
    for part in get_args(annotation):
        try:
            return _fitting(value, part)
        except _UnsuitableError as error:
            # the error of one item is more precise than that of the whole value
            if error.value is not value or "finite" in error.expected:
                innermost = error
    raise innermost or _UnsuitableError(value, f"expected {_named(annotation)}")


def _of_tuple(value: Any, annotation: Any) -> Any:
    if isinstance(value, list):
        value = tuple(value)
    parts = get_args(annotation)
    if not isinstance(value, tuple):
        raise _UnsuitableError(value, f"expected {_named(annotation)}")
    if parts[-1] is Ellipsis:
        parts = (parts[0],) * len(value)
    if len(parts) != len(value):
        raise _UnsuitableError(value, f"expected {_named(annotation)}")
    kept = tuple(_fitting(one, part) for one, part in zip(value, parts, strict=True))
    same = all(new is old for new, old in zip(kept, value, strict=True))
    return value if same else kept


def _of_dict(value: Any, annotation: Any) -> Any:
    if not isinstance(value, dict):
        raise _UnsuitableError(value, f"expected {_named(annotation)}")
    of_key, of_value = get_args(annotation)
    kept = {}
    for key, one in value.items():
        try:
            kept[_fitting(key, of_key)] = _fitting(one, of_value)
        except _UnsuitableError as error:
            raise _UnsuitableError(error.value, error.expected, f".{key}{error.where}") from None
    return value if all(kept[key] is one for key, one in value.items()) else kept


def _named(annotation: Any) -> str:
    """What an annotation takes, in words: ``a tuple of numbers``."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _named(parts[0])
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_named, parts))
    if origin is tuple and parts[-1] is Ellipsis:
        return f"a tuple, each item {_named(parts[0])}"
    if origin is tuple:
        return f"a tuple of {' and '.join(map(_named, parts))}"
    if origin is Callable:
        return _NAMES[Callable]
    if origin is dict:
        return f"a dict, each value {_named(parts[1])}"
    return _NAMES.get(annotation) or f"a {annotation.__name__}"
