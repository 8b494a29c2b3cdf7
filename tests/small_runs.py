"""Small whole runs on pictures that are made here."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from imbal_jax import train
from imbal_jax.config import Config, Data, Model, Optim, Train, to_json
from imbal_jax.methods import METHODS
from imbal_jax.transforms.augment import Augment

QUIET = Console(quiet=True)

# ``write_pictures`` leaves 76 images for training. Epochs are such that whole dispatches of 4 or 8 steps end an
# evaluation and the run: a remainder would be one more program to compile, which is most of a small run's time.
BRIEF = 8 * 8 / 76  # epochs: 8 steps of 8 images
TWICE = 2 * BRIEF
WHOLE = 60 * 8 / 76  # three or five evaluations


def write_pictures(folder: Path, *, patients: int = 60, many_labels: bool = False) -> Path:
    """A folder of 16x16 pictures: "bright" ones are rare and easy to see, two pictures a patient."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,patient,bright,dark" if many_labels else "file,patient,label"]
    for patient in range(patients):
        bright = patient % 6 == 0
        for view in range(2):
            pixels = rng.integers(60, 120, (16, 16))
            pixels[4:9, 4:9] += 90 * bright
            name = f"{patient}_{view}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            known = "" if patient % 7 == 3 else int(not bright)
            label = f"{int(bright)},{known}" if many_labels else ("bright" if bright else "normal")
            rows.append(f"{name},p{patient},{label}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def small(pictures: Path, **changes: object) -> Config:
    base = Config(
        name="small",
        methods=(METHODS["stratified"],),
        data=Data(source="folder", dir=pictures, image_size=16, negative_class="normal"),
        model=Model(name="cnn", options={"width": 4, "stages": 2}),
        optim=Optim(learning_rate=1e-2, ema_decay=0.9),
        train=Train(epochs=WHOLE, batch_size=8, evaluations=3, steps_per_dispatch=4, devices=1),
        augment=Augment(flip=True, shift=0.1),
    )
    return replace(base, **changes)


def begun(workdir: Path, *methods: str) -> None:
    """Let ``workdir`` look as if a run of each method had saved a checkpoint."""
    for name in methods:
        (workdir / name / "seed0" / "checkpoints" / "1").mkdir(parents=True)


class StopHere(Exception):
    pass


def stopped_after(evaluations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next run raise StopHere in the evaluation after so many."""
    real, calls = train.evaluation, []

    def counted(*arguments: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) > evaluations:
            raise StopHere
        return real(*arguments)

    monkeypatch.setattr(train, "evaluation", counted)


COMMAND = Path(sys.executable).parent / "imbal-jax"


CONFIG = """
import json
from imbal_jax.config import from_json
def get_config():
    return from_json(json.loads({values!r}))
"""


def written(config, path: Path) -> Path:
    """A config file that gives ``config``."""
    path.write_text(CONFIG.format(values=json.dumps(to_json(config))))
    return path
