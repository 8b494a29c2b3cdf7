"""Name of an evaluation on other data: data, part, and a digest that makes it unique."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from imbal_jax.config import Config, Data, images_of, to_json
from imbal_jax.data.records.remote import remote_address

LONGEST = 60  # characters of the data's own name


def data_name(data: Data) -> str:
    """Short name of the data: that of its folder, or of its source if no folder is given."""
    return os.path.basename(place_of(data.dir)) if data.dir else data.source


def place_of(folder: Path) -> str:
    """The absolute path of a folder, or its address on object storage."""
    return remote_address(folder) or os.path.realpath(folder)


def evaluation_name(config: Config, part: str, step: int | None, runs: Sequence[str] = ()) -> str:
    """As ``hospital_b-all-1f2e3d4c``, the name of a folder.

    runs: the names of those that are evaluated; none: all of the workdir. The digest is of what decides the images
    or episodes, the absolute path of their folder included, and of the runs: two folders of one name are two
    evaluations, and so are all runs and one of them, while the same again replaces the first.
    """
    data = images_of(config.data)
    described = to_json(replace(config, data=data))
    values = described["data"]
    values["dir"] = place_of(data.dir) if data.dir else None
    if config.episode.ways:
        values["episode"] = described["episode"]
    decides = {**values, "runs": list(runs)} if runs else values
    digest = blake2b(json.dumps(decides, sort_keys=True).encode(), digest_size=4).hexdigest()
    plain = re.sub(r"[^\w.-]+", "-", data_name(data)).strip(".-")[:LONGEST] or data.source
    at = f"-step{step}" if step is not None else ""
    of = "".join(f"-{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('.-')}" for name in runs)[:LONGEST]
    return f"{plain}-{part}{at}{of}-{digest}"
