"""Outputs of a finished run besides its checkpoints: scores of its test and validation images."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from imbal_jax.data.dataset import Images
from imbal_jax.data.feeding.stream import slices
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.data.labels import MISSING
from imbal_jax.files import DamagedError, present, read_json, read_npz, write_json, write_npz
from imbal_jax.methods import Method
from imbal_jax.metrics.clusters import patient_numbers
from imbal_jax.tasks import Task, find_task
from imbal_jax.training.correction import apply_correction

RESULT = "result.json"
SCORES = "test_scores.npz"
DIGESTED = 256  # images in memory at a time


@dataclass(frozen=True)
class RunOutputs:
    """Written to and read from the run's folder. M test images, V validation images, C classes or labels.

    best_step, seconds, skipped: the chosen checkpoint's step; of the training; updates left out.
    labels: [M] or [M, C], of the test. groups: int [M], numbers that tell its patients apart.
    scores: float32 [M, C], probabilities of the test as the method corrects them. outputs: those of the network.
    validation_labels, validation_outputs, validation_groups: of the validation images, likewise; without groups
        each image counts as a patient.
    training_priors: float64 [C], what the outputs assume: priors, or of many labels each one's prevalence; NaN
        where that is not known.
    correction: float64 [C], the log factors by which the method corrects the outputs.
    mean, deviation: of the training images' pixels in [0, 1], which the network's inputs are standardised by.
    task_name: what kind of labels (``tasks.find_task``). Of a task that does not decide, labels are what is known of
        whole images (``Dataset.image_labels``), outputs and scores what ``Task.for_evaluation`` gave of each.
    image_shape: int [3], of an image [H, W, channels]. image_bits: of a pixel. geometry: how pictures
        became such images; None where that is not known. classes: the C names.
    threshold_names, threshold_values: of a task of masks, the findings and what ``Task.choose`` gave on validation.
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
    classes: tuple[str, ...]
    task_name: str
    geometry: Geometry | None = None
    validation_groups: np.ndarray | None = None
    threshold_values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    threshold_names: np.ndarray = field(default_factory=lambda: np.zeros(0, "U1"))

    @property
    def thresholds(self) -> dict[str, float]:
        """Of each finding, where its probability becomes a call."""
        return dict(zip(map(str, self.threshold_names), map(float, self.threshold_values), strict=True))

    @property
    def task(self) -> Task:
        """What kind of labels."""
        return find_task(self.task_name)

    def write(self, folder: Path) -> None:
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NUMBERS}
        arrays["geometry"] = np.array(json.dumps(self.geometry and self.geometry.options))
        if self.validation_groups is None:
            arrays["validation_groups"] = np.zeros(0, np.int64)
        write_npz(folder / SCORES, arrays, compressed=True)
        values = {"best_step": self.best_step, "seconds": round(self.seconds, 1), "skipped": self.skipped}
        write_json(folder / RESULT, values)  # the last file to appear says that the run is finished

    @staticmethod
    def read(folder: Path) -> "RunOutputs | None":
        """What was written to ``folder``, or None where the run did not finish."""
        if not present(folder / RESULT):
            return None
        values = read_result(folder)
        names = [f.name for f in fields(RunOutputs) if f.name not in (*_NUMBERS, *_SINCE)]
        remedy = f"delete {folder / RESULT} and run again"
        stored = read_npz(folder / SCORES, names, remedy, optional=_SINCE)
        if wrong := _wrong(stored):
            raise DamagedError(f"{folder / SCORES} is damaged ({wrong}): {remedy}")
        try:
            made = json.loads(str(stored["geometry"]))
        except (ValueError, RecursionError):
            raise DamagedError(f"{folder / SCORES} is damaged (its geometry is no JSON): {remedy}") from None
        groups = stored["validation_groups"]
        fitting: dict[str, Any] = {
            **stored,
            "classes": tuple(map(str, stored["classes"])),
            "task_name": str(stored["task_name"]),
            "validation_groups": groups if groups.size else None,
            "geometry": made and Geometry.from_json(made, folder / SCORES),
        }
        return RunOutputs(**fitting, **values)


def _wrong(stored: Mapping[str, np.ndarray]) -> str:
    """Message on the first invalid array of ``RunOutputs``, or ""."""
    classes = stored["classes"]
    if stored["task_name"].shape != () or stored["task_name"].dtype.kind != "U":
        return "task_name is no text"
    task = find_task(str(stored["task_name"]))
    if classes.ndim != 1 or classes.dtype.kind != "U" or len(set(classes.tolist())) < max(1, classes.size):
        return "classes are no names"
    count, many = classes.size, stored["labels"].ndim == 2
    each = (count,) if task.decides else stored["outputs"].shape[1:]
    images, known = (stored[name].shape[:1] for name in ("labels", "validation_labels"))
    one = (count,) if many else ()
    shapes = {
        "labels": (*images, *one),
        "groups": images,
        "digests": images,
        "scores": (*images, *each),
        "outputs": (*images, *each),
        "validation_labels": (*known, *one),
        "validation_outputs": (*known, *each),
        "validation_groups": known if stored["validation_groups"].size else (0,),
        "training_priors": (count,) if task.decides else stored["training_priors"].shape,
        "correction": (count,) if task.decides else stored["correction"].shape,
        "mean": stored["deviation"].shape,
        "image_shape": (3,),
        "image_bits": (),
    }
    for name, shape in shapes.items():
        if stored[name].shape != shape or stored[name].dtype.kind not in "iuf":
            return (
                f"{name} is {stored[name].dtype} {list(stored[name].shape)}, expected numbers {list(shape)}"
            )
    for name in ("labels", "validation_labels"):
        low, high = (MISSING, 1) if many else (0, count - 1)
        if stored[name].dtype.kind == "f" or ((stored[name] < low) | (stored[name] > high)).any():
            return f"{name} hold values outside {low}..{high}"
    for name in ("scores", "outputs", "validation_outputs") if task.decides else ():
        if not ((stored[name] >= 0) & (stored[name] <= 1)).all():
            return f"{name} hold values that are no probabilities"
    return ""


def read_result(folder: Path) -> dict[str, Any]:
    """``best_step``, ``seconds`` and ``skipped`` of a finished run; InputError where they cannot be read."""
    path, remedy = folder / RESULT, "delete it and run again"
    values = read_json(path, remedy)
    numbers = {name: values.get(name) for name in _NUMBERS}
    if not all(
        isinstance(value, int | float if name == "seconds" else int) and not isinstance(value, bool)
        for name, value in numbers.items()
    ):
        raise DamagedError(f"{path} is damaged ({', '.join(_NUMBERS)} are not numbers): {remedy}")
    return numbers


_NUMBERS = ("best_step", "seconds", "skipped")
_SINCE = ("threshold_values", "threshold_names")  # runs of earlier versions have none


def pixel_digests(images: Images) -> np.ndarray:
    """uint64 [M] of images [M, H, W, C]: equal for equal pixels."""
    digests = [
        blake2b(np.ascontiguousarray(image).data, digest_size=8).digest()
        for part in slices(images, DIGESTED)
        for image in part
    ]
    return np.frombuffer(b"".join(digests), "<u8")


def patient_codes(groups: np.ndarray) -> np.ndarray:
    """int [M]: numbers instead of names, which may identify patients."""
    return patient_numbers(groups, np.ones(len(groups), bool), missing="own")


def own_scores(method: Method, scored: RunOutputs, outputs: np.ndarray) -> np.ndarray:
    """float32 [N, C]: a network's outputs for any images, corrected with what the run ``scored`` fitted.

    Those of a task that does not decide, such as codes of the pixels of masks, are kept as they are.
    """
    if not scored.task.decides and method.correction == "none":
        return outputs
    corrected = apply_correction(method, scored.correction, scored.training_priors, outputs)
    return corrected.astype(np.float32)


def with_deployment_priors(method: Method, scored: RunOutputs, priors: np.ndarray | None) -> RunOutputs:
    """``scored`` as it would be if ``method`` had corrected for ``priors`` [C]; None: as it is."""
    if method.correction != "prior" or priors is None:
        return scored
    moved = replace(scored, correction=np.log(priors / scored.training_priors))
    return replace(moved, scores=own_scores(method, moved, scored.outputs))
