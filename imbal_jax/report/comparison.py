"""Section that compares the methods by their macro averages."""

import math
from html import escape

from imbal_jax.console import UNDEFINED, duration
from imbal_jax.report.html import Html, bracket, figures, method, table
from imbal_jax.report.results_table import best_methods
from imbal_jax.report.study import NAMES, Study
from imbal_jax.report.summary import macro_interval

ACROSS = 3  # methods shown as columns; more are shown as rows


def comparison(study: Study) -> str:
    runs = study.runs
    bold = " The highest is bold." if len(runs) > 1 else ""
    items = "".join(
        f"<li>{method(runs, i)} {escape(run.summary)} <small>{_training(study, i)}</small></li>"
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
    if any(len(study.seeds(i)) > 1 for i in range(len(runs))):
        text += _over_seeds(study)
    return f'{text}{tables}{undefined_note(study)}<ul class="plain">{items}</ul>'


def _training(study: Study, i: int) -> str:
    seeds = study.seeds(i)
    steps = ", ".join(f"{run.best_step:,}" for run in seeds)
    seconds = duration(sum(run.seconds for run in seeds))
    if len(seeds) == 1:
        return f"Checkpoint of step {steps}, trained in {seconds}."
    named = ", ".join(str(run.seed) for run in seeds)
    return f"Seeds {named}: checkpoints of steps {steps}, trained in {seconds} together."


def _over_seeds(study: Study) -> str:
    """An explanation of the means over seeds, and the numbers of each run."""
    headings = ["run", "step", *NAMES.values()]
    rows = []
    for i in range(len(study.runs)):
        runs = study.seeds(i)
        tables = study.tables_of(i)
        for run, values in zip(runs, tables, strict=True):
            cells = [figures(values.get("macro", {}).get(key, math.nan)) for key in NAMES]
            rows.append([f"{run.method}, seed {run.seed}", f"{run.best_step:,}", *cells])
    return (
        "<p>A method that was trained with several seeds is shown by their mean; ± is the standard deviation over "
        "the seeds (n − 1), which the chance in training causes, and the interval that of the mean over resampled "
        "patients. The sections below show the first seed of each method.</p>"
        f"<details><summary>Each run</summary>{table(headings, rows)}</details>"
    )


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
        if len(study.seeds(i)) > 1:
            text = Html(f"{text} ± {figures(study.spread(i, key))}")
        best = study.runs[i].method in best_methods(tables, key)
        cells.append(Html(f"<b>{text}</b>") if best else text)
    return cells


def _differences(study: Study, i: int) -> list[Html]:
    """Differences between a run and the first run."""
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
