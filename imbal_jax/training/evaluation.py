"""Evaluation during training: every metric that a criterion may name, with its bounds and standard errors."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from imbal_jax.config import Config
from imbal_jax.data.dataset import Dataset
from imbal_jax.decisions.at_points import rates_at_points
from imbal_jax.decisions.class_rules import rules_of
from imbal_jax.decisions.criterion import AT_POINTS, Criterion
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.decisions.default_criterion import AUTO
from imbal_jax.errors import InputError, Stopped
from imbal_jax.tasks import Task

NEED_CASES = (
    "sensitivity",
    "specificity",
    "balanced_accuracy",
    "geometric_mean",
    "auroc",
    "average_precision",
)
"""Metrics that are undefined where cases are missing, whatever the predictions."""


def evaluation(
    config: Config, task: Task, criterion: Criterion, data: Dataset, kept: np.ndarray
) -> dict[str, float]:
    """The metrics of ``data``, and their bounds and standard errors where ``criterion`` reads them.

    kept: what the task keeps of each example; for classification the probabilities [N, C]. Raises Stopped where some
    are NaN: the network has left the range of its numbers, and nothing can be chosen.
    """
    if kept.dtype.kind == "f" and (broken := int(np.isnan(kept).reshape(len(kept), -1).any(axis=1).sum())):
        raise Stopped(
            f"the network gives NaN for {broken} of {len(kept)} validation images: lower --optim.learning-rate "
            f"({config.optim.learning_rate:g}), or set --optim.clip-norm 1 or --model.dtype float32"
        )
    negative = config.data.negative_class
    return {
        **task.measure(data, kept, negative),
        **_at_points(config, criterion, data, kept),
        **task.uncertainty(criterion, data, kept, negative),
    }


def _at_points(config: Config, criterion: Criterion, data: Dataset, kept: np.ndarray) -> dict[str, float]:
    """The rates that ``criterion`` reads at operating points."""
    rules = rules_of(config.deploy.points, data.classes, config.select)
    return rates_at_points(
        criterion,
        rules,
        data.labels,
        kept,
        data.classes,
        negative_class=config.data.negative_class,
        groups=data.groups,
    )


def with_criterion(config: Config, task: Task, data: Dataset) -> tuple[Config, str]:
    """The config with the criterion that ``select`` = auto stands for, and a line on it. data: validation."""
    if config.select != AUTO:
        return config, ""
    criterion, reason = task.default_criterion(data, config.data.negative_class)
    return replace(config, select=criterion), f"checkpoints are chosen by {criterion} ({reason})"


def check_criterion(config: Config, task: Task, data: Dataset) -> None:
    """InputError before any training where ``data``, validation, cannot give what the criterion reads."""
    criterion = parse_criterion(config.select)
    kept, negative = task.placeholder_outputs(data), config.data.negative_class
    values = {"step": 0, **task.measure(data, kept, negative)}
    if task.decides:
        values |= _at_points(config, criterion, data, kept)
    criterion.check([*values, *(bound.name for bound in criterion.bounds)])
    values |= task.uncertainty(criterion, data, kept, negative)
    criterion.check(values)
    for name in criterion.names:
        metric, _, cls = name.partition(" lower bound ")[0].removesuffix(AT_POINTS).partition("/")
        if metric in NEED_CASES and not np.isfinite(values[name]):
            of = f" of {cls}" if cls else " of any class"
            raise InputError(
                f"select {config.select!r}: {name} is undefined, for validation has no case{of}, or no other; "
                "name another metric, or make --data.validation-share larger"
            )


def lead_with(values: Mapping[str, float], criterion: Criterion) -> dict[str, float]:
    """The metrics with those that decide first, since the console shows the first few."""
    order = [*criterion.names, "sensitivity", "specificity", "f_score", "auroc"]
    return {name: values[name] for name in dict.fromkeys([*order, *values]) if name in values}
