"""Deployment of a trained network: calibrated probabilities and a threshold for each finding."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from imbal_jax.data.dataset import Dataset
from imbal_jax.data.images.geometry import Geometry
from imbal_jax.decisions.calibration import LogitScaling
from imbal_jax.decisions.operating_point import OperatingPoint, decide
from imbal_jax.errors import InputError
from imbal_jax.files import DamagedError, present, read_json, write_json
from imbal_jax.tasks import Task, find_task

FILE = "deployment.json"


@dataclass(frozen=True)
class Inputs:
    """What images the network takes.

    shape: [H, W, channels]. bits: of a pixel, 8 or 16. mean, deviation: of the training images' pixels in [0, 1],
    one number or one a channel. mirror: whether the probabilities are the mean of those of the image and of its
    mirror image. geometry: how a picture becomes such an image; None where nothing is known of it, and pictures are
    refused.
    """

    shape: tuple[int, int, int]
    bits: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    mirror: bool
    geometry: Geometry | None

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(f"uint{self.bits}")

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Inputs":
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        made = values["geometry"]
        return Inputs(**{**values, "geometry": made and Geometry.from_json(made, FILE)})

    @property
    def statistics(self) -> dict[str, np.ndarray]:
        """``mean`` and ``deviation`` as a scorer takes them."""
        return {name: np.asarray(getattr(self, name), np.float32) for name in ("mean", "deviation")}


@dataclass(frozen=True)
class Deployment:
    """From a network's outputs to calibrated probabilities and decisions; stored with the checkpoint.

    Of a task that does not decide (``Task.decides``), only what the network takes: no points, no prevalence.

    classes: the C names. negative: the index of the class that is no finding, or None.
    task_name: what kind of labels the network was trained for (``tasks.find_task``).
    scaling: of the log probabilities (of many labels: the log odds) that the network gives.
    points: one a class, chosen on validation.
    prevalence: [C], at which the probabilities hold, as far as they are calibrated.
    calibration: how, as ``config.Deploy`` says; with "penalised" where the fit had no maximum without.
    inputs: what the network takes.
    thresholds: of a task of masks, of each finding: where its probability becomes a call (``Task.choose``).
    """

    classes: tuple[str, ...]
    negative: int | None
    task_name: str
    scaling: LogitScaling
    points: tuple[OperatingPoint, ...]
    prevalence: tuple[float, ...]
    calibration: str
    inputs: Inputs
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """What kind of labels the network was trained for; of masks, called at the thresholds."""
        return find_task(self.task_name).deciding_at(self.thresholds)

    def no_images(self) -> Dataset:
        """A data set without images, of the shape, the type and the classes that the network takes."""
        none = np.zeros(0, np.int32)
        images = np.zeros((0, *self.inputs.shape), self.inputs.dtype)
        return Dataset(images, none, none, self.classes)

    @property
    def findings(self) -> tuple[int, ...]:
        """The indices of the classes but the negative one."""
        return tuple(c for c in range(len(self.classes)) if c != self.negative)

    def probabilities(self, outputs: ArrayLike) -> np.ndarray:
        """float64 [N, C] of the network's outputs [N, C], which are probabilities too."""
        task = self.task
        return task.from_log_outputs(self.scaling.apply(task.log_outputs(outputs)))

    def called(self, probabilities: ArrayLike) -> np.ndarray:
        """bool [N, C]: which classes each image is called, at the operating points."""
        return decide(probabilities, self.points, self.negative)

    def _wrong(self, values: Mapping[str, Any]) -> str:
        """The first inconsistency of the values, or ""."""
        count = len(self.classes)
        if not (
            isinstance(values["classes"], list) and count and all(isinstance(c, str) for c in self.classes)
        ):
            return "its classes are not names"
        if self.negative is not None and (type(self.negative) is not int or not 0 <= self.negative < count):
            return "its negative class is none of them"
        decided = count if self.task.decides else 0
        if len(self.points) != decided or len(self.prevalence) != decided:
            return f"it has {len(self.points)} operating points for {decided} classes"
        if not all(np.isfinite(value).all() for value in (self.scaling.scale, self.scaling.bias)):
            return "its calibration holds values that are no finite numbers"
        return ""

    def to_json(self) -> dict[str, Any]:
        points = [{k: _finite(v) for k, v in point.to_json().items()} for point in self.points]
        return {
            "classes": list(self.classes),
            "negative": self.negative,
            "task": self.task_name,
            "scaling": self.scaling.to_json(),
            "points": points,
            "prevalence": list(self.prevalence),
            "calibration": self.calibration,
            "inputs": asdict(self.inputs),
            "thresholds": dict(self.thresholds),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Deployment":
        """InputError where a value is missing or damaged."""
        try:
            points = [
                OperatingPoint.from_json({k: math.nan if v is None else v for k, v in point.items()})
                for point in values["points"]
            ]
            made = Deployment(
                classes=tuple(values["classes"]),
                negative=values["negative"],
                task_name=str(values["task"]),
                scaling=LogitScaling.from_json(values["scaling"]),
                points=tuple(points),
                prevalence=tuple(map(float, values["prevalence"])),
                calibration=str(values["calibration"]),
                inputs=Inputs.from_json(values["inputs"]),
                thresholds={str(k): float(v) for k, v in values.get("thresholds", {}).items()},
            )
            if wrong := made._wrong(values):
                raise InputError(f"not a deployment: {wrong}")
            return made
        except InputError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"not a deployment: {error!r}") from None

    def write(self, folder: Path) -> None:
        write_json(folder / FILE, self.to_json())

    @staticmethod
    def read(folder: Path) -> "Deployment":
        """That of the run in ``folder``; InputError where there is none, or it is damaged."""
        remedy = f"imbal-jax evaluate {folder} writes it again"
        if not present(folder / FILE):
            raise InputError(f"no file {folder / FILE}: {remedy}")
        values = read_json(folder / FILE, remedy)
        try:
            return Deployment.from_json(values)
        except InputError as error:
            raise DamagedError(f"{folder / FILE} is damaged ({error}): {remedy}") from None


def require_decisions(deployment: Deployment, run: Path, command: str) -> None:
    """InputError where the run's task gives no probabilities that thresholds turn into decisions."""
    if not deployment.task.decides:
        raise InputError(
            f"{run} was trained for {deployment.task.name}, which has no probabilities and no decisions: {command} "
            "is for runs that have; evaluate and export work for all"
        )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
