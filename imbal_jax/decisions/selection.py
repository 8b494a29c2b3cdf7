"""Checkpoint selection and early stopping: pure functions of the evaluation history.

A history holds one mapping an evaluation, oldest first, with the metrics and "step".

Without ``within``, the earliest evaluation wins a tie; among evaluations that are equally far from satisfying the
constraints, the latest does. Whatever the clauses, the best evaluation is either the last one or the previous best,
so that a run keeps one best checkpoint. A run that is resumed with its history chooses as if it had never been
interrupted.
"""

import math
from collections.abc import Sequence

import numpy as np

from imbal_jax.decisions.criterion import FLOOR, STANDARD_ERROR, Criterion, Evaluation, Metrics, defined
from imbal_jax.errors import InputError


def best_step(history: Sequence[Metrics], criterion: Criterion) -> int:
    """The ``"step"`` of the best evaluation. InputError if there is no evaluation, or it lacks a metric."""
    if not history:
        raise InputError("no evaluation to choose from: train until the first evaluation is done")
    evaluations = smooth(history, criterion)
    merits = [criterion.merit(metrics) for metrics in evaluations]
    best = _highest(merits, criterion)
    floor = FLOOR if criterion.constraints else -math.inf
    if criterion.constraints and -math.inf < merits[best] <= floor:
        # equally far from the constraints: take the latest
        best = max(n for n in range(best, len(merits)) if merits[n] == merits[best])
    error = evaluations[best].get(STANDARD_ERROR, math.nan)
    if merits[best] > floor and math.isfinite(error):
        least = merits[best] - criterion.within * error
        best = max(n for n in range(best, len(merits)) if merits[n] >= least and merits[n] > floor)
    return step_of(history[best])


def saved_value(history: Sequence[Metrics], criterion: Criterion) -> float:
    """The value that the newest checkpoint is saved with: the largest of a run belongs to the best."""
    newest = step_of(history[-1])
    return float(newest) if best_step(history, criterion) == newest else -math.inf


def should_stop(history: Sequence[Metrics], criterion: Criterion, patience: int) -> bool:
    """Whether at least the last ``patience`` evaluations did not exceed the highest merit before them.

    A patience of 0 never stops. An evaluation that equals the best does not exceed it, so a run whose
    criterion is never defined stops after 1 + ``patience`` evaluations; ``within`` changes nothing here.
    """
    if patience < 0:
        raise InputError(f"patience={patience} must be 0 (never stop early) or more evaluations")
    if patience == 0 or not history:
        return False
    merits = [criterion.merit(metrics) for metrics in smooth(history, criterion)]
    return len(history) - 1 - _highest(merits, criterion) >= patience


def smooth(history: Sequence[Metrics], criterion: Criterion) -> list[Evaluation]:
    """The metrics that the criterion reads, one mapping an evaluation: means over the last ``smoothed`` evaluations.

    Fewer where there are fewer. NaN where one of them is undefined. InputError for a metric that an evaluation lacks.
    """
    names = (*criterion.names, *((STANDARD_ERROR,) if criterion.within else ()))
    for metrics in history:
        criterion.check(metrics)
        if criterion.within and STANDARD_ERROR not in metrics:
            raise InputError(
                f"the history has no {STANDARD_ERROR}, which {criterion.text!r} needs: train again"
            )
    read = np.array([[defined(metrics[name]) for name in names] for metrics in history], np.float64)
    read[~np.isfinite(read)] = np.nan
    ends = range(1, len(history) + 1)
    means = [read[max(0, end - criterion.smoothed) : end].mean(axis=0) for end in ends]
    return [dict(zip(names, mean.tolist(), strict=True)) for mean in means]


def step_of(metrics: Metrics) -> int:
    """The step of an evaluation."""
    return int(defined(metrics["step"]))


def _highest(merits: Sequence[float], criterion: Criterion) -> int:
    """Index of the highest merit (first on ties), skipping incomplete windows; the last if there is no other."""
    first = min(criterion.smoothed, len(merits)) - 1
    return first + int(np.argmax(merits[first:]))


def unmet(history: Sequence[Metrics], criterion: Criterion, step: int | None = None) -> str:
    """One line on the constraints that no checkpoint reached; empty where the chosen one satisfies every constraint.

    step: step of the checkpoint in use; None: the chosen one. Also reports a criterion that is undefined in every
    evaluation, so that nothing was chosen.
    """
    if not history:
        return ""
    evaluations = smooth(history, criterion)
    steps = [step_of(metrics) for metrics in history]
    step = best_step(history, criterion) if step is None else step
    if step not in steps:
        return ""
    at = evaluations[steps.index(step)]
    merits = [criterion.merit(metrics) for metrics in evaluations]
    if max(merits) == -math.inf:
        lacking = [name for name in criterion.names if not math.isfinite(at[name])]
        return (
            f"{' and '.join(lacking) or criterion.text} undefined on validation in every evaluation: nothing was "
            f"chosen by {criterion.text!r}; used is step {step:,}"
        )
    violated = [c for c in criterion.constraints if math.isnan(at[c.name]) or c.violation(at) > 0]
    if not violated:
        return ""
    whole = min(criterion.smoothed, len(history)) - 1  # the first evaluation with a complete window
    wanted, had, alone = [], [], True
    for constraint in violated:
        values = [m[constraint.name] for m in evaluations[whole:] if math.isfinite(m[constraint.name])]
        best = max(values, key=lambda value: constraint.sign * value) if values else math.nan
        alone = alone and constraint.sign * (constraint.bound - best) > 0
        wanted.append(str(constraint))
        had.append(_two_digits(best))
    if alone:
        reached = (
            f"no checkpoint reached {' or '.join(wanted)} on validation; the best had {' and '.join(had)}"
        )
    else:
        together = " and ".join(map(str, criterion.constraints))
        reached = (
            f"no checkpoint reached {together} {'together ' * (len(criterion.constraints) > 1)}on validation"
        )
    value = " and ".join(f"{c.name} {_two_digits(at[c.name])}" for c in violated)
    return f"{reached}; chosen is step {step:,}, with {value}"


def choice_line(history: Sequence[Metrics], criterion: Criterion, step: int) -> str:
    """How the checkpoint of ``step`` was chosen, in one line."""
    return unmet(history, criterion, step) or f"best at step {step:,} by {criterion.text}"


def _two_digits(value: float) -> str:
    return f"{value:.3g}" if 0 < abs(value) < 0.01 else f"{value:.2f}"
