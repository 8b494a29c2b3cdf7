"""Section that compares the methods by their macro averages."""

import math
from html import escape

from imbal_jax.console import UNDEFINED, duration
from imbal_jax.report.html import Html, bracket, method, table
from imbal_jax.report.results_table import best_methods
from imbal_jax.report.study import NAMES, Study
from imbal_jax.report.summary import macro_interval

ACROSS = 3  # methods beside each other; more are read better one below the other


def comparison(study: Study) -> str:
    runs = study.runs
    bold = " The highest is bold." if len(runs) > 1 else ""
    items = "".join(
        f"<li>{method(runs, i)} {escape(run.summary)} <small>Checkpoint of step {run.best_step:,}, trained in "
        f"{duration(run.seconds)}.</small></li>"
        for i, run in enumerate(runs)
    )
    columns = [_values(study, i) for i in range(len(runs))]
    text = (
        "<p>Macro averages over the classes on the test set, at its own prevalence, each class counting the "
        f"same however rare, an image called by {study.rule}.{bold}</p>"
    )
    if len(runs) > ACROSS:
        tables = table(["method", *NAMES.values()], columns)
    else:
        changes = [_differences(study, i) for i in range(1, len(runs))]
        heading, *across = zip(["", *NAMES.values()], *columns, *changes, strict=True)
        tables = table(heading, across)
    if len(runs) > 1:
        tables += DIFFERENCES
    if len(runs) > ACROSS:
        rows = [_differences(study, i) for i in range(1, len(runs))]
        tables += table([f"less {runs[0].method}", *NAMES.values()], rows)
    return f'{text}{tables}{undefined_note(study)}<ul class="plain">{items}</ul>'


DIFFERENCES = (
    "<p class=muted>Differences are of the same resampled patients: an interval that leaves out 0 is a difference "
    "that the sampling of patients does not explain; among many metrics and methods some such intervals "
    "are chance.</p>"
)


def _values(study: Study, i: int) -> list[Html]:
    tables = {run.method: table for run, table in zip(study.runs, study.tables, strict=True)}
    cells = [method(study.runs, i)]
    for key in NAMES:
        text = bracket(study.value(i, key), macro_interval(study, i, key))
        best = study.runs[i].method in best_methods(tables, key)
        cells.append(Html(f"<b>{text}</b>") if best else text)
    return cells


def _differences(study: Study, i: int) -> list[Html]:
    """The run less the first."""
    across = len(study.runs) <= ACROSS
    name = method(study.runs, i)
    cells = [Html(f"{name} − {escape(study.runs[0].method)}") if across else name]
    for key in NAMES:
        change = study.value(i, key) - study.value(0, key)
        cells.append(bracket(change, macro_interval(study, i, key, less=0), plus=True))
    return cells


def undefined_note(study: Study) -> str:
    rows = [metrics for table in study.tables for metrics in table.values()]
    if all(math.isfinite(metrics.get(key, math.nan)) for metrics in rows for key in NAMES):
        return ""
    return (
        f"<p class=muted>{UNDEFINED} undefined: no positive example (sensitivity, F-score, AUROC, average "
        "precision), no negative one (specificity, AUROC), or no image called (precision).</p>"
    )
