"""Section on learning: training loss, and the criterion at each evaluation."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from html import escape
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator

from imbal_jax.console import UNDEFINED
from imbal_jax.decisions.criterion import Criterion
from imbal_jax.decisions.criterion_text import parse_criterion
from imbal_jax.report.html import Html, by_method, figures, fold, legend, table
from imbal_jax.report.plots import dot, draw, line, svg, thinned
from imbal_jax.report.result import RunResult
from imbal_jax.report.study import NAMES

ROWS = 40  # of the table of evaluations; the best is always among them


def learning_curves(runs: Sequence[RunResult]) -> str:
    plots = [plot for plot in (_losses(runs), _criteria(runs)) if plot]
    if not plots:
        return "<p>No history was recorded: there is no curve to draw.</p>"
    lacking = "" if len(plots) == 2 else "<p class=muted>Only one of the two curves was recorded.</p>"
    drawn = f'{legend(runs)}<div class="curves">{"".join(plots)}</div>'
    return (
        f"<p>Checkpoints were chosen by the validation criterion <code>{escape(runs[0].criterion)}</code>.</p>"
        f"{fold('Training loss, and the criterion at each evaluation', drawn)}{lacking}{_evaluations(runs)}"
    )


def _losses(runs: Sequence[RunResult]) -> str:
    losses = [series(run.history, "train", lambda record: record["loss"]) for run in runs]
    if not any(len(steps) for steps, _ in losses):
        return ""
    figure, axes = draw("step", "training loss")
    for i, (steps, values) in enumerate(losses):
        axes.plot(*thinned(steps, values, mean=True), **line(runs, i))
    positive = [values for _, values in losses if len(values) and values.min() > 0]
    if positive and max(v.max() for v in positive) > 30 * min(v.min() for v in positive):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    note = " Losses of different methods have different scales: compare shapes, not heights."
    return svg(figure, f"Training loss.{note if len(runs) > 1 else ''}")


def _criteria(runs: Sequence[RunResult]) -> str:
    """The terms without the constraints, which would tear the scale."""
    values_of = [partial(sum_of_terms, parse_criterion(run.criterion)) for run in runs]
    chosen_by = [series(run.history, "validation", of) for run, of in zip(runs, values_of, strict=True)]
    if not any(len(steps) for steps, _ in chosen_by):
        return ""
    criterion = parse_criterion(runs[0].criterion)
    figure, axes = draw("step", "criterion on validation")
    for i, (steps, values) in enumerate(chosen_by):
        few: dict[str, Any] = {"marker": ".", "markersize": 5} if len(steps) <= 30 else {}
        axes.plot(*thinned(steps, values), **line(runs, i), **few)
        chosen = steps == runs[i].best_step
        axes.plot(steps[chosen], values[chosen], **dot(runs, i))
    without = " Without its constraints." if criterion.constraints else ""
    return svg(
        figure,
        f"The criterion on validation.{without} The large marker is the checkpoint that was kept and tested.",
    )


def sum_of_terms(criterion: Criterion, record: Mapping) -> float:
    return sum(term.coefficient * record[term.name] for term in criterion.terms)


def _evaluations(runs: Sequence[RunResult]) -> str:
    """Every metric that the criterion reads, evaluation by evaluation."""
    parts = ""
    for i, run in enumerate(runs):
        criterion = parse_criterion(run.criterion)
        records = [record for record in run.history if record.get("kind") == "validation"]
        if not records:
            continue
        shown = records
        if len(records) > ROWS:
            places = set(np.linspace(0, len(records) - 1, ROWS - 1).astype(int).tolist())
            shown = [r for n, r in enumerate(records) if n in places or r["step"] == run.best_step]
        rows = [_evaluation(criterion, record, run.best_step) for record in shown]
        headings = ["step", *(NAMES.get(name, name) for name in criterion.names)]
        headings += ["constraints"] if criterion.constraints else []
        thin = (
            f"<p class=muted>{len(shown)} of {len(records)} evaluations.</p>" if shown is not records else ""
        )
        parts += f"{by_method(runs, i)}{table(headings, rows, kind='')}{thin}"
    if not parts:
        return ""
    return f"<details><summary>Every evaluation of the criterion</summary>{parts}</details>"


def _evaluation(criterion: Criterion, record: Mapping, best_step: int) -> list[str]:
    values = [record.get(name) for name in criterion.names]
    cells = [UNDEFINED if value is None else figures(float(value)) for value in values]
    if criterion.constraints:
        known = all(record.get(constraint.name) is not None for constraint in criterion.constraints)
        kept = known and not any(constraint.violation(record) for constraint in criterion.constraints)
        cells.append("kept" if kept else "violated" if known else UNDEFINED)
    step = f"{record['step']:,}"
    return [Html(f"<b>{step}, chosen</b>") if record["step"] == best_step else step, *cells]


def series(
    history: Sequence[Mapping], kind: str, value: Callable[[Mapping], float]
) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of the records of a kind in which the value is defined."""
    points = []
    for record in history:
        if record.get("kind") == kind:
            with suppress(KeyError, TypeError):  # absent, or null because it was not finite
                points.append((record["step"], float(value(record))))
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps), np.array(values)
