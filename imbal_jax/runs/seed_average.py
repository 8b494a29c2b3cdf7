"""The seeds of a method as ``predict`` uses them: the mean of their calibrated probabilities, scored as one run."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from imbal_jax.config import Config
from imbal_jax.decisions.class_rules import rules_of
from imbal_jax.report.result import RunResult
from imbal_jax.report.seeds import seed_places
from imbal_jax.report.study import deployed_table
from imbal_jax.runs.deployment_choice import choose_points


def seed_averages(
    config: Config, results: Sequence[RunResult], classes: tuple[str, ...]
) -> tuple[RunResult, ...]:
    """One result for each method with several seeds: probabilities averaged, thresholds chosen on that mean.

    Its thresholds are those of ``ensemble.ensemble_of``. Empty for a task that does not decide.
    """
    if not all(result.points for result in results):
        return ()
    of_method = [[results[i] for i in places] for places in seed_places(results).values()]
    return tuple(_average(config, runs, classes) for runs in of_method if len(runs) > 1)


def _average(config: Config, runs: Sequence[RunResult], classes: tuple[str, ...]) -> RunResult:
    def mean(name: str) -> np.ndarray:
        return np.mean([getattr(run, name) for run in runs], axis=0)

    first, seen = runs[0], mean("validation_scores")
    assert first.validation_labels is not None  # the points were chosen on them
    rules = rules_of(config.deploy.points, classes, config.select)
    average = replace(
        first,
        scores=mean("scores"),
        raw_scores=mean("raw_scores"),
        validation_scores=seen,
        points=choose_points(rules, first.validation_labels, seen, first.validation_groups),
        seconds=sum(run.seconds for run in runs),
        skipped_steps=sum(run.skipped_steps for run in runs),
        saliency=None,
        predict=None,
    )
    called = deployed_table(average, classes, config.data.negative_class)
    return replace(average, table=called, deployed=called)
