"""Metrics of a rare class under counts of patients, and their bootstrap over patients and draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

METRICS = ("average_precision", "auroc", "sensitivity_at_0.9", "balanced_accuracy", "old_change")


@dataclass(frozen=True)
class Scored:
    """The test images of one draw under one head.

    score: [M], probability of the rare class. called: int [M], the most probable class. before: int [M], that of the
    same kind of head without the rare class; -1 for images of the rare class. labels: int [M], the rare class last.
    groups: int [M], the patients.
    """

    score: np.ndarray
    called: np.ndarray
    before: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


def values(scored: Scored, classes: int, counts: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Every metric [R], NaN where it is undefined. counts: [R, M], how often each image counts; None: once each.

    average_precision, auroc, sensitivity_at_0.9 (the highest at a specificity of at least 0.9): of the rare class by
    its score. balanced_accuracy: the mean sensitivity of all classes by the most probable class. old_change: that of
    the old classes, less what it was before the rare class.
    """
    counts = np.ones((1, len(scored.labels))) if counts is None else counts.astype(np.float64)
    rare = scored.labels == classes - 1
    order = np.argsort(-scored.score, kind="stable")
    ranked = scored.score[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each group of equal scores
    hits = np.cumsum(counts[:, order] * rare[order], axis=1)[:, ends]
    alarms = np.cumsum(counts[:, order] * ~rare[order], axis=1)[:, ends]
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, false = hits / hits[:, -1:], alarms / alarms[:, -1:]
        gained = np.diff(sensitivity, axis=1, prepend=0)
        precision = np.where(hits + alarms > 0, hits / (hits + alarms), 0)
        passed = np.diff(false, axis=1, prepend=0)
        kept = np.where(false <= 0.1 + 1e-12, sensitivity, 0)
        each = np.stack([_share(counts, scored, c, scored.called) for c in range(classes)])
        before = np.stack([_share(counts, scored, c, scored.before) for c in range(classes - 1)])
    area = ((sensitivity - gained / 2) * passed).sum(axis=1)
    undefined = (hits[:, -1] == 0) | (alarms[:, -1] == 0)
    return {
        "average_precision": np.where(undefined, np.nan, (gained * precision).sum(axis=1)),
        "auroc": np.where(undefined, np.nan, area),
        "sensitivity_at_0.9": np.where(undefined, np.nan, kept.max(axis=1)),
        "balanced_accuracy": each.mean(axis=0),
        "old_change": (each[:-1] - before).mean(axis=0),
    }


def _share(counts: np.ndarray, scored: Scored, cls: int, called: np.ndarray) -> np.ndarray:
    own = counts[:, scored.labels == cls]
    return (own @ (called[scored.labels == cls] == cls)) / own.sum(axis=1)


def replicates(
    draws: Sequence[Mapping[str, Scored]], classes: int, samples: int = 1000, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """head -> metric -> the mean over draws [samples] of each replicate, the first that of the data as they are.

    A replicate draws patients with replacement, those with the rare class apart from the others, once for all draws,
    in each of which the test images are of other rare patients; and it draws the draws. Heads share both, so that
    their differences are paired.
    """
    rng = np.random.default_rng(seed)
    groups = np.concatenate([next(iter(draw.values())).groups for draw in draws])
    labels = np.concatenate([next(iter(draw.values())).labels for draw in draws])
    often = np.zeros((samples, int(groups.max()) + 1))
    for of_stratum in (np.unique(groups[labels == classes - 1]), np.unique(groups[labels < classes - 1])):
        share = np.full(len(of_stratum), 1 / len(of_stratum))
        often[:, of_stratum] = rng.multinomial(len(of_stratum), share, size=samples)
    weight = rng.multinomial(len(draws), np.full(len(draws), 1 / len(draws)), size=samples).astype(np.float64)
    often[0], weight[0] = 1, 1
    found: dict[str, dict[str, np.ndarray]] = {}
    for head in draws[0]:
        of_draws = [values(draw[head], classes, often[:, draw[head].groups]) for draw in draws]
        found[head] = {name: _mean([v[name] for v in of_draws], weight) for name in METRICS}
    return found


def _mean(of_draws: Sequence[np.ndarray], weight: np.ndarray) -> np.ndarray:
    """The mean over draws, by how often a replicate has each; NaN where one that counts is undefined."""
    stacked = np.stack(of_draws, axis=1)
    return np.where(weight > 0, weight * stacked, 0).sum(axis=1) / weight.sum(axis=1)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of replicates, NaN left out."""
    known = values[1:][np.isfinite(values[1:])]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def verdict(low: float, high: float) -> str:
    """Whether a difference's interval excludes 0."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not enough data to say"
