"""A config as JSON values and back."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imbal_jax.config.sections import Config, Data, Deploy, Episode, Model, Optim, Patch, Train
from imbal_jax.errors import InputError
from imbal_jax.methods import Method
from imbal_jax.transforms.augment import Augment


def to_json(config: Config) -> dict[str, Any]:
    """The config as plain JSON values, for ``config.json`` and the report."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, tuple | list):
            return [plain(inner) for inner in value]
        return str(value) if isinstance(value, Path) else value

    return json.loads(json.dumps(plain(config)))


def from_json(values: dict[str, Any]) -> Config:
    """The config that ``to_json`` wrote; InputError for a field that this version does not know."""

    def build(cls: type, given: dict[str, Any], where: str) -> Any:
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise InputError(
                f"config has unknown {where}{', '.join(unknown)}: it was written by another version"
            )
        return cls(**given)

    def tupled(value: Any) -> Any:
        return tuple(tupled(v) for v in value) if isinstance(value, list) else value

    parts = {
        "data": Data,
        "patch": Patch,
        "episode": Episode,
        "model": Model,
        "optim": Optim,
        "train": Train,
        "augment": Augment,
        "deploy": Deploy,
    }
    values = {"deploy": {}, "patch": {}, "episode": {}, **values}
    for name, cls in parts.items():
        values[name] = build(cls, {k: tupled(v) for k, v in values[name].items()}, f"{name}.")
    if values["data"].dir is not None:
        values["data"] = dataclasses.replace(values["data"], dir=Path(values["data"].dir))
    values["model"] = dataclasses.replace(
        values["model"], options={k: tupled(v) for k, v in values["model"].options.items()}
    )
    values["methods"] = tuple(
        build(Method, {k: tupled(v) for k, v in m.items()}, "methods.") for m in values["methods"]
    )
    return build(Config, values, "")


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config's JSON values, complete: options that came after it was written have their defaults.

    The default of a new option is what was done before it came.
    """
    defaults = to_json(Config(name=""))
    sections = {
        name: {**default, **values[name]}
        for name, default in defaults.items()
        if isinstance(default, dict) and isinstance(values.get(name), dict)
    }
    return {**defaults, **values, **sections}


def what_counts(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config's JSON values without those that change no result: folders, workers, devices, times of saving."""
    manner = (
        "devices",
        "resident",
        "spread_images",
        "save_minutes",
        "max_nonfinite",
        "shard_parameters",
        "dry_run",
    )
    train = {key: value for key, value in values["train"].items() if key not in manner}
    data = {key: value for key, value in values["data"].items() if key not in ("dir", "download", "workers")}
    return {**values, "train": train, "data": data}
