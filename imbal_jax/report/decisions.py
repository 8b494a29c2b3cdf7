"""Truth and decision of each image, class by class."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imbal_jax.decisions.operating_point import decide as called_at
from imbal_jax.metrics.labels import THRESHOLD, decided_by_default, is_exclusive, one_against_rest
from imbal_jax.report.result import RunResult


class Counts(NamedTuple):
    positives: int
    negatives: int
    found: int
    false_alarms: int

    @property
    def missed(self) -> int:
        return self.positives - self.found

    @property
    def known(self) -> int:
        return self.positives + self.negatives

    @property
    def prevalence(self) -> float:
        return self.positives / self.known if self.known else np.nan


@dataclass(frozen=True)
class Decisions:
    """Truth and decision of M images for C classes, each against the rest.

    Attributes:
      truth: int8 [M, C], 1, 0, or -1 where it is unknown.
      scores: float64 [M, C], in [0, 1].
      called: bool [M, C]; see ``decide``.
      taken_for: int [M], the one class that an image is called; None for many labels.
      at_points: whether there are operating points.
      classes: the C names.
      shown: those that are findings, rarest first: all but the negative class.
    """

    truth: np.ndarray
    scores: np.ndarray
    called: np.ndarray
    taken_for: np.ndarray | None
    at_points: bool
    classes: tuple[str, ...]
    shown: tuple[int, ...]

    @property
    def exclusive(self) -> bool:
        """Whether an image has exactly one class."""
        return self.taken_for is not None

    @property
    def rule(self) -> str:
        """How an image is called, in words."""
        if self.at_points:
            return "the operating point of each class"
        return (
            "the class of the highest probability"
            if self.exclusive
            else f"a probability of {THRESHOLD} or more"
        )

    def counts(self, k: int) -> Counts:
        positive, negative, called = self.truth[:, k] == 1, self.truth[:, k] == 0, self.called[:, k]
        sides = (positive, negative, positive & called, negative & called)
        return Counts(*(int(side.sum()) for side in sides))


def decide(run: RunResult, classes: tuple[str, ...], negative_class: str | None) -> Decisions:
    """What the run calls each image.

    Without operating points: the class of the highest probability, or, of many labels, each of a probability of
    ``THRESHOLD``. With them: each finding whose probability reaches its threshold, and the negative class where
    none does. An image of one label is taken for the finding that exceeds its threshold most, as a factor.
    """
    truth = one_against_rest(run.labels, len(classes))
    scores = probabilities(run.scores)
    order = np.argsort((truth == 1).sum(axis=0), kind="stable")
    shown = tuple(int(k) for k in order if classes[k] != negative_class)
    called = decided_by_default(run.labels, scores)
    taken_for = scores.argmax(axis=1) if is_exclusive(run.labels) else None
    if run.points is not None:
        negative = classes.index(negative_class) if negative_class in classes else None
        called = called_at(scores, run.points, negative)
        if taken_for is not None:
            thresholds = np.array([max(point.threshold, 1e-12) for point in run.points])
            excess = np.where(called, np.maximum(scores, 1e-12) / thresholds, 0)
            taken_for = np.where(called.any(axis=1), excess.argmax(axis=1), taken_for)
    return Decisions(truth, scores, called & (truth >= 0), taken_for, run.points is not None, classes, shown)


def probabilities(scores: np.ndarray) -> np.ndarray:
    """float64 in [0, 1]: a float32 softmax may exceed 1 by a rounding, and NaN finds nothing."""
    return np.clip(np.nan_to_num(np.asarray(scores, np.float64), nan=0.0), 0, 1)
