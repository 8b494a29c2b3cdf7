"""Sections for a task without decisions: the metrics that the task defines."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from imbal_jax.console import duration
from imbal_jax.report.html import before_anything, figures, grouped, table
from imbal_jax.report.result import RunResult, run_names
from imbal_jax.report.results_table import own_metrics
from imbal_jax.report.seeds import deviation_of, mean_of, seed_places
from imbal_jax.report.use import said_first

FEW = 4
"""Classes that have a table each."""

Table = Mapping[str, Mapping[str, float]]


def named_places(runs: Sequence[RunResult]) -> list[tuple[str, tuple[int, ...]]]:
    """Each method, by the name of its first run, and the places of its runs."""
    names = run_names(runs)
    return [(names[places[0]], places) for places in seed_places(runs).values()]


def metrics_summary(runs: Sequence[RunResult], tested: str) -> str:
    """The results, one row per method. tested: the number of test images, in words."""
    aside = before_anything(said_first(runs))
    criterion = escape(runs[0].criterion)
    items = "".join(f"<li>{_training(runs, places)}</li>" for places in seed_places(runs).values())
    return (
        f"{aside}<p class=lead>On {tested} of the test set; the checkpoints were chosen by the validation "
        f"criterion <code>{criterion}</code>.</p><p>Macro values, as the task averages its classes.</p>"
        f"{_table(runs, 'macro')}{_over_seeds(runs)}"
        f'<ul class="plain">{items}</ul>'
    )


def metrics_by_class(runs: Sequence[RunResult]) -> str:
    """The metrics of each class; of many classes that have the same ones, in one table."""
    rows = _classes(runs)
    keys = [list(runs[0].table[row]) for row in rows]
    if len(rows) <= FEW or any(own != keys[0] for own in keys):
        return _tables(runs, rows)
    headings = ["method", *(key.replace("_", " ") for key in keys[0])]
    return grouped(headings, [(escape(row), _lines(runs, row, keys[0])) for row in rows])


def users_metrics(runs: Sequence[RunResult]) -> str:
    """The metrics that the user added to the built-in ones, a table a class; nothing where there are none."""
    keys = own_metrics(dict.fromkeys(key for run in runs for key in run.table.get("macro", {})))
    if not keys:
        return ""
    tables = _tables(runs, ["macro", *_classes(runs)], keys)
    return f"<p>Of each class against the rest, from the probabilities before calibration.</p>{tables}"


def _classes(runs: Sequence[RunResult]) -> list[str]:
    return [row for row in runs[0].table if row != "macro"]


def _tables(runs: Sequence[RunResult], rows: Sequence[str], keys: Sequence[str] = ()) -> str:
    return "".join(f"<h3>{escape(row)}</h3>{_table(runs, row, keys)}" for row in rows)


def _table(runs: Sequence[RunResult], row: str, keys: Sequence[str] = ()) -> str:
    keys = keys or list(dict.fromkeys(key for run in runs for key in run.table.get(row, {})))
    if not keys:
        return "<p class=muted>The task gives no metric here.</p>"
    return table(["method", *(key.replace("_", " ") for key in keys)], _lines(runs, row, keys))


def _lines(runs: Sequence[RunResult], row: str, keys: Sequence[str]) -> list[list[str]]:
    """A line a method."""
    lines = []
    for places in seed_places(runs).values():
        tables = [runs[i].table for i in places]
        means, deviations = mean_of(tables).get(row, {}), deviation_of(tables).get(row, {})
        cells = [_cell(means.get(key, math.nan), deviations.get(key, math.nan)) for key in keys]
        lines.append([runs[places[0]].method, *cells])
    return lines


def _cell(mean: float, deviation: float) -> str:
    return f"{figures(mean)} ± {figures(deviation)}" if math.isfinite(deviation) else figures(mean)


def _over_seeds(runs: Sequence[RunResult]) -> str:
    if len(seed_places(runs)) == len(runs):
        return ""
    return (
        "<p class=muted>A method that was trained with several seeds is shown by their mean; ± is the standard "
        "deviation over the seeds (n − 1). The learning curves are those of its first seed.</p>"
    )


def _training(runs: Sequence[RunResult], places: Sequence[int]) -> str:
    of = [runs[i] for i in places]
    steps = ", ".join(f"{run.best_step:,}" for run in of)
    seconds = duration(sum(run.seconds for run in of))
    plural = "s" if len(of) > 1 else ""
    return (
        f"<b>{escape(of[0].method)}</b> {escape(of[0].summary)} <small>Checkpoint{plural} of step{plural} {steps}, "
        f"trained in {seconds}.</small>"
    )
