"""What a finished run leaves, made from labels and outputs."""

from dataclasses import replace

import numpy as np
from scipy.special import softmax

from imbal_jax.runs.outputs import RunOutputs
from imbal_jax.runs.paired_difference import Difference, Run

CLASSES = ("normal", "nodule", "effusion")


TRAINING = np.array([1 / 3, 1 / 3, 1 / 3])


def scored(labels: np.ndarray, outputs: np.ndarray, **changes: object) -> RunOutputs:
    """The same images as validation and test."""
    size, number = outputs.shape
    base = RunOutputs(
        best_step=1,
        seconds=1.0,
        skipped=0,
        labels=labels,
        groups=np.arange(size),
        digests=np.arange(size, dtype=np.uint64),
        scores=outputs,
        outputs=outputs,
        validation_labels=labels,
        validation_outputs=outputs,
        training_priors=TRAINING[:number],
        correction=np.zeros(number),
        mean=np.float32(0.4),
        deviation=np.float32(0.2),
        image_shape=np.array([8, 8, 1]),
        image_bits=np.array(8),
        geometry=None,
        classes=CLASSES[:number],
        task_name="many_labels" if labels.ndim == 2 else "one_label",
    )
    return replace(base, **changes)


def unbalanced(size: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of 90 : 7 : 3, and the posterior of a model that was trained on equal classes, overconfident twice."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, size, p=(0.9, 0.07, 0.03))
    # normal features with one mean a class: under equal priors the log posterior is the product with the means
    features = 1.5 * np.eye(3)[labels] + rng.normal(size=(size, 3))
    return labels, softmax(2 * 1.5 * features, axis=1)


def binary_run(truth: np.ndarray, scores: np.ndarray, name: str = "run") -> Run:
    """Of one finding, called at 0.5."""
    truth = np.asarray(truth, np.int8)[:, None]
    scores = np.asarray(scores, np.float64)[:, None]
    return Run(
        name,
        name,
        {},
        truth[:, 0],
        truth,
        scores,
        scores >= 0.5,
        ("nodule",),
        np.arange(len(truth)),
        np.arange(len(truth)),
    )


def by(rows: list[Difference]) -> dict[tuple[str, str], Difference]:
    return {(row.metric, row.finding): row for row in rows}
