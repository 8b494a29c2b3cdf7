"""What the runs of a workdir were trained and tested on; other data are refused once a run holds a checkpoint."""

import json
import shutil
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np

from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import FILE as GEOMETRY
from imbal_jax.engine import hosts
from imbal_jax.errors import InputError
from imbal_jax.files import present, read_json, write_json
from imbal_jax.runs.checkpoints_held import holds_checkpoints
from imbal_jax.runs.config_difference import changes, differing_values


@hosts.first_only
def discard_other_phantoms(config: Config, workdir: Path) -> None:
    """Delete the phantom images in ``workdir`` where ``config`` asks for others and no run was trained on these."""
    folder = workdir / "phantoms"
    described = folder / "phantom.json"
    if (
        config.data.source != "phantom"
        or config.data.dir
        or holds_checkpoints(workdir)
        or not present(described)
    ):
        return
    there = read_json(described, f"delete {folder}, and the phantoms are made again")
    asked = {
        "images": config.data.phantom_images,
        "imbalance": float(config.data.phantom_imbalance),
        "size": max(96, config.data.image_size),
        "seed": config.data.split_seed,
    }
    if any(there.get(name) != value for name, value in asked.items()):
        shutil.rmtree(folder)


@hosts.first_only
def claim_geometry(workdir: Path, train: Dataset) -> None:
    """Record the geometry of the training images; InputError if the runs in ``workdir`` used another.

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
    if not (present(path) and holds_checkpoints(workdir)):
        write_json(path, here)
        return
    differing = differing_values(read_json(path, "choose another --workdir"), json.loads(json.dumps(here)))
    if differing:
        raise InputError(
            f"{workdir} holds runs on pictures of another geometry ({changes(differing)}): choose another "
            f"--workdir, or give the data as it was"
        )


@hosts.first_only
def claim_splits(workdir: Path, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Record the images of each split; InputError if the runs in ``workdir`` used others.

    parts: of each split, labels [N] or [N, L] and the patients [N]. Another version may split otherwise, and a
    folder may have got new images: a run that went on would be tested on patients that it was trained on.
    """
    here = members_digest(parts)
    path = workdir / "splits.json"
    if present(path) and holds_checkpoints(workdir):
        there = read_json(path, "which images the runs were tested on is lost; choose another --workdir")
        other = [name for name, value in here.items() if there.get(name) != value]
        if other:
            raise InputError(
                f"{workdir} holds runs on another split ({', '.join(other)} differ): the data or the way they are "
                "split has changed, and test images may have been trained on; choose another --workdir"
            )
        return
    write_json(path, here)


def is_claimed(workdir: Path, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> bool:
    """Whether the runs in ``workdir`` were trained, chosen and tested on images of these labels and patients."""
    path = workdir / "splits.json"
    return present(path) and read_json(path, "choose another --workdir") == members_digest(parts)


def members_digest(parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, str]:
    """A digest of the labels and the patients of each split, whatever the patients are called."""
    names = np.concatenate([np.asarray(groups).astype(str) for _, groups in parts.values()])
    codes = np.split(
        np.unique(names, return_inverse=True)[1].astype("<i8"),
        np.cumsum([len(groups) for _, groups in parts.values()])[:-1],
    )
    return {
        name: blake2b(
            np.ascontiguousarray(labels, "<i8").tobytes() + patients.tobytes(), digest_size=16
        ).hexdigest()
        for (name, (labels, _)), patients in zip(parts.items(), codes, strict=True)
    }
