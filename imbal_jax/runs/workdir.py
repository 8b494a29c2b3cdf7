"""The folder of a run: whose it is, and how long the run has taken."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import jax
import numpy as np

from imbal_jax.config import Config, from_json, to_json
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import FILE as GEOMETRY
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError, present, read_json, write_json
from imbal_jax.methods import Method, definition, trained_methods

CLAIM = "config.json"
DEFINITIONS = "definitions"  # beside the config's own keys
CONFIG_REMEDY = "restore it from a copy, or choose another --workdir"


def claim(workdir: Path, config: Config, *, trained: bool = False) -> None:
    """Write the config to ``workdir``; InputError if another config's run is there already.

    Methods and seeds may be added later, but one name has one definition there: ``config.json`` keeps that of every
    method that was ever asked for, first stages too, finished or not. The place of the data, who reads it, the
    number of devices and what is deployed may change; where all is ``trained``, so may the priors of the place of
    use.
    """
    write_json(workdir / CLAIM, check_claim(workdir, config, trained=trained))


def check_claim(workdir: Path, config: Config, *, trained: bool = False) -> dict[str, Any]:
    """What ``claim`` would write; raises as it does and writes nothing but the folder."""
    path = workdir / CLAIM
    values = to_json(config)
    values["seeds"] = list(config.run_seeds)
    values[DEFINITIONS] = {name: definition(m) for name, m in trained_methods(config.methods).items()}
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {workdir}: {error.strerror}") from error
    if not present(path):
        return values
    there = read_json(path, CONFIG_REMEDY)
    if "fit" not in _mapping(there, "data"):
        raise InputError(
            f"{workdir} holds a run of an earlier version, which did not say how pictures became squares: "
            "choose another --workdir"
        )
    without = ("data.deployment_priors",) if trained else ()
    differing = _differences(_comparable(there, without), _comparable(values, without))
    if differing:
        raise InputError(
            f"{workdir} holds a run of another config (differs in {', '.join(differing)}): "
            f"{changes(differing)}; choose another --workdir, or delete it to start again"
        )
    before = _mapping(there, DEFINITIONS)
    _check_definitions(workdir, before, values[DEFINITIONS])
    named = {method["name"]: method for method in (*there.get("methods", []), *values["methods"])}
    seeds = sorted({*(there.get("seeds") or [there.get("seed", config.seed)]), *config.run_seeds})
    return {
        **values,
        "methods": list(named.values()),
        "seeds": seeds,
        DEFINITIONS: {**before, **values[DEFINITIONS]},
    }


def _check_definitions(workdir: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for name in here.keys() & there.keys():
        differing = _differences(there[name], here[name])
        if differing:
            said = ", ".join(
                f"{key} is {_plain(was)} there and {_plain(now)} here"
                for key, (was, now) in differing.items()
            )
            raise InputError(
                f"{workdir} holds another method called {name} ({said}): give this one another name, or choose "
                "another --workdir"
            )


def claim_training(folder: Path, state: Any, total_steps: int) -> None:
    """Write down what the checkpoints under ``folder`` hold; InputError where those that are there hold other things.

    state: a pytree of arrays, as it is saved. A run is never resumed with a network, an optimiser or a length that
    is not the one that it began with.
    """
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype} {list(leaf.shape)}"
        for path, leaf in leaves
        if hasattr(leaf, "dtype")
    }
    here = {"steps": total_steps, "arrays": arrays}
    path = folder / "training.json"
    checkpoints = folder / "checkpoints"
    begun = checkpoints.is_dir() and any(step.name.isdigit() for step in checkpoints.iterdir())
    if begun and present(path):
        there = read_json(path, "choose another --workdir")
        differing = _differences(there, here)
        if differing:
            name, (before, now) = next(iter(differing.items()))
            raise InputError(
                f"{folder} holds checkpoints of another training ({name.removeprefix('arrays.')} is "
                f"{before or 'absent'} there and {now or 'absent'} here): choose "
                "another --workdir; nothing was changed"
            )
        return
    write_json(path, here)


def claim_geometry(workdir: Path, train: Dataset) -> None:
    """Write down how pictures became the training images; InputError where the runs in ``workdir`` had another way.

    It may differ from the config, which names no fit for records and condensed copies, and it may change without it,
    when other files lie in the data's folder.
    """
    height, width, channels = train.images.shape[1:]
    here = {
        "height": height,
        "width": width,
        "channels": channels,
        "dtype": str(train.images.dtype),
        "made_by": train.geometry and train.geometry.options,
    }
    path = workdir / GEOMETRY
    if not present(path):
        write_json(path, here)
        return
    differing = _differences(read_json(path, "choose another --workdir"), json.loads(json.dumps(here)))
    if differing:
        raise InputError(
            f"{workdir} holds runs on pictures of another geometry ({changes(differing)}): choose another "
            f"--workdir, or give the data as it was"
        )


def claim_splits(workdir: Path, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write down which images each split holds; InputError where the runs in ``workdir`` have had others.

    parts: of each split, labels [N] or [N, L] and the patients [N]. Another version may split otherwise, and a
    folder may have got new images: a run that went on would be tested on patients that it was trained on.
    """
    names = np.concatenate([np.asarray(groups).astype(str) for _, groups in parts.values()])
    codes = np.split(
        np.unique(names, return_inverse=True)[1].astype("<i8"),
        np.cumsum([len(groups) for _, groups in parts.values()])[:-1],
    )
    here = {
        name: blake2b(
            np.ascontiguousarray(labels, "<i8").tobytes() + patients.tobytes(), digest_size=16
        ).hexdigest()
        for (name, (labels, _)), patients in zip(parts.items(), codes, strict=True)
    }
    path = workdir / "splits.json"
    if present(path):
        there = read_json(path, "which images the runs were tested on is lost; choose another --workdir")
        other = [name for name, value in here.items() if there.get(name) != value]
        if other:
            raise InputError(
                f"{workdir} holds runs on another split ({', '.join(other)} differ): the data or the way they are "
                "split has changed, and test images may have been trained on; choose another --workdir"
            )
        return
    write_json(path, here)


def read_claim(workdir: Path) -> Config:
    """The config of the run in ``workdir``; InputError where there is none."""
    values = _read_claim(workdir)
    values.pop(DEFINITIONS, None)
    try:
        if "fit" not in values["data"]:
            raise InputError(
                f"{workdir / CLAIM} was written by an earlier version, which did not say how pictures became "
                "squares: train again in another --workdir"
            )
        return from_json(values)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedError(f"{workdir / CLAIM} is damaged ({error!r}): {CONFIG_REMEDY}") from None


def read_methods(workdir: Path) -> dict[str, Method]:
    """Every method that was trained in ``workdir``, by name, as it was defined then."""
    own = {method.name: method for method in read_claim(workdir).methods}
    known = {field.name for field in fields(Method)}
    for name, values in _mapping(_read_claim(workdir), DEFINITIONS).items():
        if name not in own and isinstance(values, dict):  # a first stage
            given = {key: _tupled(value) for key, value in values.items() if key in known}
            own[name] = Method(name=name, **given)
    return own


def _read_claim(workdir: Path) -> dict[str, Any]:
    path = workdir / CLAIM
    if not present(path):
        raise InputError(f"no run in {workdir}: there is no {CLAIM}; train one first")
    return read_json(path, CONFIG_REMEDY)


def _tupled(value: Any) -> Any:
    """JSON's lists, and its mappings of options to their values, as tuples."""
    if isinstance(value, dict):
        return tuple(value.items())
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _comparable(values: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    train = {k: v for k, v in _mapping(values, "train").items() if k != "devices"}
    data = {k: v for k, v in _mapping(values, "data").items() if k not in ("dir", "download", "workers")}
    rest = {k: v for k, v in values.items() if k not in ("methods", "title", "deploy", "seeds", DEFINITIONS)}
    data = {k: v for k, v in data.items() if f"data.{k}" not in without}
    return {**rest, "train": train, "data": data}


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def changes(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """As "data.fit was pad, is squeeze"."""
    return ", ".join(f"{name} was {_plain(was)}, is {_plain(now)}" for name, (was, now) in differing.items())


def _differences(there: Any, here: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The names of the values that differ, with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted(there.keys() | here.keys())
        parts = [_differences(there.get(k), here.get(k), f"{prefix}.{k}" if prefix else k) for k in keys]
        return {name: values for part in parts for name, values in part.items()}
    return {} if there == here else {prefix: (there, here)}


def _plain(value: Any) -> str:
    return "none" if value is None else json.dumps(value) if isinstance(value, dict | list) else str(value)


class Clock:
    """Seconds spent on a run, over all its restarts."""

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self._path = folder / "clock.json"
        self._before = 0.0
        if not fresh and present(self._path):
            remedy = "delete it, and only the time that the run took is lost"
            seconds = read_json(self._path, remedy).get("seconds")
            if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise DamagedError(f"{self._path} is damaged (no number of seconds): {remedy}")
            self._before = float(seconds)
        self._began = time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def save(self) -> None:
        write_json(self._path, {"seconds": round(self.seconds(), 1)})
