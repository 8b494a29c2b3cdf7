"""The result of one finished run, as the report reads it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from imbal_jax.data.dataset import Images
from imbal_jax.decisions.operating_point import OperatingPoint
from imbal_jax.tasks.mask_table import MaskScores

Saliency = Callable[[np.ndarray, int], np.ndarray]
"""``(indices int [n] of test images, class) -> maps [n, H, W]``, zero or above."""


@dataclass(frozen=True, repr=False)
class RunResult:
    """The result of one method and seed. The report leaves out what is None.

    Attributes:
      method: its name; no two runs of one report have the same method and seed.
      summary: what it does, one sentence.
      history: records of metrics.jsonl, as ``tracking.read_history`` gives them.
      criterion: the validation metric that chose the checkpoint.
      best_step: the step of that checkpoint.
      table: class (and "macro") -> metrics on the test set, from ``metrics.classification_summary``: of the raw
        calls, before calibration and without thresholds.
      deployed: the same at the operating points and after calibration (``study.deployed_table``), which is what
        terminal, notebook and report show; None: there are no operating points.
      labels: int [M], or [M, L] with 1, 0 and -1 (unknown).
      scores: probabilities [M, C]; calibrated, where that was done.
      seconds: training time.
      skipped_steps: steps left out because a gradient was not finite.
      seed: of the initial weights, the order of the batches and the augmentation.
      points: one a class or label, chosen on validation; they decide what is called, where they are given.
      groups: [M], the patient of each test image: intervals are clustered by patient.
      validation_labels, validation_scores, validation_groups: as ``labels``, ``scores`` and ``groups``, of the
        validation images.
      raw_scores: [M, C], the scores before calibration.
      calibration: what was done to them, in words.
      prevalence: [C], where the model is used; prevalence_source: whose that is, such as "validation".
      predict: images [N, H, W, C], as the test images are -> calibrated probabilities [N, C].
      decides: whether ``scores`` are probabilities that become decisions; else they are what the task keeps of each
        image, [M, ...], and the report has metrics only.
      thresholds: of masks, of each finding: where its probability becomes a call, chosen on validation; the table is
        of these calls. masks: of masks, what is called there beside the truth.
      saliency: what the pictures of errors are shown with, such as ``saliency.saliency_maps`` of the network.
    """

    method: str
    summary: str
    history: list[dict]
    criterion: str
    best_step: int
    table: dict[str, dict[str, float]]
    labels: np.ndarray
    scores: np.ndarray
    seconds: float
    skipped_steps: int = 0
    seed: int = 0
    points: tuple[OperatingPoint, ...] | None = None
    groups: np.ndarray | None = None
    validation_labels: np.ndarray | None = None
    validation_scores: np.ndarray | None = None
    validation_groups: np.ndarray | None = None
    raw_scores: np.ndarray | None = None
    calibration: str | None = None
    saliency: Saliency | None = None
    prevalence: tuple[float, ...] | None = None
    prevalence_source: str = ""
    predict: Callable[[np.ndarray], np.ndarray] | None = None
    decides: bool = True
    deployed: dict[str, dict[str, float]] | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    masks: MaskScores | None = None

    @property
    def shown(self) -> dict[str, dict[str, float]]:
        """The metrics that terminal, notebook and report show."""
        return self.table if self.deployed is None else self.deployed

    def __repr__(self) -> str:
        macro = {name: round(value, 4) for name, value in self.shown.get("macro", {}).items()}
        return f"RunResult({self.method}, seed {self.seed}, step {self.best_step}, macro {macro})"


class Addressed(Protocol):
    """A run with a method name and a seed."""

    @property
    def method(self) -> str: ...

    @property
    def seed(self) -> int: ...


def run_names(runs: Sequence[Addressed]) -> list[str]:
    """What each run is called beside the others: its method, and its seed where the method has several runs."""
    methods = [run.method for run in runs]
    return [f"{run.method}, seed {run.seed}" if methods.count(run.method) > 1 else run.method for run in runs]


def check_results(runs: Sequence[RunResult], classes: tuple[str, ...], images: Images) -> None:
    """ValueError unless the runs differ in method or seed and their arrays fit the same images and classes."""
    names = [(run.method, run.seed) for run in runs]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report needs one run or more, of different methods or seeds; got {names}")
    for run in runs:
        labels, scores = np.shape(run.labels), np.shape(run.scores)
        if not run.decides:
            if labels[:1] != (len(images),) or scores[:1] != (len(images),):
                raise ValueError(
                    f"{run.method}: labels {labels} and scores {scores} do not fit {len(images)} images"
                )
        elif scores != (len(images), len(classes)) or labels not in ((scores[0],), scores):
            raise ValueError(
                f"{run.method}: labels {labels} and scores {scores} do not fit {len(images)} images "
                f"and {len(classes)} classes"
            )
        if not np.array_equal(run.labels, runs[0].labels):
            raise ValueError(f"{run.method}: its labels are not those of {runs[0].method}: other test images")
        _check_optional(run, classes)


def _check_optional(run: RunResult, classes: tuple[str, ...]) -> None:
    if run.points is not None and len(run.points) != len(classes):
        raise ValueError(f"{run.method}: {len(run.points)} operating points for {len(classes)} classes")
    expected = {"groups": np.shape(run.labels)[:1], "raw_scores": np.shape(run.scores)}
    for name, shape in expected.items():
        value = getattr(run, name)
        if value is not None and np.shape(value) != shape:
            raise ValueError(f"{run.method}: {name} have shape {np.shape(value)}, expected {shape}")
    if (run.validation_labels is None) != (run.validation_scores is None):
        raise ValueError(f"{run.method}: give both validation_labels and validation_scores, or neither")
    if run.validation_labels is None or run.validation_scores is None:
        return
    labels, scores = np.shape(run.validation_labels), np.shape(run.validation_scores)
    if scores[1:] != (len(classes),) or labels != (*scores[:1], *np.shape(run.labels)[1:]):
        raise ValueError(f"{run.method}: validation labels {labels} and scores {scores} do not fit")
