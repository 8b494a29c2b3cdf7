"""The folder of a run: whose it is, and how long the run has taken."""

import json
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.config import Config, from_json, to_json
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.geometry import FILE as GEOMETRY
from imbal_jax.errors import InputError
from imbal_jax.files import read_json, write_json


def claim(workdir: Path, config: Config, *, trained: bool = False) -> None:
    """Write the config to ``workdir``; InputError if another config's run is there already.

    Methods may be added later, and the place of the data, who reads it, the number of devices and what is deployed
    may change; where all is ``trained``, so may the priors of the place of use.
    """
    path = workdir / "config.json"
    values = to_json(config)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            there = json.loads(path.read_text())
            if "fit" not in there.get("data", ()):
                raise InputError(
                    f"{workdir} holds a run of an earlier version, which did not say how pictures became squares: "
                    "choose another --workdir"
                )
            without = ("data.deployment_priors",) if trained else ()
            differing = _differences(_comparable(there, without), _comparable(values, without))
            if differing:
                raise InputError(
                    f"{workdir} holds a run of another config (differs in {', '.join(differing)}): "
                    "choose another --workdir, or delete it to start again"
                )
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(values, indent=1) + "\n")
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write to {workdir}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not readable as JSON ({error}): delete it, or choose another --workdir"
        ) from error


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
    if not path.is_file():
        write_json(path, here)
        return
    differing = _differences(read_json(path, "choose another --workdir"), json.loads(json.dumps(here)))
    if differing:
        raise InputError(
            f"{workdir} holds runs on pictures of another geometry ({', '.join(differing)}): choose another "
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
    if path.is_file():
        try:
            there = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}): choose another --workdir") from error
        other = [name for name, value in here.items() if there.get(name) != value]
        if other:
            raise InputError(
                f"{workdir} holds runs on another split ({', '.join(other)} differ): the data or the way they are "
                "split has changed, and test images may have been trained on; choose another --workdir"
            )
        return
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(here, indent=1) + "\n")
    partial.replace(path)


def read_claim(workdir: Path) -> Config:
    """The config of the run in ``workdir``; InputError where there is none."""
    path = workdir / "config.json"
    if not path.is_file():
        raise InputError(f"no run in {workdir}: there is no config.json; train one first")
    try:
        values = json.loads(path.read_text())
        if "fit" not in values["data"]:
            raise InputError(
                f"{path} was written by an earlier version, which did not say how pictures became squares: train "
                f"again in another --workdir"
            )
        return from_json(values)
    except (json.JSONDecodeError, KeyError) as error:
        raise InputError(f"{path} is damaged: {error}") from error


def _comparable(values: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    train = {k: v for k, v in values.get("train", {}).items() if k != "devices"}
    data = {k: v for k, v in values.get("data", {}).items() if k not in ("dir", "download", "workers")}
    rest = {k: v for k, v in values.items() if k not in ("methods", "title", "deploy")}
    data = {k: v for k, v in data.items() if f"data.{k}" not in without}
    return {**rest, "train": train, "data": data}


def _differences(there: Any, here: Any, prefix: str = "") -> list[str]:
    """Each value that differs, as "data.fit pad, now squeeze"."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted(there.keys() | here.keys())
        return [
            d for k in keys for d in _differences(there.get(k), here.get(k), f"{prefix}.{k}" if prefix else k)
        ]
    return [] if there == here else [f"{prefix} {_plain(there)}, now {_plain(here)}"]


def _plain(value: Any) -> str:
    return "none" if value is None else json.dumps(value) if isinstance(value, dict | list) else str(value)


class Clock:
    """Seconds spent on a run, over all its restarts."""

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self._path = folder / "clock.json"
        self._before = 0.0
        if not fresh and self._path.is_file():
            self._before = float(json.loads(self._path.read_text())["seconds"])
        self._began = time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def save(self) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps({"seconds": round(self.seconds(), 1)}))
        partial.replace(self._path)
