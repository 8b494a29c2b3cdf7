"""What a finished run leaves besides its checkpoints: the scores of its test and validation images."""

import json
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.data.dataset import Images
from imbal_jax.data.geometry import Geometry
from imbal_jax.data.stream import slices
from imbal_jax.errors import InputError

RESULT = "result.json"
SCORES = "test_scores.npz"
DIGESTED = 256  # images in memory at a time


@dataclass(frozen=True)
class Scored:
    """Written to and read from the run's folder. M test images, V validation images, C classes or labels.

    best_step, seconds, skipped: the chosen checkpoint's step; of the training; updates left out.
    labels: [M] or [M, C], of the test. groups: int [M], numbers that tell its patients apart.
    scores: float32 [M, C], probabilities of the test as the method corrects them. outputs: those of the network.
    validation_labels, validation_outputs: of the validation images, likewise.
    training_priors: float64 [C], what the outputs assume: priors, or of many labels each one's prevalence; NaN
        where that is not known.
    correction: float64 [C], the log factors by which the method corrects the outputs.
    mean, deviation: of the training images' pixels in [0, 1], which the network's inputs are standardised by.
    image_shape: int [3], of an image [H, W, channels]. image_bits: of a pixel. geometry: how pictures
        became such images; None where that is not known. classes: the C names.
    """

    best_step: int
    seconds: float
    skipped: int
    labels: np.ndarray
    groups: np.ndarray
    digests: np.ndarray
    scores: np.ndarray
    outputs: np.ndarray
    validation_labels: np.ndarray
    validation_outputs: np.ndarray
    training_priors: np.ndarray
    correction: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    image_shape: np.ndarray
    image_bits: np.ndarray
    geometry: Geometry | None
    classes: tuple[str, ...]

    @property
    def many_labels(self) -> bool:
        return self.labels.ndim == 2

    def write(self, folder: Path) -> None:
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NUMBERS}
        arrays["geometry"] = json.dumps(self.geometry and self.geometry.options)
        np.savez_compressed(folder / SCORES, **arrays)
        values = {"best_step": self.best_step, "seconds": round(self.seconds, 1), "skipped": self.skipped}
        partial = folder / (RESULT + ".partial")  # the last file to appear says that the run is finished
        partial.write_text(json.dumps(values) + "\n")
        partial.replace(folder / RESULT)

    @staticmethod
    def read(folder: Path) -> "Scored | None":
        """What was written to ``folder``, or None where the run did not finish."""
        if not (folder / RESULT).is_file():
            return None
        values = read_result(folder)
        try:
            with np.load(folder / SCORES) as arrays:
                stored = {name: arrays[name] for name in arrays.files}
            made = json.loads(str(stored["geometry"]))
            stored["geometry"] = made and Geometry.from_json(made, folder / SCORES)
            stored["classes"] = tuple(map(str, stored["classes"]))
            return Scored(**stored, **values)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise InputError(
                f"{folder / SCORES} cannot be read ({error}): delete {folder / RESULT} and run again"
            ) from error


def read_result(folder: Path) -> dict[str, Any]:
    """``best_step``, ``seconds`` and ``skipped`` of a finished run; InputError where they cannot be read."""
    try:
        values = json.loads((folder / RESULT).read_text())
        return {name: values[name] for name in _NUMBERS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / RESULT} cannot be read ({error}): delete it and run again") from error


_NUMBERS = ("best_step", "seconds", "skipped")


def pixel_digests(images: Images) -> np.ndarray:
    """uint64 [M] of images [M, H, W, C]: equal for equal pixels."""
    digests = [
        blake2b(np.ascontiguousarray(image), digest_size=8).digest()
        for part in slices(images, DIGESTED)
        for image in part
    ]
    return np.frombuffer(b"".join(digests), "<u8")


def patient_codes(groups: np.ndarray) -> np.ndarray:
    """int [M]: numbers in place of names, which may say who somebody is."""
    return np.unique(groups, return_inverse=True)[1]
