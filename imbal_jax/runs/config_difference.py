"""The values in which two configs differ, and how a message names them."""

import json
from collections.abc import Mapping
from typing import Any


def changes(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """As "data.fit was pad, is squeeze"."""
    return ", ".join(f"{name} was {shown(was)}, is {shown(now)}" for name, (was, now) in differing.items())


def differing_values(there: Any, here: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The names of the values that differ, with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted(there.keys() | here.keys())
        parts = [differing_values(there.get(k), here.get(k), f"{prefix}.{k}" if prefix else k) for k in keys]
        return {name: values for part in parts for name, values in part.items()}
    return {} if there == here else {prefix: (there, here)}


def shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value) if isinstance(value, dict | list) else str(value)
